//! Trees on disk, folder by folder, without recursion (a container can nest folders as deep as it likes).

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, RawDir, Stat};
use rustix::io::Errno;

use crate::LayerError;
use crate::path::join;
use crate::root::{DEEPEST, open_folder, stat};

/// One thing met on a walk.
pub(crate) struct Item<'a> {
    /// The folder it is in.
    pub(crate) folder: BorrowedFd<'a>,
    /// Its name there.
    pub(crate) name: &'a [u8],
    /// Its path: the walk's prefix and the names below.
    pub(crate) path: &'a [u8],
    /// What it is.
    pub(crate) stat: &'a Stat,
}

impl Item<'_> {
    pub(crate) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// Where a walk goes on.
pub(crate) enum Step {
    /// With the next name.
    Over,
    /// Into this folder.
    Into(OwnedFd),
}

struct Level {
    fd: OwnedFd,
    /// Length of this level's path.
    path: usize,
    /// Names still to come, last first.
    names: Vec<Vec<u8>>,
}

/// Visits everything below `start` in the order of the names' bytes, a folder before what is in it. What vanishes
/// meanwhile is left out.
pub(crate) fn walk(
    start: OwnedFd,
    prefix: &[u8],
    visit: &mut dyn FnMut(&Item<'_>) -> Result<Step, LayerError>,
) -> Result<(), LayerError> {
    let mut path = prefix.to_vec();
    let mut levels = vec![level(start, &path)?];
    while let Some(last) = levels.last_mut() {
        path.truncate(last.path);
        let Some(name) = last.names.pop() else {
            levels.pop();
            continue;
        };
        path = join(&path, &name);
        let stat = match stat(last.fd.as_fd(), &name) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(LayerError::entry("look at", &path, error)),
        };
        let item = Item { folder: last.fd.as_fd(), name: &name, path: &path, stat: &stat };
        if let Step::Into(fd) = visit(&item)? {
            if levels.len() >= DEEPEST {
                return Err(too_deep(&path));
            }
            levels.push(level(fd, &path)?);
        }
    }
    Ok(())
}

/// Removes `name` in `folder` with everything below it. `before` is called with the path (`path` and the names
/// below) of each thing that is not a folder before it goes.
pub(crate) fn remove(
    folder: BorrowedFd<'_>,
    name: &[u8],
    path: &[u8],
    before: &mut dyn FnMut(&Item<'_>) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let failed = |path: &[u8], error| LayerError::entry("remove", path, error);
    let mut levels: Vec<Emptied> = Vec::new();
    let mut path = path.to_vec();
    let mut name = name.to_vec();
    loop {
        let fd = levels.last().map_or(folder, |level| level.fd.as_fd());
        match stat(fd, &name) {
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(&path, error)),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                if levels.len() >= DEEPEST {
                    return Err(too_deep(&path));
                }
                let fd = open_folder(fd, &name).map_err(|error| failed(&path, error))?;
                let names = read_names(fd.as_fd(), &path)?;
                levels.push(Emptied { fd, name: std::mem::take(&mut name), path: path.len(), names });
            }
            Ok(stat) => {
                before(&Item { folder: fd, name: &name, path: &path, stat: &stat })?;
                rustix::fs::unlinkat(fd, name.as_slice(), AtFlags::empty())
                    .map_err(|error| failed(&path, error))?;
            }
        }
        // The next name; folders that are empty now go.
        loop {
            let Some(level) = levels.last_mut() else { return Ok(()) };
            path.truncate(level.path);
            if let Some(next) = level.names.pop() {
                path = join(&path, &next);
                name = next;
                break;
            }
            let Some(level) = levels.pop() else { return Ok(()) };
            let fd = levels.last().map_or(folder, |level| level.fd.as_fd());
            rustix::fs::unlinkat(fd, level.name.as_slice(), AtFlags::REMOVEDIR)
                .map_err(|error| failed(&path, error))?;
        }
    }
}

/// A folder whose content is being removed.
struct Emptied {
    fd: OwnedFd,
    /// Its name in the level above.
    name: Vec<u8>,
    /// Length of its path.
    path: usize,
    /// Names still to be removed.
    names: Vec<Vec<u8>>,
}

fn too_deep(path: &[u8]) -> LayerError {
    LayerError::Name { path: crate::path::to_path_buf(path), reason: "its folders are nested too deep" }
}

fn level(fd: OwnedFd, path: &[u8]) -> Result<Level, LayerError> {
    let mut names = read_names(fd.as_fd(), path)?;
    names.sort_unstable_by(|left, right| right.cmp(left));
    Ok(Level { fd, path: path.len(), names })
}

/// The names in a freshly opened folder, in no order.
pub(crate) fn read_names(fd: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<Vec<u8>>, LayerError> {
    let mut names = Vec::new();
    let mut buffer = vec![MaybeUninit::uninit(); 32 * 1024];
    let mut entries = RawDir::new(fd, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|error| LayerError::entry("list", path, error))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}
