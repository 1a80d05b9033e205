//! `volume rm`.

use crate::command::container::each;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "volume rm",
    aliases: &["volume remove"],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Remove one or more volumes
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Force the removal of one or more volumes
    #[arg(short, long)]
    force: bool,
    /// Volumes
    volumes: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    each(context, &arguments.volumes, |client, name| client.volume_remove(name, arguments.force))
}
