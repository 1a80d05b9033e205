//! Containers: life, inspection, output.

use corten_api::container::{ContainerConfig, CreateRequest, UpdateRequest};
use corten_api::query::Query;
use corten_api::route::Operation;
use corten_api::version::ApiVersion;
use corten_engine::Engine;
use corten_engine::container::{
    CreateOptions, ListOptions, Outcome, RemoveOptions, StopOptions, WaitCondition,
};
use corten_engine::log::{LogOptions, LogStream};
use corten_http::server::Response;
use corten_http::server::head::Framing;
use corten_std::ErrorClass;

use super::Result;
use super::system::point_in_time;
use crate::call::Call;
use crate::error::ApiError;
use crate::stream::{frame, unfold};
use crate::{gate, reply};

pub(crate) async fn list(engine: &Engine, call: Call) -> Result {
    let options = ListOptions {
        all: call.query.flag("all"),
        limit: call.query.number("limit")?.unwrap_or(0),
        size: call.query.flag("size"),
        filters: call.filters()?,
    };
    let rows = engine.list(options).await?;
    Ok(gate::json(200, Operation::ContainerList, call.version, &rows))
}

pub(crate) async fn create(engine: &Engine, mut call: Call) -> Result {
    let (mut request, document) = call.required_json_with_text::<CreateRequest>().await?;
    if request.config == ContainerConfig::default() && !says_config(&document) {
        return Err(ApiError::invalid("config cannot be empty in order to create a container"));
    }
    as_of(call.version, &mut request);
    let name = call.query.get("name").trim_start_matches('/');
    let platform = call.query.get("platform");
    let options = CreateOptions {
        name: (!name.is_empty()).then(|| name.to_owned()),
        platform: (!platform.is_empty() && call.version >= ApiVersion::one(41)).then(|| platform.to_owned()),
    };
    Ok(reply::json(201, &engine.create(options, request).await?))
}

/// Whether a document that has the default configuration says so with at least one key, as `{"Image":""}`.
fn says_config(document: &[u8]) -> bool {
    let keys: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(document).unwrap_or_default();
    keys.keys()
        .any(|key| !["HostConfig", "NetworkingConfig"].iter().any(|other| key.eq_ignore_ascii_case(other)))
}

/// Takes out what a request's version did not know, as Docker does.
fn as_of(version: ApiVersion, request: &mut CreateRequest) {
    let before = |minor| version < ApiVersion::one(minor);
    let (config, host_config) = (&mut request.config, &mut request.host_config);
    if before(25) {
        config.stop_timeout = None;
    }
    if before(30) {
        host_config.mounts.clear();
    }
    if before(40) && host_config.ipc_mode.is_empty() {
        "shareable".clone_into(&mut host_config.ipc_mode);
    }
    if before(41) && host_config.cgroupns_mode.is_empty() {
        "host".clone_into(&mut host_config.cgroupns_mode);
    }
    if !before(42) {
        host_config.kernel_memory = 0;
    }
    for mount in &mut host_config.mounts {
        if before(44) && mount.kind == "bind" && mount.read_only {
            mount.bind_options.get_or_insert_default();
        }
        if let Some(bind) = &mut mount.bind_options {
            bind.non_recursive &= !before(40);
            bind.create_mountpoint &= !before(42);
            bind.read_only_non_recursive |= before(44) && mount.read_only;
            bind.read_only_force_recursive &= !before(44);
        }
        if let Some(volume) = &mut mount.volume_options
            && before(45)
        {
            volume.subpath.clear();
        }
    }
    if before(43) {
        host_config.annotations.clear();
    }
    if before(44) {
        if let Some(check) = &mut config.healthcheck {
            check.start_interval = 0;
        }
        for endpoint in request.networking_config.endpoints_config.values_mut() {
            endpoint.mac_address.clear();
        }
    }
}

pub(crate) async fn inspect(engine: &Engine, call: Call) -> Result {
    let container = engine.inspect(&call.name, call.query.flag("size")).await?;
    Ok(gate::json(200, Operation::ContainerInspect, call.version, &container))
}

