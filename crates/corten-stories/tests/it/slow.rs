//! Clients that are slow, silent or many: they cost little, harm nobody, and nothing of them stays.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use corten_testing::daemon::ScratchDaemon;

/// What the daemon holds: descriptors, threads, resident memory in KiB.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    descriptors: usize,
    threads: usize,
    resident: usize,
}

impl Holdings {
    fn of(daemon: &ScratchDaemon) -> Self {
        let pid = daemon.daemon().expect("the daemon lives");
        let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident = resident.trim().split(' ').next().unwrap().parse().unwrap();
        Self { descriptors: count("fd"), threads: count("task"), resident }
    }
}

/// A connection that has said something and reads nothing.
fn say(daemon: &ScratchDaemon, text: &str) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.socket()).expect("it connects");
    stream.set_read_timeout(Some(corten_testing::patience(20))).unwrap();
    stream.write_all(text.as_bytes()).expect("it is taken");
    stream
}

fn get(daemon: &ScratchDaemon, target: &str) -> UnixStream {
    say(daemon, &format!("GET {target} HTTP/1.1\r\nHost: d\r\n\r\n"))
}

/// Others are served meanwhile, soon, and memory has not grown by more than so many MiB.
fn check_meanwhile(daemon: &ScratchDaemon, before: Holdings, mebibytes: usize) {
    let start = Instant::now();
    daemon.ok(&["run", "--rm", "busybox", "true"]);
    assert!(start.elapsed() < corten_testing::patience(5), "others wait {:?}", start.elapsed());
    let now = Holdings::of(daemon);
    assert!(now.resident < before.resident + mebibytes * 1024, "{before:?} before, {now:?} now");
}

/// Descriptors and threads come back by themselves, soon; a few are the spare shims', which come and go.
fn check_after(daemon: &ScratchDaemon, before: Holdings) {
    let start = Instant::now();
    loop {
        let now = Holdings::of(daemon);
        if now.descriptors <= before.descriptors + 16 && now.threads <= before.threads + 4 {
            return;
        }
        assert!(start.elapsed() < corten_testing::patience(20), "{before:?} before, {now:?} after");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A daemon that has done everything once, so that what is only made once is there.
fn warm(name: &str) -> Option<ScratchDaemon> {
    let daemon = super::daemon(name)?;
    daemon.ok(&["run", "--rm", "busybox", "true"]);
    daemon.ok(&["ps"]);
    Some(daemon)
}

/// This process may have so many descriptors; the daemon started afterwards, too.
fn allow_descriptors(count: u64) -> bool {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return true;
    }
    limit.current = Some(count);
    limit.maximum = limit.maximum.map(|maximum| maximum.max(count));
    corten_testing::need(
        "2,600 descriptors",
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).is_ok(),
    )
}

#[test]
fn two_thousand_idle_and_half_open_connections_harm_nobody() {
    if !allow_descriptors(2600) {
        return;
    }
    let Some(daemon) = warm("slow-idle") else { return };
    let before = Holdings::of(&daemon);
    let mut streams = Vec::new();
    for number in 0..2000 {
        streams.push(match number % 4 {
            // Nothing, half a line, a head without its end, a body that does not come.
            0 => say(&daemon, ""),
            1 => say(&daemon, "GET /_pi"),
            2 => say(&daemon, "GET /_ping HTTP/1.1\r\nHost: d\r\n"),
            _ => say(&daemon, "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 500\r\n\r\n{"),
        });
    }
    check_meanwhile(&daemon, before, 96);
    // One of the silent ones speaks at last.
    let idle = &mut streams[0];
    idle.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(streams);
    check_after(&daemon, before);
}

