//! `plugin ls`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::flags::filter;
use crate::format::{List, Row};
use corten_client::Object;

pub(crate) const ENTRY: Entry = Entry {
    name: "plugin ls",
    aliases: &["plugin list"],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// List plugins
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Provide filter values (e.g. "enabled=true")
    #[arg(short, long, value_name = "filter", value_parser = crate::flags::filter::checked)]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display plugin IDs
    #[arg(short, long)]
    quiet: bool,
}

const HEADERS: &[(&str, &str)] = &[
    ("ID", "ID"),
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("Enabled", "ENABLED"),
    ("PluginReference", "PLUGIN REFERENCE"),
];

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let configuration = context.configuration();
    let format = match arguments.format.as_deref().or_else(|| configuration.format("pluginsFormat")) {
        Some(format) if !(format.is_empty() || format == "table") => format,
        _ if arguments.quiet => "{{.ID}}",
        _ => "table {{.ID}}\t{{.Name}}\t{{.Description}}\t{{.Enabled}}",
    };
    let plugins = context.client()?.plugin_list(&filter::parse(&arguments.filter))?;
    let rows = plugins.iter().map(|plugin| row(plugin, arguments.no_trunc));
    List { format, headers: HEADERS }.print(&mut context.ui, rows)?;
    Ok(0)
}

fn row(plugin: &Object, whole: bool) -> Row {
    let text = |value: &Object| value.as_str().unwrap_or_default().to_owned();
    let cut = |text: String, length: usize| if whole { text } else { text.chars().take(length).collect() };
    Row::new()
        .with("ID", cut(text(&plugin["Id"]), 12))
        .with("Name", text(&plugin["Name"]))
        .with("Description", cut(text(&plugin["Config"]["Description"]).replace(['\n', '\r'], " "), 45))
        .with("Enabled", plugin["Enabled"].as_bool().unwrap_or_default().to_string())
        .with("PluginReference", text(&plugin["PluginReference"]))
}
