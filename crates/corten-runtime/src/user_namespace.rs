//! User namespaces: maps of ids, written from outside, and what a process of one cannot do for itself.
//!
//! ```text
//! caller ── clone with a new user namespace ──▶ child: waits
//!    maps, limits and score by /proc/PID and by its number
//!    go ─────────────────────────────────────▶ child: goes on, and becomes root in there once the root is in place
//! ```

use std::os::fd::{AsFd, OwnedFd};

use corten_oci::runtime::{LinuxIdMapping, Process};
use corten_sys::process::{self, CloneOptions, Fork, Namespaces};
use corten_sys::{mount, socket};
use rustix::fs::{FileType, Mode, OFlags};

use crate::error::{Context, LaunchError, LaunchErrorKind, Stage};
use crate::inside;

/// Most lines of a map that the kernel takes (since 4.15).
const MOST_RANGES: usize = 340;

/// Makes a user namespace with these maps, held by the descriptor alone: for mounts that show their files under
/// other ids.
///
/// The caller has one thread.
///
/// # Errors
/// Where the maps are empty or overlap, or the caller may not give away these ids.
pub fn user_namespace(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<OwnedFd, LaunchError> {
    let (ours, theirs) = socket::seqpacket_pair().at(Stage::Prepare, "open a socket")?;
    let options = CloneOptions { namespaces: Namespaces::USER, cgroup: None, sibling: false };
    match process::clone_process(&options).at(Stage::Clone, "make a user namespace")? {
        Fork::Child => {
            drop(ours);
            // Until the caller has its descriptor, or is gone.
            let _ = rustix::io::read(&theirs, &mut [0; 1]);
            process::exit_now(0)
        }
        Fork::Parent(child) => {
            drop(theirs);
            let namespace = write_maps(child.pid, uids, gids).and_then(|()| {
                let path = format!("/proc/{}/ns/user", child.pid);
                rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .at(Stage::Prepare, "open the user namespace")
            });
            drop(ours);
            let _ = process::wait(child.pid);
            namespace
        }
    }
}

/// Gives a process's new user namespace its maps, which can be done once.
pub(crate) fn write_maps(
    pid: i32,
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
) -> Result<(), LaunchError> {
    for (file, what, map) in [("uid_map", "user", uids), ("gid_map", "group", gids)] {
        if map.is_empty() || map.len() > MOST_RANGES {
            return Err(LaunchError::new(
                Stage::Prepare,
                LaunchErrorKind::Invalid,
                format!("a user namespace needs 1 to {MOST_RANGES} ranges of {what} ids, not {}", map.len()),
            ));
        }
        let context = format!("write the map of {what} ids");
        let path = format!("/proc/{pid}/{file}");
        let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .at(Stage::Prepare, &context)?;
        // The kernel takes a map in one write.
        rustix::io::write(&file, map_text(map).as_bytes()).at(Stage::Prepare, &context)?;
    }
    Ok(())
}

fn map_text(map: &[LinuxIdMapping]) -> String {
    let line = |range: &LinuxIdMapping| format!("{} {} {}", range.container_id, range.host_id, range.size);
    let lines: Vec<String> = map.iter().map(line).collect();
    lines.join("\n") + "\n"
}

/// What a start in a new user namespace has beside the others.
#[derive(Debug)]
pub(crate) struct OwnUsers {
    uids: Vec<LinuxIdMapping>,
    gids: Vec<LinuxIdMapping>,
    /// Nobody makes devices in there: nodes of the host by their path, as detached trees.
    pub(crate) nodes: Vec<(String, OwnedFd)>,
    /// The child waits at the second end, which the caller closes when all is ready.
    go: OwnedFd,
    wait: OwnedFd,
}

impl OwnUsers {
    /// Takes the devices while those of the host are in sight.
    pub(crate) fn new(linux: &corten_oci::runtime::Linux) -> Result<Self, LaunchError> {
        let (go, wait) = socket::seqpacket_pair().at(Stage::Prepare, "open a socket")?;
        let own = inside::DEVICE_NODES.iter().map(|(name, major, minor)| {
            (format!("/dev/{name}"), FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
        });
        let mut nodes: Vec<(String, OwnedFd)> = Vec::new();
        for (path, kind, number) in own {
            nodes.push((path.clone(), node(&path, kind, number)?));
        }
        for device in &linux.devices {
            if nodes.iter().any(|(path, _)| *path == device.path) {
                continue;
            }
            let (kind, number) = inside::device_number(device)?;
            nodes.push((device.path.clone(), node(&device.path, kind, number)?));
        }
        Ok(Self { uids: linux.uid_mappings.clone(), gids: linux.gid_mappings.clone(), nodes, go, wait })
    }

    /// In the caller: gives the child its maps and what only the host's root can give, and lets it go on.
    pub(crate) fn release(&self, pid: i32, process: Option<&Process>) -> Result<(), LaunchError> {
        write_maps(pid, &self.uids, &self.gids)?;
        if let Some(process) = process {
            inside::set_outer_limits(pid, process)?;
        }
        rustix::io::write(&self.go, b"g").at(Stage::Prepare, "let the container's process go on").map(drop)
    }

    /// In the child: returns when the maps are there; ends where they never come.
    pub(crate) fn wait(&self) {
        let mut byte = [0; 1];
        loop {
            // Our own copy of the other end stays open, so that a caller who is gone is told by its death signal alone.
            match rustix::io::read(&self.wait, &mut byte) {
                Ok(1) => return,
                Err(rustix::io::Errno::INTR) => {}
                _ => process::exit_now(1),
            }
        }
    }
}

/// The host's node at a path, if it is the device that is meant.
fn node(path: &str, kind: FileType, number: u64) -> Result<OwnedFd, LaunchError> {
    let context = format!("bind the host's device {path}");
    let tree = mount::clone_tree(path, false).map_err(|error| error.source).at(Stage::Prepare, &context)?;
    let stat = rustix::fs::fstat(tree.as_fd()).at(Stage::Prepare, &context)?;
    if FileType::from_raw_mode(stat.st_mode) == kind && (kind == FileType::Fifo || stat.st_rdev == number) {
        return Ok(tree);
    }
    Err(LaunchError::new(
        Stage::Prepare,
        LaunchErrorKind::Invalid,
        format!(
            "{context}: in a user namespace devices cannot be made, and the host has another one at this path"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_written_as_the_kernel_reads_them() {
        let map = [
            LinuxIdMapping { container_id: 0, host_id: 1000, size: 1 },
            LinuxIdMapping { container_id: 1, host_id: 100_000, size: 65_535 },
        ];
        assert_eq!(map_text(&map), "0 1000 1\n1 100000 65535\n");
    }

    #[test]
    fn a_map_without_ranges_is_refused() {
        let error = write_maps(1, &[], &[]).unwrap_err();
        assert!(error.message.contains("1 to 340 ranges of user ids, not 0"), "{}", error.message);
    }
}
