//! Images from and to registries: what a user sees, also when something breaks.

use corten_testing::daemon::ScratchDaemon;
use corten_testing::fixture::{Entry, tar};
use corten_testing::registry::{Fault, Registry, digest};
use std::io::Write;
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
    registry.add_tars("app", "latest", &layers, <[u8]>::to_vec);
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
fn what_goes_as_it_is_keeps_its_manifest_to_the_last_byte() {
    let Some(daemon) = start("same") else { return };
    let registry = Registry::start();
    let layer = tar(&[Entry::File("file", 0o644, b"text")]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&layer).unwrap();
    let packed = packed.finish().unwrap();
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer), digest(&layer)]},
    });
    registry.add_image("app", "one", config.to_string().as_bytes(), &[packed.clone(), packed]);
    // One content under two types: each stays what it is called.
    let manifest = registry.manifest("app:one").unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    manifest["layers"][1]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip".into();
    let bytes = manifest.to_string().into_bytes();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    for reference in ["app:two".to_owned(), format!("app@{}", digest(&bytes))] {
        registry.add_manifest(&reference, kind, &bytes);
    }
    let (from, to) = (format!("{}/app:two", registry.host()), format!("{}/copy:two", registry.host()));
    daemon.ok(&["pull", &from]);
    daemon.ok(&["tag", &from, &to]);
    daemon.ok(&["push", &to]);
    assert_eq!(String::from_utf8(registry.manifest("copy:two").unwrap()), String::from_utf8(bytes));
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

/// An index of the image `app:latest` and what was attested of it; gives the attestation's digest.
fn attest(registry: &Registry) -> String {
    let oci = "application/vnd.oci.image";
    let (manifest_type, index_type) = (format!("{oci}.manifest.v1+json"), format!("{oci}.index.v1+json"));
    let manifest = registry.manifest("app:latest").expect("the image");
    let statement = br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#.to_vec();
    let config = br#"{"architecture":"unknown","os":"unknown","rootfs":{"type":"layers","diff_ids":[]}}"#;
    registry.add_image("app", "attestation", config, std::slice::from_ref(&statement));
    let text = String::from_utf8(registry.manifest("app:attestation").expect("it")).expect("text");
    let attestation = text.replace(&format!("{oci}.layer.v1.tar"), "application/vnd.in-toto+json");
    let name = digest(attestation.as_bytes());
    registry.add_manifest(&format!("app@{name}"), &manifest_type, attestation.as_bytes());
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": index_type, "manifests": [
        {"mediaType": manifest_type, "digest": digest(&manifest), "size": manifest.len(),
         "platform": {"os": "linux", "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }}},
        {"mediaType": manifest_type, "digest": name, "size": attestation.len(),
         "platform": {"os": "unknown", "architecture": "unknown"},
         "annotations": {"vnd.docker.reference.type": "attestation-manifest",
                         "vnd.docker.reference.digest": digest(&manifest)}},
    ]});
    let index = index.to_string();
    for reference in ["app:attested".to_owned(), format!("app@{}", digest(index.as_bytes()))] {
        registry.add_manifest(&reference, &index_type, index.as_bytes());
    }
    name
}

#[test]
fn what_was_attested_of_an_image_travels_with_it() {
    let Some(daemon) = start("attested") else { return };
    let registry = filled();
    let attestation = attest(&registry);
    let (plain, name) = (format!("{}/app", registry.host()), format!("{}/app:attested", registry.host()));
    // The image alone was here before.
    daemon.ok(&["pull", "-q", &plain]);
    daemon.ok(&["pull", "-q", &name]);
    let copy = format!("{}/other:1", registry.host());
    daemon.ok(&["tag", &name, &copy]);
    daemon.ok(&["save", "-o", daemon.folder().join("saved").to_str().expect("a path"), &name]);
    let saved = std::fs::read(daemon.folder().join("saved")).expect("the archive");
    let holds = |text: &str| saved.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("in-toto.io/Statement"), "the statement itself is here");
    let sent = registry.seen().len();
    assert!(daemon.ok(&["pull", &name]).contains("Image is up to date"));
    assert!(registry.seen()[sent..].iter().all(|seen| seen.method == "HEAD"), "nothing is read twice");
    // Plain layers go out compressed, so the image's manifest is another there; the attestation's is the same.
    daemon.ok(&["push", &copy]);
    assert!(registry.manifest(&format!("other@{attestation}")).is_some());
    // What a registry has lost holds nothing up.
    let lost = filled();
    let gone = attest(&lost);
    lost.add_manifest(&format!("app@{gone}"), "text/plain", b"not it");
    daemon.ok(&["rmi", "-f", &plain, &name, &copy]);
    daemon.ok(&["pull", "-q", &format!("{}/app:attested", lost.host())]);
    check(&daemon, &format!("{}/app:attested", lost.host()));
}

