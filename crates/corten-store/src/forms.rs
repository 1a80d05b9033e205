//! In which form a layer is kept: as it came, compressed; as the folder that containers lie upon; or both.
//!
//! A pulled layer is kept in both forms. One of them may go where it can be had again byte for byte:
//!
//! | goes | where | is had again |
//! | --- | --- | --- |
//! | the compressed form | compressing the folder's tar gives the same bytes, which was tried | when it is read, by compressing |
//! | | the registry that the image was pulled from still answers for it | by the caller, who downloads it ([`Store::bring_back`]) |
//! | the folder | no container lies upon it, nothing used it for so long, and the compressed form is here, which was read | when a container is made ([`Images::unpacked`]) |
//!
//! A row says what went, and how it comes back. It is written in the commit that takes the form's own row away, before its file goes;
//! what comes back is in its place before the row goes. So a kill at any point leaves one or the other.

use crate::archive::{Assembler, give_up};
use crate::blob::{StagedBlob, content_error};
use crate::commit::Batch;
use crate::database::{Change, DROPPED_BLOBS, DROPPED_LAYERS, Database, lock};
use crate::garbage::PinSet;
use crate::image::{Image, ImageIndex, ImageRow, Images};
use crate::receive::Holding;
use crate::snapshots::SnapshotKey;
use crate::store::Store;
use crate::{Result, StoreError};
use corten_oci::image::{Descriptor, chain_ids};
use corten_oci::{Digest, Hasher, ImageConfig, Manifest, Reference};
use corten_std::{PathError, file};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

/// How a blob that was dropped can be had again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Again {
    /// By compressing the layer with this digest of its tar.
    Compressing(Digest),
    /// From a registry, where a repository of this name has it (`docker.io/library/debian`).
    Registry(String),
}

/// The row of a blob that was dropped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DroppedBlob {
    pub(crate) size: u64,
    pub(crate) again: Again,
    /// The digest of its tar. As long as the blob is named, the layer's folder is kept: it is what images are unpacked from.
    #[serde(default)]
    pub(crate) diff_id: Option<Digest>,
}

impl DroppedBlob {
    /// The digest of its tar.
    fn tar(&self) -> Option<Digest> {
        match self.again {
            Again::Compressing(diff_id) => Some(diff_id),
            Again::Registry(_) => self.diff_id,
        }
    }
}

/// The row of a layer whose folder was dropped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DroppedLayer {
    /// Bytes of its files.
    pub(crate) size: u64,
}

/// What was dropped.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    blobs: Mutex<HashMap<Digest, DroppedBlob>>,
    layers: Mutex<HashMap<SnapshotKey, DroppedLayer>>,
    /// Held by whoever makes layers again.
    unpacking: Mutex<()>,
}

impl Dropped {
    pub(crate) fn open(database: &Database) -> Result<Self> {
        let this = Self::default();
        for (key, row) in database.list(DROPPED_BLOBS)? {
            lock(&this.blobs).insert(Digest::parse(&key)?, row);
        }
        for (key, row) in database.list(DROPPED_LAYERS)? {
            lock(&this.layers).insert(SnapshotKey::new(&key)?, row);
        }
        Ok(this)
    }

    /// Whether nothing was, as where nobody asked for it.
    fn is_empty(&self) -> bool {
        lock(&self.blobs).is_empty() && lock(&self.layers).is_empty()
    }

    pub(crate) fn blob(&self, digest: &Digest) -> Option<DroppedBlob> {
        lock(&self.blobs).get(digest).cloned()
    }

    pub(crate) fn layer(&self, key: &SnapshotKey) -> Option<DroppedLayer> {
        lock(&self.layers).get(key).cloned()
    }

