//! Images.

use std::collections::BTreeMap;

use crate::container::Healthcheck;
use crate::document::document;
use crate::null::{Set, is_default, null_if_empty, or_default};

document! {
/// Everything about one image.
pub struct Inspect {
    /// Digest of the manifest or index.
    id: String = "Id",
    /// `name:tag`.
    repo_tags: Vec<String> = "RepoTags",
    /// `name@digest`.
    repo_digests: Vec<String> = "RepoDigests",
    /// Legacy builder only.
    parent: String = "Parent",
    /// Comment of the last history entry.
    comment: String = "Comment",
    /// RFC 3339 with nanoseconds.
    created: String = omitempty "Created",
    /// Legacy.
    docker_version: String = "DockerVersion",
    /// As the image says.
    author: String = "Author",
    /// `amd64`, …
    architecture: String = "Architecture",
    /// `v8`, …
    variant: String = omitempty "Variant",
    /// `linux`.
    os: String = "Os",
    /// Windows only.
    os_version: String = omitempty "OsVersion",
    /// Bytes.
    size: i64 = "Size",
    /// The same; before 1.44.
    virtual_size: i64 = omitempty "VirtualSize",
    /// Where its files are.
    graph_driver: GraphDriver = "GraphDriver",
    /// Its layers.
    root_fs: RootFs = "RootFS",
    /// What this host knows of it.
    metadata: Metadata = "Metadata",
    /// The manifest or index.
    descriptor: Option<Descriptor> = omitempty "Descriptor",
    /// One per platform and attestation; only on request.
    manifests: Option<Vec<serde_json::Value>> = omitempty "Manifests",
    /// Forms of its layers that were dropped, and how they are had again; of Corten's own.
    dropped_forms: Option<Vec<DroppedForm>> = omitempty "DroppedForms",
    /// Defaults for containers.
    config: Option<Config> = "Config",
}
}

/// Defaults for containers. The keys stand in the order of their names, as in Docker, which sorts them; what is empty is
/// `null`, or left out where no container has to have it.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Config {
    /// Windows only.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub args_escaped: bool,
    /// As in [`crate::container::ContainerConfig`].
    #[serde(deserialize_with = "or_default", serialize_with = "null_if_empty")]
    pub cmd: Vec<String>,
    /// As in [`crate::container::ContainerConfig`].
    #[serde(deserialize_with = "or_default", serialize_with = "null_if_empty")]
    pub entrypoint: Vec<String>,
    /// As in [`crate::container::ContainerConfig`].
    #[serde(deserialize_with = "or_default", serialize_with = "null_if_empty")]
    pub env: Vec<String>,
    /// As in [`crate::container::ContainerConfig`].
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub exposed_ports: Set,
    /// As in [`crate::container::ContainerConfig`].
    #[serde(skip_serializing_if = "is_default")]
    pub healthcheck: Option<Healthcheck>,
    /// As in [`crate::container::ContainerConfig`].
    #[serde(deserialize_with = "or_default", serialize_with = "null_if_empty")]
    pub labels: BTreeMap<String, String>,
    /// As in [`crate::container::ContainerConfig`].
    #[serde(deserialize_with = "or_default", serialize_with = "null_if_empty")]
    pub on_build: Vec<String>,
    /// As in [`crate::container::ContainerConfig`].
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub shell: Vec<String>,
    /// As in [`crate::container::ContainerConfig`].
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub stop_signal: String,
    /// As in [`crate::container::ContainerConfig`].
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// As in [`crate::container::ContainerConfig`].
    #[serde(deserialize_with = "or_default", serialize_with = "null_if_empty")]
    pub volumes: Set,
    /// As in [`crate::container::ContainerConfig`].
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
}

document! {
/// Where files are.
pub struct GraphDriver {
    /// Folders; `null` with content-addressed storage.
    data: Option<BTreeMap<String, String>> = "Data",
    /// Storage driver.
    name: String = "Name",
}
}

