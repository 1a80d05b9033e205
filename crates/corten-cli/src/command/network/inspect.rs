//! `network inspect`.

use crate::command::inspect;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::format::Kind;

pub(crate) const ENTRY: Entry = Entry {
    name: "network inspect",
    aliases: &[],
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Display detailed information on one or more networks
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Format output: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Verbose output for diagnostics
    #[arg(short, long)]
    verbose: bool,
    /// Networks
    networks: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let verbose = arguments.verbose;
    inspect::print(context, arguments.format.as_deref(), &arguments.networks, |client, name| {
        Ok((Kind::Network, client.network_inspect(name, verbose)?))
    })
}
