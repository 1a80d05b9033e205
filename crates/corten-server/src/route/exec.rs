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
use crate::stream::{frame, write_blocking};

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
    if request.detach {
        engine.exec_start(&call.name, request, None).await?;
        return Ok(Response::empty(200));
    }
    // Until the connection is taken over, an error is an ordinary answer; behind it, it goes out as output.
    engine.exec_check(&call.name)?;
    let (engine, id, version) = (engine.clone(), call.name.clone(), call.version);
    let framed = !request.tty;
    let upgrade = upgrade(&call);
    let kind = if upgrade.is_some() { reply::stream_type(framed, version) } else { reply::RAW };
    let taker = async move |hijacked: Hijacked| {
        let Ok((socket, leftover)) = hijacked.accept().await else { return };
        let Ok(writer) = socket.try_clone() else { return };
        if let Err(error) = engine.exec_start(&id, request, Some(ClientSocket { socket, leftover })).await {
            let text = format!("{}\r\n", error.message());
            let bytes = if framed { frame(1, text.as_bytes()) } else { text.into_bytes() };
            let _ = tokio::task::spawn_blocking(move || write_blocking(&writer, &bytes)).await;
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
