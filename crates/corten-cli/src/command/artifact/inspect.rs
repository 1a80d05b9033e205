//! `artifact inspect`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::registry::failed;
use corten_oci::image::media_type;
use serde_json::{Value, json};

pub(crate) const ENTRY: Entry = Entry {
    name: "artifact inspect",
    aliases: &[],
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Display what an artifact is, what it holds, and what refers to it
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Print the manifest as it is, byte for byte
    #[arg(long)]
    raw: bool,
    /// The artifact
    name: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let name = super::parse(&arguments.name)?;
    let mut access = super::access(arguments.insecure, &[&name])?;
    let repository = access.repository(context, &name)?;
    let document = super::document(&access, &repository, &name)?;
    if arguments.raw {
        context.ui.data(&document.bytes)?;
        return Ok(0);
    }
    let descriptor = &document.descriptor;
    let listed =
        access.wait(repository.referrers(&descriptor.digest, None)).map_err(|error| failed(&error))?;
    let manifest: Value = serde_json::from_slice(&document.bytes).map_err(|error| {
        CliError::said(format!("the manifest of {} is not one: {error}", name.familiar()))
    })?;
    let mut shown = json!({
        "Name": name.familiar(),
        "Digest": descriptor.digest.to_string(),
        "MediaType": descriptor.media_type,
        "Size": descriptor.size,
    });
    if media_type::is_index(&descriptor.media_type) {
        shown["ArtifactType"] = manifest["artifactType"].clone();
        shown["Manifests"] = manifest["manifests"].clone();
    } else {
        shown["ArtifactType"] = super::type_of(&super::manifest_of(&document, &name)?).into();
        shown["Config"] = manifest["config"].clone();
        shown["Layers"] = manifest["layers"].clone();
    }
    shown["Subject"] = manifest["subject"].clone();
    shown["Annotations"] = manifest["annotations"].clone();
    shown["Referrers"] = json!(listed);
    let text = serde_json::to_string_pretty(&shown).map_err(|error| CliError::said(error.to_string()))?;
    context.ui.line(text)?;
    Ok(0)
}
