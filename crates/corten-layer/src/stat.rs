//! What a path inside a root is, in the words of the Engine API.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use corten_std::Timestamp;
use serde::{Deserialize, Serialize};

use crate::LayerError;

/// The document of the header `X-Docker-Container-Path-Stat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStat {
    /// Last part of the path as asked for; `/` for the root.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Go's `os.FileMode`: permissions, and the kind in the high bits. See [`go_mode`].
    pub mode: u32,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// For a symbolic link: where it leads in the end, as an absolute path in the root; else empty.
    #[serde(rename = "linkTarget")]
    pub link_target: String,
}

/// Looks at `path` in `root` without following its last part (unless it ends in `/`).
pub fn stat_in_root(root: BorrowedFd<'_>, path: &Path) -> Result<PathStat, LayerError> {
    let _ = (root, path);
    todo!()
}

/// Follows every symbolic link of `path` inside `root` and gives the absolute path it stands for.
pub fn resolve_in_root(root: BorrowedFd<'_>, path: &Path) -> Result<PathBuf, LayerError> {
    let _ = (root, path);
    todo!()
}

/// `st_mode` as Go's `os.FileMode`.
pub fn go_mode(st_mode: u32) -> u32 {
    let _ = st_mode;
    todo!()
}
