//! What images occupy together: layers and content that several of them have are on the disk once.

use super::{ImageRow, Images};
use crate::Result;
use crate::snapshots::{CommittedRow, SnapshotKey};
use corten_oci::Digest;
use corten_std::file;
use std::collections::{BTreeMap, HashMap};

/// Bytes that images occupy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// All of them together, each part counted once.
    pub total: u64,
    /// Of each image, all that it has.
    pub sizes: BTreeMap<Digest, u64>,
    /// Of each image, what others have too.
    pub shared: BTreeMap<Digest, u64>,
}

/// What an image's size is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    /// An unpacked layer, by the name of the stack that it is the top of.
    Layer(Digest),
    /// A blob.
    Blob(Digest),
}

impl Images<'_> {
    /// Measures the content of all images, which is the size that each is shown with; reads nothing but what is in memory.
    pub fn sharing(self) -> Sharing {
        self.shared_by(|row| row.chain.clone(), |row| row.usage.size, |size| size)
    }

    /// Measures what all images, and layers that only containers keep, take on the disk: blocks and not bytes, folders,
    /// records of layers, and every platform that is unpacked. A layer is looked through when this is asked for the first
    /// time, and written down.
    pub fn occupied(self) -> Result<Sharing> {
        /// What file systems give to a file at a time.
        const BLOCK: u64 = 4096;
        let inner = &*self.store.inner;
        let unknown: Vec<(SnapshotKey, u64)> = inner
            .index
            .committed()
            .into_iter()
            .filter(|(_, row)| row.disk.is_none())
            .map(|(key, row)| (key, file::occupied(inner.index.folder_of(&row))))
            .collect();
        inner.index.set_disk(&unknown)?;
        let every_platform = |row: &ImageRow| {
            let further = row.platforms.iter().flat_map(|platform| platform.chain.iter().copied());
            let mut chain: Vec<Digest> = row.chain.iter().copied().chain(further).collect();
            chain.sort_unstable();
            chain.dedup();
            chain
        };
        let layer = |row: &CommittedRow| row.disk.unwrap_or(row.usage.size);
        let blob = |size: u64| size.next_multiple_of(BLOCK);
        let mut sharing = self.shared_by(every_platform, layer, blob);
        let layers = inner.index.committed();
        sharing.total = layers.iter().map(|(_, row)| layer(row)).sum::<u64>()
            + inner.blobs.all().into_iter().map(|(_, size)| blob(size)).sum::<u64>();
        Ok(sharing)
    }

    fn shared_by(
        self,
        chain: impl Fn(&ImageRow) -> Vec<Digest>,
        layer: impl Fn(&CommittedRow) -> u64,
        blob: impl Fn(u64) -> u64,
    ) -> Sharing {
        let inner = &*self.store.inner;
        let mut parts: Vec<(Digest, Vec<(Part, u64)>)> = Vec::new();
        for id in self.index().ids() {
            let Some(row) = self.index().row(&id) else { continue };
            let mut own = Vec::new();
            for chain in chain(&row) {
                if let Some(row) = inner.index.row(&SnapshotKey::of_chain(&chain)) {
                    own.push((Part::Layer(chain), layer(&row)));
                }
            }
            let kept = row.content.iter().filter_map(|digest| Some((*digest, inner.blobs.size(digest)?)));
            own.extend(kept.map(|(digest, size)| (Part::Blob(digest), blob(size))));
            parts.push((id, own));
        }
        let mut users: HashMap<Part, u32> = HashMap::new();
        let mut sharing = Sharing::default();
        for (part, size) in parts.iter().flat_map(|(_, parts)| parts) {
            let users = users.entry(*part).or_default();
            *users += 1;
            if *users == 1 {
                sharing.total += size;
            }
        }
        for (id, parts) in parts {
            let shared = parts.iter().filter(|(part, _)| users.get(part).is_some_and(|users| *users > 1));
            sharing.shared.insert(id, shared.map(|(_, size)| size).sum());
            sharing.sizes.insert(id, parts.iter().map(|(_, size)| size).sum());
        }
        sharing
    }
}
