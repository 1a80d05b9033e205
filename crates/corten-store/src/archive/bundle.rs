//! Bundles: archives of many images for where no registry is, with what is said about them, and without the layers
//! that the other side has. A file `corten-bundle.json` beside the layout's own tells what was left out, so that a bundle
//! at the wrong place is refused whole; other readers pass over it.

use crate::image::{Images, ManifestKind};
use crate::store::Store;
use crate::{Result, StoreError};
use corten_oci::image::{chain_ids, media_type};
use corten_oci::{Digest, ImageConfig, Manifest, Platform};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Write;

/// The file in the archive.
pub(super) const PATH: &str = "corten-bundle.json";

/// Documents about images, by the image's ID; what they are is the engine's matter.
pub type Evidence = BTreeMap<String, serde_json::Value>;

/// What goes into a bundle.
#[derive(Debug, Clone, Default)]
pub struct BundleOptions {
    /// Only for these platforms; none: everything that is here.
    pub platforms: Vec<Platform>,
    /// What the other side has: layers among it are left out.
    pub without: HashSet<Digest>,
    /// Stacks of layers that it has, by chain ID: the topmost layer of such a stack is left out, unless another image needs
    /// it upon another stack.
    pub stacks: HashSet<Digest>,
    /// What is said about the images.
    pub evidence: Evidence,
}

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct BundleDocument {
    pub(super) version: u32,
    /// Layers that were left out.
    pub(super) without: Vec<Digest>,
    #[serde(default)]
    pub(super) evidence: Evidence,
}

/// The version that is written.
const VERSION: u32 = 1;

impl BundleDocument {
    pub(super) fn new(without: Vec<Digest>, evidence: Evidence) -> Self {
        Self { version: VERSION, without, evidence }
    }

    /// Whether this program knows all that it says.
    pub(super) fn check(&self) -> Result<()> {
        if self.version == VERSION {
            return Ok(());
        }
        Err(StoreError::Archive(format!(
            "it is a bundle of version {}, and {VERSION} is known",
            self.version
        )))
    }
}

impl Images<'_> {
    /// Writes a bundle of images, by name or ID.
    pub fn bundle(self, names: &[&str], options: &BundleOptions, out: &mut dyn Write) -> Result<()> {
        self.write(names, &options.platforms, Some(options), out)
    }

    /// The layers of what an image holds, each with the chain IDs of the stacks that it lies on top of.
    pub(super) fn layers_of(self, id: &Digest) -> Result<Vec<(Digest, Option<Digest>)>> {
        let mut layers = Vec::new();
        for one in self.manifests(id)? {
            if self.store.content_size(&one.descriptor.digest).is_none() {
                continue;
            }
            let bytes = self.store.read_document(&one.descriptor.digest)?;
            let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|source| {
                StoreError::Document { what: format!("image manifest {}", one.descriptor.digest), source }
            })?;
            let chain = match self.store.read_document(&manifest.config.digest) {
                Ok(bytes) => ImageConfig::parse(&bytes).map(|config| chain_ids(&config.rootfs.diff_ids)),
                Err(_) => Ok(Vec::new()),
            };
            let chain = chain.unwrap_or_default();
            let archives = manifest.layers.iter().enumerate();
            let archives = archives.filter(|(_, layer)| media_type::is_layer(&layer.media_type));
            layers.extend(archives.map(|(at, layer)| (layer.digest, chain.get(at).copied())));
        }
        Ok(layers)
    }

    /// What is attested of a manifest, as far as it is here.
    pub(super) fn attested(self, id: &Digest, manifest: &Digest) -> Result<BTreeSet<Digest>> {
        let all = self.manifests(id)?.into_iter();
        let about = all.filter(|one| {
            one.available && matches!(one.kind, ManifestKind::Attestation { of } if of == *manifest)
        });
        Ok(about.flat_map(|one| one.content).collect())
    }
}

impl Store {
    /// Everything that is here and need not be sent: blobs, and layers that can be made again byte for byte.
    pub fn inventory(&self) -> Vec<Digest> {
        let blobs = self.inner.blobs.all().into_iter().map(|(digest, _)| digest);
        let committed = self.inner.index.committed();
        let layers = committed.iter().filter_map(|(_, row)| Some(row.layer.as_ref()?.diff_id));
        let all: BTreeSet<Digest> = blobs.chain(layers).collect();
        all.into_iter().collect()
    }
}
