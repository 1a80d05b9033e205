//! The runtime alone: an OCI runtime with runc's commands, flags and texts, for Podman, containerd and whoever
//! else drives one.
//!
//! One call is one short-lived process with one thread. What it knows of a container between calls is a folder
//! below `--root` ([`state`]); the container's process waits between `create` and `start` at a gate there.
//!
//! | module | |
//! | --- | --- |
//! | [`arguments`] | words to values, by a table of each command's flags |
//! | [`bundle`] | the runtime document of a bundle, read and checked |
//! | [`state`] | the folder of a container, and how the container stands |
//! | [`command`] | one file per command |
//! | [`rootless`] | becoming root of a container's user namespace, for who is not root |
//! | [`failure`], [`log`] | what went wrong, told on standard error and in the log file as runc does |

#![expect(clippy::print_stdout, reason = "the commands' output; an edge")]

mod arguments;
mod bundle;
mod command;
mod console;
mod failure;
mod foreground;
mod hooks;
mod log;
mod protect;
mod rootless;
mod start;
mod state;

use std::ffi::OsString;
use std::fmt::Write;
use std::process::ExitCode;

use arguments::{Arguments, Flag, Kind};
use state::Root;

/// The names under which the program is this role.
pub const NAMES: [&str; 2] = ["corten-oci", "runc"];

/// What every command is given.
struct Context {
    /// The folder of all containers.
    root: Root,
    /// `--systemd-cgroup`.
    systemd_cgroup: bool,
    /// A cgroup that cannot be had is done without, where nothing was asked for.
    leaves_cgroups: bool,
    log: log::Log,
}

const GLOBAL: &[Flag] = &[
    Flag::new("root", Kind::Value, "folder of the containers' state"),
    Flag::new("log", Kind::Value, "file that takes errors"),
    Flag::new("log-format", Kind::Value, "text (the default) or json"),
    Flag::new("debug", Kind::Switch, "passed over: the log tells errors and warnings"),
    Flag::new(
        "systemd-cgroup",
        Kind::Switch,
        "systemd makes the cgroup, a scope unit named by cgroupsPath slice:prefix:name",
    ),
    Flag::new("rootless", Kind::Value, "auto, true or false: do without a cgroup that we may not make"),
    Flag::new("criu", Kind::Value, "passed over"),
    Flag::new("version", Kind::Switch, "print the version").short('v'),
    Flag::new("help", Kind::Switch, "print this").short('h'),
];

/// Runs the role; `words` are the arguments behind its name.
pub fn run(words: &[OsString]) -> ExitCode {
    let (globals, rest) = match Arguments::parse_leading(GLOBAL, words) {
        Ok(parsed) => parsed,
        Err(message) => return usage(&message),
    };
    if globals.is_set("version") {
        return version();
    }
    let Some((name, rest)) = rest.split_first().filter(|_| !globals.is_set("help")) else {
        print!("{}", help());
        return ExitCode::SUCCESS;
    };
    let Some(command) = command::find(&name.to_string_lossy()) else {
        if name == "help" {
            print!("{}", help());
            return ExitCode::SUCCESS;
        }
        return usage(&format!("No help topic for '{}'", name.to_string_lossy()));
    };
    let arguments = match Arguments::parse(command.flags, rest) {
        Ok(arguments) if arguments.is_set("help") => {
            print!("{}", command_help(command));
            return ExitCode::SUCCESS;
        }
        Ok(arguments) => arguments,
        Err(message) => return usage(&message),
    };
    let log = log::Log::new(globals.value("log"), globals.value("log-format"));
    let outcome = log.check().and_then(|()| {
        let root = globals.value("root").map_or_else(state::default_root, Into::into);
        let mut context = Context {
            root: Root::new(root),
            systemd_cgroup: globals.is_set("systemd-cgroup"),
            leaves_cgroups: rootless::leaves_cgroups(globals.value("rootless"))?,
            log: log.clone(),
        };
        if command.makes_processes {
            protect::protect_program();
        }
        (command.run)(&mut context, &arguments)
    });
    match outcome {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(failure) => {
            log.error(&failure.to_string());
            ExitCode::from(failure.code)
        }
    }
}

/// A mistake in the words of the call.
fn usage(message: &str) -> ExitCode {
    log::Log::default().error(message);
    ExitCode::FAILURE
}

fn version() -> ExitCode {
    let program = env!("CARGO_PKG_VERSION");
    println!("corten-oci version {program}\nspec: {}", corten_oci::runtime::VERSION);
    ExitCode::SUCCESS
}

fn help() -> String {
    let mut text = "An OCI runtime: runs a container from a bundle, a folder with a root filesystem and a config.json.\n\n\
                    Usage:  corten oci [OPTIONS] COMMAND\n\nCommands:\n"
        .to_owned();
    for command in command::COMMANDS {
        let _ = writeln!(text, "  {:<10}  {}", command.name, command.about);
    }
    text.push_str("\nOptions:\n");
    text.push_str(&arguments::table(GLOBAL));
    text
}

fn command_help(command: &command::Command) -> String {
    let mut text = format!(
        "{}\n\nUsage:  corten oci {} [OPTIONS] {}\n",
        command.about, command.name, command.positional
    );
    text.push_str("\nOptions:\n");
    text.push_str(&arguments::table(command.flags));
    text
}
