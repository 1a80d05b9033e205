//! Snapshots as layer folders for overlayfs: making one costs a few folders, whatever lies below it.

use super::index::{About, FILES, KEY, SnapshotIndex, Staged, WORK};
use super::{CommittedRow, Mounts, Snapshot, SnapshotKey, SnapshotKind, Snapshots, Usage, tree};
use crate::{Result, StoreError};
use corten_std::{Timestamp, file};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

/// Snapshots whose layers an overlay joins.
#[derive(Debug)]
pub struct OverlaySnapshots {
    index: Arc<SnapshotIndex>,
}

impl OverlaySnapshots {
    pub(crate) fn new(index: Arc<SnapshotIndex>) -> Self {
        Self { index }
    }

    fn make(&self, kind: SnapshotKind, key: &SnapshotKey, parent: Option<&SnapshotKey>) -> Result<Snapshot> {
        let lowest = self.index.lowers(parent)?.into_iter().next();
        let about = About { kind, parent: parent.cloned(), created: Timestamp::now() };
        self.index.make_active(key, about, |folder| {
            if kind == SnapshotKind::Active {
                file::create_dir(folder.join(WORK), 0o700)?;
            }
            match lowest {
                Some(lowest) => tree::root_attributes(&lowest, &folder.join(FILES)),
                None => Ok(()),
            }
        })
    }
}

impl Snapshots for OverlaySnapshots {
    fn prepare(&self, key: &SnapshotKey, parent: Option<&SnapshotKey>) -> Result<Snapshot> {
        self.make(SnapshotKind::Active, key, parent)
    }

    fn view(&self, key: &SnapshotKey, parent: Option<&SnapshotKey>) -> Result<Snapshot> {
        self.make(SnapshotKind::View, key, parent)
    }

    fn sync(&self, key: &SnapshotKey) -> Result<()> {
        self.index.sync_active(key)
    }

    fn commit(&self, name: &SnapshotKey, key: &SnapshotKey) -> Result<()> {
        commit(&self.index, name, key)
    }

    fn mounts(&self, key: &SnapshotKey) -> Result<Mounts> {
        let about = self.index.active(key)?;
        let folder = self.index.active_folder(key);
        let lowers = self.index.lowers(about.parent.as_ref())?;
        Ok(match (about.kind, lowers.is_empty()) {
            (SnapshotKind::View, true) => Mounts::ReadOnly { lowers: vec![folder.join(FILES)] },
            (SnapshotKind::View, false) => Mounts::ReadOnly { lowers },
            (_, true) => Mounts::Plain(folder.join(FILES)),
            (_, false) => Mounts::Overlay { lowers, upper: folder.join(FILES), work: folder.join(WORK) },
        })
    }

    fn usage(&self, key: &SnapshotKey) -> Result<Usage> {
        usage(&self.index, key)
    }

    fn remove(&self, key: &SnapshotKey) -> Result<()> {
        self.index.remove(key)
    }

    fn stat(&self, key: &SnapshotKey) -> Result<Snapshot> {
        self.index.stat(key)
    }

    fn walk(&self, visit: &mut dyn FnMut(Snapshot) -> ControlFlow<()>) -> Result<()> {
        walk(&self.index, visit)
    }

    fn folder(&self, key: &SnapshotKey) -> Result<PathBuf> {
        folder(&self.index, key)
    }
}

/// Commits an active snapshot: its folder becomes a committed one, durably. Shared by the implementations.
pub(super) fn commit(index: &SnapshotIndex, name: &SnapshotKey, key: &SnapshotKey) -> Result<()> {
    let about = index.active(key)?;
    if about.kind != SnapshotKind::Active {
        return Err(StoreError::SnapshotState {
            key: key.to_string(),
            found: about.kind.word(),
            wanted: "active",
        });
    }
    if index.row(name).is_some() || (name != key && index.active(name).is_ok()) {
        return Err(StoreError::SnapshotExists(name.to_string()));
    }
    let folder = index.active_folder(key);
    let row = CommittedRow {
        number: 0,
        parent: about.parent,
        created: Timestamp::now(),
        boot: index.boot().to_owned(),
        usage: tree::usage(&folder.join(FILES)),
        for_images: false,
        layer: None,
        disk: None,
    };
    // Should we be killed between the rename and the database commit, the key tells the sweep whose it was.
    file::write(folder.join(KEY), key.as_str())?;
    index.sync(&folder)?;
    let mut staged = Staged { name: name.clone(), folder: folder.clone(), row };
    let change = index.place(&mut staged)?;
    let place = index.folder_of(&staged.row);
    let outcome = file::sync_dir(index.committed_folder())
        .map_err(StoreError::from)
        .and_then(|()| index.database().write(vec![change]));
    if let Err(error) = outcome {
        let _ = super::rename_new(&place, &folder);
        return Err(error);
    }
    index.forget_active(key);
    index.settle(staged);
    let _ = file::remove_file(place.join(KEY));
    let _ = file::remove_tree(place.join(WORK));
    Ok(())
}

/// What a snapshot of any kind occupies.
pub(super) fn usage(index: &SnapshotIndex, key: &SnapshotKey) -> Result<Usage> {
    if let Some(row) = index.row(key) {
        return Ok(row.usage);
    }
    index.active(key)?;
    Ok(tree::usage(&index.active_folder(key).join(FILES)))
}

/// Shows every snapshot.
pub(super) fn walk(index: &SnapshotIndex, visit: &mut dyn FnMut(Snapshot) -> ControlFlow<()>) -> Result<()> {
    for snapshot in index.all()? {
        if visit(snapshot).is_break() {
            break;
        }
    }
    Ok(())
}

/// Where the files of a snapshot of any kind lie.
pub(super) fn folder(index: &SnapshotIndex, key: &SnapshotKey) -> Result<PathBuf> {
    if let Some(row) = index.row(key) {
        return Ok(index.folder_of(&row).join(FILES));
    }
    index.active(key)?;
    Ok(index.active_folder(key).join(FILES))
}
