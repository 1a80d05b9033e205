//! `push`.

use crate::context::Context;
use crate::credentials;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::progress::{self, Where};
use corten_oci::Reference;

pub(crate) const ENTRY: Entry = Entry {
    name: "image push",
    aliases: &["push"],
    usage: "[OPTIONS] NAME[:TAG]",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Upload an image to a registry
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Push a platform-specific manifest as a single-platform image to the registry
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    /// Skip image signing
    #[arg(long, default_value = "true", hide = true)]
    disable_content_trust: bool,
    /// Image
    name: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let mut name =
        Reference::parse_bare(&arguments.name).map_err(|error| CliError::said(error.to_string()))?;
    if name.digest().is_some() {
        return Err(CliError::said("cannot push a digest reference"));
    }
    if arguments.all_tags && name.tag().is_some() {
        return Err(CliError::said("tag can't be used with --all-tags/-a"));
    }
    if !arguments.all_tags && name.tag().is_none() {
        name = name.with_default_tag();
        if !arguments.quiet {
            context.ui.line("Using default tag: latest")?;
            context.ui.flush()?;
        }
    }
    let platform = arguments.platform.as_deref().map(super::platform).transpose()?;
    let header = credentials::header_for(context, &name)?;
    let client = context.client()?;
    let tag = name.tag().unwrap_or_default();
    let reply = client.image_push(&name.familiar_name(), tag, platform.as_deref(), &header)?;
    progress::show(context, reply, if arguments.quiet { Where::Nowhere } else { Where::Output })?;
    if arguments.quiet {
        context.ui.line(name.canonical())?;
    }
    Ok(0)
}
