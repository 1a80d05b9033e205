//! Folder trees of the store's own: copy, merge, count. Nothing else changes them meanwhile, and symbolic
//! links in them are never followed.

use super::Usage;
use crate::Result;
use corten_std::PathError;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Copies folder `from` into the existing folder `to`: content, hard links, devices, owners, modes, times,
/// extended attributes.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    copy_folder(from, to, &mut HashMap::new())
}

fn copy_folder(from: &Path, to: &Path, links: &mut HashMap<(u64, u64), PathBuf>) -> Result<()> {
    for name in corten_std::file::list(from)? {
        let (source, target) = (from.join(&name), to.join(&name));
        let metadata = stat(&source)?;
        if metadata.is_dir() {
            corten_std::file::create_dir(&target, 0o700)?;
            copy_folder(&source, &target, links)?;
            continue;
        }
        if metadata.nlink() > 1 {
            if let Some(first) = links.get(&(metadata.dev(), metadata.ino())) {
                fs::hard_link(first, &target).map_err(|source| PathError::new("link", &target, source))?;
                continue;
            }
            links.insert((metadata.dev(), metadata.ino()), target.clone());
        }
        copy_one(&source, &target, &metadata)?;
        copy_attributes(&source, &target, &metadata)?;
    }
    copy_attributes(from, to, &stat(from)?)
}

fn copy_one(source: &Path, target: &Path, metadata: &Metadata) -> Result<()> {
    let kind = metadata.file_type();
    let made = if kind.is_symlink() {
        fs::read_link(source).and_then(|link| std::os::unix::fs::symlink(link, target))
    } else if kind.is_file() {
        // The standard library asks the kernel to copy, which shares blocks where the file system can.
        fs::copy(source, target).map(drop)
    } else {
        let kind = if kind.is_char_device() {
            FileType::CharacterDevice
        } else if kind.is_block_device() {
            FileType::BlockDevice
        } else if kind.is_fifo() {
            FileType::Fifo
        } else {
            FileType::Socket
        };
        rustix::fs::mknodat(CWD, target, kind, Mode::from_raw_mode(0o600), metadata.rdev())
            .map_err(Into::into)
    };
    made.map_err(|error| PathError::new("copy", source, error).into())
}

/// Owner, then mode (a change of owner drops set-id bits), extended attributes, times.
fn copy_attributes(source: &Path, target: &Path, metadata: &Metadata) -> Result<()> {
    let failed = |error: rustix::io::Errno| PathError::new("set the attributes of", target, error);
    let (uid, gid) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    rustix::fs::chownat(CWD, target, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    if !metadata.is_symlink() {
        rustix::fs::chmodat(CWD, target, Mode::from_raw_mode(metadata.mode() & 0o7777), AtFlags::empty())
            .map_err(failed)?;
    }
    for name in attribute_names(source)? {
        if let Some(value) = attribute(source, &name)? {
            rustix::fs::lsetxattr(target, name.as_os_str(), &value, XattrFlags::empty()).map_err(failed)?;
        }
    }
    let time = |seconds, nanos| Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec() as _),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec() as _),
    };
    rustix::fs::utimensat(CWD, target, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    Ok(())
}

fn attribute_names(path: &Path) -> Result<Vec<OsString>> {
    let mut buffer = vec![0; 64 * 1024];
    let length = match rustix::fs::llistxattr(path, &mut buffer) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(PathError::new("list the attributes of", path, error).into()),
    };
    buffer.truncate(length);
    Ok(buffer
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| OsStr::from_bytes(name).to_owned())
        .collect())
}

fn attribute(path: &Path, name: &OsStr) -> Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 64 * 1024];
    match rustix::fs::lgetxattr(path, name, &mut buffer) {
        Ok(length) => {
            buffer.truncate(length);
            Ok(Some(buffer))
        }
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::NOTSUP) => Ok(None),
        Err(error) => Err(PathError::new("read an attribute of", path, error).into()),
    }
}

/// Moves an unpacked layer (overlayfs's marks for what it removes) onto the full tree `onto`, which then shows
/// what an overlay of the two would.
pub(crate) fn merge(layer: &Path, onto: &Path) -> Result<()> {
    for name in corten_std::file::list(layer)? {
        let (source, target) = (layer.join(&name), onto.join(&name));
        let metadata = stat(&source)?;
        let below = match fs::symlink_metadata(&target) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(PathError::new("look at", &target, error).into()),
        };
        if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
            remove(&target, below.as_ref())?;
        } else if metadata.is_dir() {
            if below.as_ref().is_some_and(Metadata::is_dir) && !is_opaque(&source)? {
                merge(&source, &target)?;
            } else {
                remove(&target, below.as_ref())?;
                corten_std::file::create_dir(&target, 0o700)?;
                merge(&source, &target)?;
            }
        } else {
            remove(&target, below.as_ref())?;
            corten_std::file::rename(&source, &target)?;
        }
    }
    // Last, because filling a folder changes its times.
    copy_attributes(layer, onto, &stat(layer)?)?;
    for name in OPAQUE {
        let _ = rustix::fs::lremovexattr(onto, *name);
    }
    Ok(())
}

const OPAQUE: &[&str] = &["trusted.overlay.opaque", "user.overlay.opaque"];

fn is_opaque(folder: &Path) -> Result<bool> {
    for name in OPAQUE {
        if attribute(folder, OsStr::new(name))?.as_deref() == Some(b"y") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn remove(path: &Path, metadata: Option<&Metadata>) -> Result<()> {
    match metadata {
        None => {}
        Some(metadata) if metadata.is_dir() => corten_std::file::remove_tree(path)?,
        Some(_) => corten_std::file::remove_file(path)?,
    }
    Ok(())
}

/// Gives `folder` the owner and mode of `like`: an overlay's root shows those of its upper folder.
pub(crate) fn root_attributes(like: &Path, folder: &Path) -> Result<()> {
    let metadata = stat(like)?;
    let failed = |error: rustix::io::Errno| PathError::new("set the attributes of", folder, error);
    let own = stat(folder)?;
    if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
        rustix::fs::chownat(
            CWD,
            folder,
            Some(Uid::from_raw(metadata.uid())),
            Some(Gid::from_raw(metadata.gid())),
            AtFlags::empty(),
        )
        .map_err(failed)?;
    }
    if own.mode() & 0o7777 != metadata.mode() & 0o7777 {
        rustix::fs::chmodat(CWD, folder, Mode::from_raw_mode(metadata.mode() & 0o7777), AtFlags::empty())
            .map_err(failed)?;
    }
    Ok(())
}

/// What a tree holds, the top folder counted. A container may be at work in it.
pub(crate) fn usage(folder: &Path) -> Usage {
    let mut usage = Usage::default();
    corten_std::file::each_inode(folder, |inode| {
        usage.inodes += 1;
        usage.size += if inode.is_file { inode.length } else { 0 };
    });
    usage
}

fn stat(path: &Path) -> Result<Metadata> {
    fs::symlink_metadata(path).map_err(|source| PathError::new("look at", path, source).into())
}
