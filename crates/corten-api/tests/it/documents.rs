//! Golden documents: read, written, compared as text.

use std::collections::BTreeMap;

use corten_api::container::{
    ContainerConfig, CreateRequest, CreateResponse, HostConfig, Inspect, Port, PruneReport, RestartPolicy,
    State, Summary, WaitError, WaitResponse,
};
use corten_api::event::{Actor, Event};
use corten_api::null::Empty;
use corten_api::{exec, image, network, system, volume};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn written(document: &impl Serialize) -> String {
    serde_json::to_string(document).unwrap()
}

fn read<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

/// The keys of a document in order.
fn keys(document: &impl Serialize) -> String {
    let value = serde_json::to_value(document).unwrap();
    value.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// What the docker command 28 sends for `docker create --name c busybox true`.
const CLI_CREATE: &str = r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":true,"AttachStderr":true,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":["true"],"Image":"busybox","Volumes":{},"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{},"HostConfig":{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},"NetworkMode":"default","PortBindings":{},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":false,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[0,0],"CapAdd":null,"CapDrop":null,"CgroupnsMode":"","Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"","UsernsMode":"","ShmSize":0,"Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":[],"BlkioDeviceWriteBps":[],"BlkioDeviceReadIOps":[],"BlkioDeviceWriteIOps":[],"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":[],"DeviceCgroupRules":null,"DeviceRequests":null,"MemoryReservation":0,"MemorySwap":0,"MemorySwappiness":-1,"OomKillDisable":false,"PidsLimit":0,"Ulimits":[],"CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,"MaskedPaths":null,"ReadonlyPaths":null},"NetworkingConfig":{"EndpointsConfig":{"default":{"IPAMConfig":null,"Links":null,"Aliases":null,"MacAddress":"","DriverOpts":null,"GwPriority":0,"NetworkID":"","EndpointID":"","Gateway":"","IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"DNSNames":null}}}}"#;

#[test]
fn a_create_request_of_the_docker_command_comes_back_as_it_was() {
    let request: CreateRequest = read(CLI_CREATE);
    assert_eq!(request.config.cmd.as_deref(), Some(&["true".to_owned()][..]));
    assert_eq!(request.host_config.memory_swappiness, Some(-1));
    assert_eq!(written(&request), CLI_CREATE);
}

#[test]
fn every_key_may_be_null_or_missing_or_unknown() {
    fn check<T: DeserializeOwned + Default + PartialEq + std::fmt::Debug + Serialize>() {
        let default = T::default();
        let mut value = serde_json::to_value(&default).unwrap();
        for (_, inner) in value.as_object_mut().unwrap() {
            *inner = serde_json::Value::Null;
        }
        value.as_object_mut().unwrap().insert("NobodyKnowsThis".to_owned(), serde_json::json!({"a": [1]}));
        assert_eq!(serde_json::from_value::<T>(value).unwrap(), default, "{}", std::any::type_name::<T>());
        assert_eq!(read::<T>("{}"), default, "{}", std::any::type_name::<T>());
    }
    check::<ContainerConfig>();
    check::<HostConfig>();
    check::<CreateRequest>();
    check::<Inspect>();
    check::<State>();
    check::<Summary>();
    check::<exec::CreateRequest>();
    check::<exec::StartRequest>();
    check::<exec::Inspect>();
    check::<image::Inspect>();
    check::<image::Summary>();
    check::<network::CreateRequest>();
    check::<network::EndpointSettings>();
    check::<network::Inspect>();
    check::<volume::CreateRequest>();
    check::<volume::Volume>();
    check::<system::Info>();
    check::<system::Version>();
    check::<system::DiskUsage>();
    check::<Event>();
}

#[test]
fn a_command_may_be_one_string_and_empty_is_not_none() {
    let config: ContainerConfig = read(r#"{"Cmd":"ls","Entrypoint":[],"Shell":null}"#);
    assert_eq!(
        (config.cmd, config.entrypoint, config.shell),
        (Some(vec!["ls".to_owned()]), Some(vec![]), None)
    );
    let request: exec::CreateRequest = read(r#"{"Cmd":["a","b"],"ConsoleSize":[24,80]}"#);
    assert_eq!(request.console_size, Some([24, 80]));
}

#[test]
fn sets_and_maps_take_null_values() {
    let request: CreateRequest = read(
        r#"{"ExposedPorts":{"80/tcp":null,"53/udp":{}},"Volumes":{"/v":{}},
            "HostConfig":{"PortBindings":{"80/tcp":null,"53/udp":[{"HostPort":"5353"}]}},
            "NetworkingConfig":{"EndpointsConfig":{"net":null}}}"#,
    );
    assert_eq!(written(&request.config.exposed_ports), r#"{"53/udp":{},"80/tcp":{}}"#);
    assert_eq!(request.config.volumes, Some(BTreeMap::from([("/v".to_owned(), Empty)])));
    let bindings = request.host_config.port_bindings.unwrap();
    assert_eq!(bindings["80/tcp"], None);
    assert_eq!(written(&bindings["53/udp"]), r#"[{"HostIp":"","HostPort":"5353"}]"#);
    assert_eq!(request.networking_config.endpoints_config["net"], network::EndpointSettings::default());
}

#[test]
fn keys_stand_in_dockers_order() {
    assert_eq!(
        keys(&Inspect::default()),
        "Id Created Path Args State Image ResolvConfPath HostnamePath HostsPath LogPath Name RestartCount Driver \
         Platform MountLabel ProcessLabel AppArmorProfile ExecIDs HostConfig GraphDriver Mounts Config NetworkSettings"
    );
    assert_eq!(
        keys(&HostConfig::default()),
        "Binds ContainerIDFile LogConfig NetworkMode PortBindings RestartPolicy AutoRemove VolumeDriver VolumesFrom \
         ConsoleSize CapAdd CapDrop CgroupnsMode Dns DnsOptions DnsSearch ExtraHosts GroupAdd IpcMode Cgroup Links \
         OomScoreAdj PidMode Privileged PublishAllPorts ReadonlyRootfs SecurityOpt UTSMode UsernsMode ShmSize \
         Isolation CpuShares Memory NanoCpus CgroupParent BlkioWeight BlkioWeightDevice BlkioDeviceReadBps \
         BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps CpuPeriod CpuQuota CpuRealtimePeriod \
         CpuRealtimeRuntime CpusetCpus CpusetMems Devices DeviceCgroupRules DeviceRequests MemoryReservation \
         MemorySwap MemorySwappiness OomKillDisable PidsLimit Ulimits CpuCount CpuPercent IOMaximumIOps \
         IOMaximumBandwidth MaskedPaths ReadonlyPaths"
    );
    assert_eq!(
        keys(&image::Summary::default()),
        "Containers Created Id Labels ParentId RepoDigests RepoTags SharedSize Size"
    );
    assert_eq!(
        keys(&network::Inspect::default()),
        "Name Id Created Scope Driver EnableIPv4 EnableIPv6 IPAM Internal Attachable Ingress ConfigFrom ConfigOnly \
         Containers Options Labels"
    );
    assert_eq!(keys(&volume::Volume::default()), "Driver Labels Mountpoint Name Options Scope");
}

#[test]
fn null_and_empty_are_dockers() {
    let host_config = serde_json::to_value(HostConfig::default()).unwrap();
    let null: Vec<&str> = host_config
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, value)| value.is_null())
        .map(|(key, _)| key.as_str())
        .collect();
    assert_eq!(
        null.join(" "),
        "Binds PortBindings VolumesFrom CapAdd CapDrop Dns DnsOptions DnsSearch ExtraHosts GroupAdd Links SecurityOpt \
         BlkioWeightDevice BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps Devices \
         DeviceCgroupRules DeviceRequests MemorySwappiness OomKillDisable PidsLimit Ulimits MaskedPaths ReadonlyPaths"
    );
    assert_eq!(written(&CreateResponse::default()), r#"{"Id":"","Warnings":[]}"#);
    assert_eq!(written(&PruneReport::default()), r#"{"ContainersDeleted":null,"SpaceReclaimed":0}"#);
    assert_eq!(written(&volume::ListResponse::default()), r#"{"Volumes":[],"Warnings":null}"#);
    assert_eq!(
        written(&State::default()),
        r#"{"Status":"","Running":false,"Paused":false,"Restarting":false,"OOMKilled":false,"Dead":false,"Pid":0,"ExitCode":0,"Error":"","StartedAt":"","FinishedAt":""}"#
    );
    assert_eq!(written(&RestartPolicy::default()), r#"{"Name":"","MaximumRetryCount":0}"#);
}

#[test]
fn small_documents() {
    let waited = WaitResponse { status_code: 3, error: None };
    assert_eq!(written(&waited), r#"{"StatusCode":3}"#);
    let failed = WaitResponse { error: Some(WaitError { message: "m".to_owned() }), status_code: 1 };
    assert_eq!(written(&failed), r#"{"Error":{"Message":"m"},"StatusCode":1}"#);
    let port = Port { private_port: 80, protocol: "tcp".to_owned(), ..Port::default() };
    assert_eq!(written(&port), r#"{"PrivatePort":80,"Type":"tcp"}"#);
    let event = Event {
        kind: "volume".to_owned(),
        action: "create".to_owned(),
        actor: Actor {
            id: "v".to_owned(),
            attributes: BTreeMap::from([("driver".to_owned(), "local".to_owned())]),
        },
        scope: "local".to_owned(),
        time: 1,
        time_nano: 1_000_000_000,
        ..Event::default()
    };
    assert_eq!(
        written(&event),
        r#"{"Type":"volume","Action":"create","Actor":{"ID":"v","Attributes":{"driver":"local"}},"scope":"local","time":1,"timeNano":1000000000}"#
    );
    let running = exec::Inspect { id: "e".to_owned(), running: true, ..exec::Inspect::default() };
    assert_eq!(
        written(&running),
        r#"{"ID":"e","Running":true,"ExitCode":null,"ProcessConfig":{"tty":false,"entrypoint":"","arguments":[]},"OpenStdin":false,"OpenStderr":false,"OpenStdout":false,"CanRemove":false,"ContainerID":"","DetachKeys":"","Pid":0}"#
    );
    let deleted = image::DeleteResponse { untagged: "a:b".to_owned(), ..image::DeleteResponse::default() };
    assert_eq!(written(&deleted), r#"{"Untagged":"a:b"}"#);
}

#[test]
fn our_own_key_is_left_out_when_it_is_not_used() {
    assert!(!written(&HostConfig::default()).contains("Rootfs\":null"));
    let host_config: HostConfig = read(r#"{"Rootfs":"/"}"#);
    assert_eq!(host_config.rootfs.as_deref(), Some("/"));
}
