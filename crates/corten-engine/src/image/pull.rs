//! Pulling: what a registry has under a name, into the store.
//!
//! ```text
//! resolve the tag ─▶ index ─▶ manifest of the platform ─▶ configuration, layers (what is not here)
//!                                                           all at once: download ─▶ hash, inflate, unpack
//!                                                           └─▶ one sync, one commit: image, name
//! ```
//!
//! Who drops the future of a pull ends it: downloads stop unless another pull wants them, and what came of them stays
//! for the next one.

use super::progress::{Progress, Tell, of_all, of_layer};
use super::registry::pull_error;
use super::{Credentials, name_attribute};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_distribution::{Document, Repository};
use corten_oci::image::{Descriptor, annotation, media_type};
use corten_oci::{Digest, Index, Manifest, Platform, Reference};
use corten_store::{Holding, Received, ReceivedBlob, StoreError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How deep indexes may lie in indexes.
const DEPTH: u32 = 4;
/// Bars are told at most so often.
const BAR: Duration = Duration::from_millis(100);
/// So few pulls that are left are told.
const FEW: u32 = 10;
/// Attestations of one manifest that are pulled, and statements in each.
const ATTESTATIONS: usize = 16;
/// Bytes that all attestations of an image may have: they are in memory until the image is kept.
const ATTESTED: u64 = 32 << 20;
/// Layers that an image may have.
const LAYERS: usize = 1000;

/// What is to be pulled.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// By tag or digest; without both every tag is pulled.
    pub name: Reference,
    /// Only for this platform; none: for this machine's.
    pub platform: Option<Platform>,
    /// Who asks.
    pub credentials: Credentials,
    /// Whether what refers to the image is pulled with it.
    pub referrers: bool,
    /// Whether it is told which host answered what, how fast, and why it was asked.
    pub explain: bool,
}

/// A manifest with what leads to it.
struct Plan {
    /// What the name means: a manifest or an index.
    target: Descriptor,
    /// Manifest and indexes that were read.
    documents: Vec<(Digest, Vec<u8>)>,
    manifest_digest: Digest,
    manifest: Manifest,
    holding: Arc<Mutex<Holding>>,
    /// Whether attestations or referrers came that were not here.
    attested: bool,
    /// Manifests that refer to the image.
    referrers: Vec<Descriptor>,
}

impl Engine {
    /// `POST /images/create`: pulls an image, or all of a repository.
    pub async fn image_pull(&self, options: &PullOptions, tell: &Tell) -> Result<()> {
        let repository = self.repository(&options.name, &options.credentials).await?;
        let repository = telling_waits(repository, tell);
        if !options.explain {
            return self.pull_from(&repository, options, tell).await;
        }
        let repository = repository.explaining();
        for (at, place) in repository.places().iter().enumerate() {
            of_all(tell, format!("Explain: place {}: {place}", at + 1));
        }
        let outcome = self.pull_from(&repository, options, tell).await;
        for asked in repository.notices().asked {
            of_all(tell, format!("Explain: {asked}"));
        }
        outcome
    }

    async fn pull_from(&self, repository: &Repository, options: &PullOptions, tell: &Tell) -> Result<()> {
        if options.name.tag().is_some() || options.name.digest().is_some() {
            return self.pull_one(repository, &options.name, options, tell).await;
        }
        let tags = repository.tags().await.map_err(|error| pull_error(&options.name, error))?;
        for tag in &tags {
            let name = options.name.with_tag(tag).map_err(|error| EngineError::because("", error))?;
            self.pull_one(repository, &name, options, tell).await?;
        }
        Ok(())
    }

