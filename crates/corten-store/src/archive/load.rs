//! Loading: one pass over the stream, whatever order the archive has. Layers are unpacked when they come by,
//! before anything says which image they belong to; the documents tell afterwards what is what.
//!
//! Known forms: an OCI layout (`index.json`, `blobs/sha256/…`), Docker's (`manifest.json` with layers as
//! `ID/layer.tar`, which may be links to each other), and what Docker writes since version 25, which is both.

use super::assemble::{Assembler, Item, docker_layer_type};
use super::bundle::{self, BundleDocument, Evidence};
use crate::blob::{DOCUMENT_LIMIT, stage_reader};
use crate::image::{Images, LoadEvent, Loaded, TagRow};
use crate::ingest::{Ingest, discard_layer, looks_like_tar};
use crate::store::Store;
use crate::{Result, StoreError};
use corten_layer::tar::{EntryKind, Reader};
use corten_layer::{Compression, sniff};
use corten_oci::image::{Descriptor, annotation, media_type};
use corten_oci::{Digest, Hasher, Index, Manifest, Platform, Reference};
use corten_std::Timestamp;
use serde::Deserialize;
use std::collections::{HashMap, VecDeque};
use std::io::{Cursor, Read};

/// Most files an archive may have.
const ENTRY_LIMIT: usize = 100_000;
/// Most bytes of documents that are held in memory at a time.
const DOCUMENTS_LIMIT: u64 = 4 * DOCUMENT_LIMIT;
/// Links that are followed from one to the next.
const LINK_LIMIT: usize = 16;
/// A progress event is sent at most every so many bytes.
const PROGRESS_STEP: u64 = 1 << 20;

/// An entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// What lies at a path of the archive.
#[derive(Clone, Debug)]
enum Place {
    /// Content.
    Content(Digest),
    /// A link to another path.
    Link(String),
}

impl Images<'_> {
    /// Loads every image of an archive, or none of them. `progress` is told layers as they are read, names that
    /// were taken from other images, and images that are in the store (durably, by then).
    pub fn load(
        self,
        archive: impl Read + Send,
        progress: &mut (dyn FnMut(LoadEvent) + Send),
    ) -> Result<Vec<Loaded>> {
        self.load_platform(archive, None, progress)
    }

    /// As [`Self::load`]; with a platform, only what is for that is taken, and an image that has nothing for it is an error.
    pub fn load_platform(
        self,
        archive: impl Read + Send,
        platform: Option<&Platform>,
        progress: &mut (dyn FnMut(LoadEvent) + Send),
    ) -> Result<Vec<Loaded>> {
        self.load_judged(archive, platform, &mut |_, _| true, progress)
    }

    /// As [`Self::load_platform`]; `judge` is shown what would be loaded and what the archive says about it, and says
    /// whether anything of it is.
    pub fn load_judged(
        self,
        archive: impl Read + Send,
        platform: Option<&Platform>,
        judge: &mut dyn FnMut(&[Loaded], &Evidence) -> bool,
        progress: &mut (dyn FnMut(LoadEvent) + Send),
    ) -> Result<Vec<Loaded>> {
        let mut loader = Loader {
            store: self.store,
            assembler: Assembler::new(self.store),
            places: HashMap::new(),
            running: VecDeque::new(),
            document_bytes: 0,
            progress,
        };
        loader.assembler.only = platform.cloned();
        let outcome = loader.read(archive).and_then(|()| {
            let evidence = loader.bundle()?;
            let loaded = loader.plan()?;
            if judge(&loaded, &evidence) {
                Ok(loaded)
            } else {
                Err(StoreError::Archive("an image in it is refused".to_owned()))
            }
        });
        let Loader { assembler, running, progress, .. } = loader;
        for ingest in running {
            let (blob, unpacked) = ingest.finish(self.store);
            discard_layer(self.store, unpacked, blob)?;
        }
        let (mut batch, pins) = assembler.finish()?;
        let loaded = match outcome {
            Ok(loaded) => loaded,
            Err(error) => {
                crate::archive::give_up(self.store, &batch)?;
                return Err(error);
            }
        };
        let now = Timestamp::now();
        for loaded in &loaded {
            if let Some(reference) = &loaded.reference {
                // The last one wins where an archive gives a name twice.
                batch.tags.retain(|(other, _)| other != reference);
                batch.tags.push((reference.clone(), TagRow { image: loaded.id, tagged: now }));
            }
        }
        let renamed = self.store.commit(batch)?;
        drop(pins);
        for (reference, previous) in renamed {
            progress(LoadEvent::Renamed { reference, previous });
        }
        for loaded in &loaded {
            progress(LoadEvent::Loaded(loaded.clone()));
        }
        Ok(loaded)
    }
}

