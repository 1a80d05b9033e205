//! `manifest rm`.

use super::store::Lists;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};

pub(crate) const ENTRY: Entry = Entry {
    name: "manifest rm",
    aliases: &[],
    usage: "MANIFEST_LIST [MANIFEST_LIST...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Delete one or more manifest lists from local storage
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// The lists
    lists: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let lists = Lists::new(context.folder());
    let mut failed = Vec::new();
    for list in &arguments.lists {
        let removed = super::parse(list).and_then(|name| {
            lists.all(&name)?;
            lists.remove(&name)
        });
        if let Err(error) = removed {
            failed.push(error.text());
        }
    }
    if failed.is_empty() { Ok(0) } else { Err(CliError::said(failed.join("\n"))) }
}
