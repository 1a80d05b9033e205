//! Attach: the connection is taken over and handed to the engine.

use std::io;
use std::os::unix::net::UnixStream;

use corten_api::version::ApiVersion;
use corten_engine::Engine;
use corten_engine::container::{AttachOptions, AttachTicket, ClientSocket};
use corten_engine::log::LogOptions;
use corten_http::server::websocket::{self, Payload};
use corten_http::server::{Hijacked, Response};
use rustix::fd::OwnedFd;

use super::Result;
use crate::call::Call;
use crate::error::ApiError;
use crate::reply;
use crate::stream::write_blocking;

/// Bytes of a log that are held in memory at a time: a log may be as large as the disk.
const PIECE: usize = 256 << 10;

pub(crate) async fn attach(engine: &Engine, call: Call) -> Result {
    let query = &call.query;
    let keys = query.get("detachKeys");
    let options = AttachOptions {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        logs: query.flag("logs"),
        stream: query.flag("stream"),
        raw: false,
        detach_keys: (!keys.is_empty()).then(|| keys.to_owned()),
    };
    let ticket = match engine.attach(&call.name, &options) {
        Ok(ticket) => ticket,
        Err(error) => return Ok(refusal(&ApiError::from(error))),
    };
    let upgrade = upgrade(&call);
    let kind = match upgrade {
        Some(_) => reply::stream_type(!ticket.terminal, call.version),
        None => reply::RAW,
    };
    // A container that does not run takes its clients before its start: see `Order`.
    let running = engine.inspect(&call.name, false).await.is_ok_and(|container| container.state.running);
    let order = if running { Order::HeadFirst } else { Order::ClientFirst };
    let engine = engine.clone();
    let taker = async move |hijacked| {
        if let Err(error) = connect(&engine, ticket, &options, hijacked, order).await {
            tracing::debug!(error = error.message, "attaching ended");
        }
    };
    Ok(Response::hijack(upgrade, taker).header("Content-Type", kind))
}

/// The same over WebSocket: frames carry the plain streams, mixed.
pub(crate) async fn attach_websocket(engine: &Engine, call: Call) -> Result {
    let query = &call.query;
    let keys = query.get("detachKeys");
    let options = AttachOptions {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        logs: query.flag("logs"),
        stream: query.flag("stream"),
        raw: true,
        detach_keys: (!keys.is_empty()).then(|| keys.to_owned()),
    };
    // What is not there is told before the handshake.
    engine.container_id(&call.name)?;
    let accepted = websocket::accept(&call.head).map_err(ApiError::invalid)?;
    let ticket = engine.attach(&call.name, &options)?;
    let payload = if call.version < ApiVersion::one(28) { Payload::Text } else { Payload::Binary };
    let (ours, theirs) = UnixStream::pair().map_err(|error| ApiError::invalid(error.to_string()))?;
    theirs.set_nonblocking(true).map_err(|error| ApiError::invalid(error.to_string()))?;
    // The engine has the client before the answer's head is sent: no output is missed, none comes too early.
    let theirs = OwnedFd::from(theirs);
    let mut waiting = Some((ticket, theirs));
    if !options.logs
        && let Some((ticket, socket)) = waiting.take()
    {
        ticket.connect(ClientSocket { socket, leftover: Vec::new() }).await?;
    }
    let engine = engine.clone();
    let protocol = call.head.header("sec-websocket-protocol").map(str::to_owned);
    let taker = async move |hijacked: Hijacked| {
        // The log may be longer than what a socket holds: it is carried while it is sent.
        let connecting = async move {
            let Some((ticket, socket)) = waiting else { return };
            if send_log(&engine, &ticket, &options, &socket).await.is_ok() {
                let _ = ticket.connect(ClientSocket { socket, leftover: Vec::new() }).await;
            }
        };
        let (ended, ()) = tokio::join!(websocket::bridge(hijacked, ours, payload), connecting);
        if let Err(error) = ended {
            tracing::debug!(%error, "attaching by WebSocket ended");
        }
    };
    let mut response =
        Response::hijack(Some("websocket".to_owned()), taker).header("Sec-WebSocket-Accept", accepted);
    if let Some(protocol) = protocol {
        // Of several the client gets the first, as from Docker.
        let first = protocol.split(',').next().unwrap_or_default().trim().to_owned();
        response = response.header("Sec-WebSocket-Protocol", first);
    }
    Ok(response)
}

/// The protocol that the client wants to go on with.
pub(crate) fn upgrade(call: &Call) -> Option<String> {
    call.head.upgrade().map(str::to_owned)
}

/// The one answer that tells an error in plain text, because Docker writes it on the connection that it took over.
fn refusal(error: &ApiError) -> Response {
    let mut response =
        Response::full(error.status(), format!("{}\r\n", error.message)).header("Content-Type", reply::RAW);
    response.close = true;
    response
}

/// Which comes first: the answer's head, or the engine's taking of the client.
///
/// The engine writes to a client of a running container at once, so that the head must be out by then. A client of a
/// container that does not run starts it as soon as it has seen the head, so that the engine must know it by then;
/// nothing is written to it before the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    HeadFirst,
    ClientFirst,
}

async fn connect(
    engine: &Engine,
    ticket: AttachTicket,
    options: &AttachOptions,
    hijacked: Hijacked,
    order: Order,
) -> Result<()> {
    let broken = |error: io::Error| ApiError::invalid(format!("the client is gone: {error}"));
    if order == Order::ClientFirst && !options.logs {
        let (socket, leftover, head) = hijacked.into_parts().map_err(broken)?;
        let writer = socket.try_clone().map_err(broken)?;
        ticket.connect(ClientSocket { socket, leftover }).await?;
        // The copy is closed right behind: the shim must see the client's end.
        return write_blocking(&writer, &head).map_err(broken);
    }
    let (socket, leftover) = hijacked.accept().await.map_err(broken)?;
    if options.logs {
        send_log(engine, &ticket, options, &socket).await?;
    }
    Ok(ticket.connect(ClientSocket { socket, leftover }).await?)
}

/// Sends what the log holds so far.
async fn send_log(
    engine: &Engine,
    ticket: &AttachTicket,
    options: &AttachOptions,
    socket: &rustix::fd::OwnedFd,
) -> Result<()> {
    let options = LogOptions { stdout: options.stdout, stderr: options.stderr, ..LogOptions::default() };
    let mut log = engine.logs(ticket.container(), options).await?;
    let mut first = true;
    while let Some(piece) = log.next_piece(!ticket.terminal, PIECE).await? {
        send(socket, piece, std::mem::take(&mut first)).await?;
    }
    Ok(())
}

/// Writes a piece; the first one when the client has read the head, as the shim does (`corten_shim`'s `HEAD_TIME`).
async fn send(socket: &rustix::fd::OwnedFd, bytes: Vec<u8>, first: bool) -> Result<()> {
    let socket = socket.try_clone().map_err(|error| ApiError::invalid(error.to_string()))?;
    let write = move || {
        if first {
            corten_sys::socket::wait_until_read(&socket, std::time::Duration::from_millis(20));
        }
        write_blocking(&socket, &bytes)
    };
    let written = tokio::task::spawn_blocking(write).await;
    match written {
        Ok(Ok(())) => Ok(()),
        _ => Err(ApiError::invalid("the client is gone")),
    }
}
