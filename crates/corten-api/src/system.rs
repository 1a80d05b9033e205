//! The daemon and its host.

use std::collections::BTreeMap;

use crate::document::document;
use crate::{container, image, volume};

document! {
/// The answer to `GET /version`.
pub struct Version {
    /// What the product is called.
    platform: VersionPlatform = "Platform",
    /// Its parts.
    components: Vec<Component> = omitempty "Components",
    /// Of the engine.
    version: String = "Version",
    /// Newest API version.
    api_version: String = "ApiVersion",
    /// Oldest API version.
    min_api_version: String = omitempty "MinAPIVersion",
    /// What it was built from.
    git_commit: String = "GitCommit",
    /// What it was built with.
    go_version: String = "GoVersion",
    /// `linux`.
    os: String = "Os",
    /// `amd64`, …
    arch: String = "Arch",
    /// Of the host.
    kernel_version: String = omitempty "KernelVersion",
    /// Whether experimental features are on.
    experimental: bool = omitempty "Experimental",
    /// When it was built.
    build_time: String = omitempty "BuildTime",
}
}

document! {
/// What the product is called.
pub struct VersionPlatform {
    /// Its name.
    name: String = "Name",
}
}

document! {
/// One part of the engine.
pub struct Component {
    /// Its name.
    name: String = "Name",
    /// Its version.
    version: String = "Version",
    /// More about it.
    details: BTreeMap<String, String> = omitempty "Details",
}
}

document! {
/// The answer to `GET /info`.
pub struct Info {
    /// Of this daemon.
    id: String = "ID",
    /// All containers.
    containers: i64 = "Containers",
    /// Running ones.
    containers_running: i64 = "ContainersRunning",
    /// Paused ones.
    containers_paused: i64 = "ContainersPaused",
    /// Neither running nor paused.
    containers_stopped: i64 = "ContainersStopped",
    /// Images.
    images: i64 = "Images",
    /// Storage driver.
    driver: String = "Driver",
    /// Facts about it, name and value.
    driver_status: Vec<[String; 2]> = "DriverStatus",
    /// Drivers by kind.
    plugins: PluginsInfo = "Plugins",
    /// Whether memory can be limited.
    memory_limit: bool = "MemoryLimit",
    /// Whether swap can be limited.
    swap_limit: bool = "SwapLimit",
    /// Whether kernel memory for TCP can be limited; cgroup v1 only.
    kernel_memory_tcp: bool = omitempty "KernelMemoryTCP",
    /// Whether CPU periods can be set.
    cpu_cfs_period: bool = "CpuCfsPeriod",
    /// Whether CPU quotas can be set.
    cpu_cfs_quota: bool = "CpuCfsQuota",
    /// Whether CPU shares can be set.
    cpu_shares: bool = "CPUShares",
    /// Whether CPUs can be chosen.
    cpu_set: bool = "CPUSet",
    /// Whether processes can be limited.
    pids_limit: bool = "PidsLimit",
    /// Whether the host forwards.
    ipv4_forwarding: bool = "IPv4Forwarding",
    /// Whether the daemon logs debug lines.
    debug: bool = "Debug",
    /// Open descriptors.
    nfd: i64 = "NFd",
    /// Whether killing for memory can be switched off.
    oom_kill_disable: bool = "OomKillDisable",
    /// Goroutines, here tasks.
    n_goroutines: i64 = "NGoroutines",
    /// RFC 3339 with nanoseconds.
    system_time: String = "SystemTime",
    /// Default log driver.
    logging_driver: String = "LoggingDriver",
    /// `cgroupfs`.
    cgroup_driver: String = "CgroupDriver",
    /// `1` or `2`.
    cgroup_version: String = omitempty "CgroupVersion",
    /// Clients that follow events.
    n_events_listener: i64 = "NEventsListener",
    /// Of the host.
    kernel_version: String = "KernelVersion",
    /// Of the host.
    operating_system: String = "OperatingSystem",
    /// Of the host.
    os_version: String = "OSVersion",
    /// `linux`.
    os_type: String = "OSType",
    /// `x86_64`, …
    architecture: String = "Architecture",
    /// Docker Hub's.
    index_server_address: String = "IndexServerAddress",
    /// Registries.
    registry_config: Option<RegistryConfig> = "RegistryConfig",
    /// CPUs.
    ncpu: i64 = "NCPU",
    /// Bytes.
    mem_total: i64 = "MemTotal",
    /// Swarm only.
    generic_resources: Option<Vec<serde_json::Value>> = "GenericResources",
    /// Where data is.
    docker_root_dir: String = "DockerRootDir",
    /// Proxy of the daemon.
    http_proxy: String = "HttpProxy",
    /// Proxy of the daemon.
    https_proxy: String = "HttpsProxy",
    /// Hosts that need no proxy.
    no_proxy: String = "NoProxy",
    /// Host name.
    name: String = "Name",
    /// Of the daemon.
    labels: Vec<String> = "Labels",
    /// Whether experimental features are on.
    experimental_build: bool = "ExperimentalBuild",
    /// Of the engine.
    server_version: String = "ServerVersion",
    /// By name.
    runtimes: BTreeMap<String, Runtime> = "Runtimes",
    /// Its name.
    default_runtime: String = "DefaultRuntime",
    /// Always inactive.
    swarm: SwarmInfo = "Swarm",
    /// Whether containers outlive the daemon.
    live_restore_enabled: bool = "LiveRestoreEnabled",
    /// Windows only.
    isolation: String = "Isolation",
    /// Program of `--init`.
    init_binary: String = "InitBinary",
    /// Docker's own parts.
    containerd_commit: Commit = "ContainerdCommit",
    /// Docker's own parts.
    runc_commit: Commit = "RuncCommit",
    /// Docker's own parts.
    init_commit: Commit = "InitCommit",
    /// `name=seccomp,profile=builtin`, …
    security_options: Vec<String> = "SecurityOptions",
    /// Docker's own.
    product_license: String = omitempty "ProductLicense",
    /// Where new networks get their ranges.
    default_address_pools: Vec<AddressPool> = omitempty "DefaultAddressPools",
    /// What filters packets; since 1.49.
    firewall_backend: Option<FirewallInfo> = omitempty "FirewallBackend",
    /// Folders of device descriptions.
    cdi_spec_dirs: Vec<String> = "CDISpecDirs",
    /// What does not work here.
    warnings: Option<Vec<String>> = "Warnings",
}
}

