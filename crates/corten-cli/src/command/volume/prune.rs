//! `volume prune`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::flags::filter;

pub(crate) const ENTRY: Entry = Entry {
    name: "volume prune",
    aliases: &[],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Remove unused local volumes
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "filter", value_parser = crate::flags::filter::checked)]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let warning = if arguments.all {
        "WARNING! This will remove all local volumes not used by at least one container.\nAre you sure you want to continue?"
    } else {
        "WARNING! This will remove anonymous local volumes not used by at least one container.\nAre you sure you want to continue?"
    };
    if !arguments.force && !context.ui.confirm(warning)? {
        return Ok(0);
    }
    let configuration = context.configuration();
    let mut filters = filter::for_prune(&arguments.filter, &configuration.prune_filters);
    if arguments.all {
        filters.add("all", "true");
    }
    let report = context.client()?.volume_prune(&filters)?;
    let deleted = report.volumes_deleted.unwrap_or_default();
    crate::command::report_prune(
        &mut context.ui,
        "Deleted Volumes:",
        &deleted,
        Some(report.space_reclaimed),
    )?;
    Ok(0)
}
