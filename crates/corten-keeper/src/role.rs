//! The keeper's one loop: waits for its daemon's requests, for signals, and for the end of its children.
//!
//! ```text
//! begin ──▶ Serving ──daemon ends──▶ (decide) ──▶ start another, at once or after a pause
//!              │                        └──▶ end, where its very first start failed
//!              └─SIGTERM, SIGINT, Shutdown──▶ Stopping: daemon asked, 15 s, killed ──▶ end; shims stay
//! ```

use crate::Listener;
use crate::handover;
use crate::notify;
use crate::program;
use crate::protocol::{DAEMON_ROLE, RESUME_ROLE, Reply, Request, RunningDaemon, Setup};
use crate::restart::{Decision, Ending, Situation, decide};
use crate::view::{View, ViewError};
use corten_shim::packet::{self, Incoming, Outgoing, Packet};
use corten_std::{PathError, Paths, file};
use corten_sys::process::{self, Exit, Fork};
use corten_sys::user_namespace;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;

/// What the keeper waits for.
const SIGNALS: [i32; 4] = [SIGHUP, SIGINT, SIGTERM, SIGCHLD];

/// How long a daemon may take to end when it was asked to.
const STOP_TIME: Duration = Duration::from_secs(15);

/// How often the lock is tried before somebody else's keeper is believed in: a killed one is gone in less.
const LOCK_TRIES: u32 = 50;

