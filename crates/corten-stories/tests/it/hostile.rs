//! What a registry may send that is odd, or means harm.

use corten_testing::daemon::ScratchDaemon;
use corten_testing::fixture::{Entry, tar};
use corten_testing::registry::{Registry, digest};
use flate2::{Compression, GzBuilder};
use std::io::Write;
use std::time::Duration;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn config(tars: &[Vec<u8>]) -> Vec<u8> {
    serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux", "config": {"Cmd": ["/none"]},
        "rootfs": {"type": "layers", "diff_ids": tars.iter().map(|layer| digest(layer)).collect::<Vec<_>>()},
    })
    .to_string()
    .into_bytes()
}

fn start(name: &str) -> Option<ScratchDaemon> {
    corten_testing::need_root().then(|| ScratchDaemon::start(name, &["--max-download-attempts", "2"]))
}

/// One member of gzip.
fn member(extra: &[u8], bytes: &[u8]) -> Vec<u8> {
    let builder = GzBuilder::new();
    let builder = if extra.is_empty() { builder } else { builder.extra(extra) };
    let mut writer = builder.write(Vec::new(), Compression::default());
    writer.write_all(bytes).expect("memory");
    writer.finish().expect("memory")
}

/// A layer as eStargz packs it: a member for each piece of the tar, the table of contents in one of its own, and a footer,
/// an empty member that says where that begins.
fn estargz(layer: &[u8]) -> Vec<u8> {
    let mut packed: Vec<u8> = layer.chunks(700).flat_map(|piece| member(&[], piece)).collect();
    let mut extra = b"SG\x16\x00".to_vec();
    extra.extend_from_slice(format!("{:016x}STARGZ", packed.len()).as_bytes());
    packed.extend(member(&extra, b""));
    packed
}

/// A layer as zstd:chunked packs it: a frame for each piece, then frames that decoders pass over, with the table and the footer.
fn zstd_chunked(layer: &[u8]) -> Vec<u8> {
    let mut packed: Vec<u8> =
        layer.chunks(700).flat_map(|piece| zstd::encode_all(piece, 3).expect("memory")).collect();
    for skipped in [&br#"{"version":1,"entries":[]}"#[..], &[0x47; 64]] {
        packed.extend_from_slice(&0x184d_2a50_u32.to_le_bytes());
        packed.extend_from_slice(&(skipped.len() as u32).to_le_bytes());
        packed.extend_from_slice(skipped);
    }
    packed
}

#[test]
fn layers_for_lazy_readers_are_read_whole() {
    let Some(daemon) = start("lazy") else { return };
    let registry = Registry::start();
    let text: Vec<u8> = (0..50_000_u32).map(|at| (at % 253) as u8).collect();
    let layer = tar(&[Entry::File("stargz.index.json", 0o644, b"{}"), Entry::File("file", 0o644, &text)]);
    for (tag, packed) in [("estargz", estargz(&layer)), ("chunked", zstd_chunked(&layer))] {
        registry.add_image("app", tag, &config(std::slice::from_ref(&layer)), std::slice::from_ref(&packed));
        let name = format!("{}/app:{tag}", registry.host());
        daemon.ok(&["pull", "-q", &name]);
        daemon.ok(&["create", "--name", tag, &name]);
        let into = daemon.folder().join("out");
        daemon.ok(&["cp", &format!("{tag}:/file"), into.to_str().expect("a path")]);
        assert_eq!(std::fs::read(&into).expect("it"), text, "{tag}");
        // It goes out as it came, table and all.
        let copy = format!("{}/copy:{tag}", registry.host());
        daemon.ok(&["tag", &name, &copy]);
        daemon.ok(&["push", &copy]);
        assert_eq!(registry.manifest(&format!("copy:{tag}")), registry.manifest(&format!("app:{tag}")));
    }
}

