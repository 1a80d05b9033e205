//! `top`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::format;

pub(crate) const ENTRY: Entry = Entry {
    name: "container top",
    aliases: &["top"],
    usage: "CONTAINER [ps OPTIONS]",
    count: Count::Min(1),
    mixed: false,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Display the running processes of a container
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Container
    container: String,
    /// Options of ps
    options: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let answer = context.client()?.container_top(&arguments.container, &arguments.options.join(" "))?;
    let mut text = answer.titles.join("\t");
    text.push('\n');
    for process in &answer.processes {
        text.push_str(&process.join("\t"));
        text.push('\n');
    }
    context.ui.data(format::align_top(&text).as_bytes())?;
    Ok(0)
}
