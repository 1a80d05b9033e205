//! Images from and to registries: what a user sees, also when something breaks.

use corten_testing::daemon::ScratchDaemon;
use corten_testing::fixture::{Entry, tar};
use corten_testing::registry::{Fault, Registry, digest};
use std::time::{Duration, Instant};

/// Bytes of the larger layer's file.
const LARGE: usize = 6 << 20;

/// A registry with `app:latest` of two layers.
fn filled() -> Registry {
    let registry = Registry::start();
    let mut seed = 1_u32;
    let large: Vec<u8> = (0..LARGE)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        })
        .collect();
    let layers =
        [tar(&[Entry::File("large", 0o644, &large)]), tar(&[Entry::File("small", 0o644, b"text\n")])];
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Cmd": ["/none"]},
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| digest(layer)).collect::<Vec<_>>()},
    });
    registry.add_image("app", "latest", config.to_string().as_bytes(), &layers);
    registry
}

fn start(name: &str) -> Option<ScratchDaemon> {
    corten_testing::need_root().then(|| ScratchDaemon::start(name, &[]))
}

/// The files of the image are what was pushed.
fn check(daemon: &ScratchDaemon, image: &str) {
    daemon.ok(&["create", "--pull", "never", "--name", "look", image]);
    let into = daemon.folder().join("large");
    daemon.ok(&["cp", "look:/large", into.to_str().expect("a path")]);
    assert_eq!(std::fs::metadata(&into).map(|about| about.len()).ok(), Some(LARGE as u64));
    daemon.ok(&["cp", "look:/small", into.to_str().expect("a path")]);
    assert_eq!(std::fs::read(&into).ok().as_deref(), Some(&b"text\n"[..]));
    daemon.ok(&["rm", "look"]);
}

fn left_in(daemon: &ScratchDaemon, folder: &str) -> usize {
    std::fs::read_dir(daemon.data_root().join(folder)).into_iter().flatten().count()
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < corten_testing::patience(30), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_image_is_pulled_pushed_and_pulled_again() {
    let Some(daemon) = start("pull") else { return };
    let registry = filled();
    let name = format!("{}/app", registry.host());
    let said = daemon.ok(&["pull", &name]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["Using default tag: latest", "latest: Pulling from app"], "{said}");
    assert_eq!(lines.iter().filter(|line| line.ends_with(": Pull complete")).count(), 2, "{said}");
    let id = daemon.ok(&["images", "-q", "--no-trunc"]);
    let tail = [
        format!("Digest: {id}"),
        format!("Status: Downloaded newer image for {name}:latest"),
        format!("{name}:latest"),
    ];
    assert_eq!(lines[lines.len() - 3..], tail, "{said}");
    check(&daemon, &name);
    assert_eq!(left_in(&daemon, "ingest"), 0);
    let sent = registry.sent();
    assert!(daemon.ok(&["pull", &name]).contains(&format!("Status: Image is up to date for {name}:latest")));
    assert_eq!(daemon.ok(&["pull", "-q", &format!("{name}@{id}")]), format!("{name}@{id}"));
    assert_eq!(registry.sent(), sent, "nothing is fetched twice");

    let copy = format!("{}/copy:1", registry.host());
    daemon.ok(&["tag", &name, &copy]);
    let said = daemon.ok(&["push", &copy]);
    let digest = said.lines().last().and_then(|line| line.split(' ').nth(2)).expect("a digest").to_owned();
    // The layers are plain tars: they go out compressed.
    assert!(said.contains("1: digest: sha256:") && digest != id, "{said}");
    assert!(daemon.ok(&["push", &copy]).contains("Layer already exists"));
    daemon.ok(&["rmi", &copy]);
    daemon.ok(&["pull", "-q", &copy]);
    check(&daemon, &copy);
    let missing = daemon.corten(&["pull", &format!("{name}:none")]);
    let text = format!("manifest for {name}:none not found: manifest unknown: manifest unknown");
    assert!(missing.code == 1 && missing.err.contains(&text), "{}", missing.err);
}

#[test]
fn a_pull_that_a_killed_daemon_broke_off_goes_on() {
    let Some(daemon) = start("resume") else { return };
    let registry = filled();
    registry.pace(Duration::from_millis(10));
    let name = format!("{}/app", registry.host());
    for round in 1..=3 {
        std::thread::scope(|scope| {
            let pull = scope.spawn(|| daemon.corten(&["pull", &name]));
            wait_for("some of it has come", || registry.sent() > round << 20);
            daemon.kill(daemon.daemon().expect("a daemon"));
            assert_ne!(pull.join().expect("the pull").code, 0);
        });
    }
    assert_eq!(daemon.ok(&["images", "-q"]), "", "there is no half an image");
    registry.pace(Duration::ZERO);
    daemon.ok(&["pull", "-q", &name]);
    check(&daemon, &name);
    // Each kill may lose what was on its way and what the registry could still write.
    let whole = (LARGE + 8192) as u64;
    assert!(registry.sent() < whole + (4 << 20), "{} of {whole}", registry.sent());
    assert_eq!(left_in(&daemon, "ingest"), 0);
}

#[test]
fn wrong_bytes_are_never_kept_and_fetched_once_more() {
    let Some(daemon) = start("flip") else { return };
    let registry = filled();
    let name = format!("{}/app", registry.host());
    // HEAD, manifest; then configuration and layers in any order.
    for at in 1..5 {
        registry.fault(at, Fault::FlipBit, false);
        let said = daemon.corten(&["pull", "-q", &name]);
        assert!(said.code == 0 || said.err.contains(&registry.host()), "{at}: {}", said.err);
        registry.mend();
        daemon.ok(&["pull", "-q", &name]);
        check(&daemon, &name);
        daemon.ok(&["rmi", &name]);
    }
    registry.fault(2, Fault::FlipBit, true);
    let said = daemon.corten(&["pull", &name]);
    assert!(said.code == 1 && said.err.contains(&registry.host()), "{}", said.err);
    assert_eq!(daemon.ok(&["images", "-q"]), "");
    assert_eq!((left_in(&daemon, "tmp"), left_in(&daemon, "blobs/sha256")), (0, 0));
}

#[test]
fn who_leaves_ends_a_pull_unless_another_wants_it() {
    let Some(daemon) = start("leave") else { return };
    let registry = filled();
    registry.pace(Duration::from_millis(10));
    let name = format!("{}/app", registry.host());
    let mut first = daemon.command(&["pull", &name]).spawn().expect("a client");
    wait_for("it has begun", || registry.sent() > 1 << 20);
    let mut second = daemon.command(&["pull", &name]).spawn().expect("a client");
    std::thread::sleep(Duration::from_millis(200));
    first.kill().and_then(|()| first.wait()).expect("it is gone");
    assert!(second.wait().expect("it ends").success());
    check(&daemon, &name);
    let whole = (LARGE + 8192) as u64;
    assert!(registry.sent() < whole + (1 << 20), "each blob is fetched once: {}", registry.sent());

    daemon.ok(&["rmi", &name]);
    let before = registry.sent();
    let mut alone = daemon.command(&["pull", &name]).spawn().expect("a client");
    wait_for("it has begun", || registry.sent() > before + (1 << 20));
    alone.kill().and_then(|()| alone.wait()).expect("it is gone");
    std::thread::sleep(Duration::from_millis(300));
    let then = registry.sent();
    std::thread::sleep(Duration::from_millis(300));
    assert!(registry.sent() <= then, "nothing is sent any more");
    assert_eq!(left_in(&daemon, "ingest"), 1, "what came is kept");
}
