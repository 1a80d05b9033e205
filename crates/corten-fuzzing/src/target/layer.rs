//! Archives and records of layers, on a real file system beside a neighbour that must not change.

use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use corten_layer::tar::{Entry, EntryKind, Reader, Writer};
use corten_layer::{
    ApplyOptions, NoRecord, OwnerMapping, UnpackOptions, apply, compress, decompress, reproduce, unpack,
};

use crate::Target;

const WORDS: &[&str] =
    &["../", "/", ".wh.", ".wh..wh..opq", "./", "ustar\0", "00000000000\0", "path=", "linkpath=", "size=9"];

pub(super) const TAR: Target = Target { name: "tar_reader", run: tar, seeds: archives, words: WORDS };
pub(super) const APPLY: Target =
    Target { name: "layer_apply", run: apply_layer, seeds: archives, words: WORDS };
pub(super) const UNPACK: Target =
    Target { name: "layer_unpack", run: unpack_archive, seeds: archives, words: WORDS };
pub(super) const REPRODUCE: Target = Target {
    name: "layer_reproduce",
    run: reproduce_record,
    seeds: records,
    words: &["../", "d", "link", "secret"],
};
pub(super) const DECOMPRESS: Target = Target {
    name: "decompress",
    run: decompress_stream,
    seeds: || {
        vec![
            // Nothing, as gzip and as zstd have it.
            vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            vec![0x28, 0xb5, 0x2f, 0xfd, 0x24, 0, 1, 0, 0, 0x99, 0xe9, 0xd8, 0x51],
            b"BZh9".to_vec(),
            b"\xfd7zXZ\0".to_vec(),
            archives().swap_remove(0),
        ]
    },
    words: &["\x1f", "(", "/"],
};

pub(super) const COMPRESS: Target = Target {
    name: "layer_compress",
    run: compress_and_back,
    seeds: || vec![Vec::new(), b"\x02ab\xff\x40".to_vec(), archives().swap_remove(0)],
    words: &["\0\0", "aaaaaaaa", "abcabcabc"],
};

/// Archives with every kind of entry.
pub(super) fn archives() -> Vec<Vec<u8>> {
    let entry = |path: &str, kind, link: &str| Entry {
        path: path.as_bytes().to_vec(),
        kind,
        link: link.as_bytes().to_vec(),
        mode: 0o755,
        ..Entry::default()
    };
    let whole = |entries: &[(Entry, &[u8])]| {
        let mut writer = Writer::new(Vec::new());
        for (entry, content) in entries {
            let entry = Entry { size: content.len() as u64, ..entry.clone() };
            writer.append(&entry, content).expect("an entry");
        }
        writer.finish().expect("an archive")
    };
    let long = "l".repeat(180);
    let mut extended = entry("x", EntryKind::File, "");
    extended.mtime.nanoseconds = 5;
    extended.uid = 1 << 30;
    vec![
        whole(&[
            (entry("d/", EntryKind::Directory, ""), b""),
            (entry("d/f", EntryKind::File, ""), b"content"),
            (entry("d/l", EntryKind::Symlink, "../f"), b""),
            (entry("h", EntryKind::HardLink, "d/f"), b""),
        ]),
        whole(&[
            (entry("l", EntryKind::Symlink, "/../../outside"), b""),
            (entry("l/secret", EntryKind::File, ""), b"x"),
            (entry(&long, EntryKind::File, ""), b"y"),
            (extended, b""),
            (entry(".wh.gone", EntryKind::File, ""), b""),
            (entry("p", EntryKind::Fifo, ""), b""),
        ]),
    ]
}

fn records() -> Vec<Vec<u8>> {
    archives()
        .into_iter()
        .map(|archive| {
            let place = Place::new("seed");
            let mut record = Vec::new();
            let options = ApplyOptions { owner: OwnerMapping::Unchanged, ..ApplyOptions::default() };
            let _ = apply(archive.as_slice(), place.root().as_fd(), &mut record, &options);
            record
        })
        .collect()
}

