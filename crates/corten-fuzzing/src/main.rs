//! Feeds targets with changed examples: `corten-fuzz [TARGET…] [--seconds N] [--seed N]`. Without a target all of them, so long each.
//!
//! What makes a target panic, or keeps it busy for more than two seconds, is written to `fuzz/found/TARGET-HASH`, and the
//! exit code is 1. With `--examples FOLDER` nothing is fed: every target's examples are written there.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use corten_fuzzing::mutate::{Random, change};
use corten_fuzzing::{TARGETS, Target, find};

/// One input may take so long.
const LONGEST: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let mut seconds = 60;
    let mut seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64);
    let mut targets: Vec<&Target> = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let understood = match argument.as_str() {
            "--seconds" => {
                arguments.next().and_then(|text| text.parse().ok()).map(|value| seconds = value).is_some()
            }
            "--examples" => {
                return match arguments.next().map(|folder| write_examples(Path::new(&folder))) {
                    Some(Ok(())) => ExitCode::SUCCESS,
                    _ => ExitCode::FAILURE,
                };
            }
            "--seed" => {
                arguments.next().and_then(|text| text.parse().ok()).map(|value| seed = value).is_some()
            }
            name => find(name).map(|target| targets.push(target)).is_some(),
        };
        if !understood {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            eprintln!("corten-fuzz [TARGET…] [--seconds N] [--seed N]\ntargets: {}", names.join(" "));
            return ExitCode::from(2);
        }
    }
    if targets.is_empty() {
        targets = TARGETS.iter().collect();
    }
    std::panic::set_hook(Box::new(|about| eprintln!("{about}")));
    let mut failed = false;
    for target in targets {
        match feed(target, Duration::from_secs(seconds), seed) {
            Ok(count) => println!("{}: {count} inputs in {seconds} s, seed {seed}", target.name),
            Err(found) => {
                eprintln!("{}: {}", target.name, found.display());
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Feeds one target for so long; how many inputs it took, or where the one is that it did not take.
fn feed(target: &Target, time: Duration, seed: u64) -> Result<u64, PathBuf> {
    let examples = target.examples();
    let mut random = Random::new(seed);
    let start = Instant::now();
    let mut count = 0;
    let mut next = examples.clone().into_iter();
    while start.elapsed() < time {
        let input = next.next().unwrap_or_else(|| {
            let mut input = examples[random.below(examples.len())].clone();
            change(&mut input, &examples, target.words, &mut random);
            input
        });
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        if outcome.is_err() || begun.elapsed() > LONGEST {
            return Err(keep(target, &input));
        }
        count += 1;
    }
    Ok(count)
}

fn keep(target: &Target, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/found");
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let path = folder.join(format!("{}-{hash:016x}", target.name));
    let _ = std::fs::create_dir_all(&folder);
    let _ = std::fs::write(&path, input);
    path
}

fn write_examples(folder: &Path) -> std::io::Result<()> {
    for target in TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (number, example) in target.examples().iter().enumerate() {
            std::fs::write(folder.join(format!("example-{number}")), example)?;
        }
    }
    Ok(())
}
