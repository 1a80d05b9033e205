//! Several platforms under one name: what an index holds, and the image of one platform.
//!
//! An image is loaded with all that it brings; only the platform that suits this machine best is unpacked. Another one
//! is unpacked when it is first wanted.

use super::{Image, Images};
use crate::archive::{Assembler, give_up};
use crate::commit::Batch;
use crate::snapshots::SnapshotKey;
use crate::store::Store;
use crate::{Result, StoreError};
use corten_oci::image::{Descriptor, annotation, chain_ids, media_type};
use corten_oci::{Digest, ImageConfig, Index, Manifest, Platform};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How deep indexes may lie in indexes.
const DEPTH: u32 = 4;

/// A platform that was unpacked beside the chosen one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PlatformRow {
    /// Its manifest.
    pub(crate) manifest: Descriptor,
    pub(crate) config: Digest,
    /// As in [`ImageRow::chain`].
    pub(crate) chain: Vec<Digest>,
    pub(crate) content_size: u64,
    pub(crate) unpacked_size: u64,
}

/// What a manifest is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestKind {
    /// Containers can be made of it.
    Image,
    /// It speaks of another manifest.
    Attestation {
        /// Which one.
        of: Digest,
    },
    /// Something else.
    Unknown,
}

/// One manifest of an image.
#[derive(Clone, Debug)]
pub struct ManifestSummary {
    /// As the index has it; for an image without index, the image's own.
    pub descriptor: Descriptor,
    /// What it is for.
    pub kind: ManifestKind,
    /// Whether all that it names is here.
    pub available: bool,
    /// What it runs on, as far as that is known.
    pub platform: Platform,
    /// Bytes of it that are here: documents and layer archives.
    pub content_size: u64,
    /// Bytes of its unpacked files; 0 where it is not unpacked.
    pub unpacked_size: u64,
    pub(crate) content: BTreeSet<Digest>,
}

/// Whether an image for `offered` is what was asked for by `wanted`: the same system and architecture, and no newer
/// variant.
pub(crate) fn is_wanted(wanted: &Platform, offered: &Platform) -> bool {
    let offered = &Platform::new(&offered.os, &offered.architecture, &offered.variant);
    wanted.os == offered.os && wanted.architecture == offered.architecture && wanted.suits(offered).is_some()
}

impl Images<'_> {
    /// Every manifest of an image, in the order of its index.
    pub fn manifests(self, id: &Digest) -> Result<Vec<ManifestSummary>> {
        let row = self.index().row(id).ok_or_else(|| StoreError::NoSuchImage(id.to_string()))?;
        let mut all = Vec::new();
        self.store.add_manifests(&row.target, 0, &mut all)?;
        Ok(all)
    }

    /// The image as it is for one platform, unpacked; none where the image has nothing for it. Durable where something
    /// had to be unpacked.
    pub fn for_platform(self, id: &Digest, wanted: &Platform) -> Result<Option<Arc<Image>>> {
        let shown = self.store.show_image(id)?;
        if shown.runnable && is_wanted(wanted, &shown.platform()) {
            return Ok(Some(shown));
        }
        let manifests = self.manifests(id)?;
        let best = manifests
            .iter()
            .filter(|one| {
                one.available && one.kind == ManifestKind::Image && is_wanted(wanted, &one.platform)
            })
            .max_by_key(|one| wanted.suits(&one.platform));
        let Some(best) = best else { return Ok(None) };
        let platform = self.store.platform_row(id, &best.descriptor)?;
        let config_bytes: Arc<[u8]> = self.store.read_document(&platform.config)?.into();
        let config = ImageConfig::parse(&config_bytes).map_err(|source| StoreError::Document {
            what: format!("image configuration {}", platform.config),
            source,
        })?;
        Ok(Some(Arc::new(Image {
            manifest: platform.manifest.clone(),
            config_digest: platform.config,
            created: config.created.unwrap_or_default(),
            config: Arc::new(config),
            config_bytes,
            top_snapshot: platform.chain.last().map(SnapshotKey::of_chain),
            chain: platform.chain,
            runnable: true,
            content_size: platform.content_size,
            unpacked_size: platform.unpacked_size,
            size: platform.unpacked_size + best.content_size,
            ..Image::clone(&shown)
        })))
    }

    /// What an archive of this image holds where only one platform is wanted.
    pub(crate) fn content_for(
        self,
        id: &Digest,
        wanted: &Platform,
    ) -> Result<Option<(Digest, BTreeSet<Digest>)>> {
        let manifests = self.manifests(id)?;
        let best = manifests
            .into_iter()
            .filter(|one| {
                one.available && one.kind == ManifestKind::Image && is_wanted(wanted, &one.platform)
            })
            .max_by_key(|one| wanted.suits(&one.platform));
        Ok(best.map(|mut best| {
            best.content.insert(*id);
            (best.descriptor.digest, best.content)
        }))
    }
}

