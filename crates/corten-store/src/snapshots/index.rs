//! What snapshots there are: rows of committed ones in memory and in the database, active ones as folders.
//!
//! Shared by every implementation that keeps its snapshots as folders.

use super::{Snapshot, SnapshotKey, SnapshotKind, Usage, rename_new};
use crate::database::{Change, Database, SNAPSHOTS, lock};
use crate::reaper::Reaper;
use crate::sync::Syncs;
use crate::{Result, StoreError};
use corten_oci::Digest;
use corten_std::{Timestamp, file};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

/// A snapshot's own files, within its folder.
pub(crate) const FILES: &str = "fs";
/// Overlayfs's own folder.
pub(crate) const WORK: &str = "work";
/// What makes the layer's tar again.
pub(crate) const RECORD: &str = "record";
/// What an active snapshot is.
const ABOUT: &str = "about.json";

/// The row of a committed snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CommittedRow {
    /// Its folder is `committed/NUMBER`.
    pub(crate) number: u64,
    pub(crate) parent: Option<SnapshotKey>,
    pub(crate) created: Timestamp,
    /// The boot in which it was committed.
    pub(crate) boot: String,
    pub(crate) usage: Usage,
    /// Whether it is there for images only, and goes when no image, child or lease needs it.
    #[serde(default)]
    pub(crate) for_images: bool,
    /// The layer archive it was made of.
    #[serde(default)]
    pub(crate) layer: Option<LayerRow>,
    /// Bytes that its folder takes on the disk; none until somebody asks.
    #[serde(default)]
    pub(crate) disk: Option<u64>,
}

/// A layer archive that a committed snapshot's folder and record give back byte for byte.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LayerRow {
    pub(crate) diff_id: Digest,
    /// Length of the plain tar.
    pub(crate) tar_size: u64,
    /// Length of the record, checked after a reboot.
    pub(crate) record_size: u64,
}

/// `about.json` of an active snapshot or view.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) kind: SnapshotKind,
    pub(crate) parent: Option<SnapshotKey>,
    pub(crate) created: Timestamp,
}

/// A folder below `tmp/` that is to become a committed snapshot.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) name: SnapshotKey,
    /// Holds `fs`, and `record` where the row has a layer.
    pub(crate) folder: PathBuf,
    /// Its number is given when it is put in place.
    pub(crate) row: CommittedRow,
}

#[derive(Debug, Default)]
struct State {
    committed: BTreeMap<SnapshotKey, Arc<CommittedRow>>,
    by_diff: HashMap<Digest, SnapshotKey>,
    /// Active ones seen so far; all of them once `all_active` is set.
    active: HashMap<SnapshotKey, About>,
    all_active: bool,
    next_number: u64,
    /// Committed ones that only active ones keep.
    orphans: HashSet<SnapshotKey>,
}

/// Collects garbage; given by the store as a whole.
type Collect = Box<dyn Fn() + Send + Sync>;

/// The table of snapshots.
pub(crate) struct SnapshotIndex {
    database: Arc<Database>,
    committed: PathBuf,
    active: PathBuf,
    reaper: Arc<Reaper>,
    boot: String,
    state: Mutex<State>,
    collect: OnceLock<Collect>,
    syncs: Syncs,
}

impl std::fmt::Debug for SnapshotIndex {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SnapshotIndex").field("committed", &self.committed).finish_non_exhaustive()
    }
}

impl SnapshotIndex {
    /// Makes durable what was written on the file system of the store; `path` is some folder of it.
    pub(crate) fn sync(&self, path: &Path) -> Result<()> {
        self.syncs.sync(path)
    }

