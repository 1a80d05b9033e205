//! `--init`: the role of our program as the container's first process.
//!
//! The first process of a pid namespace has two duties that ordinary programs neglect: it inherits every
//! orphan and must reap it, and signals without a handler do not reach it. So this role starts the command as
//! its child, passes every signal on to it, reaps whatever ends, and ends with the command's code.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use corten_sys::process::{self, StringVector};
use rustix::process::Signal;

/// Runs the role; `command` is what stood after `--`, the environment is this process's own. Returns the code
/// to exit with: that of the command, 128 + signal where it was killed, 127 where it is not there, 126 where
/// it cannot be executed.
///
/// The process must have a single thread.
pub fn run(command: Vec<OsString>, environment: Vec<(OsString, OsString)>) -> i32 {
    match start(command, environment) {
        Ok(child) => reap_until_ended(child),
        Err(message) => {
            complain(&message);
            1
        }
    }
}

fn start(command: Vec<OsString>, environment: Vec<(OsString, OsString)>) -> Result<i32, String> {
    // Blocked signals wait for us to pass them on; nothing is lost between here and the loop.
    process::block_all_signals().map_err(|error| format!("cannot block signals: {error}"))?;
    match process::fork_inside().map_err(|error| format!("cannot start the command: {error}"))? {
        Some(child) => Ok(child),
        None => process::exit_now(become_command(command, environment)),
    }
}

/// The child: a process group of its own in the terminal's foreground, signals as a program expects them.
/// Returns only with the code for a command that cannot be run.
fn become_command(command: Vec<OsString>, environment: Vec<(OsString, OsString)>) -> i32 {
    let _ = rustix::process::setpgid(None, None);
    let stdin = rustix::stdio::stdin();
    if rustix::termios::isatty(stdin) {
        // A background group that takes the terminal would be stopped by this signal; it is blocked here.
        let _ = rustix::termios::tcsetpgrp(stdin, rustix::process::getpgrp());
    }
    let _ = process::reset_signals();
    let Some(name) = command.first().cloned() else {
        complain("no command given");
        return 1;
    };
    let search = environment.iter().find(|(key, _)| key == "PATH").map(|(_, path)| path.clone());
    let strings =
        |list: Vec<Vec<u8>>| list.into_iter().filter_map(|bytes| CString::new(bytes).ok()).collect();
    let arguments = StringVector::new(strings(command.into_iter().map(OsString::into_vec).collect()));
    let environment = StringVector::new(strings(
        environment
            .into_iter()
            .map(|(key, value)| {
                let mut entry = key.into_vec();
                entry.push(b'=');
                entry.extend(value.into_vec());
                entry
            })
            .collect(),
    ));
    let error = execute(&name, search.unwrap_or_default(), &arguments, &environment);
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    complain(&format!("exec {} failed: {text}", name.to_string_lossy()));
    match error.kind() {
        std::io::ErrorKind::NotFound => 127,
        _ => 126,
    }
}

/// As `execvp`: a name without a slash is looked for in the folders of `PATH`. Returns why none could be
/// executed.
fn execute(
    name: &OsString,
    search: OsString,
    arguments: &StringVector,
    environment: &StringVector,
) -> std::io::Error {
    let run = |path: Vec<u8>| match CString::new(path) {
        Ok(path) => process::execute(&path, arguments, environment),
        Err(error) => error.into(),
    };
    if name.as_bytes().contains(&b'/') {
        return run(name.as_bytes().to_vec());
    }
    let mut worst = std::io::Error::from(rustix::io::Errno::NOENT);
    for folder in search.as_bytes().split(|byte| *byte == b':') {
        let folder = if folder.is_empty() { b"." } else { folder };
        let error = run([folder, b"/", name.as_bytes()].concat());
        // The one that is there and cannot be run says more than the many that are not.
        if !matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) {
            worst = error;
        }
    }
    worst
}

fn reap_until_ended(child: i32) -> i32 {
    loop {
        match process::wait_for_signal() {
            Ok(signal) if signal == Signal::CHILD.as_raw() => {
                let mut ended = None;
                while let Ok(Some((pid, exit))) = process::reap_any() {
                    if pid == child {
                        ended = Some(exit.shell_code());
                    }
                }
                if let Some(code) = ended {
                    // What is left dies with us: we are the first process.
                    return code;
                }
            }
            Ok(signal) => {
                // It may be gone this moment; then its end is what comes next.
                let _ = process::kill(child, signal);
            }
            Err(error) => {
                complain(&format!("cannot wait for signals: {error}"));
                return 1;
            }
        }
    }
}

fn complain(message: &str) {
    let line = format!("[docker-init] {message}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}
