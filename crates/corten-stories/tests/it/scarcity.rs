//! A daemon that runs out of something – space, inodes, descriptors, memory, the right to write – at every step of an
//! operation in turn: a clear error, nothing half-made, and it goes on.
//!
//! The steps are found by trying: the operation is repeated with a little more of the scarce thing each time, until it
//! succeeds. So each place that can run out does so once, whatever the code looks like.

use crate::leftovers::Leftovers;
use corten_testing::daemon::{Said, ScratchDaemon};
use corten_testing::fixture::{Entry, docker_archive, tar};
use rustix::fs::FallocateFlags;
use rustix::mount::{MountFlags, mount, mount_remount};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A daemon whose data lies on a small file system in memory, with the image.
pub(crate) fn small(name: &str, options: &str) -> Option<ScratchDaemon> {
    if !corten_testing::need_root() {
        return None;
    }
    let options = std::ffi::CString::new(options).expect("no zero byte");
    let daemon = ScratchDaemon::start_on(name, &[], |data_root| {
        mount("tmpfs", data_root, "tmpfs", MountFlags::empty(), options.as_c_str()).expect("a tmpfs");
    });
    daemon.load_busybox().then_some(daemon)
}

/// What there is of named things and files, as a user and as the file system see it.
pub(crate) fn seen(daemon: &ScratchDaemon) -> [String; 4] {
    let mut blobs: Vec<String> = std::fs::read_dir(daemon.data_root().join("blobs/sha256"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    blobs.sort();
    [
        daemon.ok(&["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}"]),
        daemon.ok(&["images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"]),
        daemon.ok(&["volume", "ls"]),
        blobs.join(" "),
    ]
}

/// The operations that are tried, each with how it is undone where it succeeded.
type Operation = (&'static str, fn(&ScratchDaemon) -> Said, &'static [&'static str]);

fn operations() -> [Operation; 4] {
    [
        ("load", |daemon| daemon.with_input(&["load", "-q"], &other_image()), &["rmi", "other:latest"]),
        (
            "create",
            |daemon| daemon.corten(&["create", "--name", "c1", "-v", "/v", "busybox"]),
            &["rm", "-v", "c1"],
        ),
        (
            "run",
            |daemon| daemon.corten(&["run", "--name", "c1", "-v", "/v", "busybox", "true"]),
            &["rm", "-v", "c1"],
        ),
        ("commit", |daemon| daemon.corten(&["commit", "base", "made:1"]), &["rmi", "made:1"]),
    ]
}

/// An image of two files, one large for its surroundings, as an archive.
fn other_image() -> Vec<u8> {
    let large: Vec<u8> =
        (0..600_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let files = [
        Entry::Folder("d/", 0o755),
        Entry::File("d/large", 0o644, &large),
        Entry::File("small", 0o644, b"x"),
    ];
    docker_archive("other:latest", &tar(&files), &serde_json::json!({"Cmd": ["true"]}))
}

/// Tries an operation with more and more of what is scarce until it succeeds; `give` sets how much there is, by steps.
/// Gives how often it failed.
fn climb(
    daemon: &ScratchDaemon,
    operation: &Operation,
    words: &[&str],
    mut give: impl FnMut(u64),
    mut relieve: impl FnMut(),
) -> usize {
    let (name, act, undo) = operation;
    let before = seen(daemon);
    let at_rest = Leftovers::at_rest(daemon);
    for step in 0..400 {
        give(step);
        let said = act(daemon);
        relieve();
        if said.code == 0 {
            daemon.ok(undo);
            assert_eq!(seen(daemon), before, "{name} undone after {step} steps");
            return step as usize;
        }
        // A container whose start failed is there, as it was before.
        if name == &"run" {
            daemon.corten(undo);
        }
        assert!(
            words.iter().any(|word| said.err.contains(word)),
            "{name}, step {step}, says why: {said:?}\n{}",
            daemon.log()
        );
        assert_eq!(seen(daemon), before, "{name} left something at step {step}: {said:?}");
        Leftovers::settle(daemon, &at_rest, &format!("{name} failed at step {step}: {said:?}"));
    }
    panic!("{name} never succeeded");
}

/// Leaves so many bytes on the small file system.
pub(crate) fn fill(daemon: &ScratchDaemon, left: u64) {
    relieve(daemon);
    let status = rustix::fs::statvfs(daemon.data_root()).expect("a file system");
    let free = status.f_bavail * status.f_frsize;
    let file = std::fs::File::create(daemon.data_root().join("filler")).expect("a filler");
    let _ = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, free.saturating_sub(left).max(1));
}

/// Gives back what was taken.
pub(crate) fn relieve(daemon: &ScratchDaemon) {
    let _ = std::fs::remove_file(daemon.data_root().join("filler"));
}

fn base(daemon: &ScratchDaemon) {
    let script = "head -c 100000 /dev/urandom > /file; mkdir /d; for n in $(seq 5); do echo $n > /d/$n; done";
    daemon.ok(&["run", "--name", "base", "busybox", "sh", "-c", script]);
}

#[test]
fn no_space() {
    let Some(daemon) = small("space", "size=48m,mode=700") else { return };
    base(&daemon);
    for operation in &operations() {
        let step = if operation.0 == "load" { 96 << 10 } else { 4 << 10 };
        let failures = climb(
            &daemon,
            operation,
            &["no space left on device", "No space left on device"],
            |count| fill(&daemon, count * step),
            || relieve(&daemon),
        );
        assert!(failures > 0, "{} was not short of space", operation.0);
    }
    // Removing needs no space.
    daemon.ok(&["create", "--name", "c1", "busybox"]);
    fill(&daemon, 0);
    daemon.ok(&["rm", "c1"]);
    daemon.ok(&["ps", "-a"]);
    relieve(&daemon);
}

/// Forms of layers that were dropped come back onto a disk that is full: not at all, or whole.
#[test]
fn no_space_for_what_was_dropped() {
    let Some(daemon) = small("space-forms", "size=48m,mode=700") else { return };
    let registry = corten_testing::registry::Registry::start();
    crate::forms::add_files(&registry, b"content");
    let name = format!("{}/files:1", registry.host());
    daemon.ok(&["pull", "-q", &name]);
    let before = crate::forms::save(&daemon, &name);
    let archive = daemon.folder().join("saved").display().to_string();
    // What a save has to fetch, and what a create has to unpack.
    for (drop, act) in [
        (&["image", "compact"][..], &["save", "-o", &archive][..]),
        (&["image", "compact", "--keep-compressed", "--unpacked-for", "0s"], &["create", "--name", "c1"]),
    ] {
        daemon.ok(drop);
        let there = seen(&daemon);
        let mut failures = 0;
        loop {
            fill(&daemon, failures * (384 << 10));
            let said = daemon.corten(&[act, &[name.as_str()]].concat());
            relieve(&daemon);
            if said.code == 0 {
                break;
            }
            failures += 1;
            assert!(said.err.to_lowercase().contains("no space left on device"), "{act:?}: {said:?}");
            assert_eq!(seen(&daemon), there, "{act:?} left something after {failures}: {said:?}");
            assert!(failures < 100, "{act:?} never succeeded: {said:?}");
        }
        assert!(failures > 1, "{act:?} was not short of space");
        daemon.corten(&["rm", "c1"]);
        assert!(crate::forms::save(&daemon, &name) == before, "{act:?}");
    }
}

#[test]
fn no_inodes() {
    let Some(daemon) = small("inodes", "size=64m,nr_inodes=2000,mode=700") else { return };
    base(&daemon);
    let folder = daemon.data_root().join("filler");
    let relieve = || {
        let _ = std::fs::remove_dir_all(&folder);
    };
    for operation in &operations() {
        climb(
            &daemon,
            operation,
            &["no space left on device", "No space left on device"],
            |left| {
                std::fs::create_dir(&folder).expect("a folder");
                let status = rustix::fs::statvfs(daemon.data_root()).expect("a file system");
                for number in 0..status.f_ffree.saturating_sub(left) {
                    std::fs::write(folder.join(number.to_string()), []).expect("a file");
                }
            },
            relieve,
        );
    }
}

#[test]
fn no_right_to_write() {
    let Some(daemon) = small("readonly", "size=48m,mode=700") else { return };
    base(&daemon);
    let before = seen(&daemon);
    // The kernel refuses this change while a daemon has its database open; so it is one that starts.
    daemon.end();
    let remount = |flags: MountFlags| mount_remount(daemon.data_root(), flags, c"").expect("a remount");
    remount(MountFlags::RDONLY);
    let started: Said = std::process::Command::new(corten_testing::daemon::program())
        .arg("daemon")
        .args([std::ffi::OsStr::new("--data-root"), daemon.data_root().as_os_str()])
        .args([std::ffi::OsStr::new("--exec-root"), daemon.exec_root().as_os_str()])
        .args(["--bridge", daemon.bridge()])
        .output()
        .expect("the program starts")
        .into();
    remount(MountFlags::empty());
    assert!(started.code != 0 && started.err.contains("ead-only file system"), "{started:?}");
    assert!(started.err.contains(&daemon.data_root().display().to_string()), "{started:?}");
    daemon.start_again();
    assert_eq!(seen(&daemon), before);
}

/// The daemon's present process.
fn process(daemon: &ScratchDaemon) -> Pid {
    let start = Instant::now();
    loop {
        if let Some(pid) = daemon.daemon().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            return pid;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "a daemon");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn limit(pid: Pid, resource: Resource, value: Option<u64>) {
    // One that has just died has no limits.
    let _ = prlimit(Some(pid), resource, Rlimit { current: value, maximum: None });
}

#[test]
fn no_descriptors() {
    let Some(daemon) = small("descriptors", "size=48m,mode=700") else { return };
    base(&daemon);
    let highest = |pid: Pid| {
        std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_pid()))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_string_lossy().parse::<u64>().ok())
            .max()
            .unwrap_or(64)
    };
    for operation in &operations() {
        climb(
            &daemon,
            operation,
            // Where not even the connection can be taken the client is told nothing but that it ended.
            &["oo many open files", "EOF", "onnection", "daemon"],
            |step| {
                let pid = process(&daemon);
                limit(pid, Resource::Nofile, Some(highest(pid).saturating_sub(6) + step));
            },
            || limit(process(&daemon), Resource::Nofile, Some(1 << 16)),
        );
    }
}

#[test]
fn no_memory() {
    let Some(daemon) = small("memory", "size=48m,mode=700") else { return };
    base(&daemon);
    let mapped = |pid: Pid| {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", pid.as_raw_pid())).unwrap_or_default();
        text.split(' ').next().and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(1 << 20) * 4096
    };
    for operation in &operations() {
        climb(
            &daemon,
            operation,
            // A daemon that gets no memory ends and is started again; its client hears that the connection ended.
            &["memory", "EOF", "onnection", "daemon", "reset", "pipe"],
            |step| {
                let pid = process(&daemon);
                limit(pid, Resource::As, Some(mapped(pid) + step * (256 << 10)));
            },
            || limit(process(&daemon), Resource::As, None),
        );
    }
}

#[test]
fn a_full_disk_under_the_log() {
    let Some(daemon) = small("log", "size=40m,mode=700") else { return };
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "busybox",
        "sh",
        "-c",
        "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.01; done",
    ]);
    let lines = || daemon.ok(&["logs", "c1"]).lines().count();
    wait_until("the first lines", || lines() > 10);
    let filler = daemon.data_root().join("filler");
    fill_up(&filler);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(daemon.ok(&["inspect", "-f", "{{.State.Running}}", "c1"]), "true");
    assert_eq!(daemon.ok(&["exec", "c1", "echo", "in"]), "in");
    let full = lines();
    std::fs::remove_file(&filler).expect("the filler");
    wait_until("lines after there is space again", || lines() > full + 10);
    // Each line is whole.
    for line in daemon.ok(&["logs", "c1"]).lines() {
        let number = line.strip_prefix("line ").and_then(|number| number.parse::<u64>().ok());
        assert!(number.is_some(), "{line:?}");
    }
}

fn fill_up(filler: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(PathBuf::from(filler)).expect("a filler");
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