impl Store {
    fn add_manifests(
        &self,
        descriptor: &Descriptor,
        depth: u32,
        all: &mut Vec<ManifestSummary>,
    ) -> Result<()> {
        let broken =
            |source| StoreError::Document { what: format!("manifest {}", descriptor.digest), source };
        if self.content_size(&descriptor.digest).is_none() {
            all.push(absent(descriptor));
            return Ok(());
        }
        let bytes = self.read_document(&descriptor.digest)?;
        if media_type::is_index(&descriptor.media_type) {
            let index: Index = serde_json::from_slice(&bytes).map_err(broken)?;
            if depth < DEPTH {
                index.manifests.iter().try_for_each(|child| self.add_manifests(child, depth + 1, all))?;
            }
            return Ok(());
        }
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(broken)?;
        let mut summary = absent(descriptor);
        let named = std::iter::once(descriptor).chain(manifest.blobs());
        summary.available = true;
        for one in named {
            match self.content_size(&one.digest) {
                Some(size) => {
                    summary.content_size += size;
                    summary.content.insert(one.digest);
                }
                None => summary.available = false,
            }
        }
        if summary.kind == ManifestKind::Unknown && manifest.is_image() {
            summary.kind = ManifestKind::Image;
        }
        if summary.kind == ManifestKind::Image
            && self.content_size(&manifest.config.digest).is_some()
            && let Ok(config) = ImageConfig::parse(&self.read_document(&manifest.config.digest)?)
        {
            if descriptor.platform.is_none() {
                summary.platform = config.platform();
            }
            let chain = chain_ids(&config.rootfs.diff_ids);
            let rows: Option<Vec<u64>> = chain
                .iter()
                .map(|chain| Some(self.inner.index.row(&SnapshotKey::of_chain(chain))?.usage.size))
                .collect();
            summary.unpacked_size = rows.map_or(0, |sizes| sizes.iter().sum());
        }
        all.push(summary);
        Ok(())
    }

    /// A further platform of an image, unpacked now where it was not before.
    pub(super) fn platform_row(&self, id: &Digest, manifest: &Descriptor) -> Result<PlatformRow> {
        let row = self.inner.images.row(id).ok_or_else(|| StoreError::NoSuchImage(id.to_string()))?;
        let is_here = |chain: &Digest| self.inner.index.row(&SnapshotKey::of_chain(chain)).is_some();
        let known = row.platforms.iter().find(|one| one.manifest.digest == manifest.digest);
        if let Some(known) = known.filter(|known| known.chain.iter().all(is_here)) {
            return Ok(known.clone());
        }
        let mut assembler = Assembler::new(self);
        let planned = assembler.add_image(manifest).map(|()| {
            let made = assembler.batch.images.pop();
            made.filter(|(_, row)| row.runnable).map(|(_, row)| row)
        });
        let (batch, pins) = assembler.finish()?;
        let made = match planned {
            Ok(Some(made)) => made,
            Ok(None) => {
                give_up(self, &batch)?;
                return Err(StoreError::Archive(format!("manifest {} cannot be unpacked", manifest.digest)));
            }
            Err(error) => {
                give_up(self, &batch)?;
                return Err(error);
            }
        };
        let platform = PlatformRow {
            manifest: made.manifest,
            config: made.config,
            chain: made.chain,
            content_size: made.content_size,
            unpacked_size: made.unpacked_size,
        };
        // The names stay as they are, and so does everything else of the row.
        self.commit(Batch { platforms: vec![(*id, platform.clone())], ..batch })?;
        drop(pins);
        Ok(platform)
    }
}

/// What an index alone says of a manifest.
fn absent(descriptor: &Descriptor) -> ManifestSummary {
    let of = descriptor.annotations.get(annotation::REFERENCE_DIGEST);
    let kind = match of.and_then(|of| Digest::parse(of).ok()) {
        Some(of) if descriptor.is_attestation() => ManifestKind::Attestation { of },
        _ => ManifestKind::Unknown,
    };
    let kind = match (kind, &descriptor.platform) {
        (ManifestKind::Unknown, Some(platform)) if platform.os != "unknown" => ManifestKind::Image,
        (kind, _) => kind,
    };
    let platform = descriptor.platform.as_ref().map_or_else(Platform::default, |platform| {
        Platform::new(&platform.os, &platform.architecture, &platform.variant)
    });
    ManifestSummary {
        descriptor: descriptor.clone(),
        kind,
        available: false,
        platform,
        content_size: 0,
        unpacked_size: 0,
        content: BTreeSet::new(),
    }
}
