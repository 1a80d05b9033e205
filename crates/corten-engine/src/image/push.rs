//! Pushing: an image and all that leads from it, to a registry; layers first, what names them last.
//!
//! A layer that is kept as a plain tar goes compressed (see `outgoing.rs`): then the registry gets a second manifest that
//! differs from the image's own in its layers alone. What it was made of is written down, so that the next push needs no
//! compression to find out that everything is there.

use super::outgoing::{Outgoing, compressed_type};
use super::progress::{Progress, Tell, of_all, of_layer};
use super::registry::NO_LOGIN;
use super::{Credentials, image_error, name_attribute};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_distribution::{DistributionError, Repository};
use corten_oci::image::{Descriptor, media_type};
use corten_oci::{Digest, Index, Manifest, Platform, Reference};
use corten_std::ErrorClass;
use corten_store::{Image, ManifestKind};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What is to be pushed.
#[derive(Debug, Clone)]
pub struct PushOptions {
    /// By tag; without one every tag of the repository is pushed.
    pub name: Reference,
    /// Only what is for this platform.
    pub platform: Option<Platform>,
    /// Who asks.
    pub credentials: Credentials,
}

/// All that goes out for one name.
struct Plan {
    /// The image that it is of.
    image: Digest,
    /// The manifest or index that gets the tag.
    target: Descriptor,
    layers: Vec<Outgoing>,
}

/// A manifest or index on its way: media type, digest, bytes.
type OutgoingDocument = (String, Digest, Vec<u8>);

impl Engine {
    /// `POST /images/{name}/push`.
    pub async fn image_push(&self, options: &PushOptions, tell: &Tell) -> Result<()> {
        let names = self.names_to_push(&options.name).await?;
        let repository = self.repository(&options.name, &options.credentials).await?;
        let name = options.name.repository();
        of_all(tell, format!("The push refers to repository [{}]", name.canonical_name()));
        for name in names {
            self.push_one(&repository, &name, options.platform.as_ref(), tell).await?;
        }
        Ok(())
    }

    async fn names_to_push(&self, name: &Reference) -> Result<Vec<Reference>> {
        if name.digest().is_some() {
            return Err(EngineError::invalid("cannot push a digest reference"));
        }
        let (engine, name) = (self.clone(), name.clone());
        blocking(move || {
            let missing = || {
                EngineError::not_found(format!(
                    "An image does not exist locally with the tag: {}",
                    name.familiar_name()
                ))
            };
            if name.tag().is_some() {
                engine.inner.store.images().named(&name).ok_or_else(missing)?;
                return Ok(vec![name]);
            }
            let images = engine.stored_images()?;
            let tagged = images.iter().flat_map(|image| image.names.iter());
            let own = tagged.filter(|other| other.tag().is_some() && other.repository() == name.repository());
            let mut names: Vec<Reference> = own.cloned().collect();
            names.sort();
            if names.is_empty() { Err(missing()) } else { Ok(names) }
        })
        .await
    }

