//! Volumes.

use corten_api::version::ApiVersion;
use corten_engine::Engine;
use corten_http::server::Response;

use super::Result;
use crate::call::Call;
use crate::reply;

pub(crate) async fn list(engine: &Engine, call: Call) -> Result {
    Ok(reply::json(200, &engine.volume_list(&call.filters()?).await?))
}

pub(crate) async fn create(engine: &Engine, mut call: Call) -> Result {
    Ok(reply::json(201, &engine.volume_create(call.json().await?).await?))
}

pub(crate) async fn inspect(engine: &Engine, call: Call) -> Result {
    Ok(reply::json(200, &engine.volume_inspect(&call.name).await?))
}

pub(crate) async fn remove(engine: &Engine, call: Call) -> Result {
    engine.volume_remove(&call.name, call.query.flag("force")).await?;
    Ok(Response::empty(204))
}

pub(crate) async fn prune(engine: &Engine, call: Call) -> Result {
    let mut filters = call.filters()?;
    // Before 1.42 a prune took named volumes too.
    if call.version < ApiVersion::one(42) {
        filters.add("all", "true");
    }
    Ok(reply::json(200, &engine.volume_prune(&filters).await?))
}
