//! Logs that are sent elsewhere: over the real protocols, readable by `logs` all the same, and whole though the daemon
//! dies in the middle.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

#[test]
fn a_log_is_sent_and_kept() {
    let Some(daemon) = super::daemon("receivers") else { return };
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let address = format!("syslog-address=udp://{}", receiver.local_addr().unwrap());
    let options = ["--log-driver", "syslog", "--log-opt", &address, "--log-opt", "tag={{.Name}}"];
    let mut command = vec!["run", "--name", "talker"];
    command.extend(options);
    command.extend(["busybox", "sh", "-c", "echo out; echo error >&2"]);
    daemon.corten(&command);
    let mut buffer = [0; 2048];
    let mut lines: Vec<String> = (0..2)
        .map(|_| {
            let count = receiver.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        })
        .collect();
    lines.sort();
    assert!(lines[0].starts_with("<27>") && lines[0].ends_with("]: error\n"), "{lines:?}");
    assert!(lines[1].starts_with("<30>") && lines[1].contains(" talker["), "{lines:?}");
    let kept = daemon.corten(&["logs", "talker"]);
    assert_eq!((kept.out.as_str(), kept.err.as_str()), ("out\n", "error\n"));
    // A receiver that is not there is told before anything runs.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = format!("gelf-address=tcp://{closed}");
    let said =
        daemon.corten(&["run", "--rm", "--log-driver", "gelf", "--log-opt", &address, "busybox", "true"]);
    assert_eq!(said.code, 125, "{said:?}");
    assert!(said.err.contains("failed to initialize logging driver: dial tcp"), "{said:?}");
}

#[test]
fn what_was_written_while_the_daemon_was_dead_is_sent_by_the_next_one() {
    let Some(daemon) = super::daemon("receivers-kill") else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("syslog-address=tcp://{}", listener.local_addr().unwrap());
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
    });
    let count = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line-$i-; sleep 0.05; done";
    daemon.corten(&[
        "run",
        "-d",
        "--name",
        "counter",
        "--log-driver",
        "syslog",
        "--log-opt",
        &address,
        "busybox",
        "sh",
        "-c",
        count,
    ]);
    std::thread::sleep(Duration::from_millis(500));
    daemon.kill(daemon.daemon().expect("a daemon"));
    let mut missing: std::collections::BTreeSet<String> = (1..=40).map(|i| format!("line-{i}-")).collect();
    let end = Instant::now() + Duration::from_secs(30);
    while !missing.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        let Ok(line) = lines.recv_timeout(left) else { panic!("never sent: {missing:?}\n{}", daemon.log()) };
        missing.retain(|wanted| !line.contains(wanted.as_str()));
    }
}
