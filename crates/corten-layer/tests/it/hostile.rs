//! Archives that try to get out, and those that are broken: nothing beside the root is ever touched.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use corten_layer::tar::{Entry, EntryKind};
use corten_layer::{ApplyOptions, NoRecord, UnpackOptions, apply, unpack};

use crate::support::*;

/// Applies and unpacks the archive into a root that lies between tempting neighbours; gives both outcomes as text.
#[track_caller]
fn attack(pieces: &[Piece]) -> (String, String) {
    let scratch = Scratch::new("hostile");
    let root = scratch.path().join("root");
    let outside = scratch.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    let before = listing(&outside);
    let bytes = tar(pieces);
    let mut outcomes = Vec::new();
    for operation in ["apply", "unpack"] {
        std::fs::create_dir(&root).unwrap();
        let folder = open(&root);
        let outcome = if operation == "apply" {
            apply(bytes.as_slice(), folder.as_fd(), &mut NoRecord, &ApplyOptions::default()).map(|_| ())
        } else {
            unpack(bytes.as_slice(), folder.as_fd(), Path::new("/"), &UnpackOptions::default()).map(|_| ())
        };
        outcomes.push(outcome.map_or_else(|error| error.to_string(), |()| listing(&root)));
        assert_eq!(listing(&outside), before, "{operation} leaves the neighbour alone");
        assert!(!scratch.path().join("escaped").exists());
        std::fs::remove_dir_all(&root).unwrap();
    }
    (outcomes[0].clone(), outcomes[1].clone())
}

#[test]
fn names_that_climb_out_are_refused() {
    let refused = "`../escaped` leads outside of the root (its name)".to_owned();
    assert_eq!(attack(&[file("../escaped", b"")]), (refused.clone(), refused));
    let refused = "`d/../../escaped` leads outside of the root (its name)".to_owned();
    assert_eq!(attack(&[folder("d"), file("d/../../escaped", b"")]), (refused.clone(), refused));
}

#[test]
fn links_mean_places_inside() {
    if !need_root() {
        return;
    }
    for target in ["../outside", "/../outside", "../../../../../../outside", "/outside", "."] {
        let (applied, unpacked) =
            attack(&[symlink("link", target), folder("outside"), file("link/secret", b"taken")]);
        assert_eq!(applied, unpacked);
        let place =
            if target == "." { "\nsecret 644 0:0 \"taken\"" } else { "outside/secret 644 0:0 \"taken\"" };
        assert!(applied.contains(place), "{target}: {applied}");
    }
    // A link to a link, and a link in the middle of a name.
    let (applied, _) = attack(&[
        symlink("a", "/b/.."),
        symlink("b", "../../outside"),
        folder("outside/inner"),
        file("b/inner/../f", b"1"),
        file("b/inner/g", b"2"),
    ]);
    assert!(applied.contains("outside/inner/g 644 0:0 \"2\"") && applied.contains("outside/f"), "{applied}");
}

#[test]
fn links_in_a_ring_end() {
    let (applied, _) = attack(&[symlink("a", "b"), symlink("b", "a"), file("a/f", b"")]);
    assert_eq!(applied, "cannot open `a`");
}

#[test]
fn an_entry_never_writes_through_a_link_at_its_end() {
    if !need_root() {
        return;
    }
    let (applied, _) = attack(&[symlink("f", "/../outside/secret"), file("f", b"own")]);
    assert_eq!(applied, "f 644 0:0 \"own\"");
    let (applied, _) = attack(&[symlink("d", "../outside"), folder("d"), file("d/secret", b"own")]);
    assert!(applied.starts_with("d 755 0:0 folder"), "{applied}");
}

#[test]
fn hard_links_reach_nothing_outside() {
    let (applied, unpacked) = attack(&[hard_link("stolen", "../outside/secret")]);
    let refused = "`../outside/secret` leads outside of the root (the target of the hard link)";
    assert_eq!((applied.as_str(), unpacked.as_str()), (refused, refused));
    let (applied, _) = attack(&[symlink("l", "../outside"), hard_link("stolen", "l/secret")]);
    assert_eq!(applied, "cannot make hard link `stolen`");
    let (applied, _) = attack(&[hard_link("stolen", "/outside/secret")]);
    assert_eq!(applied, "cannot make hard link `stolen`");
    // One to a folder is the archive's fault too, and told as such.
    let refused = "cannot make hard link `stolen`";
    let (applied, unpacked) = attack(&[folder("d"), hard_link("stolen", "d")]);
    assert_eq!((applied.as_str(), unpacked.as_str()), (refused, refused));
}