    /// Reads the rows, and sweeps folders that have none: a commit that was cut off before its database commit.
    /// A folder that an active snapshot left that way becomes active again.
    pub(crate) fn open(
        database: Arc<Database>,
        root: &Path,
        reaper: Arc<Reaper>,
        boot: &str,
    ) -> Result<Self> {
        let (committed, active) = (root.join("committed"), root.join("active"));
        file::create_dir_all(&committed)?;
        file::create_dir_all(&active)?;
        let mut state = State::default();
        let mut numbers = HashSet::new();
        for (key, row) in database.list::<CommittedRow>(SNAPSHOTS)? {
            let key = SnapshotKey::new(&key)?;
            state.next_number = state.next_number.max(row.number + 1);
            numbers.insert(row.number);
            state.insert(key, Arc::new(row));
        }
        for name in file::list(&committed)? {
            let number = name.to_str().and_then(|text| text.parse::<u64>().ok());
            if let Some(number) = number {
                state.next_number = state.next_number.max(number + 1);
                if !numbers.remove(&number) {
                    sweep(&committed.join(&name), &active, &reaper)?;
                }
            } else {
                reaper.remove(committed.join(&name))?;
            }
        }
        let index = Self {
            database,
            committed,
            active,
            reaper,
            boot: boot.to_owned(),
            state: Mutex::new(state),
            collect: OnceLock::new(),
            syncs: Syncs::default(),
        };
        // Rows whose folder is gone: somebody took it away from outside.
        let gone: Vec<SnapshotKey> = index
            .committed()
            .into_iter()
            .filter(|(_, row)| numbers.contains(&row.number))
            .map(|(key, _)| key)
            .collect();
        index.forget_damaged(&gone)?;
        Ok(index)
    }

    /// After a reboot: the keys of snapshots from the last boot whose folder or record is not as recorded.
    pub(crate) fn damaged_since(&self, boot: &str) -> Vec<SnapshotKey> {
        let whole = |row: &CommittedRow| {
            let folder = self.folder_of(row);
            let record_fits = row.layer.as_ref().is_none_or(|layer| {
                std::fs::metadata(folder.join(RECORD))
                    .is_ok_and(|metadata| metadata.len() == layer.record_size)
            });
            folder.join(FILES).is_dir() && record_fits
        };
        self.committed()
            .into_iter()
            .filter(|(_, row)| row.boot == boot && !whole(row))
            .map(|(key, _)| key)
            .collect()
    }

    /// Drops the rows of snapshots whose data is gone, and of those upon them.
    pub(crate) fn forget_damaged(&self, damaged: &[SnapshotKey]) -> Result<()> {
        if damaged.is_empty() {
            return Ok(());
        }
        let all = self.committed();
        let mut gone: HashSet<SnapshotKey> = damaged.iter().cloned().collect();
        loop {
            let upon = |row: &CommittedRow| row.parent.as_ref().is_some_and(|parent| gone.contains(parent));
            let more: Vec<SnapshotKey> = all
                .iter()
                .filter(|(key, row)| upon(row) && !gone.contains(key))
                .map(|(key, _)| key.clone())
                .collect();
            if more.is_empty() {
                break;
            }
            gone.extend(more);
        }
        for key in &gone {
            tracing::error!(%key, "a committed snapshot's files are damaged or gone; it is forgotten");
        }
        self.forget(&gone.into_iter().collect::<Vec<_>>())
    }

    /// The boot that new rows are stamped with.
    pub(crate) fn boot(&self) -> &str {
        &self.boot
    }

    /// A row.
    pub(crate) fn row(&self, key: &SnapshotKey) -> Option<Arc<CommittedRow>> {
        lock(&self.state).committed.get(key).cloned()
    }

    /// The committed snapshot that was made of this layer archive.
    pub(crate) fn of_layer(&self, diff_id: &Digest) -> Option<(SnapshotKey, Arc<CommittedRow>)> {
        let state = lock(&self.state);
        let key = state.by_diff.get(diff_id)?;
        Some((key.clone(), Arc::clone(state.committed.get(key)?)))
    }

    /// All rows.
    pub(crate) fn committed(&self) -> Vec<(SnapshotKey, Arc<CommittedRow>)> {
        lock(&self.state).committed.iter().map(|(key, row)| (key.clone(), Arc::clone(row))).collect()
    }

    /// Where a committed snapshot lies.
    pub(crate) fn folder_of(&self, row: &CommittedRow) -> PathBuf {
        self.committed.join(row.number.to_string())
    }

    /// Where an active snapshot lies.
    pub(crate) fn active_folder(&self, key: &SnapshotKey) -> PathBuf {
        self.active.join(key.as_str())
    }

    /// The files of a snapshot and of those below it, topmost first.
    pub(crate) fn lowers(&self, key: Option<&SnapshotKey>) -> Result<Vec<PathBuf>> {
        let state = lock(&self.state);
        let mut lowers = Vec::new();
        let mut next = key;
        while let Some(key) = next {
            let row = state.committed.get(key).ok_or_else(|| StoreError::NoSuchSnapshot(key.to_string()))?;
            lowers.push(self.folder_of(row).join(FILES));
            next = row.parent.as_ref();
        }
        Ok(lowers)
    }

