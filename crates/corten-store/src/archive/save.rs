//! Saving: an OCI layout that also has Docker's `manifest.json`, as Docker writes it since version 25. The
//! documents come first, so that whoever reads the stream knows what the blobs are.

use super::bundle::{self, BundleDocument, BundleOptions};
use crate::image::{Image, Images};
use crate::store::Store;
use crate::{Result, StoreError};
use corten_layer::LayerError;
use corten_layer::tar::{Entry, EntryKind, Time, Writer};
use corten_oci::image::{Descriptor, annotation};
use corten_oci::{Digest, Index, Manifest, Platform, Reference};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

/// An entry of `manifest.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Images<'_> {
    /// Writes images to an archive: by name with tag, by ID (then without a name), or all names of a repository.
    /// Layers come out as they came in, byte for byte. Everything is looked up before the first byte is written.
    pub fn save(self, names: &[&str], out: &mut dyn Write) -> Result<()> {
        self.save_platform(names, None, out)
    }

    /// As [`Self::save`]; with a platform, only what is for that is in the archive. An image that has nothing for it is an
    /// error. The image keeps its ID: its index names what is not there too.
    pub fn save_platform(
        self,
        names: &[&str],
        platform: Option<&Platform>,
        out: &mut dyn Write,
    ) -> Result<()> {
        self.write(names, platform.map_or(&[], std::slice::from_ref), None, out)
    }

    pub(super) fn write(
        self,
        names: &[&str],
        platforms: &[Platform],
        bundle: Option<&BundleOptions>,
        out: &mut dyn Write,
    ) -> Result<()> {
        let mut chosen: Vec<(Arc<Image>, Vec<Reference>)> = Vec::new();
        for name in names {
            for (image, reference) in self.chosen(name)? {
                match chosen.iter_mut().find(|(other, _)| other.id == image.id) {
                    Some((_, references)) => references.extend(
                        reference.into_iter().filter(|new| !references.contains(new)).collect::<Vec<_>>(),
                    ),
                    None => chosen.push((image, reference.into_iter().collect())),
                }
            }
        }
        // What is written stays in the store meanwhile.
        let mut pins = crate::garbage::PinSet::new(&self.store.inner.pins);
        let mut content = BTreeSet::new();
        let mut referrers: Vec<Descriptor> = Vec::new();
        let (mut left_out, mut needed) = (BTreeSet::<Digest>::new(), BTreeSet::<Digest>::new());
        let mut manifests = BTreeMap::new();
        for (image, _) in &chosen {
            let row =
                self.index().row(&image.id).ok_or_else(|| StoreError::NoSuchImage(image.id.to_string()))?;
            let mut wanted: BTreeSet<Digest> =
                if platforms.is_empty() { row.content.iter().copied().collect() } else { BTreeSet::new() };
            for platform in platforms {
                let chosen = self.content_for(&image.id, platform)?;
                let (manifest, part) = chosen.ok_or_else(|| StoreError::NoPlatform {
                    image: image.id,
                    platform: platform.to_string(),
                })?;
                // Docker's file names one manifest of an image: the first.
                manifests.entry(image.id).or_insert(manifest);
                wanted.extend(part);
                if bundle.is_some() {
                    wanted.extend(self.attested(&image.id, &manifest)?);
                }
            }
            if bundle.is_some() {
                let kept = self.referrers(&image.id);
                wanted.extend(self.content_of(&kept)?);
                referrers.extend(kept);
            } else {
                // What Docker's reader would take for images without a name.
                let kept = self.content_of(&self.referrers(&image.id))?;
                let others = self.without_referrers(&image.id, &kept)?;
                wanted.retain(|digest| !kept.contains(digest) || others.contains(digest));
            }
            if let Some(bundle) = bundle {
                for (layer, stack) in self.layers_of(&image.id)? {
                    let has = bundle.without.contains(&layer);
                    if has || stack.is_some_and(|stack| bundle.stacks.contains(&stack)) {
                        left_out.extend(wanted.contains(&layer).then_some(layer));
                    } else {
                        needed.insert(layer);
                    }
                }
            }
            for digest in wanted {
                pins.content(digest);
                content.insert(digest);
            }
        }
        left_out.retain(|layer| !needed.contains(layer));
        content.retain(|digest| !left_out.contains(digest));
        let extra = match bundle {
            None => None,
            Some(bundle) => {
                let document = BundleDocument::new(left_out.into_iter().collect(), bundle.evidence.clone());
                let bytes = serde_json::to_vec(&document);
                Some(bytes.map_err(|source| StoreError::Document { what: bundle::PATH.to_owned(), source })?)
            }
        };
        write_archive(self.store, &chosen, &content, &manifests, (&referrers, extra.as_deref()), out)
    }

    fn chosen(self, name: &str) -> Result<Vec<(Arc<Image>, Option<Reference>)>> {
        if let Ok(repository) = Reference::parse_bare(name)
            && repository.tag().is_none()
            && repository.digest().is_none()
        {
            let tagged: Vec<(Arc<Image>, Option<Reference>)> = self
                .list()?
                .into_iter()
                .flat_map(|image| {
                    let names: Vec<Reference> =
                        image.names.iter().filter(|name| name.repository() == repository).cloned().collect();
                    names.into_iter().map(move |name| (Arc::clone(&image), Some(name)))
                })
                .collect();
            if !tagged.is_empty() {
                return Ok(tagged);
            }
        }
        let (id, reference) = self.find(name)?;
        let reference = reference.filter(|reference| reference.digest().is_none());
        Ok(vec![(self.get(&id)?, reference)])
    }
}

