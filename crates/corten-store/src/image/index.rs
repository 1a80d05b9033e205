//! Which images and names there are: rows in memory and in the database, and images as they were last shown.

use super::Image;
use super::platform::PlatformRow;
use crate::database::{Change, Database, IMAGES, TAGS};
use crate::snapshots::SnapshotKey;
use crate::store::Store;
use crate::{Result, StoreError};
use corten_oci::image::Descriptor;
use corten_oci::{Digest, ImageConfig, Reference};
use corten_std::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The row of an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ImageRow {
    /// The manifest or index; its digest is the image's ID.
    pub(crate) target: Descriptor,
    /// The manifest of the chosen platform.
    pub(crate) manifest: Descriptor,
    pub(crate) config: Digest,
    /// Names of the stacks of layers, lowest first; these snapshots exist where the image is runnable.
    pub(crate) chain: Vec<Digest>,
    pub(crate) runnable: bool,
    /// All of it that is here: documents and layer archives, of every platform.
    pub(crate) content: Vec<Digest>,
    pub(crate) content_size: u64,
    pub(crate) unpacked_size: u64,
    /// Bytes of content that are kept as blobs.
    pub(crate) kept_size: u64,
    /// Manifests of other platforms and attestations that are here, for lookup by their digest.
    #[serde(default)]
    pub(crate) others: Vec<Digest>,
    /// Further platforms that were unpacked because somebody wanted them.
    #[serde(default)]
    pub(crate) platforms: Vec<PlatformRow>,
    /// Manifests that refer to it or to one of its manifests.
    #[serde(default)]
    pub(crate) referrers: Vec<Descriptor>,
    /// Canonical names of the repositories that it was pulled from; none where it came another way.
    #[serde(default)]
    pub(crate) sources: BTreeSet<String>,
}

/// The row of a name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TagRow {
    pub(crate) image: Digest,
    pub(crate) tagged: Timestamp,
}

#[derive(Debug, Default)]
struct State {
    images: BTreeMap<Digest, Arc<ImageRow>>,
    tags: BTreeMap<Reference, TagRow>,
    /// Images as last shown; an entry goes when a name of it changes.
    shown: HashMap<Digest, Arc<Image>>,
}

/// The tables of images and names.
#[derive(Debug)]
pub(crate) struct ImageIndex {
    state: RwLock<State>,
}

