//! Images made on the spot, so that no test needs an archive from elsewhere.

use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// A static busybox of this machine, if there is one.
pub fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.is_file())
}

/// Commands of busybox that the fixture image links.
const APPLETS: &[&str] = &[
    "cat", "chmod", "cp", "date", "dd", "df", "echo", "env", "false", "find", "grep", "head", "hostname",
    "id", "ifconfig", "ip", "kill", "ls", "mkdir", "mount", "mv", "nc", "nslookup", "ping", "pwd",
    "readlink", "rm", "seq", "sh", "sleep", "sort", "stat", "stty", "tail", "test", "top", "touch", "tr",
    "true", "tty", "umask", "uname", "vi", "wc", "wget", "yes",
];

/// One entry of an archive.
#[derive(Debug, Clone)]
pub enum Entry<'a> {
    /// A folder and its mode.
    Folder(&'a str, u32),
    /// A file, its mode and content.
    File(&'a str, u32, &'a [u8]),
    /// A symbolic link and where it leads.
    Link(&'a str, &'a str),
}

/// A ustar archive; names are at most 100 bytes.
///
/// # Panics
/// Where a name is longer.
pub fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut archive = Vec::new();
    for entry in entries {
        let (name, mode, kind, link, content): (_, _, _, _, &[u8]) = match *entry {
            Entry::Folder(name, mode) => (name, mode, b'5', "", &[]),
            Entry::File(name, mode, content) => (name, mode, b'0', "", content),
            Entry::Link(name, link) => (name, 0o777, b'2', link, &[]),
        };
        let mut header = vec![0_u8; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        assert!(name.len() <= 100 && link.len() <= 100, "names of fixtures are short");
        put(0, name.as_bytes());
        put(100, format!("{mode:07o}\0").as_bytes());
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", content.len()).as_bytes());
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, &[kind]);
        put(157, link.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// A docker-archive of one image with one layer; `config` is the image's `config` object.
pub fn docker_archive(name: &str, layer: &[u8], config: &serde_json::Value) -> Vec<u8> {
    let hex = |bytes: &[u8]| corten_std::id::hex(&Sha256::digest(bytes));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let document = json!({
        "architecture": architecture,
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(layer))]},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "a fixture"}],
    })
    .to_string();
    let config_name = format!("{}.json", hex(document.as_bytes()));
    let layer_name = format!("{}.tar", hex(layer));
    let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]).to_string();
    tar(&[
        Entry::File(&config_name, 0o644, document.as_bytes()),
        Entry::File(&layer_name, 0o644, layer),
        Entry::File("manifest.json", 0o644, manifest.as_bytes()),
    ])
}

/// The image `busybox:latest` as a docker-archive, made of this machine's static busybox; none where there is none.
pub fn busybox_image() -> Option<Vec<u8>> {
    let program = std::fs::read(busybox()?).ok()?;
    let links: Vec<String> = APPLETS.iter().map(|applet| format!("bin/{applet}")).collect();
    let mut entries = vec![
        Entry::Folder("bin/", 0o755),
        Entry::File("bin/busybox", 0o755, &program),
        Entry::Folder("dev/", 0o755),
        Entry::Folder("etc/", 0o755),
        Entry::File("etc/group", 0o644, b"root:x:0:\ndaemon:x:1:\nwheel:x:10:root,app\napp:x:1000:\n"),
        Entry::File("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
        Entry::Folder("home/", 0o755),
        Entry::Folder("home/app/", 0o755),
        Entry::Folder("root/", 0o700),
        Entry::Folder("tmp/", 0o1777),
        Entry::Folder("var/", 0o755),
    ];
    entries.extend(links.iter().map(|link| Entry::Link(link, "busybox")));
    let config =
        json!({"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]});
    Some(docker_archive("busybox:latest", &tar(&entries), &config))
}
