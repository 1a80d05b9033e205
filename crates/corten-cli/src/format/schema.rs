//! Docker's own names of the fields of inspected documents.
//!
//! A template given to `inspect -f` is tried against Docker's structs first, whose fields have other names than the
//! document (`.ID` for `Id`, `.HostConfig.NanoCPUs` for `NanoCpus`), always exist, and have a zero value; only where
//! that fails it is tried against the document. So the structs have to be known. One line per struct: `Name=Key:type`,
//! the key left out where it is the same. Types: `s` text, `n` number, `b` truth, `d` duration, `t` time, `a` anything, `[]T`,
//! `{}T` map, `*T` pointer to struct, `T` struct.

use std::collections::HashMap;
use std::sync::OnceLock;

/// What is inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
    /// `info`.
    Info,
    /// `version`.
    Version,
    /// An event.
    Event,
    /// A context.
    Context,
    /// A managed plugin.
    Plugin,
}

impl Kind {
    /// The struct's name in the table below.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Container => "container.InspectResponse",
            Self::Image => "image.InspectResponse",
            Self::Network => "network.Inspect",
            Self::Volume => "volume.Volume",
            Self::Info => "system.dockerInfo",
            Self::Version => "system.versionInfo",
            Self::Event => "events.Message",
            Self::Context => "context.Inspect",
            Self::Plugin => "types.Plugin",
        }
    }
}

/// A field: name in a template, key in the document, type.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) key: &'static str,
    pub(super) kind: &'static str,
}

/// The fields of a struct, or nothing where there is no such struct.
pub(super) fn fields(type_name: &str) -> Option<&'static [Field]> {
    static TABLE: OnceLock<HashMap<&'static str, Vec<Field>>> = OnceLock::new();
    TABLE.get_or_init(read).get(type_name).map(Vec::as_slice)
}

fn read() -> HashMap<&'static str, Vec<Field>> {
    STRUCTS
        .lines()
        .filter_map(|line| {
            let (name, fields) = line.trim().split_once(' ')?;
            let fields = fields.split_whitespace().filter_map(|field| {
                let (names, kind) = field.split_once(':')?;
                let (name, key) = names.split_once('=').unwrap_or((names, names));
                Some(Field { name, key, kind })
            });
            Some((name, fields.collect()))
        })
        .collect()
}

