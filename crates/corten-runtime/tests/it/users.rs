//! User namespaces by themselves: their maps, what belongs to them, and files made through mounts that map ids.

use crate::Test;
use corten_oci::runtime::LinuxIdMapping;
use corten_runtime::user_namespace;
use corten_sys::mount::{self, OverlayMount};
use corten_sys::process::{self, Fork, Namespaces};
use corten_sys::user_namespace as kernel;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub(crate) const TESTS: &[Test] = &[
    ("a_namespace_has_its_maps_and_no_process", a_namespace_has_its_maps_and_no_process),
    ("a_network_belongs_to_its_users", a_network_belongs_to_its_users),
    ("maps_that_cannot_be_leave_nothing", maps_that_cannot_be_leave_nothing),
    ("files_are_made_as_somebody_else_and_back", files_are_made_as_somebody_else_and_back),
    ("layers_are_shown_under_other_ids", layers_are_shown_under_other_ids),
];

const FIRST: u32 = 500_000;

fn ids() -> Vec<LinuxIdMapping> {
    vec![LinuxIdMapping { container_id: 0, host_id: FIRST, size: 1000 }]
}

fn made() -> OwnedFd {
    user_namespace(&ids(), &ids()).expect("a user namespace")
}

/// What a process in namespaces reads, in a child that enters them.
fn inside(namespaces: &[(&OwnedFd, Namespaces)], read: impl FnOnce() -> String) -> String {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    match process::fork().expect("a process") {
        Fork::Child => {
            drop(reader);
            for (namespace, kind) in namespaces {
                process::enter_namespace(namespace.as_fd(), *kind).expect("a namespace to enter");
            }
            process::set_user(0, 0, &[]).expect("root in there");
            let _ = std::io::Write::write_all(&mut &writer, read().as_bytes());
            process::exit_now(0)
        }
        Fork::Parent(child) => {
            drop(writer);
            let mut text = String::new();
            std::io::Read::read_to_string(&mut reader, &mut text).expect("text");
            process::wait(child.pid).expect("its end");
            text
        }
    }
}

fn children() -> usize {
    let own = std::process::id();
    let text = std::fs::read_to_string(format!("/proc/self/task/{own}/children")).expect("the list");
    text.split_ascii_whitespace().count()
}

fn a_namespace_has_its_maps_and_no_process() {
    let users = made();
    assert_eq!(children(), 0);
    let map = inside(&[(&users, Namespaces::USER)], || {
        std::fs::read_to_string("/proc/self/uid_map").expect("a map")
            + &std::fs::read_to_string("/proc/self/gid_map").expect("a map")
    });
    let words: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(words, ["0", "500000", "1000", "0", "500000", "1000"]);
}

fn a_network_belongs_to_its_users() {
    let users = made();
    let network = kernel::make_network(users.as_fd()).expect("a network namespace");
    assert_eq!(children(), 0);
    let owner = kernel::owner_of(network.as_fd()).expect("its owner");
    assert!(kernel::is_same(owner.as_fd(), users.as_fd()).expect("two namespaces"));
    assert!(!kernel::is_same(owner.as_fd(), made().as_fd()).expect("two namespaces"));
    // Root of the one may change the other, and not ours.
    let ours: OwnedFd = std::fs::File::open("/proc/self/ns/net").expect("ours").into();
    for (network, expected) in [(&network, "changed"), (&ours, "refused")] {
        let said = inside(&[(network, Namespaces::NETWORK), (&users, Namespaces::USER)], || {
            let written = std::fs::write("/proc/sys/net/ipv4/ip_default_ttl", "64");
            if written.is_ok() { "changed" } else { "refused" }.to_owned()
        });
        assert_eq!(said, expected);
    }
}

fn maps_that_cannot_be_leave_nothing() {
    let twice = [ids(), ids()].concat();
    let error = user_namespace(&twice, &ids()).expect_err("ranges that overlap");
    assert!(error.message.contains("make a user namespace: invalid argument"), "{}", error.message);
    assert_eq!(children(), 0);
}

fn files_are_made_as_somebody_else_and_back() {
    let scratch = corten_testing::Scratch::new("file-owner");
    let at = |name: &str| scratch.path().join(name);
    // Nobody but root may make files here, and who does keeps root's rights.
    kernel::with_file_owner(7, 8, || std::fs::write(at("seven"), "")).expect("seven").expect("a file");
    std::fs::write(at("root"), "").expect("a file");
    let owner = |name: &str| {
        let about = std::fs::metadata(at(name)).expect("a file");
        (about.uid(), about.gid())
    };
    assert_eq!((owner("seven"), owner("root")), ((7, 8), (0, 0)));
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = |key: &str| status.lines().find(|line| line.starts_with(key)).expect("a line").to_owned();
    assert_eq!(line("Uid:").split_whitespace().last(), Some("0"));
    assert_eq!(line("CapEff:").split_whitespace().last(), line("CapPrm:").split_whitespace().last());
}

fn layers_are_shown_under_other_ids() {
    let scratch = corten_testing::Scratch::new("mapped-layers");
    for folder in ["lower", "upper", "work", "place"] {
        std::fs::create_dir(scratch.path().join(folder)).expect("a folder");
    }
    std::fs::write(scratch.path().join("lower/below"), "").expect("a file");
    process::unshare(Namespaces::MOUNT).expect("a mount namespace");
    mount::set_namespace_propagation(mount::Propagation::Private).expect("our own mounts");
    let tree = mount::clone_tree(scratch.path(), false).expect("a tree");
    let mapped = mount::set_id_mapping(tree.as_fd(), made().as_fd(), false);
    if !corten_testing::need("a filesystem that maps ids", mapped.is_ok()) {
        return;
    }
    let make = || {
        mount::overlay(&OverlayMount {
            base: Some(tree.as_fd()),
            lowers: &["lower".into()],
            upper: Some(Path::new("upper")),
            work: Some(Path::new("work")),
            volatile: false,
            userxattr: false,
            read_only: false,
            label: None,
        })
    };
    let overlay = match kernel::with_file_owner(FIRST, FIRST, make).expect("somebody else") {
        Ok(overlay) => overlay,
        // Before Linux 6.15 layers must be attached.
        Err(error) if error.source.kind() == std::io::ErrorKind::InvalidInput => return,
        Err(error) => panic!("{error}: {}", error.source),
    };
    let place = scratch.path().join("place");
    mount::attach(overlay.as_fd(), &place).expect("an attached overlay");
    assert_eq!(std::fs::metadata(place.join("below")).expect("a file").uid(), FIRST);
    let new = || std::fs::write(place.join("new"), "");
    // Whoever has no number on the disk makes nothing.
    assert!(new().is_err());
    kernel::with_file_owner(FIRST + 5, FIRST, new).expect("somebody else").expect("a file");
    std::os::unix::fs::chown(place.join("below"), Some(FIRST + 6), None).expect("a copy in the upper layer");
    for (name, uid) in [("new", 5), ("below", 6)] {
        assert_eq!(std::fs::metadata(place.join(name)).expect("a file").uid(), FIRST + uid);
        assert_eq!(std::fs::metadata(scratch.path().join("upper").join(name)).expect("a file").uid(), uid);
    }
    mount::detach(&place).expect("detached");
}
