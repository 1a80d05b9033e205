//! `context use`.

use super::{DEFAULT, overridden, store};
use crate::configuration;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::environment;
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "context use",
    aliases: &[],
    usage: "CONTEXT",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Set the current docker context
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Name
    name: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let name = arguments.name.as_str();
    if name != DEFAULT {
        store(context).get(name)?;
    }
    choose(context, name)?;
    context.ui.line(name)?;
    context.ui.note(format!("Current context is now \"{name}\""));
    if name != DEFAULT && environment::value(environment::HOST).is_some() {
        context.ui.note(overridden(&format!("\"{name}\"")));
    }
    Ok(0)
}

/// Writes down which context is the current one.
pub(super) fn choose(context: &Context, name: &str) -> Result<()> {
    configuration::change(context.folder(), |document| {
        if name == DEFAULT {
            document.shift_remove("currentContext");
        } else {
            document.insert("currentContext".to_owned(), name.into());
        }
    })
}
