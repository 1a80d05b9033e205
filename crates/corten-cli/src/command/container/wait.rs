//! `wait`.

use super::finish;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::session::Ending;

pub(crate) const ENTRY: Entry = Entry {
    name: "container wait",
    aliases: &["wait"],
    usage: "CONTAINER [CONTAINER...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Block until one or more containers stop, then print their exit codes
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Containers
    containers: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let client = context.client()?;
    let mut errors = Vec::new();
    for name in &arguments.containers {
        match Ending::begin(&client, name, "not-running").and_then(Ending::code) {
            Ok(code) => {
                context.ui.line(code.to_string())?;
                context.ui.flush()?;
            }
            Err(error) => errors.push(error),
        }
    }
    finish(context, &errors)
}
