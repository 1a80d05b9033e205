//! `plugin inspect`.

use crate::command::inspect;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::format::Kind;

pub(crate) const ENTRY: Entry = Entry {
    name: "plugin inspect",
    aliases: &[],
    usage: "[OPTIONS] PLUGIN [PLUGIN...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Display detailed information on one or more plugins
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Format output: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Plugins
    plugins: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    inspect::print(context, arguments.format.as_deref(), &arguments.plugins, |client, name| {
        Ok((Kind::Plugin, client.plugin_inspect(name)?))
    })
}
