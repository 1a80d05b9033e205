//! What refers to an image in its registry: pulled with it where that is asked for, and pushed with it.

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_distribution::{DistributionError, Open, Repository};
use corten_oci::image::{Descriptor, media_type};
use corten_oci::{Digest, Manifest};
use corten_store::Holding;
use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Referrers of one image that are pulled.
const REFERRERS: usize = 64;
/// Bytes of a part that is pulled, and of all that are.
const PART: u64 = 16 << 20;
const ALL: u64 = 64 << 20;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Referring {
    pub(super) manifests: Vec<Descriptor>,
    /// The manifests and their parts, as far as they were not here.
    pub(super) documents: Vec<(Digest, Vec<u8>)>,
    pub(super) is_new: bool,
}

impl Engine {
    /// Everything that refers to one of these digests. What is too large for a document is left out, and told in the log.
    pub(super) async fn gather_referrers(
        &self,
        repository: &Repository,
        digests: &[Digest],
        holding: &Arc<Mutex<Holding>>,
    ) -> std::result::Result<Referring, DistributionError> {
        let here = |digest: &Digest| holding.lock().unwrap_or_else(PoisonError::into_inner).has(digest);
        let mut found = Referring::default();
        let (mut seen, mut length) = (HashSet::new(), 0_u64);
        for digest in digests {
            for entry in repository.referrers(digest, None).await? {
                if !seen.insert(entry.digest) || !media_type::is_manifest(&entry.media_type) {
                    continue;
                }
                let document = repository.manifest(&entry.digest.to_string()).await?;
                let Ok(manifest) = serde_json::from_slice::<Manifest>(&document.bytes) else { continue };
                let is_about =
                    manifest.subject.as_ref().is_some_and(|subject| digests.contains(&subject.digest));
                let missing: Vec<&Descriptor> = manifest.blobs().filter(|part| !here(&part.digest)).collect();
                let more = missing.iter().fold(0_u64, |sum, part| sum.saturating_add(part.size));
                if !is_about
                    || found.manifests.len() == REFERRERS
                    || more > ALL - length
                    || missing.iter().any(|part| part.size > PART)
                {
                    tracing::warn!(
                        referrer = entry.digest.to_string(),
                        "a referrer was left out of a pull: it is too large, one of too many, or of something else"
                    );
                    continue;
                }
                length += more;
                found.is_new |= !here(&entry.digest) || !missing.is_empty();
                for part in missing {
                    found.documents.push((part.digest, repository.small_blob(part).await?));
                }
                found.documents.push((entry.digest, document.bytes));
                found.manifests.push(Descriptor::new(
                    &entry.media_type,
                    entry.digest,
                    document.descriptor.size,
                ));
            }
        }
        Ok(found)
    }

    /// Sends what refers to a manifest that was pushed.
    pub(super) async fn push_referrers(
        &self,
        repository: &Repository,
        image: Digest,
        pushed: &HashSet<Digest>,
    ) -> Result<std::result::Result<(), DistributionError>> {
        let (engine, pushed) = (self.clone(), pushed.clone());
        let all = blocking(move || {
            let store = &engine.inner.store;
            let of = |error| EngineError::because("", error);
            let mut all = Vec::new();
            for referrer in store.images().referrers(&image) {
                let subject = store.subject_of(&referrer.digest).map_err(of)?;
                if subject.is_some_and(|subject| pushed.contains(&subject)) {
                    all.push((referrer.clone(), store.read_document(&referrer.digest).map_err(of)?));
                }
            }
            Ok(all)
        })
        .await?;
        for (referrer, bytes) in all {
            let manifest: Manifest = serde_json::from_slice(&bytes)
                .map_err(|error| EngineError::from_error("reading a referrer", error))?;
            for part in manifest.blobs() {
                let (store, digest) = (self.inner.store.clone(), part.digest);
                let open: Open =
                    Arc::new(move || Ok(Box::new(store.open_content(&digest).map_err(io::Error::other)?)));
                if let Err(error) = repository.push_blob(part, &[], open, &|_| {}).await {
                    return Ok(Err(error));
                }
            }
            let name = referrer.digest.to_string();
            if let Err(error) = repository.push_manifest(&name, &referrer.media_type, &bytes).await {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}
