//! `rename`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};

pub(crate) const ENTRY: Entry = Entry {
    name: "container rename",
    aliases: &["rename"],
    usage: "CONTAINER NEW_NAME",
    count: Count::Exact(2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Rename a container
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Container
    container: String,
    /// New name
    name: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let (old, new) = (arguments.container.trim(), arguments.name.trim());
    if old.is_empty() || new.is_empty() {
        return Err(CliError::said("Error: Neither old nor new names may be empty"));
    }
    if let Err(error) = context.client()?.container_rename(old, new) {
        context.ui.error(&error.into());
        return Err(CliError::said(format!("Error: failed to rename container named {old}")));
    }
    Ok(0)
}
