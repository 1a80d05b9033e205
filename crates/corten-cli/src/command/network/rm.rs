//! `network rm`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "network rm",
    aliases: &["network remove"],
    usage: "NETWORK [NETWORK...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Remove one or more networks
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    force: bool,
    /// Networks
    networks: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let client = context.client()?;
    let mut failed = false;
    for name in &arguments.networks {
        match client.network_remove(name) {
            Ok(()) => context.ui.line(name)?,
            Err(error) if arguments.force && error.is_not_found() => {}
            Err(error) => {
                failed = true;
                context.ui.error(&error.into());
            }
        }
    }
    if failed {
        context.ui.note("exit status 1");
    }
    Ok(u8::from(failed))
}
