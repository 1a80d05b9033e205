//! `manifest push`.

use super::store::{Lists, Stored};
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::registry::failed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_oci::{Digest, Manifest};

pub(crate) const ENTRY: Entry = Entry {
    name: "manifest push",
    aliases: &[],
    usage: "[OPTIONS] MANIFEST_LIST",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Push a manifest list to a repository
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Allow push to an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Remove the local manifest list after push
    #[arg(short, long)]
    purge: bool,
    /// The list
    list: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let target = super::parse(&arguments.list)?;
    let lists = Lists::new(context.folder());
    let all = lists.all(&target)?;
    if all.is_empty() {
        return Err(CliError::said(format!("{} not found", target.canonical())));
    }
    for one in &all {
        let platform = one.descriptor.platform.as_ref();
        if platform.is_none_or(|platform| platform.os.is_empty() || platform.architecture.is_empty()) {
            return Err(CliError::said(format!(
                "manifest {} must have an OS and Architecture to be pushed to a registry",
                one.name
            )));
        }
    }
    let (media_type, bytes) = super::assemble(&target, &all)?;
    let mut access = super::access(arguments.insecure, &[&target])?;
    let repository = access.repository(context, &target)?;
    let mut parts = Vec::new();
    for one in &all {
        let name = super::parse(&one.name)?;
        let bytes = payload(one)?;
        // What lies in the same repository is there already.
        if name.path() != target.path() {
            parts.push((name, one, bytes));
        }
    }
    for (name, one, bytes) in &parts {
        let manifest: Manifest = serde_json::from_slice(bytes)
            .map_err(|error| CliError::said(format!("the manifest {} is not one: {error}", one.name)))?;
        let mut seen = std::collections::HashSet::new();
        for blob in manifest.blobs() {
            if !seen.insert(blob.digest) {
                continue;
            }
            let mounted = access.wait(repository.mount_blob(&blob.digest, name.path()));
            if !mounted.map_err(|error| failed(&error))? {
                return Err(CliError::said(format!(
                    "error mounting {}@{} to {}",
                    name.canonical_name(),
                    blob.digest,
                    target.canonical()
                )));
            }
        }
    }
    for (_, one, bytes) in &parts {
        let digest = one.descriptor.digest;
        let pushed =
            access.wait(repository.push_manifest(&digest.to_string(), &one.descriptor.media_type, bytes));
        pushed.map_err(|error| failed(&error))?;
        let place = target.repository().with_digest(digest).canonical();
        context.ui.line(format!("Pushed ref {place} with digest: {digest}"))?;
    }
    let tag = target.tag().unwrap_or(corten_oci::reference::DEFAULT_TAG);
    access.wait(repository.push_manifest(tag, &media_type, &bytes)).map_err(|error| failed(&error))?;
    context.ui.line(Digest::of(&bytes).to_string())?;
    if arguments.purge {
        lists.remove(&target)?;
    }
    Ok(0)
}

/// A manifest's bytes, which are what its digest says.
fn payload(one: &Stored) -> Result<Vec<u8>> {
    let kept = one.docker.as_ref().or(one.oci.as_ref()).map(|text| text.get().as_bytes().to_vec());
    let bytes = STANDARD.decode(&one.raw).ok().filter(|bytes| !bytes.is_empty()).or(kept).unwrap_or_default();
    if one.descriptor.digest.again(&bytes) == one.descriptor.digest {
        return Ok(bytes);
    }
    Err(CliError::said(format!(
        "the manifest of {} that was kept is not the one of {}: remove the list with `manifest rm` and make it again",
        one.name, one.descriptor.digest
    )))
}
