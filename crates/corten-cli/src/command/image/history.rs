//! `history`.

use crate::command::container::ls::ellipsis;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::format::{List, Row};
use crate::time;
use corten_api::image::HistoryItem;
use corten_std::{Timestamp, id, size};

pub(crate) const ENTRY: Entry = Entry {
    name: "image history",
    aliases: &["history"],
    usage: "[OPTIONS] IMAGE",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Show the history of an image
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Print sizes and dates in human readable format
    #[arg(short = 'H', long, default_value = "true")]
    human: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Show history for the given platform. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// Image
    image: String,
}

const HEADERS: &[(&str, &str)] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let format = match arguments.format.as_deref() {
        _ if arguments.quiet => "{{.ID}}",
        Some(format) if !(format.is_empty() || format == "table") => format,
        _ if arguments.human => {
            "table {{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
        }
        _ => "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    };
    let platform = arguments.platform.as_deref().map(super::platform).transpose()?;
    let items = context.client()?.image_history(&arguments.image, platform.as_deref())?;
    let now = Timestamp::now();
    let rows = items.iter().map(|item| row(item, &arguments, now));
    List { format, headers: HEADERS }.print(&mut context.ui, rows)?;
    Ok(0)
}

fn row(item: &HistoryItem, arguments: &Arguments, now: Timestamp) -> Row {
    let created_by = item.created_by.replace('\t', " ");
    let (created_by, id, comment) = if arguments.no_trunc {
        (created_by, item.id.as_str(), item.comment.clone())
    } else {
        (ellipsis(&created_by, 45), id::short(&item.id), ellipsis(&item.comment, 45))
    };
    // `<missing>` is longer than 12 letters nowhere, but is no id either.
    let id = if item.id == "<missing>" { "<missing>" } else { id };
    let since = if item.created <= 0 { String::new() } else { time::ago(item.created, now) };
    Row::new()
        .with("Comment", comment)
        .with("CreatedAt", time::rfc3339(Timestamp::from_unix(item.created, 0), false))
        .with("CreatedBy", created_by)
        .with("CreatedSince", if arguments.human { since } else { String::new() })
        .with("ID", id)
        .with(
            "Size",
            if arguments.human { size::human_short(item.size as f64) } else { item.size.to_string() },
        )
}
