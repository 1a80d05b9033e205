//! Tasks of the checkout: `cargo xtask bench`. The house rules are tests (`tests/it`), not tasks.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]

mod bench;
mod fuzz;
mod fuzz_api;
mod interrupt;
mod leftovers;
mod soak;

use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask bench [OPTIONS]
       cargo xtask fuzz [TARGET…] [--seconds N] [--guided]
       cargo xtask fuzz-api --corten PATH --archive FILE --description FILE [--minutes N] [--seed N]
       cargo xtask soak --corten PATH --archive FILE [--minutes N] [--kill-every SECONDS] [--clients N] [--seed N] [--pause MILLISECONDS]

fuzz feeds the parsers with changed examples, so long each (60); with --guided by libFuzzer, for which there must be a C++ compiler.

fuzz-api asks a scratch daemon what Docker's description of the Engine API makes possible, rightly and wrongly; a 5xx, an answer
that does not come, a dead daemon and what it holds more at the end are findings.

soak has eight clients do mixed work (120 minutes) while the daemon is killed every few minutes; a command that fails with no kill
near, and what the daemon holds more at the end, are findings. --pause is for between a client's commands, where the machine has other work too. Broken off by SIGINT or SIGTERM, both remove what they made.

bench times Corten and, where one is named, another engine in turn, A B A B …, and prints medians and ratios.

Options:
  --corten PATH        the program (default: target/*/release/corten)
  --docker PATH        the other engine's client (default: docker on PATH)
  --against ADDRESS    the other engine's socket, as in unix:///run/docker.sock
  --image NAME         an image with `true` and `sleep` that both engines have (default: busybox:latest)
  --archive FILE       image archive that is loaded into Corten's scratch daemon first, and into the other engine
  --load FILE          archive for a `load` row; can be given several times
  --registry PROGRAM   a registry's program for the rows of pull and push, as in docker-registry
  --testcontainers DIR a folder with testcontainers and node in its node_modules
  --runs N             runs of each command (default 15)
  --rows WORD,…        only rows whose name holds one of the words
  --json FILE          write the figures there too
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let outcome = match arguments.next().as_deref() {
        Some("bench") => bench::Settings::parse(arguments).and_then(|settings| bench::run(&settings)),
        Some("fuzz") => fuzz::Settings::parse(arguments).and_then(|settings| fuzz::run(&settings)),
        Some("fuzz-api") => {
            fuzz_api::Settings::parse(arguments).and_then(|settings| fuzz_api::run(&settings))
        }
        Some("soak") => soak::Settings::parse(arguments).and_then(|settings| soak::run(&settings)),
        // The bench's own other halves, inside a container's or the engine's network.
        Some("ask-names") => bench::names::load(),
        Some("serve-port") => bench::ports::serve(),
        Some("relay") => bench::relay::run(&arguments.collect::<Vec<_>>()),
        Some("ask-port") => bench::ports::ask(&arguments.collect::<Vec<_>>()),
        _ => {
            print!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
