//! What daemons ask a running shim, and its answers.

use super::{Process, Role};
use crate::control::{Connection, failure};
use crate::protocol::{
    ClientPacket, DescriptorRole, ExecRequest, ExecStatus, Failure, FailureCode, OLDEST_VERSION, Reply,
    Request, ServerPacket, Started, Status, Target, VERSION,
};
use crate::spare::HeldSeat;
use crate::start::launch_failure;
use crate::streams::{StreamOptions, Streams};
use corten_runtime::{Container, Launched};
use rustix::net::SocketFlags;
use std::os::fd::{AsFd, OwnedFd};

/// Arguments and environment up to which an exec goes through the seat, in bytes; a longer one joins the cgroup itself.
const LONGEST_FOR_SEAT: usize = 32 * 1024;

impl Role {
    /// A daemon connects.
    pub(super) fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        let Ok(socket) = rustix::net::accept_with(listener, SocketFlags::CLOEXEC) else { return };
        // The folder is closed to others already; a socket handed on shall not open it again.
        let own = rustix::process::geteuid().as_raw();
        if corten_sys::socket::peer_credentials(&socket).is_ok_and(|peer| peer.uid == own || peer.uid == 0) {
            self.connections.push(Connection::new(socket, false));
        }
    }

    /// Answers what a daemon asks.
    pub(super) fn serve(&mut self, index: usize) {
        while let Some((packet, descriptors)) = self.connections[index].receive() {
            let ClientPacket { sequence, request, descriptors: roles } = packet;
            let hello = matches!(request, Request::Hello { .. });
            let (result, returned) = match self.answer(request, roles, descriptors) {
                Ok((reply, returned)) => (Ok(reply), returned),
                Err(failure) => (Err(failure), Vec::new()),
            };
            let welcome = hello && result.is_ok();
            let connection = &mut self.connections[index];
            connection.reply(sequence, result, returned);
            if welcome {
                connection.subscribed = true;
                for event in &self.events {
                    connection.send(&ServerPacket::Event(event.clone()), Vec::new());
                }
            }
        }
    }

    fn answer(
        &mut self,
        request: Request,
        roles: Vec<DescriptorRole>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(Reply, Vec<OwnedFd>), Failure> {
        let client = roles.into_iter().zip(descriptors).find_map(|(role, descriptor)| {
            matches!(role, DescriptorRole::Attach { .. }).then_some(descriptor)
        });
        let done = Ok((Reply::Done, Vec::new()));
        match request {
            Request::Hello { version } if version < OLDEST_VERSION => Err(failure(
                FailureCode::Unsupported,
                format!("the shim speaks versions {OLDEST_VERSION} to {VERSION}, not {version}"),
            )),
            Request::Hello { .. } => {
                Ok((Reply::Welcome { version: VERSION, status: self.status() }, Vec::new()))
            }
            Request::Status => Ok((Reply::Status(self.status()), Vec::new())),
            Request::Attach { target, attach } => {
                let client =
                    client.ok_or_else(|| failure(FailureCode::Invalid, "the client's socket is missing"))?;
                self.find_running(&target)?.streams.attach(attach, client);
                done
            }
            Request::Exec(request) => {
                let started = self.exec(*request, client)?;
                Ok((Reply::Started(started), Vec::new()))
            }
            Request::Resize { target, size } => {
                let process = self.find_running(&target)?;
                // Docker takes a size for a process without a terminal, too, and so do clients that always send one.
                let Some(terminal) = process.streams.terminal() else { return done };
                let size = corten_sys::terminal::Size { rows: size.height, columns: size.width };
                corten_sys::terminal::set_size(terminal, size).map_err(|error| {
                    failure(FailureCode::System, format!("cannot change the terminal's size: {error}"))
                })?;
                done
            }
            Request::Signal { target, signal } => {
                self.find_running(&target)?;
                if let (None, Some(foreign)) = (&target.exec_id, &self.foreign)
                    && foreign.kill(signal).is_ok()
                {
                    return done;
                }
                let process = self.find_running(&target)?;
                corten_sys::process::pidfd_send_signal(process.pidfd.as_fd(), signal).map_err(|error| {
                    let code = match error.raw_os_error() {
                        Some(3) => FailureCode::Ended,
                        Some(22) => FailureCode::Invalid,
                        _ => FailureCode::System,
                    };
                    failure(code, format!("cannot send signal {signal}: {error}"))
                })?;
                done
            }
            Request::CloseStdin { target } => {
                self.find_running(&target)?.streams.close_input();
                done
            }
            Request::Acknowledge { event } => {
                self.events.retain(|kept| kept.number > event);
                done
            }
            Request::Descriptor { name } => {
                let kept = self.keep.iter().find(|(kept, _)| *kept == name);
                let (_, descriptor) = kept.ok_or_else(|| {
                    failure(FailureCode::NotFound, format!("no descriptor `{name}` is kept here"))
                })?;
                let copy = descriptor.try_clone().map_err(|error| {
                    failure(FailureCode::System, format!("cannot copy a descriptor: {error}"))
                })?;
                Ok((Reply::Done, vec![copy]))
            }
            Request::ReopenLog => {
                self.log.reopen();
                done
            }
        }
    }

    fn status(&self) -> Status {
        let main = self.processes.first();
        Status {
            id: self.id.clone(),
            shim_pid: std::process::id() as i32,
            started: main.map(|process| process.started),
            exited: main.and_then(|process| process.exit),
            execs: self
                .processes
                .iter()
                .filter(|process| process.exit.is_none())
                .filter_map(|process| {
                    Some(ExecStatus { exec_id: process.exec_id.clone()?, started: process.started })
                })
                .collect(),
            clients: self.processes.iter().map(|process| process.streams.clients()).sum(),
        }
    }

    fn find_running(&mut self, target: &Target) -> Result<&mut Process, Failure> {
        if target.container.as_ref().is_some_and(|container| *container != self.id) {
            return Err(failure(FailureCode::NotFound, "this shim has no such container"));
        }
        let found = self.processes.iter_mut().find(|process| process.exec_id == target.exec_id);
        match found {
            None => Err(failure(FailureCode::NotFound, "there is no such exec")),
            Some(process) if process.exit.is_some() => {
                Err(failure(FailureCode::Ended, "the process has ended"))
            }
            Some(process) => Ok(process),
        }
    }

    fn exec(&mut self, mut request: ExecRequest, client: Option<OwnedFd>) -> Result<Started, Failure> {
        let main = self.find_running(&Target::main())?;
        let (pid, pidfd) = (main.started.pid, main.pidfd.try_clone());
        let pidfd =
            pidfd.map_err(|error| failure(FailureCode::System, format!("cannot copy a handle: {error}")))?;
        if self.processes.iter().any(|process| process.exec_id.as_ref() == Some(&request.exec_id)) {
            return Err(failure(FailureCode::Conflict, format!("the exec {} runs already", request.exec_id)));
        }
        let options = StreamOptions {
            terminal: request.process.terminal,
            open_stdin: request.open_stdin,
            stdin_once: true,
        };
        let (streams, stdio) = Streams::new(options)
            .map_err(|error| failure(FailureCode::System, format!("cannot make a pipe: {error}")))?;
        let size = request.process.args.iter().chain(&request.process.env).map(String::len).sum::<usize>();
        if let Some(foreign) = &self.foreign {
            let launched = foreign.exec(&request, stdio)?;
            return self.began(request, client, launched, streams);
        }
        let container = Container { pid, pidfd };
        let exec = corten_runtime::ExecRequest {
            process: std::mem::take(&mut request.process),
            stdio,
            cgroup: &self.cgroup,
            // A privileged exec has every capability, and still the container's filter, as with Docker.
            seccomp: self.seccomp.as_ref(),
            hardening: self.hardening.clone(),
        };
        let seat = self.seat.as_mut().filter(|_| size <= LONGEST_FOR_SEAT);
        let launched = match seat.and_then(HeldSeat::get) {
            Some(seat) => seat.exec(&container, exec),
            None => corten_runtime::exec(&container, exec),
        };
        let launched = launched.map_err(|error| launch_failure(&error))?;
        self.began(request, client, launched, streams)
    }

    /// An exec runs.
    fn began(
        &mut self,
        request: ExecRequest,
        client: Option<OwnedFd>,
        launched: Launched,
        mut streams: Streams,
    ) -> Result<Started, Failure> {
        if let (Some(attach), Some(client)) = (request.attach, client) {
            streams.attach(attach, client);
        }
        let process = Process::new(Some(request.exec_id), launched, streams)?;
        let started = process.started;
        self.processes.push(process);
        Ok(started)
    }
}
