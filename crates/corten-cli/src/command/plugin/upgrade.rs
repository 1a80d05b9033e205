//! `plugin upgrade`.

use super::refused;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "plugin upgrade",
    aliases: &[],
    usage: "[OPTIONS] PLUGIN [REMOTE]",
    count: Count::Range(1, 2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, &words.parse()?),
};

/// Upgrade an existing plugin
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Skip image verification
    #[arg(long, default_value = "true")]
    disable_content_trust: bool,
    /// Grant all permissions necessary to run the plugin
    #[arg(long)]
    grant_all_permissions: bool,
    /// Do not check if specified remote plugin matches existing plugin image
    #[arg(long)]
    skip_remote_check: bool,
    /// Plugin
    plugin: String,
    /// Where the new one is
    remote: Option<String>,
}

fn run(context: &mut Context, arguments: &Arguments) -> Result<u8> {
    refused(context, &arguments.plugin)
}
