//! `context create`.

use super::{DEFAULT_TEXT, check_name, get, pair, point, store};
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use corten_client::contexts;

pub(crate) const ENTRY: Entry = Entry {
    name: "context create",
    aliases: &[],
    usage: "[OPTIONS] CONTEXT",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Create a context
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Description of the context
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    description: String,
    /// The daemon: host=ADDRESS[,ca=FILE][,cert=FILE][,key=FILE][,skip-tls-verify=BOOL], or from=CONTEXT
    #[arg(long, value_name = "stringToString", value_parser = pair)]
    docker: Vec<String>,
    /// Create context from a named context
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    from: String,
    /// Name
    name: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let name = &arguments.name;
    check_name(name)?;
    let contexts = store(context);
    if contexts.has(name) {
        return Err(CliError::said(format!("context \"{name}\" already exists")));
    }
    let mut made = if arguments.docker.is_empty() {
        let from = if arguments.from.is_empty() { "default" } else { arguments.from.as_str() };
        let mut source = get(context, from)?;
        if from == "default" {
            source.describe(DEFAULT_TEXT);
        }
        contexts::Context { name: name.clone(), ..source }
    } else if arguments.from.is_empty() {
        let mut made = contexts::Context::new(name, "", "", false);
        point(context, &mut made, &arguments.docker)?;
        made
    } else {
        return Err(CliError::said("cannot use --docker flag when --from is set"));
    };
    if !arguments.description.is_empty() {
        made.describe(&arguments.description);
    }
    contexts.save(&made)?;
    context.ui.line(name)?;
    context.ui.note(format!("Successfully created context \"{name}\""));
    Ok(0)
}
