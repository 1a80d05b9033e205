//! Ways inside a root that no archive and no container can lead out of.
//!
//! A folder is opened from the root's descriptor, part by part; the kernel is never asked to follow a symbolic
//! link or `..`. Links are read and walked here, with `/` and too many `..` meaning the root. (The first try is one
//! `openat2` that allows no links at all; most paths have none.) Whoever renames folders meanwhile can make a walk fail
//! or end elsewhere *inside* the root, never outside of it.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::LayerError;
use crate::path::{join, split};

/// Folders inside folders, at most: bounds descriptors and memory.
pub(crate) const DEEPEST: usize = 1024;
/// Symbolic links on one way, as the kernel has it.
const MOST_LINKS: usize = 40;
/// Folders kept open.
const MOST_OPEN: usize = 128;

/// How a folder is opened: readable, because owners, modes, times and attributes are set through the descriptor.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);

/// An open folder of the root.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) fd: OwnedFd,
    /// Clean, and without symbolic links.
    pub(crate) path: Vec<u8>,
}

impl Folder {
    /// The path of something in this folder.
    pub(crate) fn child(&self, name: &[u8]) -> Vec<u8> {
        join(&self.path, name)
    }
}

/// A name in an open folder.
pub(crate) type Place<'p> = (Rc<Folder>, &'p [u8]);

/// What a walk met instead of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Nothing has this name.
    Missing,
    /// Something that is neither folder nor symbolic link.
    NotAFolder,
}

/// Called with a folder and a name in it that should be a folder and is not; returns whether it is one now.
pub(crate) type Mender<'m> = &'m mut dyn FnMut(&Folder, &[u8], Obstacle) -> Result<bool, LayerError>;

/// A root, with the folders that were used last kept open.
pub(crate) struct Root {
    top: Rc<Folder>,
    open: HashMap<Vec<u8>, Rc<Folder>>,
}

impl Root {
    /// Begins to work in the folder `root`, which may be a path descriptor.
    pub(crate) fn new(root: BorrowedFd<'_>) -> Result<Self, LayerError> {
        let fd = rustix::fs::openat(root, c".", FOLDER, Mode::empty())
            .map_err(|error| LayerError::entry("open", b"/", error))?;
        Ok(Self { top: Rc::new(Folder { fd, path: Vec::new() }), open: HashMap::new() })
    }

    /// The root itself.
    pub(crate) fn top(&self) -> &Rc<Folder> {
        &self.top
    }

