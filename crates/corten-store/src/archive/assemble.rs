//! From pieces of content to images: follows a manifest or index through what an archive brought and what the
//! store has, chooses this machine's platform, and makes the batch that is committed.

use crate::blob::{StagedBlob, stage_bytes, stage_reader};
use crate::commit::Batch;
use crate::garbage::PinSet;
use crate::image::{ImageRow, is_wanted};
use crate::ingest::{Unpacked, discard};
use crate::snapshots::{CommittedRow, CopySnapshots, FILES, SnapshotKey, Staged, Usage, tree};
use crate::store::{SnapshotForm, Store};
use crate::{Result, StoreError};
use corten_layer::Compression;
use corten_oci::image::{Descriptor, chain_ids, media_type};
use corten_oci::{Digest, Hasher, ImageConfig, Index, Manifest, Platform};
use corten_std::{PathError, Timestamp};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How deep indexes may lie in indexes.
const DEPTH: u32 = 4;

/// A piece of content that an archive brought.
#[derive(Debug)]
pub(crate) enum Item {
    /// Small, and not an archive.
    Document(Vec<u8>),
    /// A layer archive, unpacked.
    Layer(Box<Unpacked>),
    /// What looks like a layer archive and could not be unpacked; its bytes where they are kept.
    Broken(Option<StoreError>, Option<StagedBlob>),
    /// Anything else.
    Blob(StagedBlob),
}

/// An image of an index that is here with all its content.
struct Candidate {
    descriptor: Descriptor,
    manifest: Manifest,
    config: ImageConfig,
}

/// What a manifest or index leads to.
#[derive(Default)]
struct Found {
    content: BTreeSet<Digest>,
    candidates: Vec<Candidate>,
    /// Manifests that are no candidates: attestations, artifacts, platforms of which content is missing.
    others: Vec<(Descriptor, Option<Manifest>)>,
}

/// Makes a batch of images.
#[derive(Debug)]
pub(crate) struct Assembler<'a> {
    store: &'a Store,
    pub(crate) items: HashMap<Digest, Item>,
    /// Keeps what the store has already.
    pub(crate) pins: PinSet,
    pub(crate) batch: Batch,
    /// Only what is for this platform is taken; none: everything.
    pub(crate) only: Option<Platform>,
    /// What refers to images, by their IDs.
    pub(crate) referrers: HashMap<Digest, Vec<Descriptor>>,
}

