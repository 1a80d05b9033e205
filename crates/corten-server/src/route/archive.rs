//! Files of a container, in and out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_api::container::PathStat;
use corten_engine::Engine;
use corten_engine::archive::PutOptions;
use corten_http::server::Response;
use corten_std::ErrorClass;

use super::Result;
use crate::call::Call;
use crate::encoding::Encoding;
use crate::error::ApiError;
use crate::reply;
use crate::stream::written;

pub(crate) async fn stat(engine: &Engine, call: Call) -> Result {
    let stat = engine.archive_stat(&call.name, path(&call)?).await?;
    Ok(with_stat(Response::empty(200), &stat))
}

pub(crate) async fn get(engine: &Engine, call: Call) -> Result {
    let path = path(&call)?.to_owned();
    let stat = engine.archive_stat(&call.name, &path).await?;
    let (engine, name) = (engine.clone(), call.name.clone());
    let archive = Encoding::wanted(&call.head)
        .stream("an archive", move |writer| engine.archive_get(&name, &path, writer));
    Ok(with_stat(archive.header("Content-Type", reply::TAR), &stat))
}

pub(crate) async fn put(engine: &Engine, mut call: Call) -> Result {
    let path = path(&call)?.to_owned();
    let options = PutOptions {
        no_overwrite_dir_non_dir: call.query.flag("noOverwriteDirNonDir"),
        copy_uid_gid: call.query.flag("copyUIDGID"),
    };
    let (engine, name) = (engine.clone(), call.name.clone());
    let archive = call.body()?.into_blocking_reader();
    tokio::task::spawn_blocking(move || engine.archive_put(&name, &path, archive, &options))
        .await
        .map_err(|_| ApiError::new(ErrorClass::System, "the copy was broken off"))??;
    Ok(Response::empty(200))
}

pub(crate) async fn export(engine: &Engine, call: Call) -> Result {
    engine.archive_export_check(&call.name)?;
    let (engine, name) = (engine.clone(), call.name.clone());
    let archive = written("an export", move |writer| engine.archive_export(&name, writer));
    Ok(Response::stream(200, archive).header("Content-Type", "application/octet-stream"))
}

pub(crate) async fn changes(engine: &Engine, call: Call) -> Result {
    let changes = engine.archive_changes(&call.name).await?;
    // No change at all is `null`, as in Docker.
    Ok(reply::json(200, &Some(changes).filter(|changes| !changes.is_empty())))
}

fn path(call: &Call) -> Result<&str> {
    match call.query.get("path") {
        "" => Err(ApiError::invalid("bad parameter: path cannot be empty")),
        path => Ok(path),
    }
}

/// What is known of a path goes into a header.
fn with_stat(response: Response, stat: &PathStat) -> Response {
    let document = serde_json::to_vec(stat).unwrap_or_default();
    response.header("X-Docker-Container-Path-Stat", STANDARD.encode(document))
}
