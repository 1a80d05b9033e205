//! `restart`.

use super::each_together;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "container restart",
    aliases: &["restart"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Restart one or more containers
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Signal to send to the container
    #[arg(short, long, value_name = "string")]
    signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short, long, value_name = "int", value_parser = crate::flags::number::whole, alias = "time")]
    timeout: Option<i64>,
    /// Containers
    containers: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    each_together(context, &arguments.containers, |client, name| {
        client.container_restart(name, arguments.signal.as_deref(), arguments.timeout)
    })
}
