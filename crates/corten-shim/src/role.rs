//! The shim's one loop: watches the container, its execs, its clients and the daemons, and knows nothing else.
//!
//! ```text
//! start ──▶ Running ──pid 1 ends──▶ Draining ──output ended, or 2 s──▶ Recorded ──all flushed──▶ exit
//!   │                                            (log, exit.json, event)
//!   └─ could not be started: told on the first connection ──▶ exit
//! ```
//!
//! A process (the container's first, or an exec) ends in the same three steps: its handle becomes readable and it is
//! reaped; what it left in its pipes is read; then its end is told and its clients are let go.

mod requests;

use crate::control::{Connection, failure, listen};
use crate::foreign::Foreign;
use crate::log::LogWriter;
use crate::packet::retry;
use crate::protocol::{
    AttachRequest, Event, ExecExit, Exit, ExitRecord, Failure, FailureCode, NumberedEvent, OOM_SIGNAL,
    SOCKET_NAME, ServerPacket, Started, VERSION,
};
use crate::spare::HeldSeat;
use crate::start::{Start, launch_failure};
use crate::streams::{Port, Read, StreamOptions, Streams};
use corten_runtime::cgroup::CgroupHandle;
use corten_runtime::{Hardening, LaunchRequest, Launched};
use corten_std::{Timestamp, chain, file};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long output is waited for after a process has ended, because a descendant still holds the pipe.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// How long to wait before an exit record that could not be written is tried again.
const RECORD_PAUSE: Duration = Duration::from_secs(1);

/// How much output is read at a time, in bytes.
const READ_SIZE: usize = 32 * 1024;

/// A process beside which the shim stays.
#[derive(Debug)]
struct Process {
    /// None: the container's first.
    exec_id: Option<String>,
    started: Started,
    pidfd: OwnedFd,
    exit: Option<Exit>,
    /// Output is waited for until then.
    drain_until: Option<Instant>,
    /// Its end was told.
    told: bool,
    streams: Streams,
}

/// What the loop watches.
#[derive(Clone, Copy, Debug)]
enum Source {
    Listener,
    Connection(usize),
    /// The process's handle: it has ended.
    Process(usize),
    /// The cgroup is out of memory.
    Memory,
    Port(usize, Port),
}

/// Everything a running shim has.
#[derive(Debug)]
pub(crate) struct Role {
    id: String,
    run_dir: PathBuf,
    log: LogWriter,
    /// The container's first process, then its execs.
    processes: Vec<Process>,
    listener: Option<OwnedFd>,
    connections: Vec<Connection>,
    /// Events that no daemon has acknowledged.
    events: Vec<NumberedEvent>,
    last_event: u64,
    cgroup: CgroupHandle,
    seccomp: Option<corten_runtime::seccomp::Program>,
    hardening: Hardening,
    keep: Vec<(String, OwnedFd)>,
    /// The other runtime that made the container, where one did.
    foreign: Option<Foreign>,
    /// The container has a limit of memory, so that it is watched; its processes killed so far.
    oom_watched: Option<u64>,
    /// Where processes are born in the cgroup; held until the container's end.
    seat: Option<HeldSeat>,
    /// The exit record is written.
    recorded: bool,
    /// When to try to write it again.
    record_at: Option<Instant>,
}

/// Starts the container, from a seat in its cgroup where one was taken, and stays until everything about it is told.
/// Returns the shim's own exit code.
pub(crate) fn run(start: Start, mut seat: Option<HeldSeat>) -> i32 {
    let Start { request, control, parts, attach, keep, seccomp, hardening, cgroup } = start;
    let mut connections: Vec<Connection> =
        control.map(|socket| Connection::new(socket, true)).into_iter().collect();
    match start_container(&request, parts, attach, seccomp.as_ref(), &hardening, &mut seat) {
        Err(failure) => {
            // The cgroup is removed as soon as this is told.
            drop(seat);
            for connection in &mut connections {
                connection.send(&ServerPacket::Started(Err(failure.clone())), Vec::new());
            }
            1
        }
        Ok(Begun { process, listener, foreign }) => {
            for connection in &mut connections {
                connection.send(&ServerPacket::Started(Ok(process.started)), Vec::new());
            }
            let memory_limited = has_memory_limit(&request.spec);
            let mut role = Role {
                id: request.id,
                run_dir: request.run_dir,
                log: LogWriter::open(request.log),
                processes: vec![process],
                listener: Some(listener),
                connections,
                events: Vec::new(),
                last_event: 0,
                cgroup,
                seccomp,
                hardening,
                oom_watched: memory_limited.then_some(0),
                keep,
                foreign,
                seat,
                recorded: false,
                record_at: None,
            };
            role.stay();
            0
        }
    }
}

/// A container that runs.
struct Begun {
    process: Process,
    listener: OwnedFd,
    foreign: Option<Foreign>,
}

