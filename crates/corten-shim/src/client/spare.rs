//! Shims that are forked ahead and wait in a cgroup for what to start.

use super::{Events, PreparedStart, Shim, ShimError, StartDescriptors, assemble};
use crate::packet::{self, Incoming, retry};
use crate::protocol::{DescriptorRole, ServerPacket, SpareRequest, StartRequest, VERSION};
use corten_runtime::cgroup::CgroupHandle;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Longest start request that a spare takes, in bytes: it goes on to a process that takes no more.
const LONGEST_START: usize = 64 << 10;

/// Most mount trees of a start that a spare takes, device nodes among them.
const MOST_TREES: usize = 200;

/// A spare shim. Dropped before it was used, it ends the shim.
#[derive(Debug)]
pub struct Spare {
    socket: OwnedFd,
}

/// Makes the packet for the keeper that forks a spare shim for a cgroup, of whose handle only the files to join are
/// used.
///
/// # Errors
/// Where the kernel refuses a socket.
pub fn prepare_spare(mut cgroup: CgroupHandle) -> io::Result<(PreparedStart, Spare)> {
    let (ours, theirs) = packet::pair()?;
    cgroup.trees.clear();
    cgroup.oom = None;
    cgroup.unified = None;
    let (shape, files) = cgroup.into_parts();
    let mut roles = vec![DescriptorRole::Control];
    roles.extend(files.iter().map(|_| DescriptorRole::Cgroup));
    let request = SpareRequest { spare: VERSION, cgroup: shape, descriptors: roles };
    let bytes = serde_json::to_vec(&request)?;
    let descriptors = [theirs].into_iter().chain(files).collect();
    Ok((PreparedStart { bytes, descriptors }, Spare { socket: ours }))
}

impl Spare {
    /// Waits until the shim sits in its cgroup. Blocks.
    ///
    /// # Errors
    /// [`ShimError::Refused`] where it could not; [`ShimError::Gone`] where it ended or takes too long.
    pub fn wait_until_ready(&self, patience: Duration) -> Result<(), ShimError> {
        let timeout = Timespec {
            tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        let _ = retry(|| poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)));
        let packet =
            Incoming::default().receive(self.socket.as_fd()).ok().flatten().ok_or(ShimError::Gone)?;
        match serde_json::from_slice(&packet.document) {
            Ok(ServerPacket::Spare(Ok(()))) => Ok(()),
            // A shim of before spares takes the document for a damaged start.
            Ok(ServerPacket::Spare(Err(failure)) | ServerPacket::Started(Err(failure))) => {
                Err(ShimError::Refused(failure))
            }
            _ => Err(ShimError::Answer),
        }
    }

    /// Whether it is still there.
    pub fn is_there(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(retry(|| poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&now))), Ok(0))
    }

    /// Whether a start with so many mount trees is small enough for a spare.
    pub fn takes(request: &StartRequest, mount_trees: usize) -> bool {
        mount_trees <= MOST_TREES
            && serde_json::to_vec(request).is_ok_and(|document| document.len() <= LONGEST_START)
    }

    /// Sends a start, of which everything is as in [`super::prepare`]. From here on it is a shim as all others. Must
    /// be called inside a tokio runtime.
    ///
    /// # Errors
    /// Where the spare has ended, the kernel refuses a memory file, or the document cannot be written.
    pub fn start(self, request: StartRequest, descriptors: StartDescriptors) -> io::Result<(Shim, Events)> {
        let PreparedStart { bytes, descriptors } = assemble(request, descriptors, None)?;
        packet::send(self.socket.as_fd(), bytes, descriptors)?;
        Shim::from_socket(self.socket)
    }
}
