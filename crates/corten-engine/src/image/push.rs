//! Pushing: an image and all that leads from it, to a registry; layers first, what names them last.
//!
//! A layer that is kept as a plain tar goes compressed: then the registry gets a second manifest that differs from the
//! image's own in its layers alone. What it was made of is written down, so that the next push needs no compression to
//! find out that everything is there.

use super::progress::{Progress, Tell, of_all, of_layer};
use super::registry::NO_LOGIN;
use super::{Credentials, image_error, name_attribute};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_distribution::{DistributionError, Open, Pushed, Repository};
use corten_oci::image::{Descriptor, media_type};
use corten_oci::{Digest, Index, Manifest, Platform, Reference};
use corten_std::ErrorClass;
use corten_store::{Image, ManifestKind, Store};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Bars are told at most so often.
const BAR: Duration = Duration::from_millis(100);

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

/// One layer as it goes out.
#[derive(Clone, Debug)]
struct Outgoing {
    /// As the manifest that is sent names it.
    descriptor: Descriptor,
    /// The content of the store it is made of.
    content: Digest,
    /// Whether it is compressed on its way.
    compress: bool,
    /// Whether it is told; configurations are not.
    told: bool,
}

/// All that goes out for one name.
struct Plan {
    layers: Vec<Outgoing>,
    /// Manifests and indexes, those that are named by others first: media type, digest, bytes.
    documents: Vec<(String, Digest, Vec<u8>)>,
}

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
            let id = layer.descriptor.digest.short();
            of_layer(tell, &id, "Preparing");
        }
        for layer in plan.layers {
            let (store, repository) = (self.inner.store.clone(), repository.clone());
            let (sources, places, tell) = (Arc::clone(&sources), Arc::clone(&places), Arc::clone(tell));
            sending.spawn(async move {
                let _place = places.acquire_owned().await;
                send(store, repository, layer, sources, tell).await
            });
        }
        while let Some(sent) = sending.join_next().await {
            sent.map_err(|error| EngineError::from_error("a push ended early", error))?.map_err(failed)?;
        }
        let tag = name.tag().unwrap_or(corten_oci::reference::DEFAULT_TAG);
        let last = plan.documents.len().saturating_sub(1);
        for (at, (kind, digest, bytes)) in plan.documents.iter().enumerate() {
            let under = if at == last { tag.to_owned() } else { digest.to_string() };
            repository.push_manifest(&under, kind, bytes).await.map_err(failed)?;
        }
        for warning in repository.notices().warnings {
            of_all(tell, format!("Warning: {warning}"));
        }
        if let Some((_, digest, bytes)) = plan.documents.last() {
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
        let mut plan = Plan { layers: Vec::new(), documents: Vec::new() };
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
        let target = chosen.map_or(&image.target, |one| &one.descriptor);
        self.add_document(target, &mut plan, 0)?;
        let mut seen = BTreeSet::new();
        plan.layers.retain(|layer| seen.insert(layer.descriptor.digest));
        Ok(plan)
    }

    /// Adds a manifest or index with all below it; gives its descriptor as it goes out.
    fn add_document(&self, descriptor: &Descriptor, plan: &mut Plan, depth: u32) -> Result<Descriptor> {
        let store = &self.inner.store;
        let of = |error| EngineError::because("", error);
        let wrong = |error| EngineError::from_error("reading a manifest", error);
        let bytes = store.read_document(&descriptor.digest).map_err(of)?;
        let kind = descriptor.media_type.clone();
        if media_type::is_index(&kind) {
            if depth == 4 {
                return Err(EngineError::system("indexes lie more than 4 deep in indexes"));
            }
            let index: Index = serde_json::from_slice(&bytes).map_err(wrong)?;
            let mut changed = index.clone();
            for entry in &mut changed.manifests {
                let sent = self.add_document(entry, plan, depth + 1)?;
                (entry.digest, entry.size) = (sent.digest, sent.size);
            }
            let same =
                changed.manifests.iter().zip(&index.manifests).all(|(new, old)| new.digest == old.digest);
            let bytes = if same { bytes } else { serde_json::to_vec(&changed).map_err(wrong)? };
            return Ok(add(plan, descriptor, kind, bytes));
        }
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(wrong)?;
        let mut changed = manifest.clone();
        let config = &manifest.config;
        plan.layers.push(Outgoing {
            descriptor: config.clone(),
            content: config.digest,
            compress: false,
            told: false,
        });
        let mut same = true;
        for layer in &mut changed.layers {
            let is_plain =
                layer.media_type == media_type::OCI_LAYER || layer.media_type == media_type::DOCKER_LAYER;
            let content = layer.digest;
            if is_plain {
                same = false;
                let (digest, size) = compressed(store, &content)?;
                (layer.digest, layer.size) = (digest, size);
                let is_oci = layer.media_type == media_type::OCI_LAYER;
                let kind = if is_oci { media_type::OCI_LAYER_GZIP } else { media_type::DOCKER_LAYER_GZIP };
                kind.clone_into(&mut layer.media_type);
            }
            plan.layers.push(Outgoing { descriptor: layer.clone(), content, compress: is_plain, told: true });
        }
        let bytes = if same { bytes } else { serde_json::to_vec(&changed).map_err(wrong)? };
        Ok(add(plan, descriptor, kind, bytes))
    }
}

