//! The folder of a container below `--root`: what is known of it between calls, and how it stands.
//!
//! ```text
//! ROOT/ID/state.json    the container (versioned, replaced in one step)
//! ROOT/ID/gate          a fifo where its process waits; gone when it was started
//! ROOT/ID/answer        a fifo on which the process says why it could not go on
//! ROOT/ID/seccomp       the compiled filter, for further processes
//! ```

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use corten_oci::runtime::{Hooks, Process};
use corten_runtime::cgroup::Cgroup;
use corten_runtime::seccomp;
use corten_std::file::{self, Durability};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

/// Version of [`State`] on disk.
const VERSION: u32 = 1;

const STATE: &str = "state.json";
const GATE: &str = "gate";
const ANSWER: &str = "answer";
const FILTER: &str = "seccomp";

/// Where containers are kept when `--root` says nothing.
pub(crate) fn default_root() -> PathBuf {
    let caller = Caller {
        id: crate::rootless::owner(),
        in_user_namespace: corten_runtime::in_user_namespace(),
        name: std::env::var_os("USER"),
    };
    root_of(&caller, std::env::var_os("XDG_RUNTIME_DIR"))
}

/// Who asks, as far as it decides where containers are kept.
struct Caller {
    id: u32,
    in_user_namespace: bool,
    name: Option<OsString>,
}

/// The machine's folder is that of the machine's root: whoever is root of a user namespace, as Podman's people are when it calls its
/// runtime, is somebody else, unless they say that they are root; runc tells them apart in the same way.
fn root_of(caller: &Caller, runtime_folder: Option<OsString>) -> PathBuf {
    let says_root = caller.name.as_deref() == Some(OsStr::new("root"));
    let is_somebody = caller.id != 0 || (caller.in_user_namespace && !says_root);
    match runtime_folder.filter(|folder| is_somebody && !folder.is_empty()) {
        Some(folder) => Path::new(&folder).join("corten-oci"),
        None => PathBuf::from("/run/corten-oci"),
    }
}

/// The folder of all containers.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
}

/// What is kept of a container.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct State {
    pub(crate) version: u32,
    pub(crate) id: String,
    /// The container's first process; 0 while there is none.
    pub(crate) pid: i32,
    /// When that was started, in clock ticks since boot: tells it from a later one of its number.
    pub(crate) start_time: u64,
    /// Absolute path.
    pub(crate) bundle: PathBuf,
    /// Absolute path of the root filesystem.
    pub(crate) rootfs: PathBuf,
    /// RFC 3339.
    pub(crate) created: String,
    /// User id of whoever created it.
    pub(crate) owner: u32,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    /// None where the host has no cgroups.
    #[serde(default)]
    pub(crate) cgroup: Option<Cgroup>,
    /// The unit of systemd that the cgroup is.
    #[serde(default)]
    pub(crate) unit: Option<String>,
    /// It has a pid namespace of its own, which ends with its first process.
    pub(crate) own_pids: bool,
    /// Further processes get a session keyring of their own.
    #[serde(default = "yes")]
    pub(crate) new_keyring: bool,
    #[serde(default)]
    pub(crate) hooks: Hooks,
    /// The document's process: what further ones take from it.
    pub(crate) process: Process,
}

fn yes() -> bool {
    true
}

