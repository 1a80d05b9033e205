//! Images on their way while daemon and registry die: nothing that was told is lost, nothing half-made is seen, nothing is
//! left lying about.

use crate::disk::{gzip, noise};
use crate::kill::Numbers;
use crate::leftovers::Leftovers;
use corten_testing::daemon::{Said, ScratchDaemon};
use corten_testing::fixture::{Entry, tar};
use corten_testing::registry::{Fault, Registry};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How often there is a kill; `CORTEN_KILLS` multiplies it (CI keeps to one round).
const KILLS: u64 = 21;

/// Adds an image of a large layer and a small one with this text. Gives the bytes of its layers.
fn add(registry: &Registry, repository: &str, large: &[u8], text: &str, packed: bool) -> u64 {
    let layers =
        [tar(&[Entry::File("large", 0o644, large)]), tar(&[Entry::File("small", 0o644, text.as_bytes())])];
    let pack = |tar: &[u8]| if packed { gzip(tar) } else { tar.to_vec() };
    registry.add_tars(repository, "1", &layers, pack);
    layers.iter().map(|layer| pack(layer).len() as u64).sum()
}

/// The files of an image are what they should be.
fn check(daemon: &ScratchDaemon, image: &str, large: &[u8], text: &str) {
    daemon.ok(&["create", "--pull", "never", "--name", "look", image]);
    for (file, wanted) in [("large", large), ("small", text.as_bytes())] {
        let into = daemon.folder().join("looked");
        daemon.ok(&["cp", &format!("look:/{file}"), into.to_str().expect("a path")]);
        assert!(std::fs::read(&into).expect("a file") == wanted, "{image}: {file}");
    }
    daemon.ok(&["rm", "look"]);
}

/// What lies below the data root that images are made of, and what is on its way.
fn content(daemon: &ScratchDaemon) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["blobs/sha256", "snapshots/committed", "ingest", "tmp"] {
        for entry in std::fs::read_dir(daemon.data_root().join(folder)).expect("a folder").flatten() {
            // Folders of layers are numbered as they come.
            let name = entry.file_name().to_string_lossy().into_owned();
            let name = if folder == "snapshots/committed" { found.len().to_string() } else { name };
            found.insert(format!("{folder}/{name}"));
        }
    }
    found
}

/// Who dies.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Daemon,
    /// Its connections end, from some request on, or in the middle of a blob.
    Registry,
}

