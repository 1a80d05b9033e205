//! `network ls`.

use crate::command::container::ls::labels;
use crate::command::natural;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::flags::filter;
use crate::format::{List, Row};
use crate::time;
use corten_api::network::Inspect;
use corten_std::{Timestamp, id};

pub(crate) const ENTRY: Entry = Entry {
    name: "network ls",
    aliases: &["network list"],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// List networks
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Provide filter values (e.g. "driver=bridge")
    #[arg(short, long, value_name = "filter", value_parser = crate::flags::filter::checked)]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Do not truncate the output
    #[arg(long)]
    no_trunc: bool,
    /// Only display network IDs
    #[arg(short, long)]
    quiet: bool,
}

const HEADERS: &[(&str, &str)] = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let configuration = context.configuration();
    // A form that is asked for wins over `--quiet`, one of the configuration does not.
    let quiet = arguments.quiet
        && arguments.format.as_deref().is_none_or(|format| format.is_empty() || format == "table");
    let format = match arguments.format.as_deref().or_else(|| configuration.format("networksFormat")) {
        _ if quiet => "{{.ID}}",
        Some(format) if !(format.is_empty() || format == "table") => format,
        _ => "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    };
    let mut networks = context.client()?.network_list(&filter::parse(&arguments.filter))?;
    networks.sort_by(|one, other| natural(&one.name, &other.name));
    let rows = networks.iter().map(|network| row(network, !arguments.no_trunc));
    List { format, headers: HEADERS }.print(&mut context.ui, rows)?;
    Ok(0)
}

fn row(network: &Inspect, truncate: bool) -> Row {
    let created =
        Timestamp::parse(&network.created).map_or_else(|| network.created.clone(), time::go_timestamp);
    Row::new()
        .with("CreatedAt", created)
        .with("Driver", network.driver.clone())
        .with("ID", if truncate { id::short(&network.id) } else { &network.id })
        .with("IPv4", network.enable_ipv4.to_string())
        .with("IPv6", network.enable_ipv6.to_string())
        .with("Internal", network.internal.to_string())
        .with("Labels", labels(&network.labels))
        .with("Name", network.name.clone())
        .with("Scope", network.scope.clone())
        .labelled(&network.labels)
}
