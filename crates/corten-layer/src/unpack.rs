//! Unpacks a plain tar into a root file system: copy into a container.

use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::{LayerError, OwnerMapping};

/// How to unpack.
#[derive(Clone, Debug, Default)]
pub struct UnpackOptions {
    /// Owners in the archive to owners on disk. [`OwnerMapping::Fixed`] gives everything to one user.
    pub owner: OwnerMapping,
    /// Refuse to put a file where a folder is, or a folder where a file is, instead of replacing it.
    pub no_overwrite_dir_non_dir: bool,
}

/// What [`unpack`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries.
    pub entries: u64,
    /// Bytes of file content.
    pub content_size: u64,
}

/// Unpacks `tar` (uncompressed) into the folder `into` of `root`. Links in `into` and in the archive are
/// followed inside the root only, also while a container changes them. Names that begin with `.wh.` are ordinary here.
pub fn unpack(
    tar: impl Read,
    root: BorrowedFd<'_>,
    into: &Path,
    options: &UnpackOptions,
) -> Result<Unpacked, LayerError> {
    let _ = (tar, root, into, options);
    todo!()
}
