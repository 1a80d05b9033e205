//! How a container runs on its host.

use std::collections::BTreeMap;

use crate::document::document;
use crate::null::Empty;

/// Published ports: for each container port (`80/tcp`) its bindings on the host; `None` where none was asked for or made.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

/// A set of ports, `80/tcp`.
pub type PortSet = BTreeMap<String, Empty>;

document! {
/// How a container runs on its host. Lists are `null` on the wire when they were not given, `[]` when given empty.
pub struct HostConfig {
    /// Volumes and bind mounts in the short form `source:destination[:options]`.
    binds: Option<Vec<String>> = "Binds",
    /// File on the client's side that got the ID.
    container_id_file: String = "ContainerIDFile",
    /// Where output goes.
    log_config: LogConfig = "LogConfig",
    /// `default`, `bridge`, `none`, `host`, `container:ID` or a network's name.
    network_mode: String = "NetworkMode",
    /// Host bindings asked for, by container port.
    port_bindings: Option<PortMap> = "PortBindings",
    /// What happens at its end.
    restart_policy: RestartPolicy = "RestartPolicy",
    /// Whether it is removed at its end.
    auto_remove: bool = "AutoRemove",
    /// Driver of volumes made for it.
    volume_driver: String = "VolumeDriver",
    /// Containers whose volumes it shares, `ID[:ro|rw]`.
    volumes_from: Option<Vec<String>> = "VolumesFrom",
    /// Rows and columns of the first terminal.
    console_size: [u32; 2] = "ConsoleSize",
    /// Annotations of the runtime document.
    annotations: BTreeMap<String, String> = omitempty "Annotations",
    /// Capabilities added, with or without `CAP_`, or `ALL`.
    cap_add: Option<Vec<String>> = "CapAdd" via "crate::null::words",
    /// Capabilities dropped.
    cap_drop: Option<Vec<String>> = "CapDrop" via "crate::null::words",
    /// `host`, `private` or empty for the daemon's default.
    cgroupns_mode: String = "CgroupnsMode",
    /// Name servers.
    dns: Option<Vec<String>> = "Dns",
    /// Resolver options.
    dns_options: Option<Vec<String>> = "DnsOptions",
    /// Search domains.
    dns_search: Option<Vec<String>> = "DnsSearch",
    /// `host:address` lines of `/etc/hosts`.
    extra_hosts: Option<Vec<String>> = "ExtraHosts",
    /// Further groups of the program.
    group_add: Option<Vec<String>> = "GroupAdd",
    /// `none`, `private`, `shareable`, `host`, `container:ID` or empty.
    ipc_mode: String = "IpcMode",
    /// Cgroup of another container to join; not in use.
    cgroup: String = "Cgroup",
    /// Legacy links, `container:alias`.
    links: Option<Vec<String>> = "Links",
    /// -1000 to 1000.
    oom_score_adj: i32 = "OomScoreAdj",
    /// `host`, `container:ID` or empty.
    pid_mode: String = "PidMode",
    /// Whether it has all of the host's powers.
    privileged: bool = "Privileged",
    /// Whether every exposed port gets a free host port.
    publish_all_ports: bool = "PublishAllPorts",
    /// Whether its root filesystem is read-only.
    readonly_rootfs: bool = "ReadonlyRootfs",
    /// `no-new-privileges`, `seccomp=…`, `apparmor=…`, `label=…`.
    security_opt: Option<Vec<String>> = "SecurityOpt",
    /// Options of its writable layer, `size=…`.
    storage_opt: BTreeMap<String, String> = omitempty "StorageOpt",
    /// Temporary filesystems: path to mount options.
    tmpfs: BTreeMap<String, String> = omitempty "Tmpfs",
    /// `host` or empty.
    uts_mode: String = "UTSMode",
    /// `host` or empty.
    userns_mode: String = "UsernsMode",
    /// Bytes of `/dev/shm`; 0: 64 MiB.
    shm_size: i64 = "ShmSize",
    /// Kernel settings of its namespaces.
    sysctls: BTreeMap<String, String> = omitempty "Sysctls",
    /// Name of the runtime.
    runtime: String = omitempty "Runtime",
    /// Windows only.
    isolation: String = "Isolation",
    /// Relative weight against other containers; 0: 1024.
    cpu_shares: i64 = "CpuShares",
    /// Bytes; 0: no limit.
    memory: i64 = "Memory",
    /// Billionths of a CPU; 0: no limit.
    nano_cpus: i64 = "NanoCpus",
    /// Parent cgroup; empty: the daemon's.
    cgroup_parent: String = "CgroupParent",
    /// 10 to 1000; 0: unset.
    blkio_weight: u16 = "BlkioWeight",
    /// Weight by device.
    blkio_weight_device: Option<Vec<WeightDevice>> = "BlkioWeightDevice",
    /// Read limit by device in bytes per second.
    blkio_device_read_bps: Option<Vec<ThrottleDevice>> = "BlkioDeviceReadBps",
    /// Write limit by device in bytes per second.
    blkio_device_write_bps: Option<Vec<ThrottleDevice>> = "BlkioDeviceWriteBps",
    /// Read limit by device in operations per second.
    blkio_device_read_iops: Option<Vec<ThrottleDevice>> = "BlkioDeviceReadIOps",
    /// Write limit by device in operations per second.
    blkio_device_write_iops: Option<Vec<ThrottleDevice>> = "BlkioDeviceWriteIOps",
    /// Length of a scheduler period in microseconds; 0: 100 000.
    cpu_period: i64 = "CpuPeriod",
    /// CPU time in a period in microseconds; 0: no limit.
    cpu_quota: i64 = "CpuQuota",
    /// Microseconds.
    cpu_realtime_period: i64 = "CpuRealtimePeriod",
    /// Microseconds.
    cpu_realtime_runtime: i64 = "CpuRealtimeRuntime",
    /// CPUs it may use, `0-2,4`.
    cpuset_cpus: String = "CpusetCpus",
    /// Memory nodes it may use.
    cpuset_mems: String = "CpusetMems",
    /// Devices of the host that appear inside.
    devices: Option<Vec<DeviceMapping>> = "Devices",
    /// Rules of the device cgroup, `c 42:* rmw`.
    device_cgroup_rules: Option<Vec<String>> = "DeviceCgroupRules",
    /// Devices asked of drivers (GPUs, CDI).
    device_requests: Option<Vec<DeviceRequest>> = "DeviceRequests",
    /// Obsolete limit, bytes.
    kernel_memory: i64 = omitempty "KernelMemory",
    /// Obsolete limit, bytes.
    kernel_memory_tcp: i64 = omitempty "KernelMemoryTCP",
    /// Soft limit, bytes.
    memory_reservation: i64 = "MemoryReservation",
    /// Bytes of memory and swap together; -1: no limit; 0: twice the memory.
    memory_swap: i64 = "MemorySwap",
    /// 0 to 100; -1 or none: the host's.
    memory_swappiness: Option<i64> = "MemorySwappiness",
    /// Whether the kernel must not kill it for memory.
    oom_kill_disable: Option<bool> = "OomKillDisable",
    /// Processes and threads; 0, -1 or none: no limit.
    pids_limit: Option<i64> = "PidsLimit",
    /// Resource limits of its processes.
    ulimits: Option<Vec<Ulimit>> = "Ulimits",
    /// Windows only.
    cpu_count: i64 = "CpuCount",
    /// Windows only.
    cpu_percent: i64 = "CpuPercent",
    /// Windows only.
    io_maximum_iops: u64 = "IOMaximumIOps",
    /// Windows only.
    io_maximum_bandwidth: u64 = "IOMaximumBandwidth",
    /// Mounts in the long form.
    mounts: Vec<Mount> = omitempty "Mounts",
    /// Paths that are hidden; none: the default ones; empty: no path.
    masked_paths: Option<Vec<String>> = "MaskedPaths",
    /// Paths that are read-only; none: the default ones; empty: no path.
    readonly_paths: Option<Vec<String>> = "ReadonlyPaths",
    /// Whether an init of ours is process 1; none: the daemon's default.
    init: Option<bool> = omitempty "Init",
    /// A folder of the host that is the root filesystem, copy-on-write, in place of an image. Corten's own; Docker
    /// has no such key.
    rootfs: Option<String> = omitempty "Rootfs",
}
}