    /// What is known of a snapshot of any kind.
    pub(crate) fn stat(&self, key: &SnapshotKey) -> Result<Snapshot> {
        let mut state = lock(&self.state);
        if let Some(row) = state.committed.get(key) {
            return Ok(Snapshot {
                key: key.clone(),
                kind: SnapshotKind::Committed,
                parent: row.parent.clone(),
                created: row.created,
            });
        }
        let about = self.about(&mut state, key)?;
        Ok(Snapshot { key: key.clone(), kind: about.kind, parent: about.parent, created: about.created })
    }

    /// What is known of an active snapshot or view.
    pub(crate) fn active(&self, key: &SnapshotKey) -> Result<About> {
        let mut state = lock(&self.state);
        if state.committed.contains_key(key) {
            return Err(StoreError::SnapshotState {
                key: key.to_string(),
                found: "committed",
                wanted: "active",
            });
        }
        self.about(&mut state, key)
    }

    fn about(&self, state: &mut State, key: &SnapshotKey) -> Result<About> {
        if let Some(about) = state.active.get(key) {
            return Ok(about.clone());
        }
        let about = self.read_about(key)?.ok_or_else(|| StoreError::NoSuchSnapshot(key.to_string()))?;
        state.active.insert(key.clone(), about.clone());
        Ok(about)
    }

    fn read_about(&self, key: &SnapshotKey) -> Result<Option<About>> {
        let path = self.active_folder(key).join(ABOUT);
        let Some(bytes) = file::read_optional(&path)? else { return Ok(None) };
        // Torn by a power cut before it was synced, it is as if it had never been there; nothing kept needs it.
        Ok(serde_json::from_slice(&bytes)
            .inspect_err(|error| tracing::warn!(%key, %error, "a snapshot's document is torn"))
            .ok())
    }

    /// Every snapshot, in the order of keys.
    pub(crate) fn all(&self) -> Result<Vec<Snapshot>> {
        let mut state = lock(&self.state);
        self.read_all_active(&mut state)?;
        let committed = state.committed.iter().map(|(key, row)| Snapshot {
            key: key.clone(),
            kind: SnapshotKind::Committed,
            parent: row.parent.clone(),
            created: row.created,
        });
        let active = state.active.iter().map(|(key, about)| Snapshot {
            key: key.clone(),
            kind: about.kind,
            parent: about.parent.clone(),
            created: about.created,
        });
        let mut all: Vec<Snapshot> = committed.chain(active).collect();
        all.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(all)
    }

    fn read_all_active(&self, state: &mut State) -> Result<()> {
        if state.all_active {
            return Ok(());
        }
        for name in file::list(&self.active)? {
            let Some(key) = name.to_str().and_then(|text| SnapshotKey::new(text).ok()) else { continue };
            if state.active.contains_key(&key) {
                continue;
            }
            match self.read_about(&key)? {
                Some(about) => {
                    state.active.insert(key, about);
                }
                None => self.reaper.take_away(&self.active_folder(&key))?,
            }
        }
        state.all_active = true;
        Ok(())
    }

    /// Makes an active snapshot's folder: `fill` is given the new folder below `tmp/` (which holds `fs`
    /// already), then it is renamed into place. Nothing is synced.
    pub(crate) fn make_active(
        &self,
        key: &SnapshotKey,
        about: About,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Snapshot> {
        let snapshot = Snapshot {
            key: key.clone(),
            kind: about.kind,
            parent: about.parent.clone(),
            created: about.created,
        };
        {
            // The parent is held from here on: whoever removes it looks at the active ones under this lock.
            let mut state = lock(&self.state);
            if state.committed.contains_key(key) || state.active.contains_key(key) {
                return Err(StoreError::SnapshotExists(key.to_string()));
            }
            if let Some(parent) = &about.parent
                && !state.committed.contains_key(parent)
            {
                return Err(StoreError::NoSuchSnapshot(parent.to_string()));
            }
            state.active.insert(key.clone(), about.clone());
        }
        let made = self.make_active_folder(key, &about, fill);
        if made.is_err() {
            lock(&self.state).active.remove(key);
        }
        made.map(|()| snapshot)
    }

    fn make_active_folder(
        &self,
        key: &SnapshotKey,
        about: &About,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let folder = self.reaper.new_folder()?;
        let made = (|| {
            file::create_dir(folder.join(FILES), 0o755)?;
            fill(&folder)?;
            let bytes = serde_json::to_vec(about).expect("a plain struct can be written as JSON");
            file::write(folder.join(ABOUT), bytes)?;
            rename_new(&folder, &self.active_folder(key)).map_err(|error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => StoreError::SnapshotExists(key.to_string()),
                _ => error.into(),
            })
        })();
        if made.is_err() {
            self.reaper.remove(folder)?;
        }
        made
    }