impl<'a> Assembler<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self {
            store,
            items: HashMap::new(),
            pins: PinSet::new(&store.inner.pins),
            batch: Batch::default(),
            only: None,
            referrers: HashMap::new(),
        }
    }

    pub(super) fn store(&self) -> &Store {
        self.store
    }

    /// Adds a small document, and gives a descriptor of it.
    pub(crate) fn add_document(&mut self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(media_type, &bytes);
        self.items.entry(descriptor.digest).or_insert(Item::Document(bytes));
        descriptor
    }

    /// Whether content is in the store; if so it stays there while this assembler lives.
    pub(crate) fn is_stored(&mut self, digest: Digest) -> bool {
        self.pins.content(digest);
        self.store.content_size(&digest).is_some()
    }

    /// Plans one image with all that is here of it.
    pub(crate) fn add_image(&mut self, target: &Descriptor) -> Result<()> {
        let mut found = Found::default();
        if !self.gather(target, 0, &mut found)? {
            return Err(StoreError::Archive(format!(
                "it names the image {} but does not hold it",
                target.digest
            )));
        }
        if let Some(only) = &self.only {
            found.candidates.retain(|one| {
                is_wanted(only, one.descriptor.platform.as_ref().unwrap_or(&one.config.platform()))
            });
        }
        if let Some(only) = &self.only
            && found.candidates.is_empty()
        {
            return Err(StoreError::NoPlatform { image: target.digest, platform: only.to_string() });
        }
        let host = self.only.clone().unwrap_or_else(Platform::host);
        let platform = |candidate: &Candidate| {
            candidate.descriptor.platform.clone().unwrap_or_else(|| candidate.config.platform())
        };
        let chosen = (0..found.candidates.len())
            // Of equals the first.
            .max_by_key(|&at| (host.suits(&platform(&found.candidates[at])), std::cmp::Reverse(at)));
        let row = match chosen {
            Some(at) => {
                let chosen = found.candidates.swap_remove(at);
                let others = found.candidates.iter().map(|candidate| candidate.descriptor.digest);
                let others =
                    others.chain(found.others.iter().map(|(descriptor, _)| descriptor.digest)).collect();
                self.runnable(target, &chosen, others, &found.content)?
            }
            None => self.not_runnable(target, &found),
        };
        let mut row = row;
        let referring = self.attach_referrers(&target.digest, &mut row)?;
        for digest in found.content.iter().chain(&referring) {
            self.keep_content(digest)?;
        }
        row.kept_size = row.content.iter().filter_map(|digest| self.kept_size(digest)).sum();
        self.batch.images.retain(|(id, _)| *id != target.digest);
        self.batch.images.push((target.digest, row));
        Ok(())
    }

    /// Gives back what no image needed, and the batch.
    pub(crate) fn finish(self) -> Result<(Batch, PinSet)> {
        for (_, item) in self.items {
            match item {
                Item::Document(_) => {}
                Item::Blob(blob) => discard(self.store, None, Some(&blob))?,
                Item::Layer(layer) => {
                    discard(self.store, layer.folder.as_deref(), layer.blob.as_ref())?;
                }
                Item::Broken(_, blob) => discard(self.store, None, blob.as_ref())?,
            }
        }
        Ok((self.batch, self.pins))
    }

    /// Follows a descriptor; false where its document is not here.
    fn gather(&mut self, descriptor: &Descriptor, depth: u32, found: &mut Found) -> Result<bool> {
        let Some(bytes) = self.document(&descriptor.digest)? else { return Ok(false) };
        if descriptor.size != bytes.len() as u64 {
            return Err(StoreError::Length {
                digest: descriptor.digest,
                wanted: descriptor.size,
                found: bytes.len() as u64,
            });
        }
        found.content.insert(descriptor.digest);
        let wrong = |what: &str| {
            let what = format!("{what} {}", descriptor.digest);
            move |source| StoreError::Document { what, source }
        };
        if is_index(descriptor, &bytes) {
            let index: Index = serde_json::from_slice(&bytes).map_err(wrong("image index"))?;
            if depth == DEPTH {
                return Err(StoreError::Archive(format!("indexes lie more than {DEPTH} deep in indexes")));
            }
            for child in &index.manifests {
                if !self.is_taken(child) {
                    continue;
                }
                self.gather(child, depth + 1, found)?;
            }
            return Ok(true);
        }
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(wrong("image manifest"))?;
        let mut complete = self.has(manifest.config.digest, found);
        for layer in &manifest.layers {
            complete &= self.has(layer.digest, found);
        }
        let layers_are_archives = manifest.layers.iter().all(|layer| media_type::is_layer(&layer.media_type));
        if complete && manifest.is_image() && layers_are_archives && !descriptor.is_attestation() {
            let bytes = self.document(&manifest.config.digest)?.unwrap_or_default();
            let config = ImageConfig::parse(&bytes).map_err(|source| StoreError::Document {
                what: format!("image configuration {}", manifest.config.digest),
                source,
            })?;
            found.candidates.push(Candidate { descriptor: descriptor.clone(), manifest, config });
        } else {
            found.others.push((descriptor.clone(), Some(manifest)));
        }
        Ok(true)
    }

    /// Whether an index's entry is for the platform that is wanted.
    fn is_taken(&self, entry: &Descriptor) -> bool {
        match (&self.only, &entry.platform) {
            (None, _) => true,
            (Some(only), Some(offered)) => is_wanted(only, offered),
            (Some(_), None) => !entry.is_attestation(),
        }
    }

    fn has(&mut self, digest: Digest, found: &mut Found) -> bool {
        let here = self.items.contains_key(&digest) || self.is_stored(digest);
        if here {
            found.content.insert(digest);
        }
        here
    }

    pub(super) fn document(&mut self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        if let Some(Item::Document(bytes)) = self.items.get(digest) {
            return Ok(Some(bytes.clone()));
        }
        if self.is_stored(*digest) { self.store.read_document(digest).map(Some) } else { Ok(None) }
    }

    fn runnable(
        &mut self,
        target: &Descriptor,
        chosen: &Candidate,
        others: Vec<Digest>,
        content: &BTreeSet<Digest>,
    ) -> Result<ImageRow> {
        let (layers, diff_ids) = (&chosen.manifest.layers, &chosen.config.rootfs.diff_ids);
        if layers.len() != diff_ids.len() {
            return Err(StoreError::Archive(format!(
                "manifest {} has {} layers, its configuration {}",
                chosen.descriptor.digest,
                layers.len(),
                diff_ids.len()
            )));
        }
        let chain = chain_ids(diff_ids);
        let mut unpacked_size = 0;
        for (at, (layer, diff_id)) in layers.iter().zip(diff_ids).enumerate() {
            let name = SnapshotKey::of_chain(&chain[at]);
            let parent = at.checked_sub(1).map(|below| SnapshotKey::of_chain(&chain[below]));
            unpacked_size += self.snapshot(name, parent, layer, diff_id)?;
        }
        let sizes = layers.iter().map(|layer| layer.size).sum::<u64>();
        Ok(ImageRow {
            target: bare(target),
            manifest: bare(&chosen.descriptor),
            config: chosen.manifest.config.digest,
            chain,
            runnable: true,
            content: content.iter().copied().collect(),
            content_size: chosen.descriptor.size + chosen.manifest.config.size + sizes,
            unpacked_size,
            kept_size: 0,
            others,
            platforms: Vec::new(),
            referrers: Vec::new(),
            sources: BTreeSet::new(),
        })
    }

    fn not_runnable(&self, target: &Descriptor, found: &Found) -> ImageRow {
        let first =
            found.others.iter().find(|(descriptor, _)| !descriptor.is_attestation()).or(found.others.first());
        let (manifest, config) = match first {
            Some((descriptor, manifest)) => (
                bare(descriptor),
                manifest.as_ref().map_or(descriptor.digest, |manifest| manifest.config.digest),
            ),
            None => (bare(target), target.digest),
        };
        let size =
            |digest: &Digest| self.item_size(digest).or_else(|| self.store.content_size(digest)).unwrap_or(0);
        ImageRow {
            target: bare(target),
            manifest,
            config,
            chain: Vec::new(),
            runnable: false,
            content: found.content.iter().copied().collect(),
            content_size: found.content.iter().map(size).sum(),
            unpacked_size: 0,
            kept_size: 0,
            others: found.others.iter().map(|(descriptor, _)| descriptor.digest).collect(),
            platforms: Vec::new(),
            referrers: Vec::new(),
            sources: BTreeSet::new(),
        }
    }

    fn item_size(&self, digest: &Digest) -> Option<u64> {
        match self.items.get(digest)? {
            Item::Document(bytes) => Some(bytes.len() as u64),
            Item::Blob(blob) | Item::Broken(_, Some(blob)) => Some(blob.size),
            Item::Layer(layer) => Some(layer.blob.as_ref().map_or(layer.row.tar_size, |blob| blob.size)),
            Item::Broken(_, None) => None,
        }
    }

    /// Makes sure that a layer's snapshot is in the store or in the batch; gives the size of its files.
    fn snapshot(
        &mut self,
        name: SnapshotKey,
        parent: Option<SnapshotKey>,
        layer: &Descriptor,
        diff_id: &Digest,
    ) -> Result<u64> {
        self.pins.snapshot(&name);
        if let Some(row) = self.store.inner.index.row(&name) {
            return Ok(row.usage.size);
        }
        if let Some(staged) = self.batch.layers.iter().find(|staged| staged.name == name) {
            return Ok(staged.row.usage.size);
        }
        let mut unpacked = self.take_unpacked(layer, diff_id, parent.as_ref())?;
        let found = unpacked.named_like(diff_id)?;
        if found != *diff_id {
            discard(self.store, unpacked.folder.as_deref(), None)?;
            return Err(StoreError::Mismatch { wanted: *diff_id, found: Box::new(found) });
        }
        if let Some(parent) = &parent {
            unpacked = self.complete_folders(unpacked, layer, parent)?;
        }
        let folder = unpacked.folder.take().expect("a layer that was just taken has its folder");
        let usage = Usage { size: unpacked.applied.content_size, inodes: unpacked.applied.entries };
        let size = usage.size;
        if self.store.inner.options.form == SnapshotForm::Copy
            && let Some(parent) = &parent
        {
            let below = self.files_of(parent)?;
            let files = folder.join(FILES);
            CopySnapshots::complete(&files, &below, &folder.join("whole"))?;
        }
        let row = CommittedRow {
            number: 0,
            parent,
            created: Timestamp::now(),
            boot: self.store.inner.index.boot().to_owned(),
            usage,
            for_images: true,
            layer: Some(unpacked.row.clone()),
            disk: None,
        };
        self.batch.layers.push(Staged { name, folder, row });
        Ok(size)
    }

    /// An archive may leave out folders that the layers below have. They were made with properties of our own
    /// choice while those layers were not known; where there are such (their times are of now, which an
    /// archive's seldom are), the layer is unpacked once more, upon its parent.
    fn complete_folders(
        &self,
        unpacked: Unpacked,
        layer: &Descriptor,
        parent: &SnapshotKey,
    ) -> Result<Unpacked> {
        let Some(folder) = &unpacked.folder else { return Ok(unpacked) };
        let files = folder.join(FILES);
        let complete = if has_fresh_folder(&files, unpacked.begun)? {
            let mut tar = crate::blob::reproduced(folder.clone())?;
            let again = self.unpack_again(&mut tar, layer, Some(parent))?;
            discard(self.store, Some(folder), None)?;
            again
        } else {
            unpacked
        };
        // The top folder is left out by most archives, and every one of them makes it anew.
        if let Some(folder) = &complete.folder
            && is_fresh(&folder.join(FILES), complete.begun)?
        {
            tree::root_attributes(&self.files_of(parent)?, &folder.join(FILES))?;
        }
        Ok(complete)
    }

    /// The files of a snapshot that is in the store or in the batch.
    fn files_of(&self, key: &SnapshotKey) -> Result<PathBuf> {
        let index = &self.store.inner.index;
        if let Some(row) = index.row(key) {
            return Ok(index.folder_of(&row).join(FILES));
        }
        let staged = self.batch.layers.iter().find(|staged| staged.name == *key);
        staged
            .map(|staged| staged.folder.join(FILES))
            .ok_or_else(|| StoreError::NoSuchSnapshot(key.to_string()))
    }

    /// An unpacked folder of this layer for one use: the archive's own the first time, else unpacked again.
    fn take_unpacked(
        &mut self,
        layer: &Descriptor,
        diff_id: &Digest,
        parent: Option<&SnapshotKey>,
    ) -> Result<Unpacked> {
        match self.items.get_mut(&layer.digest) {
            Some(Item::Layer(unpacked)) if unpacked.folder.is_some() => {
                return Ok(Unpacked {
                    folder: unpacked.folder.take(),
                    row: unpacked.row.clone(),
                    applied: unpacked.applied,
                    compression: unpacked.compression,
                    blob: None,
                    begun: unpacked.begun,
                });
            }
            // Unpacking failed while the layers below were not known (a hard link may lead there): once more, with them.
            Some(Item::Broken(_, Some(blob))) => {
                let mut reader = corten_std::file::open(&blob.path)?;
                return self.unpack_again(&mut reader, layer, parent);
            }
            Some(Item::Broken(error, None)) => {
                return Err(error.take().unwrap_or(StoreError::NoSuchBlob(layer.digest)));
            }
            Some(Item::Document(_)) => {
                return Err(StoreError::Archive(format!("layer {} is not a tar archive", layer.digest)));
            }
            _ => {}
        }
        // The same layer twice in a batch, or one that the store has for another image.
        let staged = self.batch.layers.iter().find(|staged| {
            staged.row.layer.as_ref().is_some_and(|row| self.diff_id_of(&layer.digest) == Some(row.diff_id))
        });
        if let Some(staged) = staged {
            let mut tar = crate::blob::reproduced(staged.folder.clone())?;
            return self.unpack_again(&mut tar, layer, parent);
        }
        // Where its compressed form was dropped its tar is here, as the folder of another stack.
        let is_dropped = self.store.inner.dropped.blob(&layer.digest).is_some();
        let mut reader = self.store.open_content(if is_dropped { diff_id } else { &layer.digest })?;
        self.unpack_again(&mut reader, layer, parent)
    }

    fn diff_id_of(&self, digest: &Digest) -> Option<Digest> {
        match self.items.get(digest)? {
            Item::Layer(layer) => Some(layer.row.diff_id),
            _ => None,
        }
    }

    fn unpack_again(
        &self,
        reader: &mut (dyn std::io::Read + Send),
        layer: &Descriptor,
        parent: Option<&SnapshotKey>,
    ) -> Result<Unpacked> {
        let mut parents = Vec::new();
        let mut next = parent.cloned();
        while let Some(key) = next {
            parents.push(self.files_of(&key)?);
            let staged = self
                .batch
                .layers
                .iter()
                .find(|staged| staged.name == key)
                .map(|staged| staged.row.parent.clone());
            next =
                staged.unwrap_or_else(|| self.store.inner.index.row(&key).and_then(|row| row.parent.clone()));
        }
        let (blob, unpacked) =
            self.store.ingest(reader, &layer.digest.to_string(), parents, Hasher::new())?.finish(self.store);
        discard(self.store, None, blob.as_ref())?;
        let mut unpacked = unpacked?;
        // Its bytes are here already.
        discard(self.store, None, unpacked.blob.take().as_ref())?;
        Ok(unpacked)
    }

    /// Makes sure that content which an image needs is in the store after the commit.
    fn keep_content(&mut self, digest: &Digest) -> Result<()> {
        let store = self.store;
        // What only a registry has is taken where it comes on its own.
        let comes_back = self.items.contains_key(digest) && !store.elsewhere([digest]).is_empty();
        let is_here = store.content_size(digest).is_some() && !comes_back;
        if is_here || self.batch.blobs.iter().any(|blob| blob.digest == *digest) {
            return Ok(());
        }
        let path = store.inner.reaper.new_name();
        let staged = |diff_id: &Digest| {
            let has = |staged: &&Staged| staged.row.layer.as_ref().is_some_and(|row| row.diff_id == *diff_id);
            self.batch.layers.iter().find(has).map(|staged| staged.folder.clone())
        };
        let blob = match self.items.get_mut(digest) {
            Some(Item::Document(bytes)) => stage_bytes(path, digest, bytes)?,
            Some(Item::Blob(_)) => {
                let Some(Item::Blob(blob)) = self.items.remove(digest) else { return Ok(()) };
                blob
            }
            Some(Item::Layer(layer)) => {
                let staged = staged(&layer.row.diff_id);
                match (layer.blob.take(), staged.as_ref().or(layer.folder.as_ref())) {
                    (Some(blob), _) => blob,
                    // A plain tar: its snapshot gives it back, by the name that it has there.
                    (None, _) if staged.is_some() && layer.row.diff_id == *digest => return Ok(()),
                    (None, Some(folder)) => {
                        stage_reader(path, digest, &mut crate::blob::reproduced(folder.clone())?)?
                    }
                    (None, None) => return Err(StoreError::NoSuchBlob(*digest)),
                }
            }
            Some(Item::Broken(_, blob)) => blob.take().ok_or(StoreError::NoSuchBlob(*digest))?,
            None => return Err(StoreError::NoSuchBlob(*digest)),
        };
        if blob.digest != *digest {
            discard(store, None, Some(&blob))?;
            return Err(StoreError::Mismatch { wanted: *digest, found: Box::new(blob.digest) });
        }
        self.batch.blobs.push(blob);
        Ok(())
    }

    /// Bytes of content that is kept as a blob.
    fn kept_size(&self, digest: &Digest) -> Option<u64> {
        let staged = self.batch.blobs.iter().find(|blob| blob.digest == *digest).map(|blob| blob.size);
        staged.or_else(|| self.store.kept_size(digest))
    }
}

