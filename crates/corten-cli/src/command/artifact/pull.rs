//! `artifact pull`.

use super::TITLE;
use super::kind::HELM_PROVENANCE;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::registry::{Access, failed};
use corten_distribution::Repository;
use corten_oci::image::{Descriptor, media_type};
use corten_std::file;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

pub(crate) const ENTRY: Entry = Entry {
    name: "artifact pull",
    aliases: &[],
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Download the files of an artifact
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Folder that the files are written to
    #[arg(short, long, value_name = "string", default_value = ".")]
    output: String,
    /// The artifact
    name: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let name = super::parse(&arguments.name)?;
    let mut access = super::access(arguments.insecure, &[&name])?;
    let repository = access.repository(context, &name)?;
    let document = super::document(&access, &repository, &name)?;
    let manifest = super::manifest_of(&document, &name)?;
    let folder = Path::new(&arguments.output);
    // All names are checked before anything is written.
    let mut wanted: Vec<(PathBuf, &Descriptor)> = Vec::new();
    for layer in manifest.layers.iter().filter(|layer| layer.media_type != media_type::EMPTY) {
        let title = file_name(layer, &manifest.annotations, &manifest.config.media_type);
        let path = plain_path(&title).ok_or_else(|| {
            CliError::said(format!(
                "{} names a file `{title}`, which would lie outside of the folder",
                name.familiar()
            ))
        })?;
        if wanted.iter().any(|(other, _)| *other == path) {
            return Err(CliError::said(format!("{} names two files `{title}`", name.familiar())));
        }
        wanted.push((path, layer));
    }
    for (path, layer) in &wanted {
        fetch(&access, &repository, layer, folder, path)?;
        context.ui.line(format!("{}: Downloaded {}", layer.digest.short(), path.display()))?;
        context.ui.flush()?;
    }
    if wanted.is_empty() {
        context.ui.note("The artifact holds no files");
    }
    context.ui.line(format!("Digest: {}", document.descriptor.digest))?;
    Ok(0)
}

/// The name that a file gets: its own, the one that a chart has by its name and version, or its digest.
fn file_name(
    layer: &Descriptor,
    annotations: &std::collections::BTreeMap<String, String>,
    config: &str,
) -> String {
    let own = [TITLE, "com.docker.compose.file", "com.docker.compose.envfile"];
    if let Some(name) = own.iter().find_map(|key| layer.annotations.get(*key)) {
        return name.clone();
    }
    if config.starts_with("application/vnd.cncf.helm.")
        && let (Some(name), Some(version)) =
            (annotations.get(TITLE), annotations.get("org.opencontainers.image.version"))
    {
        let end = if layer.media_type == HELM_PROVENANCE { "tgz.prov" } else { "tgz" };
        return format!("{name}-{version}.{end}");
    }
    layer.digest.hex()
}

/// A path that stays where it is put: parts that are names, nothing else.
fn plain_path(title: &str) -> Option<PathBuf> {
    let path = Path::new(title);
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (is_plain && !title.is_empty() && !title.ends_with('/') && !title.contains('\0')).then(|| path.to_owned())
}

/// Makes the folders of a path; a link on the way may lead anywhere and is refused.
fn make_folders(root: &Path, path: &Path) -> Result<()> {
    file::create_dir_all(root)?;
    let mut at = root.to_owned();
    for part in path.parent().into_iter().flat_map(Path::components) {
        at.push(part);
        match std::fs::symlink_metadata(&at) {
            Ok(about) if about.is_dir() => {}
            Ok(_) => return Err(CliError::said(format!("{} is in the way and is no folder", at.display()))),
            Err(_) => file::create_dir_all(&at)?,
        }
    }
    Ok(())
}

/// One file: beside its place first, and there when it is what it should be.
fn fetch(
    access: &Access,
    repository: &Repository,
    layer: &Descriptor,
    root: &Path,
    path: &Path,
) -> Result<()> {
    make_folders(root, path)?;
    let place = root.join(path);
    let beside = place.with_file_name(format!(".{}.part", layer.digest.hex()));
    let outcome =
        receive(access, repository, layer, &beside).and_then(|()| Ok(file::rename(&beside, &place)?));
    if outcome.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    outcome
}

fn receive(access: &Access, repository: &Repository, layer: &Descriptor, beside: &Path) -> Result<()> {
    let _ = std::fs::remove_file(beside);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(beside)
        .map_err(|error| CliError::said(format!("cannot write {}: {error}", beside.display())))?;
    let mut hasher = layer.digest.hasher();
    let downloaded = access.wait(repository.download(layer, 0, &mut |piece| {
        hasher.update(piece);
        file.write_all(piece)
    }));
    downloaded.map_err(|error| failed(&error))?;
    let found = hasher.finish();
    if found == layer.digest {
        return Ok(());
    }
    Err(CliError::said(format!(
        "{} sent other content than {}: its digest is {found}",
        repository.host(),
        layer.digest
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_folder() {
        for good in ["a", "a/b", "..a", "a.txt"] {
            assert!(plain_path(good).is_some(), "{good}");
        }
        for bad in ["", ".", "..", "../a", "a/../b", "/a", "a/", "./../a"] {
            assert!(plain_path(bad).is_none(), "{bad}");
        }
    }
}
