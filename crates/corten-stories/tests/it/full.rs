//! A disk that is full at every step of an image's way to and from other machines: a clear error, nothing half-made, and
//! with a little more space it works.

use crate::bundles::stand_in;
use crate::disk::{gzip, noise};
use crate::leftovers::Leftovers;
use crate::scarcity::{fill, seen, small};
use corten_testing::daemon::{Said, ScratchDaemon};
use corten_testing::fixture::{Entry, tar};
use corten_testing::registry::Registry;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of the large layer.
const LARGE: usize = 1 << 20;
/// So many steps of a few pages, where not even a file can be begun, before those of the size of content.
const FINE: u64 = 2;

/// One operation on the way, and what it did taken back.
struct Trial<'a> {
    name: &'static str,
    act: Box<dyn Fn() -> Said + 'a>,
    /// Looks at what it made, and takes it back.
    undo: Box<dyn Fn() + 'a>,
    /// Whether what came of a download may stay, to be gone on with.
    keeps_parts: bool,
}

fn add(registry: &Registry, repository: &str, pack: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let layers = [
        tar(&[Entry::Folder("d/", 0o755), Entry::File("d/large", 0o644, &noise(LARGE, 1))]),
        tar(&[Entry::File("d/small", 0o644, b"content")]),
    ];
    registry.add_tars(repository, "1", &layers, pack);
    format!("{}/{repository}:1", registry.host())
}