    async fn push_one(
        &self,
        repository: &Repository,
        name: &Reference,
        platform: Option<&Platform>,
        tell: &Tell,
    ) -> Result<()> {
        let (engine, reference, platform) = (self.clone(), name.clone(), platform.cloned());
        let plan = blocking(move || engine.plan_push(&reference, platform.as_ref())).await?;
        let failed = |error: DistributionError| push_error(name, error);
        let sources = Arc::new(self.sources(name).await?);
        let places = Arc::new(Semaphore::new(self.inner.reloadable().max_uploads.max(1)));
        let mut sending = JoinSet::new();
        for layer in plan.layers.iter().filter(|layer| layer.told) {
            of_layer(tell, &layer.kept.digest.short(), "Preparing");
        }
        for layer in plan.layers {
            let (engine, repository, name) = (self.clone(), repository.clone(), name.clone());
            let (sources, places, tell) = (Arc::clone(&sources), Arc::clone(&places), Arc::clone(tell));
            sending.spawn(async move {
                let _place = places.acquire_owned().await;
                let compressed = compressed_type(&layer.kept).map(|_| layer.kept.digest);
                let failed = |error| push_error(&name, error);
                let sent = layer.send(&engine, &repository, &sources, &tell, &failed).await?;
                Ok::<_, EngineError>(compressed.map(|content| (content, sent)))
            });
        }
        let mut sent = HashMap::new();
        while let Some(one) = sending.join_next().await {
            let one = one.map_err(|error| EngineError::from_error("a push ended early", error))?;
            sent.extend(one?);
        }
        let engine = self.clone();
        let documents = blocking(move || {
            let mut documents = Vec::new();
            engine.outgoing_documents(&plan.target, &sent, &mut documents)?;
            Ok(documents)
        })
        .await?;
        let tag = name.tag().unwrap_or(corten_oci::reference::DEFAULT_TAG);
        let last = documents.len().saturating_sub(1);
        for (at, (kind, digest, bytes)) in documents.iter().enumerate() {
            let under = if at == last { tag.to_owned() } else { digest.to_string() };
            repository.push_manifest(&under, kind, bytes).await.map_err(failed)?;
        }
        let pushed = documents.iter().map(|(_, digest, _)| *digest).collect();
        self.push_referrers(repository, plan.image, &pushed).await?.map_err(failed)?;
        for warning in repository.notices().warnings {
            of_all(tell, format!("Warning: {warning}"));
        }
        if let Some((_, digest, bytes)) = documents.last() {
            let size = bytes.len();
            of_all(tell, format!("{tag}: digest: {digest} size: {size}"));
            tell(Progress::Aux(json!({"Tag": tag, "Digest": digest.to_string(), "Size": size})));
        }
        self.inner.events.publish("image", "push", &name.familiar(), name_attribute(&name.familiar_name()));
        Ok(())
    }

    /// Repositories of the same registry under which content of this image may be there already.
    async fn sources(&self, name: &Reference) -> Result<Vec<String>> {
        let (engine, name) = (self.clone(), name.clone());
        blocking(move || {
            let id = engine.inner.store.images().named(&name);
            let images = engine.stored_images()?;
            let own: Vec<&Arc<Image>> = images.iter().filter(|image| Some(image.id) == id).collect();
            let chain: Vec<Digest> = own.iter().flat_map(|image| image.chain.iter().copied()).collect();
            let shares = |image: &&Arc<Image>| image.chain.iter().any(|one| chain.contains(one));
            let names = images.iter().filter(shares).flat_map(|image| image.names.iter());
            let others = names.filter(|other| other.domain() == name.domain() && other.path() != name.path());
            let paths: BTreeSet<String> = others.map(|other| other.path().to_owned()).collect();
            Ok(paths.into_iter().take(4).collect())
        })
        .await
    }

    /// What goes out for a name.
    fn plan_push(&self, name: &Reference, platform: Option<&Platform>) -> Result<Plan> {
        let store = &self.inner.store;
        let of = |error| EngineError::because("", error);
        let familiar = name.familiar();
        let image = store.images().resolve(&familiar).map_err(|error| image_error(&familiar, error))?;
        let manifests = store.images().manifests(&image.id).map_err(of)?;
        let chosen = match platform {
            Some(wanted) => {
                let best = manifests.iter().filter(|one| one.available && one.kind == ManifestKind::Image);
                let best = best
                    .filter(|one| one.platform.architecture == wanted.architecture)
                    .max_by_key(|one| wanted.suits(&one.platform));
                Some(best.ok_or_else(|| {
                    EngineError::not_found(format!(
                        "image with reference {familiar} was found but does not provide the specified platform ({wanted})"
                    ))
                })?)
            }
            // Not all of the index is here: what is here of it goes, as an image of its own.
            None if manifests.iter().any(|one| !one.available) => {
                manifests.iter().find(|one| one.descriptor.digest == image.manifest.digest)
            }
            None => None,
        };
        let target = chosen.map_or(&image.target, |one| &one.descriptor).clone();
        let mut layers = Vec::new();
        self.add_layers(&target, &mut layers, 0)?;
        let mut seen = HashSet::new();
        // Content that is named as a plain tar and as something else goes out in both forms.
        layers.retain(|layer| seen.insert((layer.kept.digest, compressed_type(&layer.kept).is_some())));
        Ok(Plan { image: image.id, target, layers })
    }

