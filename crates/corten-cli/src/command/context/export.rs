//! `context export`.

use super::get;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use corten_client::contexts;
use corten_layer::tar::{Entry as TarEntry, EntryKind, Writer};
use std::path::Path;

pub(crate) const ENTRY: Entry = Entry {
    name: "context export",
    aliases: &[],
    usage: "[OPTIONS] CONTEXT [FILE|-]",
    count: Count::Range(1, 2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Export a context to a tar archive FILE or a tar stream on STDOUT.
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Name
    name: String,
    /// The file, or `-` for standard output
    file: Option<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let found = get(context, &arguments.name)?;
    let archive = archive(&found)?;
    let path = arguments.file.unwrap_or_else(|| format!("{}.dockercontext", arguments.name));
    if path == "-" {
        if context.ui.is_terminal {
            return Err(CliError::said(
                "cowardly refusing to export to a terminal, please specify a file path",
            ));
        }
        context.ui.data(&archive)?;
        return Ok(0);
    }
    if Path::new(&path).exists() {
        return Err(CliError::said(format!("open {path}: file exists")));
    }
    // It may hold a private key.
    corten_std::file::write_atomic(&path, &archive, corten_std::file::Durability::Disk)?;
    context.ui.note(format!("Written file \"{path}\""));
    Ok(0)
}

/// The document and the files for TLS, as Docker's `import` reads them.
fn archive(found: &contexts::Context) -> Result<Vec<u8>> {
    let failed = |error| CliError::said(format!("making the archive: {}", corten_std::chain(&error)));
    let mut writer = Writer::new(Vec::new());
    let file = |name: String, content: &[u8], mode| TarEntry {
        path: name.into(),
        kind: EntryKind::File,
        mode,
        size: content.len() as u64,
        ..TarEntry::default()
    };
    let folder = |name: &str| TarEntry {
        path: name.into(),
        kind: EntryKind::Directory,
        mode: 0o700,
        ..TarEntry::default()
    };
    let document = found.document().to_string();
    writer
        .append(&file("meta.json".to_owned(), document.as_bytes(), 0o644), document.as_bytes())
        .map_err(failed)?;
    writer.append(&folder("tls"), &[]).map_err(failed)?;
    if !found.tls.is_empty() {
        writer.append(&folder("tls/docker"), &[]).map_err(failed)?;
    }
    for (name, content) in &found.tls {
        writer.append(&file(format!("tls/docker/{name}"), content, 0o600), content).map_err(failed)?;
    }
    writer.finish().map_err(failed)
}
