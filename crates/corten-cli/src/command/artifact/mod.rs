//! `artifact …`: content of any type in registries, and what refers to it. It is kept in registries alone; no daemon is asked.

pub(crate) mod attach;
pub(crate) mod copy;
pub(crate) mod inspect;
mod kind;
pub(crate) mod ls;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rm;

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::registry::{Access, failed};
use corten_distribution::{Document, Open, Repository};
use corten_oci::image::{Descriptor, Extra, media_type};
use corten_oci::{Digest, Index, Manifest, Reference};
use kind::Content;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

/// The annotation that names a file.
const TITLE: &str = "org.opencontainers.image.title";
/// The empty configuration.
const EMPTY: &[u8] = b"{}";

/// One file as it lies here, and as a manifest names it.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    descriptor: Descriptor,
}

fn parse(text: &str) -> Result<Reference> {
    Reference::parse(text).map_err(|error| CliError::said(error.to_string()))
}

fn parse_bare(text: &str) -> Result<Reference> {
    Reference::parse_bare(text).map_err(|error| CliError::said(error.to_string()))
}

/// The tag or digest that is asked for; a digest says more.
fn asked(name: &Reference) -> String {
    match (name.digest(), name.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or(corten_oci::reference::DEFAULT_TAG).to_owned(),
    }
}

fn access(insecure: bool, names: &[&Reference]) -> Result<Access> {
    Access::new(if insecure {
        names.iter().map(|name| name.domain().to_owned()).collect()
    } else {
        Vec::new()
    })
}

/// `key=value`
fn annotation(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not key=value")),
    }
}

/// What a name means in its registry.
fn document(access: &Access, repository: &Repository, name: &Reference) -> Result<Document> {
    access.wait(repository.manifest(&asked(name))).map_err(|error| match error.status() {
        Some(404) => CliError::said(format!("{} is not there: {error}", name.familiar())),
        _ => failed(&error),
    })
}

fn manifest_of(document: &Document, name: &Reference) -> Result<Manifest> {
    if media_type::is_index(&document.descriptor.media_type) {
        let index: Index = serde_json::from_slice(&document.bytes).unwrap_or_else(|_| Index::new(Vec::new()));
        let all: Vec<String> = index.manifests.iter().take(8).map(|entry| entry.digest.to_string()).collect();
        return Err(CliError::said(format!(
            "{} holds several: name one as {}@DIGEST, of {}",
            name.familiar(),
            name.familiar_name(),
            all.join(", ")
        )));
    }
    serde_json::from_slice(&document.bytes)
        .map_err(|error| CliError::said(format!("the manifest of {} is not one: {error}", name.familiar())))
}

/// What a manifest is.
fn type_of(manifest: &Manifest) -> String {
    let own = manifest.artifact_type.clone().filter(|kind| !kind.is_empty());
    own.unwrap_or_else(|| manifest.config.media_type.clone())
}

/// Sends content and what names it; gives the manifest's digest.
fn send(
    context: &mut Context,
    access: &Access,
    repository: &Repository,
    content: Content,
    subject: Option<Descriptor>,
    tag: Option<&str>,
) -> Result<Digest> {
    let Content { artifact_type, config: (config_type, config), parts, annotations } = content;
    let config_descriptor = Descriptor::of(&config_type, &config);
    let config: Arc<[u8]> = config.into();
    let open: Open = Arc::new(move || Ok(Box::new(std::io::Cursor::new(Arc::clone(&config)))));
    push_blob(context, access, repository, &config_descriptor, None, open)?;
    let mut layers = Vec::new();
    for part in parts {
        let path = part.path.clone();
        let open: Open = Arc::new(move || Ok(Box::new(File::open(&path)?)));
        let title = part.descriptor.annotations.get(TITLE).cloned();
        push_blob(context, access, repository, &part.descriptor, title.as_deref(), open)?;
        layers.push(part.descriptor);
    }
    if layers.is_empty() {
        // The specification wants one layer at least.
        let empty = Descriptor::of(media_type::EMPTY, EMPTY);
        let open: Open = Arc::new(|| Ok(Box::new(EMPTY)));
        push_blob(context, access, repository, &empty, None, open)?;
        layers.push(empty);
    }
    let mut manifest = Manifest::new(config_descriptor, layers);
    manifest.artifact_type = artifact_type;
    manifest.annotations = annotations;
    manifest.subject = subject.map(plain);
    let bytes = serde_json::to_vec(&manifest).map_err(|error| CliError::said(error.to_string()))?;
    let digest = Digest::of(&bytes);
    let name = tag.map_or_else(|| digest.to_string(), str::to_owned);
    let pushed = access.wait(repository.push_manifest(&name, media_type::OCI_MANIFEST, &bytes));
    pushed.map_err(|error| failed(&error))?;
    Ok(digest)
}

/// Type, digest and length alone.
fn plain(descriptor: Descriptor) -> Descriptor {
    Descriptor {
        urls: Vec::new(),
        annotations: BTreeMap::new(),
        platform: None,
        artifact_type: None,
        extra: Extra::new(),
        ..descriptor
    }
}

fn push_blob(
    context: &mut Context,
    access: &Access,
    repository: &Repository,
    descriptor: &Descriptor,
    title: Option<&str>,
    open: Open,
) -> Result<()> {
    let pushed = access.wait(repository.push_blob(descriptor, &[], open, &|_| {}));
    let pushed = pushed.map_err(|error| failed(&error))?;
    if let Some(title) = title {
        let what = match pushed {
            corten_distribution::Pushed::Sent => "Pushed",
            _ => "Already there",
        };
        context.ui.line(format!("{}: {what} {title}", descriptor.digest.short()))?;
        context.ui.flush()?;
    }
    Ok(())
}

/// A file's digest and length.
fn measure(path: &std::path::Path) -> Result<(Digest, u64)> {
    let shown = path.display().to_string();
    let mut file = corten_std::file::open(path).map_err(|error| CliError::open(&shown, &error))?;
    let mut hasher = corten_oci::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let length = file
            .read(&mut buffer)
            .map_err(|error| CliError::said(format!("cannot read {shown}: {error}")))?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
    }
    let length = hasher.length();
    Ok((hasher.finish(), length))
}
