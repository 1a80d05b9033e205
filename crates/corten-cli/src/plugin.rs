//! CLI plugins, both ways: programs named `docker-NAME` that add a command `NAME` (Compose, buildx), and this program
//! as one of them, under the name `docker-corten`. Docker's protocol: `NAME docker-cli-plugin-metadata` tells what the
//! plugin is; a command is run with the words of the whole command line.

mod remembered;

use self::remembered::Remembered;
use crate::context::Context;
use crate::error::{CliError, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The word by which a plugin is asked what it is.
pub(crate) const METADATA: &str = "docker-cli-plugin-metadata";

/// How a plugin's file name begins.
const PREFIX: &str = "docker-";

/// Where plugins of the whole machine lie, the first found counts.
const SYSTEM_FOLDERS: &[&str] = &[
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// The variable that tells a plugin what it was started by.
const ORIGINAL: &str = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND";

/// What a plugin says of itself.
#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(rename = "SchemaVersion", default)]
    schema: String,
    #[serde(rename = "Vendor", default)]
    vendor: String,
    #[serde(rename = "ShortDescription", default)]
    about: String,
    #[serde(rename = "Hidden", default)]
    hidden: bool,
}

fn folders(context: &mut Context) -> Vec<PathBuf> {
    let configuration = context.configuration();
    let extra = configuration.plugin_folders.iter().map(PathBuf::from);
    let own = std::iter::once(context.folder().join("cli-plugins"));
    extra.chain(own).chain(SYSTEM_FOLDERS.iter().map(PathBuf::from)).collect()
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_')
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// Replaces this process by the plugin for `name`, where there is one; `words` are all of the command line.
pub(crate) fn run(context: &mut Context, name: &str, words: &[OsString]) -> Result<()> {
    if !is_name(name) {
        return Ok(());
    }
    let candidates = folders(context).into_iter().map(|folder| folder.join(format!("{PREFIX}{name}")));
    let Some(program) = candidates.into_iter().find(|path| is_program(path)) else { return Ok(()) };
    let mut command = Command::new(&program);
    command.args(words);
    command.env(ORIGINAL, std::env::args_os().next().unwrap_or_else(|| context.program.clone().into()));
    let client = context.client()?;
    if client.target().own {
        // A plugin looks for Docker's own socket, and starts no daemon.
        client.get::<serde_json::Value>("/version", &corten_client::Query::new())?;
        command.env(crate::environment::HOST, client.target().endpoint.to_string());
    }
    let error = command.exec();
    Err(CliError::said(format!("the plugin {} cannot be started: {error}", program.display())))
}

/// The plugins that say what they are, with their texts, by name.
pub(crate) fn list(context: &mut Context) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut remembered = Remembered::open();
    for folder in folders(context) {
        for file in corten_std::file::list(&folder).unwrap_or_default() {
            let Some(name) = file.to_str().and_then(|file| file.strip_prefix(PREFIX)) else { continue };
            if !is_name(name) || found.contains_key(name) || !is_program(&folder.join(&file)) {
                continue;
            }
            if let Some(about) = remembered.answer(&folder.join(&file), ask) {
                found.insert(name.to_owned(), about);
            }
        }
    }
    remembered.keep();
    found.retain(|_, about| !about.is_empty());
    found
}

/// A plugin's text; empty for one that does not want to be shown, none for what is no plugin.
fn ask(program: &Path) -> Option<String> {
    let output =
        Command::new(program).arg(METADATA).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let metadata: Metadata = serde_json::from_slice(&output.stdout).ok()?;
    let fits = metadata.schema.starts_with("0.") && !metadata.vendor.is_empty();
    fits.then(|| if metadata.hidden { String::new() } else { metadata.about })
}

/// What this program says when it is asked as a plugin.
pub(crate) fn own_metadata() -> String {
    serde_json::json!({
        "SchemaVersion": "0.1.0",
        "Vendor": "Corten",
        "Version": env!("CARGO_PKG_VERSION"),
        "ShortDescription": "Corten's own command line",
    })
    .to_string()
}

/// Called as the plugin `docker-NAME`: the word `NAME`, which stands behind the global options, is left out.
pub(crate) fn without_own_name(program: &str, words: &mut Vec<OsString>, command_at: usize) {
    if let Some(name) = program.strip_prefix(PREFIX)
        && words.get(command_at).is_some_and(|word| word == name)
    {
        words.remove(command_at);
    }
}
