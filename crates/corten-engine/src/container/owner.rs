//! The task that owns one container: it alone changes its record and its lifecycle, takes the requests of everybody
//! else one after the other, and hears what the shim tells. It lives from create (or the daemon's start) to removal.

use crate::Engine;
use crate::container::forward::Forwarding;
use crate::container::handle::{Handle, NetworkView, Purpose, Request, View};
use crate::container::record::Record;
use crate::container::state::{Lifecycle, Phase};
use crate::container::{Outcome, save, signal, update};
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_api::container::{Health, HostConfig};
use corten_shim::client::{Events, Shim, ShimError};
use corten_shim::protocol::{AttachRequest, Event, FailureCode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// One container and what belongs to it; see the module.
pub(super) struct Owner {
    pub(super) engine: Engine,
    pub(super) record: Arc<Record>,
    pub(super) life: Lifecycle,
    /// While it has a process.
    pub(super) running: Option<Running>,
    /// Clients that wait for the next start.
    pub(super) waiting_clients: Vec<(AttachRequest, OwnedFd)>,
    /// When the restart policy starts it again.
    pub(super) restart_at: Option<Instant>,
    /// The delay before that start; the next one is longer.
    pub(super) last_delay: Option<Duration>,
    /// The end that is awaited belongs to a restart by a user: `--rm` does not act on it.
    pub(super) restarting_by_user: bool,
    /// This run was told to be out of memory.
    pub(super) oom_told: bool,
    pub(super) health: Option<Arc<Health>>,
    /// What sends its log elsewhere, where its driver does.
    pub(super) forwarding: Forwarding,
    publisher: watch::Sender<Arc<View>>,
    requests: mpsc::UnboundedReceiver<Request>,
}

/// What a running container has.
pub(super) struct Running {
    pub(super) shim: Shim,
    pub(super) events: Events,
    pub(super) network: Arc<NetworkView>,
}

/// Whether the owner goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    /// The container is gone.
    End,
}

impl Owner {
    /// Makes the container known and starts its owner.
    pub(super) fn spawn(engine: &Engine, record: Record, life: Lifecycle) -> Arc<Handle> {
        let (owner, handle) = Self::new(engine, record, life);
        engine.inner.containers.insert(Arc::clone(&handle));
        tokio::spawn(owner.run());
        handle
    }

    /// An owner that does not run yet, and the handle that is to be made known.
    pub(super) fn new(engine: &Engine, record: Record, life: Lifecycle) -> (Self, Arc<Handle>) {
        engine.inner.cgroups.place(&record.id, &record.host_config.cgroup_parent);
        let record = Arc::new(record);
        let view = View { record: Arc::clone(&record), life: life.clone(), network: None, health: None };
        let (publisher, receiver) = watch::channel(Arc::new(view));
        let (sender, requests) = mpsc::unbounded_channel();
        let handle = Arc::new(Handle::new(record.id.clone(), sender, receiver));
        let owner = Self {
            engine: engine.clone(),
            record,
            life,
            running: None,
            waiting_clients: Vec::new(),
            restart_at: None,
            last_delay: None,
            restarting_by_user: false,
            oom_told: false,
            health: None,
            forwarding: Forwarding::default(),
            publisher,
            requests,
        };
        (owner, handle)
    }

