//! Further programs in running containers.

use corten_api::exec::{CreateRequest, StartRequest};
use corten_api::version::ApiVersion;
use corten_engine::Engine;
use corten_engine::container::ClientSocket;
use corten_http::server::{Hijacked, Response};

use super::Result;
use super::attach::upgrade;
use super::container::terminal_size;
use crate::call::Call;
use crate::error::ApiError;
use crate::reply;

pub(crate) async fn create(engine: &Engine, mut call: Call) -> Result {
    let mut request: CreateRequest = call.json().await?;
    if request.cmd.as_ref().is_none_or(Vec::is_empty) {
        return Err(ApiError::invalid("No exec command specified"));
    }
    if call.version < ApiVersion::one(42) {
        request.console_size = None;
    }
    Ok(reply::json(201, &engine.exec_create(&call.name, request).await?))
}

pub(crate) async fn start(engine: &Engine, mut call: Call) -> Result {
    let mut request: StartRequest = call.json().await?;
    if call.version < ApiVersion::one(42) || !request.tty {
        request.console_size = None;
    }
    let detach = request.detach;
    // Until the connection is taken over, an error is an ordinary answer; behind it, it goes out as output.
    let ticket = engine.exec_start(&call.name, &request)?;
    if detach {
        ticket.run().await?;
        return Ok(Response::empty(200));
    }
    let upgrade = upgrade(&call);
    let kind =
        if upgrade.is_some() { reply::stream_type(!ticket.terminal, call.version) } else { reply::RAW };
    let taker = async move |hijacked: Hijacked| {
        let Ok((socket, leftover)) = hijacked.accept().await else { return };
        if let Err(error) = ticket.connect(ClientSocket { socket, leftover }).await {
            tracing::debug!(%error, "an exec did not start");
        }
    };
    Ok(Response::hijack(upgrade, taker).header("Content-Type", kind))
}

pub(crate) async fn resize(engine: &Engine, call: Call) -> Result {
    let (height, width) = terminal_size(&call.query)?;
    engine.exec_resize(&call.name, height, width).await?;
    Ok(Response::empty(200))
}

pub(crate) async fn inspect(engine: &Engine, call: Call) -> Result {
    Ok(reply::json(200, &engine.exec_inspect(&call.name).await?))
}
