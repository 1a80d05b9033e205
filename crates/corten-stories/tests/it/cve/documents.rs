//! Documents that are to bring the daemon down: CVE-2021-21285, and the same for archives and bodies of requests.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use corten_testing::daemon::ScratchDaemon;
use corten_testing::fixture::{Entry, docker_archive, tar};

use crate::daemon;

/// Every file below a folder, with its length.
fn files(folder: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    // Folders that new ones are made in stay; what lies in them is looked at.
    let birthplaces = folder.join("new");
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let data = entry.metadata().unwrap();
            if data.is_dir() {
                waiting.push(entry.path());
            }
            if entry.path().parent() == Some(&birthplaces) {
                continue;
            }
            found.insert(entry.path().display().to_string(), if data.is_file() { data.len() } else { 0 });
        }
    }
    // The database grows by itself.
    found.retain(|path, _| !path.ends_with("/state.redb") && !path.contains("/log"));
    found
}

/// Loads what must be refused: with this in the error, and nothing changed.
#[track_caller]
fn refused(daemon: &ScratchDaemon, archive: &[u8], text: &str) {
    let (before, pid) = (files(&daemon.data_root()), daemon.daemon());
    let said = daemon.with_input(&["load"], archive);
    assert!(said.code != 0 && said.err.contains(text), "`{text}` is missing: {said:?}");
    assert_eq!(daemon.daemon(), pid, "the daemon went down:\n{}", daemon.log());
    // What was half-made is removed beside the answer.
    let start = std::time::Instant::now();
    while files(&daemon.data_root()) != before {
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", files(&daemon.data_root()));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn of_manifest(manifest: &str) -> Vec<u8> {
    tar(&[Entry::File("manifest.json", 0o644, manifest.as_bytes())])
}

fn of_config(config: &[u8]) -> Vec<u8> {
    tar(&[
        Entry::File("config.json", 0o644, config),
        Entry::File("layer.tar", 0o644, &tar(&[Entry::File("f", 0o644, b"x")])),
        Entry::File(
            "manifest.json",
            0o644,
            br#"[{"Config":"config.json","RepoTags":["a:1"],"Layers":["layer.tar"]}]"#,
        ),
    ])
}

#[test]
fn cve_2021_21285_malformed_images_are_refused_and_the_daemon_goes_on() {
    let Some(daemon) = daemon("cve-manifest") else { return };
    let deep = "[".repeat(200_000);
    let deep_object = "{\"a\":".repeat(100_000);
    for (manifest, text) in [
        ("", "manifest.json"),
        ("null", "manifest.json"),
        ("[null]", "manifest.json"),
        ("{}", "manifest.json"),
        (r#"[{"Config":5,"RepoTags":null,"Layers":[]}]"#, "manifest.json"),
        (r#"[{"Config":"x","RepoTags":["a:1"],"Layers":"y"}]"#, "manifest.json"),
        (r#"[{"Config":"x","RepoTags":["a:1"],"Layers":[null]}]"#, "manifest.json"),
        (r#"[{"Config":"../../etc/passwd","RepoTags":["a:1"],"Layers":[]}]"#, "etc/passwd"),
        (r#"[{"Config":"missing.json","RepoTags":["a:1"],"Layers":[]}]"#, "missing.json"),
        ("\u{feff}[", "manifest.json"),
        (&deep, "manifest.json"),
        (&deep_object, "manifest.json"),
    ] {
        refused(&daemon, &of_manifest(manifest), text);
    }
    for config in [
        &b""[..],
        b"null",
        b"[]",
        b"{\"rootfs\":null}",
        b"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:short\"]}}",
        b"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":\"x\"}}",
        b"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}",
        b"{\"architecture\":\"\xff\xfe\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}",
        b"{\"config\":{\"Env\":[1e999]},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}",
        deep_object.as_bytes(),
    ] {
        refused(&daemon, &of_config(config), "");
    }
    assert_eq!(daemon.ok(&["images", "-q"]).lines().count(), 1);
    assert_eq!(daemon.ok(&["run", "--rm", "busybox", "echo", "fine"]), "fine");
}

#[test]
fn hostile_archives_are_refused_whole_and_name_the_entry() {
    let Some(daemon) = daemon("hostile-archives") else { return };
    let layer = |entries: &[Entry<'_>]| docker_archive("bad:1", &tar(entries), &serde_json::json!({}));
    let good = layer(&[Entry::File("f", 0o644, b"x")]);
    refused(
        &daemon,
        &layer(&[Entry::File("../escape", 0o644, b"x")]),
        "`../escape` leads outside of the root",
    );
    refused(&daemon, &layer(&[Entry::File("a/../../escape", 0o644, b"x")]), "`a/../../escape` leads outside");
    // Cut at every kind of place.
    for length in [1, 511, 513, 1024, 1600, good.len() - 1700] {
        refused(&daemon, &good[..length], "");
    }
    // A byte of the layer is another: its digest is wrong, and the layer is named.
    let mut wrong = good.clone();
    let at = wrong.windows(2).position(|pair| pair == b"x\0").expect("the file's content");
    wrong[at] = b'y';
    refused(&daemon, &wrong, "sha256:");
    // Larger than the disk, from a few bytes: refused by its header.
    let huge = {
        let mut tar = tar(&[Entry::File("zeros", 0o644, b"")]);
        tar.truncate(512);
        tar[124..136].copy_from_slice(b"\x80\0\0\0\0\x04\0\0\0\0\0\0");
        tar[148..156].fill(b' ');
        let sum: u32 = tar.iter().map(|byte| u32::from(*byte)).sum();
        tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.resize(16 << 10, 0);
        docker_archive("bad:1", &tar, &serde_json::json!({}))
    };
    refused(&daemon, &huge, "no space left on device: `zeros` holds");
    assert_eq!(daemon.ok(&["images", "-q"]).lines().count(), 1);
    assert_eq!(daemon.with_input(&["load"], &good).out, "Loaded image: bad:1\n", "and a good one goes in");
}

/// Sends bytes to the API; the answer's first line and its body, or nothing where it closed the connection.
fn ask(daemon: &ScratchDaemon, head: &str, body: &[u8]) -> (String, String) {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

fn post(daemon: &ScratchDaemon, path: &str, body: &[u8]) -> (String, String) {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    ask(daemon, &head, body)
}

#[test]
fn hostile_bodies_are_refused_and_change_nothing() {
    let Some(daemon) = daemon("hostile-bodies") else { return };
    let pid = daemon.daemon();
    let before = files(&daemon.data_root());
    let deep = [b"{\"Image\":\"busybox\",\"Labels\":".to_vec(), b"{\"a\":".repeat(100_000)].concat();
    let large = [b"{\"Image\":\"".to_vec(), vec![b'x'; 20 << 20], b"\"}".to_vec()].concat();
    let many = format!("{{\"Image\":\"busybox\",\"Env\":[{}]}}", vec!["5"; 100_000].join(","));
    for (path, body) in [
        ("/v1.51/containers/create", &b""[..]),
        ("/v1.51/containers/create", b"null"),
        ("/v1.51/containers/create", b"[]"),
        ("/v1.51/containers/create", b"5"),
        ("/v1.51/containers/create", b"{\"Image\":5}"),
        ("/v1.51/containers/create", b"{\"Image\":\"busybox\",\"Cmd\":{\"a\":1}}"),
        ("/v1.51/containers/create", b"{\"Image\":\"busybox\",\"HostConfig\":\"x\"}"),
        ("/v1.51/containers/create", b"{\"Image\":\"busybox\",\"HostConfig\":{\"Memory\":1e400}}"),
        ("/v1.51/containers/create", b"{\"Image\":\"busybox\",\"HostConfig\":{\"Memory\":\"1\"}}"),
        (
            "/v1.51/containers/create",
            b"{\"Image\":\"busybox\",\"HostConfig\":{\"PidsLimit\":99999999999999999999}}",
        ),
        ("/v1.51/containers/create", b"{\"Image\":\"busy\xffbox\"}"),
        ("/v1.51/containers/create", b"{\"Image\":\"busybox\"} trailing"),
        ("/v1.51/containers/create", b"{\"Image\":\"busybox\""),
        ("/v1.51/containers/create", &deep),
        ("/v1.51/containers/create", &large),
        ("/v1.51/containers/create", many.as_bytes()),
        ("/v1.51/containers/create?name=../../x", b"{\"Image\":\"busybox\"}"),
        ("/v1.51/containers/create?name=%00", b"{\"Image\":\"busybox\"}"),
        ("/v1.51/containers/create?name=%ff", b"{\"Image\":\"busybox\"}"),
        ("/v1.51/networks/create", b"{\"Name\":5}"),
        ("/v1.51/networks/create", b"{\"Name\":\"../x\",\"Driver\":\"bridge\"}"),
        ("/v1.51/volumes/create", b"{\"Name\":\"../../etc\"}"),
        ("/v1.51/volumes/create", b"{\"Name\":\"a/b\"}"),
        ("/v1.51/volumes/create", b"{\"Name\":[]}"),
    ] {
        let (line, answer) = post(&daemon, path, body);
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]);
        assert!(
            line.starts_with("HTTP/1.1 4") && answer.contains("\"message\":\""),
            "{path} {shown}: {line} {answer}"
        );
    }
    // Queries.
    for path in [
        "/v1.51/containers/json?filters=%5B",
        "/v1.51/containers/json?filters=%7B%22a%22%3A5%7D",
        "/v1.51/containers/json?filters=%ff%fe",
        "/v1.51/containers/json?limit=x",
        "/v1.51/images/..%2f..%2fetc%2fpasswd/json",
        "/v1.51/containers/..%2f..%2fx/json",
        "/v1.51/volumes/..%2f..%2fx",
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let (line, answer) = ask(&daemon, &head, b"");
        assert!(line.starts_with("HTTP/1.1 4"), "{path}: {line} {answer}");
    }
    assert_eq!(daemon.daemon(), pid, "the daemon went down:\n{}", daemon.log());
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    assert_eq!(files(&daemon.data_root()), before);
}
