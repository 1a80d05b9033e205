//! What goes and what stays: by references from images, leases, work in progress and active snapshots. No timer.

use crate::Result;
use crate::database::lock;
use crate::snapshots::{CommittedRow, SnapshotKey};
use crate::store::Store;
use corten_oci::Digest;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

/// What a collection removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs removed.
    pub blobs: Vec<Digest>,
    /// Committed snapshots removed.
    pub snapshots: Vec<SnapshotKey>,
    /// Bytes that are free now.
    pub bytes: u64,
}

/// What work in progress in this process has found in the store and relies on. Unlike a lease it is not
/// written down: it cannot outlive the process.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    state: Mutex<PinState>,
}

#[derive(Debug, Default)]
struct PinState {
    content: HashMap<Digest, usize>,
    snapshots: HashMap<SnapshotKey, usize>,
}

/// Pins of one piece of work; given back when dropped.
#[derive(Debug)]
pub(crate) struct PinSet {
    pins: Arc<Pins>,
    content: Vec<Digest>,
    snapshots: Vec<SnapshotKey>,
}

impl PinSet {
    pub(crate) fn new(pins: &Arc<Pins>) -> Self {
        Self { pins: Arc::clone(pins), content: Vec::new(), snapshots: Vec::new() }
    }

    /// Keeps content. To be called before looking whether it is there: what is there afterwards, stays.
    pub(crate) fn content(&mut self, digest: Digest) {
        *lock(&self.pins.state).content.entry(digest).or_default() += 1;
        self.content.push(digest);
    }

    /// Keeps a snapshot, as above.
    pub(crate) fn snapshot(&mut self, key: &SnapshotKey) {
        *lock(&self.pins.state).snapshots.entry(key.clone()).or_default() += 1;
        self.snapshots.push(key.clone());
    }
}

/// The pins as they are while this lives: nobody adds one.
pub(crate) struct HeldPins<'a>(MutexGuard<'a, PinState>);

impl Pins {
    pub(crate) fn hold(&self) -> HeldPins<'_> {
        HeldPins(lock(&self.state))
    }
}

impl HeldPins<'_> {
    pub(crate) fn has_content(&self, digest: &Digest) -> bool {
        self.0.content.contains_key(digest)
    }

    pub(crate) fn has_snapshot(&self, key: &SnapshotKey) -> bool {
        self.0.snapshots.contains_key(key)
    }
}

impl Drop for PinSet {
    fn drop(&mut self) {
        let mut state = lock(&self.pins.state);
        for digest in &self.content {
            give_back(&mut state.content, digest);
        }
        for key in &self.snapshots {
            give_back(&mut state.snapshots, key);
        }
    }
}

fn give_back<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Adds everything below what is in `keys`.
fn with_parents(keys: &mut HashSet<SnapshotKey>, committed: &HashMap<SnapshotKey, Arc<CommittedRow>>) {
    let mut open: Vec<SnapshotKey> = keys.iter().cloned().collect();
    while let Some(key) = open.pop() {
        if let Some(parent) = committed.get(&key).and_then(|row| row.parent.clone())
            && keys.insert(parent.clone())
        {
            open.push(parent);
        }
    }
}

impl Store {
    /// Content and snapshots that images and leases name.
    fn references(&self) -> Result<(HashSet<Digest>, HashSet<SnapshotKey>)> {
        let leases = self.leases().list()?;
        let mut content: HashSet<Digest> =
            leases.iter().flat_map(|lease| lease.content.iter().copied()).collect();
        let mut snapshots: HashSet<SnapshotKey> =
            leases.iter().flat_map(|lease| lease.snapshots.iter().cloned()).collect();
        self.inner.images.references(&mut content, &mut snapshots);
        Ok((content, snapshots))
    }

    /// At opening: whether there is anything that neither an image nor a lease names, as after a kill between
    /// the removal of an image and of its content. Looks at memory only.
    pub(crate) fn has_unnamed(&self) -> Result<bool> {
        let (content, snapshots) = self.references()?;
        let blobs = self.inner.blobs.all();
        Ok(blobs.iter().any(|(digest, _)| !content.contains(digest))
            || self
                .inner
                .index
                .committed()
                .iter()
                .any(|(key, row)| row.for_images && !snapshots.contains(key)))
    }

    /// Removes content and image layers that nothing refers to. Costs little when there is nothing to remove.
    pub fn collect_garbage(&self) -> Result<Collected> {
        let _change = self.changing();
        self.collect_while_changing()
    }

    /// As [`Self::collect_garbage`], for callers that hold the change lock.
    pub(crate) fn collect_while_changing(&self) -> Result<Collected> {
        let inner = &*self.inner;
        let (mut content, mut needed) = self.references()?;
        let active = inner.index.parents_of_active()?;

        // Held until rows are gone from memory: whoever pins now, looks afterwards.
        let pins = lock(&inner.pins.state);
        content.extend(pins.content.keys().copied());
        needed.extend(pins.snapshots.keys().cloned());
        let committed: HashMap<SnapshotKey, _> = inner.index.committed().into_iter().collect();
        // A pinned layer archive is the snapshot that gives it back.
        for digest in &content {
            if inner.blobs.size(digest).is_none()
                && let Some((key, _)) = inner.index.of_layer(&inner.dropped.source_of(digest))
            {
                needed.insert(key);
            }
        }
        needed.extend(committed.iter().filter(|(_, row)| !row.for_images).map(|(key, _)| key.clone()));
        with_parents(&mut needed, &committed);
        let of_images = needed.clone();
        needed.extend(active);
        with_parents(&mut needed, &committed);
        let mut collected = Collected::default();
        for (digest, size) in inner.blobs.all() {
            if !content.contains(&digest) {
                collected.blobs.push(digest);
                collected.bytes += size;
            }
        }
        for (key, row) in &committed {
            if !needed.contains(key) {
                collected.snapshots.push(key.clone());
                collected.bytes += row.usage.size;
            }
        }
        // Whoever removes the last active snapshot upon one of these has more to collect.
        inner.index.set_orphans(needed.difference(&of_images).cloned().collect());
        let (blobs, layers) = inner.dropped.unnamed(&content, &needed);
        inner.index.forget(&collected.snapshots)?;
        inner.blobs.forget_with(&collected.blobs, inner.dropped.removals(&blobs, &layers))?;
        inner.dropped.settle(&blobs, &layers);
        drop(pins);
        Ok(collected)
    }
}
