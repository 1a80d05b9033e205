//! What inspect tells of a container.

use std::collections::BTreeMap;

use super::{ContainerConfig, HostConfig, PortMap};
use crate::document::document;
use crate::image::{Descriptor, GraphDriver};
use crate::network::{Address, EndpointSettings};

document! {
/// Everything about one container.
pub struct Inspect {
    /// Full ID.
    id: String = "Id",
    /// RFC 3339 with nanoseconds.
    created: String = "Created",
    /// The program.
    path: String = "Path",
    /// Its arguments.
    args: Vec<String> = "Args",
    /// What it does now.
    state: State = "State",
    /// ID of the image.
    image: String = "Image",
    /// `/etc/resolv.conf` on the host; empty before the first start.
    resolv_conf_path: String = "ResolvConfPath",
    /// `/etc/hostname` on the host.
    hostname_path: String = "HostnamePath",
    /// `/etc/hosts` on the host.
    hosts_path: String = "HostsPath",
    /// The log file.
    log_path: String = "LogPath",
    /// Name with a leading slash.
    name: String = "Name",
    /// Restarts by its policy.
    restart_count: i64 = "RestartCount",
    /// Storage driver.
    driver: String = "Driver",
    /// `linux`.
    platform: String = "Platform",
    /// SELinux label of its files.
    mount_label: String = "MountLabel",
    /// SELinux label of its processes.
    process_label: String = "ProcessLabel",
    /// AppArmor profile.
    app_armor_profile: String = "AppArmorProfile",
    /// Running execs; `null` when there is none.
    exec_ids: Option<Vec<String>> = "ExecIDs",
    /// As asked for, with defaults.
    host_config: HostConfig = "HostConfig",
    /// Where its files are.
    graph_driver: GraphDriver = "GraphDriver",
    /// Bytes of its writable layer; only on request.
    size_rw: Option<i64> = omitempty "SizeRw",
    /// Bytes of all its files; only on request.
    size_root_fs: Option<i64> = omitempty "SizeRootFs",
    /// Its mounts.
    mounts: Vec<MountPoint> = "Mounts",
    /// As asked for, with the image's defaults.
    config: ContainerConfig = "Config",
    /// Its networks.
    network_settings: NetworkSettings = "NetworkSettings",
    /// The platform's manifest of a multi-platform image.
    image_manifest_descriptor: Option<Descriptor> = omitempty "ImageManifestDescriptor",
}
}

document! {
/// What a container does now.
pub struct State {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    status: String = "Status",
    /// Whether it has a process, paused or restarting included.
    running: bool = "Running",
    /// Whether it is paused.
    paused: bool = "Paused",
    /// Whether its policy starts it again.
    restarting: bool = "Restarting",
    /// Whether the kernel killed it for memory.
    oom_killed: bool = "OOMKilled",
    /// Whether its removal failed.
    dead: bool = "Dead",
    /// Process 1 as the host sees it; 0: none.
    pid: i32 = "Pid",
    /// Last exit code.
    exit_code: i64 = "ExitCode",
    /// Why the last start failed.
    error: String = "Error",
    /// RFC 3339 with nanoseconds; the year 1: never.
    started_at: String = "StartedAt",
    /// RFC 3339 with nanoseconds; the year 1: never.
    finished_at: String = "FinishedAt",
    /// Its health, where it has a check.
    health: Option<Health> = omitempty "Health",
}
}

document! {
/// A container's health.
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    status: String = "Status",
    /// Failures in a row.
    failing_streak: i64 = "FailingStreak",
    /// The last five checks, oldest first.
    log: Option<Vec<HealthcheckResult>> = "Log",
}
}

document! {
/// One check.
pub struct HealthcheckResult {
    /// RFC 3339 with nanoseconds.
    start: String = "Start",
    /// RFC 3339 with nanoseconds.
    end: String = "End",
    /// 0 healthy, 1 unhealthy, -1 could not be run.
    exit_code: i64 = "ExitCode",
    /// What it printed.
    output: String = "Output",
}
}

document! {
/// A mount of a container as it stands.
pub struct MountPoint {
    /// `bind`, `volume`, `tmpfs` or `image`.
    kind: String = omitempty "Type",
    /// Name of the volume.
    name: String = omitempty "Name",
    /// Path on the host; empty for a temporary filesystem.
    source: String = "Source",
    /// Path inside.
    destination: String = "Destination",
    /// Driver of the volume.
    driver: String = omitempty "Driver",
    /// Options as given.
    mode: String = "Mode",
    /// Whether it can be written.
    rw: bool = "RW",
    /// `rprivate`, …; empty for volumes.
    propagation: String = "Propagation",
}
}

document! {
/// The networks of a container and what was published.
pub struct NetworkSettings {
    /// Deprecated.
    bridge: String = "Bridge",
    /// ID of its network stack.
    sandbox_id: String = "SandboxID",
    /// Path of its network namespace.
    sandbox_key: String = "SandboxKey",
    /// Published ports; exposed but unpublished ones have `null`.
    ports: PortMap = "Ports",
    /// Deprecated.
    hairpin_mode: bool = "HairpinMode",
    /// Deprecated.
    link_local_ipv6_address: String = "LinkLocalIPv6Address",
    /// Deprecated.
    link_local_ipv6_prefix_len: i64 = "LinkLocalIPv6PrefixLen",
    /// Deprecated.
    secondary_ip_addresses: Option<Vec<Address>> = "SecondaryIPAddresses",
    /// Deprecated.
    secondary_ipv6_addresses: Option<Vec<Address>> = "SecondaryIPv6Addresses",
    /// Of the default bridge.
    endpoint_id: String = "EndpointID",
    /// Of the default bridge.
    gateway: String = "Gateway",
    /// Of the default bridge.
    global_ipv6_address: String = "GlobalIPv6Address",
    /// Of the default bridge.
    global_ipv6_prefix_len: i64 = "GlobalIPv6PrefixLen",
    /// Of the default bridge.
    ip_address: String = "IPAddress",
    /// Of the default bridge.
    ip_prefix_len: i64 = "IPPrefixLen",
    /// Of the default bridge.
    ipv6_gateway: String = "IPv6Gateway",
    /// Of the default bridge.
    mac_address: String = "MacAddress",
    /// By network name.
    networks: BTreeMap<String, EndpointSettings> = "Networks" via "crate::null::values",
}
}
