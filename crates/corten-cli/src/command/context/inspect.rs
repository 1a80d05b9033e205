//! `context inspect`.

use super::{DEFAULT, get, store};
use crate::command::container::finish;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::format::{self, Kind, Template};
use serde_json::{Map, Value, json};

pub(crate) const ENTRY: Entry = Entry {
    name: "context inspect",
    aliases: &[],
    usage: "[OPTIONS] [CONTEXT] [CONTEXT...]",
    count: Count::Any,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Display detailed information on one or more contexts
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Format output: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Names; the current context where there is none
    names: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let format = arguments.format.as_deref().map(str::trim).filter(|format| !format.is_empty());
    if let Some(source) = format.filter(|format| *format != "json") {
        Template::compile(source)?;
    }
    let names =
        if arguments.names.is_empty() { vec![context.current_context()] } else { arguments.names.clone() };
    let (mut objects, mut errors) = (Vec::new(), Vec::new());
    for name in &names {
        match document(context, name) {
            Ok(document) => objects.push((Kind::Context, document)),
            Err(error) => errors.push(error),
        }
    }
    format::inspected(&mut context.ui, format, &objects)?;
    finish(context, &errors)
}

fn document(context: &mut Context, name: &str) -> Result<Value> {
    let found = get(context, name)?;
    let mut document = found.document();
    let files: Vec<&String> = found.tls.keys().collect();
    let mut material = Map::new();
    if !files.is_empty() {
        material.insert("docker".to_owned(), json!(files));
    }
    document["TLSMaterial"] = material.into();
    let (metadata, tls) = if name == DEFAULT {
        ("<IN MEMORY>".to_owned(), "<IN MEMORY>".to_owned())
    } else {
        let contexts = store(context);
        (
            contexts.metadata_folder(name).display().to_string(),
            contexts.tls_folder(name).display().to_string(),
        )
    };
    document["Storage"] = json!({ "MetadataPath": metadata, "TLSPath": tls });
    Ok(document)
}
