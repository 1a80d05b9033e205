//! The command line from the outside, against a daemon of a few lines.
//!
//! The program under test is this test program itself: started again with the words in a variable, it becomes the
//! command line (see [`become_the_command_line`]).

mod artifact;
mod daemon;
mod install;
mod manifest;
mod reference;
mod stories;

use std::process::{Command, ExitCode, Stdio};

const WORDS: &str = "CORTEN_CLI_TEST_WORDS";
const MARK: &str = "\u{1f}";

/// Not a test where the variable is not set; the command line where it is.
#[test]
fn become_the_command_line() {
    let Ok(words) = std::env::var(WORDS) else { return };
    let arguments = words.split(MARK).map(Into::into).collect();
    let code = corten_cli::run(arguments);
    let code = (0..=255_u8).find(|number| ExitCode::from(*number) == code).unwrap_or(254);
    std::process::exit(code.into());
}

/// What a command printed, and its exit code.
#[derive(Debug, PartialEq, Eq)]
struct Output {
    out: String,
    err: String,
    code: i32,
}

/// The command line, ready to run in a sealed home.
fn command(socket: &std::path::Path, words: &[&str]) -> Command {
    let mut all = vec!["docker"];
    all.extend(words);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "become_the_command_line", "--nocapture", "--test-threads=1", "-q"])
        .env_clear()
        .env("HOME", socket.parent().unwrap())
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .env(WORDS, all.join(MARK))
        .stdin(Stdio::null());
    command
}

fn run(socket: &std::path::Path, words: &[&str]) -> Output {
    output(command(socket, words).output().unwrap())
}

/// Without what the test harness prints before.
fn output(output: std::process::Output) -> Output {
    let out = String::from_utf8(output.stdout).unwrap();
    let out = out.strip_prefix("\nrunning 1 test\n").unwrap_or(&out).to_owned();
    Output { out, err: String::from_utf8(output.stderr).unwrap(), code: output.status.code().unwrap_or(-1) }
}
