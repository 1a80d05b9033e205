//! Image documents: descriptors, manifests, indexes, configurations.
//!
//! The types read what OCI and Docker write, Docker's own fields (health check, on-build triggers, shell)
//! included, and keep fields they do not know. A digest names *bytes*: whoever needs a document again as it
//! came keeps its bytes, and does not print the parsed form. Go prints an empty list as `null`: each list
//! and map here reads `null` as empty.

use crate::digest::Digest;
use crate::null_as_default;
use crate::platform::Platform;
use corten_std::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Media types that images are made of.
pub mod media_type {
    /// OCI index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, a plain tar.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, compressed with gzip.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, compressed with zstd.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// `{}`: what stands for a configuration where there is none.
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// Docker's manifest list.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker's layer, a plain tar.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker's layer, compressed with gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

    /// A Docker layer compressed with bzip2; a name of our own.
    pub const DOCKER_LAYER_BZIP2: &str = "application/vnd.docker.image.rootfs.diff.tar.bzip2";
    /// A Docker layer compressed with xz; a name of our own.
    pub const DOCKER_LAYER_XZ: &str = "application/vnd.docker.image.rootfs.diff.tar.xz";

    /// Whether this is an index, OCI's or Docker's.
    pub fn is_index(text: &str) -> bool {
        text == OCI_INDEX || text == DOCKER_INDEX
    }

    /// Whether this is a manifest, OCI's or Docker's.
    pub fn is_manifest(text: &str) -> bool {
        text == OCI_MANIFEST || text == DOCKER_MANIFEST
    }

    /// Whether this is an image's configuration.
    pub fn is_config(text: &str) -> bool {
        text == OCI_CONFIG || text == DOCKER_CONFIG
    }

    /// Whether this is a layer archive in any compression.
    pub fn is_layer(text: &str) -> bool {
        text.starts_with(OCI_LAYER)
            || text.starts_with(DOCKER_LAYER)
            || text.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
            || text.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
    }
}

/// Names of annotations that we read or write.
pub mod annotation {
    /// The full image name, as Docker and containerd write it into archives.
    pub const IMAGE_NAME: &str = "io.containerd.image.name";
    /// The tag, or the full name, of an archive's image.
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
    /// On an attestation: `attestation-manifest`.
    pub const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
    /// On an attestation: the manifest that it speaks of.
    pub const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
}

/// Fields that a type does not name, kept as they came.
pub type Extra = serde_json::Map<String, serde_json::Value>;

/// Points to content: type, digest, length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    #[serde(default)]
    pub media_type: String,
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Other places to fetch it from; never followed.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub urls: Vec<String>,
    /// Free words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    /// For an index's entries: what it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// For artifacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// All else.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Descriptor {
    /// Of content with this media type, digest and length.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
            extra: Extra::new(),
        }
    }

    /// Of these bytes.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// Whether an index's entry is an attestation about another entry rather than an image.
    pub fn is_attestation(&self) -> bool {
        self.annotations.get(annotation::REFERENCE_TYPE).is_some_and(|text| text == "attestation-manifest")
    }
}

/// One image for one platform: its configuration and layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2.
    pub schema_version: u32,
    /// May be left out in OCI's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// For artifacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub layers: Vec<Descriptor>,
    /// What this manifest speaks of (referrers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    /// All else.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Manifest {
    /// The blobs that it consists of: the configuration, then the layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// An OCI manifest of this configuration and these layers.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: media_type::OCI_MANIFEST.to_owned(),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
            extra: Extra::new(),
        }
    }

    /// Whether it is a runnable image rather than an artifact: its configuration says what it is.
    pub fn is_image(&self) -> bool {
        media_type::is_config(&self.config.media_type)
    }
}

/// Several manifests under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// 2.
    pub schema_version: u32,
    /// May be left out in OCI's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// For artifacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The entries.
    #[serde(default, deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// What this index speaks of (referrers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    /// All else.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Index {
    /// An OCI index of these entries.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: media_type::OCI_INDEX.to_owned(),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
            extra: Extra::new(),
        }
    }
}

