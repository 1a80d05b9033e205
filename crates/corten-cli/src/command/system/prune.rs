//! `system prune`.

use crate::command::image::prune::lines as image_lines;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::flags::filter;
use corten_client::Filters;
use corten_std::{Classified, ErrorClass, size};

pub(crate) const ENTRY: Entry = Entry {
    name: "system prune",
    aliases: &[],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Remove unused data
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Remove all unused images not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "label=<key>=<value>")
    #[arg(long, value_name = "filter", value_parser = crate::flags::filter::checked)]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Prune anonymous volumes
    #[arg(long)]
    volumes: bool,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let configuration = context.configuration();
    let filters = filter::for_prune(&arguments.filter, &configuration.prune_filters);
    if arguments.volumes && filters.contains("until") {
        return Err(CliError::said("ERROR: The \"until\" filter is not supported with \"--volumes\""));
    }
    if !arguments.force && !context.ui.confirm(&question(&arguments, &filters))? {
        return Ok(0);
    }
    let client = context.client()?;
    let mut reclaimed = 0;
    let containers = client.container_prune(&filters)?;
    reclaimed += containers.space_reclaimed;
    report(context, "Deleted Containers:", &containers.containers_deleted.unwrap_or_default())?;
    let networks = client.network_prune(&filters)?;
    report(context, "Deleted Networks:", &networks.networks_deleted.unwrap_or_default())?;
    if arguments.volumes {
        let volumes = client.volume_prune(&filters)?;
        reclaimed += volumes.space_reclaimed;
        report(context, "Deleted Volumes:", &volumes.volumes_deleted.unwrap_or_default())?;
    }
    let mut image_filters = filters.clone();
    image_filters.add("dangling", if arguments.all { "false" } else { "true" });
    let images = client.image_prune(&image_filters)?;
    reclaimed += images.space_reclaimed;
    report(context, "Deleted Images:", &image_lines(&images.images_deleted.unwrap_or_default()))?;
    match client.build_prune(arguments.all, &filters) {
        Ok(cache) => {
            reclaimed += cache.space_reclaimed;
            report(context, "Deleted build cache objects:", &cache.caches_deleted.unwrap_or_default())?;
        }
        // A daemon without a builder has no cache to prune.
        Err(error) if matches!(error.class(), ErrorClass::NotFound | ErrorClass::NotImplemented) => {}
        Err(error) => return Err(error.into()),
    }
    context.ui.line(format!("Total reclaimed space: {}", size::human(reclaimed as f64)))?;
    Ok(0)
}

fn report(context: &mut Context, title: &str, deleted: &[String]) -> Result<()> {
    if deleted.is_empty() {
        return Ok(());
    }
    context.ui.line(title)?;
    for name in deleted {
        context.ui.line(name)?;
    }
    context.ui.line("")
}

fn question(arguments: &Arguments, filters: &Filters) -> String {
    let mut what = vec!["all stopped containers", "all networks not used by at least one container"];
    if arguments.volumes {
        what.push("all anonymous volumes not used by at least one container");
    }
    if arguments.all {
        what.push("all images without at least one container associated to them");
        what.push("all build cache");
    } else {
        what.push("all dangling images");
        what.push("unused build cache");
    }
    let mut text = format!("WARNING! This will remove:\n  - {}\n\n", what.join("\n  - "));
    let used: Vec<String> = ["label", "label!", "until"]
        .into_iter()
        .flat_map(|key| filters.get(key).map(move |value| format!("  - {key}={value}\n")))
        .collect();
    if !used.is_empty() {
        text.push_str("  Items to be pruned will be filtered with:\n");
        text.push_str(&used.concat());
        text.push('\n');
    }
    text + "Are you sure you want to continue?"
}
