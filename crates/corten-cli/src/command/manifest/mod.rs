//! `manifest …`: lists of manifests, made beside the configuration and pushed from there. No daemon is asked.

pub(crate) mod annotate;
pub(crate) mod create;
pub(crate) mod inspect;
pub(crate) mod push;
pub(crate) mod rm;
mod store;

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::registry::{self, Access};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_distribution::{DistributionError, Document, Repository};
use corten_oci::image::{Descriptor, media_type};
use corten_oci::{Index, Manifest, Platform, Reference};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::Stored;

/// A name as these commands take it: with a tag where neither tag nor digest is given.
fn parse(text: &str) -> Result<Reference> {
    Reference::parse(text).map_err(|error| CliError::said(error.to_string()))
}

/// Ways to the registries of these names.
fn access(insecure: bool, names: &[&Reference]) -> Result<Access> {
    let allowed =
        if insecure { names.iter().map(|name| name.domain().to_owned()).collect() } else { Vec::new() };
    Access::new(allowed)
}

/// A failed question for a manifest, in Docker's words.
fn missing(name: &Reference, error: &DistributionError) -> CliError {
    match (error, error.status()) {
        (_, Some(401 | 404)) => CliError::said(format!("no such manifest: {}", name.canonical())),
        (DistributionError::Connection { cause, .. }, _) => CliError::said(format!(
            "failed to configure transport: error pinging v2 registry: Get \"https://{}/v2/\": {cause}",
            name.domain()
        )),
        _ => registry::failed(error),
    }
}

/// What a name means in its registry.
fn read(access: &mut Access, context: &mut Context, name: &Reference) -> Result<(Repository, Document)> {
    let repository = access.repository(context, name)?;
    let asked = match (name.digest(), name.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or(corten_oci::reference::DEFAULT_TAG).to_owned(),
    };
    let document = access.wait(repository.manifest(&asked)).map_err(|error| missing(name, &error))?;
    Ok((repository, document))
}

/// A manifest as these commands keep it, with the platform that its configuration tells.
fn described(
    access: &Access,
    repository: &Repository,
    name: &Reference,
    document: &Document,
) -> Result<Stored> {
    if media_type::is_index(&document.descriptor.media_type) {
        return Err(CliError::said(format!("{} is a manifest list", name.canonical())));
    }
    let wrong = |error: &serde_json::Error| {
        CliError::said(format!("the manifest {} is not one: {error}", document.descriptor.digest))
    };
    let manifest: Manifest = serde_json::from_slice(&document.bytes).map_err(|error| wrong(&error))?;
    let config =
        access.wait(repository.small_blob(&manifest.config)).map_err(|error| registry::failed(&error))?;
    let platform: Platform = serde_json::from_slice(&config).map_err(|error| wrong(&error))?;
    let mut descriptor = document.descriptor.clone();
    descriptor.platform = Some(platform);
    let text = String::from_utf8_lossy(&document.bytes);
    let raw = RawValue::from_string(text.into_owned()).map_err(|error| wrong(&error))?;
    let is_docker = descriptor.media_type == media_type::DOCKER_MANIFEST;
    let (docker, oci) = if is_docker { (Some(raw), None) } else { (None, Some(raw)) };
    Ok(Stored { name: name.canonical(), descriptor, raw: STANDARD.encode(&document.bytes), docker, oci })
}

/// A list as it is printed and pushed: Docker's order of fields and indent.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListDocument {
    schema_version: u32,
    media_type: String,
    manifests: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    size: u64,
    digest: corten_oci::Digest,
    platform: Platform,
}

/// The list of these manifests under a name: its media type and bytes.
fn assemble(target: &Reference, all: &[Stored]) -> Result<(String, Vec<u8>)> {
    let mut manifests = Vec::new();
    for one in all {
        let name = parse(&one.name)?;
        if name.domain() != target.domain() {
            return Err(CliError::said(format!(
                "cannot use source images from a different registry than the target image: {} != {}",
                name.domain(),
                target.domain()
            )));
        }
        let Descriptor { media_type, digest, size, platform, .. } = one.descriptor.clone();
        manifests.push(Entry { media_type, size, digest, platform: platform.unwrap_or_default() });
    }
    let first = manifests.first().map(|entry| entry.media_type.as_str());
    let is_oci = first == Some(media_type::OCI_MANIFEST);
    let media_type = if is_oci { media_type::OCI_INDEX } else { media_type::DOCKER_INDEX }.to_owned();
    let list = ListDocument { schema_version: 2, media_type: media_type.clone(), manifests };
    Ok((media_type, store::indented(&text_of(&list)?, "   ").into_bytes()))
}

fn text_of(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| CliError::said(error.to_string()))
}

/// All manifests of a list in a registry, in its order.
fn listed(
    access: &Access,
    repository: &Repository,
    name: &Reference,
    document: &Document,
) -> Result<Vec<Stored>> {
    let index: Index = serde_json::from_slice(&document.bytes).map_err(|error| {
        CliError::said(format!("the manifest list {} is not one: {error}", name.canonical()))
    })?;
    let mut all = Vec::new();
    for entry in index.manifests {
        let part = access.wait(repository.manifest(&entry.digest.to_string()));
        let part = part.map_err(|error| missing(name, &error))?;
        if media_type::is_index(&part.descriptor.media_type) {
            return Err(CliError::said(format!("unsupported manifest type: {}", part.descriptor.media_type)));
        }
        let mut one = described(access, repository, &name.with_digest(entry.digest), &part)?;
        one.name = format!("{}@{}", name.canonical().split('@').next().unwrap_or_default(), entry.digest);
        // The list knows better what a manifest is for.
        one.descriptor.platform = Some(entry.platform.unwrap_or_default());
        all.push(one);
    }
    Ok(all)
}