/// Everything up to the running process: the control socket, the streams with the clients that wait, the launch.
fn start_container(
    request: &crate::protocol::StartRequest,
    parts: crate::start::LaunchParts,
    attach: Vec<(AttachRequest, OwnedFd)>,
    seccomp: Option<&corten_runtime::seccomp::Program>,
    hardening: &Hardening,
    seat: &mut Option<HeldSeat>,
) -> Result<Begun, Failure> {
    let system =
        |what: &str, error: &std::io::Error| failure(FailureCode::System, format!("{what}: {error}"));
    let listener = listen(&request.run_dir)
        .map_err(|error| system(&format!("cannot listen in `{}`", request.run_dir.display()), &error))?;
    let process = request.spec.process.as_ref();
    let options = StreamOptions {
        terminal: process.is_some_and(|process| process.terminal),
        open_stdin: request.open_stdin,
        stdin_once: request.stdin_once,
    };
    let (mut streams, stdio) = Streams::new(options).map_err(|error| system("cannot make a pipe", &error))?;
    for (attach, client) in attach {
        streams.attach(attach, client);
    }
    if let Some(runtime) = request.runtime.clone() {
        let launched = parts
            .host_view()
            .and_then(|(parts, host)| Foreign::launch(request, runtime, parts, host, stdio))
            .inspect_err(|_| {
                streams.abandon();
                let _ = file::remove_file(request.run_dir.join(SOCKET_NAME));
            });
        let (foreign, launched) = launched?;
        let process = Process::new(None, launched, streams)?;
        return Ok(Begun { process, listener, foreign: Some(foreign) });
    }
    let launch = LaunchRequest {
        spec: request.spec.clone(),
        root: parts.root,
        mount_trees: parts.mount_trees,
        network_namespace: parts.network_namespace,
        user_namespace: parts.user_namespace,
        devices: parts.devices,
        cgroup: parts.cgroup,
        stdio,
        seccomp: seccomp.cloned(),
        init: parts.init,
        hardening: hardening.clone(),
    };
    let launched = match seat.as_mut().and_then(HeldSeat::get) {
        Some(seat) => seat.launch(launch),
        None => corten_runtime::launch(launch),
    };
    let launched = launched.map_err(|error| {
        streams.abandon();
        let _ = file::remove_file(request.run_dir.join(SOCKET_NAME));
        launch_failure(&error)
    })?;
    let process = Process::new(None, launched, streams)?;
    Ok(Begun { process, listener, foreign: None })
}

/// Whether the container has a limit of memory.
fn has_memory_limit(spec: &corten_oci::runtime::Spec) -> bool {
    let resources = spec.linux.as_ref().and_then(|linux| linux.resources.as_ref());
    let limit = resources.and_then(|resources| resources.memory.as_ref()).and_then(|memory| memory.limit);
    limit.is_some_and(|limit| limit > 0)
}

impl Process {
    fn new(exec_id: Option<String>, launched: Launched, mut streams: Streams) -> Result<Self, Failure> {
        if let Some(terminal) = launched.terminal {
            streams
                .set_terminal(terminal)
                .map_err(|error| failure(FailureCode::System, format!("cannot use the terminal: {error}")))?;
        }
        let started = Started { pid: launched.pid, start_time: launched.start_time, at: Timestamp::now() };
        Ok(Self {
            exec_id,
            started,
            pidfd: launched.pidfd,
            exit: None,
            drain_until: None,
            told: false,
            streams,
        })
    }
}

impl Role {
    fn stay(&mut self) {
        let mut buffer = Vec::new();
        while !self.is_done() {
            self.round(&mut buffer);
        }
    }

    /// The container's end is recorded, its clients are flushed, and so is what daemons were told.
    fn is_done(&self) -> bool {
        self.recorded
            && self.processes.iter().all(|process| process.told && process.streams.clients() == 0)
            && !self.connections.iter().any(Connection::is_waiting)
    }

    /// Waits for something to happen and deals with it.
    fn round(&mut self, buffer: &mut Vec<u8>) {
        for (source, flags) in self.wait() {
            let readable = flags.contains(PollFlags::IN);
            let writable = flags.contains(PollFlags::OUT);
            let hung_up = flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
            match source {
                Source::Listener => self.accept(),
                Source::Connection(index) => {
                    if writable {
                        self.connections[index].flush();
                    }
                    if readable || hung_up {
                        self.serve(index);
                    }
                }
                Source::Process(index) => self.reap(index),
                Source::Memory => self.look_at_memory(true),
                Source::Port(index, Port::Input) => self.processes[index].streams.write_input(),
                Source::Port(index, Port::Output(output)) => self.read(index, output, buffer),
                Source::Port(index, Port::Client(client)) => {
                    let detached =
                        self.processes[index].streams.client_ready(client, readable, writable, hung_up);
                    self.tell_detached(index, detached);
                }
            }
        }
        self.log.flush();
        self.settle();
    }

