//! Owner, mode, times and extended attributes: from an entry to disk and from disk to an entry.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::root::by_descriptor;
use crate::tar::{Attributes, Entry, EntryKind, Time};
use crate::{LayerError, OwnerMapping};

/// Where overlayfs keeps its marks.
pub(crate) fn opaque_attribute(userxattr: bool) -> &'static [u8] {
    if userxattr { b"user.overlay.opaque" } else { b"trusted.overlay.opaque" }
}

/// Whether an attribute belongs to a file's content rather than to this host: overlayfs's own marks would let an archive
/// steer the mount, and labels of security modules are the host's business.
pub(crate) fn portable(name: &[u8]) -> bool {
    if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
        return false;
    }
    !name.starts_with(b"security.") || name == b"security.capability"
}

/// Whether an attribute goes into archives that we make.
fn archived(name: &[u8]) -> bool {
    portable(name) && (name.starts_with(b"user.") || name == b"security.capability")
}

/// Sets owner, attributes, mode and times of an open file or folder, in the order in which none undoes another.
/// Gives the number of attributes that were refused.
pub(crate) fn set_by_descriptor(
    fd: BorrowedFd<'_>,
    entry: &Entry,
    path: &[u8],
    owner: &OwnerMapping,
) -> Result<u64, LayerError> {
    let failed = |operation| move |error: Errno| LayerError::entry(operation, path, error);
    if let Some((uid, gid)) = owner.to_host(entry.uid, entry.gid, path)? {
        rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(failed("change the owner of"))?;
    }
    let mut refused = 0;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| portable(name)) {
        let outcome = rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty());
        refused += settle(outcome, path)?;
    }
    rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode)).map_err(failed("change the mode of"))?;
    if entry.kind != EntryKind::Directory {
        rustix::fs::futimens(fd, &times(entry)).map_err(failed("set the times of"))?;
    }
    Ok(refused)
}

/// The same for something that cannot be opened (links, devices), but for the mode.
pub(crate) fn set_by_name(
    folder: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    path: &[u8],
    owner: &OwnerMapping,
) -> Result<u64, LayerError> {
    let failed = |operation| move |error: Errno| LayerError::entry(operation, path, error);
    if let Some((uid, gid)) = owner.to_host(entry.uid, entry.gid, path)? {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("change the owner of"))?;
    }
    let mut refused = 0;
    for (attribute, value) in entry.xattrs.iter().filter(|(attribute, _)| portable(attribute)) {
        let path_of_link = by_descriptor(folder, name);
        let outcome =
            rustix::fs::lsetxattr(path_of_link.as_slice(), attribute.as_slice(), value, XattrFlags::empty());
        refused += settle(outcome, path)?;
    }
    rustix::fs::utimensat(folder, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("set the times of"))?;
    Ok(refused)
}

/// Attributes that the file system does not know, or that we may not set, are counted and left out, as Docker does.
fn settle(outcome: Result<(), Errno>, path: &[u8]) -> Result<u64, LayerError> {
    match outcome {
        Ok(()) => Ok(0),
        Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL | Errno::ACCESS) => Ok(1),
        Err(error) => Err(LayerError::entry("set an attribute of", path, error)),
    }
}

/// Modification and access time; without an access time the former stands for both.
pub(crate) fn times(entry: &Entry) -> Timestamps {
    Timestamps {
        last_access: timespec(entry.atime.unwrap_or(entry.mtime)),
        last_modification: timespec(entry.mtime),
    }
}

fn timespec(time: Time) -> Timespec {
    Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() }
}

/// An entry with owner, mode and time as on disk; the time in whole seconds, as Docker's layers have it.
pub(crate) fn entry_of(stat: &Stat, path: &[u8], owner: &OwnerMapping) -> Result<Entry, LayerError> {
    let (uid, gid) = owner.to_archive(stat.st_uid, stat.st_gid, path)?;
    Ok(Entry {
        path: path.to_vec(),
        mode: stat.st_mode & 0o7777,
        uid: uid.into(),
        gid: gid.into(),
        mtime: Time { seconds: stat.st_mtime, nanoseconds: 0 },
        ..Entry::default()
    })
}

/// The attributes of an open file or folder that go into an archive, sorted.
pub(crate) fn read_attributes(fd: BorrowedFd<'_>, path: &[u8]) -> Result<Attributes, LayerError> {
    let mut attributes = Vec::new();
    for name in attribute_names(fd, path)? {
        if !archived(&name) {
            continue;
        }
        if let Some(mut value) = attribute(fd, &name, path)? {
            if name == b"security.capability" && value.len() >= 20 && value[3] == 3 {
                // Revision 3 names the root user of one namespace; revision 2 holds everywhere.
                value[3] = 2;
                value.truncate(20);
            }
            attributes.push((name, value));
        }
    }
    attributes.sort();
    Ok(attributes)
}

/// One attribute's value; `None` where it does not exist.
pub(crate) fn attribute(fd: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<Option<Vec<u8>>, LayerError> {
    let failed = |error| LayerError::entry("read an attribute of", path, error);
    let mut small = [0_u8; 256];
    match rustix::fs::fgetxattr(fd, name, &mut small[..]) {
        Ok(length) => return Ok(Some(small[..length].to_vec())),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(failed(error)),
    }
    // The kernel's limit for a value.
    let mut big = vec![0_u8; 65536];
    match rustix::fs::fgetxattr(fd, name, big.as_mut_slice()) {
        Ok(length) => Ok(Some(big[..length].to_vec())),
        Err(Errno::NODATA) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Whether a folder hides what is below it.
pub(crate) fn is_opaque(folder: BorrowedFd<'_>, userxattr: bool, path: &[u8]) -> Result<bool, LayerError> {
    Ok(attribute(folder, opaque_attribute(userxattr), path)?.is_some_and(|value| value == b"y"))
}

/// Makes a folder hide what is below it.
pub(crate) fn make_opaque(folder: impl AsFd, userxattr: bool, path: &[u8]) -> Result<(), LayerError> {
    rustix::fs::fsetxattr(folder, opaque_attribute(userxattr), b"y", XattrFlags::empty())
        .map_err(|error| LayerError::entry("mark as opaque", path, error))
}

fn attribute_names(fd: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<Vec<u8>>, LayerError> {
    let failed = |error| LayerError::entry("list the attributes of", path, error);
    let mut small = [0_u8; 1024];
    let list = match rustix::fs::flistxattr(fd, &mut small[..]) {
        Ok(length) => small[..length].to_vec(),
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            // The kernel's limit for a list.
            let mut big = vec![0_u8; 65536];
            let length = rustix::fs::flistxattr(fd, big.as_mut_slice()).map_err(failed)?;
            big.truncate(length);
            big
        }
        Err(error) => return Err(failed(error)),
    };
    Ok(list.split(|&byte| byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_the_host_are_not_content() {
        for (name, expected) in [
            ("user.mime_type", true),
            ("security.capability", true),
            ("trusted.other", true),
            ("trusted.overlay.opaque", false),
            ("trusted.overlay.redirect", false),
            ("user.overlay.opaque", false),
            ("security.selinux", false),
            ("security.ima", false),
        ] {
            assert_eq!(portable(name.as_bytes()), expected, "{name}");
        }
    }
}
