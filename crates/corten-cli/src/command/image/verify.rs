//! `image verify`.

use crate::context::Context;
use crate::credentials;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use corten_oci::Reference;
use corten_std::file;
use serde_json::json;

pub(crate) const ENTRY: Entry = Entry {
    name: "image verify",
    aliases: &[],
    usage: "[OPTIONS] IMAGE",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Check the signatures of an image, by the policy or by keys
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Public key of cosign that it must be signed with, instead of what the policy says (one of several)
    #[arg(short, long, value_name = "list")]
    key: Vec<String>,
    /// Image
    image: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let mut keys = Vec::new();
    for path in &arguments.key {
        let text = file::read_to_string(path).map_err(|error| CliError::open(path, &error))?;
        keys.push(json!({"Name": path, "Text": text}));
    }
    let header = match Reference::parse(&arguments.image) {
        Ok(name) => credentials::header_for(context, &name)?,
        Err(_) => String::new(),
    };
    let client = context.client()?;
    let verified = client.image_verify(&arguments.image, &json!({"Keys": keys}), &header)?;
    let text = |key: &str| verified[key].as_str().unwrap_or_default().to_owned();
    for line in verified["Met"].as_array().into_iter().flatten().filter_map(|line| line.as_str()) {
        context.ui.line(format!("{}: {line}", text("Name")))?;
    }
    context.ui.line(format!("Verified {}", text("Digest")))?;
    Ok(0)
}
