//! `logout`.

use super::login::key_of;
use crate::context::Context;
use crate::credentials;
use crate::entry::{Count, Entry};
use crate::error::Result;

pub(crate) const ENTRY: Entry = Entry {
    name: "logout",
    aliases: &[],
    usage: "[SERVER]",
    count: Count::Max(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Log out from a registry
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Registry
    server: Option<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let key = key_of(arguments.server.as_deref());
    if credentials::erase(context, &key)? {
        context.ui.line(format!("Removing login credentials for {key}"))?;
    } else {
        context.ui.line(format!("Not logged in to {key}"))?;
    }
    Ok(0)
}
