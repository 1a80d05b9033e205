//! User namespaces: maps of ids, written from outside, and what a process of one cannot do for itself.
//!
//! ```text
//! caller ── clone with a new user namespace ──▶ child: waits
//!    maps, limits and score by /proc/PID and by its number
//!    go ─────────────────────────────────────▶ child: goes on, and becomes root in there once the root is in place
//! ```
//!
//! A namespace that exists already is entered by a process in between, as the new namespaces are to belong to it:
//!
//! ```text
//! caller ──┬── first: enters what exists, the user namespace last ─ ─ makes ─ ─┐
//!          └── child (new namespaces): waits, goes on as above   ◀ ─ ─ ─ ─ ─ ─ ┘
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_oci::runtime::{Linux, LinuxIdMapping, Process};
use corten_sys::mount::{AttributeChange, Attributes};
use corten_sys::process;
use corten_sys::{mount, socket};
use rustix::fs::FileType;

use crate::error::{Context, LaunchError, LaunchErrorKind, Stage};
use crate::inside;
use crate::request::ChildStdio;

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
    check_maps(uids, gids)?;
    corten_sys::user_namespace::make(&map_text(uids), &map_text(gids))
        .at(Stage::Clone, "make a user namespace")
}

/// Gives a process's new user namespace its maps, which can be done once.
pub(crate) fn write_maps(
    pid: i32,
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
) -> Result<(), LaunchError> {
    check_maps(uids, gids)?;
    corten_sys::user_namespace::write_maps(pid, &map_text(uids), &map_text(gids))
        .at(Stage::Prepare, "write the maps of the user namespace")
}

