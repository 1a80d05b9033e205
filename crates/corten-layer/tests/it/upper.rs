//! Upper folders: their archives, what they change, and that a real overlay shows what was applied.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use corten_layer::{ApplyOptions, ChangeKind, DiffOptions, changes, diff};
use rustix::fs::{CWD, FileType, Mode};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::support::*;

/// An overlay mount for one test.
struct Overlay(PathBuf);

impl Overlay {
    fn new(scratch: &Path, lowers: &[&Path]) -> Option<Self> {
        let folder = |name: &str| {
            let path = scratch.join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let (upper, work, merged) = (folder("upper"), folder("work"), folder("merged"));
        let lowers: Vec<String> = lowers.iter().map(|path| path.display().to_string()).collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={},index=off,metacopy=off,redirect_dir=off",
            lowers.join(":"),
            upper.display(),
            work.display()
        );
        let options = std::ffi::CString::new(options).unwrap();
        let mounted = mount("overlay", &merged, "overlay", MountFlags::empty(), options.as_c_str());
        corten_testing::need("overlayfs", mounted.is_ok()).then_some(Self(merged))
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn layer(scratch: &Path, name: &str, pieces: &[Piece]) -> PathBuf {
    let path = scratch.join(name);
    std::fs::create_dir(&path).unwrap();
    applied(&tar(pieces), &path, &ApplyOptions::default()).unwrap();
    path
}

#[test]
fn what_a_container_did_becomes_a_layer_that_does_the_same() {
    if !need_root() {
        return;
    }
    let scratch = Scratch::new("overlay");
    let base = layer(
        scratch.path(),
        "base",
        &[
            folder("a"),
            file("a/1", b"1"),
            file("a/2", b"2"),
            folder("b"),
            file("b/old", b""),
            folder("c"),
            file("gone", b""),
            file("same", b""),
        ],
    );
    let Some(overlay) = Overlay::new(scratch.path(), &[&base]) else { return };
    let merged = overlay.0.clone();
    std::fs::remove_file(merged.join("gone")).unwrap();
    std::fs::write(merged.join("a/1"), "changed").unwrap();
    std::fs::remove_file(merged.join("a/2")).unwrap();
    std::fs::remove_dir_all(merged.join("b")).unwrap();
    std::fs::create_dir(merged.join("b")).unwrap();
    std::fs::write(merged.join("b/new"), "new").unwrap();
    std::fs::hard_link(merged.join("b/new"), merged.join("b/twin")).unwrap();
    let upper = open(&scratch.path().join("upper"));

    let below = open(&base);
    let list: Vec<String> = changes(upper.as_fd(), &[below.as_fd()], false)
        .unwrap()
        .into_iter()
        .map(|change| {
            let letter = match change.kind {
                ChangeKind::Modified => 'C',
                ChangeKind::Added => 'A',
                ChangeKind::Deleted => 'D',
            };
            format!("{letter} {}", change.path.display())
        })
        .collect();
    assert_eq!(list, ["C /a", "C /a/1", "D /a/2", "C /b", "A /b/new", "A /b/twin", "D /gone"]);

    let (mut bytes, mut record) = (Vec::new(), Vec::new());
    diff(upper.as_fd(), &mut bytes, &mut record, &DiffOptions::default()).unwrap();
    check_reproduced(&record, &scratch.path().join("upper"), &bytes);
    let second = Scratch::new("second");
    let copy = second.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    applied(&bytes, &copy, &ApplyOptions::default()).unwrap();
    let Some(again) = Overlay::new(second.path(), &[&copy, &base]) else { return };
    assert_eq!(without_nanoseconds(&merged), without_nanoseconds(&again.0));
    let mut other = Vec::new();
    diff(open(&copy).as_fd(), &mut other, &mut corten_layer::NoRecord, &DiffOptions::default()).unwrap();
    assert!(names(&other) == names(&bytes), "{:?}", names(&other));
}

fn names(tar: &[u8]) -> Vec<String> {
    let mut reader = corten_layer::tar::Reader::new(tar);
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        names.push(format!("{} {:?}", String::from_utf8_lossy(&entry.path), entry.kind));
    }
    names
}

fn without_nanoseconds(root: &Path) -> String {
    listing(root)
}

#[test]
fn an_overlay_shows_what_the_layers_mean() {
    if !need_root() {
        return;
    }
    let scratch = Scratch::new("shows");
    let base = layer(
        scratch.path(),
        "base",
        &[folder("d"), file("d/x", b""), file("d/y", b""), folder("e"), file("e/z", b"")],
    );
    let below = open(&base);
    let top = scratch.path().join("top");
    std::fs::create_dir(&top).unwrap();
    let options = ApplyOptions { parents: vec![below.as_fd()], ..ApplyOptions::default() };
    let bytes = tar(&[file("d/.wh.x", b""), file(".wh.e", b""), file("e/own", b"")]);
    applied(&bytes, &top, &options).unwrap();
    let Some(overlay) = Overlay::new(scratch.path(), &[&top, &base]) else { return };
    let shown = listing(&overlay.0);
    let names: Vec<&str> = shown.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["d", "d/y", "e", "e/own"]);
}

#[test]
fn an_archive_of_a_folder_is_the_same_each_time() {
    if !need_root() {
        return;
    }
    let scratch = Scratch::new("diff");
    let root = scratch.path();
    for name in ["z", "a", "m/y", "m/b"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
        std::fs::write(root.join(name).join("f"), name).unwrap();
    }
    rustix::fs::mknodat(CWD, root.join("m/gone"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let made = |latest| {
        let mut bytes = Vec::new();
        let options = DiffOptions { latest_mtime: latest, ..DiffOptions::default() };
        diff(open(root).as_fd(), &mut bytes, &mut corten_layer::NoRecord, &options).unwrap();
        bytes
    };
    assert_eq!(made(Some(7)), made(Some(7)));
    assert_eq!(
        names(&made(None)),
        [
            "a/ Directory",
            "a/f File",
            "m/ Directory",
            "m/b/ Directory",
            "m/b/f File",
            "m/.wh.gone File",
            "m/y/ Directory",
            "m/y/f File",
            "z/ Directory",
            "z/f File"
        ]
    );
    let latest = Scratch::new("latest");
    applied(&made(Some(7)), latest.path(), &ApplyOptions::default()).unwrap();
    assert_eq!(latest.path().join("a/f").metadata().unwrap().mtime(), 7);
}