    /// The changes that say that these are here again, or nothing's any more.
    pub(crate) fn removals<'a>(
        &self,
        blobs: impl IntoIterator<Item = &'a Digest>,
        layers: impl IntoIterator<Item = &'a SnapshotKey>,
    ) -> Vec<Change> {
        let (dropped, packed) = (lock(&self.blobs), lock(&self.layers));
        let blobs = blobs.into_iter().filter(|digest| dropped.contains_key(digest));
        let layers = layers.into_iter().filter(|key| packed.contains_key(key));
        let blobs = blobs.map(|digest| Change::delete(DROPPED_BLOBS, digest.to_string()));
        blobs.chain(layers.map(|key| Change::delete(DROPPED_LAYERS, key.as_str()))).collect()
    }

    /// Has this process know what was committed of [`Self::removals`].
    pub(crate) fn settle<'a>(
        &self,
        blobs: impl IntoIterator<Item = &'a Digest>,
        layers: impl IntoIterator<Item = &'a SnapshotKey>,
    ) {
        let mut dropped = lock(&self.blobs);
        for digest in blobs {
            dropped.remove(digest);
        }
        let mut packed = lock(&self.layers);
        for key in layers {
            packed.remove(key);
        }
    }

    /// What nothing names any more, by what is named.
    pub(crate) fn unnamed(
        &self,
        content: &HashSet<Digest>,
        snapshots: &HashSet<SnapshotKey>,
    ) -> (Vec<Digest>, Vec<SnapshotKey>) {
        let blobs = lock(&self.blobs).keys().filter(|digest| !content.contains(digest)).copied().collect();
        let layers = lock(&self.layers).keys().filter(|key| !snapshots.contains(key)).cloned().collect();
        (blobs, layers)
    }

    /// The content that a layer has to be kept for where this is: the tar that it was compressed from, or itself.
    pub(crate) fn source_of(&self, digest: &Digest) -> Digest {
        self.blob(digest).and_then(|row| row.tar()).unwrap_or(*digest)
    }

    /// Blobs that are made again where they are read.
    pub(crate) fn made_again(&self) -> Vec<Digest> {
        let dropped = lock(&self.blobs);
        let made = dropped.iter().filter(|(_, row)| matches!(row.again, Again::Compressing(_)));
        made.map(|(digest, _)| *digest).collect()
    }

    /// Tars of layers whose blobs were dropped.
    pub(crate) fn sources(&self) -> HashSet<Digest> {
        lock(&self.blobs).values().filter_map(DroppedBlob::tar).collect()
    }
}

/// A layer that is kept compressed as well as unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwoForms {
    /// The compressed form.
    pub blob: Descriptor,
    /// The digest of its tar.
    pub diff_id: Digest,
    /// The snapshot that it is the topmost layer of.
    pub snapshot: SnapshotKey,
    /// Names of images that have it.
    pub names: Vec<Reference>,
    /// Canonical names of the repositories that such images were pulled from.
    pub repositories: BTreeSet<String>,
}

/// A layer whose folder was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Its snapshot.
    pub snapshot: SnapshotKey,
    /// The compressed form, from which it is made again.
    pub blob: Digest,
    /// Bytes of its files.
    pub size: u64,
}

