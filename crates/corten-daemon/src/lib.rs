//! The daemon role: reads settings, builds the parts, joins them, serves; nothing else.
//!
//! Two roles live here, both reading the same arguments: [`run_keeper`] (`corten daemon`) binds the sockets and becomes
//! the keeper; [`run_daemon`] (`daemon-main`, started by the keeper) opens store, network and engine and serves the API.

mod activation;
mod daemon_role;
mod keeper_role;
mod settings;
mod traces;
mod users;

pub use settings::{Host, Settings, SettingsError};

use corten_std::Classified;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// The environment variables that move the default folders, for tests and for several daemons side by side.
const DATA_ROOT: &str = "CORTEN_DATA_ROOT";
const EXEC_ROOT: &str = "CORTEN_EXEC_ROOT";

/// `corten daemon ARGUMENT…`: stays until it is told to end.
pub fn run_keeper(arguments: &[OsString]) -> ExitCode {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        let _ = std::io::stdout().write_all(settings::help().as_bytes());
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--version" || argument == "-v") {
        let _ = writeln!(std::io::stdout(), "Corten version {}, build corten", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let outcome = read_settings(arguments).and_then(|settings| keeper_role::run(&settings, arguments));
    finish(outcome.map(|never| match never {}))
}

/// The role of a keeper that follows a killed one, or an upgraded one.
pub fn resume_keeper() -> ExitCode {
    finish(corten_keeper::resume().map_err(|error| told(&error)))
}

/// `daemon-main ARGUMENT…`, under a keeper.
pub fn run_daemon(arguments: &[OsString]) -> ExitCode {
    let reread = {
        let arguments = arguments.to_vec();
        move || read_settings(&arguments)
    };
    finish(read_settings(arguments).and_then(|settings| daemon_role::run(settings, reread).map(|()| 0)))
}

fn read_settings(arguments: &[OsString]) -> Result<Settings, String> {
    let folder = |name: &str, default: std::path::PathBuf| std::env::var_os(name).map_or(default, Into::into);
    let default = corten_std::Paths::default();
    let paths =
        corten_std::Paths::new(folder(DATA_ROOT, default.data_root), folder(EXEC_ROOT, default.exec_root));
    Settings::parse(paths, arguments.iter().cloned())
        .map_err(|error| format!("{error}\nSee 'corten daemon --help'."))
}

/// A failure with its causes and what can be done about it, in one line.
pub(crate) fn told(error: &(impl Classified + 'static)) -> String {
    let text = corten_std::chain(error);
    match error.hint() {
        Some(hint) => format!("{text}; {hint}"),
        None => text,
    }
}

/// Ends a role: its exit code, or the one line that says why it could not begin.
fn finish(outcome: Result<i32, String>) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "corten daemon: {message}");
            ExitCode::FAILURE
        }
    }
}
