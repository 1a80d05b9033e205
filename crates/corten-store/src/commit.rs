//! How something comes to exist: one order of writes for loads, new images and the like.
//!
//! 1. Everything is written below `tmp/`, which lies on the file system of blobs and snapshots.
//! 2. One `syncfs` makes all of it durable.
//! 3. Renames put it into place; the folders' names are synced.
//! 4. One database commit makes rows of all of it at once.
//!
//! *Killed* anywhere before 4: there are no rows; what lies in `tmp/` or in its place is swept at the next
//! opening. *Power cut* before 4 reached the disk: the same, since a file without a row is nothing, whole or
//! torn. *Power cut* after: rows are only written (4) when content (2) and names (3) are on the disk, so what
//! has a row is whole. No step relies on the file system to keep the order of writes that were not synced.
//!
//! A name in place that was never committed can be there again after a failure of 4; the next load of the same
//! blob renames over it, and the next opening sweeps it.

use crate::blob::StagedBlob;
use crate::database::Change;
use crate::image::{ImageIndex, ImageRow, PlatformRow, TagRow};
use crate::snapshots::Staged;
use crate::store::Store;
use crate::{Result, StoreError};
use corten_oci::{Digest, Reference};
use corten_std::file;
use std::collections::HashSet;
use std::path::PathBuf;

/// What one operation brings in.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Parents before children.
    pub(crate) layers: Vec<Staged>,
    pub(crate) blobs: Vec<StagedBlob>,
    pub(crate) images: Vec<(Digest, ImageRow)>,
    /// Further platforms of images that are there already.
    pub(crate) platforms: Vec<(Digest, PlatformRow)>,
    pub(crate) tags: Vec<(Reference, TagRow)>,
}

impl Store {
    /// Brings a batch into the store, durably and all at once. What is in the store already is left as it is.
    /// Gives the tags that pointed elsewhere before, with the images they pointed to.
    pub(crate) fn commit(&self, batch: Batch) -> Result<Vec<(Reference, Digest)>> {
        let folders = batch.layers.iter().map(|staged| staged.folder.clone());
        let temporary: Vec<PathBuf> =
            folders.chain(batch.blobs.iter().map(|blob| blob.path.clone())).collect();
        let outcome = self.commit_batch(batch);
        if outcome.is_err() {
            for path in temporary {
                self.inner.reaper.remove(path)?;
            }
        }
        outcome
    }

    fn commit_batch(&self, mut batch: Batch) -> Result<Vec<(Reference, Digest)>> {
        let inner = &*self.inner;
        if !batch.layers.is_empty() || !batch.blobs.is_empty() {
            // Outside of the lock: this may take long.
            inner.index.sync(inner.reaper.temporary())?;
        }
        let _change = self.changing();
        for (_, row) in &batch.tags {
            if !inner.images.contains(&row.image) && !batch.images.iter().any(|(id, _)| *id == row.image) {
                return Err(StoreError::NoSuchImage(row.image.to_string()));
            }
        }
        for (id, platform) in std::mem::take(&mut batch.platforms) {
            // The row as it is now: it may have got another platform meanwhile, or be gone.
            let row = inner.images.row(&id).ok_or_else(|| StoreError::NoSuchImage(id.to_string()))?;
            let mut changed = ImageRow::clone(&row);
            changed.platforms.retain(|one| one.manifest.digest != platform.manifest.digest);
            changed.platforms.push(platform);
            batch.images.push((id, changed));
        }
        for (id, row) in &mut batch.images {
            // Where it came from before it came once more stays known.
            let before = inner.images.row(id);
            row.sources.extend(before.into_iter().flat_map(|row| row.sources.clone()));
        }
        let mut changes: Vec<Change> = Vec::new();
        let mut seen = HashSet::new();
        let (blobs, duplicates): (Vec<StagedBlob>, Vec<StagedBlob>) = std::mem::take(&mut batch.blobs)
            .into_iter()
            .partition(|blob| inner.blobs.size(&blob.digest).is_none() && seen.insert(blob.digest));
        batch.blobs = blobs;
        for duplicate in duplicates {
            inner.reaper.remove(duplicate.path)?;
        }
        for blob in &batch.blobs {
            changes.push(inner.blobs.place(blob)?);
        }
        inner.blobs.sync_names(&batch.blobs)?;
        let mut seen = HashSet::new();
        let (layers, duplicates): (Vec<Staged>, Vec<Staged>) = std::mem::take(&mut batch.layers)
            .into_iter()
            .partition(|staged| inner.index.row(&staged.name).is_none() && seen.insert(staged.name.clone()));
        for duplicate in duplicates {
            inner.reaper.remove(duplicate.folder)?;
        }
        batch.layers = layers;
        for staged in &mut batch.layers {
            changes.push(inner.index.place(staged)?);
        }
        if !batch.layers.is_empty() {
            file::sync_dir(inner.index.committed_folder())?;
        }
        changes.extend(ImageIndex::changes(&batch.images, &batch.tags)?);
        // What was dropped once is here again.
        let blobs = || batch.blobs.iter().map(|blob| &blob.digest);
        let layers = || batch.layers.iter().map(|staged| &staged.name);
        let back = inner.dropped.removals(blobs(), layers());
        let is_back = !back.is_empty();
        changes.extend(back);
        inner.database.write(changes)?;
        inner.dropped.settle(blobs(), layers());
        if is_back {
            inner.images.show_anew();
        }
        for blob in &batch.blobs {
            inner.blobs.settle(blob);
        }
        for staged in batch.layers {
            inner.index.settle(staged);
        }
        Ok(inner.images.settle(batch.images, batch.tags))
    }
}
