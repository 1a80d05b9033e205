//! What needs the builder, which is not there yet: said in one line.

use crate::context::Context;
use crate::entry::{Count, Entry, Words};
use crate::error::{CliError, Result};

pub(crate) const BUILD: Entry = Entry {
    name: "image build",
    aliases: &["build", "builder build"],
    usage: "[OPTIONS] PATH | URL | -",
    count: Count::Any,
    mixed: true,
    command: <Build as clap::CommandFactory>::command,
    run,
};

/// Build an image from a Dockerfile (not built yet)
#[derive(Debug, clap::Parser)]
struct Build {}

fn run(context: &mut Context, words: Words<'_>) -> Result<u8> {
    let name = words.entry.aliases.first().unwrap_or(&words.entry.name);
    let program = &context.program;
    Err(CliError::said(format!(
        "{program}: '{name}' is not built yet: bring images with '{program} pull' or '{program} load'"
    )))
}
