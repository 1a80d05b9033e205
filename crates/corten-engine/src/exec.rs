//! Further programs in running containers.
//!
//! An exec is made, then started once, and can be asked about for some minutes after its end. It belongs to this module
//! rather than to the container's owner: several may run at a time, and none changes the container.

mod process;

use self::process::{check_user, process};
use crate::Engine;
use crate::container::handle::{Handle, Request};
use crate::container::record::Record;
use crate::container::{ClientSocket, Phase};
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use corten_api::exec::{CreateRequest, CreateResponse, Inspect, ProcessConfig, StartRequest};
use corten_runtime::LaunchErrorKind;
use corten_shim::client::{ExecFailure, ShimError};
use corten_shim::protocol::{AttachRequest, ConsoleSize, ExecRequest};
use corten_std::file::{self, Durability};
use corten_std::id;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long an ended exec can be asked about.
const KEPT: Duration = Duration::from_mins(5);
/// The code of an exec that ended with its container.
const KILLED: i32 = 137;

/// The execs that are known.
#[derive(Debug, Default)]
pub(crate) struct Execs {
    map: Mutex<HashMap<String, Exec>>,
    /// Wakes who waits for the end of an exec.
    ended: Notify,
}

/// One exec.
#[derive(Debug)]
struct Exec {
    container: String,
    config: CreateRequest,
    phase: ExecPhase,
    pid: i32,
    exit_code: Option<i32>,
    ended: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExecPhase {
    Made,
    Running,
    Ended,
}

/// What is left of an ended exec for a daemon that was started anew meanwhile: `exec-ID.json` in the run folder.
#[derive(Debug, Serialize, Deserialize)]
struct ExecRecord {
    id: String,
    exit_code: i32,
    tty: bool,
}

/// Where an [`ExecRecord`] lies.
fn left_behind(engine: &EngineInner, container: &str, id: &str) -> PathBuf {
    engine.settings.paths.running_container(container).join(format!("exec-{id}.json"))
}

impl Execs {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Exec>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The execs of a container that have not ended; none is `None`, as inspect tells it.
    pub(crate) fn running_in(&self, container: &str) -> Option<Vec<String>> {
        let map = self.lock();
        let mut ids: Vec<String> = map
            .iter()
            .filter(|(_, exec)| exec.container == container && exec.phase != ExecPhase::Ended)
            .map(|(id, _)| id.clone())
            .collect();
        ids.sort();
        (!ids.is_empty()).then_some(ids)
    }

    /// An exec ended: its code is kept, and everybody is told.
    pub(crate) fn ended(&self, engine: &EngineInner, record: &Record, id: &str, code: i32) {
        let tty = {
            let mut map = self.lock();
            let exec = map.entry(id.to_owned()).or_insert_with(|| Exec::found(&record.id));
            if exec.phase == ExecPhase::Ended {
                return;
            }
            exec.phase = ExecPhase::Ended;
            exec.exit_code = Some(code);
            exec.ended = Some(Instant::now());
            exec.pid = 0;
            exec.config.tty
        };
        self.ended.notify_waiters();
        let left = ExecRecord { id: id.to_owned(), exit_code: code, tty };
        let path = left_behind(engine, &record.id, id);
        let written = serde_json::to_vec(&left)
            .map_err(|error| EngineError::from_error("writing an exec's end", error))
            .and_then(|bytes| Ok(file::write_atomic(path, &bytes, Durability::Kernel)?));
        if let Err(error) = written {
            tracing::warn!(exec = id, %error, "cannot save the end of an exec");
        }
        let attributes =
            record.event_attributes_with([("execID", id.to_owned()), ("exitCode", code.to_string())]);
        engine.events.publish("container", "exec_die", &record.id, attributes);
    }

    /// Forgets those that ended long ago, here and in the run folders: a container may live for years, with a health
    /// check every second.
    fn forget_old(&self, engine: &EngineInner) {
        let mut old = Vec::new();
        self.lock().retain(|id, exec| {
            let stays = exec.ended.is_none_or(|ended| ended.elapsed() < KEPT);
            if !stays {
                old.push(left_behind(engine, &exec.container, id));
            }
            stays
        });
        for path in old {
            if let Err(error) = file::remove_file(path) {
                tracing::warn!(%error, "cannot remove what is kept of an old exec");
            }
        }
    }

    /// A container ended, and whatever ran in it.
    pub(crate) fn container_ended(&self, engine: &EngineInner, record: &Record) {
        let running: Vec<String> = {
            let mut map = self.lock();
            map.retain(|_, exec| exec.container != record.id || exec.phase != ExecPhase::Made);
            map.iter()
                .filter(|(_, exec)| exec.container == record.id && exec.phase == ExecPhase::Running)
                .map(|(id, _)| id.clone())
                .collect()
        };
        for id in running {
            self.lock_and_end(engine, record, &id);
        }
    }