    async fn pull_one(
        &self,
        repository: &Repository,
        name: &Reference,
        options: &PullOptions,
        tell: &Tell,
    ) -> Result<()> {
        // With both, the digest says which one.
        let asked = match (name.digest(), name.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or(corten_oci::reference::DEFAULT_TAG).to_owned(),
        };
        let target = repository.resolve(&asked).await.map_err(|error| pull_error(name, error))?;
        tell(Progress::Status { id: Some(asked), status: format!("Pulling from {}", name.path()) });
        let mut plan = self.plan(repository, name, target, options.platform.as_ref()).await?;
        // Before any layer is read.
        let digests = [plan.target.digest, plan.manifest_digest];
        let evidence = self.admit(repository, name, &digests).await?;
        if options.referrers {
            let found = self.gather_referrers(repository, &digests, &plan.holding).await;
            let found = found.map_err(|error| pull_error(name, error))?;
            plan.attested |= found.is_new;
            plan.documents.extend(found.documents);
            plan.referrers = found.manifests;
        }
        let kept_name = match name.digest() {
            Some(digest) => name.with_digest(*digest),
            None => name.clone(),
        };
        let digest = plan.target.digest;
        let fetched = self.fetch(repository, &plan, tell).await?;
        let is_new = self.keep(plan, fetched, kept_name.clone(), tell).await?;
        if let Some(evidence) = evidence {
            let engine = self.clone();
            blocking(move || engine.keep_evidence(&digest, &evidence)).await?;
        }
        if is_new {
            self.follow_layer_forms(Some(kept_name.with_default_tag()));
        }
        of_all(tell, format!("Digest: {digest}"));
        let notices = repository.notices();
        for warning in notices.warnings {
            of_all(tell, format!("Warning: {warning}"));
        }
        if let Some((left, limit)) = notices.rate_limit
            && left.parse().is_ok_and(|left: u32| left <= FEW)
        {
            of_all(tell, format!("Warning: {left} of {limit} pulls are left at {}", repository.host()));
        }
        let status = if is_new { "Downloaded newer image for" } else { "Image is up to date for" };
        of_all(tell, format!("Status: {status} {}", name.familiar()));
        self.inner.events.publish("image", "pull", &name.familiar(), name_attribute(&name.familiar_name()));
        Ok(())
    }

    /// Finds the manifest for the platform, through indexes.
    async fn plan(
        &self,
        repository: &Repository,
        name: &Reference,
        target: Descriptor,
        platform: Option<&Platform>,
    ) -> Result<Plan> {
        let wanted = platform.cloned().unwrap_or_else(Platform::host);
        let holding = Arc::new(Mutex::new(self.inner.store.hold()));
        let mut documents = Vec::new();
        let mut at = target.clone();
        let mut attestations: Vec<Descriptor> = Vec::new();
        for _ in 0..=DEPTH {
            let document = self.document(repository, name, &at, &holding).await?;
            let kind = document.descriptor.media_type.clone();
            documents.push((document.descriptor.digest, document.bytes.clone()));
            let wrong = |what: &str, error: serde_json::Error| {
                EngineError::system(format!(
                    "the {what} {} of {} is not one: {error}",
                    at.digest,
                    name.familiar()
                ))
            };
            if !media_type::is_index(&kind) {
                let manifest: Manifest =
                    serde_json::from_slice(&document.bytes).map_err(|error| wrong("manifest", error))?;
                if manifest.layers.len() > LAYERS {
                    return Err(EngineError::system(format!(
                        "{} has more than {LAYERS} layers: {}",
                        name.familiar(),
                        manifest.layers.len()
                    )));
                }
                let leading = documents.len();
                let attested = self.attestations(repository, &attestations, &holding, &mut documents).await?;
                return Ok(Plan {
                    target: if leading == 1 { document.descriptor } else { target },
                    documents,
                    manifest_digest: at.digest,
                    manifest,
                    holding,
                    attested,
                    referrers: Vec::new(),
                });
            }
            let index: Index =
                serde_json::from_slice(&document.bytes).map_err(|error| wrong("index", error))?;
            let chosen = choose(&index, &wanted, platform.is_some()).cloned();
            at = chosen.ok_or_else(|| {
                EngineError::not_found(format!(
                    "no matching manifest for {wanted} in the manifest list entries"
                ))
                .with_hint(format!("it is there for: {}", offered(&index)))
            })?;
            let of = at.digest.to_string();
            let about = |entry: &&Descriptor| {
                entry.is_attestation() && entry.annotations.get(annotation::REFERENCE_DIGEST) == Some(&of)
            };
            attestations = index.manifests.iter().filter(about).take(ATTESTATIONS).cloned().collect();
        }
        Err(EngineError::system(format!(
            "the indexes of {} lie more than {DEPTH} deep in indexes",
            name.familiar()
        )))
    }

