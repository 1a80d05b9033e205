//! `pull`.

use crate::context::Context;
use crate::credentials;
use crate::entry::{Count, Entry};
use crate::environment;
use crate::error::{CliError, Result};
use crate::progress::{self, Where};
use corten_oci::Reference;

pub(crate) const ENTRY: Entry = Entry {
    name: "image pull",
    aliases: &["pull"],
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Download an image from a registry
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Tell which host answered what, how fast, and why it was asked
    #[arg(long)]
    explain: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    /// Pull what refers to the image, too (signatures, bills of materials)
    #[arg(long)]
    referrers: bool,
    /// Skip image verification
    #[arg(long, default_value = "true", hide = true)]
    disable_content_trust: bool,
    /// Image
    name: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let mut name =
        Reference::parse_bare(&arguments.name).map_err(|error| CliError::said(error.to_string()))?;
    let is_bare = name.tag().is_none() && name.digest().is_none();
    if arguments.explain && arguments.quiet {
        return Err(CliError::said("--explain tells what --quiet keeps to itself: use one of them"));
    }
    if arguments.all_tags && !is_bare {
        return Err(CliError::said("tag can't be used with --all-tags/-a"));
    }
    if !arguments.all_tags && is_bare {
        name = name.with_default_tag();
        if !arguments.quiet {
            context.ui.line("Using default tag: latest")?;
            context.ui.flush()?;
        }
    }
    let platform = arguments.platform.or_else(|| environment::value(environment::DEFAULT_PLATFORM));
    let place = if arguments.quiet { Where::Nowhere } else { Where::Output };
    let ours = [("explain", arguments.explain), ("referrers", arguments.referrers)];
    let ours: Vec<&str> = ours.iter().filter(|(_, wanted)| *wanted).map(|(name, _)| *name).collect();
    fetch(context, &name, platform.as_deref(), place, &ours)?;
    context.ui.line(name.canonical())?;
    Ok(0)
}

/// Pulls what something else needs; progress goes beside its output.
pub(crate) fn pull(context: &mut Context, image: &str, platform: Option<&str>, quiet: bool) -> Result<()> {
    let name = Reference::parse(image).map_err(|error| CliError::said(error.to_string()))?;
    fetch(context, &name, platform, if quiet { Where::Nowhere } else { Where::Error }, &[])
}

fn fetch(
    context: &mut Context,
    name: &Reference,
    platform: Option<&str>,
    place: Where,
    ours: &[&str],
) -> Result<()> {
    let header = credentials::header_for(context, name)?;
    let client = context.client()?;
    let tag = name.digest().map_or_else(|| name.tag().unwrap_or_default().to_owned(), ToString::to_string);
    let reply = client.image_pull(&name.familiar_name(), &tag, platform, &header, ours)?;
    progress::show(context, reply, place).map(drop)
}
