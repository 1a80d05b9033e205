//! The daemon's side: what it inherited, what it asks of its keeper, and the next keeper when this one was killed.

use crate::Listener;
use crate::handover::{self, Inheritance};
use crate::protocol::{RESUME_ROLE, Reply, Request, RunningDaemon};
use corten_shim::packet::{self, Incoming, Packet};
use corten_std::{Classified, ErrorClass};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a keeper may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// A keeper that ends sooner is not replaced at once.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// Why the keeper did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// This process was not started by a keeper.
    #[error("the daemon role is started by `corten daemon`, not by hand")]
    NoKeeper(#[source] io::Error),
    /// The connection broke, and a new keeper could not be started either.
    #[error("cannot reach the keeper")]
    Lost(#[source] io::Error),
    /// It refused.
    #[error("the keeper refused: {message}")]
    Refused {
        /// Why.
        message: String,
    },
}

impl Classified for KeeperError {
    fn class(&self) -> ErrorClass {
        ErrorClass::System
    }
}

/// The daemon's keeper; cheap to clone. Calls are short (a fork takes 0.2 ms) and block.
#[derive(Clone, Debug)]
pub struct Keeper {
    shared: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// What the next keeper is given. `channel` and `daemon` are unused here.
    inheritance: Inheritance,
    channel: OwnedFd,
    /// Counts keepers.
    generation: u64,
    since: Instant,
    /// The keeper that we started ourselves.
    child: Option<Child>,
    /// We are about to end: no other keeper is started.
    ending: bool,
}

impl Keeper {
    /// Takes over from the keeper that started this process. To be called before other threads are started.
    ///
    /// # Errors
    /// [`KeeperError::NoKeeper`].
    pub fn from_environment() -> Result<Self, KeeperError> {
        let channel = handover::take_standard_input().map_err(KeeperError::NoKeeper)?;
        // The keeper's mask came with us; what waits behind it comes now, nothing was lost.
        corten_sys::process::set_signal_mask(&[]).map_err(KeeperError::NoKeeper)?;
        let inheritance = handover::receive(&channel).map_err(KeeperError::NoKeeper)?;
        let state =
            State { inheritance, channel, generation: 0, since: Instant::now(), child: None, ending: false };
        Ok(Self { shared: Arc::new(Mutex::new(state)) })
    }

    /// The listening sockets, as copies.
    ///
    /// # Errors
    /// Where a descriptor cannot be copied.
    pub fn listeners(&self) -> io::Result<Vec<Listener>> {
        let state = self.lock();
        state.inheritance.listeners.iter().map(Listener::try_clone).collect()
    }

    /// Everything kept for us by name ([`Keeper::hold`]), as copies.
    ///
    /// # Errors
    /// Where a descriptor cannot be copied.
    pub fn held(&self) -> io::Result<BTreeMap<String, Vec<OwnedFd>>> {
        let state = self.lock();
        let copies = state.inheritance.held.iter().map(|(name, held)| {
            Ok((name.clone(), held.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?))
        });
        copies.collect()
    }

    /// Forks a shim with a request made by [`corten_shim::client::prepare`]. Its process id; none where the keeper
    /// was killed before it could tell, although the shim is there.
    ///
    /// # Errors
    /// Where it was not forked.
    pub fn fork_shim(
        &self,
        request: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Option<i32>, KeeperError> {
        let mut state = self.lock();
        loop {
            // The shim keeps the writing end open: if the keeper dies in between, this tells whether there is one.
            let (witness, held_by_shim) =
                pipe_with(PipeFlags::CLOEXEC).map_err(|error| KeeperError::Lost(error.into()))?;
            let mut copies = descriptors
                .iter()
                .map(BorrowedFd::try_clone_to_owned)
                .collect::<io::Result<Vec<_>>>()
                .map_err(KeeperError::Lost)?;
            copies.push(held_by_shim);
            match state.ask_once(&Request::ForkShim, request, copies) {
                Ok(Reply::Forked { pid }) => return Ok(Some(pid)),
                Ok(Reply::Failed { message }) => return Err(KeeperError::Refused { message }),
                Ok(Reply::Done) => return Ok(None),
                Err(_) => {
                    state.replace().map_err(KeeperError::Lost)?;
                    if !is_closed(&witness) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Keeps descriptors over our death, under a name; those kept before under it are closed.
    ///
    /// # Errors
    /// Where the keeper cannot be reached.
    pub fn hold(&self, name: &str, descriptors: Vec<OwnedFd>) -> Result<(), KeeperError> {
        let mut state = self.lock();
        let copies = descriptors
            .iter()
            .map(OwnedFd::try_clone)
            .collect::<io::Result<_>>()
            .map_err(KeeperError::Lost)?;
        // First ours: the next keeper is given these.
        state.inheritance.held.insert(name.to_owned(), descriptors);
        state.ask(&Request::Hold { name: name.to_owned() }, copies)
    }

    /// Closes what is kept under a name.
    ///
    /// # Errors
    /// Where the keeper cannot be reached.
    pub fn release(&self, name: &str) -> Result<(), KeeperError> {
        let mut state = self.lock();
        if state.inheritance.held.remove(name).is_none() {
            return Ok(());
        }
        state.ask(&Request::Release { name: name.to_owned() }, Vec::new())
    }

    /// A new user namespace with these maps, as the kernel reads them.
    ///
    /// # Errors
    /// Where the kernel refuses it, or the keeper cannot be reached.
    pub fn user_namespace(&self, uid_map: &str, gid_map: &str) -> Result<OwnedFd, KeeperError> {
        let request = Request::UserNamespace { uid_map: uid_map.to_owned(), gid_map: gid_map.to_owned() };
        self.lock().ask_for(&request, Vec::new())
    }

    /// A new network namespace that belongs to a user namespace.
    ///
    /// # Errors
    /// Where the kernel refuses it, or the keeper cannot be reached.
    pub fn network_namespace(&self, users: BorrowedFd<'_>) -> Result<OwnedFd, KeeperError> {
        let users = users.try_clone_to_owned().map_err(KeeperError::Lost)?;
        self.lock().ask_for(&Request::NetworkNamespace, vec![users])
    }

    /// We serve. From here on our death is not a failed start, and a thread of ours watches the keeper.
    ///
    /// # Errors
    /// Where the keeper cannot be reached, or the thread not be started.
    pub fn ready(&self) -> Result<(), KeeperError> {
        self.lock().ask(&Request::Ready, Vec::new())?;
        let keeper = self.clone();
        std::thread::Builder::new()
            .name("keeper-watch".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || keeper.watch())
            .map_err(KeeperError::Lost)?;
        Ok(())
    }

    /// We are about to end for good: the keeper ends after us, and no other daemon is started.
    ///
    /// # Errors
    /// Where the keeper cannot be reached; none is started either.
    pub fn shutdown(&self) -> Result<(), KeeperError> {
        let mut state = self.lock();
        state.ending = true;
        state.ask(&Request::Shutdown, Vec::new())
    }

    /// Where the program lies that keeper and daemon were started from. Their own `/proc/self/exe` leads to a
    /// read-only mount of it that is nowhere attached, and cannot be cloned.
    pub fn program(&self) -> PathBuf {
        self.lock().inheritance.setup.program.clone()
    }

    /// The keeper becomes the program now at its path and replaces us: SIGTERM follows.
    ///
    /// # Errors
    /// Where the keeper cannot be reached.
    pub fn upgrade(&self) -> Result<(), KeeperError> {
        self.lock().ask(&Request::Upgrade, Vec::new())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts another keeper whenever the present one is gone. Ends with the daemon.
    fn watch(&self) {
        loop {
            let (generation, channel) = {
                let state = self.lock();
                (state.generation, state.channel.try_clone())
            };
            let Ok(channel) = channel else { return };
            // Without wishes only the end of the connection is told.
            let _ = poll(&mut [PollFd::new(&channel, PollFlags::empty())], None);
            drop(channel);
            let mut state = self.lock();
            if state.ending {
                return;
            }
            if state.generation == generation {
                if state.since.elapsed() < SHORT_LIFE {
                    drop(state);
                    std::thread::sleep(SHORT_LIFE);
                    state = self.lock();
                }
                if state.generation == generation && state.replace().is_err() {
                    drop(state);
                    std::thread::sleep(SHORT_LIFE);
                }
            }
        }
    }
}

impl State {
    /// Asks for something that may be asked twice; a keeper that was killed is replaced.
    fn ask(&mut self, request: &Request, descriptors: Vec<OwnedFd>) -> Result<(), KeeperError> {
        self.ask_twice(request, descriptors).map(drop)
    }

    /// As [`Self::ask`], for a descriptor.
    fn ask_for(&mut self, request: &Request, descriptors: Vec<OwnedFd>) -> Result<OwnedFd, KeeperError> {
        let made = self.ask_twice(request, descriptors)?.into_iter().next();
        made.ok_or_else(|| KeeperError::Refused { message: "it sent nothing".to_owned() })
    }

    fn ask_twice(
        &mut self,
        request: &Request,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Vec<OwnedFd>, KeeperError> {
        let copies = descriptors
            .iter()
            .map(OwnedFd::try_clone)
            .collect::<io::Result<_>>()
            .map_err(KeeperError::Lost)?;
        let (reply, received) = match self.exchange(request, &[], copies) {
            Ok(reply) => reply,
            Err(error) if self.ending => return Err(KeeperError::Lost(error)),
            Err(_) => {
                self.replace().map_err(KeeperError::Lost)?;
                self.exchange(request, &[], descriptors).map_err(KeeperError::Lost)?
            }
        };
        match reply {
            Reply::Failed { message } => Err(KeeperError::Refused { message }),
            Reply::Done | Reply::Forked { .. } => Ok(received),
        }
    }

    fn ask_once(&mut self, request: &Request, body: &[u8], descriptors: Vec<OwnedFd>) -> io::Result<Reply> {
        self.exchange(request, body, descriptors).map(|(reply, _)| reply)
    }

    fn exchange(
        &mut self,
        request: &Request,
        body: &[u8],
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<(Reply, Vec<OwnedFd>)> {
        let mut document = serde_json::to_vec(request)?;
        document.push(0);
        document.extend_from_slice(body);
        packet::send(self.channel.as_fd(), document, descriptors)?;
        let packet = self.receive()?;
        Ok((serde_json::from_slice(&packet.document)?, packet.descriptors))
    }

    fn receive(&self) -> io::Result<Packet> {
        let mut incoming = Incoming::default();
        let end = Instant::now() + ANSWER_TIME;
        loop {
            if let Some(packet) = incoming.receive(self.channel.as_fd())? {
                return Ok(packet);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&self.channel, PollFlags::IN)], Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Kills the keeper that started us, where it still lives.
    fn kill_parent(&self) {
        let keeper = corten_sys::socket::peer_credentials(&self.channel).map_or(0, |peer| peer.pid);
        if let Some(parent) =
            rustix::process::getppid().filter(|parent| parent.as_raw_nonzero().get() == keeper)
        {
            let _ = rustix::process::kill_process(parent, rustix::process::Signal::KILL);
        }
    }

    /// Starts another keeper and hands everything over, ourselves included.
    fn replace(&mut self) -> io::Result<()> {
        // It is dead, or of no use (it did not answer): one that comes to life again would see us gone, and start a
        // daemon beside ours.
        match &mut self.child {
            Some(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            None => self.kill_parent(),
        }
        if self.inheritance.setup.notify_socket.is_some() {
            // To a service manager the keeper is the service: it starts another, beside which one of ours would have no
            // place. We end in order, and containers go on.
            self.ending = true;
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)?;
            return Err(io::Error::other(
                "the keeper is gone, and it is for the service manager to start another",
            ));
        }
        let (ours, theirs) = packet::pair()?;
        let (channel, their_channel) = packet::pair()?;
        let daemon = RunningDaemon { pid: std::process::id() as i32, replace: false };
        let Inheritance { setup, lock, listeners, held, .. } = &self.inheritance;
        handover::send(&ours, setup, lock.as_ref(), listeners, held, Some((daemon, &their_channel)))?;
        let child = Command::new("/proc/self/exe")
            .arg0("corten")
            .arg(RESUME_ROLE)
            .stdin(Stdio::from(theirs))
            .current_dir("/")
            .spawn()?;
        self.channel = channel;
        self.child = Some(child);
        self.generation += 1;
        self.since = Instant::now();
        Ok(())
    }
}

/// Whether nobody holds the other end of a pipe. A process that is being killed lets go of it a moment later.
fn is_closed(reader: &OwnedFd) -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    matches!(poll(&mut [PollFd::new(reader, PollFlags::IN)], Some(&timeout)), Ok(1))
}
