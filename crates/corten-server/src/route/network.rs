//! Networks.

use corten_api::network::{ConnectRequest, CreateRequest, DisconnectRequest};
use corten_api::route::Operation;
use corten_api::version::ApiVersion;
use corten_engine::Engine;
use corten_http::server::Response;

use super::Result;
use crate::call::Call;
use crate::{gate, reply};

pub(crate) async fn list(engine: &Engine, call: Call) -> Result {
    let networks = engine.network_list(&call.filters()?).await?;
    Ok(gate::json(200, Operation::NetworkList, call.version, &networks))
}

pub(crate) async fn create(engine: &Engine, mut call: Call) -> Result {
    let mut request: CreateRequest = call.required_json().await?;
    if call.version < ApiVersion::one(48) {
        request.enable_ipv4 = None;
    }
    Ok(reply::json(201, &engine.network_create(request).await?))
}

pub(crate) async fn inspect(engine: &Engine, call: Call) -> Result {
    let network = engine.network_inspect(&call.name).await?;
    Ok(gate::json(200, Operation::NetworkInspect, call.version, &network))
}

pub(crate) async fn connect(engine: &Engine, mut call: Call) -> Result {
    let request: ConnectRequest = call.required_json().await?;
    engine.network_connect(&call.name, request).await?;
    Ok(Response::empty(200))
}

pub(crate) async fn disconnect(engine: &Engine, mut call: Call) -> Result {
    let request: DisconnectRequest = call.required_json().await?;
    engine.network_disconnect(&call.name, request).await?;
    Ok(Response::empty(200))
}

pub(crate) async fn remove(engine: &Engine, call: Call) -> Result {
    engine.network_remove(&call.name).await?;
    Ok(Response::empty(204))
}

pub(crate) async fn prune(engine: &Engine, call: Call) -> Result {
    Ok(reply::json(200, &engine.network_prune(&call.filters()?).await?))
}
