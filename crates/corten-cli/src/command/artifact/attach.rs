//! `artifact attach`.

use super::kind::Wish;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "artifact attach",
    aliases: &[],
    usage: "[OPTIONS] NAME[:TAG|@DIGEST] FILE[:TYPE] [FILE[:TYPE]...]",
    count: Count::Min(2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Push files as an artifact that refers to an image or another artifact
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    #[command(flatten)]
    wish: Wish,
    /// What it refers to, and the files
    words: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let Some((name, files)) = arguments.words.split_first() else { return Ok(0) };
    let name = super::parse(name)?;
    let insecure = arguments.wish.insecure;
    let content = arguments.wish.content(files)?;
    let mut access = super::access(insecure, &[&name])?;
    let repository = access.repository(context, &name)?;
    let subject = super::document(&access, &repository, &name)?.descriptor;
    let about = subject.digest;
    let digest = super::send(context, &access, &repository, content, Some(subject), None)?;
    context.ui.line(format!("Attached to {}", name.with_digest(about).canonical()))?;
    context.ui.line(format!("Digest: {digest}"))?;
    Ok(0)
}
