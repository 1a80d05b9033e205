//! Lists what an upper folder changes.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use crate::LayerError;

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
    let _ = (upper, lowers, userxattr);
    todo!()
}