/// How a container stands, in the specification's words and runc's `paused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// One container's folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Root {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path: std::path::absolute(&path).unwrap_or(path) }
    }

    /// A container's folder, whether it is there or not.
    pub(crate) fn folder(&self, id: &str) -> Result<Folder> {
        let known = |letter: char| letter.is_ascii_alphanumeric() || "_+-.".contains(letter);
        if id.is_empty() || id == "." || id == ".." || id.len() > 1024 || !id.chars().all(known) {
            return Err(Failure::new(format!("invalid container ID format: {id:?}")));
        }
        Ok(Folder { path: self.path.join(id) })
    }

    /// A container that is there.
    pub(crate) fn load(&self, id: &str) -> Result<(Folder, State)> {
        let folder = self.folder(id)?;
        let state = folder.load()?.ok_or_else(|| Failure::new("container does not exist"))?;
        Ok((folder, state))
    }

    /// Takes a name: makes the folder, which nobody else has.
    pub(crate) fn take(&self, id: &str) -> Result<Folder> {
        let folder = self.folder(id)?;
        make_private(&self.path)?;
        match rustix::fs::mkdir(&folder.path, Mode::from_raw_mode(0o711)) {
            Ok(()) => Ok(folder),
            Err(rustix::io::Errno::EXIST) => Err(Failure::new("container with given ID already exists")),
            Err(error) => Err(Failure::of(
                format_args!("cannot create {}", folder.path.display()),
                &io::Error::from(error),
            )),
        }
    }

    /// All names, sorted.
    pub(crate) fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = std::fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().join(STATE).exists())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        ids.sort_unstable();
        ids
    }
}

fn make_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path)
        .map_err(|error| Failure::of(format_args!("cannot create {}", path.display()), &error))
}

impl Folder {
    fn load(&self) -> Result<Option<State>> {
        let Some(bytes) = file::read_optional(self.path.join(STATE))? else { return Ok(None) };
        let state: State = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::of(format_args!("cannot read {}", self.path.join(STATE).display()), &error)
        })?;
        if state.version > VERSION {
            return Err(Failure::new(format!(
                "{} has version {}; this program knows {VERSION}",
                self.path.join(STATE).display(),
                state.version
            )));
        }
        Ok(Some(state))
    }

    pub(crate) fn save(&self, state: &State) -> Result<()> {
        let bytes =
            serde_json::to_vec(state).map_err(|error| Failure::of("cannot write the state", &error))?;
        Ok(file::write_atomic(self.path.join(STATE), &bytes, Durability::Kernel)?)
    }

    /// Removes everything that is kept of the container.
    pub(crate) fn remove(&self) -> Result<()> {
        Ok(file::remove_tree(&self.path)?)
    }

    /// Makes the gate: where the process waits, and where it answers.
    pub(crate) fn make_gate(&self) -> Result<corten_runtime::Gate> {
        let open = |name: &str| -> io::Result<OwnedFd> {
            let path = self.path.join(name);
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::Fifo,
                Mode::from_raw_mode(0o600),
                0,
            )?;
            // Both ways, so that neither opening waits for the other side and no read ends for want of a writer.
            Ok(rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
        };
        let fail = |error: io::Error| Failure::of("cannot make the gate of the container", &error);
        Ok(corten_runtime::Gate { wait: open(GATE).map_err(fail)?, answer: open(ANSWER).map_err(fail)? })
    }

    /// Opens the gate. Returns when the command runs, or with why it does not.
    pub(crate) fn open_gate(&self) -> Result<()> {
        let fail = |error: rustix::io::Errno| match error {
            rustix::io::Errno::NXIO => Failure::new("cannot start a container that has stopped"),
            rustix::io::Errno::NOENT => Failure::new("cannot start an already running container"),
            error => Failure::of("cannot open the gate of the container", &io::Error::from(error)),
        };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let answer = rustix::fs::open(self.path.join(ANSWER), flags, Mode::empty()).map_err(fail)?;
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let gate = rustix::fs::open(self.path.join(GATE), flags, Mode::empty()).map_err(fail)?;
        // From here on it counts as started.
        file::remove_file(self.path.join(GATE))?;
        rustix::io::write(&gate, &[1]).map_err(fail)?;
        rustix::io::ioctl_fionbio(&answer, false).map_err(fail)?;
        let mut text = Vec::new();
        io::Read::read_to_end(&mut File::from(answer), &mut text)
            .map_err(|error| Failure::of("cannot hear the container's process", &error))?;
        let _ = file::remove_file(self.path.join(ANSWER));
        if text.is_empty() {
            return Ok(());
        }
        match serde_json::from_slice::<corten_runtime::LaunchError>(&text) {
            Ok(error) => Err(error.into()),
            Err(_) => Err(Failure::new("the container's process failed and could not say why")),
        }
    }

    pub(crate) fn save_filter(&self, program: &seccomp::Program) -> Result<()> {
        Ok(file::write(self.path.join(FILTER), program.to_bytes())?)
    }

    pub(crate) fn load_filter(&self) -> Result<Option<seccomp::Program>> {
        let Some(bytes) = file::read_optional(self.path.join(FILTER))? else { return Ok(None) };
        seccomp::Program::from_bytes(&bytes)
            .map(Some)
            .ok_or_else(|| Failure::new(format!("{} is damaged", self.path.join(FILTER).display())))
    }

    /// How the container stands now.
    pub(crate) fn status(&self, state: &State) -> Status {
        if state.pid == 0 {
            return Status::Creating;
        }
        if !state.is_alive() {
            return Status::Stopped;
        }
        if state.cgroup.as_ref().is_some_and(Cgroup::is_frozen) {
            return Status::Paused;
        }
        if self.path.join(GATE).exists() { Status::Created } else { Status::Running }
    }
}