/// An image's files are what they should be.
fn check(daemon: &ScratchDaemon, image: &str) {
    daemon.ok(&["create", "--pull", "never", "--name", "look", image]);
    let into = daemon.folder().join("looked");
    for (file, wanted) in [("large", noise(LARGE, 1)), ("small", b"content".to_vec())] {
        daemon.ok(&["cp", &format!("look:/d/{file}"), text(&into)]);
        assert!(std::fs::read(&into).expect("a file") == wanted, "{image}: {file}");
    }
    daemon.ok(&["rm", "look"]);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

/// What there is below the data root besides what users see.
fn below(daemon: &ScratchDaemon, folder: &str) -> Vec<String> {
    let listed = std::fs::read_dir(daemon.data_root().join(folder)).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        listed.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

type State = ([String; 4], Vec<String>, usize, Vec<String>);

fn state(daemon: &ScratchDaemon, parts: bool) -> State {
    let ingest = if parts { Vec::new() } else { below(daemon, "ingest") };
    (seen(daemon), below(daemon, "tmp"), below(daemon, "snapshots/committed").len(), ingest)
}

/// What a removal left to the background is waited for.
fn settles(daemon: &ScratchDaemon, before: &State, parts: bool, when: &str) {
    let begun = Instant::now();
    loop {
        let now = state(daemon, parts);
        if now == *before {
            return;
        }
        assert!(
            begun.elapsed() < corten_testing::patience(10),
            "left {when}:\n{now:#?}\nbefore: {before:#?}\n{}",
            daemon.log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Tries with more and more space until it succeeds. Gives how often it failed.
fn climb(daemon: &ScratchDaemon, trial: &Trial<'_>) -> usize {
    let (name, parts) = (trial.name, trial.keeps_parts);
    let before = state(daemon, parts);
    let whole = state(daemon, false);
    let at_rest = Leftovers::at_rest(daemon);
    let process = daemon.daemon();
    for step in 0..60_u64 {
        let left = if step < FINE { step * (16 << 10) } else { (step - FINE + 1) * (256 << 10) };
        fill(daemon, left);
        let begun = Instant::now();
        let said = (trial.act)();
        let took = begun.elapsed();
        crate::scarcity::relieve(daemon);
        let when = format!("{name} with {left} bytes left: {said:?}");
        assert_eq!(daemon.daemon(), process, "the daemon lives: {when}");
        // Trying a full disk again and again helps nobody.
        assert!(took < corten_testing::patience(5), "{took:?}: {when}");
        if said.code == 0 {
            (trial.undo)();
            settles(daemon, &whole, false, &format!("after it was undone: {when}"));
            return step as usize;
        }
        assert!(
            said.err.to_lowercase().contains("no space left on device"),
            "says why: {when}\n{}",
            daemon.log()
        );
        settles(daemon, &before, parts, &when);
        Leftovers::settle(daemon, &at_rest, &when);
    }
    panic!("{name} never succeeded");
}

#[test]
#[ignore = "of twelve runs one failed, on a very busy machine, and nobody knows why: CI's long mode runs it"]
#[expect(clippy::print_stderr, reason = "the counts are what a reader of the test's output looks for")]
fn no_space_while_images_travel() {
    let Some(daemon) = small("space-travel", "size=48m,mode=700") else { return };
    let registry = Registry::start();
    let plain = add(&registry, "plain", <[u8]>::to_vec);
    let packed = add(&registry, "packed", gzip);
    let other = ScratchDaemon::start("space-other", &[]);
    for name in [&plain, &packed] {
        other.ok(&["pull", "-q", name]);
    }
    let bundle = other.folder().join("bundle");
    other.ok(&["image", "bundle", "-o", text(&bundle), &plain, &packed]);
    let path = stand_in(&daemon);
    // On the disk that is full.
    let made = daemon.data_root().join("made");
    let copy = format!("{}/copy:1", registry.host());

    let comes = |name: &'static str, image: &'static str, words: &[&str]| -> Trial<'_> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let (daemon, plain, packed) = (&daemon, &plain, &packed);
        let act = move || daemon.corten(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let undo = move || {
            for name in [plain, packed] {
                if image == "both" || name.contains(image) {
                    check(daemon, name);
                    daemon.ok(&["rmi", name]);
                }
            }
        };
        Trial { name, act: Box::new(act), undo: Box::new(undo), keeps_parts: name.starts_with("pull") }
    };
    let mut trials = vec![
        comes("pull plain", "plain", &["pull", "-q", &plain]),
        comes("pull gzip", "packed", &["pull", "-q", &packed]),
        comes("load bundle", "both", &["load", "-q", "-i", text(&bundle)]),
    ];
    trials.push(Trial {
        name: "send to it",
        act: Box::new(|| {
            let mut command = other.command(&["image", "send", "far", &packed]);
            Said::from(command.env("PATH", &path).output().expect("it runs"))
        }),
        undo: Box::new(|| {
            check(&daemon, &packed);
            daemon.ok(&["rmi", &packed]);
        }),
        keeps_parts: false,
    });
    let mut told = Vec::new();
    let mut try_all = |trials: &[Trial<'_>]| {
        for trial in trials {
            let failures = climb(&daemon, trial);
            assert!(failures > 0, "{} was not short of space", trial.name);
            told.push(format!("{} {failures}", trial.name));
        }
    };
    try_all(&trials);

    // What goes out.
    daemon.ok(&["pull", "-q", &plain]);
    daemon.ok(&["tag", &plain, &copy]);
    let file = |name: &'static str, words: &'static [&'static str]| -> Trial<'_> {
        let (daemon, other, made, plain) = (&daemon, &other, &made, &plain);
        Trial {
            name,
            act: Box::new(move || {
                let said = daemon.corten(&[words, &["-o", text(made), plain]].concat());
                assert_eq!(made.exists(), said.code == 0, "whole or not at all: {said:?}");
                said
            }),
            undo: Box::new(move || {
                other.ok(&["rmi", "-f", plain]);
                other.ok(&["load", "-q", "-i", text(made)]);
                check(other, plain);
                std::fs::remove_file(made).expect("the file");
            }),
            keeps_parts: false,
        }
    };
    let push = Trial {
        name: "push plain",
        act: Box::new(|| daemon.corten(&["push", "-q", &copy])),
        undo: Box::new(|| {
            other.ok(&["pull", "-q", &copy]);
            check(&other, &copy);
        }),
        keeps_parts: false,
    };
    try_all(&[file("bundle", &["image", "bundle"]), file("save", &["save"]), push]);
    eprintln!("failed with a full disk, and succeeded with space: {}", told.join(", "));
}
