//! `network prune`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::flags::filter;

pub(crate) const ENTRY: Entry = Entry {
    name: "network prune",
    aliases: &[],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Remove all unused networks
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "filter", value_parser = crate::flags::filter::checked)]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let warning = "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?";
    if !arguments.force && !context.ui.confirm(warning)? {
        return Ok(0);
    }
    let configuration = context.configuration();
    let filters = filter::for_prune(&arguments.filter, &configuration.prune_filters);
    let report = context.client()?.network_prune(&filters)?;
    let deleted = report.networks_deleted.unwrap_or_default();
    crate::command::report_prune(&mut context.ui, "Deleted Networks:", &deleted, None)?;
    Ok(0)
}
