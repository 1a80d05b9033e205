//! `context ls`.

use super::{DEFAULT, DEFAULT_TEXT, overridden, store};
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::environment;
use crate::error::Result;
use crate::format::{List, Row};

pub(crate) const ENTRY: Entry = Entry {
    name: "context ls",
    aliases: &["context list"],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// List contexts
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Only show context names
    #[arg(short, long)]
    quiet: bool,
}

const HEADERS: &[(&str, &str)] = &[
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("DockerEndpoint", "DOCKER ENDPOINT"),
    ("Current", ""),
    ("Error", "ERROR"),
];

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let format = match arguments.format.as_deref() {
        _ if arguments.quiet => "{{.Name}}",
        Some(format) if !(format.is_empty() || format == "table") => format,
        _ => "table {{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}",
    };
    let current = context.current_context();
    let host = context.default_host()?;
    let mut all = vec![(DEFAULT.to_owned(), DEFAULT_TEXT.to_owned(), host, String::new())];
    for found in store(context).list()? {
        all.push((
            found.name.clone(),
            found.description().to_owned(),
            found.host().to_owned(),
            String::new(),
        ));
    }
    if !all.iter().any(|(name, ..)| *name == current) {
        // What is chosen and not there is shown with what a command would say.
        let why = store(context).get(&current).map_or_else(|error| error.to_string(), |_| String::new());
        all.push((current.clone(), String::new(), String::new(), why));
    }
    all.sort();
    let table = format.starts_with("table");
    let rows = all.into_iter().map(|(name, description, host, why)| {
        let is_current = name == current;
        let why = if table { shortened(&why, 45) } else { why };
        Row::new()
            .with_document("Current", is_current.into())
            .with("Description", description)
            .with("DockerEndpoint", host)
            .with("Error", why)
            .with("Name", name)
    });
    List { format, headers: HEADERS }.print(&mut context.ui, rows)?;
    if environment::value(environment::HOST).is_some() && !arguments.quiet {
        context.ui.note(overridden("a context"));
    }
    Ok(0)
}

/// At most so many characters, the last an ellipsis where some are left out.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(std::iter::once('…')).collect()
}
