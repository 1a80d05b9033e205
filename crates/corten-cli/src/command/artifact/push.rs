//! `artifact push`.

use super::kind::{self, Kind};
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
    /// Add an annotation to the manifest (key=value)
    #[arg(short, long, value_name = "list", value_parser = super::annotation)]
    annotation: Vec<(String, String)>,
    /// Say what the whole is, as a media type
    #[arg(long, value_name = "string")]
    artifact_type: Option<String>,
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Form in which it is expected ("auto", "compose", "helm", "wasm", "spdx", "cyclonedx", "volume", "plain")
    #[arg(long, value_name = "string", default_value = "auto", value_enum)]
    kind: Kind,
    /// The name and the files
    words: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let Some((name, files)) = arguments.words.split_first() else { return Ok(0) };
    let bare = super::parse_bare(name)?;
    if bare.digest().is_some() {
        return Err(CliError::said("cannot push to a digest: the content says which it has"));
    }
    let mut content = kind::read(files, arguments.kind, arguments.artifact_type)?;
    content.annotations.extend(arguments.annotation);
    let name = bare.with_default_tag();
    let mut access = super::access(arguments.insecure, &[&name])?;
    let repository = access.repository(context, &name)?;
    let digest = super::send(context, &access, &repository, content, None, name.tag())?;
    context.ui.line(format!("Digest: {digest}"))?;
    context.ui.line(name.canonical())?;
    Ok(0)
}
