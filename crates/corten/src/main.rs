//! The program: picks the role by its first argument or its name; nothing else.
//!
//! A role that is not the daemon or the client never starts a runtime or a thread.

mod hello;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().map(|name| Path::new(name).file_name().unwrap_or_default().to_owned());
    match name.as_ref().and_then(|name| name.to_str()) {
        Some("hello") => return hello::run(),
        Some("docker-init") => return container_init(&arguments[1..]),
        Some(name) if corten_oci_cli::NAMES.contains(&name) => return corten_oci_cli::run(&arguments[1..]),
        _ => {}
    }
    match arguments.get(1).and_then(|role| role.to_str()) {
        Some("daemon") => corten_daemon::run_keeper(&arguments[2..]),
        Some("daemon-keeper") => corten_daemon::resume_keeper(),
        Some("daemon-main") => corten_daemon::run_daemon(&arguments[2..]),
        Some("oci") => corten_oci_cli::run(&arguments[2..]),
        Some("container-init") => container_init(&arguments[2..]),
        _ => corten_cli::run(arguments),
    }
}

/// The first process of a container that was started with `--init`; `-- COMMAND ARGUMENT…` follow.
fn container_init(arguments: &[OsString]) -> ExitCode {
    let command = arguments.iter().skip_while(|word| *word == "--" || *word == "-s").cloned().collect();
    let code = corten_runtime::container_init::run(command, std::env::vars_os().collect());
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
