//! Forms of layers, as users see them: what `image compact` and the settings drop, and that everything works all the same.

use crate::disk::{compare, gzip, noise};
use crate::{daemon, daemon_with};
use corten_testing::daemon::ScratchDaemon;
use corten_testing::fixture::{self, Entry};
use corten_testing::registry::{self, Fault, Registry};
use std::time::{Duration, Instant};

/// An image of two compressed layers under `files:1`, of which one has this file.
pub(crate) fn add_files(registry: &Registry, file: &[u8]) -> Vec<String> {
    let layers = [
        fixture::tar(&[Entry::Folder("d/", 0o755), Entry::File("d/large", 0o644, &noise(3 << 20, 1))]),
        fixture::tar(&[Entry::File("d/small", 0o644, file)]),
    ];
    registry.add_tars("files", "1", &layers, gzip);
    layers.iter().map(|layer| registry::digest(&gzip(layer))).collect()
}

/// Busybox as it comes back from a registry that this program pushed it to: nothing else is left of it.
fn busybox_from(daemon: &ScratchDaemon, registry: &Registry) -> String {
    let name = format!("{}/own:1", registry.host());
    daemon.ok(&["tag", "busybox", &name]);
    daemon.ok(&["push", "-q", &name]);
    let all = daemon.ok(&["images", "-q", "--no-trunc"]);
    for id in all.lines().collect::<std::collections::BTreeSet<_>>() {
        daemon.ok(&["rmi", "-f", id]);
    }
    daemon.ok(&["pull", "-q", &name]);
    name
}