document! {
/// Drivers by kind.
pub struct PluginsInfo {
    /// Volume drivers.
    volume: Vec<String> = "Volume",
    /// Network drivers.
    network: Vec<String> = "Network",
    /// Authorisation plug-ins.
    authorization: Option<Vec<String>> = "Authorization",
    /// Log drivers.
    log: Vec<String> = "Log",
}
}

document! {
/// Registries the daemon knows. The keys of this one and of [`IndexInfo`] are sorted, as in Docker.
pub struct RegistryConfig {
    /// By host.
    index_configs: BTreeMap<String, IndexInfo> = "IndexConfigs",
    /// Ranges where plain HTTP is allowed.
    insecure_registry_cidrs: Vec<String> = "InsecureRegistryCIDRs",
    /// Of Docker Hub.
    mirrors: Option<Vec<String>> = "Mirrors",
}
}

document! {
/// One registry.
pub struct IndexInfo {
    /// Its mirrors.
    mirrors: Vec<String> = "Mirrors",
    /// Its host.
    name: String = "Name",
    /// Whether it is Docker Hub.
    official: bool = "Official",
    /// Whether it needs TLS.
    secure: bool = "Secure",
}
}

document! {
/// A runtime.
pub struct Runtime {
    /// Its program.
    path: String = omitempty "path",
    /// Arguments of the program.
    runtime_args: Vec<String> = omitempty "runtimeArgs",
    /// What it tells of itself.
    status: BTreeMap<String, String> = omitempty "status",
}
}

document! {
/// The Swarm state.
pub struct SwarmInfo {
    /// Empty.
    node_id: String = "NodeID",
    /// Empty.
    node_addr: String = "NodeAddr",
    /// `inactive`.
    local_node_state: String = "LocalNodeState",
    /// False.
    control_available: bool = "ControlAvailable",
    /// Empty.
    error: String = "Error",
    /// None.
    remote_managers: Option<Vec<serde_json::Value>> = "RemoteManagers",
}
}

document! {
/// What a part was built from.
pub struct Commit {
    /// The commit or version.
    id: String = "ID",
    /// The same; before 1.49.
    expected: String = omitempty "Expected",
}
}

document! {
/// Where new networks get their ranges.
pub struct AddressPool {
    /// In CIDR form.
    base: String = "Base",
    /// Prefix length of a range.
    size: i64 = "Size",
}
}

document! {
/// What filters packets.
pub struct FirewallInfo {
    /// `nftables`.
    driver: String = "Driver",
    /// Facts about it, name and value.
    info: Vec<[String; 2]> = omitempty "Info",
}
}

document! {
/// The answer to `GET /system/df`.
pub struct DiskUsage {
    /// Bytes of all image layers.
    layers_size: i64 = "LayersSize",
    /// `null` when not asked for.
    images: Option<Vec<image::Summary>> = "Images",
    /// `null` when not asked for.
    containers: Option<Vec<container::Summary>> = "Containers",
    /// `null` when not asked for.
    volumes: Option<Vec<volume::Volume>> = "Volumes",
    /// `null` when not asked for.
    build_cache: Option<Vec<serde_json::Value>> = "BuildCache",
}
}

document! {
/// The answer to `POST /build/prune`.
pub struct BuildPruneReport {
    /// What was removed; none at all is `null`.
    caches_deleted: Option<Vec<String>> = "CachesDeleted",
    /// Bytes freed.
    space_reclaimed: u64 = "SpaceReclaimed",
}
}
