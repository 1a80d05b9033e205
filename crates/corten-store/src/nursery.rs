//! Where new folders are made before they are renamed into place.
//!
//! ext4 without a journal does not give an inode away again for one to six minutes (`recently_deleted()`,
//! fs/ext4/ialloc.c), and looks at each such inode of the block group in turn, for every file that is made. Where
//! containers come and go a hundred times a second that makes each new file ten times as dear. A folder's files lie in the folder's block group,
//! and the folders of one marked as the top of a hierarchy (`FS_TOPDIR_FL`) are spread over the groups: so there folders are
//! made below 128 such folders in turn. Renaming leaves an inode where it is.

use crate::Result;
use corten_std::{PathError, file};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags, major, minor};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many birthplaces there are, each in a block group that ext4 picks.
const PLACES: usize = 128;

/// `statfs` of ext2, ext3 and ext4 (include/uapi/linux/magic.h).
const EXT4_MAGIC: i64 = 0xef53;

/// Says where the next new folder is made.
#[derive(Debug)]
pub(crate) struct Nursery {
    temporary: PathBuf,
    birthplaces: PathBuf,
    spread: bool,
    next: AtomicUsize,
}

impl Nursery {
    /// Looks at the file system of `temporary`, which is there, and makes `birthplaces` where folders are better spread.
    pub(crate) fn open(temporary: PathBuf, birthplaces: PathBuf) -> Self {
        let spread = lacks_journal(&temporary) && {
            let made = make_top(&birthplaces);
            if let Err(error) = &made {
                tracing::debug!(error = corten_std::chain(error), "new folders are not spread");
            }
            made.is_ok()
        };
        Self { temporary, birthplaces, spread, next: AtomicUsize::new(0) }
    }

    /// Where all this lies: `tmp/`.
    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Everything that is left over of new folders, and of what was being removed.
    pub(crate) fn leftovers(&self) -> Result<Vec<PathBuf>> {
        let mut places = vec![self.temporary.clone()];
        places.extend(list(&self.birthplaces)?);
        let mut left = Vec::new();
        for place in places {
            left.extend(list(&place)?);
        }
        Ok(left)
    }

    /// A folder, which exists, for a new folder to be made in.
    pub(crate) fn place(&self) -> Result<PathBuf> {
        if !self.spread {
            return Ok(self.temporary.clone());
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed) % PLACES;
        let place = self.birthplaces.join(number.to_string());
        match std::fs::create_dir(&place) {
            Ok(()) => Ok(place),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(place),
            Err(source) => Err(PathError::new("create", place, source).into()),
        }
    }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(file::list(folder)?.into_iter().map(|name| folder.join(name)).collect())
}

/// Makes the folder whose folders are spread.
fn make_top(top: &Path) -> std::result::Result<(), PathError> {
    file::create_dir_all(top)?;
    let folder = file::open(top)?;
    let mark = || {
        let flags = ioctl_getflags(&folder)?;
        if flags.contains(IFlags::TOPDIR) {
            return Ok(());
        }
        ioctl_setflags(&folder, flags | IFlags::TOPDIR)
    };
    mark().map_err(|error: rustix::io::Errno| PathError::new("mark", top, error))
}

/// Whether `folder` is on ext4 without a journal, as far as `/proc` and `/sys` tell.
fn lacks_journal(folder: &Path) -> bool {
    let about = || -> io::Result<bool> {
        if rustix::fs::statfs(folder)?.f_type != EXT4_MAGIC {
            return Ok(false);
        }
        let device = rustix::fs::stat(folder)?.st_dev;
        let link = std::fs::read_link(format!("/sys/dev/block/{}:{}", major(device), minor(device)))?;
        let Some(name) = link.file_name().and_then(|name| name.to_str()) else { return Ok(false) };
        if !Path::new("/proc/fs/ext4").join(name).is_dir() {
            return Ok(false);
        }
        // A journal shows as `NAME-INODE`, after the device that it lies on.
        let journals = match std::fs::read_dir("/proc/fs/jbd2") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            other => other?,
        };
        for journal in journals {
            let journal = journal?.file_name();
            let journal = journal.to_string_lossy();
            if journal.rsplit_once('-').is_some_and(|(device, _)| device == name) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    about().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways lead to a folder below `temporary` that is there, and spreading uses more than one.
    #[test]
    fn new_folders_are_made_below_temporary_in_turn() {
        for spread in [false, true] {
            let scratch = corten_testing::Scratch::new("nursery");
            let birthplaces = scratch.path().join("new");
            let mut nursery = Nursery::open(scratch.path().to_owned(), birthplaces.clone());
            nursery.spread = spread;
            std::fs::create_dir_all(&birthplaces).unwrap();
            let places: std::collections::BTreeSet<PathBuf> =
                (0..PLACES * 2).map(|_| nursery.place().unwrap()).collect();
            assert_eq!(places.len(), if spread { PLACES } else { 1 });
            assert!(places.iter().all(|place| place.starts_with(scratch.path()) && place.is_dir()));
        }
    }
}
