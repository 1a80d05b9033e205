//! `inspect`, of any kind of object, and what the inspections of one kind share.

use crate::command::container::finish;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::format::{self, Kind, Template};
use corten_client::{Client, ClientError, Object};

pub(crate) const ENTRY: Entry = Entry {
    name: "inspect",
    aliases: &[],
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Return low-level information on Docker objects
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Format output: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    size: bool,
    /// Only inspect objects of the given type
    #[arg(long = "type", value_name = "string", default_value = "", hide_default_value = true)]
    kind: String,
    /// Names
    names: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let kinds: &[Kind] = match arguments.kind.as_str() {
        "" => &[Kind::Container, Kind::Image, Kind::Network, Kind::Volume],
        "container" => &[Kind::Container],
        "image" => &[Kind::Image],
        "network" => &[Kind::Network],
        "volume" => &[Kind::Volume],
        other => {
            return Err(CliError::said(format!(
                "unknown type: {other:?}: must be one of \"container\", \"image\", \"network\", \"volume\""
            )));
        }
    };
    let any = arguments.kind.is_empty();
    print(context, arguments.format.as_deref(), &arguments.names, |client, name| {
        for kind in kinds {
            let found = match kind {
                Kind::Container => client.container_inspect(name, arguments.size),
                Kind::Image => client.image_inspect(name, None),
                Kind::Network => client.network_inspect(name, false),
                _ => client.volume_inspect(name),
            };
            match found {
                // A name that cannot be one of this kind may be one of another.
                Err(error) if any && (error.is_not_found() || is_bad_name(&error)) => {}
                found => return Ok((*kind, found?)),
            }
        }
        Err(CliError::said(format!("Error: No such object: {name}")))
    })
}

fn is_bad_name(error: &ClientError) -> bool {
    matches!(error, ClientError::Api { status: 400, .. })
}

/// Fetches each object and prints those that are there; the code is 1 where one was not.
pub(crate) fn print(
    context: &mut Context,
    format: Option<&str>,
    names: &[String],
    mut fetch: impl FnMut(&Client, &str) -> Result<(Kind, Object)>,
) -> Result<u8> {
    let format = format.map(str::trim).filter(|format| !format.is_empty());
    // A mistake in the template is told before anything is asked.
    if let Some(source) = format.filter(|format| *format != "json") {
        Template::compile(source)?;
    }
    let client = context.client()?;
    let mut objects = Vec::new();
    let mut errors = Vec::new();
    for name in names {
        match fetch(&client, name) {
            Ok(object) => objects.push(object),
            Err(error @ CliError::Client(ClientError::NoDaemon { .. } | ClientError::Denied { .. })) => {
                return Err(error);
            }
            Err(error) => errors.push(error),
        }
    }
    format::inspected(&mut context.ui, format, &objects)?;
    finish(context, &errors)
}
