//! `artifact ls`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::format::{List, Row};
use crate::registry::{Access, failed};
use corten_distribution::Repository;
use corten_oci::Digest;
use corten_oci::image::Descriptor;
use corten_std::size;
use std::collections::HashSet;

pub(crate) const ENTRY: Entry = Entry {
    name: "artifact ls",
    aliases: &["artifact list"],
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// List the artifacts of a repository, or what refers to one of them
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Only referrers of this type
    #[arg(long, value_name = "string")]
    artifact_type: Option<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    /// The repository, or one of its artifacts
    name: String,
}

const HEADERS: &[(&str, &str)] =
    &[("Tag", "TAG"), ("Digest", "DIGEST"), ("Type", "TYPE"), ("Size", "SIZE"), ("Subject", "REFERS TO")];

/// How deep what refers to something is followed.
const DEPTH: usize = 4;

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let name = super::parse_bare(&arguments.name)?;
    let mut access = super::access(arguments.insecure, &[&name])?;
    let repository = access.repository(context, &name)?;
    let is_repository = name.tag().is_none() && name.digest().is_none();
    let mut rows = Vec::new();
    if is_repository {
        for tag in access.wait(repository.tags()).map_err(|error| failed(&error))? {
            let tagged =
                name.with_tag(&tag).map_err(|error| crate::error::CliError::said(error.to_string()))?;
            let document = super::document(&access, &repository, &tagged)?;
            let manifest = super::manifest_of(&document, &tagged).ok();
            // Only the manifest's own length is known of an index.
            let layers =
                manifest.as_ref().map(|manifest| manifest.layers.iter().map(|layer| layer.size).sum());
            let kind =
                manifest.map_or(document.descriptor.media_type.clone(), |manifest| super::type_of(&manifest));
            rows.push(row(
                &tag,
                &document.descriptor.digest,
                &kind,
                layers.unwrap_or(document.descriptor.size),
                None,
            ));
        }
    } else {
        let about = super::document(&access, &repository, &name)?.descriptor.digest;
        let mut seen = HashSet::from([about]);
        follow(
            &access,
            &repository,
            about,
            arguments.artifact_type.as_deref(),
            &mut seen,
            0,
            &mut |entry, subject| {
                let kind = entry.artifact_type.as_deref().unwrap_or(&entry.media_type);
                rows.push(row("", &entry.digest, kind, entry.size, Some(subject)));
            },
        )?;
    }
    let format = match arguments.format.as_deref() {
        Some(format) if !(format.is_empty() || format == "table") => format,
        _ if is_repository => "table {{.Tag}}\t{{.Digest}}\t{{.Type}}\t{{.Size}}",
        _ => "table {{.Digest}}\t{{.Type}}\t{{.Size}}\t{{.Subject}}",
    };
    List { format, headers: HEADERS }.print(&mut context.ui, rows)?;
    Ok(0)
}

fn row(tag: &str, digest: &Digest, kind: &str, length: u64, subject: Option<Digest>) -> Row {
    Row::new()
        .with("Tag", tag.to_owned())
        .with("Digest", digest.to_string())
        .with("Type", kind.to_owned())
        .with("Size", size::human(length as f64))
        .with("Subject", subject.map(|digest| digest.short()).unwrap_or_default())
}

/// Tells of everything that refers to a manifest, and of what refers to that.
pub(super) fn follow(
    access: &Access,
    repository: &Repository,
    subject: Digest,
    artifact_type: Option<&str>,
    seen: &mut HashSet<Digest>,
    depth: usize,
    tell: &mut dyn FnMut(&Descriptor, Digest),
) -> Result<()> {
    if depth == DEPTH {
        return Ok(());
    }
    let listed =
        access.wait(repository.referrers(&subject, artifact_type)).map_err(|error| failed(&error))?;
    for entry in listed {
        // Referrers of each other are told once.
        if seen.insert(entry.digest) {
            tell(&entry, subject);
            follow(access, repository, entry.digest, artifact_type, seen, depth + 1, tell)?;
        }
    }
    Ok(())
}
