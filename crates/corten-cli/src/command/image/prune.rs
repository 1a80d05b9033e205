//! `image prune`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::flags::filter;
use corten_api::image::DeleteResponse;

pub(crate) const ENTRY: Entry = Entry {
    name: "image prune",
    aliases: &[],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Remove unused images
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Remove all unused images, not just dangling ones
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
        "WARNING! This will remove all images without at least one container associated to them.\nAre you sure you want to continue?"
    } else {
        "WARNING! This will remove all dangling images.\nAre you sure you want to continue?"
    };
    if !arguments.force && !context.ui.confirm(warning)? {
        return Ok(0);
    }
    let configuration = context.configuration();
    let mut filters = filter::for_prune(&arguments.filter, &configuration.prune_filters);
    filters.add("dangling", if arguments.all { "false" } else { "true" });
    let report = context.client()?.image_prune(&filters)?;
    let deleted = lines(&report.images_deleted.unwrap_or_default());
    crate::command::report_prune(&mut context.ui, "Deleted Images:", &deleted, Some(report.space_reclaimed))?;
    Ok(0)
}

/// A line for each name that went and each image that was deleted.
pub(crate) fn lines(deleted: &[DeleteResponse]) -> Vec<String> {
    deleted
        .iter()
        .map(|entry| {
            if entry.deleted.is_empty() {
                format!("untagged: {}", entry.untagged)
            } else {
                format!("deleted: {}", entry.deleted)
            }
        })
        .collect()
}
