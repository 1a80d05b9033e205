//! `manifest create`.

use super::store::Lists;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};

pub(crate) const ENTRY: Entry = Entry {
    name: "manifest create",
    aliases: &[],
    usage: "MANIFEST_LIST MANIFEST [MANIFEST...]",
    count: Count::Min(2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Create a local manifest list for annotating and pushing to a registry
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Amend an existing manifest list
    #[arg(short, long)]
    amend: bool,
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    /// The list and its manifests
    names: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let Some((list, manifests)) = arguments.names.split_first() else { return Ok(0) };
    let target = super::parse(list).map_err(|error| {
        CliError::said(format!("error parsing name for manifest list {list}: {}", error.text()))
    })?;
    let lists = Lists::new(context.folder());
    if !arguments.amend && lists.find_all(&target)?.is_some() {
        return Err(CliError::said("refusing to amend an existing manifest list with no --amend flag"));
    }
    // Everything is read before anything is kept: a list of which half failed is not there.
    let mut read = Vec::new();
    for manifest in manifests {
        let name = super::parse(manifest)?;
        let kept = lists.find(&target, &name)?.filter(|stored| !stored.raw.is_empty());
        let stored = if let Some(kept) = kept {
            kept
        } else {
            let mut access = super::access(arguments.insecure, &[&name])?;
            let (repository, document) = super::read(&mut access, context, &name)?;
            super::described(&access, &repository, &name, &document)?
        };
        read.push((name, stored));
    }
    for (name, stored) in read {
        lists.save(&target, &name, &stored)?;
    }
    context.ui.line(format!("Created manifest list {}", target.canonical()))?;
    Ok(0)
}
