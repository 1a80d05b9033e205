//! `image compact`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use corten_std::size;
use serde_json::Value;
use std::time::Duration;

pub(crate) const ENTRY: Entry = Entry {
    name: "image compact",
    aliases: &[],
    usage: "[OPTIONS]",
    count: Count::Exact(0),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Free disk space of layers that are kept both compressed and unpacked
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Show what would go, and drop nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Keep the compressed form of all layers
    #[arg(long)]
    keep_compressed: bool,
    /// Drop also the folders of layers that no container uses, and that nothing used for so long ("72h", "0s")
    #[arg(long, value_name = "duration", value_parser = crate::flags::number::nanoseconds)]
    unpacked_for: Option<i64>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let seconds = |nanoseconds: i64| Duration::from_nanos(nanoseconds.unsigned_abs()).as_secs();
    let unpacked_for = arguments.unpacked_for.map(seconds);
    let client = context.client()?;
    let compacted = client.image_compact(!arguments.keep_compressed, unpacked_for, arguments.dry_run)?;
    let human = |value: &Value| size::human(value.as_f64().unwrap_or_default());
    for (key, what) in [("Unpacked", "folder"), ("Compressed", "compressed form")] {
        for form in compacted[key].as_array().into_iter().flatten() {
            let digest = form["Digest"].as_str().unwrap_or_default();
            let again = match form["Again"].as_str().unwrap_or_default() {
                "unpacking" => "unpacked again when a container needs it".to_owned(),
                "compressing" => "compressed again when it is read".to_owned(),
                repository => format!("fetched again from {repository} when it is read"),
            };
            context.ui.line(format!("{digest}: {what}, {}; {again}", human(&form["Size"])))?;
        }
    }
    let words = if arguments.dry_run { "Would reclaim" } else { "Total reclaimed space" };
    context.ui.line(format!("{words}: {}", human(&compacted["SpaceReclaimed"])))?;
    Ok(0)
}
