//! `cargo xtask fuzz`: feeds the targets of `corten-fuzzing`, by its own driver or by libFuzzer.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What the compiler is told so that the fuzzer sees which code an input reaches. A stable compiler takes it.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// What was asked.
#[derive(Debug)]
pub(crate) struct Settings {
    targets: Vec<String>,
    seconds: String,
    guided: bool,
}

impl Settings {
    /// Reads the words behind `fuzz`.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self { targets: Vec::new(), seconds: "60".to_owned(), guided: false };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seconds" => settings.seconds = arguments.next().ok_or("--seconds takes a number")?,
                "--guided" => settings.guided = true,
                flag if flag.starts_with('-') => return Err(format!("unknown flag: {flag}")),
                _ => settings.targets.push(argument),
            }
        }
        Ok(settings)
    }
}

/// Does it; an error is also what was found.
pub(crate) fn run(settings: &Settings) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if settings.guided { guided(&root, settings) } else { plain(&root, settings) }
}

fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root);
    cargo
}

fn check(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

fn plain(root: &Path, settings: &Settings) -> Result<(), String> {
    let mut command = cargo(root);
    command.args(["run", "--quiet", "--package", "corten-fuzzing", "--bin", "corten-fuzz", "--"]);
    check(command.args(&settings.targets).args(["--seconds", &settings.seconds]))
}

/// libFuzzer's programs, each beginning with the kept examples and adding to a folder below `target/`.
fn guided(root: &Path, settings: &Settings) -> Result<(), String> {
    let corpus = root.join("fuzz/target/corpus");
    let mut examples = cargo(root);
    examples.args([
        "run",
        "--quiet",
        "--package",
        "corten-fuzzing",
        "--bin",
        "corten-fuzz",
        "--",
        "--examples",
    ]);
    check(examples.arg(&corpus))?;
    // The target is named, so that the flags do not reach what runs while building.
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = cargo(&root.join("fuzz"));
    build.args(["build", "--release", "--bins", "--target", &triple]).env("RUSTFLAGS", COVERAGE);
    check(&mut build)?;
    let mut targets: Vec<PathBuf> = settings.targets.iter().map(PathBuf::from).collect();
    if targets.is_empty() {
        let folders = std::fs::read_dir(&corpus).map_err(|error| error.to_string())?;
        targets = folders.flatten().map(|entry| PathBuf::from(entry.file_name())).collect();
        targets.sort();
    }
    let mut found = Vec::new();
    for target in targets {
        let mut fuzzer = Command::new(root.join("fuzz/target").join(&triple).join("release").join(&target));
        fuzzer
            .arg(corpus.join(&target))
            .args([&format!("-max_total_time={}", settings.seconds), "-timeout=5", "-verbosity=0"])
            .arg("-print_final_stats=1")
            .current_dir(root.join("fuzz"));
        found.extend(check(&mut fuzzer).err());
    }
    if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
}
