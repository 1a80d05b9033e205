//! `image inspect`.

use crate::command::inspect;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::format::Kind;

pub(crate) const ENTRY: Entry = Entry {
    name: "image inspect",
    aliases: &[],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Display detailed information on one or more images
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Format output: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Inspect a specific platform of the multi-platform image
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Images
    images: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    inspect::print(context, arguments.format.as_deref(), &arguments.images, |client, name| {
        if name.is_empty() {
            return Err(CliError::said("Error: No such image: "));
        }
        let platform = arguments.platform.as_deref().map(super::platform).transpose()?;
        Ok((Kind::Image, client.image_inspect(name, platform.as_deref())?))
    })
}
