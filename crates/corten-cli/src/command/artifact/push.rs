//! `artifact push`.

use super::kind::Wish;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};

pub(crate) const ENTRY: Entry = Entry {
    name: "artifact push",
    aliases: &[],
    usage: "[OPTIONS] NAME[:TAG] FILE[:TYPE] [FILE[:TYPE]...]",
    count: Count::Min(2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Push files as an artifact to a registry
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    #[command(flatten)]
    wish: Wish,
    /// The name and the files
    words: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let Some((name, files)) = arguments.words.split_first() else { return Ok(0) };
    let bare = super::parse_bare(name)?;
    if bare.digest().is_some() {
        return Err(CliError::said("cannot push to a digest: the content says which it has"));
    }
    let insecure = arguments.wish.insecure;
    let content = arguments.wish.content(files)?;
    let name = bare.with_default_tag();
    let mut access = super::access(insecure, &[&name])?;
    let repository = access.repository(context, &name)?;
    let digest = super::send(context, &access, &repository, content, None, name.tag())?;
    context.ui.line(format!("Digest: {digest}"))?;
    context.ui.line(name.canonical())?;
    Ok(0)
}
