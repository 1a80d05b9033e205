//! Places inside the container's root: found so that nothing leads out of it, made where they are missing.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use corten_sys::descriptor;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// As many links as the kernel follows in one path.
const MOST_LINKS: usize = 40;

/// What a place is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File,
}

/// Opens a place (as a path only), whatever it is.
pub(super) fn open(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    descriptor::open_in_root(root, path, OFlags::PATH, Mode::empty())
}

/// Opens a place, making it and the folders above where they are missing. Links are followed inside the root,
/// also where they point to something that is not there yet: `/etc/resolv.conf -> ../run/x` makes `/run/x`.
pub(super) fn open_or_create(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    match open(root, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => walk(root, path, kind),
        result => result,
    }
}

/// Makes a folder and those above it.
pub(super) fn create_directories(root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let folder = open_or_create(root, path, Kind::Folder)?;
    if file_type(folder.as_fd())? == FileType::Directory { Ok(()) } else { Err(Errno::NOTDIR.into()) }
}

/// What kind of file a descriptor is.
pub(super) fn file_type(file: BorrowedFd<'_>) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode))
}

/// One component at a time, each opened below the one before without following anything. `..` goes back along
/// the descriptors by which we came, never by the kernel's own `..`, so that a folder which somebody moves
/// away meanwhile cannot take us out of the root.
fn walk(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    let mut above: Vec<OwnedFd> = Vec::new();
    let mut waiting: Vec<OsString> = components(path.as_os_str().as_bytes());
    let mut links = 0;
    let folder_flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    while let Some(name) = waiting.pop() {
        if name == ".." {
            above.pop();
            continue;
        }
        let here = above.last().map_or(root, AsFd::as_fd);
        let last = waiting.is_empty();
        let next = match rustix::fs::openat(here, &name, folder_flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                create(here, &name, if last { kind } else { Kind::Folder })?;
                rustix::fs::openat(here, &name, folder_flags, Mode::empty())?
            }
            result => result?,
        };
        if file_type(next.as_fd())? == FileType::Symlink {
            links += 1;
            if links > MOST_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = rustix::fs::readlinkat(&next, "", Vec::new())?.into_bytes();
            if target.first() == Some(&b'/') {
                above.clear();
            }
            waiting.extend(components(&target));
            continue;
        }
        above.push(next);
    }
    match above.pop() {
        Some(place) => Ok(place),
        None => open(root, Path::new("/")),
    }
}

/// The parts of a path in reverse order, without the empty ones and `.`.
fn components(path: &[u8]) -> Vec<OsString> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| OsString::from_vec(part.to_vec()))
        .rev()
        .collect()
}

fn create(folder: BorrowedFd<'_>, name: &OsStr, kind: Kind) -> io::Result<()> {
    let result = match kind {
        Kind::Folder => rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o755)),
        Kind::File => rustix::fs::openat(
            folder,
            name,
            OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o644),
        )
        .map(drop),
    };
    match result {
        // Somebody else was quicker; the next open shows what it is.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether a folder's own entry is a plain folder: no link on the whole way, nothing to follow.
pub(super) fn open_plain_folder(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let resolve = rustix::fs::ResolveFlags::IN_ROOT | rustix::fs::ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?)
}

/// Gives a node made by us its mode, which the mask of the process may have narrowed.
pub(super) fn set_mode(folder: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::chmodat(folder, name, Mode::from_raw_mode(mode), AtFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Tree(std::path::PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("corten-target-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.join("root")).unwrap();
            Self(path)
        }

        fn create(&self, path: &str, kind: Kind) -> io::Result<OwnedFd> {
            let root = fs::File::open(self.0.join("root")).unwrap();
            open_or_create(root.as_fd(), Path::new(path), kind)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn missing_places_are_made_inside() {
        let tree = Tree::new("missing");
        tree.create("/a/b/file", Kind::File).unwrap();
        assert!(tree.0.join("root/a/b/file").is_file());
        symlink("../run/x/resolv.conf", tree.0.join("root/a/resolv.conf")).unwrap();
        tree.create("/a/resolv.conf", Kind::File).unwrap();
        assert!(tree.0.join("root/run/x/resolv.conf").is_file());
    }

    #[test]
    fn links_and_dots_do_not_lead_out() {
        let tree = Tree::new("out");
        symlink("../../../outside", tree.0.join("root/relative")).unwrap();
        symlink("/outside", tree.0.join("root/absolute")).unwrap();
        for path in ["/relative/file", "/absolute/file", "/../../../outside/file"] {
            tree.create(path, Kind::File).unwrap();
            assert!(!tree.0.join("outside").exists() && !Path::new("/outside").exists());
            assert!(tree.0.join("root/outside/file").is_file(), "{path}");
            fs::remove_dir_all(tree.0.join("root/outside")).unwrap();
        }
        symlink("loop", tree.0.join("root/loop")).unwrap();
        assert!(tree.create("/loop/file", Kind::File).is_err());
    }
}