    /// Makes an active snapshot's folder, and what names it, durable; not the files in it.
    pub(crate) fn sync_active(&self, key: &SnapshotKey) -> Result<()> {
        self.active(key)?;
        let folder = self.active_folder(key);
        let about = folder.join(ABOUT);
        file::open(&about)?
            .sync_all()
            .map_err(|source| corten_std::PathError::new("sync", &about, source))?;
        file::sync_dir(&folder)?;
        Ok(file::sync_dir(&self.active)?)
    }

    /// Removes a snapshot of any kind.
    pub(crate) fn remove(&self, key: &SnapshotKey) -> Result<()> {
        let mut state = lock(&self.state);
        if state.committed.contains_key(key) {
            self.read_all_active(&mut state)?;
            let child = state
                .committed
                .iter()
                .find(|(_, row)| row.parent.as_ref() == Some(key))
                .map(|(child, _)| child)
                .or_else(|| {
                    state
                        .active
                        .iter()
                        .find(|(_, about)| about.parent.as_ref() == Some(key))
                        .map(|(child, _)| child)
                });
            if let Some(child) = child {
                return Err(StoreError::SnapshotInUse { key: key.to_string(), child: child.to_string() });
            }
            drop(state);
            return self.forget(std::slice::from_ref(key));
        }
        let about = self.about(&mut state, key)?;
        // Out of sight in one step, then removed at leisure.
        self.reaper.take_away(&self.active_folder(key))?;
        state.active.remove(key);
        let was_last = about.parent.is_some_and(|parent| {
            state.orphans.contains(&parent)
                && !state.active.values().any(|other| other.parent.as_ref() == Some(&parent))
        });
        drop(state);
        if was_last && let Some(collect) = self.collect.get() {
            collect();
        }
        Ok(())
    }

    /// Tells which committed snapshots only active ones keep. When the last of those goes, `collect` is called.
    pub(crate) fn set_orphans(&self, orphans: HashSet<SnapshotKey>) {
        lock(&self.state).orphans = orphans;
    }

    /// Sets what [`Self::set_orphans`] speaks of; once.
    pub(crate) fn set_collect(&self, collect: Collect) {
        let _ = self.collect.set(collect);
    }

    /// Removes committed snapshots that nothing needs: rows first, then folders. A kill between the two leaves
    /// folders without rows, which the next opening sweeps.
    pub(crate) fn forget(&self, keys: &[SnapshotKey]) -> Result<()> {
        self.forget_with(keys, |_| Vec::new()).map(drop)
    }

    /// As [`Self::forget`], with further changes in the same commit for those that go, which are given.
    pub(crate) fn forget_with(
        &self,
        keys: &[SnapshotKey],
        further: impl FnOnce(&HashSet<SnapshotKey>) -> Vec<Change>,
    ) -> Result<HashSet<SnapshotKey>> {
        let mut gone = HashSet::new();
        if keys.is_empty() {
            return Ok(gone);
        }
        let mut removed = Vec::new();
        let mut changes = Vec::new();
        {
            let mut state = lock(&self.state);
            // An active one may have come to lie upon these since the caller looked.
            let mut needed = HashSet::new();
            for about in state.active.values() {
                let mut next = about.parent.clone();
                while let Some(key) = next {
                    next = state.committed.get(&key).and_then(|row| row.parent.clone());
                    if !needed.insert(key) {
                        break;
                    }
                }
            }
            for key in keys.iter().filter(|key| !needed.contains(key)) {
                if let Some(row) = state.remove(key) {
                    changes.push(Change::delete(SNAPSHOTS, key.as_str()));
                    gone.insert(key.clone());
                    removed.push((key.clone(), row));
                }
            }
        }
        changes.extend(further(&gone));
        if let Err(error) = self.database.write(changes) {
            let mut state = lock(&self.state);
            for (key, row) in removed {
                state.insert(key, row);
            }
            return Err(error);
        }
        for (_, row) in removed {
            self.reaper.take_away(&self.folder_of(&row))?;
        }
        Ok(gone)
    }

