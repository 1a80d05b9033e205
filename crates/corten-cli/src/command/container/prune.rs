//! `container prune`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::flags::filter;

pub(crate) const ENTRY: Entry = Entry {
    name: "container prune",
    aliases: &[],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Remove all stopped containers
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
    let warning = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";
    if !arguments.force && !context.ui.confirm(warning)? {
        return Ok(0);
    }
    let configuration = context.configuration();
    let filters = filter::for_prune(&arguments.filter, &configuration.prune_filters);
    let report = context.client()?.container_prune(&filters)?;
    let deleted = report.containers_deleted.unwrap_or_default();
    crate::command::report_prune(
        &mut context.ui,
        "Deleted Containers:",
        &deleted,
        Some(report.space_reclaimed),
    )?;
    Ok(0)
}
