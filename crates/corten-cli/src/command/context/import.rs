//! `context import`.

use super::{check_name, store};
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use corten_client::contexts::{self, TLS_FILES};
use corten_layer::tar::{EntryKind, Reader};
use std::collections::BTreeMap;
use std::io::{self, Read};

pub(crate) const ENTRY: Entry = Entry {
    name: "context import",
    aliases: &[],
    usage: "CONTEXT FILE|-",
    count: Count::Exact(2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Import a context from a tar file
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Name
    name: String,
    /// The file, or `-` for standard input
    file: String,
}

/// As many bytes as an archive may have; a context has some thousands.
const MOST: u64 = 10 << 20;

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let name = &arguments.name;
    check_name(name)?;
    let contexts = store(context);
    if contexts.has(name) {
        return Err(CliError::said(format!("context \"{name}\" already exists")));
    }
    let imported = if arguments.file == "-" {
        read(name, io::stdin().lock())?
    } else {
        let path = &arguments.file;
        let file = corten_std::file::open(path).map_err(|error| CliError::open(path, &error))?;
        read(name, file)?
    };
    contexts.save(&imported)?;
    context.ui.line(name)?;
    context.ui.note(format!("Successfully imported context \"{name}\""));
    Ok(0)
}

/// Reads an archive; nothing but a context's own files is taken.
fn read(name: &str, archive: impl Read) -> Result<contexts::Context> {
    let bad = |why: String| CliError::said(format!("the archive is not one of a context: {why}"));
    let mut reader = Reader::new(archive.take(MOST));
    let (mut document, mut tls) = (None, BTreeMap::new());
    while let Some(entry) = reader.next_entry().map_err(|error| bad(corten_std::chain(&error)))? {
        let path = String::from_utf8_lossy(&entry.path).trim_end_matches('/').to_owned();
        if entry.kind == EntryKind::Directory && (path == "tls" || path.starts_with("tls/")) {
            continue;
        }
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map_err(|error| bad(format!("{path}: {error}")))?;
        match path.strip_prefix("tls/docker/") {
            _ if entry.kind != EntryKind::File => return Err(bad(format!("{path}: not a file"))),
            _ if path == "meta.json" => document = Some(content),
            Some(file) if TLS_FILES.contains(&file) => drop(tls.insert(file.to_owned(), content)),
            _ => return Err(bad(format!("{path}: unexpected"))),
        }
    }
    let document = document.ok_or_else(|| bad("it has no meta.json".to_owned()))?;
    let mut context = contexts::Context::parse(name, &document)
        .ok_or_else(|| bad("its meta.json is damaged".to_owned()))?;
    context.tls = tls;
    Ok(context)
}
