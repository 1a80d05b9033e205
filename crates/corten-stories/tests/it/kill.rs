//! Nothing lost: daemon and keeper are killed at random while containers start, log, exec, stop and are removed.

use crate::daemon;
use corten_testing::daemon::ScratchDaemon;
use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a daemon may leave on the machine, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Leftovers {
    mounts: BTreeSet<String>,
    /// Interfaces on the bridge: as many as are kept ready.
    bridge_ports: usize,
    /// Pinned network namespaces: as many as are kept ready.
    namespaces: usize,
    cgroups: BTreeSet<String>,
    map_elements: BTreeSet<String>,
    /// Sockets that shims listen on.
    shims: BTreeSet<String>,
    folders: BTreeSet<String>,
}

impl Leftovers {
    /// Looks with the kernel's eyes; what the daemon keeps ready (pooled namespaces) is not counted.
    pub(crate) fn of(daemon: &ScratchDaemon) -> Self {
        let root = daemon.folder().display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut cgroups = BTreeSet::new();
        let mut folders_to_see = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
        while let Some(folder) = folders_to_see.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() && !entry.path().is_symlink() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    if corten_std::id::is_full(&name) && entry.path().display().to_string().contains("corten")
                    {
                        cgroups.insert(entry.path().display().to_string());
                    }
                    folders_to_see.push(entry.path());
                }
            }
        }
        let table = format!("corten-{}", daemon.bridge());
        let rules = Command::new("nft")
            .args(["list", "table", "inet", &table])
            .output()
            .map(|output| output.stdout)
            .unwrap_or_default();
        let list = |path: std::path::PathBuf| -> Vec<String> {
            std::fs::read_dir(path)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path().display().to_string())
                .collect()
        };
        let mut folders: BTreeSet<String> = list(daemon.data_root().join("containers")).into_iter().collect();
        folders.extend(list(daemon.exec_root().join("containers")));
        folders.extend(list(daemon.data_root().join("snapshots/active")));
        folders.extend(list(daemon.data_root().join("volumes")));
        folders.extend(list(daemon.data_root().join("tmp")));
        let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
        let ports = Command::new("ip").args(["-o", "link", "show", "master", daemon.bridge()]).output();
        Self {
            mounts: mounts
                .lines()
                .filter(|line| line.contains(&root) && !line.contains("/netns/"))
                .map(str::to_owned)
                .collect(),
            bridge_ports: ports.map_or(0, |output| String::from_utf8_lossy(&output.stdout).lines().count()),
            namespaces: list(daemon.exec_root().join("netns")).len(),
            cgroups,
            map_elements: String::from_utf8_lossy(&rules)
                .lines()
                .filter(|line| line.contains("18333"))
                .map(str::to_owned)
                .collect(),
            shims: sockets
                .lines()
                .filter(|line| line.contains(&root) && line.contains("shim.sock"))
                .map(str::to_owned)
                .collect(),
            folders,
        }
    }

    /// Waits a little for background removals, then compares.
    pub(crate) fn settle(daemon: &ScratchDaemon, before: &Self, when: &str) {
        let start = Instant::now();
        loop {
            let now = Self::of(daemon);
            if now == *before {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "left over {when}:\n{now:#?}\nbefore:\n{before:#?}\n{}",
                daemon.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A small generator of numbers that look random, so that a run can be repeated by its seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// How often each process is killed; `CORTEN_KILLS` multiplies it (CI keeps to one round).
fn rounds() -> u64 {
    std::env::var("CORTEN_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn kill(pid: u32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Kills the daemon `kills` times while workers use it; gives how many commands were refused.
fn storm(daemon: &ScratchDaemon, kills: u64, seed: u64) -> Vec<String> {
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut wrong = Vec::new();
                    let mut round = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        round += 1;
                        let name = format!("w{worker}r{round}");
                        let said = daemon.corten(&["version", "-f", "{{.Server.Version}}"]);
                        if said.code != 0 && said.err.contains("refused") {
                            wrong.push(format!("refused: {said:?}"));
                        }
                        // Any of these may be cut short by the kill; what counts is what is true afterwards.
                        daemon.corten(&[
                            "run",
                            "-d",
                            "--name",
                            &name,
                            "busybox",
                            "sh",
                            "-c",
                            "echo one; echo two; exit 5",
                        ]);
                        daemon.corten(&["exec", "steady", "true"]);
                        daemon.corten(&["rm", "-f", &name]);
                        daemon.corten(&["run", "--rm", "busybox", "true"]);
                    }
                    wrong
                })
            })
            .collect();
        let mut numbers = Numbers(seed);
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(20 + numbers.below(120)));
            if let Some(pid) = daemon.daemon() {
                kill(pid);
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    })
}

