//! The daemon: ping, version, info, events, disk usage.

use corten_api::route::Operation;
use corten_api::system::BuildPruneReport;
use corten_engine::Engine;
use corten_engine::event::EventQuery;
use corten_engine::system::DiskUsageParts;
use corten_http::server::Response;
use corten_std::Timestamp;

use super::Result;
use crate::call::Call;
use crate::error::ApiError;
use crate::stream::unfold;
use crate::{gate, reply};

/// The builder that clients shall use: 1 is the engine's own route, 2 would be BuildKit's protocol.
const BUILDER_VERSION: &str = "1";

pub(crate) fn ping(operation: Operation) -> Response {
    let body = if operation == Operation::PingHead { "" } else { "OK" };
    Response::full(200, body)
        .header("Content-Type", "text/plain; charset=utf-8")
        .header("Cache-Control", "no-cache, no-store, must-revalidate")
        .header("Pragma", "no-cache")
        .header("Builder-Version", BUILDER_VERSION)
        .header("Swarm", "inactive")
}

pub(crate) async fn version(engine: &Engine, call: Call) -> Result {
    Ok(gate::json(200, Operation::Version, call.version, &engine.version()))
}

pub(crate) async fn info(engine: &Engine, call: Call) -> Result {
    Ok(gate::json(200, Operation::Info, call.version, &engine.info().await?))
}

pub(crate) fn build_prune(engine: &Engine, call: &Call) -> Result {
    let known = [
        "until",
        "id",
        "parent",
        "type",
        "description",
        "inuse",
        "shared",
        "private",
        "immutable",
        "mutable",
    ];
    let filters = call.filters()?;
    let failed = "failed to prune build cache";
    filters.validate(&known).map_err(|error| ApiError::of(&error).behind(failed))?;
    engine.check_until(&filters).map_err(|error| ApiError::from(error).behind(failed))?;
    Ok(reply::json(200, &BuildPruneReport::default()))
}

/// A build that is not there is cancelled already.
pub(crate) fn build_cancel(call: &Call) -> Result {
    if call.query.get("id").is_empty() {
        return Err(ApiError::invalid("build ID not provided"));
    }
    Ok(Response::empty(200))
}

pub(crate) async fn events(engine: &Engine, call: Call) -> Result {
    let since = point_in_time(call.query.get("since"))?;
    let until = point_in_time(call.query.get("until"))?;
    if let (Some(since), Some(until)) = (since, until)
        && until < since
    {
        let text = |name| call.query.get(name);
        return Err(ApiError::invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            text("since"),
            text("until")
        )));
    }
    let subscription = engine.events(EventQuery { since, until, filters: call.filters()? })?;
    let body = unfold(subscription, |mut subscription| async move {
        let event = subscription.next().await?;
        let mut line = serde_json::to_vec(&*event).unwrap_or_default();
        line.push(b'\n');
        Some((subscription, Ok(line)))
    });
    Ok(Response::stream(200, body).header("Content-Type", reply::JSON))
}

pub(crate) async fn disk_usage(engine: &Engine, call: Call) -> Result {
    let wanted: Vec<&str> = call.query.all("type").collect();
    if let Some(unknown) =
        wanted.iter().find(|kind| !matches!(**kind, "container" | "image" | "volume" | "build-cache"))
    {
        return Err(ApiError::invalid(format!("unknown object type: {unknown}")));
    }
    let wants = |kind| wanted.is_empty() || wanted.contains(&kind);
    let parts = DiskUsageParts {
        containers: wants("container"),
        images: wants("image"),
        volumes: wants("volume"),
        build_cache: wants("build-cache"),
    };
    let usage = engine.disk_usage(parts).await?;
    Ok(gate::json(200, Operation::DiskUsage, call.version, &usage))
}

/// A point in time of a query: seconds since 1970 with up to nine decimals, or RFC 3339; nothing is none.
pub(crate) fn point_in_time(text: &str) -> Result<Option<Timestamp>> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || ApiError::invalid(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"));
    Timestamp::parse_unix(text).or_else(|| Timestamp::parse(text)).map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time() {
        let parse = |text| point_in_time(text).map_err(|error| error.status());
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse("0"), Ok(Some(Timestamp::from_unix(0, 0))));
        assert_eq!(parse("12.5"), Ok(Some(Timestamp::from_unix(12, 500_000_000))));
        assert_eq!(parse("12.000000001"), Ok(Some(Timestamp::from_unix(12, 1))));
        assert_eq!(parse("1970-01-01T00:00:01Z"), Ok(Some(Timestamp::from_unix(1, 0))));
        assert_eq!(parse("yesterday"), Err(400));
        assert_eq!(parse("1.x"), Err(400));
    }
}
