//! `volume inspect`.

use crate::command::inspect;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::format::Kind;

pub(crate) const ENTRY: Entry = Entry {
    name: "volume inspect",
    aliases: &[],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Display detailed information on one or more volumes
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Format output: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Volumes
    volumes: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    inspect::print(context, arguments.format.as_deref(), &arguments.volumes, |client, name| {
        Ok((Kind::Volume, client.volume_inspect(name)?))
    })
}
