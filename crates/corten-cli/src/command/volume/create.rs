//! `volume create`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::flags::key_value;
use corten_api::volume::CreateRequest;

pub(crate) const ENTRY: Entry = Entry {
    name: "volume create",
    aliases: &[],
    usage: "[OPTIONS] [VOLUME]",
    count: Count::Max(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Create a volume
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Specify volume driver name
    #[arg(short, long, value_name = "string", default_value = "local")]
    driver: String,
    /// Set metadata for a volume
    #[arg(long, value_parser = crate::flags::key_value::label)]
    label: Vec<String>,
    /// Specify volume name
    #[arg(long, value_name = "string", hide = true)]
    name: Option<String>,
    /// Set driver specific options
    #[arg(short, long, value_name = "map")]
    opt: Vec<String>,
    /// Name
    volume: Option<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    if arguments.volume.is_some() && arguments.name.is_some() {
        return Err(CliError::said(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
        ));
    }
    let request = CreateRequest {
        driver: arguments.driver,
        driver_opts: Some(key_value::map(&arguments.opt)).filter(|options| !options.is_empty()),
        labels: Some(key_value::map(&arguments.label)).filter(|labels| !labels.is_empty()),
        name: arguments.volume.or(arguments.name).unwrap_or_default(),
    };
    let volume = context.client()?.volume_create(&request)?;
    context.ui.line(volume.name)?;
    Ok(0)
}