struct Loader<'a, 'p> {
    store: &'a Store,
    assembler: Assembler<'a>,
    places: HashMap<String, Place>,
    /// Layers whose unpacking goes on.
    running: VecDeque<Ingest>,
    document_bytes: u64,
    progress: &'p mut (dyn FnMut(LoadEvent) + Send),
}

impl Loader<'_, '_> {
    /// Takes in every entry.
    fn read(&mut self, archive: impl Read + Send) -> Result<()> {
        let stream = corten_layer::decompress(archive).map_err(StoreError::Outer)?;
        let mut reader = Reader::new(stream);
        let mut entries = 0;
        while let Some(entry) = reader.next_entry().map_err(StoreError::Outer)? {
            entries += 1;
            if entries > ENTRY_LIMIT {
                return Err(StoreError::Archive(format!("it has more than {ENTRY_LIMIT} files")));
            }
            match entry.kind {
                EntryKind::File => {
                    let path = clean(&entry.path, "")?;
                    let digest = self.entry(&path, entry.size, &mut reader)?;
                    self.places.insert(path, Place::Content(digest));
                }
                EntryKind::Symlink | EntryKind::HardLink => {
                    let path = clean(&entry.path, "")?;
                    let folder = if entry.kind == EntryKind::Symlink {
                        path.rsplit_once('/').map_or("", |(folder, _)| folder)
                    } else {
                        ""
                    };
                    let target = clean(&entry.link, folder)?;
                    self.places.insert(path, Place::Link(target));
                }
                _ => {}
            }
        }
        while !self.running.is_empty() {
            self.finish_oldest();
        }
        Ok(())
    }

    /// Takes in one file.
    fn entry<R: Read + Send>(&mut self, path: &str, size: u64, content: &mut Reader<R>) -> Result<Digest> {
        // Content under an algorithm that cannot be checked is refused.
        let named = Digest::of_blob_path(path).transpose()?;
        if let Some(digest) = named
            && (self.assembler.items.contains_key(&digest)
                || (self.assembler.is_stored(digest) && self.store.elsewhere([&digest]).is_empty()))
        {
            // Skipped: what the store has was checked when it came. What only a registry has is taken in.
            return Ok(digest);
        }
        let mut head = Vec::with_capacity(512);
        content.by_ref().take(512).read_to_end(&mut head).map_err(StoreError::Read)?;
        let is_layer = looks_like_tar(&head) || !matches!(sniff(&head), Ok(Compression::Plain));
        let mut whole = Cursor::new(head).chain(content);
        let digest = if is_layer {
            self.layer(path, size, named, &mut whole)?
        } else if size <= DOCUMENT_LIMIT && self.document_bytes + size <= DOCUMENTS_LIMIT {
            let mut bytes = Vec::with_capacity(size as usize);
            whole.read_to_end(&mut bytes).map_err(StoreError::Read)?;
            self.document_bytes += size;
            let digest = named.map_or_else(|| Digest::of(&bytes), |named| named.again(&bytes));
            self.assembler.items.entry(digest).or_insert(Item::Document(bytes));
            digest
        } else if let Some(named) = &named {
            let blob = stage_reader(self.store.inner.reaper.new_name(), named, &mut whole)?;
            let digest = blob.digest;
            self.assembler.items.insert(digest, Item::Blob(blob));
            digest
        } else if size > DOCUMENT_LIMIT {
            return Err(StoreError::TooLarge {
                what: format!("`{path}` of the archive"),
                limit: DOCUMENT_LIMIT,
            });
        } else {
            return Err(StoreError::TooLarge {
                what: "all documents of the archive".to_owned(),
                limit: DOCUMENTS_LIMIT,
            });
        };
        match named {
            Some(wanted) if wanted != digest => Err(StoreError::Mismatch { wanted, found: Box::new(digest) }),
            _ => Ok(digest),
        }
    }

