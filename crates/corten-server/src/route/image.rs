//! Images.

use corten_api::route::Operation;
use corten_api::version::ApiVersion;
use corten_engine::Engine;
use corten_engine::image::{CommitOptions, ImageListOptions, ImportOptions, InspectOptions, PullOptions};
use corten_http::server::Response;
use corten_oci::{Platform, Reference};
use corten_store::LoadEvent;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Result, registry};
use crate::call::Call;
use crate::error::ApiError;
use crate::stream::{unfold, written};
use crate::{gate, reply};

pub(crate) async fn list(engine: &Engine, call: Call) -> Result {
    let options = ImageListOptions {
        all: call.query.flag("all"),
        filters: call.filters()?,
        manifests: call.version >= ApiVersion::one(47) && call.query.flag("manifests"),
        shared_size: call.version >= ApiVersion::one(42) && call.query.flag("shared-size"),
    };
    let images = engine.image_list(&options).await?;
    Ok(gate::json(200, Operation::ImageList, call.version, &images))
}

pub(crate) async fn inspect(engine: &Engine, call: Call) -> Result {
    let options = InspectOptions {
        platform: platform(&call, 49)?,
        manifests: call.version >= ApiVersion::one(48) && call.query.flag("manifests"),
    };
    if options.platform.is_some() && options.manifests {
        return Err(ApiError::invalid(
            "conflicting options: manifests and platform options cannot both be set",
        ));
    }
    let image = engine.image_inspect(&call.name, &options).await?;
    Ok(gate::json(200, Operation::ImageInspect, call.version, &image))
}

pub(crate) async fn history(engine: &Engine, call: Call) -> Result {
    Ok(reply::json(200, &engine.image_history(&call.name, platform(&call, 48)?.as_ref()).await?))
}

pub(crate) async fn tag(engine: &Engine, call: Call) -> Result {
    // Docker takes the request without a repository, and does nothing.
    if call.query.get("repo").is_empty() {
        return Ok(Response::empty(200));
    }
    engine.image_tag(&call.name, call.query.get("repo"), call.query.get("tag")).await?;
    Ok(Response::empty(201))
}

pub(crate) async fn remove(engine: &Engine, call: Call) -> Result {
    let platforms: Vec<Platform> = if call.version < ApiVersion::one(50) {
        Vec::new()
    } else {
        call.query.all("platforms").map(read_platform).collect::<std::result::Result<_, _>>()?
    };
    Ok(reply::json(200, &engine.image_remove(&call.name, call.query.flag("force"), platforms).await?))
}

pub(crate) async fn prune(engine: &Engine, call: Call) -> Result {
    Ok(reply::json(200, &engine.image_prune(&call.filters()?).await?))
}

/// Import and pull.
pub(crate) async fn create(engine: &Engine, call: Call) -> Result {
    let image = call.query.get("fromImage");
    if image.is_empty() {
        return import(engine, call).await;
    }
    let name = match call.query.get("tag") {
        // A name without a tag is the whole repository.
        "" => image.to_owned(),
        digest if digest.contains(':') => format!("{image}@{digest}"),
        tag => format!("{image}:{tag}"),
    };
    let name = Reference::parse_bare(&name).map_err(|error| ApiError::of(&error))?;
    let platform = match call.query.get("platform") {
        "" => None,
        text => Some(Platform::parse(text).map_err(|error| ApiError::invalid(error.to_string()))?),
    };
    let credentials = registry::credentials(&call);
    // Of our own; Docker's clients never ask for it.
    let explain = call.query.flag("explain");
    let referrers = call.query.flag("referrers");
    let options = PullOptions { name, platform, credentials, referrers, explain };
    let engine = engine.clone();
    registry::progress(move |tell| async move { Box::pin(engine.image_pull(&options, &tell)).await }).await
}

async fn import(engine: &Engine, mut call: Call) -> Result {
    let source = call.query.get("fromSrc").to_owned();
    let options = ImportOptions {
        reference: new_name(call.query.get("repo"), call.query.get("tag"))?,
        message: match call.query.get("message") {
            "" => format!("Imported from {source}"),
            message => message.to_owned(),
        },
        changes: call.query.all("changes").map(str::to_owned).collect(),
        platform: call.query.get("platform").to_owned(),
    };
    let import = options.check()?;
    if source != "-" {
        let engine = engine.clone();
        return registry::progress(move |tell| async move {
            engine.image_import_from(import, &source, &tell).await
        })
        .await;
    }
    let mut body = call.body()?;
    body.accept().await?;
    let archive = body.into_blocking_reader();
    let engine = engine.clone();
    let id = tokio::task::spawn_blocking(move || engine.image_import(import, archive))
        .await
        .map_err(|_| ApiError::new(corten_std::ErrorClass::System, "the import was broken off"))??;
    Ok(Response::full(200, progress_line(&json!({"status": id}))).header("Content-Type", reply::JSON))
}

