//! `kill`.

use super::each_together;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "container kill",
    aliases: &["kill"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Kill one or more running containers
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Signal to send to the container
    #[arg(short, long, value_name = "string")]
    signal: Option<String>,
    /// Containers
    containers: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    each_together(context, &arguments.containers, |client, name| {
        client.container_kill(name, arguments.signal.as_deref())
    })
}
