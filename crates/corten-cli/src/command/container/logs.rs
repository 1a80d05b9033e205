//! `logs`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::time;
use corten_client::stream::{Channel, Deframer};
use corten_client::{Client, LogOptions, Reply};
use corten_std::Timestamp;
use std::borrow::Cow;
use std::io::{self, Read};

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
    let point = |name: &str, text: &Option<String>| {
        let point =
            text.as_deref().filter(|text| !text.is_empty()).map(|text| time::point(text, now)).transpose();
        point.map_err(|error| CliError::said(format!("invalid value for {name:?}: {}", error.text())))
    };
    let points =
        point("since", &arguments.since).and_then(|since| Ok((since, point("until", &arguments.until)?)));
    let (since, until) = match points {
        Ok(points) => points,
        // A container that is not there is told first.
        Err(error) => {
            return Err(client
                .container_inspect(&arguments.container, false)
                .map_or_else(Into::into, |_| error));
        }
    };
    // To go on after a daemon's restart where we were, the times have to be known.
    let follows = arguments.follow && client.target().own;
    let mut options = LogOptions {
        follow: arguments.follow,
        since,
        until,
        timestamps: arguments.timestamps || follows,
        tail: arguments.tail.clone(),
        details: arguments.details,
    };
    let mut stamps = Stamps { shown: arguments.timestamps, ..Stamps::default() };
    loop {
        let reply = client.container_logs(&arguments.container, &options)?;
        let framed = is_framed(&client, &arguments.container, &reply)?;
        match print(context, reply, framed, (follows && framed).then_some(&mut stamps))? {
            Ok(()) => return Ok(0),
            Err(error) if follows && framed => {
                let Some(last) = stamps.last else { return Err(broken(&error)) };
                options.since = Some(time::unix(last.plus(std::time::Duration::from_nanos(1))));
                "all".clone_into(&mut options.tail);
            }
            Err(error) => return Err(broken(&error)),
        }
    }
}

fn broken(error: &io::Error) -> CliError {
    CliError::said(format!("error reading the log: {error}"))
}

/// Whether the log comes in frames. Daemons before API 1.42 do not tell by the content type.
fn is_framed(client: &Client, container: &str, reply: &Reply) -> Result<bool> {
    match reply.header("content-type") {
        Some("application/vnd.docker.multiplexed-stream") => Ok(true),
        Some("application/vnd.docker.raw-stream") if newer_than_142(client.version()?) => Ok(false),
        _ => {
            let container = client.container_inspect(container, false)?;
            Ok(container.pointer("/Config/Tty").and_then(serde_json::Value::as_bool) != Some(true))
        }
    }
}

/// Prints a log to its end; the inner error is a connection that broke.
fn print(
    context: &mut Context,
    mut reply: Reply,
    framed: bool,
    mut stamps: Option<&mut Stamps>,
) -> Result<io::Result<()>> {
    let mut deframer = Deframer::default();
    let mut buffer = vec![0_u8; 64 << 10];
    loop {
        if !reply.has_buffered() {
            context.ui.flush()?;
        }
        let count = match reply.read(&mut buffer) {
            Ok(0) => return Ok(Ok(())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                context.ui.flush()?;
                return Ok(Err(error));
            }
        };
        let ui = &mut context.ui;
        if !framed {
            ui.data(&buffer[..count])?;
            continue;
        }
        deframer.feed(&buffer[..count], &mut |channel, first, bytes| {
            let bytes = match &mut stamps {
                Some(stamps) => stamps.pass(first, bytes),
                None => bytes.into(),
            };
            match channel {
                _ if bytes.is_empty() => Ok(()),
                Channel::Output => ui.data(&bytes),
                Channel::Error | Channel::System => ui.raw_error(&bytes),
            }
        })?;
    }
}

/// Reads the time at the head of each frame, and takes it away where nobody asked for it.
#[derive(Debug, Default)]
struct Stamps {
    /// Whether times are printed.
    shown: bool,
    /// The time of the last frame.
    last: Option<Timestamp>,
    /// The beginning of a frame whose time is not complete yet.
    head: Option<Vec<u8>>,
}

impl Stamps {
    fn pass<'a>(&mut self, first: bool, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if first {
            self.head = Some(Vec::new());
        }
        let Some(head) = &mut self.head else { return bytes.into() };
        head.extend_from_slice(bytes);
        // Longer than any time: the frame has none.
        let end = head.iter().take(64).position(|byte| *byte == b' ');
        if end.is_none() && head.len() < 64 {
            return Cow::Borrowed(&[]);
        }
        let head = self.head.take().unwrap_or_default();
        let stamp = end.and_then(|end| Timestamp::parse(std::str::from_utf8(&head[..end]).ok()?));
        match (stamp, end) {
            (Some(stamp), Some(end)) => {
                self.last = Some(stamp);
                if self.shown { head.into() } else { head[end + 1..].to_vec().into() }
            }
            _ => head.into(),
        }
    }
}

fn newer_than_142(version: &str) -> bool {
    version.split_once('.').and_then(|(_, minor)| minor.parse::<u32>().ok()).is_some_and(|minor| minor >= 42)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_away_however_they_are_cut() {
        let line = b"2026-11-21T12:57:01.5Z a line with words\n";
        for cut in 1..line.len() {
            let mut stamps = Stamps::default();
            let mut got = stamps.pass(true, &line[..cut]).into_owned();
            got.extend_from_slice(&stamps.pass(false, &line[cut..]));
            assert_eq!(got, b"a line with words\n", "cut at {cut}");
            assert_eq!(stamps.last.unwrap().to_string(), "2026-11-21T12:57:01.5Z");
        }
        let mut stamps = Stamps { shown: true, ..Stamps::default() };
        assert_eq!(&*stamps.pass(true, line), line);
        assert_eq!(&*Stamps::default().pass(true, b"no time here\n"), b"no time here\n");
    }
}
