//! `load`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use corten_std::file;
use serde::Deserialize;
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
        return messages(context, reply);
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

/// One line of a stream of progress.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message {
    stream: String,
    status: String,
    id: String,
    error: String,
    #[serde(rename = "errorDetail")]
    error_detail: Option<ErrorDetail>,
    #[serde(rename = "progressDetail")]
    progress_detail: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorDetail {
    message: String,
}

/// Prints a stream of progress: results as data, an error as the end of the command. Bars are left out.
pub(crate) fn messages(context: &mut Context, reply: impl Read) -> Result<u8> {
    let reader = io::BufReader::new(reply);
    for message in serde_json::Deserializer::from_reader(reader).into_iter::<Message>() {
        let message = message
            .map_err(|error| CliError::said(format!("the daemon's progress cannot be read: {error}")))?;
        if let Some(detail) = message.error_detail.filter(|detail| !detail.message.is_empty()) {
            return Err(CliError::said(detail.message));
        }
        if !message.error.is_empty() {
            return Err(CliError::said(message.error));
        }
        if !message.stream.is_empty() {
            context.ui.data(message.stream.as_bytes())?;
            context.ui.flush()?;
        } else if message.progress_detail.is_none() && !message.status.is_empty() {
            let id = if message.id.is_empty() { String::new() } else { format!("{}: ", message.id) };
            context.ui.line(format!("{id}{}", message.status))?;
            context.ui.flush()?;
        }
    }
    Ok(0)
}
