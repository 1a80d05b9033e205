//! What goes over a shim's control socket: a promise between programs of different age, kept apart from the
//! structs inside.
//!
//! A packet (see [`crate::packet`]) is one JSON document plus the descriptors that belong to it. A daemon sends a
//! [`ClientPacket`], the shim answers each with a [`ServerPacket::Reply`] of the same `sequence` and sends
//! [`ServerPacket::Event`] whenever something happened. Rules that keep old and new together:
//!
//! - a connection begins with [`Request::Hello`]; both sides then speak the smaller of the two versions;
//! - unknown fields are ignored, missing ones have defaults;
//! - an unknown request is answered with [`FailureCode::Unsupported`], never by closing the connection;
//! - an event stays in the shim, and is sent to each new connection, until [`Request::Acknowledge`] names it.
//!
//! Room for later parts: [`LogSettings::format`], [`StartRequest::sandbox`], [`Target::container`] (several
//! containers in one shim), [`DescriptorRole::Keep`] (descriptors that must live as long as the container).

pub use corten_oci::runtime::ConsoleSize;
use corten_oci::runtime::{Process, Spec};
use corten_runtime::Hardening;
use corten_runtime::cgroup::CgroupShape;
use corten_std::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The version that this program speaks.
pub const VERSION: u32 = 1;

/// The oldest version that this program still speaks.
pub const OLDEST_VERSION: u32 = 1;

/// Name of the control socket in [`StartRequest::run_dir`].
pub const SOCKET_NAME: &str = "shim.sock";

/// Name of the descriptor, among those to keep, that becomes readable when a cgroup of version 1 is out of memory.
pub const OOM_SIGNAL: &str = "oom-signal";

/// Name of the exit record in [`StartRequest::run_dir`].
pub const EXIT_RECORD_NAME: &str = "exit.json";

/// Name of the bundle of another runtime's program in [`StartRequest::run_dir`].
pub const BUNDLE_NAME: &str = "bundle";

/// Name of the folder in [`StartRequest::run_dir`] where another runtime's program keeps the container's state, under its id.
pub const RUNTIME_STATE_NAME: &str = "runtime";

/// What a shim is told when it is forked. The descriptors beside it are described, in their order, by
/// [`StartRequest::descriptors`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StartRequest {
    /// Version of this document; see [`VERSION`].
    pub version: u32,
    /// The container's id.
    pub id: String,
    /// The runtime document; `process.terminal` and `process.console_size` decide between terminal and pipes.
    pub spec: Spec,
    /// Where output is kept.
    pub log: LogSettings,
    /// Folder of `shim.sock` and `exit.json`; exists, mode 0700.
    pub run_dir: PathBuf,
    /// Whether the container's standard input stays open for attached clients; otherwise it is `/dev/null`.
    #[serde(default)]
    pub open_stdin: bool,
    /// Whether standard input is closed when the first client that was attached to it is gone.
    #[serde(default)]
    pub stdin_once: bool,
    /// What the descriptors with [`DescriptorRole::Cgroup`] are, in their order.
    #[serde(default)]
    pub cgroup: CgroupShape,
    /// Which hardening steps are taken; all of them outside tests.
    #[serde(default)]
    pub hardening: Hardening,
    /// Clients that are attached before the container runs, so that they see its first byte.
    #[serde(default)]
    pub attach: Vec<AttachRequest>,
    /// The sandbox the container belongs to, when it is shared; room for pods.
    #[serde(default)]
    pub sandbox: Option<String>,
    /// Another OCI runtime's program, which makes the container; none is our own runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<ForeignRuntime>,
    /// What each passed descriptor is.
    #[serde(default)]
    pub descriptors: Vec<DescriptorRole>,
}

/// An OCI runtime's program, with runc's commands and flags. It is run in a copy of the host's mount namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignRuntime {
    /// Absolute path on the host.
    pub program: PathBuf,
    /// Arguments before its own.
    #[serde(default)]
    pub arguments: Vec<String>,
}

/// What a spare shim is told when it is forked: one that takes its place in a cgroup before there is a container, and
/// waits on its control connection for the [`StartRequest`] to come. Tells [`ServerPacket::Spare`] when it waits. Its
/// descriptors are the control connection, first, and the cgroup's files to join.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SpareRequest {
    /// Version of this document; see [`VERSION`]. By this name a shim knows the document.
    pub spare: u32,
    /// What the descriptors with [`DescriptorRole::Cgroup`] are, in their order.
    pub cgroup: CgroupShape,
    /// What each passed descriptor is.
    pub descriptors: Vec<DescriptorRole>,
}

impl SpareRequest {
    /// Longer documents are start requests, in bytes.
    pub const LONGEST: usize = 2048;
}

