//! `plugin install`.

use super::refused;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "plugin install",
    aliases: &[],
    usage: "[OPTIONS] PLUGIN [KEY=VALUE...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, &words.parse()?),
};

/// Install a plugin
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Local name for plugin
    #[arg(long, value_name = "string")]
    alias: Option<String>,
    /// Do not enable the plugin on install
    #[arg(long)]
    disable: bool,
    /// Skip image verification
    #[arg(long, default_value = "true")]
    disable_content_trust: bool,
    /// Grant all permissions necessary to run the plugin
    #[arg(long)]
    grant_all_permissions: bool,
    /// Plugin
    plugin: String,
    /// Its settings
    settings: Vec<String>,
}

fn run(context: &mut Context, arguments: &Arguments) -> Result<u8> {
    refused(context, &arguments.plugin)
}
