//! What needs a registry or the builder, which are not there yet: said in one line.

use crate::context::Context;
use crate::entry::{Count, Entry, Words};
use crate::error::{CliError, Result};

pub(crate) const PULL: Entry = Entry {
    name: "image pull",
    aliases: &["pull"],
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    count: Count::Any,
    mixed: true,
    command: <Pull as clap::CommandFactory>::command,
    run,
};
pub(crate) const PUSH: Entry = Entry {
    name: "image push",
    aliases: &["push"],
    usage: "[OPTIONS] NAME[:TAG]",
    count: Count::Any,
    mixed: true,
    command: <Push as clap::CommandFactory>::command,
    run,
};
pub(crate) const BUILD: Entry = Entry {
    name: "image build",
    aliases: &["build", "builder build"],
    usage: "[OPTIONS] PATH | URL | -",
    count: Count::Any,
    mixed: true,
    command: <Build as clap::CommandFactory>::command,
    run,
};
pub(crate) const LOGIN: Entry = Entry {
    name: "login",
    aliases: &[],
    usage: "[OPTIONS] [SERVER]",
    count: Count::Any,
    mixed: true,
    command: <Login as clap::CommandFactory>::command,
    run,
};
pub(crate) const LOGOUT: Entry = Entry {
    name: "logout",
    aliases: &[],
    usage: "[SERVER]",
    count: Count::Any,
    mixed: true,
    command: <Logout as clap::CommandFactory>::command,
    run,
};
pub(crate) const SEARCH: Entry = Entry {
    name: "search",
    aliases: &[],
    usage: "[OPTIONS] TERM",
    count: Count::Any,
    mixed: true,
    command: <Search as clap::CommandFactory>::command,
    run,
};

/// Download an image from a registry (not built yet)
#[derive(Debug, clap::Parser)]
struct Pull {}
/// Upload an image to a registry (not built yet)
#[derive(Debug, clap::Parser)]
struct Push {}
/// Build an image from a Dockerfile (not built yet)
#[derive(Debug, clap::Parser)]
struct Build {}
/// Authenticate to a registry (not built yet)
#[derive(Debug, clap::Parser)]
struct Login {}
/// Log out from a registry (not built yet)
#[derive(Debug, clap::Parser)]
struct Logout {}
/// Search registries for images (not built yet)
#[derive(Debug, clap::Parser)]
struct Search {}

fn run(context: &mut Context, words: Words<'_>) -> Result<u8> {
    let name = words.entry.aliases.first().unwrap_or(&words.entry.name);
    Err(CliError::said(text(&context.program, name)))
}

/// The line.
pub(crate) fn text(program: &str, what: &str) -> String {
    let instead = match what {
        "login" | "logout" | "search" => "no registry can be reached".to_owned(),
        "push" => format!("take images elsewhere with '{program} save -o FILE IMAGE'"),
        _ => format!("bring images with '{program} load -i FILE'"),
    };
    format!("{program}: '{what}' is not built yet: {instead}")
}
