//! `logs`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::time;
use corten_client::LogOptions;
use corten_client::stream::{Channel, Deframer};
use corten_std::Timestamp;
use std::io::Read;

pub(crate) const ENTRY: Entry = Entry {
    name: "container logs",
    aliases: &["logs"],
    usage: "[OPTIONS] CONTAINER",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Fetch the logs of a container
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "string")]
    since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, value_name = "string", default_value = "all")]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "string")]
    until: Option<String>,
    /// Container
    container: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let client = context.client()?;
    let now = Timestamp::now();
    let point = |text: &Option<String>| text.as_deref().map(|text| time::point(text, now)).transpose();
    let options = LogOptions {
        follow: arguments.follow,
        since: point(&arguments.since)?,
        until: point(&arguments.until)?,
        timestamps: arguments.timestamps,
        tail: arguments.tail,
        details: arguments.details,
    };
    let mut reply = client.container_logs(&arguments.container, &options)?;
    // Daemons before API 1.42 do not tell frames from raw text by the content type.
    let framed = match reply.header("content-type") {
        Some("application/vnd.docker.multiplexed-stream") => true,
        Some("application/vnd.docker.raw-stream") if newer_than_142(client.version()?) => false,
        _ => {
            let container = client.container_inspect(&arguments.container, false)?;
            container.pointer("/Config/Tty").and_then(serde_json::Value::as_bool) != Some(true)
        }
    };
    let mut deframer = Deframer::default();
    let mut buffer = vec![0_u8; 64 << 10];
    loop {
        if !reply.has_buffered() {
            context.ui.flush()?;
        }
        let count = match reply.read(&mut buffer) {
            Ok(0) => return Ok(0),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CliError::said(format!("error reading the log: {error}"))),
        };
        let ui = &mut context.ui;
        if framed {
            deframer.feed(&buffer[..count], &mut |channel, bytes| match channel {
                Channel::Output => ui.data(bytes),
                Channel::Error | Channel::System => ui.raw_error(bytes),
            })?;
        } else {
            ui.data(&buffer[..count])?;
        }
    }
}

fn newer_than_142(version: &str) -> bool {
    version.split_once('.').and_then(|(_, minor)| minor.parse::<u32>().ok()).is_some_and(|minor| minor >= 42)
}