document! {
/// Layers of an image.
pub struct RootFs {
    /// `layers`.
    kind: String = omitempty "Type",
    /// Digests of the uncompressed layers, lowest first.
    layers: Vec<String> = omitempty "Layers",
}
}

document! {
/// What this host knows of an image.
pub struct Metadata {
    /// RFC 3339 with nanoseconds; the year 1: never.
    last_tag_time: String = omitempty "LastTagTime",
}
}

document! {
/// What leads to a blob.
pub struct Descriptor {
    /// Media type.
    media_type: String = "mediaType",
    /// `sha256:…`.
    digest: String = "digest",
    /// Bytes.
    size: i64 = "size",
    /// Where else it can be had.
    urls: Vec<String> = omitempty "urls",
    /// Annotations.
    annotations: BTreeMap<String, String> = omitempty "annotations",
    /// Of a manifest in an index.
    platform: Option<Platform> = omitempty "platform",
    /// Of an artifact.
    artifact_type: String = omitempty "artifactType",
}
}

document! {
/// What an image runs on.
pub struct Platform {
    /// `amd64`, …
    architecture: String = "architecture",
    /// `linux`.
    os: String = "os",
    /// Windows only.
    os_version: String = omitempty "os.version",
    /// Windows only.
    os_features: Vec<String> = omitempty "os.features",
    /// `v8`, …
    variant: String = omitempty "variant",
}
}

document! {
/// One row of `GET /images/json`.
pub struct Summary {
    /// Containers that use it; -1: not counted.
    containers: i64 = "Containers",
    /// Seconds since 1970.
    created: i64 = "Created",
    /// Digest of the manifest or index.
    id: String = "Id",
    /// `null` when the image has none.
    labels: Option<BTreeMap<String, String>> = "Labels",
    /// Legacy builder only.
    parent_id: String = "ParentId",
    /// The manifest or index.
    descriptor: Option<Descriptor> = omitempty "Descriptor",
    /// One per platform and attestation; only on request.
    manifests: Option<Vec<serde_json::Value>> = omitempty "Manifests",
    /// `name@digest`.
    repo_digests: Vec<String> = "RepoDigests",
    /// `name:tag`.
    repo_tags: Vec<String> = "RepoTags",
    /// Bytes shared with other images; -1: not counted.
    shared_size: i64 = "SharedSize",
    /// Bytes.
    size: i64 = "Size",
    /// The same; before 1.44.
    virtual_size: i64 = omitempty "VirtualSize",
}
}

document! {
/// One step an image was made by.
pub struct HistoryItem {
    /// Comment.
    comment: String = "Comment",
    /// Seconds since 1970.
    created: i64 = "Created",
    /// The instruction.
    created_by: String = "CreatedBy",
    /// ID of the image of this step; `<missing>`: not here.
    id: String = "Id",
    /// Bytes it added.
    size: i64 = "Size",
    /// Names of that image.
    tags: Option<Vec<String>> = "Tags",
}
}

document! {
/// One thing that a removal did.
pub struct DeleteResponse {
    /// A digest that is gone.
    deleted: String = omitempty "Deleted",
    /// A name that is gone.
    untagged: String = omitempty "Untagged",
}
}

document! {
/// A form of a layer that is not on the disk.
pub struct DroppedForm {
    /// `compressed` or `unpacked`.
    form: String = "Form",
    /// The compressed layer as its manifest names it, or the stack of layers (chain ID) that the folder is the top of.
    digest: String = "Digest",
    /// Bytes that it had.
    size: u64 = "Size",
    /// How it is had again: `unpacking`, `compressing`, or the name of the repository that has it.
    again: String = "Again",
}
}

document! {
/// The answer to `POST /images/prune`.
pub struct PruneReport {
    /// What was removed; none at all is `null`.
    images_deleted: Option<Vec<DeleteResponse>> = "ImagesDeleted",
    /// Bytes freed.
    space_reclaimed: u64 = "SpaceReclaimed",
}
}