#[test]
fn whiteouts_remove_nothing_outside() {
    for name in [".wh...", "d/.wh...", ".wh..", ".wh."] {
        let (applied, _) = attack(&[folder("d"), file(name, b"")]);
        assert_eq!(applied, format!("`{name}` leads outside of the root (what the whiteout removes)"));
    }
    if need_root() {
        let (applied, _) = attack(&[symlink("l", "../outside"), file("l/.wh.secret", b"")]);
        assert!(applied.contains("outside/secret 0 0:0 c 0:0"), "{applied}");
    }
}

#[test]
fn a_file_in_place_of_a_folder_is_a_clear_error() {
    let (applied, _) = attack(&[file("f", b""), file("f/g", b"")]);
    assert_eq!(applied, "cannot open `f`");
    let (applied, _) = attack(&[file("./", b"x")]);
    assert_eq!(
        applied,
        "`.` is not a usable path: it names the root, which can only be a folder".replace("`.`", "`./`")
    );
}

#[test]
fn what_is_not_supported_is_named() {
    let sparse = Piece(entry(b"s", EntryKind::Other(b'S'), 0o644), Vec::new());
    assert_eq!(attack(&[sparse]).0, "`s` is a sparse file, which is not supported");
    let volume = Piece(entry(b"v", EntryKind::Other(b'V'), 0o644), Vec::new());
    assert_eq!(attack(&[volume]).0, "`v` is of a kind that only one program knows, which is not supported");
}

#[test]
fn sizes_that_lie_are_an_early_end() {
    let scratch = Scratch::new("lies");
    for size in [1, 511, 1 << 30] {
        let mut bytes = Vec::new();
        let huge = Entry { size, ..entry(b"huge", EntryKind::File, 0o644) };
        corten_layer::tar::encode(&huge, &mut bytes);
        let error =
            apply(bytes.as_slice(), open(scratch.path()).as_fd(), &mut NoRecord, &ApplyOptions::default())
                .unwrap_err();
        assert_eq!(error.to_string(), "the archive ends early, inside `huge`");
    }
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_written() {
    let scratch = Scratch::new("room");
    let size = 1 << 50;
    let mut bytes = Vec::new();
    let folder = Piece(entry(b"data", EntryKind::Directory, 0o755), Vec::new());
    corten_layer::tar::encode(&folder.0, &mut bytes);
    corten_layer::tar::encode(&Entry { size, ..entry(b"data/zeros", EntryKind::File, 0o644) }, &mut bytes);
    // The content never ends.
    let tar = bytes.as_slice().chain(std::io::repeat(0));
    let error =
        apply(tar, open(scratch.path()).as_fd(), &mut NoRecord, &ApplyOptions::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(
            "no space left on device: `data/zeros` holds 1125899906842624 bytes, and there is room for "
        ),
        "{text}"
    );
    assert!(!scratch.path().join("data/zeros").exists());
}

#[test]
fn a_nest_too_deep_is_refused_and_costs_little() {
    if !need_root() {
        return;
    }
    // Each link leads one long step further down, so that no single name is too long for the kernel.
    let step = "d/".repeat(200);
    let mut pieces = vec![folder(&step)];
    for number in 0..6 {
        let from = if number == 0 { String::new() } else { format!("l{}/", number - 1) };
        pieces.push(symlink(&format!("l{number}"), &format!("{from}{step}")));
        pieces.push(folder(&format!("l{number}/{step}")));
    }
    let (applied, _) = attack(&pieces);
    assert!(applied.contains("nested too deep") || applied.contains("cannot open"), "{applied}");
}

#[test]
fn many_headers_for_one_entry_are_refused() {
    let mut bytes = Vec::new();
    let body = vec![b'n'; 1_000_000];
    for _ in 0..8 {
        let meta = Entry { size: body.len() as u64, ..entry(b"././@LongLink", EntryKind::Other(b'L'), 0) };
        corten_layer::tar::encode(&meta, &mut bytes);
        bytes.extend_from_slice(&body);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    let scratch = Scratch::new("headers");
    let error =
        apply(bytes.as_slice(), open(scratch.path()).as_fd(), &mut NoRecord, &ApplyOptions::default())
            .unwrap_err();
    assert!(error.to_string().ends_with("too many headers for one entry"), "{error}");
}
