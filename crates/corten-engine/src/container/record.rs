//! What is saved of a container, and where.
//!
//! ```text
//! redb, table "containers": ID → Record               a container that must survive a power cut
//! EXEC_ROOT/containers/ID/container.json  Record      a `--rm` container; its whole folder goes with it
//! DATA_ROOT/containers/ID/state.json      Lifecycle   of the first kind, replaced at each change, never synced
//! DATA_ROOT/containers/ID/ID-json.log, hosts, hostname, resolv.conf
//! EXEC_ROOT/containers/ID/                            the shim's folder while it runs: shim.sock, exit.json
//! ```

use corten_api::container::{ContainerConfig, HostConfig};
use corten_api::network::EndpointSettings;
use corten_std::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a container is: everything that was decided when it was created, and its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// Without the leading slash.
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    /// The image's digest, `sha256:…`; empty for a container over a plain folder (`--rootfs`).
    pub(crate) image: String,
    /// The image's platform as Docker tells it: `linux`.
    pub(crate) platform: String,
    /// The request, merged with the image's defaults.
    pub(crate) config: ContainerConfig,
    /// The request, with every default filled in.
    pub(crate) host_config: HostConfig,
    /// Networks by name; addresses are filled in while it runs (see `handle::View`).
    pub(crate) networks: BTreeMap<String, EndpointSettings>,
    /// What is mounted, in the order of mounting.
    pub(crate) mounts: Vec<Mounted>,
    /// The program: the entrypoint's first word, or the command's.
    pub(crate) path: String,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// Host name inside, decided at create.
    pub(crate) hostname: String,
    /// The key of the writable layer in the store's snapshots; none for `--rootfs`.
    pub(crate) snapshot: Option<String>,
    /// SELinux label of its processes; empty: none of its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) process_label: String,
    /// SELinux label of its files; empty: those that they have.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) mount_label: String,
}

/// One mount of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mounted {
    pub(crate) kind: MountKind,
    /// Absolute, cleaned path inside.
    pub(crate) destination: String,
    pub(crate) read_only: bool,
    /// `rprivate` and its like for binds; empty for the others.
    pub(crate) propagation: String,
    /// The mode as typed, `ro,z`; what inspect shows.
    pub(crate) mode: String,
    /// Only for binds: whether mounts below the source come too.
    pub(crate) recursive: bool,
    /// How far down a read-only mount is read-only.
    #[serde(default)]
    pub(crate) read_only_depth: ReadOnlyDepth,
}

/// How far down a read-only mount is read-only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReadOnlyDepth {
    /// This mount alone: what older programs did, and what older clients and `bind-recursive=writable` ask for.
    #[default]
    Top,
    /// Everything mounted below it too, where the kernel can (since 5.12).
    Tree,
    /// The same, and refused where it cannot (`bind-recursive=readonly`).
    Forced,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MountKind {
    /// A path of the host.
    Bind {
        source: PathBuf,
        /// Made at start where it is missing (`-v`), refused where it is (`--mount`).
        create: bool,
    },
    /// A volume.
    Volume {
        name: String,
        driver: String,
        /// Its content on the host.
        source: PathBuf,
        /// A folder below the content instead of the whole.
        subpath: String,
        /// It had no name, so it is removed with the container (`rm -v`, `--rm`).
        anonymous: bool,
        /// Filled from the image before the first start, if it is empty then.
        copy: bool,
    },
    /// Memory.
    Tmpfs {
        /// Options of mount(8): `size=64m,mode=1777`.
        options: String,
    },
    /// The files of an image, read only.
    Image {
        /// As it was asked for.
        name: String,
        /// A view in the store's snapshots, which keeps the image's layers.
        snapshot: String,
        /// A folder or file of it instead of the whole.
        subpath: String,
    },
}

impl Record {
    /// Whether it goes when its program ends.
    pub(crate) fn auto_remove(&self) -> bool {
        self.host_config.auto_remove
    }

    /// The names of its volumes that have no name of their own.
    pub(crate) fn anonymous_volumes(&self) -> impl Iterator<Item = &str> {
        self.mounts.iter().filter_map(|mounted| match &mounted.kind {
            MountKind::Volume { name, anonymous: true, .. } => Some(name.as_str()),
            _ => None,
        })
    }

    /// The keys of the views of the images that it mounts.
    pub(crate) fn image_views(&self) -> impl Iterator<Item = &str> {
        self.mounts.iter().filter_map(|mounted| match &mounted.kind {
            MountKind::Image { snapshot, .. } => Some(snapshot.as_str()),
            _ => None,
        })
    }

    /// The SELinux label of its files, where it has one.
    pub(crate) fn mount_label(&self) -> Option<&str> {
        Some(self.mount_label.as_str()).filter(|label| !label.is_empty())
    }

    /// The SELinux label of its processes. One with every right has none.
    pub(crate) fn process_label(&self) -> Option<String> {
        let label = Some(&self.process_label).filter(|label| !label.is_empty());
        label.filter(|_| !self.host_config.privileged).cloned()
    }

    /// The names of all its volumes.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = &str> {
        self.mounts.iter().filter_map(|mounted| match &mounted.kind {
            MountKind::Volume { name, .. } => Some(name.as_str()),
            _ => None,
        })
    }

    /// Attributes of its events: its labels, its image and its name.
    pub(crate) fn event_attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = self.config.labels.clone();
        attributes.insert("image".to_owned(), self.config.image.clone());
        attributes.insert("name".to_owned(), self.name.clone());
        attributes
    }

    /// The attributes with some more.
    pub(crate) fn event_attributes_with<const N: usize>(
        &self,
        more: [(&str, String); N],
    ) -> BTreeMap<String, String> {
        let mut attributes = self.event_attributes();
        attributes.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value)));
        attributes
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// A plain record for unit tests.
    pub(crate) fn record(id: &str, name: &str) -> Record {
        Record {
            id: id.to_owned(),
            name: name.to_owned(),
            created: Timestamp::from_unix(1_700_000_000, 0),
            image: String::new(),
            platform: "linux".to_owned(),
            config: ContainerConfig::default(),
            host_config: HostConfig::default(),
            networks: BTreeMap::new(),
            mounts: Vec::new(),
            path: "true".to_owned(),
            arguments: Vec::new(),
            hostname: id.chars().take(12).collect(),
            snapshot: None,
            process_label: String::new(),
            mount_label: String::new(),
        }
    }
}
