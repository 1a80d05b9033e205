//! Snapshots as full copies: for file systems and kernels without overlayfs. Slow and large, and always works.

use super::index::{About, FILES, SnapshotIndex};
use super::{Mounts, Snapshot, SnapshotKey, SnapshotKind, Snapshots, Usage, overlay, tree};
use crate::Result;
use corten_std::Timestamp;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Snapshots each of which holds the whole tree.
#[derive(Debug)]
pub struct CopySnapshots {
    index: Arc<SnapshotIndex>,
}

impl CopySnapshots {
    pub(crate) fn new(index: Arc<SnapshotIndex>) -> Self {
        Self { index }
    }

    /// Turns an unpacked layer folder into the whole tree upon its parent.
    pub(crate) fn complete(files: &Path, parent: &Path, scratch: &Path) -> Result<()> {
        corten_std::file::create_dir(scratch, 0o755)?;
        tree::copy(parent, scratch)?;
        tree::merge(files, scratch)?;
        corten_std::file::remove_tree(files)?;
        Ok(corten_std::file::rename(scratch, files)?)
    }
}

impl Snapshots for CopySnapshots {
    fn prepare(&self, key: &SnapshotKey, parent: Option<&SnapshotKey>) -> Result<Snapshot> {
        let below = self.index.lowers(parent)?.into_iter().next();
        let about = About { kind: SnapshotKind::Active, parent: parent.cloned(), created: Timestamp::now() };
        self.index.make_active(key, about, |folder| match below {
            Some(below) => tree::copy(&below, &folder.join(FILES)),
            None => Ok(()),
        })
    }

    fn view(&self, key: &SnapshotKey, parent: Option<&SnapshotKey>) -> Result<Snapshot> {
        self.index.lowers(parent)?;
        let about = About { kind: SnapshotKind::View, parent: parent.cloned(), created: Timestamp::now() };
        self.index.make_active(key, about, |_| Ok(()))
    }

    fn sync(&self, key: &SnapshotKey) -> Result<()> {
        // A whole tree was written.
        self.index.active(key)?;
        self.index.sync(&self.index.active_folder(key))
    }

    fn commit(&self, name: &SnapshotKey, key: &SnapshotKey) -> Result<()> {
        overlay::commit(&self.index, name, key)
    }

    fn mounts(&self, key: &SnapshotKey) -> Result<Mounts> {
        let about = self.index.active(key)?;
        let own = self.index.active_folder(key).join(FILES);
        Ok(match about.kind {
            SnapshotKind::View => {
                let whole = self.index.lowers(about.parent.as_ref())?.into_iter().next();
                Mounts::ReadOnly { lowers: vec![whole.unwrap_or(own)] }
            }
            _ => Mounts::Plain(own),
        })
    }

    fn usage(&self, key: &SnapshotKey) -> Result<Usage> {
        overlay::usage(&self.index, key)
    }

    fn remove(&self, key: &SnapshotKey) -> Result<()> {
        self.index.remove(key)
    }

    fn stat(&self, key: &SnapshotKey) -> Result<Snapshot> {
        self.index.stat(key)
    }

    fn walk(&self, visit: &mut dyn FnMut(Snapshot) -> ControlFlow<()>) -> Result<()> {
        overlay::walk(&self.index, visit)
    }

    fn folder(&self, key: &SnapshotKey) -> Result<PathBuf> {
        overlay::folder(&self.index, key)
    }
}
