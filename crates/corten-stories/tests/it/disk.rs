//! What `system df` says of the disk, against what the disk says.

use crate::daemon;
use corten_testing::daemon::ScratchDaemon;
use corten_testing::fixture::{self, Entry};
use corten_testing::registry::Registry;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Bytes below a path, as du(1) counts them.
fn du(path: &Path) -> u64 {
    if !path.exists() {
        return 0;
    }
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(path).output().expect("du runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
}

/// Bytes of images, containers and volumes, as the API tells them.
fn df(daemon: &ScratchDaemon) -> [u64; 3] {
    let mut stream = UnixStream::connect(daemon.socket()).expect("the daemon listens");
    stream
        .write_all(b"GET /system/df HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
        .expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let document = body.find('{').zip(body.rfind('}')).map(|(begin, end)| &body[begin..=end]);
    let usage: serde_json::Value = serde_json::from_str(document.expect("a document")).expect("JSON");
    let sum = |kind: &str, size: &str| -> u64 {
        let rows = usage[kind].as_array().map(Vec::as_slice).unwrap_or_default();
        rows.iter().filter_map(|row| row.pointer(size)?.as_u64()).sum()
    };
    let images = usage["LayersSize"].as_u64().expect("a number");
    [images, sum("Containers", "/SizeRw"), sum("Volumes", "/UsageData/Size")]
}

fn near(what: &str, said: u64, found: u64) {
    // What a kind takes when there is nothing of it: its folders.
    const EMPTY: u64 = 64 << 10;
    let difference = said.abs_diff(found);
    assert!(difference <= found / 50 || difference <= EMPTY, "{what}: df says {said}, du says {found}");
}

pub(crate) fn compare(daemon: &ScratchDaemon, when: &str) {
    let root = daemon.data_root();
    // What was removed goes in the background.
    let begun = Instant::now();
    while std::fs::read_dir(root.join("tmp")).expect("a folder").next().is_some() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{when}: removed files stay");
        std::thread::sleep(Duration::from_millis(20));
    }
    let [images, containers, volumes] = df(daemon);
    near(&format!("images {when}"), images, du(&root.join("blobs")) + du(&root.join("snapshots/committed")));
    near(
        &format!("containers {when}"),
        containers,
        du(&root.join("snapshots/active")) + du(&root.join("containers")),
    );
    near(&format!("volumes {when}"), volumes, du(&root.join("volumes")));
    // The database is ours alone, and no image's or container's.
    let database = du(&root.join("state.redb")) + du(&root.join("state.journal"));
    near(&format!("all {when}"), images + containers + volumes + database, du(&root));
}

/// Bytes that do not compress.
pub(crate) fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    })
    .take(length)
    .collect()
}

#[test]
fn df_agrees_with_du() {
    let Some(daemon) = daemon("df") else { return };
    compare(&daemon, "after a load");
    // Two images that share a layer; one of them has many files that are smaller than a block.
    let registry = Registry::start();
    let big = noise(12 << 20, 1);
    let shared = fixture::tar(&[Entry::File("shared", 0o644, &big)]);
    let names: Vec<String> = (0..800).map(|number| format!("small-{number}")).collect();
    let small: Vec<Entry<'_>> = names.iter().map(|name| Entry::File(name, 0o644, b"a few bytes")).collect();
    let small = fixture::tar(&small);
    for (tag, layers) in [("one", vec![shared.clone()]), ("two", vec![shared.clone(), small.clone()])] {
        let diff_ids: Vec<String> =
            layers.iter().map(|layer| corten_testing::registry::digest(layer)).collect();
        let config = serde_json::json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let packed: Vec<Vec<u8>> = layers.iter().map(|layer| gzip(layer)).collect();
        registry.add_image("files", tag, config.to_string().as_bytes(), &packed);
        daemon.ok(&["pull", "-q", &format!("{}/files:{tag}", registry.host())]);
    }
    compare(&daemon, "after two pulls");
    // Hard links and holes, in a container and in a volume.
    let writes = "head -c 9000000 /dev/urandom > a; ln a b; ln a c; truncate -s 1G hole; mkdir d; for i in $(seq 300); do echo $i > d/$i; done; yes | head -c 3000000";
    daemon.ok(&["run", "--name", "wrote", "busybox", "sh", "-c", &format!("mkdir /w; cd /w; {writes}")]);
    compare(&daemon, "after a run with writes");
    daemon.ok(&["run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", &format!("cd /data; {writes}")]);
    compare(&daemon, "after writes to a volume");
    daemon.ok(&["run", "-d", "--name", "stays", "busybox", "sleep", "1000"]);
    daemon.ok(&["commit", "stays", "kept:1"]);
    daemon.ok(&["create", "--name", "lies", "kept:1"]);
    compare(&daemon, "after a commit");
    daemon.restart();
    compare(&daemon, "after a restart");
    daemon.ok(&["rm", "-f", "wrote", "stays"]);
    daemon.ok(&["image", "rm", &format!("{}/files:two", registry.host())]);
    // Its image's layers stay as long as the container.
    daemon.ok(&["image", "rm", "-f", "kept:1"]);
    // The layers of a removed container's image are collected by a thread.
    std::thread::sleep(Duration::from_millis(200));
    compare(&daemon, "after removals");
    daemon.ok(&["rm", "lies"]);
    daemon.ok(&["volume", "rm", "data"]);
    std::thread::sleep(Duration::from_millis(200));
    compare(&daemon, "at the end");
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}
