//! `images`.

use super::tree;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::flags::filter;
use crate::format::{List, Row};
use crate::time;
use corten_api::image::Summary;
use corten_oci::Reference;
use corten_std::{Timestamp, id, size};
use std::collections::BTreeMap;

pub(crate) const ENTRY: Entry = Entry {
    name: "image ls",
    aliases: &["image list", "images"],
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    count: Count::Max(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// List images
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Show all images (default hides intermediate images)
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter", value_parser = crate::flags::filter::checked)]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// List multi-platform images as a tree (EXPERIMENTAL)
    #[arg(long)]
    tree: bool,
    /// Name or pattern
    repository: Option<String>,
}

pub(crate) const HEADERS: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let client = context.client()?;
    let configuration = context.configuration();
    let mut filters = filter::parse(&arguments.filter);
    if let Some(repository) = &arguments.repository {
        filters.add("reference", repository);
    }
    if arguments.tree {
        let refused = [
            ("quiet", arguments.quiet),
            ("no-trunc", arguments.no_trunc),
            ("show-digest", arguments.digests),
            ("format", arguments.format.is_some()),
        ];
        if let Some((flag, _)) = refused.into_iter().find(|(_, given)| *given) {
            return Err(CliError::said(format!("--{flag} is not yet supported with --tree")));
        }
        let images = client.image_list_manifests(arguments.all, &filters)?;
        tree::print(context, &images, arguments.all)?;
        return Ok(0);
    }
    // A form that is asked for wins over `--quiet`, one of the configuration does not.
    let quiet = arguments.quiet
        && arguments.format.as_deref().is_none_or(|format| format.is_empty() || format == "table");
    let format = match arguments.format.as_deref().or_else(|| configuration.format("imagesFormat")) {
        Some(format) if !(format.is_empty() || format == "table") => format.to_owned(),
        _ if quiet => "{{.ID}}".to_owned(),
        _ => {
            let digest = if arguments.digests { "\t{{.Digest}}" } else { "" };
            format!(
                "table {{{{.Repository}}}}\t{{{{.Tag}}}}{digest}\t{{{{.ID}}}}\t{{{{if .CreatedSince }}}}{{{{.CreatedSince}}}}{{{{else}}}}N/A{{{{end}}}}\t{{{{.Size}}}}"
            )
        }
    };
    let format = if quiet { "{{.ID}}" } else { format.as_str() };
    let list = List { format, headers: HEADERS };
    let images = client.image_list(arguments.all, &filters)?;
    let digests = arguments.digests || list.wants("Digest");
    let now = Timestamp::now();
    let rows = images
        .iter()
        .flat_map(|image| names(image, digests, quiet).into_iter().map(move |name| (image, name)));
    let rows: Vec<Row> = rows.map(|(image, name)| row(image, &name, !arguments.no_trunc, now)).collect();
    list.print(&mut context.ui, rows)?;
    Ok(0)
}

/// One line's name of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    repository: String,
    tag: String,
    digest: String,
}

/// A line for each name of an image; one without any has a line of `<none>`.
pub(crate) fn names(image: &Summary, digests: bool, once: bool) -> Vec<Name> {
    let none = || "<none>".to_owned();
    let mut tags: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut order = Vec::new();
    for name in image.repo_tags.iter().filter(|name| *name != "<none>:<none>") {
        let Ok(reference) = Reference::parse(name) else { continue };
        let repository = reference.familiar_name();
        if !order.contains(&repository) {
            order.push(repository.clone());
        }
        tags.entry(repository).or_default().push(reference.tag().unwrap_or("<none>").to_owned());
    }
    let mut by_digest: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in image.repo_digests.iter().filter(|name| *name != "<none>@<none>") {
        let Ok(reference) = Reference::parse(name) else { continue };
        let repository = reference.familiar_name();
        if !order.contains(&repository) {
            order.push(repository.clone());
        }
        let digest = reference.digest().map(ToString::to_string).unwrap_or_default();
        by_digest.entry(repository).or_default().push(digest);
    }
    let mut names = Vec::new();
    for repository in order {
        let tags = tags.remove(&repository).unwrap_or_default();
        let digests_here = by_digest.remove(&repository).unwrap_or_default();
        if tags.is_empty() {
            for digest in if digests { digests_here } else { vec![none()] } {
                names.push(Name { repository: repository.clone(), tag: none(), digest });
            }
            continue;
        }
        for tag in tags {
            if digests && !digests_here.is_empty() {
                for digest in &digests_here {
                    names.push(Name {
                        repository: repository.clone(),
                        tag: tag.clone(),
                        digest: digest.clone(),
                    });
                }
            } else {
                names.push(Name { repository: repository.clone(), tag, digest: none() });
            }
        }
    }
    if names.is_empty() {
        names.push(Name { repository: none(), tag: none(), digest: none() });
    }
    if once {
        names.truncate(1);
    }
    names
}

pub(crate) fn row(image: &Summary, name: &Name, truncate: bool, now: Timestamp) -> Row {
    let bytes = |bytes: i64| if bytes < 0 { "N/A".to_owned() } else { size::human_short(bytes as f64) };
    let exact = |bytes: i64| if bytes < 0 { "N/A".to_owned() } else { size::human(bytes as f64) };
    let shared = exact(image.shared_size);
    let unique = if image.shared_size < 0 { "N/A".to_owned() } else { exact(image.size - image.shared_size) };
    let since = if image.created <= 0 { String::new() } else { time::ago(image.created, now) };
    Row::new()
        .with(
            "Containers",
            if image.containers < 0 { "N/A".to_owned() } else { image.containers.to_string() },
        )
        .with("CreatedAt", time::go_time(image.created))
        .with("CreatedSince", since)
        .with("Digest", name.digest.clone())
        .with("ID", if truncate { id::short(&image.id) } else { &image.id })
        .with("Repository", name.repository.clone())
        .with("SharedSize", shared)
        .with("Size", bytes(image.size))
        .with("Tag", name.tag.clone())
        .with("UniqueSize", unique)
        .with("VirtualSize", exact(image.size))
}
