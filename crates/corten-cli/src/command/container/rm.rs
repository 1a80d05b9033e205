//! `rm`.

use super::together;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use corten_client::{ClientError, RemoveOptions};

pub(crate) const ENTRY: Entry = Entry {
    name: "container rm",
    aliases: &["container remove", "rm"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Remove one or more containers
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Remove the specified link
    #[arg(short, long)]
    link: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    volumes: bool,
    /// Containers
    containers: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let options = RemoveOptions { force: arguments.force, volumes: arguments.volumes, link: arguments.link };
    let names: Vec<String> =
        arguments.containers.iter().map(|name| name.trim_matches('/').to_owned()).collect();
    let client = context.client()?;
    let results = together(&client, &names, |client, name| client.container_remove(name, options));
    let mut failed = false;
    for (name, result) in names.iter().zip(results) {
        match result {
            Err(ClientError::NoName { .. }) => {
                failed = true;
                context.ui.error(&CliError::said("container name cannot be empty"));
            }
            Ok(()) => context.ui.line(name)?,
            Err(error) => {
                // What is not there any more is as wanted.
                failed |= !(options.force && error.is_not_found());
                context.ui.error(&error.into());
            }
        }
    }
    Ok(u8::from(failed))
}
