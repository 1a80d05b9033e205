//! What goes over the socket between daemon and keeper, and what a keeper hands over to its successor or to a new
//! daemon. A promise between programs of different age: a keeper outlives upgrades of the daemon.
//!
//! Packets are those of [`corten_shim::packet`]. The daemon asks ([`Request`]), the keeper answers each in order
//! ([`Reply`]). Unknown fields are ignored, an unknown request is answered with [`Reply::Failed`].

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The version of both documents.
pub const VERSION: u32 = 1;

/// First argument of the role that takes over from a keeper that is gone, or is upgraded.
pub const RESUME_ROLE: &str = "daemon-keeper";

/// First argument of the daemon under a keeper.
pub const DAEMON_ROLE: &str = "daemon-main";

/// What a daemon asks its keeper. In a packet it stands in front; a body may follow behind a zero byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The daemon serves: a later death is not one of its start.
    Ready,
    /// Fork a shim; the body is its start request, the descriptors are the shim's.
    ForkShim,
    /// Keep the descriptors over the daemon's death under this name; those kept before under it are closed.
    Hold {
        /// The name.
        name: String,
    },
    /// Close what is kept under this name.
    Release {
        /// The name.
        name: String,
    },
    /// Make a user namespace, whose descriptor comes with the answer: a process with threads cannot.
    UserNamespace {
        /// Its map of users, as the kernel reads it.
        uid_map: String,
        /// Its map of groups.
        gid_map: String,
    },
    /// Make a network namespace that belongs to the user namespace whose descriptor is here; the answer has its own.
    NetworkNamespace,
    /// The daemon is about to end for good: the keeper ends too and does not start another.
    Shutdown,
    /// Replace keeper and daemon by the program that is now at the keeper's path.
    Upgrade,
}

/// The keeper's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done.
    Done,
    /// The shim's process id.
    Forked {
        /// In the pid namespace of keeper and daemon.
        pid: i32,
    },
    /// Not done.
    Failed {
        /// Why.
        message: String,
    },
}

/// Everything that outlives one process: from a keeper to the daemon that it starts, from a keeper to its upgraded
/// self, from a daemon to the keeper that follows a killed one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HandOver {
    /// Version of this document.
    pub version: u32,
    /// How the keeper was set up.
    pub setup: Setup,
    /// The daemon that runs already, for a keeper that takes over.
    #[serde(default)]
    pub daemon: Option<RunningDaemon>,
    /// What each descriptor is.
    pub descriptors: Vec<Role>,
}

/// A keeper's settings on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// See [`crate::Settings::paths`].
    pub data_root: PathBuf,
    /// See [`crate::Settings::paths`].
    pub exec_root: PathBuf,
    /// Arguments of the daemon behind its role, as bytes (they need not be UTF-8).
    pub daemon_arguments: Vec<Vec<u8>>,
    /// File with the keeper's process id.
    #[serde(default)]
    pub pid_file: Option<PathBuf>,
    /// The program's path, for an upgrade.
    pub program: PathBuf,
    /// Whether the keeper goes into a mount namespace of its own.
    pub private_namespace: bool,
    /// See [`crate::Settings::notify_socket`]; as bytes.
    #[serde(default)]
    pub notify_socket: Option<Vec<u8>>,
}

/// A daemon that is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningDaemon {
    /// Its process id.
    pub pid: i32,
    /// Whether it is to be replaced (an upgrade) or kept.
    pub replace: bool,
}

/// What a handed descriptor is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A listening socket.
    Listener {
        /// Its name in the settings.
        name: String,
        /// See [`crate::Listener::passed`].
        #[serde(default)]
        passed: bool,
    },
    /// A descriptor kept by [`Request::Hold`].
    Held {
        /// Its name.
        name: String,
    },
    /// The lock file: whoever has it open keeps others from the run folder.
    Lock,
    /// The keeper's end of the socket to the running daemon.
    Channel,
    /// Something newer; it is closed.
    #[serde(other)]
    Unknown,
}