    /// What an index says of the chosen manifest besides: added to the documents whole or not at all. Whether anything
    /// came that was not here. What a registry has lost does not hold the image up.
    async fn attestations(
        &self,
        repository: &Repository,
        attestations: &[Descriptor],
        holding: &Arc<Mutex<Holding>>,
        documents: &mut Vec<(Digest, Vec<u8>)>,
    ) -> Result<bool> {
        let mut came = false;
        let mut left = ATTESTED;
        for attestation in attestations {
            match self.attestation(repository, attestation, holding, &mut left).await {
                Ok((all, new)) => {
                    documents.extend(all);
                    came |= new;
                }
                Err(error) => tracing::warn!(
                    attestation = attestation.digest.to_string(),
                    error = corten_std::chain(&error),
                    "an attestation was left out of a pull"
                ),
            }
        }
        Ok(came)
    }

    async fn attestation(
        &self,
        repository: &Repository,
        attestation: &Descriptor,
        holding: &Arc<Mutex<Holding>>,
        left: &mut u64,
    ) -> Result<(Vec<(Digest, Vec<u8>)>, bool)> {
        let here = |digest: &Digest| holding.lock().unwrap_or_else(PoisonError::into_inner).has(digest);
        let failed = |error| EngineError::because("", error);
        let mut new = !here(&attestation.digest);
        let name = attestation.digest.to_string();
        let bytes = if new {
            repository.manifest(&name).await.map_err(failed)?.bytes
        } else {
            let (store, digest) = (self.inner.store.clone(), attestation.digest);
            blocking(move || store.read_document(&digest).map_err(|error| EngineError::because("", error)))
                .await?
        };
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| EngineError::from_error("reading an attestation", error))?;
        let blobs = || manifest.blobs().take(1 + ATTESTATIONS);
        let size = blobs().fold(bytes.len() as u64, |sum, blob| sum.saturating_add(blob.size));
        *left = left.checked_sub(size).ok_or_else(|| {
            EngineError::system(format!("the attestations of an image have more than {ATTESTED} bytes"))
        })?;
        let mut all = vec![(attestation.digest, bytes)];
        for blob in blobs() {
            if !here(&blob.digest) {
                all.push((blob.digest, repository.small_blob(blob).await.map_err(failed)?));
                new = true;
            }
        }
        Ok((all, new))
    }

    /// A manifest or index, from the store where it is there.
    async fn document(
        &self,
        repository: &Repository,
        name: &Reference,
        descriptor: &Descriptor,
        holding: &Arc<Mutex<Holding>>,
    ) -> Result<Document> {
        let (store, digest) = (self.inner.store.clone(), descriptor.digest);
        let here = {
            let holding = Arc::clone(holding);
            blocking(move || {
                if !holding.lock().unwrap_or_else(PoisonError::into_inner).has(&digest) {
                    return Ok(None);
                }
                store.read_document(&digest).map(Some).map_err(|error| EngineError::because("", error))
            })
            .await?
        };
        if let Some(bytes) = here {
            return Ok(Document { descriptor: descriptor.clone(), bytes });
        }
        repository.manifest(&digest.to_string()).await.map_err(|error| pull_error(name, error))
    }

    /// Everything of the manifest that is not here; the configuration first, as a document.
    async fn fetch(&self, repository: &Repository, plan: &Plan, tell: &Tell) -> Result<Fetched> {
        let mut config = None;
        let mut layers = JoinSet::new();
        let mut seen = std::collections::HashSet::new();
        let mut shown = Vec::new();
        let here = |digest: &Digest| plan.holding.lock().unwrap_or_else(PoisonError::into_inner).has(digest);
        let (mut wanted, mut present) = (Vec::new(), Vec::new());
        for layer in &plan.manifest.layers {
            if !seen.insert(layer.digest) {
                continue;
            }
            let id = layer.digest.short();
            if here(&layer.digest) {
                present.push(id);
            } else {
                wanted.push(layer.clone());
            }
        }
        // Nothing is told of an image whose layers are all here.
        if !wanted.is_empty() {
            for id in &present {
                of_layer(tell, id, "Already exists");
            }
            for layer in &wanted {
                of_layer(tell, &layer.digest.short(), "Pulling fs layer");
            }
        }
        for layer in wanted {
            shown.push(layer.digest.short());
            let (engine, repository, tell) = (self.clone(), repository.clone(), Arc::clone(tell));
            layers.spawn(async move { engine.fetch_blob(repository, &layer, &tell).await });
        }
        let descriptor = &plan.manifest.config;
        if media_type::is_config(&descriptor.media_type) || descriptor.size <= 1 << 20 {
            if !here(&descriptor.digest) {
                let bytes = repository.small_blob(descriptor).await;
                let bytes = bytes.map_err(|error| {
                    EngineError::because("", error).with_class(corten_std::ErrorClass::System)
                })?;
                config = Some((descriptor.digest, bytes));
            }
        } else if !here(&descriptor.digest) && seen.insert(descriptor.digest) {
            let (engine, repository, tell) = (self.clone(), repository.clone(), Arc::clone(tell));
            let descriptor = descriptor.clone();
            layers.spawn(async move { engine.fetch_blob(repository, &descriptor, &tell).await });
        }
        let mut blobs = Vec::new();
        while let Some(fetched) = layers.join_next().await {
            // The others end with the set.
            let fetched =
                fetched.map_err(|error| EngineError::from_error("a download ended early", error))?;
            blobs.push(fetched?);
        }
        Ok(Fetched { config, blobs, shown })
    }

    /// One blob: downloaded, checked, unpacked where it is a layer. A second time from the registry itself where what
    /// came is not what was asked for.
    async fn fetch_blob(
        &self,
        mut repository: Repository,
        blob: &Descriptor,
        tell: &Tell,
    ) -> Result<ReceivedBlob> {
        let id = blob.digest.short();
        let path = self.inner.store.ingest_path(&blob.digest);
        let mut tries = 0;
        loop {
            tries += 1;
            let (download, begun) = self.inner.downloads.join(&repository, blob, &path);
            let receive = || {
                let (store, blob, path) = (self.inner.store.clone(), blob.clone(), path.clone());
                let mut reader = download.reader();
                tokio::task::spawn_blocking(move || store.receive(&blob, &path, &mut reader))
            };
            // Not before there is something to read: a reader that waits takes a thread, of which the daemon has few for
            // all that it does.
            let mut receiving = None;
            let mut watch = download.watch();
            let mut last = Instant::now();
            loop {
                let stage = *watch.borrow_and_update();
                if stage.begun && receiving.is_none() {
                    receiving = Some(receive());
                }
                if stage.ended {
                    break;
                }
                if stage.begun && last.elapsed() >= BAR {
                    last = Instant::now();
                    tell(Progress::Bar {
                        id: id.clone(),
                        status: "Downloading",
                        current: stage.here,
                        total: blob.size,
                    });
                }
                if watch.changed().await.is_err() {
                    break;
                }
            }
            let downloaded = download.outcome().unwrap_or(Ok(()));
            if let Err(failure) = downloaded {
                let (error, _) = failure.into_parts();
                // What others left may be in its way on a full disk.
                let store = self.inner.store.clone();
                let swept = tokio::task::spawn_blocking(move || store.sweep_broken_off()).await;
                if tries < 2 && matches!(swept, Ok(Ok(true))) {
                    continue;
                }
                // Somebody else's failure may be of what only they may not do.
                if !begun && tries < 3 {
                    continue;
                }
                return Err(error);
            }
            of_layer(tell, &id, "Verifying Checksum");
            of_layer(tell, &id, "Download complete");
            tell(Progress::Bar {
                id: id.clone(),
                status: "Extracting",
                current: blob.size,
                total: blob.size,
            });
            let received = receiving.unwrap_or_else(receive).await;
            let received =
                received.map_err(|error| EngineError::from_error("unpacking ended early", error))?;
            match received {
                Ok(received) => return Ok(received),
                Err(error) => {
                    download.spoil();
                    let is_wrong = is_wrong_content(&error);
                    if is_wrong && tries < 2 {
                        tracing::warn!(
                            blob = blob.digest.to_string(),
                            error = corten_std::chain(&error),
                            "what was downloaded is not what was asked for; it is downloaded once more"
                        );
                        repository = repository.without_mirrors();
                        continue;
                    }
                    if is_wrong {
                        return Err(EngineError::system(format!(
                            "filesystem layer verification failed for digest {}: {} sent other content: {}",
                            blob.digest,
                            repository.host(),
                            corten_std::chain(&error)
                        )));
                    }
                    return Err(EngineError::because("failed to register layer", error));
                }
            }
        }
    }

    /// Makes the image; whether anything is new.
    async fn keep(&self, plan: Plan, fetched: Fetched, name: Reference, tell: &Tell) -> Result<bool> {
        let store = self.inner.store.clone();
        let Plan { target, mut documents, manifest_digest, holding, attested, referrers, .. } = plan;
        let Fetched { config, blobs, shown } = fetched;
        let nothing_came = blobs.is_empty() && config.is_none() && !attested;
        documents.extend(config);
        let is_new = blocking(move || {
            let images = store.images();
            let before = images.named(&name);
            let complete = nothing_came
                && images.is_complete(&manifest_digest).map_err(|error| EngineError::because("", error))?
                && images.get(&target.digest).is_ok_and(|image| image.id == target.digest && image.runnable);
            if complete {
                let noted = images.came_from(&target.digest, &name.canonical_name());
                noted.map_err(|error| EngineError::because("", error))?;
            }
            if complete && before == Some(target.digest) {
                return Ok(false);
            }
            let digest = target.digest;
            if complete && name.digest().is_none() {
                images.tag_id(&digest, &name).map_err(|error| EngineError::because("", error))?;
            } else {
                let repository = name.canonical_name();
                let received = Received { target, documents, blobs, referrers, name: Some(name), repository };
                images
                    .receive(received)
                    .map_err(|error| EngineError::because("failed to register layer", error))?;
            }
            drop(holding);
            Ok(before != Some(digest))
        })
        .await?;
        for id in shown {
            of_layer(tell, &id, "Pull complete");
        }
        Ok(is_new)
    }
}

