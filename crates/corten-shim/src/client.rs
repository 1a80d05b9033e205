//! The daemon's side of a shim: a connection that is told when processes end, and by which it asks.
//!
//! [`prepare`] makes the packet for the keeper and the connection to the shim that will be forked with it;
//! [`Shim::connect`] finds a running shim again. Both give the [`Shim`] (cheap to clone, asks) and its [`Events`].

mod spare;

pub use spare::{Spare, prepare_spare};

use crate::packet::{self, Incoming, Outgoing};
use crate::protocol::{
    AttachRequest, ClientPacket, ConsoleSize, DescriptorRole, Event, ExecRequest, Failure, FailureCode,
    NumberedEvent, Reply, Request, ServerPacket, StartRequest, Started, Status, Target, VERSION,
};
use corten_std::{Classified, ErrorClass};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Why a shim could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// No shim answers there: it has ended, or never was.
    #[error("cannot reach the shim in `{run_dir}`")]
    Connect {
        /// The run folder.
        run_dir: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The connection broke before the answer: the shim has ended.
    #[error("the shim has ended")]
    Gone,
    /// The shim refused.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// The request could not be made.
    #[error("cannot send a request to the shim")]
    Send(#[source] io::Error),
    /// The shim's answer is not one that belongs to the request.
    #[error("the shim gave an answer that does not fit the request")]
    Answer,
}

impl Classified for ShimError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Refused(failure) => match failure.code {
                FailureCode::NotFound => ErrorClass::NotFound,
                FailureCode::Ended | FailureCode::Conflict => ErrorClass::Conflict,
                FailureCode::Invalid | FailureCode::Launch => ErrorClass::InvalidParameter,
                FailureCode::Unsupported => ErrorClass::NotImplemented,
                FailureCode::System => ErrorClass::System,
            },
            Self::Connect { .. } | Self::Gone | Self::Send(_) | Self::Answer => ErrorClass::System,
        }
    }
}

impl ShimError {
    /// The runtime's error, where a start or an exec failed in it.
    pub fn launch(&self) -> Option<corten_runtime::LaunchError> {
        match self {
            Self::Refused(Failure { launch: Some(launch), .. }) => {
                serde_json::from_value(launch.clone()).ok()
            }
            _ => None,
        }
    }
}

/// A start that is ready to be given to the keeper (`fork_shim(&bytes, &borrowed())`). Drop it afterwards: only the
/// shim may hold these descriptors.
#[derive(Debug)]
pub struct PreparedStart {
    /// The request document.
    pub bytes: Vec<u8>,
    /// The descriptors beside it.
    pub descriptors: Vec<OwnedFd>,
}

impl PreparedStart {
    /// The descriptors as the keeper's call wants them.
    pub fn borrowed(&self) -> Vec<BorrowedFd<'_>> {
        self.descriptors.iter().map(AsFd::as_fd).collect()
    }
}

/// The descriptors of a start, each by its meaning.
#[derive(Debug)]
pub struct StartDescriptors {
    /// The detached mount that becomes `/`.
    pub root: OwnedFd,
    /// Detached trees for `spec.mounts[index]`.
    pub mount_trees: Vec<(usize, OwnedFd)>,
    /// The network namespace to join.
    pub network_namespace: Option<OwnedFd>,
    /// The user namespace to join.
    pub user_namespace: Option<OwnedFd>,
    /// The host's device nodes for a container in a user namespace, by their path inside.
    pub devices: Vec<(String, OwnedFd)>,
    /// The cgroup.
    pub cgroup: corten_runtime::cgroup::CgroupHandle,
    /// The seccomp program of container and execs.
    pub seccomp: Option<corten_runtime::seccomp::Program>,
    /// The program of `--init`.
    pub init: Option<OwnedFd>,
    /// For another runtime's program: the host's mount namespace, and the root folder there.
    pub host: Option<(OwnedFd, OwnedFd)>,
    /// Clients attached before the container runs.
    pub attach: Vec<(AttachRequest, OwnedFd)>,
    /// Kept open as long as the shim lives.
    pub keep: Vec<(String, OwnedFd)>,
}

