//! Lists what an upper folder changes.

use std::collections::HashSet;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::LayerError;
use crate::extract::find_below;
use crate::path::{split, to_path_buf};
use crate::root::{is_whiteout, open_folder};
use crate::walk::{Step, walk};

/// How a path differs from the layers below. The numbers are the Engine API's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// `C`
    Modified = 0,
    /// `A`
    Added = 1,
    /// `D`
    Deleted = 2,
}

/// One changed path, absolute in the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path.
    pub path: PathBuf,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// What `upper` changes over `lowers` (topmost first), in the order of the paths.
pub fn changes(
    upper: BorrowedFd<'_>,
    lowers: &[BorrowedFd<'_>],
    userxattr: bool,
) -> Result<Vec<Change>, LayerError> {
    let start = open_folder(upper, b".").map_err(|error| LayerError::entry("open", b"/", error))?;
    let mut changes: Vec<Change> = Vec::new();
    let mut changed_folders: HashSet<Vec<u8>> = HashSet::new();
    walk(start, b"", &mut |item| {
        let inside = if item.file_type() == FileType::Directory {
            match open_folder(item.folder, item.name) {
                Ok(fd) => Some(fd),
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Step::Over),
                Err(error) => return Err(LayerError::entry("open", item.path, error)),
            }
        } else {
            None
        };
        let kind = if is_whiteout(item.stat) {
            Some(ChangeKind::Deleted)
        } else {
            match find_below(lowers, item.path, userxattr)? {
                None => Some(ChangeKind::Added),
                // A folder is here because of what is in it; alone it is no change.
                Some((_, below)) if inside.is_some() && same_folder(item.stat, &below) => None,
                Some(_) => Some(ChangeKind::Modified),
            }
        };
        if let Some(kind) = kind {
            // A changed name is a change of its folder, whatever the folder's times say.
            let (folder, _) = split(item.path).unwrap_or_default();
            if !folder.is_empty() && changed_folders.insert(folder.to_vec()) {
                changes.push(change(folder, ChangeKind::Modified));
            }
            if inside.is_some() {
                changed_folders.insert(item.path.to_vec());
            }
            changes.push(change(item.path, kind));
        }
        Ok(inside.map_or(Step::Over, Step::Into))
    })?;
    changes.sort_by(|left, right| left.path.as_os_str().cmp(right.path.as_os_str()));
    Ok(changes)
}

fn change(path: &[u8], kind: ChangeKind) -> Change {
    Change { path: to_path_buf(&[b"/", path].concat()), kind }
}

fn same_folder(above: &Stat, below: &Stat) -> bool {
    above.st_mode == below.st_mode
        && (above.st_mtime, above.st_mtime_nsec) == (below.st_mtime, below.st_mtime_nsec)
        && (above.st_uid, above.st_gid) == (below.st_uid, below.st_gid)
}