const STRUCTS: &str = "
context.Inspect Name:s Metadata:a Endpoints:a TLSMaterial:a Storage:a
container.InspectResponse ID=Id:s Created:s Path:s Args:[]s State:*container.State Image:s ResolvConfPath:s HostnamePath:s HostsPath:s LogPath:s Name:s RestartCount:n Driver:s Platform:s ImageManifestDescriptor:*v1.Descriptor MountLabel:s ProcessLabel:s AppArmorProfile:s ExecIDs:[]s HostConfig:*container.HostConfig GraphDriver:storage.DriverData SizeRw:*n SizeRootFs:*n Mounts:[]container.MountPoint Config:*container.Config NetworkSettings:*container.NetworkSettings
container.State Status:s Running:b Paused:b Restarting:b OOMKilled:b Dead:b Pid:n ExitCode:n Error:s StartedAt:s FinishedAt:s Health:*container.Health
container.Health Status:s FailingStreak:n Log:[]*container.HealthcheckResult
container.HealthcheckResult Start:t End:t ExitCode:n Output:s
container.MountPoint Type:s Name:s Source:s Destination:s Driver:s Mode:s RW:b Propagation:s
container.Config Hostname:s Domainname:s User:s AttachStdin:b AttachStdout:b AttachStderr:b ExposedPorts:{}a Tty:b OpenStdin:b StdinOnce:b Env:[]s Cmd:[]s Healthcheck:*v1.HealthcheckConfig ArgsEscaped:b Image:s Volumes:{}a WorkingDir:s Entrypoint:[]s NetworkDisabled:b MacAddress:s OnBuild:[]s Labels:{}s StopSignal:s StopTimeout:*n Shell:[]s
v1.HealthcheckConfig Test:[]s Interval:d Timeout:d StartPeriod:d StartInterval:d Retries:n
container.HostConfig Binds:[]s ContainerIDFile:s LogConfig:container.LogConfig NetworkMode:s PortBindings:{}[]nat.PortBinding RestartPolicy:container.RestartPolicy AutoRemove:b VolumeDriver:s VolumesFrom:[]s ConsoleSize:[]n Annotations:{}s CapAdd:[]s CapDrop:[]s CgroupnsMode:s DNS=Dns:[]s DNSOptions=DnsOptions:[]s DNSSearch=DnsSearch:[]s ExtraHosts:[]s GroupAdd:[]s IpcMode:s Cgroup:s Links:[]s OomScoreAdj:n PidMode:s Privileged:b PublishAllPorts:b ReadonlyRootfs:b SecurityOpt:[]s StorageOpt:{}s Tmpfs:{}s UTSMode:s UsernsMode:s ShmSize:n Sysctls:{}s Runtime:s Isolation:s CPUShares=CpuShares:n Memory:n NanoCPUs=NanoCpus:n CgroupParent:s BlkioWeight:n BlkioWeightDevice:[]*blkiodev.WeightDevice BlkioDeviceReadBps:[]*blkiodev.ThrottleDevice BlkioDeviceWriteBps:[]*blkiodev.ThrottleDevice BlkioDeviceReadIOps:[]*blkiodev.ThrottleDevice BlkioDeviceWriteIOps:[]*blkiodev.ThrottleDevice CPUPeriod=CpuPeriod:n CPUQuota=CpuQuota:n CPURealtimePeriod=CpuRealtimePeriod:n CPURealtimeRuntime=CpuRealtimeRuntime:n CpusetCpus:s CpusetMems:s Devices:[]container.DeviceMapping DeviceCgroupRules:[]s DeviceRequests:[]container.DeviceRequest KernelMemory:n KernelMemoryTCP:n MemoryReservation:n MemorySwap:n MemorySwappiness:*n OomKillDisable:*b PidsLimit:*n Ulimits:[]*units.Ulimit CPUCount=CpuCount:n CPUPercent=CpuPercent:n IOMaximumIOps:n IOMaximumBandwidth:n Mounts:[]mount.Mount MaskedPaths:[]s ReadonlyPaths:[]s Init:*b
container.LogConfig Type:s Config:{}s
container.RestartPolicy Name:s MaximumRetryCount:n
container.DeviceMapping PathOnHost:s PathInContainer:s CgroupPermissions:s
container.DeviceRequest Driver:s Count:n DeviceIDs:[]s Capabilities:[]a Options:{}s
nat.PortBinding HostIP=HostIp:s HostPort:s
blkiodev.WeightDevice Path:s Weight:n
blkiodev.ThrottleDevice Path:s Rate:n
units.Ulimit Name:s Hard:n Soft:n
mount.Mount Type:s Source:s Target:s ReadOnly:b Consistency:s BindOptions:*mount.BindOptions VolumeOptions:*mount.VolumeOptions ImageOptions:*mount.ImageOptions TmpfsOptions:*mount.TmpfsOptions
mount.BindOptions Propagation:s NonRecursive:b CreateMountpoint:b ReadOnlyNonRecursive:b ReadOnlyForceRecursive:b
mount.VolumeOptions NoCopy:b Labels:{}s Subpath:s DriverConfig:*mount.Driver
mount.ImageOptions Subpath:s
mount.TmpfsOptions SizeBytes:n Mode:n Options:[]a
mount.Driver Name:s Options:{}s
storage.DriverData Data:{}s Name:s
container.NetworkSettings Bridge:s SandboxID:s SandboxKey:s Ports:{}[]nat.PortBinding HairpinMode:b LinkLocalIPv6Address:s LinkLocalIPv6PrefixLen:n SecondaryIPAddresses:[]a SecondaryIPv6Addresses:[]a EndpointID:s Gateway:s GlobalIPv6Address:s GlobalIPv6PrefixLen:n IPAddress:s IPPrefixLen:n IPv6Gateway:s MacAddress:s Networks:{}*network.EndpointSettings
network.EndpointSettings IPAMConfig:*network.EndpointIPAMConfig Links:[]s Aliases:[]s MacAddress:s DriverOpts:{}s GwPriority:n NetworkID:s EndpointID:s Gateway:s IPAddress:s IPPrefixLen:n IPv6Gateway:s GlobalIPv6Address:s GlobalIPv6PrefixLen:n DNSNames:[]s
network.EndpointIPAMConfig IPv4Address:s IPv6Address:s LinkLocalIPs:[]s
image.InspectResponse ID=Id:s RepoTags:[]s RepoDigests:[]s Parent:s Comment:s Created:s DockerVersion:s Author:s Config:*image.Config Architecture:s Variant:s Os:s OsVersion:s Size:n VirtualSize:n GraphDriver:storage.DriverData RootFS:image.RootFS Metadata:image.Metadata Descriptor:*v1.Descriptor Manifests:[]a
image.Config User:s ExposedPorts:{}a Env:[]s Entrypoint:[]s Cmd:[]s Volumes:{}a WorkingDir:s Labels:{}s StopSignal:s ArgsEscaped:b Memory:n MemorySwap:n CpuShares:n Healthcheck:*v1.HealthcheckConfig OnBuild:[]s Shell:[]s
image.RootFS Type:s Layers:[]s
image.Metadata LastTagTime:s
v1.Descriptor MediaType=mediaType:s Digest=digest:s Size=size:n URLs=urls:[]s Annotations=annotations:{}s Data=data:s Platform=platform:*v1.Platform ArtifactType=artifactType:s
v1.Platform Architecture=architecture:s OS=os:s OSVersion=os.version:s OSFeatures=os.features:[]s Variant=variant:s
network.Inspect Name:s ID=Id:s Created:t Scope:s Driver:s EnableIPv4:b EnableIPv6:b IPAM:network.IPAM Internal:b Attachable:b Ingress:b ConfigFrom:network.ConfigReference ConfigOnly:b Containers:{}network.EndpointResource Options:{}s Labels:{}s Peers:[]a Services:{}a
network.IPAM Driver:s Options:{}s Config:[]network.IPAMConfig
network.IPAMConfig Subnet:s IPRange:s Gateway:s AuxAddress=AuxiliaryAddresses:{}s
network.ConfigReference Network:s
network.EndpointResource Name:s EndpointID:s MacAddress:s IPv4Address:s IPv6Address:s
volume.Volume ClusterVolume:a CreatedAt:s Driver:s Labels:{}s Mountpoint:s Name:s Options:{}s Scope:s Status:{}a UsageData:*volume.UsageData
types.Plugin Config:a Enabled:b ID=Id:s Name:s PluginReference:s Settings:a
volume.UsageData RefCount:n Size:n
events.Message Status=status:s ID=id:s From=from:s Type:s Action:s Actor:events.Actor Scope=scope:s Time=time:n TimeNano=timeNano:n
events.Actor ID:s Attributes:{}s
system.versionInfo Client:system.clientVersion Server:*types.Version
system.clientVersion Platform:system.platformInfo Version:s APIVersion=ApiVersion:s DefaultAPIVersion:s GitCommit:s GoVersion:s Os:s Arch:s BuildTime:s Context:s
system.platformInfo Name:s
types.Version Platform:system.platformInfo Components:[]types.ComponentVersion Version:s APIVersion=ApiVersion:s MinAPIVersion:s GitCommit:s GoVersion:s Os:s Arch:s KernelVersion:s Experimental:b BuildTime:s
types.ComponentVersion Name:s Version:s Details:{}s
system.dockerInfo ID:s Containers:n ContainersRunning:n ContainersPaused:n ContainersStopped:n Images:n Driver:s DriverStatus:[]a SystemStatus:[]a Plugins:system.PluginsInfo MemoryLimit:b SwapLimit:b KernelMemory:b KernelMemoryTCP:b CPUCfsPeriod=CpuCfsPeriod:b CPUCfsQuota=CpuCfsQuota:b CPUShares:b CPUSet:b PidsLimit:b IPv4Forwarding:b Debug:b NFd:n OomKillDisable:b NGoroutines:n SystemTime:s LoggingDriver:s CgroupDriver:s CgroupVersion:s NEventsListener:n KernelVersion:s OperatingSystem:s OSVersion:s OSType:s Architecture:s IndexServerAddress:s RegistryConfig:*a NCPU:n MemTotal:n GenericResources:[]a DockerRootDir:s HTTPProxy=HttpProxy:s HTTPSProxy=HttpsProxy:s NoProxy:s Name:s Labels:[]s ExperimentalBuild:b ServerVersion:s Runtimes:{}a DefaultRuntime:s Swarm:swarm.Info LiveRestoreEnabled:b Isolation:s InitBinary:s ContainerdCommit:system.Commit RuncCommit:system.Commit InitCommit:system.Commit SecurityOptions:[]s ProductLicense:s DefaultAddressPools:[]a FirewallBackend:a CDISpecDirs:[]s DiscoveredDevices:[]a Containerd:a Warnings:[]s ServerErrors:[]s ClientInfo:system.clientInfo
system.PluginsInfo Volume:[]s Network:[]s Authorization:[]s Log:[]s
system.Commit ID:s Expected:s
system.clientInfo Debug:b Version:s GitCommit:s GoVersion:s Os:s Arch:s BuildTime:s Context:s Plugins:[]a Warnings:[]s Platform:a
swarm.Info NodeID:s NodeAddr:s LocalNodeState:s ControlAvailable:b Error:s RemoteManagers:[]a Nodes:n Managers:n Cluster:a Warnings:[]s
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_struct_is_declared() {
        for kind in [
            Kind::Container,
            Kind::Image,
            Kind::Network,
            Kind::Volume,
            Kind::Info,
            Kind::Version,
            Kind::Event,
            Kind::Context,
            Kind::Plugin,
        ] {
            assert!(fields(kind.type_name()).is_some(), "{kind:?}");
        }
        for line in STRUCTS.lines().filter(|line| !line.is_empty()) {
            let (name, _) = line.split_once(' ').unwrap();
            for field in fields(name).unwrap() {
                let inner = field.kind.trim_start_matches(['*', '[', ']', '{', '}']);
                assert!(inner.len() == 1 || fields(inner).is_some(), "{name}.{}: {inner}", field.name);
            }
        }
    }
}
