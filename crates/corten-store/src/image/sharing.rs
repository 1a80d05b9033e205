//! What images occupy together: layers and content that several of them have are on the disk once.

use super::Images;
use crate::snapshots::SnapshotKey;
use corten_oci::Digest;
use std::collections::{BTreeMap, HashMap};

/// Bytes that images occupy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// All of them together, each part counted once.
    pub total: u64,
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
    /// Measures all images; reads nothing but what is in memory.
    pub fn sharing(self) -> Sharing {
        let mut parts: Vec<(Digest, Vec<(Part, u64)>)> = Vec::new();
        for id in self.index().ids() {
            let Some(row) = self.index().row(&id) else { continue };
            let layers = row.chain.iter().filter_map(|chain| {
                let layer = self.store.inner.index.row(&SnapshotKey::of_chain(chain))?;
                Some((Part::Layer(*chain), layer.usage.size))
            });
            let blobs = row.content.iter().filter_map(|digest| {
                let size = self.store.inner.blobs.size(digest)?;
                Some((Part::Blob(*digest), size))
            });
            parts.push((id, layers.chain(blobs).collect()));
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
        }
        sharing
    }
}
