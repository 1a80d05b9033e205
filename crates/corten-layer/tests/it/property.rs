//! Generated archives and trees.

use std::os::fd::AsFd;

use corten_layer::tar::{Entry, EntryKind};
use corten_layer::{ApplyOptions, DiffOptions, LayerError, NoRecord, apply, diff};
use proptest::prelude::*;

use crate::support::*;

/// Names from few parts, so that they meet; some of them hostile.
fn name() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "c", "dd"]),
        1 => prop::sample::select(vec!["..", ".", "", ".wh.a", ".wh..wh..opq", ".wh...", "outside", "secret"]),
    ];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

fn piece() -> impl Strategy<Value = Piece> {
    let kind = prop_oneof![
        4 => Just(EntryKind::File),
        3 => Just(EntryKind::Directory),
        3 => Just(EntryKind::Symlink),
        2 => Just(EntryKind::HardLink),
        1 => Just(EntryKind::Fifo),
        1 => Just(EntryKind::CharacterDevice),
    ];
    let target = prop_oneof![
        3 => name(),
        1 => name().prop_map(|name| format!("/{name}")),
        1 => name().prop_map(|name| format!("../../outside/{name}")),
    ];
    (name(), kind, target, prop::collection::vec(any::<u8>(), 0..600), 0..0o10000_u32).prop_map(
        |(path, kind, link, content, mode)| {
            let content = if kind == EntryKind::File { content } else { Vec::new() };
            let link =
                if matches!(kind, EntryKind::Symlink | EntryKind::HardLink) { link } else { String::new() };
            // A character device 0/0 is a whiteout, and does not keep its mode.
            let device = if kind == EntryKind::CharacterDevice { (1, 3) } else { (0, 0) };
            // Folders that the listing can read, whoever runs it.
            let mode = mode | 0o700;
            Piece(
                Entry {
                    link: link.into(),
                    size: content.len() as u64,
                    device,
                    ..entry(path.as_bytes(), kind, mode)
                },
                content,
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the archive: nothing outside is touched, and what could be applied comes out byte for byte.
    #[test]
    fn any_archive_stays_inside_and_comes_out_again(pieces in prop::collection::vec(piece(), 0..14), cut in 0..4_u8) {
        if !need_root() {
            return Ok(());
        }
        let scratch = Scratch::new("property");
        let (root, outside) = (scratch.path().join("root"), scratch.path().join("outside"));
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret"), "secret").unwrap();
        let before = listing(&outside);
        let mut bytes = tar(&pieces);
        if cut == 0 {
            bytes.truncate(bytes.len() * 2 / 3);
        }
        let mut record = Vec::new();
        let outcome = apply(bytes.as_slice(), open(&root).as_fd(), &mut record, &ApplyOptions::default());
        prop_assert_eq!(listing(&outside), before);
        let names: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        prop_assert_eq!(names.len(), 2);
        if outcome.is_ok() {
            check_reproduced(&record, &root, &bytes);
            // What is on disk, as a layer, makes the same folder again.
            let mut second = Vec::new();
            match diff(open(&root).as_fd(), &mut second, &mut NoRecord, &DiffOptions::default()) {
                // A folder on the way was called `.wh.a`: no layer can say that.
                Err(LayerError::Unsupported { .. }) => return Ok(()),
                outcome => outcome.unwrap(),
            };
            let copy = scratch.path().join("copy");
            std::fs::create_dir(&copy).unwrap();
            apply(second.as_slice(), open(&copy).as_fd(), &mut NoRecord, &ApplyOptions::default()).unwrap();
            prop_assert_eq!(listing(&root), listing(&copy));
        }
    }

    /// Bytes that are no archive at all are an error, never a panic.
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let scratch = Scratch::new("bytes");
        let _ = apply(bytes.as_slice(), open(scratch.path()).as_fd(), &mut NoRecord, &ApplyOptions::default());
        let _ = corten_layer::reproduce(std::io::Cursor::new(&bytes), open(scratch.path()).as_fd(), &mut Vec::new());
    }
}
