//! `plugin set`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "plugin set",
    aliases: &[],
    usage: "PLUGIN KEY=VALUE [KEY=VALUE...]",
    count: Count::Min(2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, &words.parse()?),
};

/// Change settings for a plugin
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Plugin, and its settings
    words: Vec<String>,
}

fn run(context: &mut Context, arguments: &Arguments) -> Result<u8> {
    let Some((plugin, settings)) = arguments.words.split_first() else { return Ok(0) };
    context.client()?.plugin_set(plugin, settings)?;
    Ok(0)
}
