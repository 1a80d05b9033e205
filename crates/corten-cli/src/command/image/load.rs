//! `load`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::progress::{self, Where};
use corten_std::file;
use std::fs::File;
use std::io::{self, Read};

pub(crate) const ENTRY: Entry = Entry {
    name: "image load",
    aliases: &["load"],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Load an image from a tar archive or STDIN
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Read from tar archive file, instead of STDIN
    #[arg(short, long, value_name = "string")]
    input: Option<String>,
    /// Load only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Suppress the load output
    #[arg(short, long)]
    quiet: bool,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let client = context.client()?;
    let mut source: Box<dyn Read> = match &arguments.input {
        Some(path) => Box::new(open(path)?),
        None if rustix::termios::isatty(io::stdin()) => {
            return Err(CliError::said("requested load from stdin, but stdin is empty"));
        }
        None => Box::new(io::stdin()),
    };
    // Without a terminal to show it on, progress is not worth sending.
    let quiet = arguments.quiet || !context.ui.is_terminal;
    let platform = arguments.platform.as_deref().map(super::platform).transpose()?;
    let reply = client.image_load(&mut *source, quiet, platform.as_deref())?;
    if reply.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        progress::show(context, reply, Where::Output)?;
        return Ok(0);
    }
    let mut reply = reply;
    io::copy(&mut reply, &mut context.ui).map_err(CliError::Output)?;
    Ok(0)
}

/// Opens an archive that the person named.
pub(crate) fn open(path: &str) -> Result<File> {
    let archive = file::open(path).map_err(|error| CliError::open(path, &error))?;
    if archive.metadata().is_ok_and(|about| about.is_dir()) {
        return Err(CliError::said(format!("open {path}: is a directory, not an archive")));
    }
    Ok(archive)
}
