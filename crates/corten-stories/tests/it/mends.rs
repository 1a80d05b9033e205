//! What a daemon that dies leaves half done, and what the next one makes of it.

use crate::daemon;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::{Duration, Instant};

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < corten_testing::patience(60), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_container_goes_on_after_a_commit_that_a_killed_daemon_broke_off() {
    let Some(daemon) = daemon("commit") else { return };
    let script = "dd if=/dev/urandom of=/big bs=1M count=96 2>/dev/null; echo ready; \
                  while :; do echo tick; sleep 0.05; done";
    daemon.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    wait_for("it has written", || daemon.ok(&["logs", "box"]).contains("tick"));
    let state = || daemon.ok(&["inspect", "-f", "{{.State.Status}}", "box"]);
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| daemon.corten(&["commit", "box", "half"]));
        wait_for("the commit freezes it", || state() == "paused");
        daemon.kill(daemon.daemon().expect("a daemon"));
        assert_ne!(commit.join().expect("the commit").code, 0, "it was broken off");
    });
    assert_eq!(state(), "running");
    let lines = || daemon.ok(&["logs", "box"]).lines().count();
    let before = lines();
    wait_for("it goes on", || lines() > before);
    assert_ne!(daemon.corten(&["image", "inspect", "half"]).code, 0, "there is no half an image");
    // What a user paused stays paused.
    daemon.ok(&["pause", "box"]);
    daemon.kill(daemon.daemon().expect("a daemon"));
    assert_eq!(state(), "paused");
    daemon.ok(&["unpause", "box"]);
    daemon.ok(&["commit", "box", "whole"]);
    assert_eq!(state(), "running");
    daemon.ok(&["rm", "-f", "box"]);
}

fn open_files(pid: u32) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit");
    let mut words = line.split_whitespace().map(str::to_owned);
    (words.next().expect("the soft one"), words.next().expect("the hard one"))
}

#[test]
fn the_daemon_may_open_all_files_and_containers_have_what_it_was_started_with() {
    // As from a shell; many machines start everything with as much as there is.
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.maximum.map_or(1024, |hard| (hard / 2).min(1024));
    setrlimit(Resource::Nofile, Rlimit { current: Some(soft), ..limit }).expect("less is always allowed");
    let Some(daemon) = daemon("files") else { return };
    let keeper = open_files(daemon.keeper());
    let (raised, hard) = open_files(daemon.daemon().expect("a daemon"));
    assert_eq!((&raised, &hard), (&keeper.1, &keeper.1));
    assert_eq!(keeper.0, soft.to_string());
    let script = "ulimit -Sn; ulimit -Hn";
    let expected = format!("{}\n{}", keeper.0, keeper.1);
    assert_eq!(daemon.ok(&["run", "--rm", "busybox", "sh", "-c", script]), expected);
    let set = ["run", "--rm", "--ulimit", "nofile=100:200", "busybox", "sh", "-c", script];
    assert_eq!(daemon.ok(&set), "100\n200");
}