/// What a descriptor passed beside a document is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DescriptorRole {
    /// The shim's end of the first control connection.
    Control,
    /// The detached mount that becomes `/`.
    Root,
    /// A detached mount tree for `spec.mounts[index]`.
    Mount {
        /// Index into the runtime document's mounts.
        index: usize,
    },
    /// The network namespace to join.
    NetworkNamespace,
    /// The user namespace to join.
    UserNamespace,
    /// A detached tree of the host's device node for a container in a user namespace.
    Device {
        /// Its path inside.
        path: String,
    },
    /// A descriptor of the cgroup; see [`StartRequest::cgroup`].
    Cgroup,
    /// A memory file with the compiled seccomp program.
    Seccomp,
    /// The program that becomes pid 1 when the container has an init.
    Init,
    /// The host's mount namespace, in which another runtime's program finds what it needs.
    HostNamespace,
    /// The root folder there.
    HostRoot,
    /// The socket of the client of `attach[index]`.
    Attach {
        /// Index into the list of attach requests (0 where there is one).
        index: usize,
    },
    /// Kept open until the shim ends, and given back on [`Request::Descriptor`].
    Keep {
        /// Name to ask for it by.
        name: String,
    },
    /// A role of a newer version; the descriptor is closed.
    #[serde(other)]
    Unknown,
}

/// Where and how output is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSettings {
    /// `json-file`, or `none`: nothing is kept.
    pub format: String,
    /// The log's path; rotated files are `path.1` (newest) to `path.N`.
    pub path: PathBuf,
    /// Size in bytes after which the file is rotated; none: unbounded.
    #[serde(default)]
    pub max_size: Option<u64>,
    /// Number of files in all, at least 1.
    #[serde(default = "default_max_file")]
    pub max_file: u32,
    /// Label and environment pairs put into every line (`docker logs --details`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

fn default_max_file() -> u32 {
    1
}

impl LogSettings {
    /// The default: json-file, five files of 20 MB, so that no container fills the disk unless it was told to.
    pub fn json_file(path: impl Into<PathBuf>) -> Self {
        Self {
            format: "json-file".to_owned(),
            path: path.into(),
            max_size: Some(20_000_000),
            max_file: 5,
            attributes: BTreeMap::new(),
        }
    }
}

/// How a client is attached to a process. Its socket travels beside the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// What the client sends goes to the process.
    #[serde(default)]
    pub stdin: bool,
    /// The process's standard output goes to the client.
    #[serde(default)]
    pub stdout: bool,
    /// The process's standard error goes to the client.
    #[serde(default)]
    pub stderr: bool,
    /// Whether output is framed (8 byte heads) or raw; raw is for terminals.
    #[serde(default)]
    pub framed: bool,
    /// The bytes that detach the client; none or empty: nothing does.
    #[serde(default)]
    pub detach_keys: Option<Vec<u8>>,
    /// What the daemon had read from the client beyond its request.
    #[serde(default)]
    pub leftover: Vec<u8>,
}

/// Which process a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The container; none: the shim's only one. Room for several containers in one shim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The exec; none: the container's main process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec_id: Option<String>,
}

impl Target {
    /// The container's main process.
    pub fn main() -> Self {
        Self::default()
    }

    /// One exec.
    pub fn exec(exec_id: impl Into<String>) -> Self {
        Self { container: None, exec_id: Some(exec_id.into()) }
    }

    /// The main process or an exec, as the daemon's own calls name them.
    pub fn of(exec_id: Option<&str>) -> Self {
        Self { container: None, exec_id: exec_id.map(str::to_owned) }
    }
}

/// From a daemon to a shim.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientPacket {
    /// Chosen by the sender; the reply carries it again.
    pub sequence: u64,
    /// What is asked.
    pub request: Request,
    /// What each passed descriptor is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub descriptors: Vec<DescriptorRole>,
}

/// All that a shim can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Opens a connection; answered with [`Reply::Welcome`], after it all events not yet acknowledged follow.
    Hello {
        /// The newest version that the daemon speaks.
        version: u32,
    },
    /// How things stand; answered with [`Reply::Status`].
    Status,
    /// Attaches a client, whose socket is the one descriptor.
    Attach {
        /// To which process.
        target: Target,
        /// How.
        attach: AttachRequest,
    },
    /// Starts a further process; answered with [`Reply::Started`].
    Exec(Box<ExecRequest>),
    /// Changes a terminal's size.
    Resize {
        /// Of which process.
        target: Target,
        /// The new size.
        size: ConsoleSize,
    },
    /// Sends a signal by its number.
    Signal {
        /// To which process.
        target: Target,
        /// The number.
        signal: i32,
    },
    /// Closes the standard input of a process, after what was sent before.
    CloseStdin {
        /// Of which process.
        target: Target,
    },
    /// All events up to this number are safe in the daemon and need not be kept.
    Acknowledge {
        /// The last event's number.
        event: u64,
    },
    /// Gives back a kept descriptor; answered with [`Reply::Done`] and the descriptor.
    Descriptor {
        /// Its name.
        name: String,
    },
    /// Makes the log's file anew (an outer program moved it away).
    ReopenLog,
}