/// Whether any folder below the top one was changed since `begun`.
fn has_fresh_folder(top: &Path, begun: SystemTime) -> Result<bool> {
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |source| PathError::new("list", &folder, source);
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_dir() {
                let path = entry.path();
                if is_fresh(&path, begun)? {
                    return Ok(true);
                }
                folders.push(path);
            }
        }
    }
    Ok(false)
}

fn is_fresh(folder: &Path, begun: SystemTime) -> Result<bool> {
    let metadata = std::fs::symlink_metadata(folder).and_then(|metadata| metadata.modified());
    Ok(metadata.map_err(|source| PathError::new("look at", folder, source))? >= begun)
}

/// The media type of a layer archive that came without one, in Docker's words.
pub(crate) fn docker_layer_type(compression: Compression) -> &'static str {
    match compression {
        Compression::Plain => media_type::DOCKER_LAYER,
        Compression::Gzip => media_type::DOCKER_LAYER_GZIP,
        Compression::Zstd => media_type::OCI_LAYER_ZSTD,
        // No registry knows a name for these; whoever reads a layer looks at its bytes.
        Compression::Bzip2 => media_type::DOCKER_LAYER_BZIP2,
        Compression::Xz => media_type::DOCKER_LAYER_XZ,
    }
}

/// A descriptor without the words that name an image in one archive.
fn bare(descriptor: &Descriptor) -> Descriptor {
    let mut bare = Descriptor::new(&descriptor.media_type, descriptor.digest, descriptor.size);
    bare.platform.clone_from(&descriptor.platform);
    bare
}

/// By its media type; where it says nothing, by what the document has.
fn is_index(descriptor: &Descriptor, bytes: &[u8]) -> bool {
    if media_type::is_index(&descriptor.media_type) {
        return true;
    }
    if media_type::is_manifest(&descriptor.media_type) {
        return false;
    }
    serde_json::from_slice::<corten_oci::image::Extra>(bytes)
        .is_ok_and(|document| document.contains_key("manifests"))
}
