//! A container that has the API's socket mounted keeps a live one while daemons come and go.

use crate::daemon;
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
