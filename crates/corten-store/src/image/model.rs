//! The plain data of images: what callers see.

use crate::snapshots::SnapshotKey;
use corten_oci::image::Descriptor;
use corten_oci::{Digest, ImageConfig, Platform, Reference};
use corten_std::Timestamp;
use std::fmt;
use std::io::Read;
use std::sync::Arc;

/// An image: a manifest or an index, and of the platforms that are here the one that suits this machine best.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of the manifest or index: the image's ID.
    pub id: Digest,
    /// The descriptor of the manifest or index.
    pub target: Descriptor,
    /// Its names with tag, sorted; none where it is dangling.
    pub names: Vec<Reference>,
    /// The manifest of the chosen platform; the ID itself where the image has one platform only.
    pub manifest: Descriptor,
    /// The digest of the configuration.
    pub config_digest: Digest,
    /// The configuration as parsed.
    pub config: Arc<ImageConfig>,
    /// The configuration as it came, byte for byte.
    pub config_bytes: Arc<[u8]>,
    /// Names of the stacks of layers, lowest first (chain IDs).
    pub chain: Vec<Digest>,
    /// The snapshot a container lies upon; none for an image without layers, and for one that is not unpacked
    /// (an artifact, or no platform of it is here).
    pub top_snapshot: Option<SnapshotKey>,
    /// Whether this is an image that can be run: a configuration and unpacked layers are here.
    pub runnable: bool,
    /// Bytes of the documents and layer blobs, compressed as they came, uncompressed where they came so.
    pub content_size: u64,
    /// Bytes of the unpacked files of all layers.
    pub unpacked_size: u64,
    /// What the image occupies: unpacked files and what is kept of its content. Shown as its size.
    pub size: u64,
    /// When it was made, by its configuration.
    pub created: Timestamp,
    /// When a name was last given to it; zero time for never.
    pub last_tagged: Timestamp,
}

impl Image {
    /// What the chosen manifest runs on.
    pub fn platform(&self) -> Platform {
        self.config.platform()
    }

    /// `repository@digest` for each repository that it has a name in, sorted.
    pub fn repo_digests(&self) -> Vec<String> {
        let mut digests: Vec<String> =
            self.names.iter().map(|name| name.with_digest(self.id).familiar()).collect();
        digests.sort();
        digests.dedup();
        digests
    }

    /// Its names as people write them, sorted.
    pub fn repo_tags(&self) -> Vec<String> {
        self.names.iter().filter(|name| name.tag().is_some()).map(Reference::familiar).collect()
    }
}

/// A container that uses an image, told by whoever knows containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUser {
    /// The container's ID.
    pub container: String,
    /// Whether it runs.
    pub running: bool,
}

/// One step of a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name was taken away.
    Untagged(Reference),
    /// The image is gone.
    Deleted(Digest),
}

/// What a load does, told while it does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadEvent {
    /// A layer is being read.
    Layer {
        /// Its digest, or its path where the archive gives none.
        layer: String,
        /// Bytes read.
        current: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A name pointed to another image, which has lost it.
    Renamed {
        /// The name.
        reference: Reference,
        /// The image that had it.
        previous: Digest,
    },
    /// An image is in the store.
    Loaded(Loaded),
}

/// A loaded image. Printed as Docker prints it: `Loaded image: NAME` or `Loaded image ID: sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The name that the archive gave; none for an image without.
    pub reference: Option<Reference>,
    /// Its ID.
    pub id: Digest,
}

impl fmt::Display for Loaded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reference {
            Some(reference) => write!(formatter, "Loaded image: {reference}"),
            None => write!(formatter, "Loaded image ID: {}", self.id),
        }
    }
}

/// An image to be made in this process: `commit`, `import`, a build, the embedded image.
pub struct NewImage<'a> {
    /// The image it stands upon: its layers come first.
    pub base: Option<Arc<Image>>,
    /// Layer archives upon it, lowest first, in any compression that a load knows; what is stored is the plain tar.
    pub layers: Vec<Box<dyn Read + Send + 'a>>,
    /// The configuration; `rootfs` is filled in here, all else is stored as given.
    pub config: ImageConfig,
    /// Names to give to it; each is taken from the image that has it.
    pub names: Vec<Reference>,
}

impl fmt::Debug for NewImage<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NewImage")
            .field("names", &self.names)
            .field("layers", &self.layers.len())
            .finish_non_exhaustive()
    }
}
