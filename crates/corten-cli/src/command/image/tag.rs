//! `tag`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use corten_oci::Reference;

pub(crate) const ENTRY: Entry = Entry {
    name: "image tag",
    aliases: &["tag"],
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    count: Count::Exact(2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Image
    source: String,
    /// New name
    target: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    if arguments.source.is_empty() {
        let why = "is not a valid repository/tag: invalid reference format";
        return Err(CliError::said(format!("Error parsing reference: \"\" {why}")));
    }
    let target = Reference::parse(&arguments.target).map_err(|error| {
        CliError::said(format!(
            "Error parsing reference: {:?} is not a valid repository/tag: {error}",
            arguments.target
        ))
    })?;
    if target.digest().is_some() {
        return Err(CliError::said("refusing to create a tag with a digest reference"));
    }
    let repository = target.canonical_name();
    context.client()?.image_tag(&arguments.source, &repository, target.tag().unwrap_or("latest"))?;
    Ok(0)
}
