//! `image bundle`.

use crate::command::archive::Target;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use corten_oci::{Digest, Platform};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};

pub(crate) const ENTRY: Entry = Entry {
    name: "image bundle",
    aliases: &[],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    count: Count::Any,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Save images with all that is said about them for a machine without a registry
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Print what is here, for `--since` of a bundle that is made elsewhere for this machine
    #[arg(long)]
    inventory: bool,
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<String>,
    /// Bundle only what is for this platform (one of several)
    #[arg(long, value_name = "list")]
    platform: Vec<String>,
    /// Leave out layers that an earlier bundle has, or that an inventory names
    #[arg(long, value_name = "list")]
    since: Vec<String>,
    /// Images
    images: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    if arguments.inventory {
        let all = context.client()?.image_inventory()?;
        let all =
            all.ok_or_else(|| CliError::said("this daemon has no inventory: it is not one of Corten's"))?;
        for digest in all {
            context.ui.line(digest)?;
        }
        return Ok(0);
    }
    if arguments.images.is_empty() {
        return Err(CliError::said("name the images that go into the bundle"));
    }
    let platforms = arguments.platform.iter().map(|text| Platform::parse(text));
    let platforms: Vec<Platform> =
        platforms.collect::<Result<_, _>>().map_err(|error| CliError::said(error.to_string()))?;
    let mut without = BTreeSet::new();
    for path in &arguments.since {
        without.extend(known(path)?);
    }
    let document = json!({"Names": arguments.images, "Platforms": platforms, "Without": without});
    let mut target = Target::open(context, arguments.output.as_deref(), "bundle images")?;
    let reply = context.client()?.image_bundle(&document)?;
    target.receive(context, reply)?;
    Ok(0)
}

/// What a file says that the other side has: the blobs of an archive, or the lines of an inventory.
fn known(path: &str) -> Result<Vec<Digest>> {
    let wrong = |what: String| {
        CliError::said(format!(
            "{path} is neither a bundle nor an inventory (`image bundle --inventory`): {what}"
        ))
    };
    let mut file = BufReader::new(super::load::open(path)?);
    let head = file.fill_buf().map_err(|error| wrong(error.to_string()))?;
    if head.starts_with(b"sha256:") || head.starts_with(b"sha512:") {
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
        let lines = text.lines().map(|line| Digest::parse(line.trim()));
        return lines.collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()));
    }
    let plain = corten_layer::decompress(file).map_err(|error| wrong(corten_std::chain(&error)))?;
    let mut archive = corten_layer::tar::Reader::new(plain);
    let mut all = Vec::new();
    while let Some(entry) = archive.next_entry().map_err(|error| wrong(corten_std::chain(&error)))? {
        let path = String::from_utf8_lossy(&entry.path);
        all.extend(Digest::of_blob_path(&path).and_then(Result::ok));
    }
    if all.is_empty() { Err(wrong("it has no blobs".to_owned())) } else { Ok(all) }
}