/// Makes the packet for the keeper from a request (whose `version` and `descriptors` are filled in here) and its
/// descriptors, and the connection to the shim that will come of it.
///
/// # Errors
/// Where the kernel refuses a socket or a memory file, or the document cannot be written.
pub fn prepare(
    request: StartRequest,
    descriptors: StartDescriptors,
) -> io::Result<(PreparedStart, Shim, Events)> {
    let (ours, theirs) = packet::pair()?;
    let prepared = assemble(request, descriptors, Some(theirs))?;
    let (shim, events) = Shim::from_socket(ours)?;
    Ok((prepared, shim, events))
}

/// The packet of a start; a spare shim has its connection already.
fn assemble(
    mut request: StartRequest,
    descriptors: StartDescriptors,
    control: Option<OwnedFd>,
) -> io::Result<PreparedStart> {
    let mut list: Vec<_> = control.map(|control| (DescriptorRole::Control, control)).into_iter().collect();
    list.push((DescriptorRole::Root, descriptors.root));
    list.extend(
        descriptors.mount_trees.into_iter().map(|(index, tree)| (DescriptorRole::Mount { index }, tree)),
    );
    list.extend(descriptors.network_namespace.map(|namespace| (DescriptorRole::NetworkNamespace, namespace)));
    list.extend(descriptors.user_namespace.map(|namespace| (DescriptorRole::UserNamespace, namespace)));
    list.extend(descriptors.devices.into_iter().map(|(path, tree)| (DescriptorRole::Device { path }, tree)));
    let (shape, folders) = descriptors.cgroup.into_parts();
    request.cgroup = shape;
    list.extend(folders.into_iter().map(|folder| (DescriptorRole::Cgroup, folder)));
    if let Some(program) = descriptors.seccomp {
        list.push((DescriptorRole::Seccomp, packet::memory_file(&program.to_bytes())?));
    }
    list.extend(descriptors.init.map(|init| (DescriptorRole::Init, init)));
    if let Some((namespace, root)) = descriptors.host {
        list.push((DescriptorRole::HostNamespace, namespace));
        list.push((DescriptorRole::HostRoot, root));
    }
    for (index, (attach, client)) in descriptors.attach.into_iter().enumerate() {
        request.attach.push(attach);
        list.push((DescriptorRole::Attach { index }, client));
    }
    list.extend(
        descriptors.keep.into_iter().map(|(name, descriptor)| (DescriptorRole::Keep { name }, descriptor)),
    );
    request.version = VERSION;
    let (roles, descriptors) = list.into_iter().unzip();
    request.descriptors = roles;
    let bytes = serde_json::to_vec(&request)?;
    Ok(PreparedStart { bytes, descriptors })
}

/// An exec that was refused, with its client's socket, so that the reason can be told to the client.
#[derive(Debug)]
pub struct ExecFailure {
    /// Why.
    pub error: ShimError,
    /// The client's socket, where one was given.
    pub client: Option<OwnedFd>,
}

/// A connection to a shim; cheap to clone. It breaks when the last clone and the [`Events`] are dropped; the shim
/// goes on.
#[derive(Clone, Debug)]
pub struct Shim {
    connection: Arc<Connection>,
}

/// What a shim tells; see [`Events::next`].
#[derive(Debug)]
pub struct Events {
    connection: Arc<Connection>,
    queue: mpsc::UnboundedReceiver<NumberedEvent>,
    /// Number of the event that [`Events::next`] gave last.
    given: Option<u64>,
}

/// Replies are told to the one who waits for that number.
type Waiting = HashMap<u64, oneshot::Sender<Answer>>;

/// A reply with its descriptors.
type Answer = (Result<Reply, Failure>, Vec<OwnedFd>);