    /// Parents of active snapshots and views.
    pub(crate) fn parents_of_active(&self) -> Result<HashSet<SnapshotKey>> {
        let mut state = lock(&self.state);
        self.read_all_active(&mut state)?;
        Ok(state.active.values().filter_map(|about| about.parent.clone()).collect())
    }

    /// Puts a folder, whose content is durable, into its place and gives the change that makes it exist. The
    /// caller syncs [`Self::committed_folder`], commits the change, and calls [`Self::settle`]. Where the
    /// commit fails the folder is swept at the next opening.
    pub(crate) fn place(&self, staged: &mut Staged) -> Result<Change> {
        loop {
            staged.row.number = {
                let mut state = lock(&self.state);
                state.next_number += 1;
                state.next_number - 1
            };
            match rename_new(&staged.folder, &self.folder_of(&staged.row)) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
                Ok(()) => break,
            }
        }
        Change::put(SNAPSHOTS, staged.name.as_str(), &staged.row)
    }

    /// The folder whose names must be durable before the database commit.
    pub(crate) fn committed_folder(&self) -> &Path {
        &self.committed
    }

    /// Writes down what was measured of committed snapshots, where they are still here. Who removes one waits, so that
    /// its row cannot come back.
    pub(crate) fn set_disk(&self, measured: &[(SnapshotKey, u64)]) -> Result<()> {
        let mut changes = Vec::new();
        let mut state = lock(&self.state);
        for (key, disk) in measured {
            let Some(row) = state.committed.get_mut(key) else { continue };
            let row = Arc::make_mut(row);
            row.disk = Some(*disk);
            changes.push(Change::put(SNAPSHOTS, key.as_str(), row)?);
        }
        self.database.write(changes)
    }

    /// Makes a committed row visible to this process.
    pub(crate) fn settle(&self, staged: Staged) {
        lock(&self.state).insert(staged.name, Arc::new(staged.row));
    }

    /// Forgets an active snapshot whose folder has become something else.
    pub(crate) fn forget_active(&self, key: &SnapshotKey) {
        lock(&self.state).active.remove(key);
    }

    /// The database, for commits that hold more than snapshots.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }
}

impl State {
    fn insert(&mut self, key: SnapshotKey, row: Arc<CommittedRow>) {
        if let Some(layer) = &row.layer {
            self.by_diff.entry(layer.diff_id).or_insert_with(|| key.clone());
        }
        self.committed.insert(key, row);
    }

    fn remove(&mut self, key: &SnapshotKey) -> Option<Arc<CommittedRow>> {
        let row = self.committed.remove(key)?;
        if let Some(layer) = &row.layer
            && self.by_diff.get(&layer.diff_id) == Some(key)
        {
            // Another stack may hold the same layer.
            let other = self
                .committed
                .iter()
                .find(|(_, row)| row.layer.as_ref().is_some_and(|other| other.diff_id == layer.diff_id))
                .map(|(key, _)| key.clone());
            match other {
                Some(other) => self.by_diff.insert(layer.diff_id, other),
                None => self.by_diff.remove(&layer.diff_id),
            };
        }
        Some(row)
    }
}

/// A folder in `committed/` without a row. It came from an active snapshot where it has an `about.json`: it is
/// that snapshot again. Else it is removed.
fn sweep(folder: &Path, active: &Path, reaper: &Reaper) -> Result<()> {
    if let Some(bytes) = file::read_optional(folder.join(KEY))?
        && let Ok(key) = String::from_utf8(bytes)
        && let Ok(key) = SnapshotKey::new(&key)
        && rename_new(folder, &active.join(key.as_str())).is_ok()
    {
        return Ok(());
    }
    reaper.remove(folder.to_owned())
}

/// In a folder that is being committed: the key that it was active under.
pub(crate) const KEY: &str = "key";
