//! What a daemon holds, counted before and after: what grows is a leak.

use crate::bench::engine::children_of;
use std::fs;
use std::path::Path;

/// What one daemon, its keeper and the machine hold for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// Process id of the daemon; another one means that it died in between.
    pub(crate) daemon: u32,
    /// Open descriptors of the daemon.
    pub(crate) descriptors: usize,
    /// Open descriptors of the keeper.
    pub(crate) keeper_descriptors: usize,
    /// Threads of the daemon.
    pub(crate) threads: usize,
    /// Resident memory of the daemon in KiB.
    pub(crate) resident: usize,
    /// The keeper's children: the daemon and the shims.
    pub(crate) processes: usize,
    /// Mounts that this process sees below the daemon's folder.
    pub(crate) mounts: usize,
    /// Cgroups whose path ends in a container's id.
    pub(crate) cgroups: usize,
    /// Network interfaces of the machine.
    pub(crate) interfaces: usize,
}

impl Holdings {
    /// Counts them for the daemon whose data and exec roots are below `folder`.
    pub(crate) fn of(folder: &Path) -> Result<Self, String> {
        let root = folder.display().to_string();
        let mut daemon = None;
        for entry in fs::read_dir("/proc").map_err(|error| error.to_string())?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words);
            if words.contains(&root) && words.split('\0').any(|word| word == "daemon-main") {
                daemon = Some(pid);
            }
        }
        let daemon = daemon.ok_or("the daemon is dead")?;
        let stat = fs::read_to_string(format!("/proc/{daemon}/stat")).unwrap_or_default();
        let keeper = stat.rsplit(") ").next().and_then(|after| after.split(' ').nth(1)?.parse::<u32>().ok());
        let keeper = keeper.ok_or("the daemon is dead")?;
        let count =
            |pid: u32, what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
        let status = fs::read_to_string(format!("/proc/{daemon}/status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Ok(Self {
            daemon,
            descriptors: count(daemon, "fd"),
            keeper_descriptors: count(keeper, "fd"),
            threads: count(daemon, "task"),
            resident: resident
                .and_then(|text| text.trim().split(' ').next()?.parse().ok())
                .unwrap_or_default(),
            processes: children_of(keeper).len(),
            mounts: mounts.lines().filter(|line| line.contains(&root)).count(),
            cgroups: cgroups(Path::new("/sys/fs/cgroup"), 0),
            interfaces: fs::read_dir("/sys/class/net").map_or(0, Iterator::count),
        })
    }

    /// What is more than it was, by more than the allowance of each; nothing where all is well.
    ///
    /// The machine's own numbers (cgroups, interfaces) are told, not judged: others make and remove theirs meanwhile.
    pub(crate) fn growth_since(&self, before: &Self) -> Vec<String> {
        let rows = [
            ("descriptors of the daemon", before.descriptors, self.descriptors, 12),
            ("descriptors of the keeper", before.keeper_descriptors, self.keeper_descriptors, 8),
            ("threads", before.threads, self.threads, 4),
            ("KiB of resident memory", before.resident, self.resident, 48 * 1024),
            ("processes", before.processes, self.processes, 2),
            ("mounts", before.mounts, self.mounts, 0),
        ];
        rows.into_iter()
            .filter(|(_, was, is, allowed)| is > &(was + allowed))
            .map(|(what, was, is, _)| format!("{what}: {was} before, {is} after"))
            .collect()
    }
}

/// Folders named by 64 hexadecimal digits.
fn cgroups(folder: &Path, depth: usize) -> usize {
    let mut found = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name();
        let name = name.to_string_lossy();
        found += usize::from(name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if depth < 6 {
            found += cgroups(&entry.path(), depth + 1);
        }
    }
    found
}
