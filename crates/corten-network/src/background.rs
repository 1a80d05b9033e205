//! What is done beside the callers: making namespaces that stand ready, and removing what is left of sandboxes.
//!
//! Two threads, because each waits for the kernel in its own way: `network-pool` makes, `network-sweep` removes. Both
//! sleep while there is nothing to do.

use crate::endpoint::Endpoint;
use crate::manager::Shared;
use crate::pool;
use crate::record::Record;
use crate::settings::PublishedPort;
use crate::{flows, record};
use corten_sys::netlink::{Batch, Protocol, Socket, namespace, route};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a cable may outlive its namespace before it is cut: the kernel takes namespaces apart a little later.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long refilling waits while there is enough: one start is not slowed down by making the namespace of the next.
const CALM: Duration = Duration::from_millis(12);
/// How often cables are looked for that have gone.
const INTERVAL: Duration = Duration::from_millis(4);

/// Work for the sweeping thread.
#[derive(Debug)]
pub(crate) enum Sweep {
    /// A sandbox that was taken out of the accounts; its addresses come back when its cables have gone.
    Sandbox(Box<Record>),
    /// Pins and files that belong to nobody.
    Paths(Vec<PathBuf>),
    /// Interfaces that belong to nobody.
    Interfaces(Vec<String>),
    /// UDP flows of before.
    Flows(Vec<Endpoint>, Vec<PublishedPort>),
    /// Answer when everything before this is done.
    Settle(SyncSender<()>),
}

/// The two threads. Dropping this ends them after what they are doing.
#[derive(Debug)]
pub(crate) struct Background {
    refill: Option<Sender<SyncSender<()>>>,
    sweep: Option<Sender<Sweep>>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts both in the calling thread's network namespace.
    pub(crate) fn start(shared: &Arc<Shared>) -> std::io::Result<Self> {
        let (refill, refills) = channel();
        let (sweep, sweeps) = channel();
        let mut this = Self { refill: Some(refill), sweep: Some(sweep), threads: Vec::new() };
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).stack_size(256 * 1024).spawn(run)
        };
        let pool = Arc::clone(shared);
        this.threads.push(spawn("network-pool", Box::new(move || refill_all(&pool, &refills)))?);
        let pool = Arc::clone(shared);
        this.threads.push(spawn("network-sweep", Box::new(move || sweep_all(&pool, &sweeps)))?);
        Ok(this)
    }

    /// Has the pools filled; the answer comes when they are full.
    pub(crate) fn refill(&self) -> Receiver<()> {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        if let Some(refill) = &self.refill {
            let _ = refill.send(done);
        }
        wait
    }

    pub(crate) fn sweep(&self, work: Sweep) {
        if let Some(sweep) = &self.sweep {
            let _ = sweep.send(work);
        }
    }

    /// The threads in the caller's hands; what is given here from now on is not done any more.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            refill: self.refill.take(),
            sweep: self.sweep.take(),
            threads: std::mem::take(&mut self.threads),
        }
    }

    /// Ends both threads, after all work that was given.
    pub(crate) fn stop(&mut self) {
        self.refill = None;
        self.sweep = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}

fn refill_all(shared: &Shared, requests: &Receiver<SyncSender<()>>) {
    let mut host = match Socket::open(Protocol::Route) {
        Ok(host) => host,
        Err(error) => return tracing::error!(%error, "no namespaces are kept ready"),
    };
    namespace::yield_to_callers();
    while let Ok(done) = requests.recv() {
        if !shared.is_low() {
            std::thread::sleep(CALM);
        }
        while let Some(wanted) = shared.next_plan() {
            let made = shared.new_namespace(&shared.pooled()).and_then(|new| {
                pool::make(&shared.settings.paths, shared.home.as_fd(), &mut host, new, wanted.plan())
            });
            match made {
                Ok(ready) => shared.put_ready(ready, wanted.plan()),
                Err(error) => {
                    // A network that was removed meanwhile is no failure; any other the next start meets as well, and
                    // tells the user.
                    if wanted.plan().is_none_or(|plan| shared.give_back(plan)) {
                        tracing::warn!(error = %corten_std::chain(&error), "a namespace could not be made ready");
                        break;
                    }
                }
            }
        }
        let _ = done.try_send(());
    }
}

/// Cables that should go with their namespace.
struct Cable {
    interfaces: Vec<String>,
    record: Box<Record>,
    deadline: Instant,
}

