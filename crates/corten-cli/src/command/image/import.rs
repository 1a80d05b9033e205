//! `import`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use corten_client::Query;

pub(crate) const ENTRY: Entry = Entry {
    name: "image import",
    aliases: &["import"],
    usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    count: Count::Range(1, 2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Import the contents from a tarball to create a filesystem image
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long)]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long, value_name = "string")]
    message: Option<String>,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// File, address, or - for standard input
    source: String,
    /// Name of the image
    reference: Option<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let is_address = ["http://", "https://"].iter().any(|scheme| arguments.source.starts_with(scheme));
    let mut query = Query::new()
        .with("fromSrc", if is_address { arguments.source.as_str() } else { "-" })
        .maybe("repo", arguments.reference.as_deref())
        .maybe("message", arguments.message.as_deref())
        .maybe("platform", arguments.platform.as_deref());
    for change in &arguments.change {
        query = query.with("changes", change);
    }
    let client = context.client()?;
    let reply = if is_address {
        client.image_import(&query, None)?
    } else if arguments.source == "-" {
        client.image_import(&query, Some(&mut std::io::stdin()))?
    } else {
        client.image_import(&query, Some(&mut super::load::open(&arguments.source)?))?
    };
    crate::progress::show(context, reply, crate::progress::Where::Output)?;
    Ok(0)
}