    fn layer(
        &mut self,
        path: &str,
        size: u64,
        named: Option<Digest>,
        content: &mut (dyn Read + Send),
    ) -> Result<Digest> {
        let layer = named.map_or_else(|| path.to_owned(), |named| named.hex());
        let hasher = named.map_or_else(Hasher::new, |named| named.hasher());
        let mut counted = Counted {
            input: content,
            current: 0,
            told: 0,
            total: size,
            layer: &layer,
            progress: self.progress,
        };
        let ingest = self.store.ingest(&mut counted, &layer, Vec::new(), hasher)?;
        counted.tell();
        let digest = ingest.digest;
        self.running.push_back(ingest);
        // Two workers beside this thread keep two cores busy; what is done already is collected.
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2);
        while self.running.len() >= workers || self.running.front().is_some_and(Ingest::is_finished) {
            self.finish_oldest();
        }
        Ok(digest)
    }

    fn finish_oldest(&mut self) {
        let Some(ingest) = self.running.pop_front() else { return };
        let (digest, layer) = (ingest.digest, ingest.layer().to_owned());
        let (blob, unpacked) = ingest.finish(self.store);
        if self.assembler.items.contains_key(&digest) {
            // The same layer at two paths.
            let _ = discard_layer(self.store, unpacked, blob);
            return;
        }
        let item = match unpacked {
            Ok(unpacked) => Item::Layer(Box::new(unpacked)),
            Err(error) => {
                let chain = corten_std::chain(&error);
                tracing::debug!(
                    layer,
                    error = chain,
                    "a file of the archive looks like a layer and was not unpacked"
                );
                Item::Broken(Some(error), blob)
            }
        };
        self.assembler.items.insert(digest, item);
    }

    /// Reads what a bundle says: what it left out must be here.
    fn bundle(&mut self) -> Result<Evidence> {
        let document = self.document_at::<BundleDocument>(bundle::PATH)?;
        let Some(document) = document else { return Ok(Evidence::new()) };
        document.check()?;
        let missing: Vec<&Digest> =
            document.without.iter().filter(|digest| !self.assembler.is_stored(**digest)).collect();
        match missing.first() {
            None => Ok(document.evidence),
            Some(first) => Err(StoreError::Archive(format!(
                "it was made for where {} of its layers are already, as {first}, which are not here: make it against what is here, or whole",
                missing.len()
            ))),
        }
    }

    /// Finds out which images the archive holds, and plans them.
    fn plan(&mut self) -> Result<Vec<Loaded>> {
        let docker = self.document_at::<Vec<DockerImage>>("manifest.json")?;
        let index = self.document_at::<Index>("index.json")?;
        let mut loaded = Vec::new();
        if let Some(mut index) = index {
            let referrers = self.assembler.find_referrers(&index)?;
            let is_referrer =
                |entry: &Descriptor| referrers.values().flatten().any(|one| one.digest == entry.digest);
            index.manifests.retain(|entry| !is_referrer(entry));
            self.assembler.referrers = referrers;
            // A name per descriptor: the same image comes once for each of its names.
            for descriptor in &index.manifests {
                let names = names_of(descriptor, docker.as_deref().unwrap_or_default(), self)?;
                if !loaded.iter().any(|loaded: &Loaded| loaded.id == descriptor.digest) {
                    self.assembler.add_image(descriptor)?;
                }
                add_loaded(&mut loaded, names, descriptor.digest);
            }
        } else if let Some(docker) = docker {
            for image in &docker {
                let descriptor = self.docker_manifest(image)?;
                self.assembler.add_image(&descriptor)?;
                add_loaded(
                    &mut loaded,
                    parse_names(image.repo_tags.as_deref().unwrap_or_default())?,
                    descriptor.digest,
                );
            }
        } else {
            return Err(StoreError::Archive("it has neither `index.json` nor `manifest.json`".to_owned()));
        }
        Ok(loaded)
    }

    /// Makes the manifest that an image of Docker's older form lacks.
    fn docker_manifest(&mut self, image: &DockerImage) -> Result<Descriptor> {
        let missing = |path: &str| {
            StoreError::Archive(format!("`manifest.json` names `{path}`, which is not in the archive"))
        };
        let config = self.digest_at(&image.config)?.ok_or_else(|| missing(&image.config))?;
        let config_size = match self.assembler.items.get(&config) {
            Some(Item::Document(bytes)) => bytes.len() as u64,
            _ => self.store.content_size(&config).ok_or_else(|| missing(&image.config))?,
        };
        let mut layers = Vec::new();
        for path in image.layers.as_deref().unwrap_or_default() {
            let digest = self.digest_at(path)?.ok_or_else(|| missing(path))?;
            let (size, kind) = match self.assembler.items.get(&digest) {
                Some(Item::Layer(layer)) => (
                    layer.blob.as_ref().map_or(layer.row.tar_size, |blob| blob.size),
                    docker_layer_type(layer.compression),
                ),
                Some(Item::Broken(_, Some(blob))) => (blob.size, media_type::DOCKER_LAYER_GZIP),
                Some(Item::Broken(_, None)) => (0, media_type::DOCKER_LAYER),
                Some(_) => return Err(StoreError::Archive(format!("layer `{path}` is not a tar archive"))),
                None => {
                    let size = self.store.content_size(&digest).ok_or_else(|| missing(path))?;
                    let plain = self.store.inner.index.of_layer(&digest).is_some();
                    (size, if plain { media_type::DOCKER_LAYER } else { media_type::DOCKER_LAYER_GZIP })
                }
            };
            layers.push(Descriptor::new(kind, digest, size));
        }
        let mut manifest =
            Manifest::new(Descriptor::new(media_type::DOCKER_CONFIG, config, config_size), layers);
        media_type::DOCKER_MANIFEST.clone_into(&mut manifest.media_type);
        let bytes = serde_json::to_vec(&manifest)
            .map_err(|source| StoreError::Document { what: "manifest".to_owned(), source })?;
        Ok(self.assembler.add_document(media_type::DOCKER_MANIFEST, bytes))
    }

    /// The digest of what lies at a path, links followed.
    fn digest_at(&self, path: &str) -> Result<Option<Digest>> {
        let mut path = clean(path.as_bytes(), "")?;
        for _ in 0..LINK_LIMIT {
            match self.places.get(&path) {
                Some(Place::Content(digest)) => return Ok(Some(*digest)),
                Some(Place::Link(target)) => path.clone_from(target),
                None => return Ok(None),
            }
        }
        Err(StoreError::Archive(format!("`{path}` is a link in a circle")))
    }

    fn document_at<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let Some(digest) = self.digest_at(path)? else { return Ok(None) };
        match self.assembler.items.get(&digest) {
            Some(Item::Document(bytes)) => serde_json::from_slice(bytes)
                .map(Some)
                .map_err(|source| StoreError::Document { what: format!("`{path}` of the archive"), source }),
            _ => Err(StoreError::Archive(format!("`{path}` is not a JSON document"))),
        }
    }
}

