//! `save`.

use crate::command::archive::Target;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "image save",
    aliases: &["save"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Save one or more images to a tar archive (streamed to STDOUT by default)
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<String>,
    /// Save only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Images
    images: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let mut target = Target::open(context, arguments.output.as_deref(), "save image")?;
    let platform = arguments.platform.as_deref().map(super::platform).transpose()?;
    let reply = context.client()?.image_save(&arguments.images, platform.as_deref())?;
    target.receive(context, reply)?;
    Ok(0)
}
