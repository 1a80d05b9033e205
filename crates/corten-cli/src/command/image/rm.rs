//! `rmi`.

use crate::command::container::finish;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "image rm",
    aliases: &["image remove", "rmi"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Remove one or more images
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Force removal of the image
    #[arg(short, long)]
    force: bool,
    /// Do not delete untagged parents
    #[arg(long)]
    no_prune: bool,
    /// Remove only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    platform: Vec<String>,
    /// Images
    images: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let platforms: Vec<String> =
        arguments.platform.iter().map(|text| super::platform(text)).collect::<Result<_>>()?;
    let client = context.client()?;
    let mut errors = Vec::new();
    let mut failed = false;
    for name in &arguments.images {
        match client.image_remove(name, arguments.force, arguments.no_prune, &platforms) {
            Ok(removed) => {
                for entry in removed {
                    if entry.deleted.is_empty() {
                        context.ui.line(format!("Untagged: {}", entry.untagged))?;
                    } else {
                        context.ui.line(format!("Deleted: {}", entry.deleted))?;
                    }
                }
            }
            Err(error) => {
                failed |= !(arguments.force && error.is_not_found());
                errors.push(error.into());
            }
        }
    }
    finish(context, &errors)?;
    Ok(u8::from(failed))
}
