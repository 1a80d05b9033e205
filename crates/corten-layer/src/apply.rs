//! Unpacks a layer's tar into a layer folder.

use std::io::{Read, Write};
use std::os::fd::BorrowedFd;

use crate::extract::{Extractor, LayerPart};
use crate::record::RecordWriter;
use crate::root::Root;
use crate::tar::Reader;
use crate::{LayerError, OwnerMapping};

/// How to apply a layer.
#[derive(Clone, Debug, Default)]
pub struct ApplyOptions<'a> {
    /// Owners in the archive to owners on disk.
    pub owner: OwnerMapping,
    /// Marks for overlayfs go to `user.overlay.*` instead of `trusted.overlay.*` (mounts with `userxattr`).
    pub userxattr: bool,
    /// Folders of the layers below, topmost first. A folder that the archive needs but does not hold is made
    /// with the owner, mode and times it has there, and hard links may lead there.
    pub parents: Vec<BorrowedFd<'a>>,
}

/// What [`apply`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Length of the tar, in bytes.
    pub tar_size: u64,
    /// Bytes of file content in it.
    pub content_size: u64,
    /// Entries, whiteouts included.
    pub entries: u64,
    /// Whiteouts and opaque marks.
    pub whiteouts: u64,
    /// Extended attributes that the file system or our rights refused.
    pub refused_xattrs: u64,
    /// Device nodes left out because making them was not permitted.
    pub refused_devices: u64,
}

/// Unpacks `tar` (uncompressed) into `root`, and writes to `record` what [`crate::reproduce`] needs. Whiteouts become
/// overlayfs's: a character device 0/0, or the opaque attribute. `tar` is read to its very end, so that a
/// hashing reader sees all of it. Nothing is synced. On an error the folder is left as far as it got.
pub fn apply(
    tar: impl Read,
    root: BorrowedFd<'_>,
    record: &mut dyn Write,
    options: &ApplyOptions<'_>,
) -> Result<Applied, LayerError> {
    let mut extractor = Extractor::new(Root::new(root)?, options.owner.clone());
    extractor.ground.layer = Some(LayerPart {
        userxattr: options.userxattr,
        parents: options.parents.clone(),
        record: RecordWriter::new(record)?,
    });
    let mut reader = Reader::new(tar);
    let mut raw = Vec::new();
    loop {
        raw.clear();
        reader.take_padding(&mut raw)?;
        let padding = raw.len();
        let entry = reader.next_with_raw(&mut raw)?;
        let layer = extractor.ground.layer.as_mut();
        if let Some(layer) = layer {
            layer.record.raw(&raw[..padding])?;
            layer.record.raw(&raw[padding..])?;
        }
        let Some(entry) = entry else { break };
        extractor.place(&entry, &mut reader)?;
    }
    loop {
        let piece = reader.trailing()?;
        if piece.is_empty() {
            break;
        }
        if let Some(layer) = extractor.ground.layer.as_mut() {
            layer.record.raw(piece)?;
        }
    }
    extractor.finish()
}
