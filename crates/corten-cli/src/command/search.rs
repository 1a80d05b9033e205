//! `search`.

use crate::context::Context;
use crate::credentials::{self, Login};
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::flags::filter;
use crate::format::{List, Row};

/// So much of a description is shown.
const SHOWN: usize = 45;

pub(crate) const ENTRY: Entry = Entry {
    name: "search",
    aliases: &[],
    usage: "[OPTIONS] TERM",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Search Docker Hub for images
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter", value_parser = crate::flags::filter::checked)]
    filter: Vec<String>,
    /// Pretty-print search using a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Max number of search results
    #[arg(long, value_name = "int", default_value_t = 0, hide_default_value = true)]
    limit: u32,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// What to look for
    term: String,
}

const HEADERS: &[(&str, &str)] = &[
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("StarCount", "STARS"),
    ("IsOfficial", "OFFICIAL"),
    ("IsAutomated", "AUTOMATED"),
];

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    // Who looks on a host of its own is who logged in there.
    let host = arguments.term.split_once('/').map(|(host, _)| host).filter(|host| host.contains(['.', ':']));
    let key = host.map_or_else(|| credentials::HUB.to_owned(), str::to_owned);
    let login = credentials::find(&context.configuration(), &key)?.unwrap_or_else(Login::default);
    let client = context.client()?;
    let found = client.image_search(
        &arguments.term,
        arguments.limit,
        &filter::parse(&arguments.filter),
        &login.header()?,
    )?;
    let format = match arguments.format.as_deref() {
        Some(format) if !(format.is_empty() || format == "table") => format,
        _ => "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
    };
    let mark = |value: &serde_json::Value| if value.as_bool() == Some(true) { "[OK]" } else { "" };
    let rows = found.iter().map(|one| {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let mut description = text("description").replace(['\n', '\r'], " ");
        if !arguments.no_trunc && description.chars().count() > SHOWN {
            description = description.chars().take(SHOWN - 1).chain(['…']).collect();
        }
        Row::new()
            .with("Name", text("name"))
            .with("Description", description)
            .with("StarCount", one["star_count"].to_string())
            .with("IsOfficial", mark(&one["is_official"]))
            .with("IsAutomated", mark(&one["is_automated"]))
    });
    List { format, headers: HEADERS }.print(&mut context.ui, rows)?;
    Ok(0)
}