fn sweep_all(shared: &Shared, work: &Receiver<Sweep>) {
    let mut host = match Socket::open(Protocol::Route) {
        Ok(host) => host,
        Err(error) => return tracing::error!(%error, "nothing is swept"),
    };
    namespace::yield_to_callers();
    let mut cables: Vec<Cable> = Vec::new();
    let mut waiting = Vec::new();
    loop {
        let next = if cables.is_empty() {
            work.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            work.recv_timeout(INTERVAL)
        };
        match next {
            Ok(Sweep::Sandbox(record)) => remove_sandbox(shared, record, &mut cables),
            Ok(Sweep::Paths(paths)) => paths.iter().for_each(|path| remove_path(path)),
            Ok(Sweep::Interfaces(names)) => names.iter().for_each(|name| remove_interface(&mut host, name)),
            Ok(Sweep::Flows(endpoints, ports)) => {
                if let Err(error) = flows::forget(&endpoints, &ports) {
                    tracing::warn!(error = %corten_std::chain(&error), "old UDP connections could not be forgotten");
                }
            }
            Ok(Sweep::Settle(done)) => waiting.push(done),
            Err(RecvTimeoutError::Timeout) => cables.retain(|cable| !has_gone(shared, &mut host, cable)),
            Err(RecvTimeoutError::Disconnected) if cables.is_empty() => return,
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(INTERVAL);
                cables.retain(|cable| !has_gone(shared, &mut host, cable));
            }
        }
        if cables.is_empty() {
            for done in waiting.drain(..) {
                let _ = SyncSender::try_send(&done, ());
            }
        }
    }
}

fn remove_sandbox(shared: &Shared, sandbox: Box<Record>, cables: &mut Vec<Cable>) {
    let paths = &shared.settings.paths;
    let pin = record::pin_path(paths, &sandbox.id);
    let children: Vec<&Endpoint> = sandbox
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.host_interface.is_empty() && endpoint.remote.is_none())
        .collect();
    if !children.is_empty() {
        remove_children(&pin, &children);
    }
    remove_path(&pin);
    if sandbox.endpoints.is_empty() {
        return remove_path(&record::record_path(paths, &sandbox.id));
    }
    if let Err(error) = flows::forget(&sandbox.endpoints, &sandbox.ports) {
        tracing::warn!(error = %corten_std::chain(&error), "old UDP connections could not be forgotten");
    }
    let interfaces = sandbox.endpoints.iter().map(|endpoint| endpoint.host_interface.clone());
    cables.push(Cable {
        interfaces: interfaces.filter(|name| !name.is_empty()).collect(),
        record: sandbox,
        deadline: Instant::now() + PATIENCE,
    });
}

/// Removes interfaces that are on a parent of the host, which may be wanted again sooner than the kernel takes the
/// namespace apart.
fn remove_children(pin: &Path, children: &[&Endpoint]) {
    let Ok(space) = std::fs::File::open(pin) else { return };
    let remove = || -> io::Result<()> {
        namespace::enter(space.as_fd())?;
        let mut inside = Socket::open(Protocol::Route).map_err(io::Error::other)?;
        for child in children {
            remove_interface(&mut inside, &child.interface);
        }
        Ok(())
    };
    // The thread ends inside.
    let removed = std::thread::scope(|scope| scope.spawn(remove).join());
    if !matches!(removed, Ok(Ok(()))) {
        tracing::warn!(path = %pin.display(), "interfaces are left to the kernel");
    }
}

/// Whether a sandbox's cables have gone, by themselves or, after a while, cut. Its addresses are free then, and its
/// record goes last.
fn has_gone(shared: &Shared, host: &mut Socket, cable: &Cable) -> bool {
    let present = |host: &mut Socket, name: &str| matches!(route::link(host, name), Ok(Some(_)));
    let left: Vec<&String> = cable.interfaces.iter().filter(|name| present(host, name)).collect();
    if !left.is_empty() {
        if Instant::now() < cable.deadline {
            return false;
        }
        for name in left {
            remove_interface(host, name);
        }
    }
    remove_path(&record::record_path(&shared.settings.paths, &cable.record.id));
    shared.release_addresses(&cable.record);
    true
}

/// Removes a pin or a file; one that is not there is fine.
pub(crate) fn remove_path(path: &Path) {
    if let Err(error) = namespace::unpin(path) {
        tracing::warn!(path = %path.display(), %error, "could not be removed");
    }
}

fn remove_interface(host: &mut Socket, name: &str) {
    let mut batch = Batch::new();
    route::delete_link(&mut batch, name);
    match host.send(batch) {
        Err(error) if !error.is_missing() => {
            tracing::warn!(interface = name, error = %corten_std::chain(&error), "could not be removed");
        }
        _ => {}
    }
}