#[test]
fn documents_without_end_are_refused() {
    let Some(daemon) = start("hostile") else { return };
    let registry = Registry::start();
    let refused = |tag: &str, words: &str| {
        let said = daemon.corten(&["pull", &format!("{}/app:{tag}", registry.host())]);
        assert!(said.code == 1 && said.err.contains(words), "{tag}: {}", said.err);
        assert_eq!(daemon.ok(&["images", "-q"]), "");
    };
    let add = |tag: &str, kind: &str, bytes: &[u8]| {
        registry.add_manifest(&format!("app:{tag}"), kind, bytes);
        registry.add_manifest(&format!("app@{}", digest(bytes)), kind, bytes);
    };
    // 10 MB of a manifest.
    let large =
        format!("{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\"x\":\"{}\"}}", "x".repeat(10 << 20));
    add("large", MANIFEST, large.as_bytes());
    refused("large", "is larger than 8388608 bytes");
    // Indexes in indexes; the last names the first, which its digest forbids to be the same.
    let entry = |name: &str, size: usize| {
        serde_json::json!({"schemaVersion": 2, "mediaType": INDEX,
            "manifests": [{"mediaType": INDEX, "digest": name, "size": size}]})
        .to_string()
    };
    let mut inner = entry(&digest(b"circle"), 6);
    for _ in 0..6 {
        add("deep", INDEX, inner.as_bytes());
        inner = entry(&digest(inner.as_bytes()), inner.len());
    }
    add("deep", INDEX, inner.as_bytes());
    refused("deep", "deep in indexes");
    // An index that says that it is inside of itself.
    let circle = entry(&digest(b"circle"), 6);
    registry.add_manifest(&format!("app@{}", digest(b"circle")), INDEX, circle.as_bytes());
    add("circle", INDEX, circle.as_bytes());
    refused("circle", &format!("content of {} has digest {}", digest(b"circle"), digest(circle.as_bytes())));
    // More layers than anybody has.
    let layer = serde_json::json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(b""), "size": 0});
    let many = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(b"{}"), "size": 2},
        "layers": vec![layer; 5000]});
    add("many", MANIFEST, many.to_string().as_bytes());
    refused("many", "more than 1000 layers");
    // Tags that would be paths.
    let good = tar(&[Entry::File("file", 0o644, b"text")]);
    registry.add_image("names", "1", &config(std::slice::from_ref(&good)), &[good]);
    registry.add_manifest("names:../../v2/app/manifests/deep", INDEX, b"{}");
    daemon.ok(&["pull", "-q", "-a", &format!("{}/names", registry.host())]);
    assert_eq!(daemon.ok(&["images", "--format", "{{.Tag}}"]), "1");
}

#[test]
fn a_tag_that_moves_meanwhile_is_one_image_or_the_other() {
    let Some(daemon) = start("moves") else { return };
    let registry = Registry::start();
    let layers = |text: &[u8]| {
        vec![
            tar(&[Entry::File("large", 0o644, &vec![7; 1 << 20])]),
            tar(&[Entry::File("which", 0o644, text)]),
        ]
    };
    let (one, two) = (layers(b"one"), layers(b"two"));
    let first = registry.add_image("app", "latest", &config(&one), &one);
    registry.pace(Duration::from_millis(30));
    let name = format!("{}/app", registry.host());
    std::thread::scope(|scope| {
        let pull = scope.spawn(|| daemon.ok(&["pull", &name]));
        let begun = std::time::Instant::now();
        while registry.sent() == 0 {
            assert!(begun.elapsed() < corten_testing::patience(20), "a layer comes");
            std::thread::sleep(Duration::from_millis(2));
        }
        registry.add_image("app", "latest", &config(&two), &two);
        let said = pull.join().expect("the pull");
        assert!(said.contains(&format!("Digest: {first}")), "{said}");
    });
    registry.pace(Duration::ZERO);
    let which = || {
        daemon.ok(&["create", "--name", "look", &name]);
        let into = daemon.folder().join("which");
        daemon.ok(&["cp", "look:/which", into.to_str().expect("a path")]);
        daemon.ok(&["rm", "look"]);
        std::fs::read_to_string(into).expect("it")
    };
    assert_eq!(which(), "one");
    daemon.ok(&["pull", "-q", &name]);
    assert_eq!(which(), "two");
}
