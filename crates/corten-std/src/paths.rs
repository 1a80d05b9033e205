//! The one struct that knows where everything lies.
//!
//! ```text
//! DATA_ROOT (/var/lib/corten)               survives a power cut
//! ├── lock                                  held by the daemon that owns this folder
//! ├── state.redb                            images, containers, volumes, networks
//! ├── state.journal                         what was changed of them since it was written last
//! ├── blobs/ALGORITHM/DIGEST                content
//! ├── snapshots/…                           layer folders and writable layers
//! ├── ingest/DIGEST                         blobs on their way here; what was broken off goes on from there
//! ├── tmp/…, new/NUMBER/…                   swept when the store opens
//! ├── containers/ID/                        state.json, ID-json.log, hosts, hostname, resolv.conf
//! └── volumes/NAME/_data
//! EXEC_ROOT (/run/corten)                   survives kills, not a reboot
//! ├── corten.sock, corten.pid, daemon.log
//! ├── keeper.lock, start.lock
//! ├── containers/ID/                        container.json (--rm), shim.sock, exit.json
//! ├── exits/                                exit codes of removed containers, for some seconds
//! └── netns/ID, sandboxes/ID.json
//! ```

use std::path::{Path, PathBuf};

/// Where a daemon keeps its things; two daemons with different roots do not see each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// What survives a power cut; `/var/lib/corten` unless told otherwise.
    pub data_root: PathBuf,
    /// What survives kills but not a reboot; `/run/corten` unless told otherwise.
    pub exec_root: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self::new("/var/lib/corten", "/run/corten")
    }
}

impl Paths {
    /// Paths below the two given folders.
    pub fn new(data_root: impl Into<PathBuf>, exec_root: impl Into<PathBuf>) -> Self {
        Self { data_root: data_root.into(), exec_root: exec_root.into() }
    }

    /// The lock of the daemon that owns the data folder.
    pub fn data_lock(&self) -> PathBuf {
        self.data_root.join("lock")
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.data_root.join("state.redb")
    }

    /// The folder of blobs by algorithm.
    pub fn blobs(&self) -> PathBuf {
        self.data_root.join("blobs")
    }

    /// The folder of snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.data_root.join("snapshots")
    }

    /// The folder of blobs that come from elsewhere and are not whole yet; on the same file system as blobs.
    pub fn ingest(&self) -> PathBuf {
        self.data_root.join("ingest")
    }

    /// The folder of what is being written; on the same file system as blobs and snapshots.
    pub fn temporary(&self) -> PathBuf {
        self.data_root.join("tmp")
    }

    /// Folders for new folders to be made in, on file systems where it matters where that is; else not there.
    pub fn birthplaces(&self) -> PathBuf {
        self.data_root.join("new")
    }

    /// The folder of all containers' durable files.
    pub fn containers(&self) -> PathBuf {
        self.data_root.join("containers")
    }

    /// One container's durable files: log, hosts, hostname, resolv.conf.
    pub fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    /// One container's log.
    pub fn container_log(&self, id: &str) -> PathBuf {
        self.container(id).join(format!("{id}-json.log"))
    }

    /// The folder of volumes.
    pub fn volumes(&self) -> PathBuf {
        self.data_root.join("volumes")
    }

    /// One volume's content.
    pub fn volume_data(&self, name: &str) -> PathBuf {
        self.volumes().join(name).join("_data")
    }

    /// The folder of all containers' running state.
    pub fn running(&self) -> PathBuf {
        self.exec_root.join("containers")
    }

    /// One container's running state: container.json (--rm), shim.sock, exit.json.
    pub fn running_container(&self, id: &str) -> PathBuf {
        self.running().join(id)
    }

    /// The folder of networks that are being made: each one's configuration, until it is kept.
    pub fn unfinished_networks(&self) -> PathBuf {
        self.exec_root.join("networks")
    }

    /// The folder where network namespaces are pinned.
    pub fn network_namespaces(&self) -> PathBuf {
        self.exec_root.join("netns")
    }

    /// The folder of the network sandboxes' records.
    pub fn sandboxes(&self) -> PathBuf {
        self.exec_root.join("sandboxes")
    }

    /// The socket of the API.
    pub fn socket(&self) -> PathBuf {
        self.exec_root.join("corten.sock")
    }

    /// The keeper's process id.
    pub fn pid_file(&self) -> PathBuf {
        self.exec_root.join("corten.pid")
    }

    /// Held by the keeper while it lives, so that there is one per exec root.
    pub fn keeper_lock(&self) -> PathBuf {
        self.exec_root.join("keeper.lock")
    }

    /// Held by a client while it starts the daemon.
    pub fn start_lock(&self) -> PathBuf {
        self.exec_root.join("start.lock")
    }

    /// What keeper and daemon print when a client started them.
    pub fn daemon_log(&self) -> PathBuf {
        self.exec_root.join("daemon.log")
    }

    /// Whether these are the system's default folders.
    pub fn is_default(&self) -> bool {
        self.data_root == Path::new("/var/lib/corten") && self.exec_root == Path::new("/run/corten")
    }
}