impl Images<'_> {
    /// Layers whose compressed form could go.
    ///
    /// # Errors
    /// A document of an image cannot be read.
    pub fn in_two_forms(self) -> Result<Vec<TwoForms>> {
        let inner = &*self.store.inner;
        let is_here = |layer: &TwoForms| {
            let own = inner.index.row(&layer.snapshot).and_then(|row| row.layer.clone());
            inner.blobs.size(&layer.blob.digest).is_some()
                && own.is_some_and(|own| own.diff_id == layer.diff_id)
        };
        Ok(self.all_layers()?.into_iter().filter(is_here).collect())
    }

    /// Compressed layers of all images that can be run, each once.
    fn all_layers(self) -> Result<Vec<TwoForms>> {
        let mut all: Vec<TwoForms> = Vec::new();
        for id in self.index().ids() {
            let Some(row) = self.index().row(&id) else { continue };
            let names = self.index().names(&id);
            let further = row.platforms.iter().map(|one| (one.manifest.digest, one.config));
            let own = row.runnable.then_some((row.manifest.digest, row.config));
            for (manifest, config) in own.into_iter().chain(further) {
                let what = |what: &str, digest| {
                    let what = format!("{what} {digest}");
                    move |source| StoreError::Document { what, source }
                };
                let document: Manifest = serde_json::from_slice(&self.store.read_document(&manifest)?)
                    .map_err(what("image manifest", manifest))?;
                let config = ImageConfig::parse(&self.store.read_document(&config)?)
                    .map_err(what("image configuration", config))?;
                let diff_ids = &config.rootfs.diff_ids;
                for ((blob, diff_id), chain) in
                    document.layers.into_iter().zip(diff_ids).zip(chain_ids(diff_ids))
                {
                    if blob.digest == *diff_id {
                        continue;
                    }
                    let snapshot = SnapshotKey::of_chain(&chain);
                    let same =
                        |one: &&mut TwoForms| one.blob.digest == blob.digest && one.snapshot == snapshot;
                    if let Some(known) = all.iter_mut().find(same) {
                        known.names.extend(names.iter().cloned());
                        known.repositories.extend(row.sources.iter().cloned());
                    } else {
                        let repositories = row.sources.clone();
                        let (diff_id, names) = (*diff_id, names.clone());
                        all.push(TwoForms { blob, diff_id, snapshot, names, repositories });
                    }
                }
            }
        }
        Ok(all)
    }

    /// Notes that a repository has an image which is here already.
    ///
    /// # Errors
    /// The commit fails.
    pub fn came_from(self, id: &Digest, repository: &str) -> Result<()> {
        let _change = self.store.changing();
        let Some(row) = self.index().row(id).filter(|row| !row.sources.contains(repository)) else {
            return Ok(());
        };
        let mut changed = ImageRow::clone(&row);
        changed.sources.insert(repository.to_owned());
        let changed = vec![(*id, changed)];
        self.store.inner.database.write(ImageIndex::changes(&changed, &[])?)?;
        self.index().settle(changed, Vec::new());
        Ok(())
    }

    /// Whether every image is here in every form that it came in.
    pub fn are_all_forms_here(self) -> bool {
        self.store.inner.dropped.is_empty()
    }

    /// Compressed layers of an image whose bytes were dropped: digest, length, how they are had again.
    pub fn dropped_blobs(self, id: &Digest) -> Vec<(Digest, u64, Again)> {
        let content = self.index().row(id).map(|row| row.content.clone()).unwrap_or_default();
        let rows =
            content.into_iter().filter_map(|digest| Some((digest, self.store.inner.dropped.blob(&digest)?)));
        rows.map(|(digest, row)| (digest, row.size, row.again)).collect()
    }

    /// Layers of an image whose folders were dropped: the name of the stack that each is the top of, bytes of its files.
    pub fn dropped_folders(self, image: &Image) -> Vec<(Digest, u64)> {
        let size = |chain: &Digest| Some(self.store.inner.dropped.layer(&SnapshotKey::of_chain(chain))?.size);
        image.chain.iter().filter_map(|chain| Some((*chain, size(chain)?))).collect()
    }

    /// Bytes of the files of a layer, by the name of the stack that it is the top of; 0 where there is none.
    pub fn layer_size(self, chain: &Digest) -> u64 {
        let key = SnapshotKey::of_chain(chain);
        let here = self.store.inner.index.row(&key).map(|row| row.usage.size);
        here.or_else(|| Some(self.store.inner.dropped.layer(&key)?.size)).unwrap_or(0)
    }

    /// Makes sure that an image's layers are unpacked, and notes that they are used. They stay so while what this gives lives. Costs next
    /// to nothing where they are.
    ///
    /// # Errors
    /// A layer cannot be made again: its compressed form is damaged, or the disk is full. Nothing has changed then.
    pub fn unpacked(self, image: &Image) -> Result<Holding> {
        let inner = &*self.store.inner;
        // Those below stay with it.
        let mut holding = self.store.hold();
        if let Some(top) = &image.top_snapshot {
            holding.keep_snapshot(top);
        }
        let missing = |chain: &Digest| inner.dropped.layer(&SnapshotKey::of_chain(chain)).is_some();
        let is_packed = || image.chain.iter().any(missing);
        if !lock(&inner.dropped.layers).is_empty() && is_packed() {
            let _one_at_a_time = lock(&inner.dropped.unpacking);
            if is_packed() {
                self.unpack(&image.manifest)?;
            }
        }
        if let Some(row) = image.top_snapshot.as_ref().and_then(|top| inner.index.row(top)) {
            // Of no weight: a layer that seems older than it is is made again.
            let _ = rustix::fs::utimensat(
                rustix::fs::CWD,
                inner.index.folder_of(&row),
                &now(),
                rustix::fs::AtFlags::empty(),
            );
        }
        Ok(holding)
    }

    fn unpack(self, manifest: &Descriptor) -> Result<()> {
        let mut assembler = Assembler::new(self.store);
        let planned = assembler.add_image(manifest);
        let (batch, pins) = assembler.finish()?;
        if let Err(error) = planned {
            give_up(self.store, &batch)?;
            return Err(error);
        }
        // The images stay as they are.
        self.store.commit(Batch { images: Vec::new(), ..batch })?;
        drop(pins);
        Ok(())
    }

    /// Drops folders of layers that no container lies upon and that nothing used for so long, where their compressed form is here and
    /// whole; with `dry` tells what would go. Reads what stays.
    ///
    /// # Errors
    /// A document of an image cannot be read, or a commit fails.
    pub fn pack(self, unused_for: Duration, dry: bool) -> Result<Vec<Packed>> {
        let mut candidates = self.all_layers()?;
        candidates.retain(|layer| self.is_unused(&layer.snapshot, unused_for));
        let mut droppable = self.topmost(&candidates)?;
        candidates.retain(|layer| droppable.contains(&layer.snapshot));
        if dry {
            candidates.retain(|layer| droppable.remove(&layer.snapshot));
            return Ok(candidates.into_iter().map(|layer| self.packed(layer)).collect());
        }
        candidates.retain(|layer| self.is_whole(&layer.blob.digest));
        self.drop_folders(candidates, unused_for)
    }

    fn packed(self, layer: TwoForms) -> Packed {
        let row = self.store.inner.index.row(&layer.snapshot);
        let size = row.map_or(0, |row| row.disk.unwrap_or(row.usage.size));
        Packed { snapshot: layer.snapshot, blob: layer.blob.digest, size }
    }

    /// Whether a blob is what it should be; it will be all that there is of the layer.
    fn is_whole(self, digest: &Digest) -> bool {
        let read = self.store.open_content(digest).and_then(|mut reader| {
            io::copy(&mut reader, &mut io::sink()).map_err(|error| content_error(error, digest))
        });
        if let Err(error) = &read {
            tracing::warn!(
                error = corten_std::chain(error),
                "a layer stays unpacked: its compressed form is damaged"
            );
        }
        read.is_ok()
    }

    /// Whether nothing used a layer for so long.
    fn is_unused(self, key: &SnapshotKey, unused_for: Duration) -> bool {
        let index = &self.store.inner.index;
        let used =
            index.row(key).and_then(|row| std::fs::metadata(index.folder_of(&row)).ok()?.modified().ok());
        let age = used.and_then(|used| SystemTime::now().duration_since(used).ok());
        age.is_some_and(|age| age >= unused_for)
    }

    /// Of these layers those that nothing but images needs, and on which no layer lies that stays.
    fn topmost(self, candidates: &[TwoForms]) -> Result<HashSet<SnapshotKey>> {
        let inner = &*self.store.inner;
        let committed = inner.index.committed();
        let active = inner.index.parents_of_active()?;
        let sources = inner.dropped.sources();
        // What an image has as a plain tar is given back by the folder.
        let (mut content, mut snapshots) = (HashSet::new(), HashSet::new());
        self.index().references(&mut content, &mut snapshots);
        let mut droppable: HashSet<SnapshotKey> = candidates
            .iter()
            .filter(|layer| {
                inner.blobs.size(&layer.blob.digest).is_some()
                    && !active.contains(&layer.snapshot)
                    && !sources.contains(&layer.diff_id)
                    && (!content.contains(&layer.diff_id) || inner.blobs.size(&layer.diff_id).is_some())
            })
            .map(|layer| layer.snapshot.clone())
            .collect();
        droppable.retain(|key| inner.index.row(key).is_some_and(|row| row.for_images));
        loop {
            let kept: HashSet<SnapshotKey> = committed
                .iter()
                .filter(|(key, _)| !droppable.contains(key))
                .filter_map(|(_, row)| row.parent.clone())
                .collect();
            let before = droppable.len();
            droppable.retain(|key| !kept.contains(key));
            if droppable.len() == before {
                return Ok(droppable);
            }
        }
    }

    fn drop_folders(self, mut layers: Vec<TwoForms>, unused_for: Duration) -> Result<Vec<Packed>> {
        let inner = &*self.store.inner;
        let _change = self.store.changing();
        // Held until rows are gone from memory: whoever pins now, looks afterwards.
        let pins = inner.pins.hold();
        layers.retain(|layer| {
            let is_pinned = pins.has_content(&layer.blob.digest) || pins.has_snapshot(&layer.snapshot);
            // Reading the blobs took its time: somebody may have used it meanwhile.
            !is_pinned
                && inner.blobs.size(&layer.blob.digest).is_some()
                && self.is_unused(&layer.snapshot, unused_for)
        });
        let mut droppable = self.topmost(&layers)?;
        // Once, whatever other blobs have the same tar.
        layers.retain(|layer| droppable.remove(&layer.snapshot));
        let mut rows = HashMap::new();
        for layer in &layers {
            let size = inner.index.row(&layer.snapshot).map_or(0, |row| row.usage.size);
            rows.insert(layer.snapshot.clone(), DroppedLayer { size });
        }
        let keys: Vec<SnapshotKey> = rows.keys().cloned().collect();
        let mut changes = HashMap::new();
        for (key, row) in &rows {
            changes.insert(key.clone(), Change::put(DROPPED_LAYERS, key.as_str(), row)?);
        }
        let mut packed: Vec<Packed> = layers.into_iter().map(|layer| self.packed(layer)).collect();
        lock(&inner.dropped.layers).extend(rows);
        let gone = inner.index.forget_with(&keys, |gone| {
            changes.into_iter().filter(|(key, _)| gone.contains(key)).map(|(_, change)| change).collect()
        });
        let stays = |key: &SnapshotKey| !gone.as_ref().is_ok_and(|gone| gone.contains(key));
        lock(&inner.dropped.layers).retain(|key, _| !(keys.contains(key) && stays(key)));
        packed.retain(|layer| !stays(&layer.snapshot));
        gone?;
        inner.images.show_anew();
        Ok(packed)
    }
}

