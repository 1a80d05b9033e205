//! `plugin enable`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "plugin enable",
    aliases: &[],
    usage: "[OPTIONS] PLUGIN",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, &words.parse()?),
};

/// Enable a plugin
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// HTTP client timeout (in seconds)
    #[arg(long, value_name = "int", default_value_t = 30)]
    timeout: i64,
    /// Plugin
    plugin: String,
}

fn run(context: &mut Context, arguments: &Arguments) -> Result<u8> {
    context.client()?.plugin_enable(&arguments.plugin, arguments.timeout)?;
    context.ui.line(&arguments.plugin)?;
    Ok(0)
}
