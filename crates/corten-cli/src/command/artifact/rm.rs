//! `artifact rm`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::registry::failed;

pub(crate) const ENTRY: Entry = Entry {
    name: "artifact rm",
    aliases: &[],
    usage: "[OPTIONS] NAME[:TAG|@DIGEST] [NAME...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Remove artifacts from their registry
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    /// The artifacts: by tag the tag alone where the registry can do that, by digest the artifact with all its tags
    names: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let mut left = Vec::new();
    for text in &arguments.names {
        match remove(context, text, arguments.insecure) {
            Ok(removed) => context.ui.line(removed)?,
            Err(error) => left.push(error.text()),
        }
    }
    if left.is_empty() { Ok(0) } else { Err(CliError::said(left.join("\n"))) }
}

fn remove(context: &mut Context, text: &str, insecure: bool) -> Result<String> {
    let name = super::parse_bare(text)?;
    if name.tag().is_none() && name.digest().is_none() {
        return Err(CliError::said(format!("`{text}` names a repository: name a tag or a digest in it")));
    }
    let mut access = super::access(insecure, &[&name])?;
    let repository = access.repository(context, &name)?;
    let refused = |error: &corten_distribution::DistributionError| match error.status() {
        Some(405) => CliError::said(format!("{} does not allow that anything is removed", repository.host())),
        Some(404) => CliError::said(format!("{} is not there", name.familiar())),
        _ => failed(error),
    };
    let digest = if let Some(digest) = name.digest() {
        *digest
    } else {
        match access.wait(repository.delete_manifest(&super::asked(&name))) {
            Ok(()) => return Ok(format!("Untagged: {}", name.familiar())),
            // This one knows digests only: then all tags of it go.
            Err(error) if matches!(error.status(), Some(400 | 405)) => {
                super::document(&access, &repository, &name)?.descriptor.digest
            }
            Err(error) => return Err(refused(&error)),
        }
    };
    access.wait(repository.delete_manifest(&digest.to_string())).map_err(|error| refused(&error))?;
    Ok(format!("Deleted: {}", name.with_digest(digest).familiar()))
}