fn now() -> rustix::fs::Timestamps {
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    rustix::fs::Timestamps { last_access: now, last_modification: now }
}

impl Store {
    /// Whether compressing a layer gives the very bytes of its compressed form. Reads and compresses the layer.
    ///
    /// # Errors
    /// The layer cannot be read.
    pub fn is_compressed_alike(&self, layer: &TwoForms) -> Result<bool> {
        let path = self.inner.blobs.path(&layer.blob.digest);
        let mut blob = Comparing { blob: file::open(&path)?, differs: false, buffer: Vec::new() };
        let mut tar = self.open_content(&layer.diff_id)?;
        match corten_layer::compress(&mut tar, &mut blob) {
            Err(_) if blob.differs => Ok(false),
            Err(error) => Err(content_error(error, &layer.diff_id)),
            // Nothing may be left of it.
            Ok(()) => {
                let left =
                    blob.blob.read(&mut [0]).map_err(|source| PathError::new("read", &path, source))?;
                Ok(left == 0)
            }
        }
    }

    /// Drops the compressed form of a layer that is kept in both; the caller has found out that it can be had again. Gives the bytes
    /// that are free then: none where somebody needs it just now.
    ///
    /// # Errors
    /// The commit fails; the blob is still here then.
    pub fn drop_compressed(&self, layer: &TwoForms, again: Again) -> Result<u64> {
        let inner = &*self.inner;
        let _change = self.changing();
        let pins = inner.pins.hold();
        let digest = layer.blob.digest;
        let own = inner.index.row(&layer.snapshot).and_then(|row| row.layer.clone());
        let is_unpacked = own.is_some_and(|own| own.diff_id == layer.diff_id);
        let Some(size) = inner.blobs.size(&digest).filter(|_| is_unpacked && !pins.has_content(&digest))
        else {
            return Ok(0);
        };
        let row = DroppedBlob { size, again, diff_id: Some(layer.diff_id) };
        let put = Change::put(DROPPED_BLOBS, digest.to_string(), &row)?;
        lock(&inner.dropped.blobs).insert(digest, row);
        if let Err(error) = inner.blobs.forget_with(&[digest], vec![put]) {
            lock(&inner.dropped.blobs).remove(&digest);
            return Err(error);
        }
        inner.images.show_anew();
        Ok(size)
    }

