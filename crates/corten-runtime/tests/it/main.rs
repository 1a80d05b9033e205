//! Containers looked at from inside and outside, with the kernel's own eyes.
//!
//! This program is three things. Started by cargo it runs the tests below, each in a process of its own,
//! because
//! `launch` needs a caller with one thread. Inside a container it is the [`probe`], which does what its
//! arguments say and prints what it sees. As `/sbin/docker-init` it is the role of `--init`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test program talks to whoever runs it")]

mod cgroups;
mod containers;
mod cve;
mod execs;
mod hostile;
mod probe;
mod support;
mod users;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use corten_sys::process::{self, Exit, Fork};

/// A test's name and body.
type Test = (&'static str, fn());

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.first().map(String::as_str) {
        Some("/sbin/docker-init") => {
            let command = std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
            process::exit_now(corten_runtime::container_init::run(command, std::env::vars_os().collect()));
        }
        Some(cve::program::LAUNCHER) => process::exit_now(cve::program::launch_and_end()),
        Some(cve::program::ITSELF) => process::exit_now(cve::program::keep_and_wait()),
        Some(name) if name.ends_with("probe") => process::exit_now(probe::run(&arguments[1..])),
        _ => {}
    }
    let filters: Vec<&String> = arguments.iter().skip(1).filter(|word| !word.starts_with('-')).collect();
    if arguments.iter().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    if !corten_testing::need_root() {
        return ExitCode::SUCCESS;
    }
    let mut groups = vec![containers::TESTS, hostile::TESTS, execs::TESTS, cgroups::TESTS, users::TESTS];
    groups.extend(cve::TESTS);
    let mut failed = Vec::new();
    let mut passed = 0;
    for (name, body) in groups.into_iter().flatten() {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        if run_alone(*body) {
            println!("test {name} ... ok");
            passed += 1;
        } else {
            println!("test {name} ... FAILED");
            failed.push(*name);
        }
    }
    support::remove_parent();
    println!("\n{passed} passed; {} failed {failed:?}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a test in a process of its own, so that one's panic, namespaces and children do not touch the next.
fn run_alone(body: fn()) -> bool {
    match process::fork().expect("a process for the test") {
        Fork::Child => {
            let outcome = catch_unwind(AssertUnwindSafe(body));
            support::clean_up();
            process::exit_now(i32::from(outcome.is_err()));
        }
        Fork::Parent(child) => process::wait(child.pid).expect("the test ends") == Exit::Code(0),
    }
}
