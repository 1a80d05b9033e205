//! What a container uses.

use corten_api::container::Stats;
use corten_api::route::Operation;
use corten_engine::Engine;
use corten_http::server::Response;

use super::Result;
use crate::call::Call;
use crate::error::ApiError;
use crate::stream::unfold;
use crate::{gate, reply};

pub(crate) async fn stats(engine: &Engine, call: Call) -> Result {
    let stream = call.query.flag_or("stream", true);
    let one_shot = call.query.flag("one-shot");
    if stream && one_shot {
        return Err(ApiError::invalid("cannot have stream=true and one-shot=true"));
    }
    if !stream {
        let sample = engine.stats_once(&call.name, !one_shot).await?;
        return Ok(gate::json(200, Operation::ContainerStats, call.version, &sample));
    }
    let samples = engine.stats_stream(&call.name).await?;
    let body = unfold(samples, |mut samples| async move {
        let sample = samples.next().await?;
        Some((samples, Ok(line(&sample))))
    });
    Ok(Response::stream(200, body).header("Content-Type", reply::JSON))
}

fn line(sample: &Stats) -> Vec<u8> {
    let mut line = serde_json::to_vec(sample).unwrap_or_default();
    line.push(b'\n');
    line
}