/// `{}`: the value of a set that JSON writes as a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// An image's configuration document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Docker's: the note of `commit` and `import`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Docker's: the program that made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub docker_version: String,
    /// `amd64`, …
    #[serde(default)]
    pub architecture: String,
    /// `v7`, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// Windows only.
    #[serde(default, rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// What a container of this image does unless told otherwise.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: ContainerDefaults,
    /// The layers' tar archives, uncompressed, lowest first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub rootfs: RootFilesystem,
    /// How it was made, one entry per build step.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub history: Vec<History>,
    /// All else.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ImageConfig {
    /// Reads a configuration's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// What it runs on.
    pub fn platform(&self) -> Platform {
        Platform {
            os_version: self.os_version.clone(),
            ..Platform::new(
                if self.os.is_empty() { "linux" } else { &self.os },
                &self.architecture,
                &self.variant,
            )
        }
    }
}

/// The layers of an image by the digests of their plain tars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFilesystem {
    /// `layers`.
    #[serde(default = "layers_word", rename = "type")]
    pub kind: String,
    /// Lowest first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFilesystem {
    fn default() -> Self {
        Self { kind: layers_word(), diff_ids: Vec::new() }
    }
}

fn layers_word() -> String {
    "layers".to_owned()
}

/// One build step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The command.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// A note.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// What a container of an image does unless told otherwise. Absent and empty lists differ for scripts that
/// print them, hence the options.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::zero_sized_map_values, reason = "the documents write sets as maps to empty objects")]
pub struct ContainerDefaults {
    /// `user[:group]`, names or numbers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `80/tcp` → `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Empty>>,
    /// `NAME=value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// The program; a single text is read as a list of one.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "words")]
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments, or the program where there is no entry point.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "words")]
    pub cmd: Option<Vec<String>>,
    /// Folders that become anonymous volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<BTreeMap<String, Empty>>,
    /// The folder to start in; empty is `/`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal name or number; empty is `SIGTERM`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Docker's: how health is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Docker's: instructions for builds upon this image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
    /// Docker's: the shell of shell forms.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "words")]
    pub shell: Option<Vec<String>>,
    /// All else (old images: `Hostname`, `Image`, `ArgsEscaped`, …).
    #[serde(flatten)]
    pub extra: Extra,
}

/// How a container's health is checked; durations in nanoseconds, 0 is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`; empty inherits.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub test: Vec<String>,
    /// Between checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Of one check.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// In which failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between checks within the start period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the serializer passes a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Reads a list of texts, a single text, or null.
fn words<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Many(Vec<String>),
        One(String),
    }
    Ok(Option::<Words>::deserialize(deserializer)?.map(|words| match words {
        Words::Many(many) => many,
        Words::One(one) => vec![one],
    }))
}

/// The name of a stack of layers: of the lowest its diff ID, of each further one the digest of the name
/// below and its diff ID with a space between (OCI image specification, "Layer ChainID").
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => *diff_id,
            Some(below) => Digest::of(format!("{below} {diff_id}")),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_keeps_what_docker_put_into_it() {
        let text = r#"{"created":"2026-07-11T10:16:37Z","architecture":"amd64","os":"linux","config":{"Env":["A=1"],"Entrypoint":"sh","Cmd":null,"Volumes":{"/data":{}},"Healthcheck":{"Test":["CMD","true"],"Retries":3},"OnBuild":[],"Shell":["/bin/sh","-c"],"ArgsEscaped":true},"rootfs":{"type":"layers","diff_ids":null},"history":null,"moby.buildkit.buildinfo.v1":"x"}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.config.entrypoint, Some(vec!["sh".to_owned()]));
        assert_eq!(config.config.cmd, None);
        assert_eq!(config.config.healthcheck.as_ref().unwrap().retries, 3);
        assert_eq!(config.extra["moby.buildkit.buildinfo.v1"], "x");
        assert_eq!(config.config.extra["ArgsEscaped"], true);
        assert_eq!(config.platform().to_string(), "linux/amd64");
        let again = ImageConfig::parse(&serde_json::to_vec(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn chains_of_layers() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(chain_ids(&[]), []);
        assert_eq!(chain_ids(&[a]), [a]);
        assert_eq!(chain_ids(&[a, b])[1], Digest::of(format!("{a} {b}")));
    }
}
