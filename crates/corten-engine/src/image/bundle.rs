//! Images in and out where no registry is: archives that are read, judged by the policy; bundles for another machine.

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_oci::{Digest, Platform, Reference};
use corten_signature::Evidence;
use corten_store::{BundleOptions, LoadEvent, Loaded};
use std::collections::HashSet;
use std::io::{Read, Write};

/// Documents about one image that are taken from an archive.
const DOCUMENTS: usize = 128;

/// What goes into a bundle.
#[derive(Debug, Clone, Default)]
pub struct BundleRequest {
    /// Images by name or ID.
    pub names: Vec<String>,
    /// Only for these platforms; none: all that is here.
    pub platforms: Vec<Platform>,
    /// What the other side has.
    pub without: HashSet<Digest>,
    /// Stacks of layers that the other side has, by chain ID: a layer on top of such a stack is left out.
    pub stacks: HashSet<Digest>,
}

fn documents(evidence: &corten_store::Evidence, image: &Digest) -> Vec<Evidence> {
    let of = evidence.get(&image.to_string()).cloned();
    let mut all: Vec<Evidence> = of.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default();
    all.truncate(DOCUMENTS);
    all
}

impl Engine {
    /// `POST /images/load`: reads an archive and tells of each layer and image. What the policy does not let in is not kept.
    /// Blocking; call it where waiting is allowed.
    pub fn image_load(
        &self,
        archive: impl Read + Send,
        platform: Option<&Platform>,
        progress: &mut (dyn FnMut(LoadEvent) + Send),
    ) -> Result<Vec<Loaded>> {
        let policy = self.policy()?;
        let mut refusal = None;
        let mut brought: Vec<(Digest, Vec<Evidence>)> = Vec::new();
        let mut judge = |loaded: &[Loaded], evidence: &corten_store::Evidence| {
            for one in loaded {
                let mut all = documents(evidence, &one.id);
                let new = all.len();
                let kept = match self.evidence(&one.id) {
                    Ok(kept) => kept,
                    Err(error) => {
                        refusal = Some(error);
                        return false;
                    }
                };
                all.extend(kept.into_iter().filter(|kept| !all.contains(kept)).collect::<Vec<_>>());
                let rule = one.reference.as_ref().and_then(|name| Some((name, policy.rule(name)?)));
                if let Some((name, rule)) = rule
                    && let Err(error) = rule.check(name, &[one.id], &all)
                {
                    refusal = Some(EngineError::because("", error));
                    return false;
                }
                if new > 0 {
                    brought.push((one.id, all));
                }
            }
            true
        };
        let loaded = self.inner.store.images().load_judged(archive, platform, &mut judge, progress);
        let loaded = match (loaded, refusal) {
            (Err(_), Some(refusal)) => return Err(refusal),
            (loaded, _) => loaded.map_err(|error| EngineError::because("", error))?,
        };
        for (image, evidence) in brought {
            self.keep_evidence(&image, &evidence)?;
        }
        for image in &loaded {
            let name = image.reference.as_ref().map_or_else(|| image.id.to_string(), Reference::familiar);
            self.image_event("load", &image.id, &name);
        }
        Ok(loaded)
    }

    /// `POST /images/bundle`: an archive of images with what is said about them, without what the other side has. Blocking.
    /// Every name is looked up before the first byte is written.
    pub fn image_bundle(&self, request: &BundleRequest, archive: &mut dyn Write) -> Result<()> {
        let mut options = BundleOptions {
            platforms: request.platforms.clone(),
            without: request.without.clone(),
            stacks: request.stacks.clone(),
            ..BundleOptions::default()
        };
        for name in &request.names {
            let image = self.image(name)?;
            let evidence = self.evidence(&image.id)?;
            if !evidence.is_empty() {
                let value = serde_json::to_value(&evidence)
                    .map_err(|error| EngineError::from_error("writing down signatures", error))?;
                options.evidence.insert(image.id.to_string(), value);
            }
            self.image_event("save", &image.id, name);
        }
        let names: Vec<&str> = request.names.iter().map(String::as_str).collect();
        let images = self.inner.store.images();
        images.bundle(&names, &options, archive).map_err(|error| EngineError::because("", error))
    }

    /// `GET /images/content`: what need not be sent here.
    pub async fn image_inventory(&self) -> Result<Vec<Digest>> {
        let store = self.inner.store.clone();
        blocking(move || Ok(store.inventory())).await
    }
}