impl ImageIndex {
    pub(crate) fn open(database: &Database) -> Result<Self> {
        let mut state = State::default();
        for (key, row) in database.list::<ImageRow>(IMAGES)? {
            state.images.insert(Digest::parse(&key)?, Arc::new(row));
        }
        for (key, row) in database.list::<TagRow>(TAGS)? {
            state.tags.insert(Reference::parse_bare(&key)?, row);
        }
        Ok(Self { state: RwLock::new(state) })
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The changes that make these rows.
    pub(crate) fn changes(
        images: &[(Digest, ImageRow)],
        tags: &[(Reference, TagRow)],
    ) -> Result<Vec<Change>> {
        let images = images.iter().map(|(id, row)| Change::put(IMAGES, id.to_string(), row));
        let tags = tags.iter().map(|(name, row)| Change::put(TAGS, name.canonical(), row));
        images.chain(tags).collect()
    }

    /// Makes committed rows visible; gives the names that pointed to another image.
    pub(crate) fn settle(
        &self,
        images: Vec<(Digest, ImageRow)>,
        tags: Vec<(Reference, TagRow)>,
    ) -> Vec<(Reference, Digest)> {
        let mut state = self.write();
        for (id, row) in images {
            state.shown.remove(&id);
            state.images.insert(id, Arc::new(row));
        }
        let mut renamed = Vec::new();
        for (name, row) in tags {
            state.shown.remove(&row.image);
            let image = row.image;
            if let Some(previous) = state.tags.insert(name.clone(), row)
                && previous.image != image
            {
                state.shown.remove(&previous.image);
                renamed.push((name, previous.image));
            }
        }
        renamed
    }

    /// The changes that remove these rows.
    pub(crate) fn removals(images: &[Digest], names: &[Reference]) -> Vec<Change> {
        let images = images.iter().map(|id| Change::delete(IMAGES, id.to_string()));
        images.chain(names.iter().map(|name| Change::delete(TAGS, name.canonical()))).collect()
    }

    /// Removes rows from sight after their removal was committed.
    pub(crate) fn forget(&self, images: &[Digest], names: &[Reference]) {
        let mut state = self.write();
        for name in names {
            if let Some(row) = state.tags.remove(name) {
                state.shown.remove(&row.image);
            }
        }
        for id in images {
            state.images.remove(id);
            state.shown.remove(id);
        }
    }

    /// The image that has this name.
    pub(crate) fn tagged(&self, name: &Reference) -> Option<Digest> {
        self.read().tags.get(name).map(|row| row.image)
    }

    /// The names of an image, sorted.
    pub(crate) fn names(&self, id: &Digest) -> Vec<Reference> {
        self.read().tags.iter().filter(|(_, row)| row.image == *id).map(|(name, _)| name.clone()).collect()
    }

    /// Whether there is an image with this ID.
    pub(crate) fn contains(&self, id: &Digest) -> bool {
        self.read().images.contains_key(id)
    }

    /// The row of an image.
    pub(crate) fn row(&self, id: &Digest) -> Option<Arc<ImageRow>> {
        self.read().images.get(id).cloned()
    }

    /// The image with this ID, or the first one with a manifest of this digest.
    pub(crate) fn by_digest(&self, digest: &Digest) -> Option<Digest> {
        let state = self.read();
        if state.images.contains_key(digest) {
            return Some(*digest);
        }
        state
            .images
            .iter()
            .find(|(_, row)| row.manifest.digest == *digest || row.others.contains(digest))
            .map(|(id, _)| *id)
    }

    /// The images whose ID begins with these hexadecimal digits: none, one, or several (then two are given).
    pub(crate) fn by_prefix(&self, hex: &str) -> Vec<Digest> {
        self.read().images.keys().filter(|id| id.hex().starts_with(hex)).take(2).copied().collect()
    }

    /// All images are shown anew, because what they take on the disk is another now.
    pub(crate) fn show_anew(&self) {
        self.write().shown.clear();
    }

    /// All IDs.
    pub(crate) fn ids(&self) -> Vec<Digest> {
        self.read().images.keys().copied().collect()
    }

    /// Adds what the images refer to.
    pub(crate) fn references(&self, content: &mut HashSet<Digest>, snapshots: &mut HashSet<SnapshotKey>) {
        for row in self.read().images.values() {
            content.extend(row.content.iter().copied());
            if row.runnable {
                snapshots.extend(row.chain.iter().map(SnapshotKey::of_chain));
            }
            let further = row.platforms.iter().flat_map(|platform| &platform.chain);
            snapshots.extend(further.map(SnapshotKey::of_chain));
        }
    }
}

impl Store {
    /// The image with this ID as it is shown; made once and kept until a name of it changes.
    pub(crate) fn show_image(&self, id: &Digest) -> Result<Arc<Image>> {
        let (row, names, last_tagged) = {
            let state = self.inner.images.read();
            if let Some(image) = state.shown.get(id) {
                return Ok(Arc::clone(image));
            }
            let row = state.images.get(id).cloned().ok_or_else(|| StoreError::NoSuchImage(id.to_string()))?;
            let tags = state.tags.iter().filter(|(_, row)| row.image == *id);
            let names: Vec<Reference> = tags.clone().map(|(name, _)| name.clone()).collect();
            let last_tagged = tags.map(|(_, row)| row.tagged).max().unwrap_or_default();
            (row, names, last_tagged)
        };
        let config_bytes: Arc<[u8]> =
            if row.runnable { self.read_document(&row.config)?.into() } else { Arc::default() };
        let config = if row.runnable {
            ImageConfig::parse(&config_bytes).map_err(|source| StoreError::Document {
                what: format!("image configuration {}", row.config),
                source,
            })?
        } else {
            ImageConfig::default()
        };
        let image = Arc::new(Image {
            id: *id,
            target: row.target.clone(),
            names,
            manifest: row.manifest.clone(),
            config_digest: row.config,
            created: config.created.unwrap_or_default(),
            config: Arc::new(config),
            config_bytes,
            chain: row.chain.clone(),
            top_snapshot: row.chain.last().filter(|_| row.runnable).map(SnapshotKey::of_chain),
            runnable: row.runnable,
            content_size: row.content_size,
            unpacked_size: row.unpacked_size,
            size: (row.unpacked_size + row.kept_size)
                .saturating_sub(self.dropped_of(&row.content, &row.chain)),
            last_tagged,
        });
        let mut state = self.inner.images.write();
        // Only where nothing changed meanwhile: else the next call makes it anew.
        let unchanged = state.images.get(id).is_some_and(|now| Arc::ptr_eq(now, &row))
            && state
                .tags
                .iter()
                .filter(|(_, row)| row.image == *id)
                .map(|(name, _)| name)
                .eq(image.names.iter());
        if unchanged {
            state.shown.insert(*id, Arc::clone(&image));
        }
        Ok(image)
    }

    /// At opening: drops images whose content or snapshots are not here (damage from outside; see the log).
    pub(crate) fn forget_incomplete_images(&self) -> Result<()> {
        let inner = &*self.inner;
        let incomplete: Vec<Digest> = inner
            .images
            .ids()
            .into_iter()
            .filter(|id| {
                inner.images.row(id).is_some_and(|row| {
                    let layers = !row.runnable
                        || row.chain.iter().map(SnapshotKey::of_chain).all(|key| {
                            inner.index.row(&key).is_some() || inner.dropped.layer(&key).is_some()
                        });
                    !layers || !row.content.iter().all(|digest| self.content_size(digest).is_some())
                })
            })
            .collect();
        if incomplete.is_empty() {
            return Ok(());
        }
        let names: Vec<Reference> = incomplete.iter().flat_map(|id| inner.images.names(id)).collect();
        for id in &incomplete {
            tracing::error!(%id, "an image's content is damaged or gone; it is forgotten and can be loaded again");
        }
        inner.database.write(ImageIndex::removals(&incomplete, &names))?;
        inner.images.forget(&incomplete, &names);
        Ok(())
    }
}