/// What came.
struct Fetched {
    config: Option<(Digest, Vec<u8>)>,
    blobs: Vec<ReceivedBlob>,
    /// Layers that were told to be pulled, in order.
    shown: Vec<String>,
}

/// The repository, with waits that it asks for told as they pass.
fn telling_waits(repository: Repository, tell: &Tell) -> Repository {
    let tell = Arc::clone(tell);
    repository.telling_waits(move |host, left| {
        of_layer(&tell, host, format!("Waiting {left} s more, as the registry asks"));
    })
}

/// Whether other bytes may do better.
fn is_wrong_content(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Mismatch { .. }
            | StoreError::Length { .. }
            | StoreError::Layer { .. }
            | StoreError::Outer(_)
    )
}

/// The entry of an index that suits best; of equals the first.
fn choose<'a>(index: &'a Index, wanted: &Platform, exactly: bool) -> Option<&'a Descriptor> {
    let suits = |entry: &Descriptor| {
        if entry.is_attestation() {
            return None;
        }
        match &entry.platform {
            Some(offered) if exactly && offered.architecture != wanted.architecture => None,
            Some(offered) => wanted.suits(offered),
            // Nothing is said: another index, or an image of one platform.
            None => Some(0),
        }
    };
    let entries = index.manifests.iter().enumerate();
    entries
        .filter_map(|(at, entry)| Some((suits(entry)?, std::cmp::Reverse(at), entry)))
        .max_by_key(|(suits, at, _)| (*suits, *at))
        .map(|(_, _, entry)| entry)
}

fn offered(index: &Index) -> String {
    let platforms = index.manifests.iter().filter_map(|entry| entry.platform.as_ref());
    let known = platforms.filter(|platform| platform.os != "unknown").take(20);
    known.map(Platform::to_string).collect::<Vec<_>>().join(", ")
}