/// The input with a right checksum in every block: else hardly any change would get past the first header.
pub(super) fn with_sums(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for block in bytes.chunks_exact_mut(512).filter(|block| block.iter().any(|&byte| byte != 0)) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

/// A root beside a neighbour; gone when dropped.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let thread = format!("{:?}", std::thread::current().id());
        let path = std::env::temp_dir().join(format!("corten-fuzz-{name}-{}-{thread}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("root")).expect("a folder");
        std::fs::create_dir_all(path.join("outside")).expect("a folder");
        std::fs::write(path.join("outside/secret"), "secret of the host").expect("a file");
        Self(path)
    }

    fn root(&self) -> File {
        File::open(self.0.join("root")).expect("the root")
    }

    fn assert_untouched(&self) {
        let count = |path: &Path| std::fs::read_dir(path).expect("the folder").count();
        assert_eq!(std::fs::read(self.0.join("outside/secret")).expect("the file"), b"secret of the host");
        assert_eq!((count(&self.0.join("outside")), count(&self.0)), (1, 2));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Reads all entries; what an entry says is within bounds.
fn tar(bytes: &[u8]) {
    let bytes = with_sums(bytes);
    let mut reader = Reader::new(bytes.as_slice());
    while let Ok(Some(entry)) = reader.next_entry() {
        assert!(entry.path.len() + entry.link.len() <= bytes.len());
        assert!(!entry.path.contains(&0) && !entry.link.contains(&0));
        assert!(reader.offset() <= bytes.len() as u64);
    }
}

/// Applied into a root beside a neighbour that must not change; what could be applied comes out again byte for byte.
fn apply_layer(input: &[u8]) {
    let bytes = with_sums(input);
    let place = Place::new("apply");
    let root = place.root();
    let options = ApplyOptions { owner: OwnerMapping::Unchanged, ..ApplyOptions::default() };
    let mut record = Vec::new();
    if apply(bytes.as_slice(), root.as_fd(), &mut record, &options).is_ok() {
        let mut again = Vec::new();
        reproduce(Cursor::new(&record), root.as_fd(), &mut again).expect("what was applied comes out again");
        assert!(again == bytes);
    }
    place.assert_untouched();
}

/// Unpacked twice, over what the first time left, and as a layer without a record.
fn unpack_archive(input: &[u8]) {
    let bytes = with_sums(input);
    let place = Place::new("unpack");
    let root = place.root();
    let options = UnpackOptions {
        owner: OwnerMapping::Unchanged,
        no_overwrite_dir_non_dir: input.len().is_multiple_of(2),
    };
    for _ in 0..2 {
        let _ = unpack(bytes.as_slice(), root.as_fd(), Path::new("/"), &options);
    }
    let _ = unpack(bytes.as_slice(), root.as_fd(), Path::new("/l/d"), &options);
    let options = ApplyOptions { owner: OwnerMapping::Unchanged, ..ApplyOptions::default() };
    let _ = apply(bytes.as_slice(), root.as_fd(), &mut NoRecord, &options);
    place.assert_untouched();
}

/// An error or an archive, and never a file from outside of the root.
fn reproduce_record(bytes: &[u8]) {
    let place = Place::new("record");
    std::fs::create_dir_all(place.0.join("root/d")).expect("a folder");
    let _ = std::os::unix::fs::symlink("../outside/secret", place.0.join("root/link"));
    let _ = std::os::unix::fs::symlink("../outside", place.0.join("root/l"));
    let mut out = Bounded(Vec::new());
    let _ = reproduce(Cursor::new(bytes), place.root().as_fd(), &mut out);
    let secret = b"secret of the host";
    assert!(!out.0.windows(secret.len()).any(|window| window == secret));
    place.assert_untouched();
}

/// Takes so much and no more: a record of a few bytes can stand for any number of zeros.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        if self.0.len() > 1 << 20 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An end or an error, whatever the stream says that it is.
fn decompress_stream(bytes: &[u8]) {
    let Ok(stream) = decompress(Cursor::new(bytes.to_vec())) else { return };
    let mut out = Vec::new();
    let _ = stream.take(4 << 20).read_to_end(&mut out);
}

/// Whatever is compressed comes back. Each byte is also said again as often as the one after it tells, so that short inputs
/// make repeats and runs that reach over pieces and blocks.
fn compress_and_back(bytes: &[u8]) {
    let mut layer = bytes.to_vec();
    for pair in bytes.chunks_exact(2) {
        if layer.len() > 3 << 20 {
            break;
        }
        let again = usize::from(pair[1]).pow(2);
        match pair[0] % 3 {
            0 => layer.extend(std::iter::repeat_n(pair[0], again)),
            1 => layer.extend((0..again).map(|at| ((at * usize::from(pair[0])) >> 3) as u8)),
            _ => {
                let from = layer.len().saturating_sub(again + 1);
                layer.extend_from_within(from..);
            }
        }
    }
    let mut packed = Vec::new();
    compress(&mut &layer[..], &mut packed).expect("memory takes all");
    let mut back = Vec::with_capacity(layer.len());
    decompress(Cursor::new(packed)).expect("gzip").read_to_end(&mut back).expect("a whole stream");
    assert!(back == layer, "{} bytes came back as {}", layer.len(), back.len());
}