    fn lock_and_end(&self, engine: &EngineInner, record: &Record, id: &str) {
        let mut map = self.lock();
        if let Some(exec) = map.get_mut(id) {
            exec.phase = ExecPhase::Ended;
            exec.exit_code = Some(KILLED);
            exec.ended = Some(Instant::now());
            exec.pid = 0;
        }
        drop(map);
        self.ended.notify_waiters();
        let attributes =
            record.event_attributes_with([("execID", id.to_owned()), ("exitCode", KILLED.to_string())]);
        engine.events.publish("container", "exec_die", &record.id, attributes);
    }

    /// A container is gone. Its ended execs can be asked about a little longer: their clients may be about to.
    pub(crate) fn container_gone(&self, container: &str) {
        self.lock().retain(|_, exec| exec.container != container || exec.phase == ExecPhase::Ended);
    }

    /// After a start of the daemon: an exec that the shim says runs.
    pub(crate) fn adopt(&self, container: &str, id: &str, pid: i32) {
        let exec = Exec { phase: ExecPhase::Running, pid, ..Exec::found(container) };
        self.lock().insert(id.to_owned(), exec);
    }

    /// After a start of the daemon: the execs that ended before.
    pub(crate) fn adopt_ended(&self, engine: &EngineInner, container: &str) {
        let folder = engine.settings.paths.running_container(container);
        for name in file::list(&folder).unwrap_or_default() {
            let name = name.to_string_lossy();
            if !name.starts_with("exec-") {
                continue;
            }
            let bytes = file::read_optional(folder.join(&*name)).unwrap_or_default().unwrap_or_default();
            let Ok(left) = serde_json::from_slice::<ExecRecord>(&bytes) else { continue };
            let mut exec = Exec::found(container);
            exec.phase = ExecPhase::Ended;
            exec.exit_code = Some(left.exit_code);
            exec.ended = Some(Instant::now());
            exec.config.tty = left.tty;
            self.lock().insert(left.id, exec);
        }
    }
}

impl Exec {
    /// One of which only the shim's word is known.
    fn found(container: &str) -> Self {
        Self {
            container: container.to_owned(),
            config: CreateRequest::default(),
            phase: ExecPhase::Running,
            pid: 0,
            exit_code: None,
            ended: None,
        }
    }
}

/// An exec that may be started; see [`Engine::exec_start`].
#[derive(Debug)]
pub struct ExecTicket {
    engine: Engine,
    handle: Arc<Handle>,
    id: String,
    config: CreateRequest,
    console_size: Option<[u32; 2]>,
    /// Whether it has a terminal: output is raw then, and framed otherwise.
    pub terminal: bool,
    /// Whether the client does not stay: [`ExecTicket::run`] is meant rather than [`ExecTicket::connect`].
    pub detach: bool,
}

impl Engine {
    /// Makes an exec in a running container.
    pub async fn exec_create(&self, reference: &str, config: CreateRequest) -> Result<CreateResponse> {
        let handle = self.find(reference)?;
        check_running(&handle, reference)?;
        let Some(command) = config.cmd.as_ref().filter(|words| !words.is_empty()) else {
            return Err(EngineError::invalid("No exec command specified"));
        };
        crate::container::attach::detach_keys(Some(&config.detach_keys))?;
        if let Some(entry) =
            config.env.iter().flatten().find(|entry| entry.is_empty() || entry.starts_with('='))
        {
            return Err(EngineError::invalid(format!("invalid environment variable: {entry}")));
        }
        if !config.user.is_empty() {
            let (view, user) = (handle.view(), config.user.clone());
            crate::volume::blocking(move || check_user(&view, user)).await?;
        }
        let id = id::random_id();
        self.tell_exec(&handle.view().record, "exec_create", &command.join(" "), &id);
        self.inner.execs.forget_old(&self.inner);
        let mut map = self.inner.execs.lock();
        map.insert(
            id.clone(),
            Exec {
                container: handle.id.clone(),
                config,
                phase: ExecPhase::Made,
                pid: 0,
                exit_code: None,
                ended: None,
            },
        );
        Ok(CreateResponse { id })
    }

