//! `network disconnect`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use corten_api::network::DisconnectRequest;

pub(crate) const ENTRY: Entry = Entry {
    name: "network disconnect",
    aliases: &[],
    usage: "[OPTIONS] NETWORK CONTAINER",
    count: Count::Exact(2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Disconnect a container from a network
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Force the container to disconnect from a network
    #[arg(short, long)]
    force: bool,
    /// Network
    network: String,
    /// Container
    container: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let request = DisconnectRequest { container: arguments.container, force: arguments.force };
    context.client()?.network_disconnect(&arguments.network, &request)?;
    Ok(0)
}
