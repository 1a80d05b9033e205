//! `image send`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::progress::{self, Where};
use corten_client::{Client, Filters};
use corten_oci::image::chain_ids;
use corten_oci::{Digest, Platform};
use corten_std::size;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{self, Read};

pub(crate) const ENTRY: Entry = Entry {
    name: "image send",
    aliases: &[],
    usage: "[OPTIONS] HOST IMAGE [IMAGE...]",
    count: Count::Min(2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Send images to the daemon of another machine, without the layers that it has
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Send only what is for this platform (one of several)
    #[arg(long, value_name = "list")]
    platform: Vec<String>,
    /// Suppress the progress of the other side
    #[arg(short, long)]
    quiet: bool,
    /// The machine (`[user@]host[:port]` by ssh, or any address of a daemon), and the images
    words: Vec<String>,
}

/// Counts what is read.
struct Counted<R> {
    input: R,
    length: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.length += length as u64;
        Ok(length)
    }
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let Some((host, images)) = arguments.words.split_first() else { return Ok(0) };
    let host = if host.contains("://") { host.clone() } else { format!("ssh://{host}") };
    let platforms = arguments.platform.iter().map(|text| Platform::parse(text));
    let platforms: Vec<Platform> =
        platforms.collect::<Result<_, _>>().map_err(|error| CliError::said(error.to_string()))?;
    let local = context.client()?;
    // A missing image is told before the other side is asked for anything.
    for image in images {
        local.image_inspect(image, None)?;
    }
    let remote = context.client_at(&host)?;
    let (without, chains) = match remote.image_inventory()? {
        Some(all) => (all, BTreeSet::new()),
        None => (Vec::new(), stacks(context, &remote)?),
    };
    let document =
        json!({"Names": images, "Platforms": platforms, "Without": without, "WithoutStacks": chains});
    let mut bundle = Counted { input: local.image_bundle(&document)?, length: 0 };
    let reply = remote.image_load(&mut bundle, arguments.quiet || !context.ui.is_terminal, None)?;
    progress::show(context, reply, if arguments.quiet { Where::Nowhere } else { Where::Output })?;
    context.ui.line(format!("Sent {} to {host}", size::human(bundle.length as f64)))?;
    Ok(0)
}

/// The stacks of layers that a Docker has, by their chain IDs: with them it needs no archive of a layer.
fn stacks(context: &mut Context, remote: &Client) -> Result<BTreeSet<Digest>> {
    let info = remote.info()?;
    let status = info["DriverStatus"].to_string();
    if status.contains("io.containerd.snapshotter") {
        // That store takes whole archives only.
        context.ui.note("The other side keeps images in containerd's store: all layers are sent");
        return Ok(BTreeSet::new());
    }
    let mut all = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for image in remote.image_list(true, &Filters::default())? {
        if !seen.insert(image.id.clone()) {
            continue;
        }
        let about = remote.image_inspect(&image.id, None)?;
        let layers = about["RootFS"]["Layers"].as_array().into_iter().flatten();
        let layers = layers.filter_map(|layer| Digest::parse(layer.as_str()?).ok());
        all.extend(chain_ids(&layers.collect::<Vec<_>>()));
    }
    Ok(all)
}
