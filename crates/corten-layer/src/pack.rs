//! Packs a part of a root file system: copy out of a container, export.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::FileType;

use crate::emit::Emitter;
use crate::path::{clean_typed, join, last_part, wants_folder};
use crate::root::{Root, as_it_is, open_folder, stat};
use crate::walk::{Item, Step, walk};
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
    let mut emitter = Emitter::new(out, None, &options.owner, None);
    let mut root = Root::new(root)?;
    let bytes = path.as_os_str().as_bytes();
    let clean = clean_typed(bytes)?;
    // No entry is called `..`, whatever was typed.
    let own = match last_part(bytes) {
        b".." if clean.is_empty() => b"/",
        b".." => last_part(&clean),
        own => own,
    };
    let top: &[u8] = match &options.top {
        TopName::Own => own,
        TopName::Renamed(name) => name,
        TopName::Omitted => b"",
    };
    let (folder, name, stat) = if wants_folder(bytes) || clean.is_empty() {
        let folder = root.folder(&clean, &mut as_it_is)?;
        let stat =
            rustix::fs::fstat(&folder.fd).map_err(|error| LayerError::entry("look at", bytes, error))?;
        (folder, &b"."[..], stat)
    } else {
        let Some((folder, name)) = root.parent(&clean, &mut as_it_is)? else {
            return Err(LayerError::entry("find", bytes, rustix::io::Errno::NOENT));
        };
        let stat = stat(folder.fd.as_fd(), name).map_err(|error| LayerError::entry("find", bytes, error))?;
        (folder, name, stat)
    };
    let item = Item { folder: folder.fd.as_fd(), name, path: &clean, stat: &stat };
    let inside = if options.top == TopName::Omitted && item.file_type() == FileType::Directory {
        Some(open_folder(item.folder, name).map_err(|error| LayerError::entry("open", bytes, error))?)
    } else {
        emitter.item(&item, if top.is_empty() { own } else { top })?
    };
    if let Some(inside) = inside {
        walk(inside, b"", &mut |item| {
            let name = if top == b"/" { [b"/", item.path].concat() } else { join(top, item.path) };
            Ok(emitter.item(item, &name)?.map_or(Step::Over, Step::Into))
        })?;
    }
    emitter.finish()
}
