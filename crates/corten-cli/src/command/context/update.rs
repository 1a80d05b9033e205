//! `context update`.

use super::{pair, point, store};
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "context update",
    aliases: &[],
    usage: "[OPTIONS] CONTEXT",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Update a context
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Description of the context
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    description: String,
    /// The daemon: host=ADDRESS[,ca=FILE][,cert=FILE][,key=FILE][,skip-tls-verify=BOOL], or from=CONTEXT
    #[arg(long, value_name = "stringToString", value_parser = pair)]
    docker: Vec<String>,
    /// Name
    name: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let name = &arguments.name;
    if name == super::DEFAULT {
        super::check_name(name)?;
    }
    let contexts = store(context);
    let mut changed = contexts.get(name)?;
    if !arguments.description.is_empty() {
        changed.describe(&arguments.description);
    }
    if !arguments.docker.is_empty() {
        point(context, &mut changed, &arguments.docker)?;
    }
    contexts.save(&changed)?;
    context.ui.line(name)?;
    context.ui.note(format!("Successfully updated context \"{name}\""));
    Ok(0)
}
