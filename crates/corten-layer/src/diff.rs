//! Makes a layer's tar of an overlay's upper folder.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

use crate::emit::Emitter;
use crate::metadata::{attribute, is_opaque};
use crate::path::{join, to_path_buf};
use crate::record::RecordWriter;
use crate::root::{is_whiteout, open_folder};
use crate::tar::{Entry, Time};
use crate::walk::{Step, walk};
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
///
/// # Errors
/// Names that begin with `.wh.` cannot be said in a layer: refused, rather than turned into removals.
pub fn diff(
    upper: BorrowedFd<'_>,
    out: &mut dyn Write,
    record: &mut dyn Write,
    options: &DiffOptions,
) -> Result<Diffed, LayerError> {
    diff_without(upper, out, record, options, &|_| false)
}

/// As [`diff`]; what `left_out` says of a path (relative, without a leading slash) is not in the archive, nor is anything
/// below it.
pub fn diff_without(
    upper: BorrowedFd<'_>,
    out: &mut dyn Write,
    record: &mut dyn Write,
    options: &DiffOptions,
    left_out: &dyn Fn(&[u8]) -> bool,
) -> Result<Diffed, LayerError> {
    let mut emitter =
        Emitter::new(out, Some(RecordWriter::new(record)?), &options.owner, options.latest_mtime);
    let start = open_folder(upper, b".").map_err(|error| LayerError::entry("open", b"/", error))?;
    walk(start, b"", &mut |item| {
        if left_out(item.path) {
            return Ok(Step::Over);
        }
        if is_whiteout(item.stat) {
            emitter.bare(mark(item.path, item.name, item.stat.st_mtime))?;
            return Ok(Step::Over);
        }
        if item.name.starts_with(b".wh.") {
            return Err(LayerError::Unsupported {
                path: to_path_buf(item.path),
                what: "a name that means a removal in a layer",
            });
        }
        let Some(folder) = emitter.item(item, item.path)? else { return Ok(Step::Over) };
        refuse_redirect(folder.as_fd(), options.userxattr, item.path)?;
        if is_opaque(folder.as_fd(), options.userxattr, item.path)? {
            emitter.bare(mark(&join(item.path, b".wh..opq"), b".wh..opq", item.stat.st_mtime))?;
        }
        Ok(Step::Into(folder))
    })?;
    emitter.finish()
}

/// The entry that says that the layers below do not show `name`.
fn mark(path: &[u8], name: &[u8], mtime: i64) -> Entry {
    let folder = &path[..path.len() - name.len()];
    Entry {
        path: [folder, b".wh.", name].concat(),
        mode: 0o600,
        mtime: Time { seconds: mtime, nanoseconds: 0 },
        ..Entry::default()
    }
}

/// A renamed folder that overlayfs kept as a reference has its content elsewhere: an archive of it would lack it.
fn refuse_redirect(folder: BorrowedFd<'_>, userxattr: bool, path: &[u8]) -> Result<(), LayerError> {
    let name: &[u8] = if userxattr { b"user.overlay.redirect" } else { b"trusted.overlay.redirect" };
    match attribute(folder, name, path)? {
        None => Ok(()),
        Some(_) => Err(LayerError::Unsupported {
            path: to_path_buf(path),
            what: "a folder that the overlay keeps as a reference (`redirect_dir`)",
        }),
    }
}