pub(crate) async fn top(engine: &Engine, call: Call) -> Result {
    Ok(reply::json(200, &engine.top(&call.name, call.query.get("ps_args")).await?))
}

pub(crate) async fn start(engine: &Engine, call: Call) -> Result {
    // A short body is forgiven, as by Docker: some old clients send `null`.
    if !matches!(call.head.framing, Framing::Length(0..=7)) {
        return Err(ApiError::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    Ok(changed(engine.start(&call.name).await?))
}

/// 204 where something was done, 304 where it was so already.
fn changed(outcome: Outcome) -> Response {
    Response::empty(match outcome {
        Outcome::Changed => 204,
        Outcome::Unchanged => 304,
    })
}

pub(crate) async fn stop(engine: &Engine, call: Call) -> Result {
    Ok(changed(engine.stop(&call.name, stop_options(&call)?).await?))
}

pub(crate) async fn restart(engine: &Engine, call: Call) -> Result {
    engine.restart(&call.name, stop_options(&call)?).await?;
    Ok(Response::empty(204))
}

fn stop_options(call: &Call) -> Result<StopOptions> {
    let signal = call.query.get("signal");
    Ok(StopOptions {
        timeout: call.query.number("t")?,
        signal: (!signal.is_empty() && call.version >= ApiVersion::one(42)).then(|| signal.to_owned()),
    })
}

pub(crate) async fn kill(engine: &Engine, call: Call) -> Result {
    let killed = engine.kill(&call.name, call.query.get("signal")).await;
    killed.map_err(|error| ApiError::from(error).behind(&format!("cannot kill container: {}", call.name)))?;
    Ok(Response::empty(204))
}

pub(crate) async fn update(engine: &Engine, mut call: Call) -> Result {
    let changes: UpdateRequest = call.json().await?;
    Ok(reply::json(200, &engine.update(&call.name, changes).await?))
}

pub(crate) async fn rename(engine: &Engine, call: Call) -> Result {
    engine.rename(&call.name, call.query.get("name").trim_start_matches('/')).await?;
    Ok(Response::empty(204))
}

pub(crate) async fn pause(engine: &Engine, call: Call) -> Result {
    engine.pause(&call.name).await?;
    Ok(Response::empty(204))
}

pub(crate) async fn unpause(engine: &Engine, call: Call) -> Result {
    engine.unpause(&call.name).await?;
    Ok(Response::empty(204))
}

/// Checkpoints are an experimental feature of Docker, and off.
pub(crate) fn no_checkpoints() -> ApiError {
    ApiError::new(
        ErrorClass::NotImplemented,
        "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it.",
    )
}

pub(crate) async fn remove(engine: &Engine, call: Call) -> Result {
    if call.name.contains("/checkpoints/") {
        return Err(no_checkpoints());
    }
    let options = RemoveOptions {
        force: call.query.flag("force"),
        volumes: call.query.flag("v"),
        link: call.query.flag("link"),
    };
    engine.remove(&call.name, options).await?;
    Ok(Response::empty(204))
}

pub(crate) async fn resize(engine: &Engine, call: Call) -> Result {
    let (height, width) = terminal_size(&call.query)?;
    engine.resize(&call.name, height, width).await?;
    Ok(Response::empty(200))
}

/// Rows and columns that a resize asks for.
pub(crate) fn terminal_size(query: &Query) -> Result<(u16, u16)> {
    let side = |name, what| {
        let text = query.get(name);
        let number = text.parse::<i128>();
        if let Some(side) = number.as_ref().ok().and_then(|number| u32::try_from(*number).ok()) {
            // The kernel has 16 bits for each.
            return Ok(u16::try_from(side).unwrap_or(u16::MAX));
        }
        let why = if number.is_ok() { "value out of range" } else { "invalid syntax" };
        Err(ApiError::invalid(format!("invalid resize {what} \"{text}\": {why}")))
    };
    Ok((side("h", "height")?, side("w", "width")?))
}

pub(crate) async fn wait(engine: &Engine, call: Call) -> Result {
    // Conditions, and the head before the end, came with 1.30.
    let with_conditions = call.version >= ApiVersion::one(30);
    let condition = match call.query.get("condition") {
        text if with_conditions => text.parse()?,
        _ => WaitCondition::NotRunning,
    };
    // From here on nothing is missed; only then may the client see an answer.
    let waiting = engine.wait(&call.name, condition)?;
    if !with_conditions {
        return Ok(reply::json(200, &waiting.result().await));
    }
    let body = unfold(Some(waiting), |waiting| async move {
        let mut line = serde_json::to_vec(&waiting?.result().await).unwrap_or_default();
        line.push(b'\n');
        Some((None, Ok(line)))
    });
    Ok(Response::stream(200, body).header("Content-Type", reply::JSON))
}

pub(crate) async fn logs(engine: &Engine, call: Call) -> Result {
    let query = &call.query;
    let tail = query.get("tail").parse::<i64>().ok().and_then(|lines| u64::try_from(lines).ok());
    let until = query.get("until");
    let options = LogOptions {
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        follow: query.flag("follow"),
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        tail,
        since: point_in_time(query.get("since"))?,
        until: if until == "0" { None } else { point_in_time(until)? },
    };
    let log = engine.logs(&call.name, options).await?;
    let framed = !log.is_terminal();
    let body = unfold(Some(log), move |log| log_step(log, framed));
    Ok(Response::stream(200, body).header("Content-Type", reply::stream_type(framed, call.version)))
}

/// Bytes of lines that go out as one piece.
const LOG_PIECE: usize = 128 << 10;

/// What there is of a log, up to a bound. An error is the last thing sent, in a frame of its own.
async fn log_step(
    log: Option<LogStream>,
    framed: bool,
) -> Option<(Option<LogStream>, std::io::Result<Vec<u8>>)> {
    let mut log = log?;
    match log.next_piece(framed, LOG_PIECE).await {
        Ok(piece) => Some((Some(log), Ok(piece?))),
        Err(error) => {
            let text = format!("Error grabbing logs: {}\n", error.message());
            let piece = if framed { frame(3, text.as_bytes()) } else { text.into_bytes() };
            Some((None, Ok(piece)))
        }
    }
}

pub(crate) async fn prune(engine: &Engine, call: Call) -> Result {
    Ok(reply::json(200, &engine.container_prune(&call.filters()?).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_client_does_not_ask_for_what_it_cannot_know() {
        let text = r#"{"Image":"a","Healthcheck":{"StartInterval":5},"HostConfig":{"Annotations":{"a":"b"},
            "Mounts":[{"Type":"bind","ReadOnly":true,"BindOptions":{"CreateMountpoint":true}}]},
            "NetworkingConfig":{"EndpointsConfig":{"n":{"MacAddress":"m"},"o":null}}}"#;
        let request: CreateRequest = serde_json::from_str(text).unwrap();
        let mut newest = request.clone();
        as_of(ApiVersion::NEWEST, &mut newest);
        assert_eq!(newest, request);
        let mut old = request;
        as_of(ApiVersion::one(41), &mut old);
        let bind = old.host_config.mounts[0].bind_options.clone().unwrap();
        assert!(!bind.create_mountpoint && bind.read_only_non_recursive);
        assert!(old.host_config.annotations.is_empty());
        assert_eq!(old.config.healthcheck.unwrap().start_interval, 0);
        assert_eq!(old.networking_config.endpoints_config["n"].mac_address, "");
        assert_eq!(old.networking_config.endpoints_config.len(), 2);
    }

    #[test]
    fn sizes_must_be_numbers() {
        let size = |text| terminal_size(&Query::parse(text).unwrap()).map_err(|error| error.status());
        assert_eq!(size("h=24&w=80"), Ok((24, 80)));
        assert_eq!(size("h=24"), Err(400));
        assert_eq!(size("h=-1&w=x"), Err(400));
    }
}