    /// Of this content what was dropped and is at registries: digest, length, repository.
    pub fn elsewhere<'a>(&self, content: impl IntoIterator<Item = &'a Digest>) -> Vec<(Digest, u64, String)> {
        let of = |digest: &Digest| {
            if self.inner.blobs.size(digest).is_some() {
                return None;
            }
            match self.inner.dropped.blob(digest)? {
                DroppedBlob { size, again: Again::Registry(repository), .. } => {
                    Some((*digest, size, repository))
                }
                DroppedBlob { .. } => None,
            }
        };
        content.into_iter().filter_map(of).collect()
    }

    /// Takes content back that was dropped, from a file that has come whole; it is checked. The file may go afterwards.
    ///
    /// # Errors
    /// The file has other content, or cannot be taken.
    pub fn bring_back(&self, digest: &Digest, path: &Path) -> Result<()> {
        let mut pins = PinSet::new(&self.inner.pins);
        pins.content(*digest);
        let mut hasher: Hasher = digest.hasher();
        let size = io::copy(&mut file::open(path)?, &mut hasher)
            .map_err(|source| PathError::new("read", path, source))?;
        let found = hasher.finish();
        if found != *digest {
            return Err(StoreError::Mismatch { wanted: *digest, found: Box::new(found) });
        }
        let name = self.inner.reaper.new_name();
        std::fs::hard_link(path, &name).map_err(|source| PathError::new("link", path, source))?;
        self.commit(Batch {
            blobs: vec![StagedBlob { digest: *digest, size, path: name }],
            ..Batch::default()
        })
        .map(drop)
    }

    /// All content that an image is made of.
    ///
    /// # Errors
    /// There is no such image.
    pub fn content_of_image(&self, id: &Digest) -> Result<Vec<Digest>> {
        let row = self.inner.images.row(id).ok_or_else(|| StoreError::NoSuchImage(id.to_string()))?;
        Ok(row.content.clone())
    }

    /// Bytes of content that is kept as a blob, or was until it was dropped.
    pub(crate) fn kept_size(&self, digest: &Digest) -> Option<u64> {
        self.inner.blobs.size(digest).or_else(|| Some(self.inner.dropped.blob(digest)?.size))
    }

    /// Bytes that an image does not take on the disk, of what it takes when it is kept in every form.
    pub(crate) fn dropped_of<'a>(
        &self,
        content: impl IntoIterator<Item = &'a Digest>,
        chain: impl IntoIterator<Item = &'a Digest>,
    ) -> u64 {
        let dropped = &self.inner.dropped;
        let blobs = content.into_iter().filter_map(|digest| Some(dropped.blob(digest)?.size));
        let layers =
            chain.into_iter().filter_map(|chain| Some(dropped.layer(&SnapshotKey::of_chain(chain))?.size));
        blobs.chain(layers).fold(0, u64::saturating_add)
    }
}

/// Takes what a blob should have, and fails at the first byte that it has not.
struct Comparing {
    blob: File,
    differs: bool,
    buffer: Vec<u8>,
}

impl Write for Comparing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.resize(bytes.len(), 0);
        let read = self.blob.read_exact(&mut self.buffer);
        if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
            || (read.is_ok() && self.buffer != bytes)
        {
            self.differs = true;
            return Err(io::ErrorKind::InvalidData.into());
        }
        read.map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