/// Why a keeper could not begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// A folder or file of ours.
    #[error("cannot prepare the keeper's files")]
    File(#[source] PathError),
    /// Another keeper has this run folder.
    #[error("another daemon runs with the run folder `{}`", .exec_root.display())]
    Taken {
        /// The folder.
        exec_root: std::path::PathBuf,
    },
    /// The mount namespace.
    #[error("cannot leave the host's mounts")]
    View(#[source] ViewError),
    /// What was handed over cannot be read.
    #[error("cannot read what the last keeper handed over")]
    HandOver(#[source] io::Error),
    /// Another step.
    #[error("cannot {operation}")]
    System {
        /// What failed.
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl corten_std::Classified for BeginError {
    fn class(&self) -> corten_std::ErrorClass {
        match self {
            Self::Taken { .. } => corten_std::ErrorClass::Conflict,
            _ => corten_std::ErrorClass::System,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Taken { .. } => {
                Some("give the second daemon folders of its own with --exec-root and --data-root".into())
            }
            _ => None,
        }
    }
}

fn system<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> BeginError {
    move |error| BeginError::System { operation, source: error.into() }
}

/// What a loop ended with.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// This process is a forked shim now; the keeper's things are to be dropped, then the shim run.
    Shim(Packet),
    /// The keeper ends with this code.
    End(i32),
}

#[derive(Debug)]
struct Daemon {
    pid: i32,
    pidfd: OwnedFd,
    channel: OwnedFd,
    incoming: Incoming,
    ready: bool,
    /// Its end of the channel is closed.
    dumb: bool,
    /// It is our child, and reaped by us.
    child: bool,
    /// How it ended, as far as that was seen.
    exit: Option<Exit>,
}

/// A keeper.
#[derive(Debug)]
pub(crate) struct Role {
    setup: Setup,
    view: Option<View>,
    lock: OwnedFd,
    listeners: Vec<Listener>,
    held: BTreeMap<String, Vec<OwnedFd>>,
    signals: OwnedFd,
    /// The program's file at our start.
    stamp: Option<program::Stamp>,
    daemon: Option<Daemon>,
    /// When the next daemon is started.
    start_at: Option<Instant>,
    ever_ready: bool,
    failed_before: u32,
    stopping: bool,
    /// The daemon is killed then.
    kill_at: Option<Instant>,
}

impl Role {
    /// Everything before the first round. A new keeper has no inheritance but its listeners.
    pub(crate) fn begin(inheritance: handover::Inheritance) -> Result<Self, BeginError> {
        let handover::Inheritance { setup, daemon, channel, lock, listeners, held } = inheritance;
        let paths = Paths::new(&setup.data_root, &setup.exec_root);
        // First of all: whoever reads our process id may ask us to end.
        process::set_signal_mask(&SIGNALS).map_err(system("block signals"))?;
        let _ = process::set_name(c"corten-keeper");
        // What containers and images hold is nobody else's on the host, set-user-id programs least of all; the run
        // folder is passed through by who may open the socket in it, and not listed.
        for (folder, mode) in [
            (paths.data_root.clone(), 0o710),
            (paths.exec_root.clone(), 0o711),
            (paths.running(), 0o700),
            (paths.network_namespaces(), 0o700),
            (paths.sandboxes(), 0o700),
        ] {
            file::create_dir_all_with_mode(folder, mode).map_err(BeginError::File)?;
        }
        let lock = match lock {
            Some(lock) => lock,
            None => lock_run_folder(&paths)?,
        };
        if let Some(pid_file) = &setup.pid_file {
            let text = format!("{}\n", std::process::id());
            file::write_atomic(pid_file, text.as_bytes(), file::Durability::Kernel)
                .map_err(BeginError::File)?;
        }
        let signals = process::signal_descriptor(&SIGNALS).map_err(system("watch signals"))?;
        let stamp = program::stamp(&setup.program);
        let view =
            if setup.private_namespace { Some(View::enter(&paths).map_err(BeginError::View)?) } else { None };
        let mut role = Self {
            setup,
            view,
            lock,
            listeners,
            held,
            signals,
            stamp,
            daemon: None,
            start_at: Some(Instant::now()),
            ever_ready: false,
            failed_before: 0,
            stopping: false,
            kill_at: None,
        };
        if let (Some(running), Some(channel)) = (daemon, channel) {
            role.adopt(running, channel);
        }
        Ok(role)
    }

    /// A daemon that was there before this keeper.
    fn adopt(&mut self, running: RunningDaemon, channel: OwnedFd) {
        // Where it has ended meanwhile a new one is started, which is due anyway.
        let Ok(pidfd) = process::pidfd_open(running.pid) else { return };
        let child = rustix::process::Pid::from_raw(running.pid)
            .and_then(|pid| rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG).ok())
            .is_some();
        self.ever_ready = true;
        self.start_at = None;
        if running.replace {
            let _ = process::pidfd_send_signal(pidfd.as_fd(), SIGTERM);
            self.kill_at = Some(Instant::now() + STOP_TIME);
        }
        self.daemon = Some(Daemon {
            pid: running.pid,
            pidfd,
            channel,
            incoming: Incoming::default(),
            ready: true,
            dumb: false,
            child,
            exit: None,
        });
    }

    /// Serves until this process is a shim, or is to end.
    pub(crate) fn stay(&mut self) -> Outcome {
        loop {
            if let Some(outcome) = self.round() {
                return outcome;
            }
        }
    }

    fn round(&mut self) -> Option<Outcome> {
        let now = Instant::now();
        if self.daemon.is_none() && self.start_at.is_some_and(|at| now >= at) {
            self.start_at = None;
            if let Err(error) = self.start_daemon() {
                complain(&format!("cannot start the daemon: {error}"));
                return self.daemon_ended(Ending::Code(1), false);
            }
        }
        if self.kill_at.is_some_and(|at| now >= at) {
            self.kill_at = None;
            if let Some(daemon) = &self.daemon {
                let _ = process::pidfd_send_signal(daemon.pidfd.as_fd(), SIGKILL);
            }
        }
        let [signal, request, end] = self.wait(now);
        if signal {
            self.take_signals();
        }
        if request && let Some(outcome) = self.serve() {
            return Some(outcome);
        }
        if end && let Some(daemon) = self.daemon.take() {
            return self.reap_daemon(daemon);
        }
        if self.stopping && self.daemon.is_none() {
            return Some(self.end(0));
        }
        None
    }

    /// Whether there is a signal, a request, and the daemon's end.
    fn wait(&self, now: Instant) -> [bool; 3] {
        let mut descriptors = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if let Some(daemon) = &self.daemon {
            descriptors.push(PollFd::new(&daemon.pidfd, PollFlags::IN));
            // A channel that is closed before its daemon has ended would wake us without end; its end comes.
            if !daemon.dumb {
                descriptors.push(PollFd::new(&daemon.channel, PollFlags::IN));
            }
        }
        let timeout = self.start_at.into_iter().chain(self.kill_at).min().map(|at| {
            let left = at.saturating_duration_since(now);
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        if poll(&mut descriptors, timeout.as_ref()).is_err() {
            return [false; 3];
        }
        let happened =
            |index: usize| descriptors.get(index).is_some_and(|polled| !polled.revents().is_empty());
        [happened(0), happened(2), happened(1)]
    }

    fn take_signals(&mut self) {
        while let Ok(Some((signal, _))) = process::read_signal(self.signals.as_fd()) {
            match signal {
                SIGTERM | SIGINT => self.stop(),
                SIGHUP if self.program_changed() => self.upgrade(),
                SIGHUP => self.pass_on(SIGHUP),
                // Shims, or the daemon.
                _ => self.reap_children(),
            }
        }
    }

    fn reap_children(&mut self) {
        while let Ok(Some((pid, exit))) = process::reap_any() {
            if let Some(daemon) = self.daemon.as_mut().filter(|daemon| daemon.pid == pid) {
                daemon.exit = Some(exit);
            }
        }
    }

    /// Whether the program at our path is another than the one that was there at our start.
    fn program_changed(&self) -> bool {
        let look = || program::stamp(&self.setup.program);
        let now = match &self.view {
            Some(view) => view.on_host(look).ok().flatten(),
            None => look(),
        };
        // One that is gone is told by the upgrade.
        now.is_none() || now != self.stamp
    }

    fn pass_on(&self, signal: i32) {
        if let Some(daemon) = self.daemon.as_ref().filter(|daemon| daemon.ready) {
            let _ = process::pidfd_send_signal(daemon.pidfd.as_fd(), signal);
        }
    }

    /// The daemon is asked to end, a second time killed.
    fn stop(&mut self) {
        let signal = if self.stopping { SIGKILL } else { SIGTERM };
        if !self.stopping {
            self.notify("STOPPING=1");
        }
        self.stopping = true;
        self.start_at = None;
        if let Some(daemon) = &self.daemon {
            let _ = process::pidfd_send_signal(daemon.pidfd.as_fd(), signal);
            self.kill_at = Some(Instant::now() + STOP_TIME);
        }
    }

    /// Tells the service manager, where one waits to hear of us.
    fn notify(&self, state: &str) {
        let Some(socket) = &self.setup.notify_socket else { return };
        let told = match &self.view {
            // Its socket lies on the host.
            Some(view) => view.on_host(|| notify::send(socket, state)).and_then(|told| told),
            None => notify::send(socket, state),
        };
        if let Err(error) = told {
            complain(&format!("cannot tell the service manager {state}: {error}"));
        }
    }

    fn start_daemon(&mut self) -> io::Result<()> {
        let (ours, theirs) = packet::pair()?;
        handover::send(&ours, &self.setup, Some(&self.lock), &self.listeners, &self.held, None)?;
        let arguments = self.setup.daemon_arguments.iter().cloned().map(OsString::from_vec);
        let mut command = Command::new("/proc/self/exe");
        command.arg0("corten").arg(DAEMON_ROLE).args(arguments).stdin(Stdio::from(theirs)).current_dir("/");
        // The signal mask goes along; the daemon opens it when it is ready for signals.
        let child = match &self.view {
            Some(view) => view.on_host(|| command.spawn())??,
            None => command.spawn()?,
        };
        let pid = child.id() as i32;
        self.daemon = Some(Daemon {
            pid,
            pidfd: process::pidfd_open(pid)?,
            channel: ours,
            incoming: Incoming::default(),
            ready: false,
            dumb: false,
            child: true,
            exit: None,
        });
        Ok(())
    }

    fn reap_daemon(&mut self, mut daemon: Daemon) -> Option<Outcome> {
        if daemon.child && daemon.exit.is_none() {
            daemon.exit = process::wait(daemon.pid).ok();
        }
        let ending = match daemon.exit {
            Some(Exit::Code(code)) => Ending::Code(code),
            Some(Exit::Signal(SIGKILL)) | None => Ending::Killed,
            Some(Exit::Signal(_)) => Ending::Crashed,
        };
        if !self.stopping {
            let how = match daemon.exit {
                Some(Exit::Code(code)) => format!("ended with code {code}"),
                Some(Exit::Signal(signal)) => format!("was killed by signal {signal}"),
                None => "ended".to_owned(),
            };
            complain(&format!("the daemon (process {}) {how}", daemon.pid));
        }
        self.daemon_ended(ending, daemon.ready)
    }

    fn daemon_ended(&mut self, ending: Ending, was_ready: bool) -> Option<Outcome> {
        self.kill_at = None;
        let situation = Situation {
            ending,
            was_ready,
            ever_ready: self.ever_ready,
            failed_before: self.failed_before,
            stopping: self.stopping,
        };
        self.failed_before = match ending {
            _ if was_ready => 0,
            Ending::Killed => self.failed_before,
            Ending::Code(_) | Ending::Crashed => self.failed_before + 1,
        };
        match decide(situation) {
            Decision::End(code) => Some(self.end(code)),
            Decision::Restart(pause) => {
                self.start_at = Some(Instant::now() + pause);
                None
            }
        }
    }

    /// Takes one request of the daemon.
    fn serve(&mut self) -> Option<Outcome> {
        let daemon = self.daemon.as_mut()?;
        let packet = match daemon.incoming.receive(daemon.channel.as_fd()) {
            Ok(Some(packet)) => packet,
            Ok(None) => return None,
            Err(_) => {
                // It cannot ask any more, and is of no use without: its end is awaited, or brought about.
                let _ = process::pidfd_send_signal(daemon.pidfd.as_fd(), SIGTERM);
                self.kill_at.get_or_insert(Instant::now() + STOP_TIME);
                daemon.dumb = true;
                return None;
            }
        };
        let Packet { document, descriptors } = packet;
        let end_of_head = document.iter().position(|byte| *byte == 0).unwrap_or(document.len());
        let reply = match serde_json::from_slice(&document[..end_of_head]) {
            Err(error) => {
                Reply::Failed { message: format!("the keeper does not understand the request: {error}") }
            }
            Ok(Request::Ready) => {
                daemon.ready = true;
                self.ever_ready = true;
                self.failed_before = 0;
                self.notify("READY=1");
                Reply::Done
            }
            Ok(Request::ForkShim) => match process::fork() {
                Ok(Fork::Child) => {
                    let _ = process::set_signal_mask(&[]);
                    let document = document.get(end_of_head + 1..).unwrap_or_default().to_vec();
                    return Some(Outcome::Shim(Packet { document, descriptors }));
                }
                Ok(Fork::Parent(child)) => Reply::Forked { pid: child.pid },
                Err(error) => Reply::Failed { message: format!("cannot fork a shim: {error}") },
            },
            Ok(Request::Hold { name }) => {
                self.held.insert(name, descriptors);
                Reply::Done
            }
            Ok(Request::Release { name }) => {
                self.held.remove(&name);
                Reply::Done
            }
            Ok(Request::UserNamespace { uid_map, gid_map }) => {
                return self.answer_with(user_namespace::make(&uid_map, &gid_map));
            }
            Ok(Request::NetworkNamespace) => {
                let users = descriptors.first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput));
                return self.answer_with(users.and_then(|users| user_namespace::make_network(users.as_fd())));
            }
            Ok(Request::Shutdown) => {
                self.stopping = true;
                self.kill_at = Some(Instant::now() + STOP_TIME);
                Reply::Done
            }
            Ok(Request::Upgrade) => {
                self.answer(&Reply::Done);
                self.upgrade();
                return None;
            }
        };
        self.answer(&reply);
        None
    }

    /// Answers with what was made.
    fn answer_with(&mut self, made: io::Result<OwnedFd>) -> Option<Outcome> {
        match made {
            Ok(descriptor) => self.send(&Reply::Done, vec![descriptor]),
            Err(error) => {
                self.answer(&Reply::Failed { message: format!("cannot make a namespace: {error}") });
            }
        }
        None
    }

    fn answer(&mut self, reply: &Reply) {
        self.send(reply, Vec::new());
    }

    fn send(&mut self, reply: &Reply, descriptors: Vec<OwnedFd>) {
        let Some(daemon) = &self.daemon else { return };
        // The daemon waits for each answer, so its socket has room; where not, it is no daemon of ours.
        if let Ok(document) = serde_json::to_vec(reply)
            && let Ok(mut outgoing) = Outgoing::new(document, descriptors)
        {
            let _ = outgoing.send(daemon.channel.as_fd());
        }
    }

    /// Becomes the program that is now at our path, with everything handed over; goes on as it is where that fails.
    fn upgrade(&mut self) {
        let Some(daemon) = &self.daemon else { return };
        let running = RunningDaemon { pid: daemon.pid, replace: true };
        let attempt = || -> io::Result<io::Error> {
            let (ours, theirs) = packet::pair()?;
            let daemon = Some((running, &daemon.channel));
            handover::send(&ours, &self.setup, Some(&self.lock), &self.listeners, &self.held, daemon)?;
            drop(ours);
            let become_it = || -> io::Result<io::Error> {
                let program = program::protected(&self.setup.program, self.setup.private_namespace)?;
                let mut command = Command::new(program.path());
                Ok(command.arg0("corten").arg(RESUME_ROLE).stdin(Stdio::from(theirs)).exec())
            };
            match &self.view {
                Some(view) => view.on_host(become_it)?,
                None => become_it(),
            }
        };
        let (Ok(error) | Err(error)) = attempt();
        complain(&format!(
            "cannot run `{}`, the present program stays: {error}",
            self.setup.program.display()
        ));
    }

    /// Leaves nothing behind but the shims, which go on.
    fn end(&self, code: i32) -> Outcome {
        let clean = || {
            for listener in self.listeners.iter().filter(|listener| !listener.passed) {
                if let Some(path) = crate::socket_path(&listener.descriptor) {
                    let _ = file::remove_file(path);
                }
            }
            if let Some(pid_file) = &self.setup.pid_file {
                let _ = file::remove_file(pid_file);
            }
        };
        match &self.view {
            Some(view) => {
                let _ = view.on_host(clean);
            }
            None => clean(),
        }
        Outcome::End(code)
    }
}

/// Only one keeper has a run folder.
fn lock_run_folder(paths: &Paths) -> Result<OwnedFd, BeginError> {
    let path = paths.keeper_lock();
    let lock = file::create(&path).map_err(BeginError::File)?;
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock.into()),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(BeginError::File(PathError::new("lock", path, error))),
        }
    }
    Err(BeginError::Taken { exec_root: paths.exec_root.clone() })
}

/// One line for whoever started the keeper, or its log.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "corten keeper: {text}");
}