/// The body of an update: a [`HostConfig`] of which the resources and the restart policy count.
pub type UpdateRequest = HostConfig;

document! {
/// Where output goes.
pub struct LogConfig {
    /// Name of the log driver; empty: the daemon's default.
    driver: String = "Type",
    /// Options of the driver.
    config: Option<BTreeMap<String, String>> = "Config",
}
}

document! {
/// What happens at a container's end.
pub struct RestartPolicy {
    /// `no` or empty, `always`, `unless-stopped`, `on-failure`.
    name: String = "Name",
    /// Restarts at most, for `on-failure`; 0: no bound.
    maximum_retry_count: i64 = "MaximumRetryCount",
}
}

document! {
/// One address and port of the host that leads to a container's port.
pub struct PortBinding {
    /// Address of the host; empty: every one.
    host_ip: String = "HostIp",
    /// Port or range, in decimal; empty: a free one.
    host_port: String = "HostPort",
}
}

document! {
/// Block device weight.
pub struct WeightDevice {
    /// Device file of the host.
    path: String = "Path",
    /// 10 to 1000.
    weight: u16 = "Weight",
}
}

document! {
/// Block device rate limit.
pub struct ThrottleDevice {
    /// Device file of the host.
    path: String = "Path",
    /// Bytes or operations per second.
    rate: u64 = "Rate",
}
}

document! {
/// A device of the host that appears inside.
pub struct DeviceMapping {
    /// Device file of the host.
    path_on_host: String = "PathOnHost",
    /// Device file inside.
    path_in_container: String = "PathInContainer",
    /// Any of `rwm`.
    cgroup_permissions: String = "CgroupPermissions",
}
}

