//! Unpacks a plain tar into a root file system: copy into a container.

use std::io::Read;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::extract::Extractor;
use crate::path::{clean_typed, to_path_buf};
use crate::root::{Root, as_it_is};
use crate::tar::Reader;
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
    let mut root = Root::new(root)?;
    let path = clean_typed(into.as_os_str().as_bytes())?.into_owned();
    let base = root.folder(&path, &mut as_it_is)?;
    let mut extractor = Extractor::new(root, options.owner.clone());
    extractor.base.clone_from(&base.path);
    if options.no_overwrite_dir_non_dir {
        extractor.ground.keep_kinds = Some(Path::new("/").join(to_path_buf(&base.path)));
    }
    let mut reader = Reader::new(tar);
    while let Some(entry) = reader.next_entry()? {
        extractor.place(&entry, &mut reader)?;
    }
    // The sender may be stuck until all of it is read.
    while !reader.trailing()?.is_empty() {}
    let counts = extractor.finish()?;
    Ok(Unpacked { entries: counts.entries, content_size: counts.content_size })
}
