//! What goes and what stays: by references from images, leases, work in progress and active snapshots. No timer.

use crate::Result;
use crate::database::lock;
use crate::snapshots::SnapshotKey;
use crate::store::Store;
use corten_oci::Digest;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

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

impl Store {
    /// Removes content and image layers that nothing refers to. Costs little when there is nothing to remove.
    pub fn collect_garbage(&self) -> Result<Collected> {
        let _change = self.changing();
        self.collect_while_changing()
    }

    /// As [`Self::collect_garbage`], for callers that hold the change lock.
    pub(crate) fn collect_while_changing(&self) -> Result<Collected> {
        let inner = &*self.inner;
        let leases = self.leases().list()?;
        let mut needed = inner.index.parents_of_active()?;
        let mut content: HashSet<Digest> =
            leases.iter().flat_map(|lease| lease.content.iter().copied()).collect();
        needed.extend(leases.iter().flat_map(|lease| lease.snapshots.iter().cloned()));
        inner.images.references(&mut content, &mut needed);

        // Held until rows are gone from memory: whoever pins now, looks afterwards.
        let pins = lock(&inner.pins.state);
        content.extend(pins.content.keys().copied());
        needed.extend(pins.snapshots.keys().cloned());
        let committed: HashMap<SnapshotKey, _> = inner.index.committed().into_iter().collect();
        // A pinned layer archive is the snapshot that gives it back.
        for digest in &content {
            if inner.blobs.size(digest).is_none()
                && let Some((key, _)) = inner.index.of_layer(digest)
            {
                needed.insert(key);
            }
        }
        needed.extend(committed.iter().filter(|(_, row)| !row.for_images).map(|(key, _)| key.clone()));
        let mut open: Vec<SnapshotKey> = needed.iter().cloned().collect();
        while let Some(key) = open.pop() {
            if let Some(parent) = committed.get(&key).and_then(|row| row.parent.clone())
                && needed.insert(parent.clone())
            {
                open.push(parent);
            }
        }
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
        inner.index.forget(&collected.snapshots)?;
        inner.blobs.forget(&collected.blobs)?;
        drop(pins);
        Ok(collected)
    }
}
