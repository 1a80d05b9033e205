//! Attaching a client: the client's own socket goes to the shim, which writes output to it and reads input from it, so
//! that the stream outlives the daemon. A client that attaches before the start is kept by the owner and goes to the
//! shim with the start request: it sees the first byte.

use crate::Engine;
use crate::container::handle::{Handle, Request};
use crate::container::state::Phase;
use crate::error::{EngineError, Result};
use corten_shim::detach;
use corten_shim::protocol::AttachRequest;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The connection of a client that was taken over from HTTP.
#[derive(Debug)]
pub struct ClientSocket {
    /// A connected unix or TCP socket; nobody else may hold it, or its end would not be seen.
    pub socket: OwnedFd,
    /// What was read from it behind the request's head.
    pub leftover: Vec<u8>,
}

/// How a client wants to be attached.
#[derive(Clone, Debug, Default)]
pub struct AttachOptions {
    /// Its input goes to the program.
    pub stdin: bool,
    /// The program's standard output comes to it.
    pub stdout: bool,
    /// The program's standard error comes to it.
    pub stderr: bool,
    /// What the log holds already comes first.
    pub logs: bool,
    /// What comes from now on.
    pub stream: bool,
    /// Output is never framed, so that standard output and error are mixed.
    pub raw: bool,
    /// Keys that detach, `ctrl-p,ctrl-q`; none: those.
    pub detach_keys: Option<String>,
}

/// An attach that was found possible; [`AttachTicket::connect`] does it.
#[derive(Debug)]
pub struct AttachTicket {
    handle: Arc<Handle>,
    request: AttachRequest,
    /// Whether the container has a terminal: output is raw then, and framed otherwise.
    pub terminal: bool,
    /// Whether the log is to be sent before the stream; the caller does it.
    pub logs: bool,
    stream: bool,
}

impl Engine {
    /// Checks whether a client can be attached. Nothing has happened when this fails, so the answer can still be an
    /// ordinary one.
    pub fn attach(&self, reference: &str, options: &AttachOptions) -> Result<AttachTicket> {
        let handle = self.find(reference)?;
        let view = handle.view();
        match view.life.phase {
            Phase::Paused => {
                return Err(EngineError::conflict(format!(
                    "container {reference} is paused, unpause the container before attach"
                )));
            }
            Phase::Restarting => {
                return Err(EngineError::conflict(format!(
                    "container {reference} is restarting, wait until the container is running"
                )));
            }
            Phase::Removing | Phase::Removed | Phase::Dead => {
                return Err(EngineError::no_such_container(reference));
            }
            Phase::Created | Phase::Running | Phase::Exited => {}
        }
        let config = &view.record.config;
        let keys = detach_keys(options.detach_keys.as_deref())?;
        let request = AttachRequest {
            stdin: options.stdin && config.open_stdin,
            stdout: options.stdout,
            stderr: options.stderr,
            framed: !config.tty && !options.raw,
            detach_keys: config.tty.then_some(keys),
            leftover: Vec::new(),
        };
        let attributes = view.record.event_attributes();
        self.inner.events.publish("container", "attach", &handle.id, attributes);
        Ok(AttachTicket { handle, request, terminal: config.tty, logs: options.logs, stream: options.stream })
    }
}

impl AttachTicket {
    /// Hands the client over. Returns when the shim has it, or at once where the container is not started yet.
    pub async fn connect(self, socket: ClientSocket) -> Result<()> {
        if !self.stream {
            return Ok(());
        }
        let request = self.request;
        self.handle.ask(|reply| Request::Attach { request, socket, reply }).await
    }

    /// The full id of the container.
    pub fn container(&self) -> &str {
        &self.handle.id
    }
}

/// The keys as bytes; 400 with Docker's text where they cannot be read.
pub(crate) fn detach_keys(text: Option<&str>) -> Result<Vec<u8>> {
    match text {
        None | Some("") => Ok(detach::DEFAULT.to_vec()),
        Some(text) => detach::parse(text)
            .map_err(|why| EngineError::invalid(format!("Invalid detach keys ({text}) provided: {why}"))),
    }
}
