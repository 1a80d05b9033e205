//! Copies into and out of a root.

use std::os::fd::AsFd;
use std::path::Path;

use corten_layer::tar::Reader;
use corten_layer::{
    OwnerMapping, PackOptions, TopName, UnpackOptions, pack, resolve_in_root, stat_in_root, unpack,
};

use crate::support::*;

fn root() -> Scratch {
    let scratch = Scratch::new("copy");
    let root = scratch.path();
    std::fs::create_dir_all(root.join("d/e")).unwrap();
    std::fs::write(root.join("d/f"), "text\n").unwrap();
    std::os::unix::fs::symlink("f", root.join("d/link")).unwrap();
    std::os::unix::fs::symlink("/d", root.join("alias")).unwrap();
    std::os::unix::fs::symlink("../../nowhere/x", root.join("broken")).unwrap();
    scratch
}

#[track_caller]
fn check_names(path: &str, top: TopName, expected: &[&str]) {
    let root = root();
    let mut out = Vec::new();
    let options = PackOptions { top, ..PackOptions::default() };
    let packed = pack(open(root.path()).as_fd(), Path::new(path), &mut out, &options).unwrap();
    assert_eq!(packed.tar_size, out.len() as u64);
    let mut reader = Reader::new(out.as_slice());
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        names.push(String::from_utf8(entry.path).unwrap());
    }
    assert_eq!(names, expected);
}

#[test]
fn names_in_a_packed_archive() {
    check_names("/d", TopName::Own, &["d/", "d/e/", "d/f", "d/link"]);
    check_names("d/", TopName::Own, &["d/", "d/e/", "d/f", "d/link"]);
    check_names("/alias/", TopName::Own, &["alias/", "alias/e/", "alias/f", "alias/link"]);
    check_names("/alias", TopName::Own, &["alias"]);
    check_names("/d/f", TopName::Own, &["f"]);
    check_names("/alias/f", TopName::Renamed(b"new".to_vec()), &["new"]);
    check_names("/d/.", TopName::Own, &["./", "./e/", "./f", "./link"]);
    check_names("/d", TopName::Renamed(b"/".to_vec()), &["/", "/e/", "/f", "/link"]);
    check_names("/d", TopName::Omitted, &["e/", "f", "link"]);
    check_names("/../../d/e", TopName::Own, &["e/"]);
}

#[test]
fn a_missing_path_is_not_found() {
    let root = root();
    let error =
        pack(open(root.path()).as_fd(), Path::new("/no/such"), &mut Vec::new(), &PackOptions::default())
            .unwrap_err();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::NotFound));
    assert_eq!(
        stat_in_root(open(root.path()).as_fd(), Path::new("/d/none")).unwrap_err().io_kind(),
        Some(std::io::ErrorKind::NotFound)
    );
}

#[test]
fn what_a_path_is() {
    let root = root();
    let stat = |path: &str| stat_in_root(open(root.path()).as_fd(), Path::new(path)).unwrap();
    assert_eq!((stat("/d/f").name.as_str(), stat("/d/f").size, stat("/d/f").mode), ("f", 5, 0o644));
    assert_eq!((stat("/").name.as_str(), stat("/").mode & 1 << 31), ("/", 1 << 31));
    assert_eq!((stat("/alias").mode >> 27, stat("/alias").link_target.as_str()), (1, "/d"));
    assert_eq!(stat("/alias/link").link_target, "/d/f");
    assert_eq!(stat("/broken").link_target, "/nowhere/x");
    assert_eq!((stat("/alias/").mode >> 31, stat("/alias/").link_target.as_str()), (1, ""));
    let resolve = |path: &str| resolve_in_root(open(root.path()).as_fd(), Path::new(path));
    assert_eq!(resolve("/alias/e/../link").unwrap(), Path::new("/d/f"));
    assert!(resolve("/broken").is_err());
}

#[test]
fn unpacking_follows_links_of_the_target_inside() {
    if !need_root() {
        return;
    }
    let root = root();
    let bytes =
        tar(&[file("new", b"1"), file(".wh.plain", b"2"), symlink("s", "/abs"), hard_link("h", "new")]);
    unpack(bytes.as_slice(), open(root.path()).as_fd(), Path::new("/alias"), &UnpackOptions::default())
        .unwrap();
    let listing = listing(root.path());
    assert!(listing.contains("d/new 644 0:0 \"1\" x2"), "{listing}");
    assert!(listing.contains("d/.wh.plain 644 0:0 \"2\""), "{listing}");
    assert!(listing.contains("d/s 777 0:0 -> /abs"), "{listing}");
}

#[test]
fn the_top_entry_leaves_an_existing_folder_as_it_is() {
    if !need_root() {
        return;
    }
    let root = root();
    let mut top = folder(".");
    top.0.mode = 0o700;
    unpack(
        tar(&[top, file("x", b"")]).as_slice(),
        open(root.path()).as_fd(),
        Path::new("/d/e"),
        &UnpackOptions::default(),
    )
    .unwrap();
    assert!(listing(root.path()).contains("d/e 755"));
}

#[test]
fn folders_and_files_do_not_replace_each_other_when_told_so() {
    if !need_root() {
        return;
    }
    let root = root();
    let strict = UnpackOptions { no_overwrite_dir_non_dir: true, ..UnpackOptions::default() };
    let unpack_as = |pieces: &[Piece], options: &UnpackOptions| {
        unpack(tar(pieces).as_slice(), open(root.path()).as_fd(), Path::new("/d"), options)
    };
    let error = unpack_as(&[file("e", b"")], &strict).unwrap_err();
    assert_eq!(error.to_string(), "cannot overwrite directory \"/d/e\" with non-directory \"/d\"");
    let error = unpack_as(&[folder("f")], &strict).unwrap_err();
    assert_eq!(error.to_string(), "cannot overwrite non-directory \"/d/f\" with directory \"/d\"");
    unpack_as(&[file("f", b"other")], &strict).unwrap();
    unpack_as(&[file("e", b"file now")], &UnpackOptions::default()).unwrap();
    unpack_as(&[folder("f")], &UnpackOptions::default()).unwrap();
    let listing = listing(root.path());
    assert!(
        listing.contains("d/e 644 0:0 \"file now\"") && listing.contains("d/f 755 0:0 folder"),
        "{listing}"
    );
}

#[test]
fn one_owner_for_everything() {
    if !need_root() {
        return;
    }
    let root = root();
    let options =
        UnpackOptions { owner: OwnerMapping::Fixed { uid: 33, gid: 44 }, ..UnpackOptions::default() };
    let mut piece = file("f2", b"");
    piece.0.uid = 1;
    unpack(tar(&[piece]).as_slice(), open(root.path()).as_fd(), Path::new("/"), &options).unwrap();
    assert!(listing(root.path()).contains("f2 644 33:44"));
}

#[test]
fn the_target_must_be_a_folder() {
    let root = root();
    let bytes = tar(&[]);
    let into = |path: &str| {
        unpack(bytes.as_slice(), open(root.path()).as_fd(), Path::new(path), &UnpackOptions::default())
    };
    assert_eq!(into("/d/f").unwrap_err().io_kind(), Some(std::io::ErrorKind::NotADirectory));
    assert_eq!(into("/none").unwrap_err().io_kind(), Some(std::io::ErrorKind::NotFound));
}