    /// Checks whether an exec can be started. Nothing has happened when this fails, so the answer can still be an
    /// ordinary one.
    pub fn exec_start(&self, id: &str, start: &StartRequest) -> Result<ExecTicket> {
        let (container, config) = {
            let map = self.inner.execs.lock();
            let exec = map.get(id).ok_or_else(|| no_such_exec(id))?;
            match exec.phase {
                ExecPhase::Made => {}
                ExecPhase::Running => {
                    return Err(EngineError::conflict(format!(
                        "Error: Exec command {id} is already running"
                    )));
                }
                ExecPhase::Ended => {
                    return Err(EngineError::conflict(format!("Error: Exec command {id} has already run")));
                }
            }
            (exec.container.clone(), exec.config.clone())
        };
        let handle = self.find(&container)?;
        check_running(&handle, &container)?;
        let console_size = start.console_size.or(config.console_size);
        Ok(ExecTicket {
            engine: self.clone(),
            handle,
            id: id.to_owned(),
            terminal: config.tty,
            console_size,
            config,
            detach: start.detach,
        })
    }

    /// Everything about an exec.
    pub async fn exec_inspect(&self, id: &str) -> Result<Inspect> {
        self.settle_exec(id).await;
        let map = self.inner.execs.lock();
        let exec = map.get(id).ok_or_else(|| no_such_exec(id))?;
        let config = &exec.config;
        let mut words = config.cmd.clone().unwrap_or_default().into_iter();
        Ok(Inspect {
            id: id.to_owned(),
            running: exec.phase == ExecPhase::Running,
            exit_code: exec.exit_code.map(i64::from),
            process_config: ProcessConfig {
                tty: config.tty,
                entrypoint: words.next().unwrap_or_default(),
                arguments: words.collect(),
                privileged: Some(config.privileged),
                user: config.user.clone(),
            },
            open_stdin: config.attach_stdin,
            open_stderr: config.attach_stderr,
            open_stdout: config.attach_stdout,
            can_remove: exec.phase == ExecPhase::Ended,
            container_id: exec.container.clone(),
            detach_keys: config.detach_keys.clone(),
            pid: exec.pid,
        })
    }

    /// A client asks as soon as its stream has ended, and the news of the exec's end may still be on its way to us: unless
    /// the shim says that it runs, we wait for the code.
    async fn settle_exec(&self, id: &str) {
        let running = || {
            let map = self.inner.execs.lock();
            map.get(id).filter(|exec| exec.phase == ExecPhase::Running).map(|exec| exec.container.clone())
        };
        let Some(container) = running() else { return };
        let Ok(handle) = self.find(&container) else { return };
        // A shim that does not answer is about to be gone, with all that ran beside it.
        if let Ok(shim) = handle.ask(|reply| Request::Shim { reply }).await
            && let Ok(status) = shim.status().await
            && status.execs.iter().any(|exec| exec.exec_id == id)
        {
            return;
        }
        let ended = async {
            loop {
                let notified = self.inner.execs.ended.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                if running().is_none() {
                    return;
                }
                notified.await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), ended).await;
    }

    /// Gives an exec's terminal another size.
    pub async fn exec_resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        let container = {
            let map = self.inner.execs.lock();
            let exec = map.get(id).ok_or_else(|| no_such_exec(id))?;
            if exec.phase == ExecPhase::Ended {
                return Ok(());
            }
            exec.container.clone()
        };
        resize(&*self.find(&container)?, Some(id), height, width).await
    }

    /// Gives a container's terminal another size.
    pub async fn resize(&self, reference: &str, height: u16, width: u16) -> Result<()> {
        let handle = self.find(reference)?;
        resize(&handle, None, height, width).await
    }

    fn tell_exec(&self, record: &Record, action: &str, command: &str, id: &str) {
        let attributes = record.event_attributes_with([("execID", id.to_owned())]);
        self.inner.events.publish("container", &format!("{action}: {command}"), &record.id, attributes);
    }
}

impl ExecTicket {
    /// Starts it without a client.
    pub async fn run(self) -> Result<()> {
        match self.start(None).await {
            Ok(()) => Ok(()),
            Err((error, _)) => Err(error),
        }
    }

    /// Starts it with a client, whose socket goes to the shim. A program that cannot be started is told to the client
    /// on its own stream and kept as the exec's exit code, as Docker does it: the answer's head is out already.
    pub async fn connect(self, socket: ClientSocket) -> Result<()> {
        let framed = !self.terminal;
        match self.start(Some(socket)).await {
            Ok(()) => Ok(()),
            Err((error, client)) => {
                if let Some(client) = client {
                    tell_client(&client, framed, error.message());
                }
                Err(error)
            }
        }
    }