/// The names that an index's entry gives: by its annotations, else by `manifest.json`'s entry with the same
/// configuration.
fn names_of(
    descriptor: &Descriptor,
    docker: &[DockerImage],
    loader: &mut Loader<'_, '_>,
) -> Result<Vec<Reference>> {
    if let Some(name) = descriptor.annotations.get(annotation::IMAGE_NAME) {
        return Ok(vec![Reference::parse(name)?]);
    }
    if let Some(name) = descriptor.annotations.get(annotation::REF_NAME)
        && name.contains(['/', ':'])
    {
        return Ok(vec![Reference::parse(name)?]);
    }
    let manifest = match loader.assembler.items.get(&descriptor.digest) {
        Some(Item::Document(bytes)) => serde_json::from_slice::<Manifest>(bytes).ok(),
        _ => loader
            .store
            .read_document(&descriptor.digest)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok()),
    };
    let Some(manifest) = manifest else { return Ok(Vec::new()) };
    for image in docker {
        if loader.digest_at(&image.config)? == Some(manifest.config.digest) {
            return parse_names(image.repo_tags.as_deref().unwrap_or_default());
        }
    }
    Ok(Vec::new())
}

fn parse_names(names: &[String]) -> Result<Vec<Reference>> {
    names.iter().map(|name| Reference::parse(name).map_err(StoreError::from)).collect()
}

fn add_loaded(loaded: &mut Vec<Loaded>, names: Vec<Reference>, id: Digest) {
    if names.is_empty() {
        loaded.push(Loaded { reference: None, id });
    }
    loaded.extend(names.into_iter().map(|name| Loaded { reference: Some(name), id }));
}

/// A path of the archive in one form: relative, without `.` and empty parts. `folder` is where a relative link lies.
fn clean(path: &[u8], folder: &str) -> Result<String> {
    let text = std::str::from_utf8(path)
        .map_err(|_| StoreError::Archive(format!("`{}` is not UTF-8", String::from_utf8_lossy(path))))?;
    let outside = || StoreError::Archive(format!("`{text}` leads outside of the archive"));
    if text.starts_with('/') {
        return Err(outside());
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    let start_is_inside = !parts.is_empty();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            // A link may climb within the archive; a file's own path may not.
            ".." if start_is_inside || !parts.is_empty() => {
                parts.pop().ok_or_else(outside)?;
            }
            ".." => return Err(outside()),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// Tells how far a layer has been read.
struct Counted<'a> {
    input: &'a mut (dyn Read + Send),
    current: u64,
    told: u64,
    total: u64,
    layer: &'a str,
    progress: &'a mut (dyn FnMut(LoadEvent) + Send),
}

impl Counted<'_> {
    fn tell(&mut self) {
        self.told = self.current;
        (self.progress)(LoadEvent::Layer {
            layer: self.layer.to_owned(),
            current: self.current,
            total: self.total,
        });
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.current += length as u64;
        if self.current - self.told >= PROGRESS_STEP {
            self.tell();
        }
        Ok(length)
    }
}