fn remove_all(daemon: &ScratchDaemon) {
    for _ in 0..20 {
        let ids = daemon.corten(&["ps", "-aq"]).out;
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if ids.is_empty() {
            return;
        }
        let mut words = vec!["rm", "-fv"];
        words.extend(&ids);
        daemon.corten(&words);
    }
    panic!("containers cannot be removed: {}\n{}", daemon.ok(&["ps", "-a"]), daemon.log());
}

#[test]
fn a_killed_daemon_loses_nothing() {
    let Some(daemon) = daemon("kill") else { return };
    let before = Leftovers::of(&daemon);
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "steady",
        "busybox",
        "sh",
        "-c",
        "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done",
    ]);
    let pid = daemon.ok(&["inspect", "-f", "{{.State.Pid}}", "steady"]);
    let refused = storm(&daemon, 100 * rounds(), 0x9e37_79b9_7f4a_7c15);
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(
        daemon.ok(&["inspect", "-f", "{{.State.Pid}} {{.State.Running}}", "steady"]),
        format!("{pid} true")
    );
    daemon.ok(&["stop", "-t", "0", "steady"]);
    let log = daemon.ok(&["logs", "steady"]);
    let numbers: Vec<u64> = log.lines().map(|line| line.parse().expect("a whole line")).collect();
    assert!(
        numbers.len() > 100 && numbers.iter().zip(1..).all(|(found, wanted)| *found == wanted),
        "every line once, in order"
    );
    remove_all(&daemon);
    // No name stays taken.
    daemon.ok(&["run", "--rm", "--name", "steady", "busybox", "true"]);
    Leftovers::settle(&daemon, &before, "after the daemon's kills");
}

#[test]
fn exit_codes_survive_the_daemons_death() {
    let Some(daemon) = daemon("exits") else { return };
    for round in 0..10 {
        let name = format!("exit{round}");
        daemon.ok(&[
            "run",
            "-d",
            "--name",
            &name,
            "busybox",
            "sh",
            "-c",
            &format!("sleep 0.2; echo end; exit {}", 40 + round),
        ]);
        kill(daemon.daemon().expect("a daemon"));
        assert_eq!(daemon.ok(&["wait", &name]), (40 + round).to_string());
        assert_eq!(daemon.ok(&["logs", &name]), "end");
    }
}

#[test]
fn a_killed_keeper_is_replaced() {
    let Some(mut daemon) = daemon("keeper") else { return };
    daemon.ok(&["run", "-d", "--name", "steady", "busybox", "sleep", "1000"]);
    let pid = daemon.ok(&["inspect", "-f", "{{.State.Pid}}", "steady"]);
    for _ in 0..20 * rounds() {
        kill(daemon.keeper());
        assert_eq!(daemon.ok(&["run", "--rm", "busybox", "echo", "works"]), "works");
    }
    assert_eq!(
        daemon.ok(&["inspect", "-f", "{{.State.Pid}} {{.State.Running}}", "steady"]),
        format!("{pid} true")
    );
    for _ in 0..20 * rounds() {
        kill(daemon.keeper());
        daemon.daemon().into_iter().for_each(kill);
        daemon.start_again();
        assert_eq!(
            daemon.ok(&["inspect", "-f", "{{.State.Pid}} {{.State.Running}}", "steady"]),
            format!("{pid} true")
        );
        assert_eq!(daemon.ok(&["run", "--rm", "busybox", "echo", "works"]), "works");
    }
}
