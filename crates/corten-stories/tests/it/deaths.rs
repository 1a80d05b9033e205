//! Shims that die, everything that dies at once, and a program that another one follows while containers run.

use crate::daemon;
use crate::leftovers::Leftovers;
use corten_testing::daemon::ScratchDaemon;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// By how much the kills of shims are multiplied.
fn rounds() -> usize {
    usize::try_from(crate::kill::rounds()).expect("a count")
}

fn pid_of(daemon: &ScratchDaemon, name: &str) -> u32 {
    daemon.ok(&["inspect", "-f", "{{.State.Pid}}", name]).parse().expect("a process id")
}

pub(crate) fn parent_of(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent");
    parent.trim().parse().expect("a number")
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Tells the load to end, also where the test fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Containers of every sort – with a port, a network with names, a volume, `--rm`, `--init` – lose their shims while others are
/// started and removed. Each is reported dead, for a reason, and nothing of it is left.
#[test]
fn containers_whose_shims_are_killed_under_load_are_told_dead_and_leave_nothing() {
    let Some(daemon) = daemon("shims") else { return };
    daemon.ok(&["network", "create", "mine"]);
    daemon.ok(&["run", "--rm", "--network", "mine", "-v", "kept:/v", "busybox", "true"]);
    let before = Leftovers::at_rest(&daemon);
    let sorts: [&[&str]; 5] = [
        &["-p", "127.0.0.1::80"],
        &["--network", "mine", "--network-alias", "other"],
        &["-v", "kept:/v", "--init"],
        &["--network", "none", "--pids-limit", "50"],
        &["-t", "--memory", "64m"],
    ];
    let stop = AtomicBool::new(false);
    let mut killed = 0;
    std::thread::scope(|scope| {
        let _ending = Ending(&stop);
        let load = scope.spawn(|| {
            let mut runs = 0;
            while !stop.load(Ordering::Relaxed) {
                let said = daemon.corten(&["run", "--rm", "busybox", "sh", "-c", "echo out; exit 7"]);
                assert!(said.code == 7 && said.out == "out\n", "a neighbour is not harmed: {said:?}");
                runs += 1;
            }
            runs
        });
        for round in 0..2 * rounds() {
            let names: Vec<String> = (0..sorts.len()).map(|sort| format!("s{round}x{sort}")).collect();
            for (name, sort) in names.iter().zip(sorts) {
                let run = [&["run", "-d", "--name", name][..], sort, &["busybox", "sleep", "1000"]].concat();
                daemon.ok(&run);
            }
            let pids: Vec<u32> = names.iter().map(|name| pid_of(&daemon, name)).collect();
            for pid in &pids {
                daemon.kill(parent_of(*pid));
                killed += 1;
            }
            for (name, pid) in names.iter().zip(&pids) {
                assert_eq!(daemon.ok(&["wait", name]), "137");
                let state = daemon.ok(&["inspect", "-f", "{{.State.Status}} {{.State.Error}}", name]);
                assert!(state.starts_with("exited ") && state.len() > "exited ".len(), "a reason: {state}");
                wait_for("the container's process is gone", || !is_alive(*pid));
                daemon.ok(&["rm", name]);
            }
        }
        stop.store(true, Ordering::Relaxed);
        let runs: usize = load.join().expect("the load");
        assert!(runs > 0, "others went on");
    });
    assert_eq!(daemon.ok(&["run", "--rm", "-v", "kept:/v", "busybox", "sh", "-c", "echo ok"]), "ok");
    Leftovers::settle(&daemon, &before, &format!("after {killed} shims were killed"));
    daemon.ok(&["network", "rm", "mine"]);
}

/// SIGKILL of keeper, daemon and every shim in one moment: the next daemon tells every container dead, brings back those that
/// asked for it, and sweeps the rest.
#[test]
fn when_everything_is_killed_at_once_nothing_is_left_and_nothing_kept_is_lost() {
    let Some(daemon) = daemon("all") else { return };
    daemon.ok(&["network", "create", "mine"]);
    daemon.ok(&[
        "run",
        "--rm",
        "--network",
        "mine",
        "-v",
        "kept:/v",
        "busybox",
        "sh",
        "-c",
        "echo here >/v/file",
    ]);
    let before = Leftovers::at_rest(&daemon);
    for round in 0..2 * rounds() {
        let run = ["run", "-d", "--name"];
        daemon.ok(&[
            &run[..],
            &["plain", "-p", "127.0.0.1::80", "busybox", "sh", "-c", "echo said; exec sleep 1000"],
        ]
        .concat());
        daemon.ok(&[&run[..], &["named", "--network", "mine", "-v", "kept:/v", "busybox", "sleep", "1000"]]
            .concat());
        daemon.ok(&[
            &run[..],
            &["again", "--restart", "always", "--network", "mine", "busybox", "sleep", "1000"],
        ]
        .concat());
        daemon.ok(&[&run[..], &["gone", "--rm", "busybox", "sleep", "1000"]].concat());
        wait_for("the line is in the log", || daemon.ok(&["logs", "plain"]) == "said");
        let first = pid_of(&daemon, "again");
        let family: Vec<u32> = daemon.family().into_iter().map(|(pid, _)| pid).collect();
        for pid in &family {
            stop(*pid);
        }
        for pid in &family {
            daemon.kill(*pid);
        }
        daemon.start_again();
        wait_for("the one that asked for it runs again", || {
            let said = daemon.corten(&["inspect", "-f", "{{.State.Running}} {{.State.Pid}}", "again"]);
            said.out.starts_with("true ") && said.out.trim() != format!("true {first}")
        });
        for name in ["plain", "named"] {
            let state =
                daemon.ok(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}", name]);
            let dead = state.starts_with("exited 137 ") || state.starts_with("exited 255 ");
            assert!(
                dead && state.split(' ').count() > 2,
                "round {round}: {name} is dead for a reason: {state}"
            );
        }
        assert_eq!(daemon.ok(&["logs", "plain"]), "said");
        wait_for("what was started with --rm is gone", || daemon.corten(&["inspect", "gone"]).code == 1);
        let look = ["exec", "again", "nslookup", "again"];
        wait_for("names are answered again", || daemon.corten(&look).code == 0);
        assert_eq!(daemon.ok(&["run", "--rm", "-v", "kept:/v", "busybox", "cat", "/v/file"]), "here");
        daemon.ok(&["start", "plain", "named"]);
        daemon.ok(&["rm", "-f", "plain", "named", "again"]);
        Leftovers::settle(&daemon, &before, "after everything was killed");
    }
    daemon.ok(&["network", "rm", "mine"]);
}

/// The daemon is stopped, the file of the program is replaced by another one, and a daemon is started from it: as a package's
/// upgrade does it. Containers, their output, ports, names and counts go on.
#[test]
fn another_program_takes_over_under_running_containers() {
    let Some(daemon) = daemon("upgrade") else { return };
    let old = daemon.folder().join("corten-old");
    std::fs::copy(corten_testing::daemon::program(), &old).expect("a copy of the program");
    daemon.end();
    daemon.start_program(&old);
    daemon.ok(&["network", "create", "mine"]);
    let count = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";
    let run = ["run", "-d", "--network", "mine", "--name"];
    daemon
        .ok(&[&run[..], &["steady", "--init", "-p", "127.0.0.1::80", "busybox", "sh", "-c", count]].concat());
    daemon.ok(&[&run[..], &["other", "busybox", "sleep", "1000"]].concat());
    let about = [
        "inspect",
        "-f",
        "{{.State.Pid}} {{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}",
        "steady",
    ];
    let pids = ["stats", "--no-stream", "--format", "{{.PIDs}}", "other"];
    let before = (daemon.ok(&about), daemon.ok(&["top", "other"]).lines().count(), daemon.ok(&pids));
    daemon.end();
    std::fs::remove_file(&old).expect("the old program goes");
    daemon.start_again();
    let after = (daemon.ok(&about), daemon.ok(&["top", "other"]).lines().count(), daemon.ok(&pids));
    assert_eq!(after, before, "process, port, list and count of processes");
    let program = daemon.daemon().and_then(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok());
    assert!(program.is_some_and(|program| !ends_with(&program, "corten-old")), "the new program serves");
    assert_eq!(daemon.ok(&["exec", "steady", "echo", "inside"]), "inside");
    daemon.ok(&["exec", "steady", "nslookup", "other"]);
    daemon.ok(&["update", "--memory", "100m", "--memory-swap", "200m", "other"]);
    daemon.ok(&["pause", "steady"]);
    daemon.ok(&["unpause", "steady"]);
    daemon.ok(&["stop", "-t", "1", "steady"]);
    let log = daemon.ok(&["logs", "steady"]);
    let in_order = log.lines().zip(1..).all(|(line, wanted)| line == wanted.to_string());
    assert!(log.lines().count() > 10 && in_order, "every line once, in order");
    daemon.ok(&["rm", "-f", "steady", "other"]);
    daemon.ok(&["network", "rm", "mine"]);
    wait_for("no process of the old program is left", || {
        let of_old = |pid: &u32| {
            std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| ends_with(&exe, "corten-old"))
        };
        !daemon.family().iter().any(|(pid, _)| of_old(pid))
    });
}

fn ends_with(program: &Path, name: &str) -> bool {
    program.display().to_string().trim_end_matches(" (deleted)").ends_with(name)
}

fn is_alive(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !(state.is_empty() || state.contains(") Z ") || state.contains(") X "))
}

pub(crate) fn stop(pid: u32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::STOP);
    }
}
