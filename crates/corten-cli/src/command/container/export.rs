//! `export`.

use crate::command::archive::Target;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "container export",
    aliases: &["export"],
    usage: "[OPTIONS] CONTAINER",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Export a container's filesystem as a tar archive
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<String>,
    /// Container
    container: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let mut target = Target::open(context, arguments.output.as_deref(), "export container")?;
    let reply = context.client()?.container_export(&arguments.container)?;
    target.receive(context, reply)?;
    Ok(0)
}
