//! The small process that outlives the daemon: holds its sockets, starts it again, forks shims.
//!
//! The keeper is what `corten daemon` is: one thread, no container in its head. It holds the listening sockets and
//! whatever else must outlive a daemon, starts the daemon with copies of them, starts it again when it dies, and
//! forks the shims from a mount namespace of its own with next to nothing in it. The daemon's side is [`Keeper`].
//!
//! Who survives whom:
//!
//! - *the daemon is killed*: the keeper starts another; clients wait in the sockets' queues meanwhile;
//! - *the keeper is killed*: the daemon, which has copies of all, starts another and hands them over;
//! - *both are killed*: the sockets are gone, the next client starts a daemon, which finds the shims by their run
//!   folders;
//! - *SIGTERM to the keeper*: the daemon ends in order, then the keeper; the containers go on with their shims;
//! - *SIGHUP to the keeper*: where another program is at its path now, it becomes that and replaces the daemon; else the
//!   daemon gets the signal and reads its settings anew.
//!
//! The lock file of the run folder is open in both keeper and daemon, so that nobody gets in between them.
//!
//! What this crate knows nothing of: containers, images, HTTP, the daemon's settings.

mod handle;
mod handover;
mod notify;
mod program;
pub mod protocol;
mod restart;
mod role;
mod view;

pub use handle::{Keeper, KeeperError};
pub use role::BeginError;
pub use view::ViewError;

use corten_shim::packet::Packet;
use corten_std::Paths;
use role::{Outcome, Role};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

/// A listening socket and the name by which the daemon knows it.
#[derive(Debug)]
pub struct Listener {
    /// Free; the daemon's own settings give it a meaning.
    pub name: String,
    /// The socket.
    pub descriptor: OwnedFd,
    /// It belongs to whoever passed it: a unix socket's file stays when the keeper ends.
    pub passed: bool,
}

impl Listener {
    fn try_clone(&self) -> io::Result<Self> {
        let descriptor = self.descriptor.try_clone()?;
        Ok(Self { name: self.name.clone(), descriptor, passed: self.passed })
    }
}

/// What a keeper is told by its command line.
#[derive(Debug)]
pub struct Settings {
    /// Our two folders; made where they are missing.
    pub paths: Paths,
    /// Sockets to hold. The file of a unix socket that is not [`Listener::passed`] is removed when the keeper ends in order.
    pub listeners: Vec<Listener>,
    /// Arguments of the daemon, behind its role.
    pub daemon_arguments: Vec<OsString>,
    /// Where the keeper's process id is written.
    pub pid_file: Option<PathBuf>,
    /// Whether the keeper goes into a mount namespace of its own: always as root.
    pub private_namespace: bool,
    /// The service manager's socket (`NOTIFY_SOCKET`), which is told when the daemon serves and when it ends.
    pub notify_socket: Option<OsString>,
}

/// Variables by which a service manager speaks to the process that it started, and to no other: a runtime that is asked
/// for by name would take them for its own.
const SERVICE_VARIABLES: [&str; 7] = [
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// Becomes a keeper: the process executes its own program again in the role [`protocol::RESUME_ROLE`], and so does
/// not return but with an error.
///
/// # Errors
/// Where that fails; nothing was started then.
pub fn run(settings: Settings) -> Result<std::convert::Infallible, BeginError> {
    let program = std::env::current_exe()
        .map_err(|source| BeginError::System { operation: "find the program's own path", source })?;
    let setup = protocol::Setup {
        data_root: settings.paths.data_root,
        exec_root: settings.paths.exec_root,
        daemon_arguments: settings.daemon_arguments.into_iter().map(OsStringExt::into_vec).collect(),
        pid_file: settings.pid_file,
        program: existing(program),
        private_namespace: settings.private_namespace,
        notify_socket: settings.notify_socket.map(OsStringExt::into_vec),
    };
    let listeners = settings.listeners;
    // Begin anew as a fresh process image: every shim is a copy of this process, and shall neither have what reading
    // the command line left in memory, nor descriptors that whoever started us forgot to close.
    let begin_anew = || -> io::Result<std::convert::Infallible> {
        let (ours, theirs) = corten_shim::packet::pair()?;
        handover::send(&ours, &setup, None, &listeners, &BTreeMap::new(), None)?;
        corten_sys::descriptor::close_on_exec_from(3)?;
        let program = program::protected(std::path::Path::new("/proc/self/exe"), setup.private_namespace)?;
        let mut command = std::process::Command::new(program.path());
        command.arg0("corten").arg(protocol::RESUME_ROLE).stdin(std::process::Stdio::from(theirs));
        for variable in SERVICE_VARIABLES {
            command.env_remove(variable);
        }
        Err(command.exec())
    };
    let Err(source) = begin_anew();
    Err(BeginError::System { operation: "execute the program again as keeper", source })
}

/// The role of [`protocol::RESUME_ROLE`]: takes over what waits on standard input, stays until it is told to end, and
/// gives the process's exit code. The process must have one thread and had better not have done anything else: every
/// shim begins as a copy of it. In a forked shim the call does not return.
///
/// # Errors
/// Where it cannot begin (another keeper has the folder, a folder cannot be made, not root), or nothing was handed
/// over; no daemon was started then.
pub fn resume() -> Result<i32, BeginError> {
    let inheritance =
        handover::take_standard_input().and_then(handover::receive).map_err(BeginError::HandOver)?;
    if inheritance.daemon.is_some_and(|daemon| !daemon.replace) {
        // Started by a daemon: not of its session.
        let _ = rustix::process::setsid();
    }
    let mut role = Role::begin(inheritance)?;
    match role.stay() {
        Outcome::End(code) => Ok(code),
        Outcome::Shim(Packet { document, descriptors }) => {
            // Every descriptor of the keeper is closed with it.
            drop(role);
            corten_shim::run(document, descriptors)
        }
    }
}

/// The kernel marks the path of a program whose file was replaced.
fn existing(program: PathBuf) -> PathBuf {
    match program.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(path) => PathBuf::from(OsString::from_vec(path.to_vec())),
        None => program,
    }
}

/// Where a listening unix socket's file is.
fn socket_path(socket: &OwnedFd) -> Option<PathBuf> {
    let address = rustix::net::getsockname(socket).ok()?;
    let address = rustix::net::SocketAddrUnix::try_from(address).ok()?;
    let path = address.path()?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(path.to_bytes())))
}

/// Listens on a unix socket at a path, in place of a file that nobody listens on any more; mode 0660.
///
/// # Errors
/// `AddrInUse` where somebody listens there, else what the kernel says.
pub fn listen_unix(path: &std::path::Path, group: Option<u32>) -> io::Result<OwnedFd> {
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    };
    let new = || socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let address = SocketAddrUnix::new(path)?;
    match connect(new()?, &address) {
        Ok(()) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(rustix::io::Errno::CONNREFUSED) => rustix::fs::unlink(path)?,
        Err(_) => {}
    }
    let socket = new()?;
    // Nobody gets in before the mode is right.
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o117));
    let bound = bind(&socket, &address);
    rustix::process::umask(mask);
    bound?;
    if let Some(group) = group {
        let group = rustix::fs::Gid::from_raw(group);
        rustix::fs::chown(path, None, Some(group))?;
    }
    listen(&socket, 1024)?;
    Ok(socket)
}