    fn wait(&self) -> Vec<(Source, PollFlags)> {
        let mut sources = Vec::new();
        let mut descriptors = Vec::new();
        let mut add = |source, descriptor, readable, writable| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, readable);
            flags.set(PollFlags::OUT, writable);
            sources.push(source);
            descriptors.push(PollFd::from_borrowed_fd(descriptor, flags));
        };
        // Outputs come before the handle of their process and before clients: what was written before an end is
        // read before the end is seen.
        for (index, process) in self.processes.iter().enumerate() {
            process.streams.watch(|port, descriptor, readable, writable| {
                add(Source::Port(index, port), descriptor, readable, writable);
            });
        }
        for (index, process) in self.processes.iter().enumerate() {
            if process.exit.is_none() {
                add(Source::Process(index), process.pidfd.as_fd(), true, false);
            }
        }
        if let Some(signal) = self.memory_signal() {
            // The file of version 2 can always be read; of a change it tells by an exceptional condition.
            add(Source::Memory, signal.as_fd(), !self.cgroup.join.is_empty(), false);
        }
        if let Some(listener) = &self.listener {
            add(Source::Listener, listener.as_fd(), true, false);
        }
        for (index, connection) in self.connections.iter().enumerate() {
            add(Source::Connection(index), connection.socket().as_fd(), true, connection.is_waiting());
        }
        let timeout = self.deadline().map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, or the last millisecond would be spent in a busy loop.
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) + 1_000 }
        });
        let _ = retry(|| poll(&mut descriptors, timeout.as_ref()));
        sources
            .into_iter()
            .zip(descriptors.iter().map(PollFd::revents))
            .filter(|(_, flags)| !flags.is_empty())
            .collect()
    }

    fn deadline(&self) -> Option<Instant> {
        let processes = self.processes.iter();
        processes
            .flat_map(|process| [process.drain_until.filter(|_| !process.told), process.streams.deadline()])
            .chain([self.record_at])
            .flatten()
            .min()
    }

    /// Reads an output of a process, into the log where it is the container's first.
    fn read(&mut self, index: usize, output: usize, buffer: &mut Vec<u8>) {
        buffer.resize(READ_SIZE, 0);
        let process = &mut self.processes[index];
        // Once a round: a slow client is to stop the process, not to make us keep more for it.
        match process.streams.read(output, buffer) {
            Read::Bytes(stream, count) => {
                if process.exec_id.is_none() {
                    self.log.write(stream, &buffer[..count], Timestamp::now());
                }
            }
            Read::Ended(stream) => {
                if process.exec_id.is_none() {
                    self.log.finish(stream, Timestamp::now());
                }
            }
            Read::Nothing => {}
        }
    }

    /// What tells that the cgroup is out of memory, while that is of interest.
    fn memory_signal(&self) -> Option<&OwnedFd> {
        self.oom_watched.filter(|_| !self.recorded)?;
        let kept = self.keep.iter().find(|(name, _)| name == OOM_SIGNAL).map(|(_, signal)| signal);
        // The file of version 2 tells of a change by itself; that of version 1 does not.
        kept.or_else(|| self.cgroup.oom.as_ref().filter(|_| self.cgroup.join.is_empty()))
    }

    /// Tells of processes that were killed for want of memory since the last look; `signalled`: the kernel called.
    fn look_at_memory(&mut self, signalled: bool) {
        let Some(before) = self.oom_watched else { return };
        let mut told = false;
        if let Some((_, signal)) = self.keep.iter().find(|(name, _)| name == OOM_SIGNAL) {
            // Version 1 calls before it kills. When the folder goes it calls too.
            let mut count = [0; 8];
            told = signalled && rustix::io::read(signal, &mut count).is_ok() && self.cgroup.is_there();
        }
        let kills = self.cgroup.oom_kill_count();
        self.oom_watched = Some(kills.max(before));
        if told || kills > before {
            self.tell(Event::OutOfMemory { kills });
        }
    }

    /// A process has ended: what it left is read from now on without regard to slow clients.
    fn reap(&mut self, index: usize) {
        let process = &self.processes[index];
        let exit = match corten_sys::process::wait(process.started.pid) {
            Ok(exit) => exit,
            // Somebody else reaped our child; how it ended is lost.
            Err(_) => corten_sys::process::Exit::Signal(9),
        };
        let signal = match exit {
            corten_sys::process::Exit::Code(_) => None,
            corten_sys::process::Exit::Signal(signal) => Some(signal),
        };
        let is_main = process.exec_id.is_none();
        let oom_killed = is_main && self.cgroup.oom_kill_count() > 0;
        if is_main && self.cgroup.join.is_empty() {
            // Told before the end.
            self.look_at_memory(false);
        }
        let now = Instant::now();
        let process = &mut self.processes[index];
        process.exit = Some(Exit { code: exit.shell_code(), signal, oom_killed, at: Timestamp::now() });
        process.drain_until = Some(now + DRAIN_TIME);
        process.streams.drain();
        if is_main {
            // Its end is awaited when everything is told.
            if let Some(seat) = &mut self.seat {
                seat.let_go();
            }
            // They end with the pid namespace; where it is not the container's own, it is for us to end them.
            for exec in
                self.processes.iter().filter(|process| process.exec_id.is_some() && process.exit.is_none())
            {
                let _ = corten_sys::process::pidfd_send_signal(exec.pidfd.as_fd(), 9);
            }
        }
    }

    /// What follows from the state and not from one event: ends are told, the gone are dropped.
    fn settle(&mut self) {
        let now = Instant::now();
        for index in 0..self.processes.len() {
            let streams = &mut self.processes[index].streams;
            streams.expire(now);
            let detached = streams.settle();
            streams.sweep();
            self.tell_detached(index, detached);
            let process = &self.processes[index];
            let waited = process.drain_until.is_some_and(|until| now >= until);
            if process.exit.is_some() && !process.told && (process.streams.are_drained() || waited) {
                self.tell_exit(index);
            }
        }
        if let Some(error) = self.log.take_failure() {
            self.tell(Event::LogFailed { message: chain(&error) });
        }
        if !self.recorded && self.record_at.is_some_and(|at| now >= at) {
            self.record();
        }
        if self.foreign.is_some() {
            let waited = self.processes.iter().filter(|process| process.exit.is_none());
            Foreign::reap_orphans(&waited.map(|process| process.started.pid).collect::<Vec<_>>());
        }
        self.processes
            .retain(|process| process.exec_id.is_none() || !process.told || process.streams.clients() > 0);
        self.connections.retain(|connection| !connection.gone);
    }

    /// Tells a process's end: to the log, the exit record, the daemons and its clients, in this order.
    fn tell_exit(&mut self, index: usize) {
        let process = &mut self.processes[index];
        process.told = true;
        let Some(exit) = process.exit else { return };
        process.streams.await_reading();
        if let Some(exec_id) = process.exec_id.clone() {
            process.streams.finish();
            self.tell(Event::ExecExited { exec_id, exit });
            return;
        }
        for stream in [crate::mux::Stream::Stdout, crate::mux::Stream::Stderr] {
            self.log.finish(stream, Timestamp::now());
        }
        // Execs end first, so that the record holds them all.
        for index in 1..self.processes.len() {
            if self.processes[index].exit.is_none() {
                self.reap(index);
            }
            if !self.processes[index].told {
                self.tell_exit(index);
            }
        }
        if let Some(foreign) = &self.foreign {
            foreign.delete();
        }
        self.record();
        self.processes[0].streams.finish();
    }

    /// Writes the exit record, then tells the end. Where the record cannot be written the end is told all the same,
    /// and the shim stays until it could.
    fn record(&mut self) {
        let Some(exit) = self.processes.first().and_then(|process| process.exit) else { return };
        let execs = self.events.iter().filter_map(|event| match &event.event {
            Event::ExecExited { exec_id, exit } => Some(ExecExit { exec_id: exec_id.clone(), exit: *exit }),
            _ => None,
        });
        let record = ExitRecord {
            version: VERSION,
            id: self.id.clone(),
            started: self.processes[0].started,
            exit,
            execs: execs.collect(),
        };
        let first = self.record_at.is_none();
        match crate::exit::write(&self.run_dir, &record) {
            Ok(()) => {
                self.recorded = true;
                self.record_at = None;
                // Nobody connects to a shim whose record is there.
                self.listener = None;
                let _ = file::remove_file(self.run_dir.join(SOCKET_NAME));
            }
            // The folder was removed: whoever did that does not want the record.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.recorded = true,
            Err(_) => self.record_at = Some(Instant::now() + RECORD_PAUSE),
        }
        if first {
            self.tell(Event::Exited(exit));
        }
    }

    fn tell_detached(&mut self, index: usize, count: usize) {
        for _ in 0..count {
            let exec_id = self.processes[index].exec_id.clone();
            self.tell(Event::Detached { exec_id });
        }
    }

    /// Tells all daemons, and keeps the event until one has acknowledged it.
    fn tell(&mut self, event: Event) {
        self.last_event += 1;
        let event = NumberedEvent { number: self.last_event, event };
        for connection in self.connections.iter_mut().filter(|connection| connection.subscribed) {
            connection.send(&ServerPacket::Event(event.clone()), Vec::new());
        }
        self.events.push(event);
    }
}