    /// Serves until the container is gone.
    pub(super) async fn run(mut self) {
        loop {
            let flow = tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => Box::pin(self.serve(request)).await,
                    None => Flow::End,
                },
                event = next_event(&mut self.running) => Box::pin(self.hear(event)).await,
                () = due(self.restart_at) => {
                    self.restart_at = None;
                    Box::pin(self.start_again()).await
                }
            };
            if flow == Flow::End {
                return;
            }
        }
    }

    /// What it looks like, now and later.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.publisher.subscribe()
    }

    /// Shows everybody how things stand.
    pub(super) fn publish(&self) {
        self.publisher.send_replace(Arc::new(View {
            record: Arc::clone(&self.record),
            life: self.life.clone(),
            network: self.running.as_ref().map(|running| Arc::clone(&running.network)),
            health: self.health.clone(),
        }));
    }

    /// Saves the lifecycle and shows it. A failure to save is logged: the container is as it is.
    pub(super) fn publish_and_save(&self) {
        if let Err(error) = save::state(&self.engine.inner, &self.record, &self.life) {
            tracing::warn!(container = self.record.id, %error, "cannot save the state of a container");
        }
        self.publish();
    }

    /// Publishes an event about this container.
    pub(super) fn tell<const N: usize>(&self, action: &str, more: [(&str, String); N]) {
        let attributes = self.record.event_attributes_with(more);
        self.engine.inner.events.publish("container", action, &self.record.id, attributes);
    }

    async fn serve(&mut self, request: Request) -> Flow {
        match request {
            Request::Start { reply } => {
                let (answer, flow) = self.start_by_user().await;
                let _ = reply.send(answer);
                return flow;
            }
            Request::Remove { options, reply } => {
                let answer = self.remove(options.volumes).await;
                let flow = if self.life.phase == Phase::Removed { Flow::End } else { Flow::Continue };
                let _ = reply.send(answer);
                return flow;
            }
            Request::Signal { signal, purpose, reply } => {
                let _ = reply.send(self.signal(signal, purpose).await);
            }
            Request::Freeze { freeze, reply } => {
                let _ = reply.send(self.freeze(freeze).await);
            }
            Request::Rename { name, reply } => {
                let _ = reply.send(self.rename(name).await);
            }
            Request::Unlink { alias, reply } => {
                let _ = reply.send(self.unlink(&alias).await);
            }
            Request::Update { changes, reply } => {
                let _ = reply.send(self.update(&changes).await);
            }
            Request::Connect { network, settings, reply } => {
                let _ = reply.send(self.connect(&network, *settings).await);
            }
            Request::Disconnect { network, reply } => {
                let _ = reply.send(self.disconnect(&network).await);
            }
            Request::Attach { request, socket, reply } => {
                let _ = reply.send(self.attach(request, socket).await);
            }
            Request::Shim { reply } => {
                let answer = match &self.running {
                    Some(running) => Ok(running.shim.clone()),
                    None => Err(self.not_running()),
                };
                let _ = reply.send(answer);
            }
            Request::Health { health } => {
                if self.running.is_some() {
                    self.health = Some(health);
                    self.publish();
                }
            }
        }
        Flow::Continue
    }

    pub(super) fn not_running(&self) -> EngineError {
        EngineError::conflict(format!("container {} is not running", self.record.id))
    }

    async fn start_by_user(&mut self) -> (Result<Outcome>, Flow) {
        match self.life.phase {
            Phase::Running | Phase::Restarting => return (Ok(Outcome::Unchanged), Flow::Continue),
            Phase::Paused => {
                let text = "cannot start a paused container, try unpause instead";
                return (Err(EngineError::conflict(text)), Flow::Continue);
            }
            Phase::Removing | Phase::Removed | Phase::Dead => {
                let text = "container is marked for removal and cannot be started";
                return (Err(EngineError::conflict(text)), Flow::Continue);
            }
            Phase::Created | Phase::Exited => {}
        }
        self.last_delay = None;
        save::clear_exit(&self.engine.inner, &self.record);
        match self.start(true).await {
            Ok(()) => (Ok(Outcome::Changed), Flow::Continue),
            Err(error) => {
                let flow = self.start_failed(&error).await;
                (Err(error), flow)
            }
        }
    }

    /// A start that failed: the reason is kept; a `--rm` container goes.
    pub(super) async fn start_failed(&mut self, error: &EngineError) -> Flow {
        self.waiting_clients.clear();
        self.life.start_failed(error.message(), error.exit_code());
        self.publish_and_save();
        if self.record.auto_remove() {
            if let Err(error) = self.remove(true).await {
                tracing::warn!(container = self.record.id, %error, "cannot remove a container that did not start");
            }
            if self.life.phase == Phase::Removed {
                return Flow::End;
            }
        }
        Flow::Continue
    }

    /// The restart policy's start.
    async fn start_again(&mut self) -> Flow {
        if self.life.phase != Phase::Restarting {
            return Flow::Continue;
        }
        match self.start(false).await {
            Ok(()) => Flow::Continue,
            Err(error) => {
                tracing::warn!(container = self.record.id, %error, "cannot start a container again");
                self.start_failed(&error).await
            }
        }
    }

    async fn signal(&mut self, number: i32, purpose: Purpose) -> Result<()> {
        let restarting = self.life.phase == Phase::Restarting;
        if !restarting && !self.life.phase.has_process() {
            return Err(self.not_running());
        }
        if purpose != Purpose::Tell {
            // Saved before the signal is sent: a daemon that dies in between must not start it again.
            self.life.stopped_by_user = true;
            self.restarting_by_user = purpose == Purpose::Restart;
            if restarting {
                self.restart_at = None;
                self.life.restart_cancelled();
                self.publish_and_save();
                return Ok(());
            }
            if !matches!(self.record.host_config.restart_policy.name.as_str(), "" | "no") {
                self.publish_and_save();
            }
        }
        let Some(running) = &self.running else { return Err(self.not_running()) };
        match running.shim.signal(None, number).await {
            Ok(()) => {}
            // It has ended just now; its exit is on the way.
            Err(ShimError::Gone | ShimError::Send(_)) => {}
            Err(ShimError::Refused(failure)) if failure.code == FailureCode::Ended => {}
            Err(error) => return Err(EngineError::because("sending a signal", error)),
        }
        if number == signal::KILL && self.life.phase == Phase::Paused {
            // A frozen process dies only when it may run.
            self.set_frozen(false).await?;
        }
        self.tell("kill", [("signal", number.to_string())]);
        Ok(())
    }

    async fn freeze(&mut self, freeze: bool) -> Result<()> {
        let id = &self.record.id;
        match (self.life.phase, freeze) {
            (Phase::Running, true) => {
                self.set_frozen(true).await?;
                self.life.phase = Phase::Paused;
                self.publish_and_save();
                self.tell("pause", []);
            }
            (Phase::Paused, false) => {
                self.set_frozen(false).await?;
                self.life.phase = Phase::Running;
                self.publish_and_save();
                self.tell("unpause", []);
            }
            (Phase::Paused, true) => {
                return Err(EngineError::conflict(format!("Container {id} is already paused")));
            }
            (Phase::Restarting, true) => {
                return Err(EngineError::conflict(format!(
                    "Container {id} is restarting, wait until the container is running"
                )));
            }
            (_, true) => return Err(self.not_running()),
            (_, false) => return Err(EngineError::conflict(format!("Container {id} is not paused"))),
        }
        Ok(())
    }

    async fn set_frozen(&self, frozen: bool) -> Result<()> {
        let engine = Arc::clone(&self.engine.inner);
        let id = self.record.id.clone();
        blocking(move || {
            let cgroup = engine.cgroups.open(&id);
            let done = cgroup.and_then(|cgroup| if frozen { cgroup.freeze() } else { cgroup.thaw() });
            done.map_err(|error| EngineError::because("freezing the container", error))
        })
        .await
    }

    async fn rename(&mut self, name: String) -> Result<()> {
        if matches!(self.life.phase, Phase::Removing | Phase::Removed | Phase::Dead) {
            return Err(EngineError::no_such_container(&self.record.id));
        }
        let mut record = (*self.record).clone();
        let old = std::mem::replace(&mut record.name, name);
        self.save_record(record).await?;
        self.names_follow().await;
        self.publish();
        self.tell("rename", [("oldName", format!("/{old}"))]);
        Ok(())
    }

    /// What the container is called on its networks is what its record says now.
    async fn names_follow(&mut self) {
        let Some(running) = &mut self.running else { return };
        let mut network = (*running.network).clone();
        super::names::label(&self.record, &mut network);
        if network == *running.network {
            return;
        }
        let network = Arc::new(network);
        running.network = Arc::clone(&network);
        let (engine, record) = (Arc::clone(&self.engine.inner), Arc::clone(&self.record));
        let followed = blocking(move || {
            save::network(&engine, &record, &network)?;
            super::names::settle(&engine, &record, &network, None)
        });
        if let Err(error) = followed.await {
            tracing::warn!(container = self.record.id, %error, "a container is not found by its new name");
        }
    }

    async fn unlink(&mut self, alias: &str) -> Result<()> {
        let mut record = (*self.record).clone();
        let links = record.host_config.links.get_or_insert_default();
        let before = links.len();
        links.retain(|link| link.split_once(':').is_none_or(|(_, known)| known != alias));
        if links.len() == before {
            return Err(EngineError::not_found(format!("no link {alias}")));
        }
        self.save_record(record).await?;
        self.publish();
        Ok(())
    }

    async fn update(&mut self, changes: &HostConfig) -> Result<Vec<String>> {
        let mut record = (*self.record).clone();
        update::apply(&mut record.host_config, changes).map_err(|error| update::cannot(&record.id, error))?;
        if self.running.is_some() {
            let asked = super::limits::of_update(changes, &record.host_config);
            let limits = super::spec::limits::resources(&asked)?;
            let engine = Arc::clone(&self.engine.inner);
            let id = record.id.clone();
            blocking(move || {
                let updated = engine.cgroups.open(&id).and_then(|cgroup| cgroup.update(&limits));
                updated.map_err(|error| update::cannot(&id, EngineError::because("", error)))
            })
            .await?;
        }
        self.save_record(record).await?;
        self.publish();
        self.tell("update", []);
        Ok(Vec::new())
    }

    /// Saves a changed record and makes it the container's.
    pub(super) async fn save_record(&mut self, record: Record) -> Result<()> {
        let record = Arc::new(record);
        let (engine, saved) = (Arc::clone(&self.engine.inner), Arc::clone(&record));
        blocking(move || save::record(&engine, &saved)).await?;
        self.record = record;
        Ok(())
    }

    async fn attach(&mut self, mut request: AttachRequest, socket: super::ClientSocket) -> Result<()> {
        request.leftover = socket.leftover;
        let Some(running) = &self.running else {
            // Nobody else looks at them before a start, which may never come.
            self.waiting_clients.retain(|(_, socket)| !is_gone(socket));
            self.waiting_clients.push((request, socket.socket));
            return Ok(());
        };
        let attached = running.shim.attach(None, request, socket.socket).await;
        attached.map_err(|error| EngineError::because("attaching", error))
    }

    async fn hear(&mut self, event: Option<Event>) -> Flow {
        match event {
            Some(Event::Exited(exit)) => self.ended(exit).await,
            Some(Event::ExecExited { exec_id, exit }) => {
                self.engine.inner.execs.ended(&self.engine.inner, &self.record, &exec_id, exit.code);
                Flow::Continue
            }
            Some(Event::Detached { exec_id }) => {
                match exec_id {
                    None => self.tell("detach", []),
                    Some(exec_id) => self.tell("exec_detach", [("execID", exec_id)]),
                }
                Flow::Continue
            }
            Some(Event::LogFailed { message }) => {
                tracing::warn!(container = self.record.id, message, "output could not be logged");
                Flow::Continue
            }
            Some(Event::OutOfMemory { .. }) => {
                self.oom_told = true;
                self.tell("oom", []);
                Flow::Continue
            }
            Some(Event::Unknown) => Flow::Continue,
            None => self.shim_lost().await,
        }
    }
}

/// Whether the other end of a connection is closed altogether; one that only sends no more is not gone.
fn is_gone(socket: &OwnedFd) -> bool {
    let mut watched = [PollFd::new(socket, PollFlags::empty())];
    poll(&mut watched, Some(&Timespec::default())).is_ok()
        && watched[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

async fn next_event(running: &mut Option<Running>) -> Option<Event> {
    match running {
        Some(running) => running.events.next().await,
        None => std::future::pending().await,
    }
}

async fn due(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
