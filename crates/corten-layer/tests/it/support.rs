//! What the tests share: archives in a few words, and a folder as text.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use corten_layer::tar::{Entry, EntryKind, Time, Writer};
use corten_layer::{Applied, ApplyOptions, LayerError, apply, reproduce};
pub(crate) use corten_testing::{Scratch, need_root};

/// An entry with its content.
#[derive(Clone, Debug)]
pub(crate) struct Piece(pub(crate) Entry, pub(crate) Vec<u8>);

pub(crate) fn file(path: &str, content: &[u8]) -> Piece {
    bytes_file(path.as_bytes(), content)
}

pub(crate) fn bytes_file(path: &[u8], content: &[u8]) -> Piece {
    Piece(Entry { size: content.len() as u64, ..entry(path, EntryKind::File, 0o644) }, content.to_vec())
}

pub(crate) fn folder(path: &str) -> Piece {
    Piece(entry(path.as_bytes(), EntryKind::Directory, 0o755), Vec::new())
}

pub(crate) fn symlink(path: &str, target: &str) -> Piece {
    Piece(Entry { link: target.into(), ..entry(path.as_bytes(), EntryKind::Symlink, 0o777) }, Vec::new())
}

pub(crate) fn hard_link(path: &str, target: &str) -> Piece {
    Piece(Entry { link: target.into(), ..entry(path.as_bytes(), EntryKind::HardLink, 0o644) }, Vec::new())
}

pub(crate) fn entry(path: &[u8], kind: EntryKind, mode: u32) -> Entry {
    let mtime = Time { seconds: 1_000_000_000, nanoseconds: 0 };
    Entry { path: path.to_vec(), kind, mode, mtime, ..Entry::default() }
}

/// The archive of these entries.
pub(crate) fn tar(pieces: &[Piece]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for Piece(entry, content) in pieces {
        writer.append(entry, content).unwrap();
    }
    writer.finish().unwrap()
}

pub(crate) fn open(path: &Path) -> File {
    File::open(path).unwrap()
}

/// Applies `tar` to `root` and gives the record.
pub(crate) fn applied(
    tar: &[u8],
    root: &Path,
    options: &ApplyOptions<'_>,
) -> Result<(Applied, Vec<u8>), LayerError> {
    let mut record = Vec::new();
    let applied = apply(tar, open(root).as_fd(), &mut record, options)?;
    assert_eq!(applied.tar_size, tar.len() as u64);
    Ok((applied, record))
}

/// Applies `tar` and checks that the record gives it back; gives the folder as text.
#[track_caller]
pub(crate) fn check_layer(tar: &[u8], expected: &str) {
    let scratch = Scratch::new("layer");
    let (_, record) = applied(tar, scratch.path(), &ApplyOptions::default()).unwrap();
    assert_eq!(listing(scratch.path()).trim(), expected.trim());
    check_reproduced(&record, scratch.path(), tar);
}

#[track_caller]
pub(crate) fn check_reproduced(record: &[u8], root: &Path, tar: &[u8]) {
    let mut again = Vec::new();
    let length =
        reproduce(std::io::Cursor::new(record), open(root).as_fd(), &mut again).expect("it comes out again");
    assert_eq!(length, tar.len() as u64);
    assert!(again == tar, "the archive comes out byte for byte");
}

/// Everything below a folder: one line each, sorted.
pub(crate) fn listing(root: &Path) -> String {
    let mut lines = Vec::new();
    list(root, root, &mut lines);
    lines.sort();
    lines.join("\n")
}

fn list(root: &Path, folder: &Path, lines: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let kind = metadata.file_type();
        let name = path.strip_prefix(root).unwrap();
        let mut line = format!(
            "{} {:o} {}:{}",
            name.display(),
            metadata.mode() & 0o7777,
            metadata.uid(),
            metadata.gid()
        );
        if metadata.mtime() != 1_000_000_000 && !kind.is_char_device() {
            write!(line, " @{}", metadata.mtime()).unwrap();
        }
        if kind.is_dir() {
            line.push_str(" folder");
        } else if kind.is_symlink() {
            write!(line, " -> {}", std::fs::read_link(&path).unwrap().display()).unwrap();
        } else if kind.is_char_device() || kind.is_block_device() {
            let letter = if kind.is_char_device() { 'c' } else { 'b' };
            let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
            write!(line, " {letter} {major}:{minor}").unwrap();
        } else if kind.is_fifo() {
            line.push_str(" fifo");
        } else {
            let content = std::fs::read(&path).unwrap();
            match std::str::from_utf8(&content) {
                Ok(text) if text.len() < 40 => write!(line, " {text:?}").unwrap(),
                _ => write!(line, " {} bytes, sum {}", content.len(), sum(&content)).unwrap(),
            }
            if metadata.nlink() > 1 {
                write!(line, " x{}", metadata.nlink()).unwrap();
            }
        }
        for (name, value) in attributes(&path) {
            write!(line, " {name}={value}").unwrap();
        }
        lines.push(line);
        if kind.is_dir() {
            list(root, &path, lines);
        }
    }
}

/// Extended attributes, but for those of the host's security modules.
fn attributes(path: &Path) -> Vec<(String, String)> {
    let mut names = vec![0_u8; 65536];
    let Ok(length) = rustix::fs::llistxattr(path, names.as_mut_slice()) else { return Vec::new() };
    let mut found: Vec<_> = names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty() && *name != b"security.selinux")
        .map(|name| {
            let mut value = vec![0_u8; 65536];
            let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), value.as_mut_slice()).unwrap();
            let value = value[..length].escape_ascii().to_string();
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect();
    found.sort();
    found
}

fn sum(content: &[u8]) -> u64 {
    content
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