    /// The folder that holds the last part of the clean `path`, and that part. The last part is not looked at.
    /// `None` for the root.
    pub(crate) fn parent<'p>(
        &mut self,
        path: &'p [u8],
        mender: Mender<'_>,
    ) -> Result<Option<Place<'p>>, LayerError> {
        let Some((folder, name)) = split(path) else { return Ok(None) };
        Ok(Some((self.folder(folder, mender)?, name)))
    }

    /// The folder at the clean `path`, links followed.
    pub(crate) fn folder(&mut self, path: &[u8], mender: Mender<'_>) -> Result<Rc<Folder>, LayerError> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.top));
        }
        if let Some(folder) = self.open.get(path) {
            return Ok(Rc::clone(folder));
        }
        let folder = match self.straight(path) {
            Some(fd) => Rc::new(Folder { fd, path: path.to_vec() }),
            None => self.walk(path, mender)?,
        };
        self.remember(path.to_vec(), &folder);
        Ok(folder)
    }

    /// Keeps a folder open that was just made.
    pub(crate) fn remember(&mut self, path: Vec<u8>, folder: &Rc<Folder>) {
        if self.open.len() >= MOST_OPEN {
            self.open.clear();
        }
        self.open.insert(path, Rc::clone(folder));
    }

    /// To be called when a folder or link was removed: paths may now mean something else.
    pub(crate) fn forget(&mut self) {
        self.open.clear();
    }

    /// Opens `path` in one call, where no link is on the way and it is not too deep.
    pub(crate) fn straight(&self, path: &[u8]) -> Option<OwnedFd> {
        if path.split(|&byte| byte == b'/').count() > DEEPEST {
            return None;
        }
        open_beneath(self.top.fd.as_fd(), path, FOLDER).ok()
    }

    fn walk(&self, path: &[u8], mender: Mender<'_>) -> Result<Rc<Folder>, LayerError> {
        let failed = |error: Errno| LayerError::entry("open", path, error);
        let mut way = vec![Rc::clone(&self.top)];
        // The parts still to go, last first.
        let mut parts: Vec<Vec<u8>> = path.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec).collect();
        let mut links = 0;
        while let Some(part) = parts.pop() {
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    if way.len() > 1 {
                        way.pop();
                    }
                    continue;
                }
                _ => {}
            }
            if way.len() > DEEPEST {
                return Err(LayerError::Name {
                    path: crate::path::to_path_buf(path),
                    reason: "its folders are nested too deep",
                });
            }
            let folder = Rc::clone(way.last().unwrap_or(&self.top));
            let mut mended = false;
            let fd = loop {
                let obstacle = match rustix::fs::openat(&folder.fd, part.as_slice(), FOLDER, Mode::empty()) {
                    Ok(fd) => break Some(fd),
                    Err(Errno::NOENT) => Obstacle::Missing,
                    Err(Errno::NOTDIR | Errno::LOOP) => {
                        match rustix::fs::readlinkat(&folder.fd, part.as_slice(), Vec::new()) {
                            Ok(target) => {
                                links += 1;
                                if links > MOST_LINKS {
                                    return Err(failed(Errno::LOOP));
                                }
                                let target = target.as_bytes();
                                if target.first() == Some(&b'/') {
                                    way.truncate(1);
                                }
                                parts.extend(target.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec));
                                break None;
                            }
                            Err(Errno::INVAL) => Obstacle::NotAFolder,
                            Err(Errno::NOENT) => Obstacle::Missing,
                            Err(error) => return Err(failed(error)),
                        }
                    }
                    Err(error) => return Err(failed(error)),
                };
                if mended || !mender(&folder, &part, obstacle)? {
                    let error = if obstacle == Obstacle::Missing { Errno::NOENT } else { Errno::NOTDIR };
                    return Err(failed(error));
                }
                mended = true;
            };
            if let Some(fd) = fd {
                let path = folder.child(&part);
                way.push(Rc::new(Folder { fd, path }));
            }
        }
        Ok(way.pop().unwrap_or_else(|| Rc::clone(&self.top)))
    }
}

/// A mender that mends nothing: what is missing stays missing.
pub(crate) fn as_it_is(_: &Folder, _: &[u8], _: Obstacle) -> Result<bool, LayerError> {
    Ok(false)
}

/// Opens the clean `path` below `folder`, refusing links on the way and at its end.
pub(crate) fn open_beneath(folder: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(folder, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Opens the folder `name` in `folder`, which must not be a link.
pub(crate) fn open_folder(folder: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(folder, name, FOLDER, Mode::empty())
}

/// Opens a regular file for reading without touching its access time where that is allowed.
///
/// What is there is looked at before it is opened: a container that exchanges a file for a device node must not have us
/// open a device of the host, which may do something by being opened.
///
/// # Errors
/// `Errno::INVAL` where it is not a regular file (any more).
pub(crate) fn open_file(folder: BorrowedFd<'_>, path: &[u8]) -> Result<(std::fs::File, u64), Errno> {
    let place = match open_beneath(folder, path, OFlags::PATH | OFlags::NOFOLLOW) {
        // No openat2 here: a single name can be opened without it.
        Err(Errno::NOSYS) if !path.contains(&b'/') => {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(folder, path, flags, Mode::empty())
        }
        other => other,
    }?;
    let stat = rustix::fs::fstat(&place)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    let same = format!("/proc/self/fd/{}", place.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(same.as_str(), flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::open(same.as_str(), flags, Mode::empty()),
        other => other,
    }?;
    Ok((file.into(), stat.st_size as u64))
}

/// What `name` in `folder` is, itself.
pub(crate) fn stat(folder: BorrowedFd<'_>, name: &[u8]) -> Result<rustix::fs::Stat, Errno> {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Whether this is overlayfs's mark for a removed name.
pub(crate) fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// A path that means `name` in `folder` to system calls that take no descriptor. Its last part must not be followed.
pub(crate) fn by_descriptor(folder: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    join(format!("/proc/self/fd/{}", folder.as_raw_fd()).as_bytes(), name)
}

/// Changes the mode of something that is neither file nor folder, and only if it still is of the kind `expected`.
pub(crate) fn change_mode_of_special(
    folder: BorrowedFd<'_>,
    name: &[u8],
    expected: FileType,
    mode: u32,
) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != expected {
        return Err(Errno::AGAIN);
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())
}
