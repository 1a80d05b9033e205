//! `diff`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "container diff",
    aliases: &["diff"],
    usage: "CONTAINER",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Inspect changes to files or directories on a container's filesystem
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Container
    container: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    for (kind, path) in context.client()?.container_changes(&arguments.container)? {
        let letter = match kind {
            0 => 'C',
            1 => 'A',
            _ => 'D',
        };
        context.ui.line(format!("{letter} {path}"))?;
    }
    Ok(0)
}
