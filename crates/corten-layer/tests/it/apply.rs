//! What applying a layer makes of an archive, and that the archive comes out again.

use std::os::fd::AsFd;

use corten_layer::tar::{Entry, EntryKind, Time};
use corten_layer::{ApplyOptions, IdRange, OwnerMapping, apply, diff};

use crate::support::*;

#[test]
fn every_kind_of_entry() {
    if !need_root() {
        return;
    }
    let owned = Piece(Entry { uid: 12, gid: 34, ..entry(b"etc/owned", EntryKind::File, 0o4751) }, Vec::new());
    let attributes = Piece(
        Entry {
            xattrs: vec![
                (b"user.note".to_vec(), b"a=b\n".to_vec()),
                (b"security.capability".to_vec(), b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
                (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
            ],
            ..entry(b"etc/ping", EntryKind::File, 0o755)
        },
        Vec::new(),
    );
    let device = |path: &[u8], kind, device| Piece(Entry { device, ..entry(path, kind, 0o620) }, Vec::new());
    let mut old = folder("etc/old/");
    old.0.mtime = Time { seconds: 5, nanoseconds: 0 };
    check_layer(
        &tar(&[
            folder("etc/"),
            file("etc/passwd", b"root"),
            owned,
            attributes,
            old,
            file("etc/old/f", b""),
            hard_link("etc/old/g", "etc/passwd"),
            symlink("bin", "usr/bin"),
            device(b"null", EntryKind::CharacterDevice, (1, 3)),
            device(b"disk", EntryKind::BlockDevice, (8, 1)),
            device(b"pipe", EntryKind::Fifo, (0, 0)),
        ]),
        r#"
bin 777 0:0 -> usr/bin
disk 620 0:0 b 8:1
etc 755 0:0 folder
etc/old 755 0:0 @5 folder
etc/old/f 644 0:0 ""
etc/old/g 644 0:0 "root" x2
etc/owned 4751 12:34 ""
etc/passwd 644 0:0 "root" x2
etc/ping 755 0:0 "" security.capability=\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00 user.note=a=b\n
null 620 0:0 c 1:3
pipe 620 0:0 fifo
"#,
    );
}

#[test]
fn whiteouts_become_those_of_overlayfs() {
    if !need_root() {
        return;
    }
    check_layer(
        &tar(&[
            folder("d"),
            file("d/.wh.gone", b""),
            file("d/.wh..wh..opq", b""),
            file(".wh.top", b"with content"),
            file(".wh..wh.plnk", b""),
            // Removed below and made anew here: what is below stays hidden.
            file(".wh.again", b""),
            folder("again"),
            file("again/f", b""),
            // The reverse order means the same.
            folder("before"),
            file(".wh.before", b""),
            file("kept", b"1"),
            file(".wh.kept", b""),
        ]),
        r#"
again 755 0:0 folder trusted.overlay.opaque=y
again/f 644 0:0 ""
before 755 0:0 folder trusted.overlay.opaque=y
d 755 0:0 folder trusted.overlay.opaque=y
d/gone 0 0:0 c 0:0
kept 644 0:0 "1"
top 0 0:0 c 0:0
"#,
    );
}

#[test]
fn later_entries_replace_earlier_ones_and_the_archive_still_comes_out() {
    if !need_root() {
        return;
    }
    let long: Vec<u8> = (0..3_000_000_u32).map(|number| (number * 7 / 3) as u8).collect();
    check_layer(
        &tar(&[
            file("a", b"first"),
            file("a", b"second"),
            file("a", b"the third"),
            folder("d"),
            folder("d/e"),
            file("d/e/big", &long),
            file("d/one", b"1"),
            symlink("alias", "d"),
            file("alias/one", b"through the link"),
            file("d", b"a file now"),
            symlink("s", "a"),
            file("s", b"not through the link"),
            file("x", b"x"),
            hard_link("y", "x"),
            file("x", b"new x"),
            folder("a"),
        ]),
        r#"
a 755 0:0 folder
alias 777 0:0 -> d
d 644 0:0 "a file now"
s 644 0:0 "not through the link"
x 644 0:0 "new x"
y 644 0:0 "x"
"#,
    );
}

#[test]
fn long_and_odd_names() {
    if !need_root() {
        return;
    }
    let deep = "very-long-name-of-a-folder/".repeat(30);
    let bytes = tar(&[
        file(&format!("{deep}file"), b"deep"),
        symlink("l", &"target/".repeat(100)),
        bytes_file(b"latin-\xe9", b""),
        bytes_file("\u{fc}ml\u{e4}ut".as_bytes(), b""),
        file("new\nline", b""),
        file("./dotted/./x/../y", b""),
    ]);
    let scratch = Scratch::new("names");
    let (_, record) = applied(&bytes, scratch.path(), &ApplyOptions::default()).unwrap();
    check_reproduced(&record, scratch.path(), &bytes);
    assert_eq!(std::fs::read(scratch.path().join(deep).join("file")).unwrap(), b"deep");
    assert!(scratch.path().join("dotted/y").exists());
}

#[test]
fn long_names_in_the_gnu_form_and_odd_ends() {
    if !need_root() {
        return;
    }
    // A header of type L holds the name; numbers are base-256; the end is padded to 10240 with junk in it.
    let mut bytes = Vec::new();
    let name = b"n".repeat(200);
    let meta = Entry { size: 201, ..entry(b"././@LongLink", EntryKind::Other(b'L'), 0) };
    corten_layer::tar::encode(&meta, &mut bytes);
    bytes.extend_from_slice(&name);
    bytes.resize(1024, 0);
    let start = bytes.len();
    corten_layer::tar::encode(&bytes_file(b"short", b"abc").0, &mut bytes);
    bytes[start + 108..start + 116].copy_from_slice(b"\x80\0\0\0\0\x01\x86\xa0");
    fix_sum(&mut bytes[start..start + 512]);
    bytes.extend_from_slice(b"abc");
    bytes.resize(start + 1024, 0);
    bytes.resize(10240, 0);
    bytes[9000] = 7;
    check_layer(&bytes, &format!("{} 644 100000:0 \"abc\"", String::from_utf8_lossy(&name)));
}

fn fix_sum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn an_empty_archive_and_one_without_its_end() {
    check_layer(&tar(&[]), "");
    check_layer(b"", "");
    if need_root() {
        let bytes = tar(&[file("a", b"1")]);
        check_layer(&bytes[..1024], "a 644 0:0 \"1\"");
    }
}

#[test]
fn the_layers_below_give_missing_folders_and_targets_of_links() {
    if !need_root() {
        return;
    }
    let scratch = Scratch::new("below");
    let (lower, upper) = (scratch.path().join("lower"), scratch.path().join("upper"));
    std::fs::create_dir(&lower).unwrap();
    std::fs::create_dir(&upper).unwrap();
    let mut private = folder("root");
    private.0.mode = 0o700;
    (private.0.uid, private.0.gid) = (7, 8);
    applied(&tar(&[private, folder("bin"), file("bin/tool", b"tool")]), &lower, &ApplyOptions::default())
        .unwrap();
    let below = open(&lower);
    let options = ApplyOptions { parents: vec![below.as_fd()], ..ApplyOptions::default() };
    let bytes = tar(&[file("root/.profile", b""), hard_link("sbin/tool", "bin/tool")]);
    let (_, record) = applied(&bytes, &upper, &options).unwrap();
    let listing = listing(&upper);
    assert!(listing.contains("root 700 7:8 folder"), "{listing}");
    assert!(listing.contains("bin/tool 644 0:0 \"tool\" x2"), "{listing}");
    assert!(listing.contains("sbin/tool 644 0:0 \"tool\" x2"), "{listing}");
    check_reproduced(&record, &upper, &bytes);
    // An opaque root hides each name.
    let top = scratch.path().join("top");
    std::fs::create_dir(&top).unwrap();
    applied(&tar(&[file(".wh..wh..opq", b""), file("only", b"")]), &top, &options).unwrap();
    assert!(crate::support::listing(&top).starts_with("bin 0 0:0 c 0:0\nonly 644"));
}

#[test]
fn owners_go_through_the_mapping_both_ways() {
    if !need_root() {
        return;
    }
    let ids = vec![IdRange { container: 0, host: 100_000, length: 65_536 }];
    let owner = OwnerMapping::Ranges { uids: ids.clone(), gids: ids };
    let scratch = Scratch::new("owner");
    let mut piece = file("f", b"1");
    (piece.0.uid, piece.0.gid) = (5, 6);
    let bytes = tar(&[folder("d"), piece, file(".wh.w", b"")]);
    let options = ApplyOptions { owner: owner.clone(), userxattr: true, ..ApplyOptions::default() };
    applied(&bytes, scratch.path(), &options).unwrap();
    assert!(listing(scratch.path()).contains("f 644 100005:100006"));
    let mut again = Vec::new();
    let options =
        corten_layer::DiffOptions { owner, userxattr: true, ..corten_layer::DiffOptions::default() };
    diff(open(scratch.path()).as_fd(), &mut again, &mut corten_layer::NoRecord, &options).unwrap();
    let mut reader = corten_layer::tar::Reader::new(again.as_slice());
    let mut seen = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        seen.push((String::from_utf8(entry.path).unwrap(), entry.uid, entry.gid));
    }
    assert_eq!(seen, [("d/".into(), 0, 0), ("f".into(), 5, 6), (".wh.w".into(), 0, 0)]);
    let mut piece = file("f", b"1");
    piece.0.uid = 70_000;
    let error = apply(
        tar(&[piece]).as_slice(),
        open(scratch.path()).as_fd(),
        &mut corten_layer::NoRecord,
        &ApplyOptions { owner: options.owner, ..ApplyOptions::default() },
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "`f` belongs to user 70000, which the owner mapping does not cover");
}

#[test]
fn without_rights_everything_stays_ours() {
    let scratch = Scratch::new("unchanged");
    let options = ApplyOptions { owner: OwnerMapping::Unchanged, ..ApplyOptions::default() };
    let mut piece = file("d/f", b"1");
    piece.0.uid = 5;
    applied(&tar(&[folder("d"), piece]), scratch.path(), &options).unwrap();
    let ours = rustix::process::geteuid().as_raw();
    assert!(listing(scratch.path()).contains(&format!("d/f 644 {ours}:")));
}
