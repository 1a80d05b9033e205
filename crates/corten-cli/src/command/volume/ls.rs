//! `volume ls`.

use crate::command::container::ls::labels;
use crate::command::natural;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::flags::filter;
use crate::format::{List, Row};
use corten_api::volume::Volume;
use corten_std::size;

pub(crate) const ENTRY: Entry = Entry {
    name: "volume ls",
    aliases: &["volume list"],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// List volumes
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter", value_parser = crate::flags::filter::checked)]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Only display volume names
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) const HEADERS: &[(&str, &str)] = &[
    ("Name", "VOLUME NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Group", "GROUP"),
    ("Availability", "AVAILABILITY"),
    ("Status", "STATUS"),
];

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let configuration = context.configuration();
    // A form that is asked for wins over `--quiet`, one of the configuration does not.
    let quiet = arguments.quiet
        && arguments.format.as_deref().is_none_or(|format| format.is_empty() || format == "table");
    let format = match arguments.format.as_deref().or_else(|| configuration.format("volumesFormat")) {
        _ if quiet => "{{.Name}}",
        Some(format) if !(format.is_empty() || format == "table") => format,
        _ => "table {{.Driver}}\t{{.Name}}",
    };
    let mut volumes = context.client()?.volume_list(&filter::parse(&arguments.filter))?.volumes;
    volumes.sort_by(|one, other| natural(&one.name, &other.name));
    List { format, headers: HEADERS }.print(&mut context.ui, volumes.iter().map(row))?;
    Ok(0)
}

/// A volume's row.
pub(crate) fn row(volume: &Volume) -> Row {
    let empty = std::collections::BTreeMap::new();
    let labelled = volume.labels.as_ref().unwrap_or(&empty);
    let usage = volume.usage_data.as_ref();
    Row::new()
        .with("Availability", "N/A")
        .with("Driver", volume.driver.clone())
        .with("Group", "N/A")
        .with("Labels", labels(labelled))
        .with("Links", usage.map_or("N/A".to_owned(), |usage| usage.ref_count.to_string()))
        .with("Mountpoint", volume.mountpoint.clone())
        .with("Name", volume.name.clone())
        .with("Scope", volume.scope.clone())
        .with("Size", usage.map_or("N/A".to_owned(), |usage| size::human(usage.size as f64)))
        .with("Status", "N/A")
        .labelled(labelled)
}
