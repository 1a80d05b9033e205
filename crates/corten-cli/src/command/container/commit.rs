//! `commit`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use corten_client::{ClientError, Query};
use corten_oci::Reference;

pub(crate) const ENTRY: Entry = Entry {
    name: "container commit",
    aliases: &["commit"],
    usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    count: Count::Range(1, 2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Create a new image from a container's changes
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long, value_name = "string")]
    author: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long)]
    change: Vec<String>,
    /// Commit message
    #[arg(short, long, value_name = "string")]
    message: Option<String>,
    /// Pause container during commit
    #[arg(short, long, default_value = "true")]
    pause: bool,
    /// Container
    container: String,
    /// Name of the image
    reference: Option<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let mut query = Query::new()
        .with("container", &arguments.container)
        .maybe("author", arguments.author.as_deref())
        .maybe("comment", arguments.message.as_deref());
    for change in &arguments.change {
        query = query.with("changes", change);
    }
    if !arguments.pause {
        query = query.with("pause", "0");
    }
    if let Some(reference) = &arguments.reference {
        let reference = Reference::parse(reference).map_err(|error| CliError::said(error.to_string()))?;
        if reference.digest().is_some() {
            return Err(CliError::said("cannot commit to digest reference"));
        }
        query = query.with("repo", reference.canonical_name()).maybe("tag", reference.tag());
    }
    if arguments.container.is_empty() {
        return Err(ClientError::NoName { kind: "container" }.into());
    }
    let id = context.client()?.container_commit(&query)?;
    context.ui.line(id)?;
    Ok(0)
}
