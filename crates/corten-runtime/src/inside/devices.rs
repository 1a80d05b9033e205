//! `/dev`: nodes and links that every container has, and those asked for.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corten_oci::runtime::LinuxDevice;
use rustix::fs::{FileType, Gid, Mode, Uid, makedev};

use super::target::{self, Kind};
use super::{Result, invalid};
use crate::error::{Context, Stage};

/// Name, major, minor; readable and writable by all.
pub(crate) const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Name and where it points.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Fills a fresh tmpfs that is not attached yet: nobody can interfere.
pub(super) fn fill(dev: BorrowedFd<'_>, asked: &[LinuxDevice]) -> Result<()> {
    for (name, major, minor) in NODES {
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(dev, name, FileType::CharacterDevice, mode, makedev(major, minor))
            .at(Stage::Mounts, format_args!("make the device /dev/{name}"))?;
    }
    fill_links(dev)?;
    for device in asked {
        if let Ok(path) = Path::new(&device.path).strip_prefix("/dev") {
            make(dev, path, device)?;
        }
    }
    Ok(())
}

/// The links of a fresh `/dev`.
pub(super) fn fill_links(dev: BorrowedFd<'_>) -> Result<()> {
    for (name, to) in LINKS {
        // Only where the kernel has it, as Docker.
        if name == "core" && rustix::fs::stat(to).is_err() {
            continue;
        }
        rustix::fs::symlinkat(to, dev, name).at(Stage::Mounts, format_args!("make the link /dev/{name}"))?;
    }
    Ok(())
}

/// Binds the host's nodes below `/dev` in an attached one of our own making.
pub(super) fn bind(dev: BorrowedFd<'_>, nodes: &[(String, OwnedFd)]) -> Result<()> {
    for (path, node) in nodes {
        if let Ok(inside) = Path::new(path).strip_prefix("/dev") {
            bind_node(dev, inside, path, node)?;
        }
    }
    Ok(())
}

/// Binds the host's nodes elsewhere than in a `/dev` of our own making; with `dev` missing, all of them.
pub(super) fn bind_in_root(root: BorrowedFd<'_>, has_dev: bool, nodes: &[(String, OwnedFd)]) -> Result<()> {
    for (path, node) in nodes {
        if !has_dev || !path.starts_with("/dev/") {
            bind_node(root, Path::new(path), path, node)?;
        }
    }
    Ok(())
}

fn bind_node(root: BorrowedFd<'_>, inside: &Path, path: &str, node: &OwnedFd) -> Result<()> {
    let context = format!("bind the device {path}");
    let place = target::open_or_create(root, inside, Kind::File).at(Stage::Mounts, &context)?;
    corten_sys::mount::attach_on(node.as_fd(), place.as_fd()).at(Stage::Mounts, &context)
}

/// What is asked for elsewhere than in a `/dev` of our own making; with `dev` missing, all of it: then the image's
/// own folder gets the nodes and links that it lacks.
pub(super) fn fill_root(root: BorrowedFd<'_>, has_dev: bool, asked: &[LinuxDevice]) -> Result<()> {
    if !has_dev {
        let dev =
            target::open_or_create(root, Path::new("/dev"), Kind::Folder).at(Stage::Mounts, "make /dev")?;
        let missing = |result: rustix::io::Result<()>| match result {
            Err(rustix::io::Errno::EXIST) => Ok(()),
            result => result,
        };
        for (name, major, minor) in NODES {
            let mode = Mode::from_raw_mode(0o666);
            missing(rustix::fs::mknodat(&dev, name, FileType::CharacterDevice, mode, makedev(major, minor)))
                .at(Stage::Mounts, format_args!("make the device /dev/{name}"))?;
        }
        for (name, to) in LINKS {
            missing(rustix::fs::symlinkat(to, &dev, name))
                .at(Stage::Mounts, format_args!("make the link /dev/{name}"))?;
        }
    }
    for device in asked {
        let path = Path::new(&device.path);
        if !has_dev || !path.starts_with("/dev") {
            let path = path
                .strip_prefix("/")
                .map_err(|_| invalid(format!("device {} is no absolute path", device.path)))?;
            make(root, path, device)?;
        }
    }
    Ok(())
}

fn make(dev: BorrowedFd<'_>, path: &Path, device: &LinuxDevice) -> Result<()> {
    let context = format!("make the device {}", device.path);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(invalid(format!("device {} has no name", device.path)));
    };
    let (kind, numbers) = numbers(device)?;
    let folder = target::open_or_create(dev, folder, Kind::Folder).at(Stage::Mounts, &context)?;
    let mode = device.file_mode.unwrap_or(0o666) & 0o7777;
    match rustix::fs::mknodat(&folder, name, kind, Mode::from_raw_mode(mode), numbers) {
        Ok(()) => {}
        // One of the nodes that are always there, or just this one.
        Err(rustix::io::Errno::EXIST)
            if is_default(path.as_os_str()) || is_same(folder.as_fd(), name, kind, numbers) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error).at(Stage::Mounts, &context),
    }
    target::set_mode(folder.as_fd(), name, mode).at(Stage::Mounts, &context)?;
    let (uid, gid) = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
    rustix::fs::chownat(
        &folder,
        name,
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .at(Stage::Mounts, &context)
}

/// What a device of the document is: its kind and its number.
pub(crate) fn numbers(device: &LinuxDevice) -> Result<(FileType, u64)> {
    let kind = match device.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        other => return Err(invalid(format!("device {} is of the unknown kind {other}", device.path))),
    };
    let number = |value: i64| {
        u32::try_from(value).map_err(|_| invalid(format!("device {} has a bad number", device.path)))
    };
    Ok((kind, makedev(number(device.major)?, number(device.minor)?)))
}

fn is_same(folder: BorrowedFd<'_>, name: &OsStr, kind: FileType, numbers: u64) -> bool {
    rustix::fs::statat(folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == kind && (kind == FileType::Fifo || stat.st_rdev == numbers)
    })
}

fn is_default(name: &OsStr) -> bool {
    NODES.iter().any(|(node, ..)| name == *node) || LINKS.iter().any(|(link, _)| name == *link)
}
