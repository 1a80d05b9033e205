//! What a list tells of a container.

use std::collections::BTreeMap;

use super::MountPoint;
use crate::document::document;
use crate::image::Descriptor;
use crate::network::EndpointSettings;

document! {
/// One row of `GET /containers/json`.
pub struct Summary {
    /// Full ID.
    id: String = "Id",
    /// Names with a leading slash.
    names: Vec<String> = "Names",
    /// The image as it was asked for, or its ID where that name now means another.
    image: String = "Image",
    /// ID of the image.
    image_id: String = "ImageID",
    /// The platform's manifest of a multi-platform image.
    image_manifest_descriptor: Option<Descriptor> = omitempty "ImageManifestDescriptor",
    /// Program and arguments in one line.
    command: String = "Command",
    /// Seconds since 1970.
    created: i64 = "Created",
    /// Exposed and published ports.
    ports: Vec<Port> = "Ports",
    /// Bytes of its writable layer; only on request.
    size_rw: i64 = omitempty "SizeRw",
    /// Bytes of all its files; only on request.
    size_root_fs: i64 = omitempty "SizeRootFs",
    /// Labels.
    labels: BTreeMap<String, String> = "Labels",
    /// As [`super::State::status`].
    state: String = "State",
    /// For people: `Up 2 minutes`.
    status: String = "Status",
    /// The part of the host configuration that a list tells.
    host_config: SummaryHostConfig = "HostConfig",
    /// Its networks.
    network_settings: SummaryNetworkSettings = "NetworkSettings",
    /// Its mounts.
    mounts: Vec<MountPoint> = "Mounts",
}
}

document! {
/// The part of the host configuration that a list tells.
pub struct SummaryHostConfig {
    /// As [`super::HostConfig::network_mode`].
    network_mode: String = omitempty "NetworkMode",
    /// As [`super::HostConfig::annotations`]; since 1.46.
    annotations: BTreeMap<String, String> = omitempty "Annotations",
}
}

document! {
/// The networks of a container in a list.
pub struct SummaryNetworkSettings {
    /// By network name.
    networks: BTreeMap<String, EndpointSettings> = "Networks" via "crate::null::values",
}
}

document! {
/// One exposed or published port.
pub struct Port {
    /// Address of the host; empty: not published.
    ip: String = omitempty "IP",
    /// Port of the container.
    private_port: u16 = "PrivatePort",
    /// Port of the host; 0: not published.
    public_port: u16 = omitempty "PublicPort",
    /// `tcp`, `udp` or `sctp`.
    protocol: String = "Type",
}
}
