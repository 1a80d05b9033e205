//! `container inspect`.

use crate::command::inspect;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::format::Kind;

pub(crate) const ENTRY: Entry = Entry {
    name: "container inspect",
    aliases: &[],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Display detailed information on one or more containers
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Format output: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
    /// Containers
    containers: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let size = arguments.size;
    inspect::print(context, arguments.format.as_deref(), &arguments.containers, |client, name| {
        Ok((Kind::Container, client.container_inspect(name, size)?))
    })
}
