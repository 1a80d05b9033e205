//! Makes a layer's tar of an overlay's upper folder.

use std::io::Write;
use std::os::fd::BorrowedFd;

use crate::{LayerError, OwnerMapping};

/// How to make a layer's tar.
#[derive(Clone, Debug, Default)]
pub struct DiffOptions {
    /// Owners on disk to owners in the archive.
    pub owner: OwnerMapping,
    /// Overlayfs's marks are in `user.overlay.*`.
    pub userxattr: bool,
    /// No entry is younger than this (seconds since 1970): `SOURCE_DATE_EPOCH`.
    pub latest_mtime: Option<i64>,
}

/// What [`diff`] made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Diffed {
    /// Length of the tar, in bytes.
    pub tar_size: u64,
    /// Bytes of file content in it.
    pub content_size: u64,
    /// Entries, whiteouts included.
    pub entries: u64,
}

/// Writes the content of `upper` as a layer's tar to `out`, in the order of the names, and the record for
/// [`crate::reproduce`] to `record`. An upper folder with nothing in it gives an empty archive.
pub fn diff(
    upper: BorrowedFd<'_>,
    out: &mut dyn Write,
    record: &mut dyn Write,
    options: &DiffOptions,
) -> Result<Diffed, LayerError> {
    let _ = (upper, out, record, options);
    todo!()
}
