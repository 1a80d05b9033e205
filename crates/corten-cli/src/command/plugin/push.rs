//! `plugin push`.

use super::refused;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "plugin push",
    aliases: &[],
    usage: "[OPTIONS] PLUGIN[:TAG]",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, &words.parse()?),
};

/// Push a plugin to a registry
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Skip image signing
    #[arg(long, default_value = "true")]
    disable_content_trust: bool,
    /// Plugin
    plugin: String,
}

fn run(context: &mut Context, arguments: &Arguments) -> Result<u8> {
    refused(context, &arguments.plugin)
}