    /// Adds what a manifest, or all below an index, is made of.
    fn add_layers(&self, descriptor: &Descriptor, layers: &mut Vec<Outgoing>, depth: u32) -> Result<()> {
        if media_type::is_index(&descriptor.media_type) {
            if depth == 4 {
                return Err(EngineError::system("indexes lie more than 4 deep in indexes"));
            }
            let (index, _) = self.stored_document::<Index>(descriptor)?;
            return index.manifests.iter().try_for_each(|entry| self.add_layers(entry, layers, depth + 1));
        }
        let (manifest, _) = self.stored_document::<Manifest>(descriptor)?;
        layers.push(Outgoing { kept: manifest.config, told: false });
        layers.extend(manifest.layers.into_iter().map(|kept| Outgoing { kept, told: true }));
        Ok(())
    }

    /// The manifests and indexes as they go out, what is named before what names it; gives the descriptor of the last. `sent`
    /// says for the content of each plain layer as what it was sent.
    fn outgoing_documents(
        &self,
        descriptor: &Descriptor,
        sent: &HashMap<Digest, Descriptor>,
        documents: &mut Vec<OutgoingDocument>,
    ) -> Result<Descriptor> {
        let wrong = |error| EngineError::from_error("writing a manifest", error);
        let bytes = if media_type::is_index(&descriptor.media_type) {
            let (index, bytes) = self.stored_document::<Index>(descriptor)?;
            let mut changed = index.clone();
            for entry in &mut changed.manifests {
                let sent = self.outgoing_documents(entry, sent, documents)?;
                (entry.digest, entry.size) = (sent.digest, sent.size);
            }
            if changed == index { bytes } else { serde_json::to_vec(&changed).map_err(wrong)? }
        } else {
            let (manifest, bytes) = self.stored_document::<Manifest>(descriptor)?;
            let mut changed = manifest.clone();
            for layer in &mut changed.layers {
                if let Some(kind) = compressed_type(layer)
                    && let Some(sent) = sent.get(&layer.digest)
                {
                    (layer.digest, layer.size) = (sent.digest, sent.size);
                    kind.clone_into(&mut layer.media_type);
                }
            }
            if changed == manifest { bytes } else { serde_json::to_vec(&changed).map_err(wrong)? }
        };
        let sent = Descriptor {
            digest: descriptor.digest.again(&bytes),
            size: bytes.len() as u64,
            ..descriptor.clone()
        };
        documents.push((sent.media_type.clone(), sent.digest, bytes));
        Ok(sent)
    }

    fn stored_document<T: DeserializeOwned>(&self, descriptor: &Descriptor) -> Result<(T, Vec<u8>)> {
        let bytes = self.inner.store.read_document(&descriptor.digest);
        let bytes = bytes.map_err(|error| EngineError::because("", error))?;
        let document = serde_json::from_slice(&bytes)
            .map_err(|error| EngineError::from_error("reading a manifest", error))?;
        Ok((document, bytes))
    }
}

/// A failed push in Docker's words.
fn push_error(name: &Reference, error: DistributionError) -> EngineError {
    let status = error.status();
    let error = EngineError::because("", error);
    let message = match status {
        Some(401) if error.message().ends_with(NO_LOGIN) => NO_LOGIN.to_owned(),
        Some(401 | 403) => {
            format!(
                "push access denied for {}, repository does not exist or may require authorization: {}",
                name.familiar_name(),
                error.message()
            )
        }
        _ => error.message().to_owned(),
    };
    let new = EngineError::new(ErrorClass::System, message);
    match corten_std::Classified::hint(&error) {
        Some(hint) => new.with_hint(hint),
        None => new,
    }
}