fn add(plan: &mut Plan, descriptor: &Descriptor, kind: String, bytes: Vec<u8>) -> Descriptor {
    let sent = Descriptor { digest: Digest::of(&bytes), size: bytes.len() as u64, ..descriptor.clone() };
    plan.documents.push((kind, sent.digest, bytes));
    sent
}

/// Digest and length of a layer's tar when it is compressed: looked up, or found out by compressing it once.
fn compressed(store: &Store, content: &Digest) -> Result<(Digest, u64)> {
    let of = |error| EngineError::because("", error);
    let known = store.records::<(String, u64)>(COMPRESSED);
    if let Some((digest, size)) = known.get(&content.to_string()).map_err(of)? {
        let digest = Digest::parse(&digest).map_err(|error| EngineError::because("", error))?;
        return Ok((digest, size));
    }
    let reader = store.open_content(content).map_err(of)?;
    let mut packed = corten_layer::compress(reader);
    let mut hasher = corten_oci::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let length = packed
            .read(&mut buffer)
            .map_err(|error| EngineError::from_error("compressing a layer", error))?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
    }
    let size = hasher.length();
    let digest = hasher.finish();
    known.put(&content.to_string(), &(digest.to_string(), size)).map_err(of)?;
    Ok((digest, size))
}

/// The table of what layers are when they are compressed; the words after the name tell by what.
const COMPRESSED: &str = "compressed-gzip-6";

/// Sends one layer or configuration.
async fn send(
    store: Store,
    repository: Repository,
    layer: Outgoing,
    sources: Arc<Vec<String>>,
    tell: Tell,
) -> std::result::Result<(), DistributionError> {
    let id = layer.descriptor.digest.short();
    let total = layer.descriptor.size;
    let open: Open = {
        let (content, compress) = (layer.content, layer.compress);
        Arc::new(move || {
            let reader = store.open_content(&content).map_err(io::Error::other)?;
            Ok(if compress {
                Box::new(corten_layer::compress(reader)) as Box<dyn Read + Send>
            } else {
                Box::new(reader)
            })
        })
    };
    let last = Mutex::new(Instant::now());
    let sent = |current: u64| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if layer.told && last.elapsed() >= BAR {
            *last = Instant::now();
            tell(Progress::Bar { id: id.clone(), status: "Pushing", current, total });
        }
    };
    let pushed = repository.push_blob(&layer.descriptor, &sources, open, &sent).await?;
    if !layer.told {
        return Ok(());
    }
    match pushed {
        Pushed::Present => of_layer(&tell, &id, "Layer already exists"),
        Pushed::Mounted(from) => of_layer(&tell, &id, format!("Mounted from {from}")),
        Pushed::Sent => of_layer(&tell, &id, "Pushed"),
    }
    Ok(())
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
