//! The command line: one file per command, formats and tables.
//!
//! [`run`] is all that the program needs. The path of a command: `invocation` takes the global options and finds the
//! entry in `command::ENTRIES`; `entry` splits the words and fills the command's argument struct; the command's `run`
//! resolves them against files and environment, talks to the daemon through `corten-client`, and prints through
//! `ui::Ui`. What no daemon holds (lists of manifests, artifacts) goes straight to registries (`registry`). Failures are `error::CliError`, which alone knows exit codes and how errors are worded.
//!
//! No thread is started and no daemon is asked for what is not needed: a command should cost a millisecond or two.

mod command;
mod completion;
mod configuration;
mod context;
mod credentials;
mod entry;
mod environment;
mod error;
mod flags;
mod format;
mod help;
mod id_file;
mod install;
mod invocation;
mod landing;
mod nearest;
mod plugin;
mod progress;
mod reference;
mod registry;
mod session;
mod tar;
mod terminal;
mod time;
mod ui;

use std::ffi::OsString;
use std::process::ExitCode;

/// The reference page of all commands, as Markdown.
pub fn reference() -> String {
    reference::page()
}

/// Runs the command line; `arguments` are those of the process, its name first.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    ExitCode::from(invocation::run(arguments))
}
