//! Packs a part of a root file system: copy out of a container, export.

use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::{Diffed, LayerError, OwnerMapping};

/// How to pack.
#[derive(Clone, Debug, Default)]
pub struct PackOptions {
    /// Owners on disk to owners in the archive.
    pub owner: OwnerMapping,
    /// What the packed path is called in the archive.
    pub top: TopName,
}

/// The name of the packed path in the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TopName {
    /// The last part of the path.
    #[default]
    Own,
    /// This name; entries below it begin with it. `/` gives absolute names.
    Renamed(Vec<u8>),
    /// A folder has no entry itself and the names begin below it (export).
    Omitted,
}

/// Writes `path` in `root`, with everything below it, as a tar to `out`, sorted by name. Symbolic links on the way to `path` are
/// followed inside the root, `path` itself and links below it are not.
pub fn pack(
    root: BorrowedFd<'_>,
    path: &Path,
    out: &mut dyn Write,
    options: &PackOptions,
) -> Result<Diffed, LayerError> {
    let _ = (root, path, out, options);
    todo!()
}
