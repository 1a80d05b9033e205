//! What a daemon may leave on the machine, seen with the kernel's eyes.

use corten_testing::daemon::ScratchDaemon;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// So many shims wait at most, while containers are started in a burst.
const MOST_SPARES: usize = 16;

/// Everything of one daemon, by name; what it keeps ready for the next start has names that change, and is counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Leftovers {
    mounts: BTreeSet<String>,
    /// Interfaces on the bridge: as many as are kept ready.
    bridge_ports: usize,
    /// Pinned network namespaces: as many as are kept ready.
    namespaces: usize,
    /// Records of network sandboxes.
    sandboxes: usize,
    cgroups: BTreeSet<String>,
    /// Shims beyond those that wait in a spare cgroup: one for each container that runs.
    shim_processes: isize,
    /// Whether no more spares wait than a daemon ever keeps.
    spares_are_few: bool,
    map_elements: BTreeSet<String>,
    /// Sockets that shims listen on.
    shims: BTreeSet<String>,
    /// Everything but shims: keeper and daemon.
    processes: Vec<String>,
    folders: BTreeSet<String>,
}

impl Leftovers {
    /// Looks once.
    pub(crate) fn of(daemon: &ScratchDaemon) -> Self {
        let root = daemon.folder().display().to_string();
        let lines_with_root = |file: &str, what: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            text.lines().filter(|line| line.contains(&root) && what(line)).map(str::to_owned).collect()
        };
        let parent = format!("/corten-{}/", daemon.bridge());
        let name = |folder: &str| folder.rsplit('/').next().unwrap_or_default().to_owned();
        let (cgroups, spare_cgroups): (BTreeSet<_>, BTreeSet<_>) = folders_below(Path::new("/sys/fs/cgroup"))
            .into_iter()
            .filter(|folder| folder.contains(&parent))
            .partition(|folder| corten_std::id::is_full(&name(folder)));
        // One folder of the same name in each hierarchy.
        let spares: BTreeSet<String> = spare_cgroups.iter().map(|folder| name(folder)).collect();
        let mut folders = BTreeSet::new();
        for folder in [
            daemon.data_root().join("containers"),
            daemon.data_root().join("snapshots/active"),
            daemon.data_root().join("volumes"),
            daemon.data_root().join("tmp"),
            daemon.exec_root().join("containers"),
            daemon.exec_root().join("exits"),
        ] {
            folders.extend(entries(&folder).map(|path| path.display().to_string()));
        }
        for birthplace in entries(&daemon.data_root().join("new")) {
            folders.extend(entries(&birthplace).map(|path| path.display().to_string()));
        }
        let rules = output("nft", &["list", "table", "inet", &format!("corten-{}", daemon.bridge())]);
        let ports = output("ip", &["-o", "link", "show", "master", daemon.bridge()]);
        let all = daemon.family().into_iter().map(|(_, name)| name);
        // A spare shim has a second process, which sits in its cgroup.
        let (shims, mut processes): (Vec<String>, Vec<String>) =
            all.filter(|name| name != "corten-seat").partition(|name| name == "corten-shim");
        processes.sort();
        Self {
            mounts: lines_with_root("/proc/self/mountinfo", &|line| !line.contains("/netns/")),
            bridge_ports: ports.lines().count(),
            namespaces: entries(&daemon.exec_root().join("netns")).count(),
            sandboxes: entries(&daemon.exec_root().join("sandboxes")).count(),
            cgroups,
            shim_processes: shims.len().cast_signed() - spares.len().cast_signed(),
            spares_are_few: spares.len() <= MOST_SPARES,
            map_elements: rules.lines().filter(|line| line.contains("18333")).map(str::to_owned).collect(),
            shims: lines_with_root("/proc/net/unix", &|line| line.contains("shim.sock")),
            processes,
            folders,
        }
    }

    /// Looks when the daemon has filled what it keeps ready: two looks in a row see the same.
    pub(crate) fn at_rest(daemon: &ScratchDaemon) -> Self {
        let mut before = Self::of(daemon);
        for _ in 0..50 {
            std::thread::sleep(Duration::from_millis(200));
            let now = Self::of(daemon);
            if now == before {
                break;
            }
            before = now;
        }
        // Exit codes that will be forgotten.
        let exits = daemon.exec_root().join("exits");
        before.folders.retain(|folder| !Path::new(folder).starts_with(&exits));
        before
    }

    /// Waits for background removals (exit codes of containers that are gone are kept ten seconds), then compares.
    pub(crate) fn settle(daemon: &ScratchDaemon, before: &Self, when: &str) {
        let start = Instant::now();
        loop {
            let now = Self::of(daemon);
            if now == *before {
                return;
            }
            assert!(
                start.elapsed() < corten_testing::patience(20),
                "left over {when}:\n{now:#?}\nbefore:\n{before:#?}\n{}",
                daemon.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What is left of a daemon that is gone; empty is good.
pub(crate) fn of_the_gone(folder: &Path, bridge: &str) -> Vec<String> {
    let folder = folder.display().to_string();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut left: Vec<String> =
        mounts.lines().filter(|line| line.contains(&folder)).map(str::to_owned).collect();
    let own = format!("/corten-{bridge}");
    left.extend(folders_below(Path::new("/sys/fs/cgroup")).into_iter().filter(|path| path.contains(&own)));
    left.extend(output("ip", &["-o", "link", "show", bridge]).lines().map(str::to_owned));
    left.extend(output("nft", &["list", "table", "inet", &own[1..]]).lines().map(str::to_owned));
    left.extend(Path::new(&folder).exists().then_some(folder));
    left
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Every folder below one, as text.
fn folders_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut to_see = vec![folder.to_owned()];
    while let Some(folder) = to_see.pop() {
        for path in entries(&folder).filter(|path| path.is_dir() && !path.is_symlink()) {
            found.push(path.display().to_string());
            to_see.push(path);
        }
    }
    found
}
