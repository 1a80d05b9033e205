//! `events`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::flags::filter;
use crate::format::{Data, Kind, Template};
use crate::time;
use corten_api::event::Event;
use corten_std::Timestamp;
use std::io;

pub(crate) const ENTRY: Entry = Entry {
    name: "system events",
    aliases: &["events"],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Get real time events from the server
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter", value_parser = crate::flags::filter::checked)]
    filter: Vec<String>,
    /// Format output: 'json', or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long, value_name = "string")]
    since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long, value_name = "string")]
    until: Option<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let now = Timestamp::now();
    let point = |text: &Option<String>| {
        text.as_deref().filter(|text| !text.is_empty()).map(|text| time::point(text, now)).transpose()
    };
    let (since, until) = (point(&arguments.since)?, point(&arguments.until)?);
    let format = arguments.format.as_deref().map(str::trim).filter(|format| !format.is_empty());
    let template = match format {
        None | Some("json") => None,
        Some(source) => Some(Template::compile(source)?),
    };
    let filters = filter::parse(&arguments.filter);
    let reply = context.client()?.events(since.as_deref(), until.as_deref(), &filters)?;
    let reader = io::BufReader::new(reply);
    for event in serde_json::Deserializer::from_reader(reader).into_iter::<serde_json::Value>() {
        let event =
            event.map_err(|error| CliError::said(format!("the stream of events broke off: {error}")))?;
        let text = match (&template, format) {
            (Some(template), _) => template
                .execute(&Data::typed(Kind::Event, &event))
                .map_err(|error| CliError::said(format!("failed to execute template: {error}")))?,
            (None, Some(_)) => event.to_string(),
            (None, None) => plain(&event),
        };
        context.ui.line(text)?;
        context.ui.flush()?;
    }
    Ok(0)
}

/// Time, type, action, object, attributes.
fn plain(event: &serde_json::Value) -> String {
    let event: Event = serde_json::from_value(event.clone()).unwrap_or_default();
    let at = if event.time_nano == 0 {
        Timestamp::from_unix(event.time, 0)
    } else {
        Timestamp::from_unix_nanos(event.time_nano.into())
    };
    let mut text = format!("{} {} {} {}", time::rfc3339(at, true), event.kind, event.action, event.actor.id);
    if !event.actor.attributes.is_empty() {
        let attributes: Vec<String> =
            event.actor.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        text = format!("{text} ({})", attributes.join(", "));
    }
    text
}
