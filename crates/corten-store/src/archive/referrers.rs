//! What refers to an image (`subject`: signatures, bills of materials): kept with it, and gone with it. In an archive each
//! is an entry of the index without a name.

use super::assemble::Assembler;
use crate::image::{ImageRow, Images};
use crate::store::Store;
use crate::{Result, StoreError};
use corten_oci::image::{Descriptor, media_type};
use corten_oci::{Digest, Index, Manifest};
use std::collections::{BTreeSet, HashMap};

/// Referrers of one image that are kept.
const REFERRERS: usize = 256;

impl Images<'_> {
    /// What is kept of what refers to an image, or to one of its manifests.
    pub fn referrers(self, id: &Digest) -> Vec<Descriptor> {
        self.index().row(id).map(|row| row.referrers.clone()).unwrap_or_default()
    }

    /// Of this content, what the image has beside its referrers too.
    pub(super) fn without_referrers(
        self,
        id: &Digest,
        content: &BTreeSet<Digest>,
    ) -> Result<BTreeSet<Digest>> {
        let own = self.manifests(id)?.into_iter().flat_map(|one| one.content);
        Ok(own.filter(|digest| content.contains(digest)).collect())
    }

    /// Everything that these manifests consist of.
    pub(crate) fn content_of(self, referrers: &[Descriptor]) -> Result<BTreeSet<Digest>> {
        let mut all = BTreeSet::new();
        for referrer in referrers {
            let manifest = manifest_of(&referrer.digest, &self.store.read_document(&referrer.digest)?)?;
            let parts = manifest.blobs().map(|part| part.digest);
            all.extend(parts.chain([referrer.digest]));
        }
        Ok(all)
    }
}

fn manifest_of(digest: &Digest, bytes: &[u8]) -> Result<Manifest> {
    serde_json::from_slice(bytes)
        .map_err(|source| StoreError::Document { what: format!("manifest {digest}"), source })
}

impl Assembler<'_> {
    /// Adds to an image's row what refers to it: what has come whole, and what was kept before.
    pub(super) fn attach_referrers(&mut self, id: &Digest, row: &mut ImageRow) -> Result<BTreeSet<Digest>> {
        let before = self.store().inner.images.row(id).map(|row| row.referrers.clone());
        let come = self.referrers.get(id).cloned().unwrap_or_default();
        let mut content: BTreeSet<Digest> = row.content.iter().copied().collect();
        let mut new = BTreeSet::new();
        for referrer in before.unwrap_or_default().into_iter().chain(come) {
            let is_known = row.referrers.iter().any(|known| known.digest == referrer.digest);
            if is_known || row.referrers.len() == REFERRERS {
                continue;
            }
            let Some(bytes) = self.document(&referrer.digest)? else { continue };
            let manifest = manifest_of(&referrer.digest, &bytes)?;
            let parts: Vec<Digest> =
                manifest.blobs().map(|part| part.digest).chain([referrer.digest]).collect();
            if !parts.iter().all(|part| self.items.contains_key(part) || self.is_stored(*part)) {
                continue;
            }
            new.extend(parts.iter().copied());
            content.extend(parts);
            row.referrers.push(referrer);
        }
        row.content = content.into_iter().collect();
        Ok(new)
    }

    /// Which entries of an archive's index refer to which of the images in it.
    pub(super) fn find_referrers(&mut self, index: &Index) -> Result<HashMap<Digest, Vec<Descriptor>>> {
        // Images by their own digest and by those of their manifests.
        let mut owners: HashMap<Digest, Digest> = HashMap::new();
        let mut referring: Vec<(Digest, Descriptor)> = Vec::new();
        for entry in &index.manifests {
            owners.insert(entry.digest, entry.digest);
            let Some(bytes) = self.document(&entry.digest)? else { continue };
            if media_type::is_index(&entry.media_type) {
                let inner: Index = serde_json::from_slice(&bytes).map_err(|source| StoreError::Document {
                    what: format!("image index {}", entry.digest),
                    source,
                })?;
                for manifest in inner.manifests {
                    owners.entry(manifest.digest).or_insert(entry.digest);
                }
            } else if let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes)
                && let Some(subject) = manifest.subject.as_ref().filter(|_| !manifest.is_image())
            {
                referring.push((subject.digest, entry.clone()));
            }
        }
        let mut found: HashMap<Digest, Vec<Descriptor>> = HashMap::new();
        for (subject, entry) in referring {
            if let Some(owner) = owners.get(&subject).filter(|owner| **owner != entry.digest) {
                found.entry(*owner).or_default().push(entry);
            }
        }
        Ok(found)
    }
}

impl Store {
    /// What a manifest refers to; none where it refers to nothing.
    pub fn subject_of(&self, digest: &Digest) -> Result<Option<Digest>> {
        let manifest = manifest_of(digest, &self.read_document(digest)?)?;
        Ok(manifest.subject.map(|subject| subject.digest))
    }
}
