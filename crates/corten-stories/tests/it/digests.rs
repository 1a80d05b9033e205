//! Images whose publisher names content by SHA-512.

use corten_testing::daemon::ScratchDaemon;
use corten_testing::fixture::{Entry, tar};
use corten_testing::registry::{Registry, digest, digest_like};
use std::io::Write;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn long(bytes: &[u8]) -> String {
    digest_like("sha512:", bytes)
}

/// `app` of two layers, one of them a plain tar; gives its manifest.
fn publish(registry: &Registry) -> Vec<u8> {
    let plain = tar(&[Entry::File("plain", 0o644, b"as it is")]);
    let packed = tar(&[Entry::File("packed", 0o644, b"in gzip")]);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&packed).unwrap();
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Cmd": ["/none"]},
        // Either may stand there.
        "rootfs": {"type": "layers", "diff_ids": [digest(&plain), long(&packed)]},
    });
    let descriptor = |kind: &str, bytes: Vec<u8>| {
        registry.add_blob(&long(&bytes), &bytes);
        serde_json::json!({"mediaType": kind, "digest": long(&bytes), "size": bytes.len()})
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config.to_string().into_bytes()),
        "layers": [
            descriptor("application/vnd.oci.image.layer.v1.tar", plain),
            descriptor("application/vnd.oci.image.layer.v1.tar+gzip", encoder.finish().unwrap()),
        ],
    });
    let bytes = manifest.to_string().into_bytes();
    registry.add_manifest(&format!("app@{}", long(&bytes)), MANIFEST, &bytes);
    bytes
}

fn check(daemon: &ScratchDaemon, image: &str) {
    daemon.ok(&["create", "--name", "look", image]);
    for (file, content) in [("plain", "as it is"), ("packed", "in gzip")] {
        let place = daemon.folder().join(file);
        daemon.ok(&["cp", &format!("look:/{file}"), &place.display().to_string()]);
        assert_eq!(std::fs::read_to_string(place).unwrap(), content);
    }
    daemon.ok(&["rm", "look"]);
}

#[test]
fn sha512_names_are_kept_checked_and_pushed() {
    if !corten_testing::need_root() {
        return;
    }
    let daemon = ScratchDaemon::start("sha512", &[]);
    let registry = Registry::start();
    let bytes = publish(&registry);
    let id = long(&bytes);
    let name = format!("{}/app@{id}", registry.host());
    let said = daemon.ok(&["pull", &name]);
    assert!(said.contains(&format!("Digest: {id}")), "{said}");
    assert_eq!(daemon.ok(&["image", "inspect", "--format", "{{.Id}}", &id]), id);
    let short = &id["sha512:".len()..][..12];
    assert_eq!(daemon.ok(&["images", "-q", "-a"]), short);
    for known in [&id, short] {
        check(&daemon, known);
    }
    // What the store opens again is the same.
    daemon.restart();
    check(&daemon, &id);

    let copy = format!("{}/copy:1", registry.host());
    daemon.ok(&["tag", &id, &copy]);
    daemon.ok(&["push", &copy]);
    assert_eq!(registry.manifest("copy:1").as_deref(), Some(&bytes[..]), "byte for byte");

    let archive = daemon.folder().join("saved.tar").display().to_string();
    daemon.ok(&["save", "-o", &archive, &copy]);
    daemon.ok(&["rmi", "-f", &id]);
    assert_eq!(daemon.ok(&["images", "-q", "-a"]), "");
    assert_eq!(std::fs::read_dir(daemon.data_root().join("blobs/sha512")).unwrap().count(), 0);
    daemon.ok(&["load", "-i", &archive]);
    assert_eq!(daemon.ok(&["image", "inspect", "--format", "{{.Id}}", &copy]), id);
    check(&daemon, &copy);
}

#[test]
fn wrong_and_unknown_digests_are_refused() {
    if !corten_testing::need_root() {
        return;
    }
    let daemon = ScratchDaemon::start("digests", &[]);
    let registry = Registry::start();
    let bytes = publish(&registry);
    let manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let name = format!("{}/app@{}", registry.host(), long(&bytes));
    for part in ["/config", "/layers/0", "/layers/1"] {
        let blob = manifest.pointer(part).unwrap()["digest"].as_str().unwrap();
        let right = registry.blob(blob).unwrap();
        let mut wrong = right.clone();
        let middle = wrong.len() / 2;
        wrong[middle] ^= 1;
        registry.add_blob(blob, &wrong);
        let said = daemon.corten(&["pull", &name]);
        assert!(said.code != 0, "{part}: {said:?}");
        assert_eq!(daemon.ok(&["images", "-q", "-a"]), "", "{part}");
        registry.add_blob(blob, &right);
    }
    // A manifest that is not what it is asked for as.
    let other = long(b"another");
    registry.add_manifest(&format!("app@{other}"), MANIFEST, &bytes);
    let said = daemon.corten(&["pull", &format!("{}/app@{other}", registry.host())]);
    assert!(said.code != 0 && said.err.contains(&other), "{said:?}");
    daemon.ok(&["pull", &name]);

    let unknown = format!("{}/app@blake3:{}", registry.host(), "a".repeat(64));
    let said = daemon.corten(&["pull", &unknown]);
    assert!(said.code != 0 && said.err.contains("unsupported digest algorithm"), "{said:?}");
    let text = String::from_utf8(bytes).unwrap().replace("sha512:", "blake3:");
    registry.add_manifest("app:odd", MANIFEST, text.as_bytes());
    registry.add_manifest(&format!("app@{}", digest(text.as_bytes())), MANIFEST, text.as_bytes());
    let said = daemon.corten(&["pull", &format!("{}/app:odd", registry.host())]);
    assert!(said.code != 0 && said.err.contains("blake3"), "{said:?}");
}
