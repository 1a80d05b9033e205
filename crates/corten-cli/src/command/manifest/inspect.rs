//! `manifest inspect`.

use super::store::{Lists, Stored, indented};
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_oci::Reference;
use corten_oci::image::media_type;

pub(crate) const ENTRY: Entry = Entry {
    name: "manifest inspect",
    aliases: &[],
    usage: "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    count: Count::Range(1, 2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Display an image manifest, or manifest list
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Output additional info including layers and platform
    #[arg(short, long)]
    verbose: bool,
    /// The list, where one of its manifests is meant, and the manifest
    names: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let lists = Lists::new(context.folder());
    let verbose = arguments.verbose;
    let name = super::parse(arguments.names.last().map_or("", String::as_str))?;
    if let [list, _] = &arguments.names[..] {
        let list = super::parse(list)?;
        return print_one(context, &lists.get(&list, &name)?, verbose);
    }
    if let Some(all) = lists.find_all(&name)? {
        return print_list(context, &name, &all, verbose);
    }
    let mut access = super::access(arguments.insecure, &[&name])?;
    let (repository, document) = super::read(&mut access, context, &name)?;
    if media_type::is_index(&document.descriptor.media_type) {
        let all = super::listed(&access, &repository, &name, &document)?;
        return print_list(context, &name, &all, verbose);
    }
    if !verbose {
        return print_raw(context, &document.bytes);
    }
    let one = super::described(&access, &repository, &name, &document)?;
    print_one(context, &one, verbose)
}

fn print_raw(context: &mut Context, bytes: &[u8]) -> Result<u8> {
    context.ui.line(indented(&String::from_utf8_lossy(bytes), "\t"))?;
    Ok(0)
}

fn print_one(context: &mut Context, one: &Stored, verbose: bool) -> Result<u8> {
    if verbose {
        context.ui.line(indented(&super::text_of(one)?, "\t"))?;
        return Ok(0);
    }
    let kept = one.docker.as_ref().or(one.oci.as_ref());
    match (STANDARD.decode(&one.raw), kept) {
        (Ok(bytes), _) if !bytes.is_empty() => print_raw(context, &bytes),
        (_, Some(text)) => print_raw(context, text.get().as_bytes()),
        _ => Err(CliError::said(format!("{} has no payload", one.name))),
    }
}

fn print_list(context: &mut Context, name: &Reference, all: &[Stored], verbose: bool) -> Result<u8> {
    let text = if verbose {
        indented(&super::text_of(&all)?, "\t")
    } else {
        let (_, bytes) = super::assemble(name, all).map_err(|error| {
            CliError::said(format!("failed to assemble ManifestDescriptor: {}", error.text()))
        })?;
        String::from_utf8_lossy(&bytes).into_owned()
    };
    context.ui.line(text)?;
    Ok(0)
}
