//! Images for another store: what that has, and a bundle of what it lacks.

use corten_engine::Engine;
use corten_engine::image::BundleRequest;
use corten_http::server::Response;
use corten_oci::{Digest, Platform};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

use super::Result;
use crate::call::Call;
use crate::error::ApiError;
use crate::reply;
use crate::stream::written;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct BundleDocument {
    names: Vec<String>,
    platforms: Vec<Platform>,
    without: Vec<Digest>,
    without_stacks: Vec<Digest>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Inventory {
    content: Vec<Digest>,
}

/// What need not be sent here.
pub(crate) async fn inventory(engine: &Engine) -> Result {
    let content = engine.image_inventory().await?;
    Ok(reply::json(200, &Inventory { content }))
}

/// An archive for another store.
pub(crate) async fn bundle(engine: &Engine, mut call: Call) -> Result {
    let document: BundleDocument = call.json().await?;
    if document.names.is_empty() {
        return Err(ApiError::invalid("no images to bundle: `Names` is missing"));
    }
    let BundleDocument { names, platforms, without, without_stacks } = document;
    // Every name is looked up before the answer begins, so that a missing one is an ordinary error.
    engine.image_check(&names, None)?;
    for platform in &platforms {
        engine.image_check(&names, Some(platform))?;
    }
    let holding = engine.image_bring_back(&names).await?;
    let without: HashSet<Digest> = without.into_iter().collect();
    let request = BundleRequest { names, platforms, without, stacks: without_stacks.into_iter().collect() };
    let engine = engine.clone();
    let archive = written("a bundle of images", move |writer| {
        let _stays = holding;
        engine.image_bundle(&request, writer)
    });
    Ok(Response::stream(200, archive).header("Content-Type", reply::TAR))
}
