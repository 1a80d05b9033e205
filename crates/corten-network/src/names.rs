//! Names of containers: the resolver at 127.0.0.11 of every sandbox that is on a network made by a user.
//!
//! ```text
//! directory   which sandbox is called what on which network (plain data, changed by callers)
//! place       the two sockets inside a sandbox's namespace
//! server      one thread that reads queries from all of them
//! answer      a query and the directory: a reply, or other servers are asked
//! exchange    asking other servers
//! message     the bytes of queries and replies
//! ```
//!
//! The thread starts with the first sandbox that needs it. The sockets can be kept by another process: while no daemon
//! lives, queries wait in them.

mod answer;
mod directory;
mod exchange;
pub mod message;
mod place;
mod server;
mod settings;

pub use directory::Membership;
pub use place::{ADDRESS, NameSockets};
pub use settings::{ResolverSettings, Upstream};

use crate::error::NetworkError;
use directory::Directory;
use rustix::event::EventfdFlags;
use server::Server;
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a caller waits for the thread to let go of a sandbox's sockets.
const PATIENCE: Duration = Duration::from_millis(200);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(shared: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    shared.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(shared: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    shared.write().unwrap_or_else(PoisonError::into_inner)
}

/// What callers and the thread share.
#[derive(Debug)]
struct Shared {
    directory: RwLock<Directory>,
    commands: Mutex<Vec<Command>>,
    wake: OwnedFd,
    /// The host's network namespace.
    home: OwnedFd,
}

/// What the thread is told.
#[derive(Debug)]
enum Command {
    Serve { sandbox: String, sockets: NameSockets, namespace: OwnedFd, settings: ResolverSettings },
    Settings { sandbox: String, settings: ResolverSettings },
    Stop { sandbox: String, done: std::sync::mpsc::SyncSender<()> },
    End,
}

/// The names of all sandboxes, and who answers for them. Dropping this ends the thread; kept sockets stay.
#[derive(Debug)]
pub struct Names {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Sandboxes whose queries are answered.
    served: Mutex<HashSet<String>>,
    /// Sockets of sandboxes that are not served yet, made with their namespaces.
    prepared: Mutex<HashMap<String, NameSockets>>,
}

impl Names {
    /// Nothing is known yet, and no thread runs. `home` is the host's network namespace.
    pub(crate) fn new(home: OwnedFd) -> io::Result<Self> {
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (directory, commands) = (RwLock::default(), Mutex::default());
        let shared = Arc::new(Shared { directory, commands, wake, home });
        Ok(Self { shared, thread: Mutex::new(None), served: Mutex::default(), prepared: Mutex::default() })
    }

    /// Opens a sandbox's sockets and answers on them from now on. Returns copies of the sockets, for a process that
    /// outlives this one; with them [`Names::resume`] goes on.
    pub fn serve(
        &self,
        sandbox: &str,
        namespace: OwnedFd,
        settings: ResolverSettings,
    ) -> Result<Vec<OwnedFd>, NetworkError> {
        let prepared = lock(&self.prepared).remove(sandbox);
        let sockets = match prepared {
            Some(sockets) => sockets,
            None => NameSockets::open_in(namespace.as_fd())?,
        };
        let copies = sockets.copies().map_err(failed("copy the sockets for names"))?;
        self.resume(sandbox, sockets, namespace, settings)?;
        Ok(copies)
    }

    /// Keeps sockets for [`Names::serve`].
    pub(crate) fn prepare(&self, sandbox: &str, sockets: NameSockets) {
        lock(&self.prepared).insert(sandbox.to_owned(), sockets);
    }

    /// Answers on sockets that are open already.
    pub fn resume(
        &self,
        sandbox: &str,
        sockets: NameSockets,
        namespace: OwnedFd,
        settings: ResolverSettings,
    ) -> Result<(), NetworkError> {
        self.start().map_err(failed("start the thread for names"))?;
        lock(&self.served).insert(sandbox.to_owned());
        self.tell(Command::Serve { sandbox: sandbox.to_owned(), sockets, namespace, settings });
        Ok(())
    }

    /// Changes what a sandbox's resolver was told. One that is not served is fine.
    pub fn set(&self, sandbox: &str, settings: ResolverSettings) {
        if self.is_served(sandbox) {
            self.tell(Command::Settings { sandbox: sandbox.to_owned(), settings });
        }
    }

    /// Stops serving a sandbox, and forgets it. When this returns its sockets are closed here.
    pub fn remove(&self, sandbox: &str) {
        drop(lock(&self.prepared).remove(sandbox));
        // Also of one that could not be served: others may know its names.
        write(&self.shared.directory).remove(sandbox);
        if lock(&self.served).remove(sandbox) {
            let (done, wait) = std::sync::mpsc::sync_channel(1);
            self.tell(Command::Stop { sandbox: sandbox.to_owned(), done });
            let _ = wait.recv_timeout(PATIENCE);
        }
    }

    /// Whether a sandbox's queries are answered.
    pub fn is_served(&self, sandbox: &str) -> bool {
        lock(&self.served).contains(sandbox)
    }

    /// Puts a sandbox on exactly these networks.
    pub fn settle(&self, sandbox: &str, memberships: Vec<Membership>) {
        write(&self.shared.directory).settle(sandbox, memberships);
    }

    /// Puts a sandbox on a network, or replaces what it is there.
    pub fn join(&self, sandbox: &str, membership: Membership) {
        write(&self.shared.directory).join(sandbox, membership);
    }

    /// Takes a sandbox off a network.
    pub fn leave(&self, sandbox: &str, network_id: &str) {
        write(&self.shared.directory).leave(sandbox, network_id);
    }

    fn tell(&self, command: Command) {
        lock(&self.shared.commands).push(command);
        let _ = rustix::io::write(&self.shared.wake, &1_u64.to_ne_bytes());
    }

    /// Starts the thread in the host's namespace, where it does not run yet.
    fn start(&self) -> io::Result<()> {
        let mut thread = lock(&self.thread);
        if thread.is_some() {
            return Ok(());
        }
        let server = Server::new(Arc::clone(&self.shared))?;
        let shared = Arc::clone(&self.shared);
        let run = move || match corten_sys::netlink::namespace::enter(shared.home.as_fd()) {
            Ok(()) => server.run(),
            Err(error) => tracing::error!(%error, "names are not served"),
        };
        *thread =
            Some(std::thread::Builder::new().name("names".to_owned()).stack_size(256 * 1024).spawn(run)?);
        Ok(())
    }
}

fn failed(operation: &'static str) -> impl Fn(io::Error) -> NetworkError {
    move |source| NetworkError::System { operation, source }
}

impl Drop for Names {
    fn drop(&mut self) {
        if let Some(thread) = lock(&self.thread).take() {
            self.tell(Command::End);
            let _ = thread.join();
        }
    }
}