/// The `platform` of a request: a document; older versions than the given one did not know it.
pub(super) fn platform(call: &Call, since: u32) -> Result<Option<Platform>> {
    let text = call.query.get("platform");
    if text.is_empty() || call.version < ApiVersion::one(since) {
        return Ok(None);
    }
    read_platform(text).map(Some)
}

fn read_platform(text: &str) -> std::result::Result<Platform, ApiError> {
    let wrong = |why: String| ApiError::invalid(format!("failed to parse platform: {why}"));
    let given: Platform = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    if given.os.is_empty() || given.architecture.is_empty() {
        return Err(wrong("both OS and Architecture must be provided".to_owned()));
    }
    Ok(Platform::new(&given.os, &given.architecture, &given.variant))
}

/// The name that a new image is to have: none where none is given; never one with a digest.
fn new_name(repository: &str, tag: &str) -> Result<Option<Reference>> {
    if repository.is_empty() {
        return Ok(None);
    }
    let text = if tag.is_empty() { repository.to_owned() } else { format!("{repository}:{tag}") };
    let reference = Reference::parse(&text).map_err(|error| ApiError::of(&error))?;
    if reference.digest().is_some() {
        return Err(ApiError::invalid("cannot import digest reference"));
    }
    Ok(Some(reference.with_default_tag()))
}

/// An image of a container's files and configuration.
pub(crate) async fn commit(engine: &Engine, mut call: Call) -> Result {
    let config = call.json_if_any().await?;
    let options = CommitOptions {
        container: call.query.get("container").to_owned(),
        reference: new_name(call.query.get("repo"), call.query.get("tag"))?,
        author: call.query.get("author").to_owned(),
        comment: call.query.get("comment").to_owned(),
        changes: call.query.all("changes").map(str::to_owned).collect(),
        // Not asked for is asked for since 1.13.
        pause: call.query.flag_or("pause", true),
        config,
    };
    let id = engine.image_commit(options).await?;
    Ok(reply::json(201, &json!({"Id": id})))
}

pub(crate) async fn save(engine: &Engine, call: Call) -> Result {
    let names: Vec<String> = match call.name.as_str() {
        "" => call.query.all("names").map(str::to_owned).collect(),
        name => vec![name.to_owned()],
    };
    if names.is_empty() {
        return Err(ApiError::invalid("no images to save: `names` is missing"));
    }
    // Every name is looked up before the answer begins, so that a missing one is an ordinary error.
    let platform = platform(&call, 48)?;
    engine.image_check(&names, platform.as_ref())?;
    let holding = engine.image_bring_back(&names).await?;
    let engine = engine.clone();
    let archive = written("a save of images", move |writer| {
        let _stays = holding;
        engine.image_save(&names, platform.as_ref(), writer)
    });
    Ok(Response::stream(200, archive).header("Content-Type", reply::TAR))
}

pub(crate) async fn load(engine: &Engine, mut call: Call) -> Result {
    // Progress is told unless it is not wanted.
    let quiet = call.query.flag_or("quiet", false);
    let platform = platform(&call, 48)?;
    let mut body = call.body()?;
    body.accept().await?;
    let archive = body.into_blocking_reader();
    let (sender, mut lines) = mpsc::channel::<std::io::Result<Vec<u8>>>(64);
    let engine = engine.clone();
    let loading = tokio::task::spawn_blocking(move || {
        let tell = |line: &Value| {
            // A client that left does not end the load: half of it is done.
            let _ = sender.blocking_send(Ok(progress_line(line)));
        };
        let loaded = engine.image_load(archive, platform.as_ref(), &mut |event| match event {
            LoadEvent::Layer { layer, current, total } if !quiet => tell(&json!({
                "status": "Loading layer",
                "progressDetail": {"current": current, "total": total},
                "id": corten_std::id::short(&layer),
            })),
            LoadEvent::Renamed { reference, previous } => tell(&json!({
                "stream": format!("The image {reference} already exists, renaming the old one with ID {previous} to empty string\n"),
            })),
            LoadEvent::Loaded(loaded) => tell(&json!({"stream": format!("{loaded}\n")})),
            LoadEvent::Layer { .. } => {}
        });
        // The status is 200 by then, as Docker's is: what went wrong is the last line.
        if let Err(error) = loaded {
            let text = error.message();
            tell(&json!({"errorDetail": {"message": text}, "error": text}));
        }
    });
    // Until the first line nothing is sent.
    let Some(first) = lines.recv().await else {
        return match loading.await {
            Ok(()) => Ok(Response::full(200, "").header("Content-Type", reply::JSON)),
            Err(_) => Err(ApiError::new(corten_std::ErrorClass::System, "the load was broken off")),
        };
    };
    let body = unfold((Some(first), lines), |(first, mut lines)| async move {
        let line = match first {
            Some(first) => first,
            None => lines.recv().await?,
        };
        Some(((None, lines), line))
    });
    Ok(Response::stream(200, body).header("Content-Type", reply::JSON))
}

/// One line of progress, ended as Docker ends it.
pub(super) fn progress_line(line: &Value) -> Vec<u8> {
    let mut bytes = line.to_string().into_bytes();
    bytes.extend_from_slice(b"\r\n");
    bytes
}