/// A further process in the container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Its id.
    pub exec_id: String,
    /// The process as in the runtime document; `terminal` and `console_size` count.
    pub process: Process,
    /// Whether standard input is a pipe (or the terminal); otherwise `/dev/null`.
    #[serde(default)]
    pub open_stdin: bool,
    /// Whether the seccomp program of the start is left out.
    #[serde(default)]
    pub privileged: bool,
    /// The client that is attached from the first byte; its socket is a descriptor.
    #[serde(default)]
    pub attach: Option<AttachRequest>,
}

/// From a shim to a daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerPacket {
    /// The answer to a request.
    Reply {
        /// The request's number.
        sequence: u64,
        /// What came of it.
        result: Result<Reply, Failure>,
    },
    /// Something happened.
    Event(NumberedEvent),
    /// A spare shim waits for its [`StartRequest`], or could not be made and has ended.
    Spare(Result<(), Failure>),
    /// The container was started, or could not be; sent once on the first connection, without being asked.
    Started(Result<Started, Failure>),
}

/// Answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done; nothing to tell.
    Done,
    /// To [`Request::Hello`].
    Welcome {
        /// The newest version that the shim speaks.
        version: u32,
        /// How things stand.
        status: Status,
    },
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Exec`].
    Started(Started),
}

/// A started process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its process id in the shim's pid namespace, which is the daemon's.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat` (clock ticks since boot): tells the process from a later one of that number.
    pub start_time: u64,
    /// When it was started.
    pub at: Timestamp,
}

/// How a shim stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The container.
    pub id: String,
    /// The shim's own process id.
    pub shim_pid: i32,
    /// The main process; none before it was started.
    #[serde(default)]
    pub started: Option<Started>,
    /// How the main process ended.
    #[serde(default)]
    pub exited: Option<Exit>,
    /// Running execs.
    #[serde(default)]
    pub execs: Vec<ExecStatus>,
    /// Number of attached clients.
    #[serde(default)]
    pub clients: usize,
}

/// A running exec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStatus {
    /// Its id.
    pub exec_id: String,
    /// Its process.
    pub started: Started,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code as Docker shows it: 128 + signal where a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// Whether the kernel's out-of-memory killer struck in the container's cgroup.
    #[serde(default)]
    pub oom_killed: bool,
    /// When it was noticed.
    pub at: Timestamp,
}

/// An event with its number; numbers count from 1 in one shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberedEvent {
    /// For [`Request::Acknowledge`].
    pub number: u64,
    /// What happened.
    pub event: Event,
}

/// All that can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The container's main process ended; its exit record is written, its output is in the log.
    Exited(Exit),
    /// An exec ended.
    ExecExited {
        /// Which.
        exec_id: String,
        /// How.
        exit: Exit,
    },
    /// A client typed the detach keys.
    Detached {
        /// From which exec; none: the main process.
        #[serde(default)]
        exec_id: Option<String>,
    },
    /// Output could not be written to the log; told once per cause.
    LogFailed {
        /// Why.
        message: String,
    },
    /// The kernel killed a process of the container for want of memory, or is about to; told where it has a limit.
    OutOfMemory {
        /// Processes killed so far, as far as is known.
        #[serde(default)]
        kills: u64,
    },
    /// An event of a newer shim.
    #[serde(other)]
    Unknown,
}

/// Why something failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure it is.
    pub code: FailureCode,
    /// What failed, in one line with its causes.
    pub message: String,
    /// For a failed start: the runtime's own error, as [`corten_runtime::LaunchError`] prints itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch: Option<serde_json::Value>,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The runtime could not start the process; see [`Failure::launch`].
    Launch,
    /// There is no such process, client or descriptor.
    NotFound,
    /// The process has ended.
    Ended,
    /// An exec of that id runs already.
    Conflict,
    /// The document cannot be read, or a descriptor is missing.
    Invalid,
    /// This shim does not know the request or the version.
    Unsupported,
    /// The kernel refused.
    #[serde(other)]
    System,
}

/// The record left in `run_dir/exit.json` when the main process has ended. It is written before the event is sent
/// and holds everything a daemon that was away has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Version of this document; see [`VERSION`].
    pub version: u32,
    /// The container.
    pub id: String,
    /// The main process.
    pub started: Started,
    /// How it ended.
    #[serde(flatten)]
    pub exit: Exit,
    /// Execs that ended and that no daemon had acknowledged.
    #[serde(default)]
    pub execs: Vec<ExecExit>,
}

/// One exec's end in the exit record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecExit {
    /// Its id.
    pub exec_id: String,
    /// How it ended.
    #[serde(flatten)]
    pub exit: Exit,
}
