//! `unpause`.

use super::each_together;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "container unpause",
    aliases: &["unpause"],
    usage: "CONTAINER [CONTAINER...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Unpause all processes within one or more containers
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Containers
    containers: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    each_together(context, &arguments.containers, corten_client::Client::container_unpause)
}