/// Runs a command while somebody dies; tells whether it came to its end all the same.
fn with_a_death(
    daemon: &ScratchDaemon,
    registry: &Registry,
    victim: Victim,
    numbers: &mut Numbers,
    words: &[&str],
    within: Duration,
) -> Said {
    match victim {
        Victim::Daemon => {
            let process = daemon.daemon().expect("a daemon");
            let delay = Duration::from_micros(500 + numbers.below(within.as_micros() as u64));
            std::thread::scope(|scope| {
                let said = scope.spawn(|| daemon.corten(words));
                std::thread::sleep(delay);
                daemon.kill(process);
                said.join().expect("the command")
            })
        }
        Victim::Registry => {
            if numbers.below(2) == 0 {
                registry.fault(usize::try_from(numbers.below(12)).unwrap_or(0), Fault::Drop, true);
            } else {
                registry.cut_blobs(usize::try_from(numbers.below(2 << 20)).unwrap_or(0), 100);
            }
            let said = daemon.corten(words);
            registry.mend();
            said
        }
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "the counts are what a reader of the test's output looks for")]
fn killed_while_images_travel_nothing_is_lost_and_nothing_is_left() {
    if !corten_testing::need_root() {
        return;
    }
    // Requests are made anew for a while where nobody answers; not for long here.
    let daemon = ScratchDaemon::start("travels", &["--max-download-attempts", "2"]);
    let registry = Registry::start();
    let mut numbers = Numbers(20_261_128);
    let large = noise(2 << 20, 20_261_128);
    add(&registry, "plain", &large, "plain", false);
    add(&registry, "packed", &large, "packed", true);
    registry.pace(Duration::from_millis(1));
    let name = |repository: &str| format!("{}/{repository}:1", registry.host());
    let (plain, packed) = (name("plain"), name("packed"));
    let file = |name: &str| daemon.folder().join(name).display().to_string();
    let (archive, bundle) = (file("archive.tar"), file("bundle.tar"));
    daemon.ok(&["pull", "-q", &plain]);
    daemon.ok(&["image", "bundle", "-o", &bundle, &plain]);
    daemon.ok(&["rmi", &plain]);
    let at_rest = Leftovers::at_rest(&daemon);
    let empty = content(&daemon);

    let rounds = crate::kill::rounds();
    let (mut ended, mut broken) = (0, 0);
    for round in 0..KILLS * rounds {
        let victim = if numbers.below(3) == 0 { Victim::Registry } else { Victim::Daemon };
        let copy = format!("{}/copy-{round}:1", registry.host());
        let act = round % 7;
        // What there has to be before.
        let (image, text) = if matches!(act, 1 | 4 | 6) { (&packed, "packed") } else { (&plain, "plain") };
        if !matches!(act, 0 | 1 | 5) {
            daemon.ok(&["pull", "-q", image]);
        }
        if matches!(act, 2 | 6) {
            daemon.ok(&["tag", image, &copy]);
        }
        let words: Vec<&str> = match act {
            0 | 1 => vec!["pull", "-q", image],
            2 | 6 => vec!["push", "-q", &copy],
            3 => vec!["image", "bundle", "-o", &archive, image],
            4 => vec!["save", "-o", &archive, image],
            _ => vec!["load", "-q", "-i", &bundle],
        };
        // What stays on this machine takes less time.
        let within = Duration::from_millis(if matches!(act, 3..=5) { 25 } else { 90 });
        let said = with_a_death(&daemon, &registry, victim, &mut numbers, &words, within);
        let told = format!("round {round}, {victim:?} of {words:?}: {said:?}");
        if said.code == 0 {
            ended += 1;
        } else {
            broken += 1;
        }
        // The next one answers, and what was told is there.
        daemon.ok(&["version"]);
        match act {
            0 | 1 | 5 => {
                let is_there = daemon.corten(&["image", "inspect", image]).code == 0;
                assert!(is_there || said.code != 0, "{told}");
                if is_there {
                    check(&daemon, image, &large, text);
                }
            }
            2 | 6 => {
                assert!(said.code != 0 || registry.manifest(&format!("copy-{round}:1")).is_some(), "{told}");
            }
            _ => {
                let is_whole = std::fs::exists(&archive).expect("a folder");
                assert_eq!(is_whole, said.code == 0, "an archive is there whole or not at all: {told}");
            }
        }
        // Once more, it works.
        let again = daemon.corten(&words);
        assert_eq!(again.code, 0, "{told}, then {again:?}");
        match act {
            0 | 1 | 5 => check(&daemon, image, &large, text),
            2 | 6 => {
                daemon.ok(&["rmi", "-f", &copy, image]);
                daemon.ok(&["pull", "-q", &copy]);
                check(&daemon, &copy, &large, text);
            }
            _ => {
                daemon.ok(&["rmi", "-f", image]);
                daemon.ok(&["load", "-q", "-i", &archive]);
                check(&daemon, image, &large, text);
                std::fs::remove_file(&archive).expect("a file");
            }
        }
        let _ = daemon.corten(&["rmi", "-f", image, &copy]);
        let left = || &content(&daemon) - &empty;
        let begun = Instant::now();
        while !left().is_empty() {
            assert!(begun.elapsed() < corten_testing::patience(10), "left after {told}: {:?}", left());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    eprintln!(
        "{} deaths on the way: {ended} commands ended well all the same, {broken} did not",
        KILLS * rounds
    );
    daemon.restart();
    Leftovers::settle(&daemon, &at_rest, "after all deaths");
    assert_eq!(daemon.ok(&["images", "-q"]), "");
}

/// Three kills of the daemon on the way: what had come is not fetched again. `CORTEN_LARGE_MB` sets how large the layer is.
#[test]
#[expect(clippy::print_stderr, reason = "the counts are what a reader of the test's output looks for")]
fn a_large_layer_is_fetched_once_however_often_the_daemon_dies() {
    if !corten_testing::need_root() {
        return;
    }
    let daemon = ScratchDaemon::start("large", &[]);
    let registry = Registry::start();
    let megabytes: usize =
        std::env::var("CORTEN_LARGE_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(48);
    let large = noise(megabytes << 20, 7);
    let whole = add(&registry, "large", &large, "large", true);
    let name = format!("{}/large:1", registry.host());
    // As fast as a good line; what is in the buffers of a connection counts as sent.
    registry.pace(Duration::from_millis(2));
    let here = || -> u64 {
        let files = std::fs::read_dir(daemon.data_root().join("ingest")).expect("a folder").flatten();
        files.filter_map(|file| Some(file.metadata().ok()?.len())).max().unwrap_or(0)
    };
    for quarter in 1..=3_u64 {
        std::thread::scope(|scope| {
            let pull = scope.spawn(|| daemon.corten(&["pull", "-q", &name]));
            while here() < quarter * (large.len() as u64) / 4 {
                assert!(!pull.is_finished(), "the pull goes on");
                std::thread::sleep(Duration::from_millis(2));
            }
            daemon.kill(daemon.daemon().expect("a daemon"));
            assert_ne!(pull.join().expect("the pull").code, 0);
        });
    }
    registry.pace(Duration::ZERO);
    daemon.ok(&["pull", "-q", &name]);
    check(&daemon, &name, &large, "large");
    let twice = registry.sent().saturating_sub(whole);
    eprintln!(
        "{megabytes} MB, three kills: {twice} bytes sent twice, {:.2} %",
        twice as f64 * 100.0 / whole as f64
    );
    // Each kill may lose what was on its way and what the registry could still write.
    assert!(twice <= (whole / 100).max(8 << 20), "{twice} bytes of {whole} were sent twice");
}