document! {
/// Devices asked of a driver.
pub struct DeviceRequest {
    /// `nvidia`, `cdi`, …
    driver: String = "Driver",
    /// How many; -1: all.
    count: i64 = "Count",
    /// Which ones.
    device_ids: Option<Vec<String>> = "DeviceIDs",
    /// Alternatives, each a list of capabilities that must all be there.
    capabilities: Option<Vec<Vec<String>>> = "Capabilities",
    /// Options of the driver.
    options: Option<BTreeMap<String, String>> = "Options",
}
}

document! {
/// A resource limit of the container's processes.
pub struct Ulimit {
    /// `nofile`, `nproc`, …
    name: String = "Name",
    /// Upper bound of the soft limit; -1: none.
    hard: i64 = "Hard",
    /// The limit; -1: none.
    soft: i64 = "Soft",
}
}

impl std::str::FromStr for Ulimit {
    type Err = String;

    /// `NAME=SOFT[:HARD]`, with Docker's texts.
    fn from_str(text: &str) -> Result<Self, String> {
        const NAMES: &[&str] = &[
            "as",
            "core",
            "cpu",
            "data",
            "fsize",
            "locks",
            "memlock",
            "msgqueue",
            "nice",
            "nofile",
            "nproc",
            "rss",
            "rtprio",
            "rttime",
            "sigpending",
            "stack",
        ];
        let bad = || format!("invalid ulimit argument: {text}");
        let whole = |text: &str| -> Result<i64, String> {
            text.parse().map_err(|_| format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"))
        };
        let (name, limits) = text.split_once('=').ok_or_else(bad)?;
        if !NAMES.contains(&name) {
            return Err(format!("invalid ulimit type: {name}"));
        }
        let (soft, hard) = match limits.split_once(':') {
            Some((soft, hard)) => (whole(soft)?, whole(hard)?),
            None => (whole(limits)?, whole(limits)?),
        };
        if hard != -1 && (soft > hard || soft == -1) {
            return Err(format!(
                "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
            ));
        }
        Ok(Self { name: name.to_owned(), hard, soft })
    }
}

document! {
/// A mount in the long form.
pub struct Mount {
    /// `bind`, `volume`, `tmpfs`, `image`, `npipe` or `cluster`.
    kind: String = omitempty "Type",
    /// Path on the host, volume name or image.
    source: String = omitempty "Source",
    /// Path inside.
    target: String = omitempty "Target",
    /// Whether it is read-only.
    read_only: bool = omitempty "ReadOnly",
    /// Docker Desktop only.
    consistency: String = omitempty "Consistency",
    /// For binds.
    bind_options: Option<BindOptions> = omitempty "BindOptions",
    /// For volumes.
    volume_options: Option<VolumeOptions> = omitempty "VolumeOptions",
    /// For images.
    image_options: Option<ImageOptions> = omitempty "ImageOptions",
    /// For temporary filesystems.
    tmpfs_options: Option<TmpfsOptions> = omitempty "TmpfsOptions",
}
}

document! {
/// Options of a bind mount.
pub struct BindOptions {
    /// `private`, `rprivate`, `shared`, `rshared`, `slave` or `rslave`; empty: `rprivate`.
    propagation: String = omitempty "Propagation",
    /// Whether mounts below the source stay out.
    non_recursive: bool = omitempty "NonRecursive",
    /// Whether a missing source is made as a folder.
    create_mountpoint: bool = omitempty "CreateMountpoint",
    /// Whether read-only stops at the top mount.
    read_only_non_recursive: bool = omitempty "ReadOnlyNonRecursive",
    /// Whether it is an error when read-only cannot be made recursive.
    read_only_force_recursive: bool = omitempty "ReadOnlyForceRecursive",
}
}

document! {
/// Options of a volume mount.
pub struct VolumeOptions {
    /// Whether an empty volume stays empty instead of getting the image's files.
    no_copy: bool = omitempty "NoCopy",
    /// Labels of a volume made for it.
    labels: BTreeMap<String, String> = omitempty "Labels",
    /// Folder of the volume that is mounted.
    subpath: String = omitempty "Subpath",
    /// Driver of a volume made for it.
    driver_config: Option<DriverConfig> = omitempty "DriverConfig",
}
}

document! {
/// A volume driver with options.
pub struct DriverConfig {
    /// Name of the driver.
    name: String = omitempty "Name",
    /// Options of the driver.
    options: BTreeMap<String, String> = omitempty "Options",
}
}

document! {
/// Options of an image mount.
pub struct ImageOptions {
    /// Folder of the image that is mounted.
    subpath: String = omitempty "Subpath",
}
}

document! {
/// Options of a temporary filesystem.
pub struct TmpfsOptions {
    /// Bytes; 0: no limit.
    size_bytes: i64 = omitempty "SizeBytes",
    /// Permission bits; 0: 01777.
    mode: u32 = omitempty "Mode",
    /// Further mount options, each a flag or a key and its value.
    options: Vec<Vec<String>> = omitempty "Options",
}
}