#[test]
fn a_pull_tells_who_answered_and_how_long_it_waits() {
    let Some(daemon) = start("explain") else { return };
    let registry = filled();
    let name = format!("{}/app", registry.host());
    let quick = daemon.corten(&["pull", "--explain", "-q", &name]);
    assert_eq!(quick.code, 1);
    let said = daemon.ok(&["pull", "--explain", &name]);
    let place =
        format!("Explain: place 1: https://{} (the registry itself; resolve, pull, push)", registry.host());
    assert!(said.contains(&place), "{said}");
    let head = format!(
        "Explain: HEAD manifests/latest at https://{} (the registry itself): 200 in ",
        registry.host()
    );
    assert!(said.contains(&head), "{said}");
    assert!(
        said.lines().any(|line| line.starts_with("Explain: ")
            && line.contains(" from http")
            && line.ends_with("/s)")),
        "{said}"
    );
    let failed = daemon.corten(&["pull", "--explain", &format!("{name}:none")]);
    assert!(failed.out.contains("404 manifest unknown"), "{}", failed.out);
    registry.ask_to_wait(2);
    registry.fault(0, Fault::Status(429), false);
    let said = daemon.ok(&["pull", &name]);
    for left in [2, 1] {
        let line = format!("{}: Waiting {left} s more, as the registry asks", registry.host());
        assert!(said.contains(&line), "{said}");
    }
}

#[test]
fn attestations_without_measure_are_left_out() {
    let Some(daemon) = start("attested-much") else { return };
    let registry = filled();
    let statements: Vec<Vec<u8>> = (0..3).map(|at| vec![at; 12 << 20]).collect();
    registry.add_image("app", "attestation", b"{}", &statements);
    let attestation = registry.manifest("app:attestation").expect("it");
    let (oci, image) = ("application/vnd.oci.image", registry.manifest("app:latest").expect("it"));
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": format!("{oci}.index.v1+json"), "manifests": [
        {"mediaType": format!("{oci}.manifest.v1+json"), "digest": digest(&image), "size": image.len(),
         "platform": {"os": "linux", "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }}},
        {"mediaType": format!("{oci}.manifest.v1+json"), "digest": digest(&attestation), "size": attestation.len(),
         "platform": {"os": "unknown", "architecture": "unknown"},
         "annotations": {"vnd.docker.reference.type": "attestation-manifest",
                         "vnd.docker.reference.digest": digest(&image)}},
    ]})
    .to_string();
    for reference in ["app:much".to_owned(), format!("app@{}", digest(index.as_bytes()))] {
        registry.add_manifest(&reference, &format!("{oci}.index.v1+json"), index.as_bytes());
    }
    daemon.ok(&["pull", "-q", &format!("{}/app:much", registry.host())]);
    assert!(registry.sent() < 12 << 20, "{} bytes", registry.sent());
    assert!(daemon.log().contains("more than 33554432 bytes"), "{}", daemon.log());
}

#[test]
fn an_image_of_many_layers_that_do_not_come_leaves_room_for_others() {
    let Some(daemon) = start("many-layers") else { return };
    let registry = Registry::start();
    // More than the daemon has threads for what blocks.
    let layers: Vec<Vec<u8>> =
        (0..600).map(|at| tar(&[Entry::File(&format!("f{at}"), 0o644, b"text\n")])).collect();
    registry.add_image("app", "latest", b"{}", &layers);
    registry.pace(Duration::from_secs(20));
    let mut command = daemon.command(&["pull", "-q", &format!("{}/app", registry.host())]);
    let mut pull = command.stdout(std::process::Stdio::null()).spawn().expect("the program starts");
    let blobs = || registry.seen().iter().filter(|seen| seen.target.contains("/blobs/")).count();
    wait_for("layers are asked for", || blobs() >= 3);
    std::thread::sleep(Duration::from_millis(500));
    let said = daemon.within(Duration::from_secs(10), &["volume", "create", "one"]);
    let _ = pull.kill();
    let _ = pull.wait();
    assert_eq!(said.expect("the daemon answers meanwhile").code, 0);
}
