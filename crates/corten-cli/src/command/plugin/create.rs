//! `plugin create`.

use super::refused;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "plugin create",
    aliases: &[],
    usage: "[OPTIONS] PLUGIN PLUGIN-DATA-DIR",
    count: Count::Exact(2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, &words.parse()?),
};

/// Create a plugin from a rootfs and configuration
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Compress the context using gzip
    #[arg(long)]
    compress: bool,
    /// Plugin
    plugin: String,
    /// Folder with config.json and rootfs
    folder: String,
}

fn run(context: &mut Context, arguments: &Arguments) -> Result<u8> {
    refused(context, &arguments.plugin)
}