/// An image as an archive.
pub(crate) fn save(daemon: &ScratchDaemon, name: &str) -> Vec<u8> {
    let output = daemon.command(&["save", name]).output().expect("corten runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The file of the image `files:1`, as a container has it.
fn read(daemon: &ScratchDaemon, name: &str) -> String {
    daemon.ok(&["create", "--name", "reader", name]);
    let output = daemon.command(&["cp", "reader:/d/small", "-"]).output().expect("corten runs");
    daemon.ok(&["rm", "reader"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let content = output.stdout.get(512..).unwrap_or_default();
    String::from_utf8_lossy(content).trim_end_matches('\0').to_owned()
}

fn blobs(daemon: &ScratchDaemon) -> Vec<String> {
    let listed = std::fs::read_dir(daemon.data_root().join("blobs/sha256")).expect("a folder");
    listed.map(|entry| format!("sha256:{}", entry.expect("an entry").file_name().to_string_lossy())).collect()
}

#[test]
fn compressed_forms_go_and_come_back() {
    let Some(daemon) = daemon("forms") else { return };
    let registry = Registry::start();
    let layers = add_files(&registry, b"content");
    let own = busybox_from(&daemon, &registry);
    let files = format!("{}/files:1", registry.host());
    daemon.ok(&["pull", "-q", &files]);
    let (own_archive, files_archive) = (save(&daemon, &own), save(&daemon, &files));
    let before = blobs(&daemon).len();

    let said = daemon.ok(&["image", "compact", "--dry-run"]);
    assert_eq!(blobs(&daemon).len(), before);
    let fetched = format!("fetched again from {}/files when it is read", registry.host());
    assert_eq!(said.matches(&fetched).count(), 2, "{said}");
    assert_eq!(said.matches("compressed again when it is read").count(), 1, "{own}: {said}");
    assert!(said.contains("Would reclaim: "), "{said}");
    let said = daemon.ok(&["image", "compact"]);
    assert!(layers.iter().all(|layer| said.contains(layer)), "{said}");
    assert!(said.contains("Total reclaimed space: "), "{said}");
    assert_eq!(blobs(&daemon).len(), before - 3);
    compare(&daemon, "after a compact");
    assert_eq!(daemon.ok(&["image", "compact"]).trim(), "Total reclaimed space: 0B");

    let forms = |name: &str| daemon.ok(&["image", "inspect", "-f", "{{json .DroppedForms}}", name]);
    let repository = format!("\"Again\":\"{}/files\"", registry.host());
    assert_eq!(forms(&files).matches(&repository).count(), 2, "{}", forms(&files));
    assert!(
        forms(&own).contains("\"Form\":\"compressed\"") && forms(&own).contains("\"Again\":\"compressing\"")
    );

    // Everything works on.
    daemon.restart();
    assert_eq!(daemon.ok(&["run", "--rm", &own, "echo", "runs"]).trim(), "runs");
    assert_eq!(read(&daemon, &files), "content");
    assert!(save(&daemon, &own) == own_archive, "compressed again, byte for byte");
    let sent = registry.sent();
    daemon.ok(&["pull", "-q", &files]);
    daemon.ok(&["push", "-q", &files]);
    assert!(registry.sent() - sent < 100_000, "nothing is fetched for what the registry has");
    assert!(save(&daemon, &files) == files_archive, "fetched again");
    assert!(registry.sent() - sent > 3 << 20);
    assert_eq!(blobs(&daemon).len(), before - 1);

    // Where the registry has lost it, it cannot be read, and that is said; the image runs all the same.
    daemon.ok(&["image", "compact"]);
    let (host, nowhere) = (registry.host(), daemon.folder().join("saved").display().to_string());
    registry.fault(0, Fault::Status(404), true);
    let said = daemon.corten(&["save", "-o", &nowhere, &files]);
    assert_eq!(said.code, 1);
    assert!(!daemon.folder().join("saved").exists());
    let words = ["was dropped here because", &host, "cannot be fetched"];
    assert!(words.iter().all(|word| said.err.contains(word)), "{said:?}");
    assert_eq!(read(&daemon, &files), "content");
    // What nobody answers for any more stays.
    daemon.ok(&["rmi", &files]);
    daemon.ok(&["rmi", &own]);
    assert!(blobs(&daemon).is_empty());
}

/// A name says nothing of where an image came from: what was loaded from an archive keeps its bytes, and nobody is asked.
#[test]
fn what_was_not_pulled_keeps_its_compressed_form() {
    let Some(daemon) = daemon("forms-loaded") else { return };
    let registry = Registry::start();
    let layers = add_files(&registry, b"content");
    let files = format!("{}/files:1", registry.host());
    daemon.ok(&["pull", "-q", &files]);
    let archive = daemon.folder().join("files.tar");
    std::fs::write(&archive, save(&daemon, &files)).expect("a file");
    daemon.ok(&["rmi", &files]);
    daemon.ok(&["load", "-q", "-i", archive.to_str().expect("a path")]);
    let asked = registry.seen().len();
    assert_eq!(daemon.ok(&["image", "compact"]).trim(), "Total reclaimed space: 0B");
    assert_eq!(registry.seen().len(), asked);
    assert!(layers.iter().all(|layer| blobs(&daemon).contains(layer)));
    // A pull finds it here, and there: from now on it is known where it can be had again, also when it is loaded once more.
    let sent = registry.sent();
    daemon.ok(&["pull", "-q", &files]);
    assert_eq!(registry.sent(), sent);
    daemon.ok(&["load", "-q", "-i", archive.to_str().expect("a path")]);
    daemon.ok(&["image", "compact"]);
    assert!(!layers.iter().any(|layer| blobs(&daemon).contains(layer)));
    // An archive brings it back where the registry does not answer any more.
    registry.fault(0, Fault::Status(404), true);
    let said =
        daemon.corten(&["save", "-o", archive.with_extension("none").to_str().expect("a path"), &files]);
    assert!(said.code == 1 && said.err.contains("or load an archive of the image"), "{said:?}");
    daemon.ok(&["load", "-q", "-i", archive.to_str().expect("a path")]);
    assert!(save(&daemon, &files) == std::fs::read(&archive).expect("the archive"));
}

#[test]
fn folders_go_and_come_back() {
    let Some(daemon) = daemon("folders") else { return };
    let registry = Registry::start();
    add_files(&registry, b"content");
    let own = busybox_from(&daemon, &registry);
    let files = format!("{}/files:1", registry.host());
    daemon.ok(&["pull", "-q", &files]);
    let folders =
        || std::fs::read_dir(daemon.data_root().join("snapshots/committed")).expect("a folder").count();
    daemon.ok(&["create", "--name", "keeps", &own, "true"]);
    let history = daemon.ok(&["history", "-q", &files]);
    let all = folders();
    let compact = ["image", "compact", "--keep-compressed", "--unpacked-for"];
    assert!(!daemon.ok(&[&compact[..], &["1h"]].concat()).contains("folder"));
    let said = daemon.ok(&[&compact[..], &["0s"]].concat());
    assert_eq!(said.matches("unpacked again when a container needs it").count(), 2, "{said}");
    let forms = |name: &str| daemon.ok(&["image", "inspect", name]);
    assert_eq!(forms(&files).matches("\"Again\": \"unpacking\"").count(), 2);
    assert!(!forms(&own).contains("DroppedForms"));
    // That of the container stays.
    assert_eq!(folders(), all - 2);
    compare(&daemon, "after folders went");
    assert_eq!(daemon.ok(&["start", "-a", "keeps"]), "");
    daemon.restart();
    assert_eq!(daemon.ok(&["history", "-q", &files]), history);
    // Four containers at once have it unpacked once.
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (daemon, files) = (&daemon, &files);
            scope.spawn(move || daemon.ok(&["create", "--name", &format!("one-{number}"), files]));
        }
    });
    assert_eq!(folders(), all);
    assert_eq!(read(&daemon, &files), "content");
    compare(&daemon, "after they came back");
    let said = daemon.corten(&["image", "compact", "--unpacked-for", "soon"]);
    assert!(said.code == 125 && said.err.contains("soon"), "{said:?}");
}

#[test]
fn the_settings_have_it_done_after_each_pull() {
    let extra = ["--compressed-layers", "drop"];
    let Some(daemon) = daemon_with("forms-set", &extra) else { return };
    let registry = Registry::start();
    let layers = add_files(&registry, b"content");
    daemon.ok(&["pull", "-q", &format!("{}/files:1", registry.host())]);
    let begun = Instant::now();
    while layers.iter().any(|layer| blobs(&daemon).contains(layer)) {
        assert!(begun.elapsed() < Duration::from_secs(20), "they stay");
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = daemon.command(&["daemon", "--compressed-layers", "some"]).output().expect("corten runs");
    assert!(String::from_utf8_lossy(&said.stderr).contains("it is keep or drop"), "{said:?}");
}

/// The daemon dies while forms go and come back; what an image has is there all the same, in one form or the other.
#[test]
fn killed_while_forms_change_nothing_is_lost() {
    let Some(daemon) = daemon("forms-kill") else { return };
    let registry = Registry::start();
    add_files(&registry, b"content");
    let own = busybox_from(&daemon, &registry);
    let files = format!("{}/files:1", registry.host());
    daemon.ok(&["pull", "-q", &files]);
    let archives = [save(&daemon, &own), save(&daemon, &files)];
    let nowhere = daemon.folder().join("saved").display().to_string();
    let rounds = crate::kill::rounds() * 12;
    for round in 0..rounds {
        let victim = daemon.daemon().expect("a daemon");
        let compact = ["image", "compact", "--unpacked-for", "0s"];
        let words: &[&str] = match round % 3 {
            0 => &compact,
            1 => &["save", "-o", &nowhere, &files],
            _ => &["create", "--name", "reader", &files],
        };
        let mut command = daemon.command(words).spawn().expect("corten runs");
        std::thread::sleep(Duration::from_micros(300 + round * 7_919 % 40_000));
        daemon.kill(victim);
        command.wait().expect("it ends");
        daemon.corten(&["rm", "-f", "reader"]);
        assert_eq!(daemon.ok(&["run", "--rm", &own, "echo", "runs"]).trim(), "runs", "round {round}");
        assert_eq!(read(&daemon, &files), "content", "round {round}");
        if round % 3 == 2 {
            assert!(save(&daemon, &own) == archives[0], "round {round}");
            assert!(save(&daemon, &files) == archives[1], "round {round}");
            daemon.ok(&["image", "compact"]);
        }
    }
    // What was being fetched at the last kill is gone on with, and what has come is swept.
    assert!(save(&daemon, &files) == archives[1]);
    daemon.restart();
    compare(&daemon, "after the kills");
}
