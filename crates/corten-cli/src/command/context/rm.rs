//! `context rm`.

use super::{DEFAULT, store};
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};

pub(crate) const ENTRY: Entry = Entry {
    name: "context rm",
    aliases: &["context remove"],
    usage: "CONTEXT [CONTEXT...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Remove one or more contexts
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Force the removal of a context in use
    #[arg(short, long)]
    force: bool,
    /// Names
    names: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let mut failed = false;
    for name in &arguments.names {
        match remove(context, name, arguments.force) {
            Ok(()) => context.ui.line(name)?,
            Err(error) => {
                failed = true;
                context.ui.error(&error);
            }
        }
    }
    Ok(u8::from(failed))
}

fn remove(context: &mut Context, name: &str, force: bool) -> Result<()> {
    if name == DEFAULT {
        return Err(CliError::said("context \"default\" cannot be removed"));
    }
    let contexts = store(context);
    if !contexts.has(name) {
        if force {
            return Ok(());
        }
        return Err(CliError::said(format!("context \"{name}\" does not exist")));
    }
    if context.current_context() == name {
        if !force {
            return Err(CliError::said(format!("context \"{name}\" is in use, set -f flag to force remove")));
        }
        super::r#use::choose(context, DEFAULT)?;
    }
    Ok(contexts.remove(name)?)
}