fn check_maps(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<(), LaunchError> {
    for (what, map) in [("user", uids), ("group", gids)] {
        if map.is_empty() || map.len() > MOST_RANGES {
            return Err(LaunchError::new(
                Stage::Prepare,
                LaunchErrorKind::Invalid,
                format!("a user namespace needs 1 to {MOST_RANGES} ranges of {what} ids, not {}", map.len()),
            ));
        }
    }
    Ok(())
}

/// A map as the kernel reads it.
pub fn map_text(map: &[LinuxIdMapping]) -> String {
    let line = |range: &LinuxIdMapping| format!("{} {} {}", range.container_id, range.host_id, range.size);
    let lines: Vec<String> = map.iter().map(line).collect();
    lines.join("\n") + "\n"
}

/// What a start in another user namespace than the caller's has beside the others.
#[derive(Debug)]
pub(crate) struct OwnUsers {
    /// One that exists already, until it is entered.
    pub(crate) joined: Option<OwnedFd>,
    /// It is a new one, which gets the maps.
    is_new: bool,
    uids: Vec<LinuxIdMapping>,
    gids: Vec<LinuxIdMapping>,
    /// Nobody makes devices in there: nodes of the host by their path, as detached trees.
    pub(crate) nodes: Vec<(String, OwnedFd)>,
    /// The child waits at the second end, which the caller closes when all is ready.
    go: OwnedFd,
    wait: OwnedFd,
}

impl OwnUsers {
    /// Takes the devices while those of the host are in sight, but for those that are given.
    pub(crate) fn new(
        linux: &Linux,
        joined: Option<OwnedFd>,
        given: &[(String, OwnedFd)],
    ) -> Result<Self, LaunchError> {
        let (go, wait) = socket::seqpacket_pair().at(Stage::Prepare, "open a socket")?;
        let nodes = host_nodes(linux, given)?;
        let (uids, gids) = (linux.uid_mappings.clone(), linux.gid_mappings.clone());
        Ok(Self { is_new: joined.is_none(), joined, uids, gids, nodes, go, wait })
    }

    /// In the caller: gives the child its maps and what only the host's root can give, and lets it go on.
    pub(crate) fn release(
        &self,
        pid: i32,
        process: Option<&Process>,
        stdio: &ChildStdio,
    ) -> Result<(), LaunchError> {
        if self.is_new {
            write_maps(pid, &self.uids, &self.gids)?;
        }
        if let Some(process) = process {
            inside::set_outer_limits(pid, process)?;
        }
        give_pipes(pid, stdio);
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

/// The devices of a container in which none can be made, taken while those of the host are in sight, but for those that
/// are given: by path.
pub(crate) fn host_nodes(
    linux: &Linux,
    given: &[(String, OwnedFd)],
) -> Result<Vec<(String, OwnedFd)>, LaunchError> {
    let mut nodes: Vec<(String, OwnedFd)> = Vec::new();
    for (path, kind, number) in device_nodes(linux)? {
        let tree = match given.iter().find(|(given, _)| *given == path) {
            Some((_, tree)) => tree.try_clone().at(Stage::Prepare, "copy a device's descriptor")?,
            None => device_tree(&path, &path, kind, number)?,
        };
        nodes.push((path, tree));
    }
    Ok(nodes)
}

/// The devices that a container in a user namespace has, with what they must be: where in the container, and which.
///
/// # Errors
/// Where the document asks for one that cannot be.
pub fn device_nodes(linux: &Linux) -> Result<Vec<(String, FileType, u64)>, LaunchError> {
    let own = inside::DEVICE_NODES.iter().map(|(name, major, minor)| {
        (format!("/dev/{name}"), FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
    });
    let mut all: Vec<_> = own.collect();
    for device in &linux.devices {
        if !all.iter().any(|(path, ..)| *path == device.path) {
            let (kind, number) = inside::device_number(device)?;
            all.push((device.path.clone(), kind, number));
        }
    }
    Ok(all)
}

/// The host's node at `source` as a detached tree, if it is the device that is meant for `path` in the container.
///
/// # Errors
/// Where there is none, or another one.
pub fn device_tree(source: &str, path: &str, kind: FileType, number: u64) -> Result<OwnedFd, LaunchError> {
    let context = format!("bind the host's device {path}");
    let tree = mount::clone_tree(source, false).map_err(|error| error.source).at(Stage::Prepare, &context)?;
    let stat = rustix::fs::fstat(tree.as_fd()).at(Stage::Prepare, &context)?;
    if FileType::from_raw_mode(stat.st_mode) == kind && (kind == FileType::Fifo || stat.st_rdev == number) {
        let change = AttributeChange { set: Attributes::MOUNT_ATTR_NOSUID, ..AttributeChange::default() };
        mount::set_attributes(tree.as_fd(), &change).at(Stage::Prepare, &context)?;
        return Ok(tree);
    }
    Err(LaunchError::new(
        Stage::Prepare,
        LaunchErrorKind::Invalid,
        format!(
            "{context}: in a user namespace devices cannot be made, and the host has another one at {source}"
        ),
    ))
}

/// Gives the pipes among a process's streams to the root of its user namespace, who could not open them by
/// `/dev/stdout` otherwise, nor give them on. What is not the caller's own stays whose it is.
pub(crate) fn give_pipes(pid: i32, stdio: &ChildStdio) {
    if let Some((uid, gid)) = root_of(pid) {
        give_pipes_to(uid, gid, stdio);
    }
}

/// Gives the pipes among a process's streams to somebody; what is not the caller's own stays whose it is.
pub fn give_pipes_to(uid: u32, gid: u32, stdio: &ChildStdio) {
    let ChildStdio::Pipes { stdin, stdout, stderr } = stdio else { return };
    let ours = rustix::process::geteuid().as_raw();
    for stream in [stdin, stdout, stderr] {
        let is_ours = rustix::fs::fstat(stream)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo && stat.st_uid == ours);
        if is_ours {
            let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
            let _ = rustix::fs::fchown(stream, Some(uid), Some(gid));
        }
    }
}

/// What root of a user namespace with these maps is outside; none where there is no root.
pub fn root_of_maps(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Option<(u32, u32)> {
    let id =
        |map: &[LinuxIdMapping]| map.iter().find(|range| range.container_id == 0).map(|range| range.host_id);
    Some((id(uids)?, id(gids)?))
}

/// Who root of a process's user namespace is for us.
fn root_of(pid: i32) -> Option<(u32, u32)> {
    let id = |file: &str| host_id(&std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?, 0);
    Some((id("uid_map")?, id("gid_map")?))
}

/// What an id is outside, by a map of `/proc`; none where no line of the map begins with it.
pub fn host_id(map: &str, id: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()?.parse() == Ok(id)).then(|| words.next()?.parse().ok())?
    })
}

/// Whether the caller's own user namespace is another than the machine's.
pub fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_ascii_whitespace().ne(["0", "0", "4294967295"])
}

/// Whether a namespace is the caller's own, which the kernel refuses to enter.
pub(crate) fn is_our_own(namespace: BorrowedFd<'_>) -> bool {
    let own = rustix::fs::stat("/proc/self/ns/user");
    own.is_ok_and(|own| {
        rustix::fs::fstat(namespace).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (own.st_dev, own.st_ino))
    })
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
    fn root_is_found_in_a_map() {
        assert_eq!(host_id("         0     100000      65536\n", 0), Some(100_000));
        assert_eq!(host_id("1 5 1\n0 7 1\n", 0), Some(7));
        assert_eq!(host_id("1 5 1\n", 0), None);
    }

    #[test]
    fn a_map_without_ranges_is_refused() {
        let error = write_maps(1, &[], &[]).unwrap_err();
        assert!(error.message.contains("1 to 340 ranges of user ids, not 0"), "{}", error.message);
    }
}
