//! The program, run so that nobody can write to it through us.
//!
//! Whoever gets into a container's place before its command runs, or has our program run as the command
//! (`#!/proc/self/exe`), finds our file behind `/proc/PID/exe` (CVE-2019-5736). So the keeper runs from a read-only
//! mount of the file, attached nowhere: the link leads to that mount, which nobody can make writable. Daemons and shims
//! come of the keeper and have it with them.

use corten_sys::mount;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A program to be executed.
#[derive(Debug)]
pub(crate) enum Program {
    /// By the read-only mount of its file.
    Protected(OwnedFd),
    /// As it is: without privileges there are no mounts, and no containers of other users.
    Plain(PathBuf),
}

impl Program {
    /// The path to execute, while this lives.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Protected(mount) => PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd())),
            Self::Plain(path) => path.clone(),
        }
    }
}

/// What tells one program's file from another: device, inode, size, and when its content changed.
pub(crate) type Stamp = (u64, u64, u64, i64, i64);

/// The file's stamp; none where there is no file.
pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}

/// The program at `path`, read-only where we are privileged.
///
/// # Errors
/// Where the mount cannot be made.
pub(crate) fn protected(path: &Path, privileged: bool) -> io::Result<Program> {
    if !privileged {
        return Ok(Program::Plain(path.to_owned()));
    }
    mount::clone_read_only(path).map(Program::Protected).map_err(|error| error.source)
}
