//! `context show`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "context show",
    aliases: &[],
    usage: "",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Print the name of the current context
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {}

fn run(context: &mut Context, _: Arguments) -> Result<u8> {
    let name = context.current_context();
    context.ui.line(name)?;
    Ok(0)
}