#[test]
fn five_hundred_followers_of_one_log_all_get_it() {
    if !allow_descriptors(2600) {
        return;
    }
    let Some(daemon) = warm("slow-followers") else { return };
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "talker",
        "busybox",
        "sh",
        "-c",
        "while [ ! -e /go ]; do sleep 0.1; done; echo said; sleep 600",
    ]);
    let before = Holdings::of(&daemon);
    let mut streams: Vec<UnixStream> =
        (0..500).map(|_| get(&daemon, "/containers/talker/logs?stdout=1&follow=1")).collect();
    check_meanwhile(&daemon, before, 128);
    daemon.ok(&["exec", "talker", "touch", "/go"]);
    for (number, stream) in streams.iter_mut().enumerate() {
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        while !text.windows(5).any(|window| window == b"said\n") {
            let count = stream.read(&mut buffer).unwrap_or_else(|error| {
                panic!("follower {number}: {error}, after {text:?}", text = String::from_utf8_lossy(&text))
            });
            assert!(count > 0, "a follower's stream ended");
            text.extend_from_slice(&buffer[..count]);
        }
    }
    // Half of them leave; the others are told of the end.
    streams.truncate(250);
    daemon.ok(&["rm", "-f", "talker"]);
    for mut stream in streams {
        let mut rest = Vec::new();
        let mut buffer = [0; 4096];
        while !rest.ends_with(b"0\r\n\r\n") {
            let count = stream.read(&mut buffer).expect("the end comes");
            assert!(count > 0, "the stream broke off");
            rest.extend_from_slice(&buffer[..count]);
        }
    }
    check_after(&daemon, before);
}

#[test]
fn six_hundred_slow_readers_of_archives_hold_nobody_up() {
    if !corten_testing::need_root() || !allow_descriptors(2_600) {
        return;
    }
    let Some(daemon) = warm("slow-archives") else { return };
    daemon.ok(&["create", "--name", "made", "busybox", "true"]);
    let before = Holdings::of(&daemon);
    let streams: Vec<_> = (0..600)
        .map(|number| {
            get(&daemon, if number % 2 == 0 { "/containers/made/export" } else { "/images/busybox/get" })
        })
        .collect();
    std::thread::sleep(Duration::from_secs(1));
    // Each holds a thread with its buffers, at most 2 MiB.
    check_meanwhile(&daemon, before, 1200);
    // One more who reads gets all of it.
    let archive = daemon.command(&["export", "made"]).output().unwrap();
    assert!(archive.status.success() && archive.stdout.len() > 1 << 20, "{}", archive.stdout.len());
    drop(streams);
    check_after(&daemon, before);
}

#[test]
fn clients_that_never_read_cost_little() {
    let Some(daemon) = warm("slow-silent") else { return };
    daemon.ok(&["run", "-d", "--name", "big", "busybox", "sh", "-c", "head -c 60000000 /dev/zero | tr '\\0' x | fold -w 100; head -c 60000000 /dev/zero >/big; touch /done; sleep 600"]);
    let start = Instant::now();
    while daemon.corten(&["exec", "big", "ls", "/done"]).code != 0 {
        assert!(start.elapsed() < corten_testing::patience(60), "the container does not get ready");
        std::thread::sleep(Duration::from_millis(100));
    }
    let before = Holdings::of(&daemon);
    let mut streams = Vec::new();
    for _ in 0..5 {
        for target in [
            "/containers/big/logs?stdout=1",
            "/containers/big/logs?stdout=1&follow=1",
            "/containers/big/export",
            "/containers/big/archive?path=/big",
            "/events",
            "/containers/big/stats",
            "/images/busybox/get",
        ] {
            streams.push(get(&daemon, target));
        }
        let attach = "POST /containers/big/attach?stream=1&stdout=1&logs=1 HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n";
        streams.push(say(&daemon, attach));
    }
    // Enough events to fill the sockets of those who do not read them.
    for number in 0..40 {
        let name = format!("v{number}");
        daemon.ok(&["volume", "create", &name]);
        daemon.ok(&["volume", "rm", &name]);
    }
    std::thread::sleep(Duration::from_secs(1));
    check_meanwhile(&daemon, before, 128);
    drop(streams);
    daemon.ok(&["rm", "-f", "big"]);
    check_after(&daemon, before);
}