    async fn start(self, socket: Option<ClientSocket>) -> Result<(), (EngineError, Option<OwnedFd>)> {
        {
            let mut map = self.engine.inner.execs.lock();
            match map.get_mut(&self.id) {
                Some(exec) if exec.phase == ExecPhase::Made => exec.phase = ExecPhase::Running,
                Some(_) => {
                    let text = format!("Error: Exec command {} is already running", self.id);
                    return Err((EngineError::conflict(text), socket.map(|socket| socket.socket)));
                }
                None => return Err((no_such_exec(&self.id), socket.map(|socket| socket.socket))),
            }
        }
        let shim = match self.handle.ask(|reply| Request::Shim { reply }).await {
            Ok(shim) => shim,
            Err(error) => {
                self.failed(126);
                return Err((error, socket.map(|socket| socket.socket)));
            }
        };
        let view = self.handle.view();
        let config = &self.config;
        let (attach, client) = match socket {
            None => (None, None),
            Some(ClientSocket { socket, leftover }) => {
                let keys =
                    crate::container::attach::detach_keys(Some(&config.detach_keys)).unwrap_or_default();
                let attach = AttachRequest {
                    stdin: config.attach_stdin,
                    stdout: config.attach_stdout,
                    stderr: config.attach_stderr,
                    framed: !config.tty,
                    detach_keys: config.tty.then_some(keys),
                    leftover,
                };
                (Some(attach), Some(socket))
            }
        };
        let links = crate::container::links::environment_of(&self.engine.inner, &view.record);
        let request = ExecRequest {
            exec_id: self.id.clone(),
            process: process(&view, config, self.console_size, &links, self.engine.inner.selinux.is_some()),
            open_stdin: config.attach_stdin,
            privileged: config.privileged,
            attach,
        };
        let command = config.cmd.clone().unwrap_or_default().join(" ");
        match shim.exec(request, client).await {
            Ok(started) => {
                {
                    let mut map = self.engine.inner.execs.lock();
                    // It may have ended already; then its end was heard before this answer.
                    if let Some(exec) = map.get_mut(&self.id).filter(|exec| exec.phase == ExecPhase::Running)
                    {
                        exec.pid = started.pid;
                    }
                }
                self.engine.tell_exec(&view.record, "exec_start", &command, &self.id);
                Ok(())
            }
            Err(ExecFailure { error, client }) => {
                let (error, code) = exec_error(error);
                self.failed(code);
                Err((error, client))
            }
        }
    }

    fn failed(&self, code: i32) {
        if let Some(exec) = self.engine.inner.execs.lock().get_mut(&self.id) {
            exec.phase = ExecPhase::Ended;
            exec.exit_code = Some(code);
            exec.ended = Some(Instant::now());
        }
    }
}

/// Docker's text, and the exit code that inspect tells.
fn exec_error(error: ShimError) -> (EngineError, i32) {
    match error.launch() {
        Some(launch) => {
            let code = launch.exit_code();
            let context = match launch.kind {
                LaunchErrorKind::UnknownUser | LaunchErrorKind::UnknownGroup => "",
                LaunchErrorKind::CommandNotFound | LaunchErrorKind::NotExecutable => {
                    "OCI runtime exec failed: exec failed: unable to start container process"
                }
                _ => "OCI runtime exec failed: exec failed",
            };
            (EngineError::because(context, launch), code)
        }
        None => (EngineError::because("OCI runtime exec failed", error), 126),
    }
}

/// The message as a frame of standard output, or as it is on a terminal, and the end of the stream.
fn tell_client(client: &OwnedFd, framed: bool, message: &str) {
    let text = format!("{message}\r\n");
    let mut bytes = Vec::with_capacity(text.len() + 8);
    if framed {
        bytes.extend_from_slice(&[1, 0, 0, 0]);
        bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
    }
    bytes.extend_from_slice(text.as_bytes());
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        // The first bytes of a stream: the socket has room, or nobody reads.
        match rustix::net::send(client, rest, rustix::net::SendFlags::NOSIGNAL) {
            Ok(count) => rest = &rest[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    let _ = rustix::net::shutdown(client, rustix::net::Shutdown::Write);
}

fn no_such_exec(id: &str) -> EngineError {
    EngineError::not_found(format!("No such exec instance: {id}"))
}

fn check_running(handle: &Handle, reference: &str) -> Result<()> {
    match handle.view().life.phase {
        Phase::Running => Ok(()),
        Phase::Paused => Err(EngineError::conflict(format!(
            "Container {reference} is paused, unpause the container before exec"
        ))),
        Phase::Restarting => Err(EngineError::conflict(format!(
            "Container {} is restarting, wait until the container is running",
            handle.id
        ))),
        _ => Err(EngineError::conflict(format!("container {} is not running", handle.id))),
    }
}

async fn resize(handle: &Handle, exec: Option<&str>, height: u16, width: u16) -> Result<()> {
    let shim = handle.ask(|reply| Request::Shim { reply }).await?;
    shim.resize(exec, ConsoleSize { height, width })
        .await
        .map_err(|error| EngineError::because("resizing the terminal", error))
}