#[derive(Debug)]
struct Connection {
    socket: Arc<AsyncFd<OwnedFd>>,
    shared: Arc<Shared>,
    /// The tasks that read and write; ended with the connection.
    tasks: [tokio::task::AbortHandle; 2],
    started: watch::Receiver<Option<Result<Started, Failure>>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something in the queue.
    queued: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct State {
    last_sequence: u64,
    waiting: Waiting,
    /// What the socket did not take at once, in order.
    queue: VecDeque<Outgoing>,
    /// The connection broke: nobody is to wait any more.
    gone: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shim {
    /// A connection over a socket whose other end is, or will be, a shim's. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// Where the socket cannot be watched.
    pub fn from_socket(socket: OwnedFd) -> io::Result<(Self, Events)> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let socket = Arc::new(watched(socket)?);
        let shared = Arc::new(Shared::default());
        let (event_sender, events) = mpsc::unbounded_channel();
        let (started_sender, started) = watch::channel(None);
        let writer = tokio::spawn(write_packets(Arc::clone(&socket), Arc::clone(&shared)));
        let reader = tokio::spawn(read_packets(
            Arc::clone(&socket),
            Arc::clone(&shared),
            event_sender,
            started_sender,
        ));
        let tasks = [reader.abort_handle(), writer.abort_handle()];
        let connection = Arc::new(Connection { socket, shared, tasks, started });
        Ok((Self { connection: Arc::clone(&connection) }, Events { connection, queue: events, given: None }))
    }

    /// Finds the shim of a container again by its run folder. Events that no daemon has acknowledged come again.
    ///
    /// # Errors
    /// [`ShimError::Connect`] where no shim listens any more: read the exit record then.
    pub async fn connect(run_dir: &Path) -> Result<(Self, Events, Status), ShimError> {
        let failed = |source: io::Error| ShimError::Connect { run_dir: run_dir.to_owned(), source };
        let (shim, events) = connect_socket(run_dir).and_then(Self::from_socket).map_err(failed)?;
        match shim.ask(Request::Hello { version: VERSION }).await? {
            (Reply::Welcome { status, .. }, _) => Ok((shim, events, status)),
            _ => Err(ShimError::Answer),
        }
    }

    /// Waits until the container runs, or the runtime could not start it. Only for the connection made by
    /// [`prepare`]; may be called any number of times.
    ///
    /// # Errors
    /// [`ShimError::Refused`] with the runtime's error, see [`ShimError::launch`]; [`ShimError::Gone`] where the
    /// shim ended before it could tell (killed, or the keeper did not fork it).
    pub async fn started(&self) -> Result<Started, ShimError> {
        let mut started = self.connection.started.clone();
        let value = started.wait_for(Option::is_some).await.map_err(|_| ShimError::Gone)?;
        match &*value {
            Some(Ok(started)) => Ok(*started),
            Some(Err(failure)) => Err(ShimError::Refused(failure.clone())),
            None => Err(ShimError::Gone),
        }
    }

    /// Gives a client's socket to the shim: from here on the shim writes to it and reads from it, whatever becomes
    /// of the daemon.
    ///
    /// # Errors
    /// [`FailureCode::NotFound`] or [`FailureCode::Ended`] where there is no such running process.
    pub async fn attach(
        &self,
        exec_id: Option<&str>,
        attach: AttachRequest,
        client: OwnedFd,
    ) -> Result<(), ShimError> {
        let request = Request::Attach { target: Target::of(exec_id), attach };
        let roles = vec![DescriptorRole::Attach { index: 0 }];
        self.send(request, roles, vec![client]).await.map(drop)
    }

    /// Starts a further process, with a client attached from its first byte where one is given.
    ///
    /// # Errors
    /// The runtime's error as in [`Shim::started`]; the client's socket comes back with it.
    pub async fn exec(&self, request: ExecRequest, client: Option<OwnedFd>) -> Result<Started, ExecFailure> {
        let mut roles = Vec::new();
        let mut descriptors = Vec::new();
        if let Some(client) = &client {
            match client.try_clone() {
                Ok(copy) => descriptors.push(copy),
                Err(error) => return Err(ExecFailure { error: ShimError::Send(error), client: None }),
            }
            roles.push(DescriptorRole::Attach { index: 0 });
        }
        match self.send(Request::Exec(Box::new(request)), roles, descriptors).await {
            Ok((Reply::Started(started), _)) => Ok(started),
            Ok(_) => Err(ExecFailure { error: ShimError::Answer, client }),
            Err(error) => Err(ExecFailure { error, client }),
        }
    }

    /// Changes a terminal's size.
    ///
    /// # Errors
    /// Where there is no such process. One without a terminal has no size, and that is fine.
    pub async fn resize(&self, exec_id: Option<&str>, size: ConsoleSize) -> Result<(), ShimError> {
        self.ask(Request::Resize { target: Target::of(exec_id), size }).await.map(drop)
    }

    /// Sends a signal by its number.
    ///
    /// # Errors
    /// [`FailureCode::Ended`] where the process has ended.
    pub async fn signal(&self, exec_id: Option<&str>, signal: i32) -> Result<(), ShimError> {
        self.ask(Request::Signal { target: Target::of(exec_id), signal }).await.map(drop)
    }

    /// Closes a process's standard input behind what was sent to it.
    ///
    /// # Errors
    /// Where there is no such process.
    pub async fn close_stdin(&self, exec_id: Option<&str>) -> Result<(), ShimError> {
        self.ask(Request::CloseStdin { target: Target::of(exec_id) }).await.map(drop)
    }

    /// How things stand.
    ///
    /// # Errors
    /// [`ShimError::Gone`].
    pub async fn status(&self) -> Result<Status, ShimError> {
        match self.ask(Request::Status).await? {
            (Reply::Status(status), _) => Ok(status),
            _ => Err(ShimError::Answer),
        }
    }

    /// Gives back a descriptor that was kept ([`StartDescriptors::keep`]).
    ///
    /// # Errors
    /// [`FailureCode::NotFound`] where none has that name.
    pub async fn descriptor(&self, name: &str) -> Result<OwnedFd, ShimError> {
        let (_, mut descriptors) = self.ask(Request::Descriptor { name: name.to_owned() }).await?;
        descriptors.pop().ok_or(ShimError::Answer)
    }

    /// Makes the log's file anew after somebody moved it away.
    ///
    /// # Errors
    /// [`ShimError::Gone`].
    pub async fn reopen_log(&self) -> Result<(), ShimError> {
        self.ask(Request::ReopenLog).await.map(drop)
    }

    async fn ask(&self, request: Request) -> Result<(Reply, Vec<OwnedFd>), ShimError> {
        self.send(request, Vec::new(), Vec::new()).await
    }

    async fn send(
        &self,
        request: Request,
        roles: Vec<DescriptorRole>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(Reply, Vec<OwnedFd>), ShimError> {
        let receiver = self.connection.post(request, roles, descriptors)?;
        match receiver.await {
            Ok((Ok(reply), descriptors)) => Ok((reply, descriptors)),
            Ok((Err(failure), _)) => Err(ShimError::Refused(failure)),
            Err(_) => Err(ShimError::Gone),
        }
    }
}

impl Events {
    /// The next event; none: the connection broke, which means that the shim has ended (see
    /// [`crate::exit::read`]). An event counts as safe in the daemon, and is forgotten by the shim, when the next
    /// one is asked for; a daemon that dies in between is told it again.
    pub async fn next(&mut self) -> Option<Event> {
        if let Some(number) = self.given.take() {
            self.connection.acknowledge(number);
        }
        let event = self.queue.recv().await?;
        self.given = Some(event.number);
        Some(event.event)
    }

    /// Acknowledges the last event at once instead of at the next call.
    pub fn acknowledge(&mut self) {
        if let Some(number) = self.given.take() {
            self.connection.acknowledge(number);
        }
    }
}

impl Connection {
    /// Sends a request, or queues it; the order is kept.
    fn post(
        &self,
        request: Request,
        roles: Vec<DescriptorRole>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<oneshot::Receiver<Answer>, ShimError> {
        let mut state = self.shared.lock();
        if state.gone {
            return Err(ShimError::Gone);
        }
        state.last_sequence += 1;
        let sequence = state.last_sequence;
        let document = serde_json::to_vec(&ClientPacket { sequence, request, descriptors: roles })
            .map_err(|error| ShimError::Send(error.into()))?;
        let mut packet = Outgoing::new(document, descriptors).map_err(ShimError::Send)?;
        // Mostly the socket takes it at once, and no task has to wake up.
        let sent =
            state.queue.is_empty() && packet.send(self.socket.get_ref().as_fd()).map_err(ShimError::Send)?;
        if !sent {
            state.queue.push_back(packet);
            self.shared.queued.notify_one();
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.insert(sequence, sender);
        Ok(receiver)
    }

    /// Nobody waits for the reply.
    fn acknowledge(&self, event: u64) {
        // A connection that broke leaves the event where it is: in the shim or in the exit record.
        let _ = self.post(Request::Acknowledge { event }, Vec::new(), Vec::new());
    }
}

/// The task that sends what did not go out at once.
async fn write_packets(socket: Arc<AsyncFd<OwnedFd>>, shared: Arc<Shared>) {
    loop {
        shared.queued.notified().await;
        loop {
            let Ok(mut guard) = socket.writable().await else { return };
            let mut state = shared.lock();
            let Some(packet) = state.queue.front_mut() else { break };
            match packet.send(socket.get_ref().as_fd()) {
                Ok(true) => {
                    state.queue.pop_front();
                }
                Ok(false) => guard.clear_ready(),
                Err(_) => return,
            }
        }
    }
}

/// The task that reads: hands replies to those who wait, and the rest on.
async fn read_packets(
    socket: Arc<AsyncFd<OwnedFd>>,
    shared: Arc<Shared>,
    events: mpsc::UnboundedSender<NumberedEvent>,
    started: watch::Sender<Option<Result<Started, Failure>>>,
) {
    let mut incoming = Incoming::default();
    loop {
        let packet = match incoming.receive(socket.get_ref().as_fd()) {
            Ok(Some(packet)) => packet,
            Ok(None) => {
                let Ok(mut guard) = socket.readable().await else { break };
                // Readiness is forgotten only where there is still nothing, or a packet between both would be missed.
                match incoming.receive(socket.get_ref().as_fd()) {
                    Ok(Some(packet)) => packet,
                    Ok(None) => {
                        guard.clear_ready();
                        continue;
                    }
                    Err(_) => break,
                }
            }
            Err(_) => break,
        };
        match serde_json::from_slice(&packet.document) {
            Ok(ServerPacket::Reply { sequence, result }) => {
                let waiting = shared.lock().waiting.remove(&sequence);
                if let Some(waiting) = waiting {
                    let _ = waiting.send((result, packet.descriptors));
                }
            }
            Ok(ServerPacket::Event(event)) => {
                let _ = events.send(event);
            }
            Ok(ServerPacket::Started(result)) => {
                let _ = started.send(Some(result));
            }
            // Told to whoever had the spare shim made; or a newer shim tells something that this version has no name for.
            Ok(ServerPacket::Spare(_)) | Err(_) => {}
        }
    }
    let mut state = shared.lock();
    state.gone = true;
    state.waiting.clear();
    // `events` and `started` are dropped here: their readers see the end.
}

/// Connects to the socket in a run folder. The path goes through a descriptor of the folder, because a socket's
/// path ends at 107 bytes and a run folder's may be longer.
fn connect_socket(run_dir: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let (_folder, address) = crate::control::address(run_dir)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

/// A descriptor that tokio watches. Must be called inside a tokio runtime.
#[expect(deprecated, reason = "its successor is unsafe and asks for what an owned descriptor is anyway")]
pub(crate) fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}