fn write_archive(
    store: &Store,
    chosen: &[(Arc<Image>, Vec<Reference>)],
    content: &BTreeSet<Digest>,
    manifests: &BTreeMap<Digest, Digest>,
    (referrers, extra): (&[Descriptor], Option<&[u8]>),
    out: &mut dyn Write,
) -> Result<()> {
    let mut descriptors = Vec::new();
    let mut docker = Vec::new();
    for (image, names) in chosen {
        if names.is_empty() {
            descriptors.push(image.target.clone());
        }
        for name in names {
            descriptors.push(named(&image.target, name));
        }
        let manifest = manifests.get(&image.id).copied().or(image.runnable.then_some(image.manifest.digest));
        if let Some(digest) = manifest {
            let bytes = store.read_document(&digest)?;
            let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|source| {
                StoreError::Document { what: format!("image manifest {digest}"), source }
            })?;
            docker.push(DockerImage {
                config: path_of(&manifest.config.digest),
                repo_tags: (!names.is_empty()).then(|| names.iter().map(Reference::familiar).collect()),
                layers: manifest.layers.iter().map(|layer| path_of(&layer.digest)).collect(),
            });
        }
    }
    for referrer in referrers {
        if !descriptors.contains(referrer) {
            descriptors.push(referrer.clone());
        }
    }
    let mut writer = Writer::new(out);
    let document = |what: &'static str, bytes: std::result::Result<Vec<u8>, serde_json::Error>| {
        bytes.map_err(|source| StoreError::Document { what: what.to_owned(), source })
    };
    append(&mut writer, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(
        &mut writer,
        "index.json",
        &document("index.json", serde_json::to_vec(&Index::new(descriptors)))?,
    )?;
    append(&mut writer, "manifest.json", &document("manifest.json", serde_json::to_vec(&docker))?)?;
    if let Some(extra) = extra {
        append(&mut writer, bundle::PATH, extra)?;
    }
    let algorithms: BTreeSet<&str> = content.iter().map(Digest::algorithm).collect();
    let folders = algorithms.into_iter().map(|algorithm| format!("blobs/{algorithm}"));
    for folder in std::iter::once("blobs".to_owned()).chain(folders) {
        writer.append(&entry(&folder, EntryKind::Directory, 0), &[]).map_err(write_error)?;
    }
    for digest in content {
        let mut reader = store.open_content(digest)?;
        let entry = entry(&path_of(digest), EntryKind::File, reader.size());
        writer.append_stream(&entry, &mut reader).map_err(write_error)?;
        // The digest is checked at the end, which a reader of exactly the announced length does not reach.
        let mut rest = [0];
        match std::io::Read::read(&mut reader, &mut rest) {
            Ok(0) => {}
            Ok(_) => {
                return Err(StoreError::Length {
                    digest: *digest,
                    wanted: reader.size(),
                    found: reader.size() + 1,
                });
            }
            Err(error) => return Err(crate::blob::content_error(error, digest)),
        }
    }
    writer.finish().map_err(write_error)?;
    Ok(())
}

fn named(target: &Descriptor, name: &Reference) -> Descriptor {
    let mut descriptor = target.clone();
    descriptor.annotations.insert(annotation::IMAGE_NAME.to_owned(), name.canonical());
    if let Some(tag) = name.tag() {
        descriptor.annotations.insert(annotation::REF_NAME.to_owned(), tag.to_owned());
    }
    descriptor
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// The same image gives the same archive: no times, no owners.
fn entry(path: &str, kind: EntryKind, size: u64) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        link: Vec::new(),
        mode: if kind == EntryKind::Directory { 0o755 } else { 0o644 },
        uid: 0,
        gid: 0,
        size,
        mtime: Time { seconds: 0, nanoseconds: 0 },
        atime: None,
        device: (0, 0),
        xattrs: Vec::new(),
    }
}

fn append<W: Write>(writer: &mut Writer<W>, path: &str, bytes: &[u8]) -> Result<()> {
    writer.append(&entry(path, EntryKind::File, bytes.len() as u64), bytes).map_err(write_error)
}

fn write_error(error: LayerError) -> StoreError {
    match error {
        LayerError::Write { source, .. } => StoreError::Write(source),
        LayerError::Read(source) => match source.downcast::<StoreError>() {
            Ok(error) => error,
            Err(source) => StoreError::Write(source),
        },
        other => StoreError::Outer(other),
    }
}
