//! `plugin rm`.

use crate::command::container::each;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "plugin rm",
    aliases: &["plugin remove"],
    usage: "[OPTIONS] PLUGIN [PLUGIN...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, &words.parse()?),
};

/// Remove one or more plugins
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Force the removal of an active plugin
    #[arg(short, long)]
    force: bool,
    /// Plugins
    plugins: Vec<String>,
}

fn run(context: &mut Context, arguments: &Arguments) -> Result<u8> {
    each(context, &arguments.plugins, |client, name| client.plugin_remove(name, arguments.force))
}
