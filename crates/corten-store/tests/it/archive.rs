//! Makes image archives in every form that a load knows.

use corten_layer::tar::{Entry, EntryKind, Time, Writer};
use corten_oci::image::{Descriptor, annotation, media_type};
use corten_oci::{Digest, Index, Manifest};
use serde_json::json;
use std::io::Write;

/// How layers are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
    /// As this program compresses.
    Own,
}

/// A tar of these entries.
pub(crate) fn tar(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, content) in entries {
        writer.append(entry, content).unwrap();
    }
    writer.finish().unwrap()
}

pub(crate) fn entry(path: &str, kind: EntryKind, mode: u32, size: usize) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        link: Vec::new(),
        mode,
        uid: 0,
        gid: 0,
        size: size as u64,
        mtime: Time { seconds: 1_700_000_000, nanoseconds: 0 },
        atime: None,
        device: (0, 0),
        xattrs: Vec::new(),
    }
}

/// A tar of files with their texts; a path that ends in `/` is a folder with its mode in octal.
pub(crate) fn files(files: &[(&str, &str)]) -> Vec<u8> {
    let entries: Vec<(Entry, &[u8])> = files
        .iter()
        .map(|(path, text)| match path.strip_suffix('/') {
            Some(folder) => {
                (entry(folder, EntryKind::Directory, u32::from_str_radix(text, 8).unwrap(), 0), &b""[..])
            }
            None => (entry(path, EntryKind::File, 0o644, text.len()), text.as_bytes()),
        })
        .collect();
    tar(&entries)
}

pub(crate) fn pack(tar: &[u8], packing: Packing) -> Vec<u8> {
    match packing {
        Packing::Plain => tar.to_vec(),
        Packing::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar).unwrap();
            encoder.finish().unwrap()
        }
        Packing::Zstd => zstd::encode_all(tar, 1).unwrap(),
        Packing::Own => {
            let mut packed = Vec::new();
            corten_layer::compress(&mut &*tar, &mut packed).unwrap();
            packed
        }
    }
}

/// A configuration of these plain layers, with something of its own.
pub(crate) fn config(architecture: &str, layers: &[Vec<u8>], own: &str) -> Vec<u8> {
    let diff_ids: Vec<Digest> = layers.iter().map(Digest::of).collect();
    serde_json::to_vec(&json!({
        "architecture": architecture, "os": "linux", "created": "2026-01-02T03:04:05Z",
        "config": { "Cmd": ["sh"], "Labels": { "own": own }, "Healthcheck": { "Test": ["CMD", "true"] } },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    }))
    .unwrap()
}

/// An OCI layout in the making.
#[derive(Default)]
pub(crate) struct Layout {
    pub(crate) blobs: Vec<(String, Vec<u8>)>,
    pub(crate) index: Vec<Descriptor>,
}

impl Layout {
    pub(crate) fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(media_type, &bytes);
        let path = format!("blobs/sha256/{}", descriptor.digest.hex());
        if !self.blobs.iter().any(|(other, _)| *other == path) {
            self.blobs.push((path, bytes));
        }
        descriptor
    }

    /// Adds one platform's image.
    pub(crate) fn image(
        &mut self,
        architecture: &str,
        layers: &[Vec<u8>],
        packing: Packing,
        own: &str,
    ) -> Descriptor {
        let kind = match packing {
            Packing::Plain => media_type::OCI_LAYER,
            Packing::Gzip | Packing::Own => media_type::OCI_LAYER_GZIP,
            Packing::Zstd => media_type::OCI_LAYER_ZSTD,
        };
        let descriptors = layers.iter().map(|layer| self.blob(kind, pack(layer, packing))).collect();
        let config = self.blob(media_type::OCI_CONFIG, config(architecture, layers, own));
        let manifest = serde_json::to_vec(&Manifest::new(config, descriptors)).unwrap();
        let mut descriptor = self.blob(media_type::OCI_MANIFEST, manifest);
        descriptor.platform = Some(corten_oci::Platform::new("linux", architecture, ""));
        descriptor
    }

    /// Lists an image in `index.json`.
    pub(crate) fn list(&mut self, mut descriptor: Descriptor, name: Option<&str>) {
        if let Some(name) = name {
            descriptor.annotations.insert(annotation::IMAGE_NAME.to_owned(), name.to_owned());
        }
        self.index.push(descriptor);
    }

    /// The archive; with the documents first or last.
    pub(crate) fn archive(&self, index_first: bool) -> Vec<u8> {
        let index = serde_json::to_vec(&Index::new(self.index.clone())).unwrap();
        let mut parts = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
        if index_first {
            parts.push(("index.json".to_owned(), index));
            parts.extend(self.blobs.iter().cloned());
        } else {
            parts.extend(self.blobs.iter().cloned());
            parts.push(("index.json".to_owned(), index));
        }
        archive(&parts)
    }
}

/// An archive of these files.
pub(crate) fn archive(parts: &[(String, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<(Entry, &[u8])> = parts
        .iter()
        .map(|(path, bytes)| (entry(path, EntryKind::File, 0o644, bytes.len()), bytes.as_slice()))
        .collect();
    tar(&entries)
}

/// This machine's architecture in Go's word, and another.
pub(crate) fn architectures() -> (String, &'static str) {
    let host = corten_oci::Platform::host().architecture;
    let other = if host == "arm64" { "s390x" } else { "arm64" };
    (host, other)
}

/// Two plain layers: the second removes and replaces what the first has.
pub(crate) fn two_layers() -> Vec<Vec<u8>> {
    vec![
        files(&[("etc/", "755"), ("etc/name", "one"), ("etc/gone", "x"), ("tmp/", "1777"), ("bin/sh", "#!")]),
        files(&[("etc/", "755"), ("etc/.wh.gone", ""), ("etc/name", "two"), ("tmp/left", "here")]),
    ]
}
