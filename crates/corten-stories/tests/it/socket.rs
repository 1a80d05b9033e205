//! The API's socket: one that a container has mounted lives on while daemons come and go; one that a service manager
//! opened is used and left as it was.

use crate::daemon;
use corten_testing::daemon::{Said, ScratchDaemon};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn the_mounted_socket_outlives_the_daemon() {
    let Some(daemon) = daemon("socket") else { return };
    let socket = format!("{}:/var/run/docker.sock", daemon.socket().display());
    let program = format!("{}:/bin/corten:ro", corten_testing::daemon::program().display());
    let script = "while :; do corten version -f '{{.Server.Version}}' || echo refused; sleep 0.02; done";
    let host = "DOCKER_HOST=unix:///var/run/docker.sock";
    daemon.ok(&[
        "run", "-d", "--name", "inside", "-v", &socket, "-v", &program, "-e", host, "busybox", "sh", "-c",
        script,
    ]);
    let answers = || daemon.ok(&["logs", "inside"]).lines().count();
    let mut before = answers();
    for _ in 0..5 {
        let killed = daemon.daemon().expect("a daemon");
        daemon.kill(killed);
        let start = Instant::now();
        let mut after = before;
        while after <= before + 1 && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(50));
            after = answers();
        }
        assert!(after > before + 1, "asked on after the daemon's death: {before} answers, then {after}");
        before = after;
    }
    let log = daemon.ok(&["logs", "inside"]);
    assert!(!log.contains("refused"), "{log}");
    daemon.ok(&["rm", "-f", "inside"]);
}

/// A daemon started as systemd does it, in the folders of one that has ended: the socket is its descriptor 3.
fn activated(daemon: &ScratchDaemon, socket: OwnedFd, notify: &str, host: &str) -> Child {
    // A process cannot know its own id before it is there.
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=corten.socket exec \"$@\"";
    Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(corten_testing::daemon::program())
        .args(["daemon", "-H", host, "--bridge", daemon.bridge(), "--exec-root"])
        .arg(daemon.exec_root())
        .arg("--data-root")
        .arg(daemon.data_root())
        .env("NOTIFY_SOCKET", notify)
        .env("CORTEN_SCRATCH", daemon.folder())
        .stdin(Stdio::from(socket))
        .stderr(Stdio::piped())
        .spawn()
        .expect("sh starts")
}

#[test]
fn a_passed_socket_is_served_and_left() {
    let Some(daemon) = daemon("activation") else { return };
    daemon.ok(&["run", "-d", "--name", "before", "busybox", "sleep", "1000"]);
    daemon.end();
    let listener = UnixListener::bind(daemon.socket()).unwrap();
    let path = daemon.folder().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(corten_testing::patience(20))).unwrap();
    let notify = path.display().to_string();
    let told = || {
        let mut buffer = [0; 256];
        let count = manager.recv(&mut buffer).expect("the service manager is told");
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    };
    let passed = || OwnedFd::from(listener.try_clone().unwrap());

    // A client that came first waits in the socket's queue.
    let early = daemon.command(&["ps", "--format", "{{.Names}}"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut keeper = activated(&daemon, passed(), &notify, "fd://corten.socket");
    assert_eq!(told(), "READY=1");
    assert_eq!(Said::from(early.wait_with_output().unwrap()).out, "before\n");
    // Neither containers nor the daemon hear of the service manager.
    let pid = daemon.daemon().expect("a daemon");
    let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    assert!(!environment.contains("LISTEN_") && !environment.contains("NOTIFY_"), "{environment}");
    daemon.kill(pid);
    assert_eq!(told(), "READY=1", "the next daemon, on the same socket");
    assert_eq!(daemon.ok(&["exec", "before", "echo", "on"]), "on");

    // The keeper is what the service manager watches: its daemon does not outlive it with a keeper of its own.
    let last = daemon.daemon().expect("a daemon");
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    let begun = Instant::now();
    while std::path::Path::new(&format!("/proc/{last}")).exists() {
        assert!(begun.elapsed() < corten_testing::patience(20), "the daemon ends with its keeper");
        std::thread::sleep(Duration::from_millis(20));
    }
    let left = daemon.family().into_iter().map(|(_, name)| name).filter(|name| name != "corten-seat");
    assert_eq!(left.collect::<Vec<_>>(), ["corten-shim"]);
    let mut keeper = activated(&daemon, passed(), &notify, "fd://corten.socket");
    assert_eq!(told(), "READY=1");
    assert_eq!(daemon.ok(&["exec", "before", "echo", "on"]), "on");

    rustix::process::kill_process(
        rustix::process::Pid::from_raw(keeper.id().cast_signed()).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert_eq!(told(), "STOPPING=1");
    assert!(keeper.wait().unwrap().success());
    assert!(daemon.socket().exists(), "a passed socket is not removed");

    let refused = activated(&daemon, passed(), &notify, "fd://other").wait_with_output().unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success());
    assert!(text.contains("-H fd://other: no such socket was passed; there are: corten.socket"), "{text}");
    drop(listener);
    daemon.start_again();
    daemon.ok(&["rm", "-f", "before"]);
}
