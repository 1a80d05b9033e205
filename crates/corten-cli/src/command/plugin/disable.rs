//! `plugin disable`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "plugin disable",
    aliases: &[],
    usage: "[OPTIONS] PLUGIN",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, &words.parse()?),
};

/// Disable a plugin
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Force the disable of an active plugin
    #[arg(short, long)]
    force: bool,
    /// Plugin
    plugin: String,
}

fn run(context: &mut Context, arguments: &Arguments) -> Result<u8> {
    context.client()?.plugin_disable(&arguments.plugin, arguments.force)?;
    context.ui.line(&arguments.plugin)?;
    Ok(0)
}
