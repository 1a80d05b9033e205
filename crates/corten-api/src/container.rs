//! Containers: what a client asks for, and what inspect and list tell.

use std::collections::BTreeMap;

use crate::document::document;
use crate::network::EndpointSettings;
use crate::null::Set;

mod host_config;
mod inspect;
mod stats;
mod summary;

pub use host_config::*;
pub use inspect::*;
pub use stats::*;
pub use summary::*;

document! {
/// What the container runs, independent of the host it runs on.
pub struct ContainerConfig {
    /// Host name inside; empty: the short ID.
    hostname: String = "Hostname",
    /// Domain name inside.
    domainname: String = "Domainname",
    /// `user`, `uid`, `user:group` or `uid:gid`; empty: root.
    user: String = "User",
    /// Whether the creating client wants stdin.
    attach_stdin: bool = "AttachStdin",
    /// Whether the creating client wants stdout.
    attach_stdout: bool = "AttachStdout",
    /// Whether the creating client wants stderr.
    attach_stderr: bool = "AttachStderr",
    /// Ports the program listens on, `80/tcp`.
    exposed_ports: Set = omitempty "ExposedPorts",
    /// Whether the program gets a terminal.
    tty: bool = "Tty",
    /// Whether stdin stays open while no client is attached.
    open_stdin: bool = "OpenStdin",
    /// Whether stdin closes when the first client detaches.
    stdin_once: bool = "StdinOnce",
    /// `NAME=value` entries.
    env: Option<Vec<String>> = "Env",
    /// Arguments of the entrypoint, or the command where there is none.
    cmd: Option<Vec<String>> = "Cmd" via "crate::null::words",
    /// How to tell whether the program is well.
    healthcheck: Option<Healthcheck> = omitempty "Healthcheck",
    /// Windows only.
    args_escaped: bool = omitempty "ArgsEscaped",
    /// The image as it was asked for.
    image: String = "Image",
    /// Paths that are volumes.
    volumes: Option<Set> = "Volumes",
    /// Working directory of the program.
    working_dir: String = "WorkingDir",
    /// The program and its first arguments; `[""]` resets the image's.
    entrypoint: Option<Vec<String>> = "Entrypoint" via "crate::null::words",
    /// Whether the container gets no network.
    network_disabled: bool = omitempty "NetworkDisabled",
    /// The container-wide MAC address of API versions before 1.44.
    mac_address: String = omitempty "MacAddress",
    /// Triggers of the image.
    on_build: Option<Vec<String>> = "OnBuild",
    /// Labels.
    labels: BTreeMap<String, String> = "Labels",
    /// Signal that asks the program to stop; empty: SIGTERM.
    stop_signal: String = omitempty "StopSignal",
    /// Seconds to wait after the stop signal; negative: for ever; none: 10.
    stop_timeout: Option<i64> = omitempty "StopTimeout",
    /// Shell of the image's `RUN`, `CMD` and `ENTRYPOINT` in shell form.
    shell: Option<Vec<String>> = omitempty "Shell" via "crate::null::words",
}
}

document! {
/// How to tell whether the program is well. Durations are in nanoseconds; 0: inherited or default.
pub struct Healthcheck {
    /// `[]` inherit, `["NONE"]` none, `["CMD", …]`, `["CMD-SHELL", command]`.
    test: Option<Vec<String>> = omitempty "Test" via "crate::null::words",
    /// Time between two checks; default 30 s.
    interval: i64 = omitempty "Interval",
    /// Time after which a check has failed; default 30 s.
    timeout: i64 = omitempty "Timeout",
    /// Time in which failures do not count.
    start_period: i64 = omitempty "StartPeriod",
    /// Time between two checks in the start period; default 5 s.
    start_interval: i64 = omitempty "StartInterval",
    /// Failures in a row that make it unhealthy; default 3.
    retries: i64 = omitempty "Retries",
}
}

/// The body of `POST /containers/create`: a [`ContainerConfig`] with two more keys beside its own.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct CreateRequest {
    /// What runs; its keys stand at the top level of the body.
    #[serde(flatten)]
    pub config: ContainerConfig,
    /// How it runs on this host.
    #[serde(rename = "HostConfig", deserialize_with = "crate::null::or_default")]
    pub host_config: HostConfig,
    /// The networks it joins.
    #[serde(rename = "NetworkingConfig", deserialize_with = "crate::null::or_default")]
    pub networking_config: NetworkingConfig,
}

document! {
/// The networks a container joins at creation.
pub struct NetworkingConfig {
    /// By network name or ID.
    endpoints_config: BTreeMap<String, EndpointSettings> = "EndpointsConfig" via "crate::null::values",
}
}

document! {
/// The answer to a create.
pub struct CreateResponse {
    /// Full ID of the container.
    id: String = "Id",
    /// What was accepted but will not be as asked.
    warnings: Vec<String> = "Warnings",
}
}

document! {
/// The answer to an update.
pub struct UpdateResponse {
    /// What was accepted but will not be as asked.
    warnings: Option<Vec<String>> = "Warnings",
}
}

document! {
/// The answer to a wait.
pub struct WaitResponse {
    /// What went wrong while waiting or removing.
    error: Option<WaitError> = omitempty "Error",
    /// Exit code of the container.
    status_code: i64 = "StatusCode",
}
}

document! {
/// Why a wait ended without an exit.
pub struct WaitError {
    /// Text for the user.
    message: String = omitempty "Message",
}
}

document! {
/// The answer to `top`: one row per process, in the words of `ps`.
pub struct TopResponse {
    /// Cells of each row.
    processes: Vec<Vec<String>> = "Processes",
    /// Column headers.
    titles: Vec<String> = "Titles",
}
}

document! {
/// One change of the container's files against its image.
pub struct FilesystemChange {
    /// 0 modified, 1 added, 2 deleted.
    kind: u8 = "Kind",
    /// Path in the container.
    path: String = "Path",
}
}

document! {
/// The answer to `POST /containers/prune`.
pub struct PruneReport {
    /// IDs of removed containers; none at all is `null`.
    containers_deleted: Option<Vec<String>> = "ContainersDeleted",
    /// Bytes freed.
    space_reclaimed: u64 = "SpaceReclaimed",
}
}

document! {
/// What the header `X-Docker-Container-Path-Stat` tells of a path, as JSON in base64.
pub struct PathStat {
    /// Last part of the path.
    name: String = "name",
    /// Bytes.
    size: i64 = "size",
    /// Go's `os.FileMode`: permission bits, and the kind in the high bits (folder: bit 31).
    mode: u32 = "mode",
    /// RFC 3339 with nanoseconds.
    mtime: String = "mtime",
    /// Where a symbolic link leads, seen from the container's root; empty: none.
    link_target: String = "linkTarget",
}
}