impl State {
    /// A container about to be made.
    pub(crate) fn version() -> u32 {
        VERSION
    }

    /// Whether its first process is there and has not ended.
    pub(crate) fn is_alive(&self) -> bool {
        let Ok(text) = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)) else { return false };
        let Some((_, fields)) = text.rsplit_once(')') else { return false };
        let mut fields = fields.split_ascii_whitespace();
        // Z is a zombie, X is dead: whoever is its parent has not reaped it yet.
        let ended = matches!(fields.next(), Some("Z" | "X" | "x"));
        let start: Option<u64> = fields.nth(18).and_then(|field| field.parse().ok());
        !ended && start == Some(self.start_time)
    }

    /// The specification's state document.
    pub(crate) fn document(&self, status: Status) -> serde_json::Value {
        let pid = if status == Status::Stopped { 0 } else { self.pid };
        let mut document = serde_json::json!({
            "ociVersion": corten_oci::runtime::VERSION,
            "id": self.id,
            "status": status.word(),
            "pid": pid,
            "bundle": self.bundle,
        });
        if !self.annotations.is_empty() {
            document["annotations"] = serde_json::json!(self.annotations);
        }
        document
    }

    /// What runc prints for `state` and `list`.
    pub(crate) fn summary(&self, status: Status) -> serde_json::Value {
        let mut document = self.document(status);
        document["rootfs"] = serde_json::json!(self.rootfs);
        document["created"] = serde_json::json!(self.created);
        document["owner"] =
            serde_json::json!(if self.owner == 0 { "root".to_owned() } else { self.owner.to_string() });
        document
    }

    /// A handle of its first process.
    pub(crate) fn handle(&self) -> Result<OwnedFd> {
        let gone = || Failure::new("container not running");
        let handle = corten_sys::process::pidfd_open(self.pid).map_err(|_| gone())?;
        // Asked after the handle was there: it is of the process that we mean.
        if self.is_alive() { Ok(handle) } else { Err(gone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_that_of_who_asks() {
        let folder = |id, in_user_namespace, name: Option<&str>, runtime_folder: Option<&str>| {
            let caller = Caller { id, in_user_namespace, name: name.map(OsString::from) };
            root_of(&caller, runtime_folder.map(OsString::from))
        };
        let machine = Path::new("/run/corten-oci");
        let own = Path::new("/run/user/7/corten-oci");
        let runtime_folder = Some("/run/user/7");
        assert_eq!(folder(0, false, None, runtime_folder), machine);
        assert_eq!(folder(7, false, Some("root"), runtime_folder), own);
        assert_eq!(folder(7, false, None, None), machine);
        assert_eq!(folder(7, false, None, Some("")), machine);
        assert_eq!(folder(0, true, Some("somebody"), runtime_folder), own);
        assert_eq!(folder(0, true, None, runtime_folder), own);
        assert_eq!(folder(0, true, Some("root"), runtime_folder), machine);
    }
}
