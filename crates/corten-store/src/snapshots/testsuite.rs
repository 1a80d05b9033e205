//! What every implementation of [`Snapshots`] must do. An implementation's own tests call [`run`] with a
//! function that makes a fresh, empty one, and a way to see a snapshot's files.

use super::{Mounts, SnapshotKey, SnapshotKind, Snapshots};
use crate::StoreError;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// How the suite sees what a snapshot shows: given what to mount, `show` makes it visible at a folder while
/// `work` runs. Where layers lie in folders, an implementation without root can join them by hand.
pub type Show<'a> = &'a dyn Fn(&Mounts, &mut dyn FnMut(&Path));

/// Runs every test, each on an implementation of its own.
///
/// # Panics
/// At the first promise that is not kept.
pub fn run(make: &dyn Fn() -> Box<dyn Snapshots>, show: Show<'_>) {
    for test in [
        an_active_one_is_written_and_removed,
        what_was_committed_is_the_ground_of_others,
        a_view_shows_its_parent_and_is_not_committed,
        keys_are_one_space,
        a_parent_stays_while_it_is_needed,
        usage_counts_own_files_only,
        removal_and_replacement_of_what_lies_below,
        the_walk_sees_all_and_stops,
        threads_do_not_disturb_each_other,
    ] {
        test(&*make(), show);
    }
}

fn key(text: &str) -> SnapshotKey {
    SnapshotKey::new(text).expect("the suite's keys are keys")
}

fn write(snapshots: &dyn Snapshots, show: Show<'_>, name: &str, work: &mut dyn FnMut(&Path)) {
    show(&snapshots.mounts(&key(name)).expect("mounts"), work);
}

fn read(snapshots: &dyn Snapshots, show: Show<'_>, name: &str, path: &str) -> Option<String> {
    let mut text = None;
    write(snapshots, show, name, &mut |root| text = std::fs::read_to_string(root.join(path)).ok());
    text
}

fn put(root: &Path, path: &str, text: &str) {
    std::fs::write(root.join(path), text).expect("a file can be written");
}

fn an_active_one_is_written_and_removed(snapshots: &dyn Snapshots, show: Show<'_>) {
    let made = snapshots.prepare(&key("a"), None).expect("prepare");
    assert_eq!((made.kind, made.parent.clone()), (SnapshotKind::Active, None));
    write(snapshots, show, "a", &mut |root| put(root, "file", "text"));
    assert_eq!(read(snapshots, show, "a", "file").as_deref(), Some("text"));
    snapshots.sync(&key("a")).expect("sync");
    assert!(matches!(snapshots.sync(&key("ghost")), Err(StoreError::NoSuchSnapshot(_))));
    assert_eq!(snapshots.stat(&key("a")).expect("stat"), made);
    assert!(snapshots.folder(&key("a")).expect("folder").join("file").exists());
    snapshots.remove(&key("a")).expect("remove");
    for error in [
        snapshots.stat(&key("a")).err(),
        snapshots.mounts(&key("a")).err(),
        snapshots.remove(&key("a")).err(),
    ] {
        assert!(matches!(error, Some(StoreError::NoSuchSnapshot(_))), "{error:?}");
    }
    snapshots.prepare(&key("a"), None).expect("the key is free again");
    assert_eq!(read(snapshots, show, "a", "file"), None);
}

fn what_was_committed_is_the_ground_of_others(snapshots: &dyn Snapshots, show: Show<'_>) {
    snapshots.prepare(&key("a-1"), None).expect("prepare");
    write(snapshots, show, "a-1", &mut |root| put(root, "one", "1"));
    snapshots.commit(&key("a"), &key("a-1")).expect("commit");
    assert!(snapshots.stat(&key("a-1")).is_err(), "the active key is gone");
    assert_eq!(snapshots.stat(&key("a")).expect("stat").kind, SnapshotKind::Committed);

    snapshots.prepare(&key("b-1"), Some(&key("a"))).expect("prepare");
    write(snapshots, show, "b-1", &mut |root| put(root, "two", "2"));
    snapshots.commit(&key("b"), &key("b-1")).expect("commit");
    snapshots.prepare(&key("c"), Some(&key("b"))).expect("prepare");
    assert_eq!(read(snapshots, show, "c", "one").as_deref(), Some("1"));
    assert_eq!(read(snapshots, show, "c", "two").as_deref(), Some("2"));
    write(snapshots, show, "c", &mut |root| put(root, "one", "changed"));
    snapshots.prepare(&key("d"), Some(&key("b"))).expect("prepare");
    assert_eq!(read(snapshots, show, "d", "one").as_deref(), Some("1"), "another child does not see it");
    assert_eq!(snapshots.stat(&key("b")).expect("stat").parent, Some(key("a")));
}

fn a_view_shows_its_parent_and_is_not_committed(snapshots: &dyn Snapshots, show: Show<'_>) {
    snapshots.prepare(&key("a-1"), None).expect("prepare");
    write(snapshots, show, "a-1", &mut |root| put(root, "one", "1"));
    snapshots.commit(&key("a"), &key("a-1")).expect("commit");
    snapshots.view(&key("v"), Some(&key("a"))).expect("view");
    assert!(matches!(snapshots.mounts(&key("v")).expect("mounts"), Mounts::ReadOnly { .. }));
    assert_eq!(read(snapshots, show, "v", "one").as_deref(), Some("1"));
    assert!(matches!(snapshots.commit(&key("x"), &key("v")), Err(StoreError::SnapshotState { .. })));
    snapshots.view(&key("empty"), None).expect("view of nothing");
    assert!(matches!(snapshots.mounts(&key("empty")).expect("mounts"), Mounts::ReadOnly { .. }));
    assert!(
        matches!(snapshots.mounts(&key("a")), Err(StoreError::SnapshotState { .. })),
        "committed ones are seen by views"
    );
}

fn keys_are_one_space(snapshots: &dyn Snapshots, _: Show<'_>) {
    snapshots.prepare(&key("a"), None).expect("prepare");
    assert!(matches!(snapshots.prepare(&key("a"), None), Err(StoreError::SnapshotExists(_))));
    assert!(matches!(snapshots.view(&key("a"), None), Err(StoreError::SnapshotExists(_))));
    snapshots.prepare(&key("b"), None).expect("prepare");
    assert!(matches!(snapshots.commit(&key("b"), &key("a")), Err(StoreError::SnapshotExists(_))));
    snapshots.commit(&key("a"), &key("a")).expect("a commit under its own key");
    assert!(matches!(snapshots.commit(&key("a"), &key("b")), Err(StoreError::SnapshotExists(_))));
    assert!(matches!(snapshots.prepare(&key("a"), None), Err(StoreError::SnapshotExists(_))));
    assert!(matches!(snapshots.commit(&key("c"), &key("a")), Err(StoreError::SnapshotState { .. })));
    assert!(matches!(snapshots.prepare(&key("d"), Some(&key("none"))), Err(StoreError::NoSuchSnapshot(_))));
    assert!(
        matches!(snapshots.prepare(&key("d"), Some(&key("b"))), Err(StoreError::NoSuchSnapshot(_))),
        "an active one is no parent"
    );
    for text in ["", ".", "..", "a/b", ".a", "a b", "\u{e9}", &"x".repeat(201)] {
        assert!(SnapshotKey::new(text).is_err(), "{text}");
    }
}

fn a_parent_stays_while_it_is_needed(snapshots: &dyn Snapshots, _: Show<'_>) {
    snapshots.prepare(&key("a-1"), None).expect("prepare");
    snapshots.commit(&key("a"), &key("a-1")).expect("commit");
    snapshots.prepare(&key("b"), Some(&key("a"))).expect("prepare");
    match snapshots.remove(&key("a")) {
        Err(StoreError::SnapshotInUse { key, child }) => {
            assert_eq!((key.as_str(), child.as_str()), ("a", "b"));
        }
        other => panic!("{other:?}"),
    }
    snapshots.remove(&key("b")).expect("remove");
    snapshots.view(&key("v"), Some(&key("a"))).expect("view");
    assert!(snapshots.remove(&key("a")).is_err());
    snapshots.remove(&key("v")).expect("remove");
    snapshots.remove(&key("a")).expect("remove");
    assert!(snapshots.stat(&key("a")).is_err());
}

fn usage_counts_own_files_only(snapshots: &dyn Snapshots, show: Show<'_>) {
    snapshots.prepare(&key("a-1"), None).expect("prepare");
    write(snapshots, show, "a-1", &mut |root| {
        put(root, "one", "12345");
        std::fs::hard_link(root.join("one"), root.join("again")).expect("a link can be made");
    });
    assert_eq!(snapshots.usage(&key("a-1")).expect("usage").size, 5, "a file with two names counts once");
    snapshots.commit(&key("a"), &key("a-1")).expect("commit");
    let committed = snapshots.usage(&key("a")).expect("usage");
    assert_eq!(committed.size, 5);
    assert!(committed.inodes >= 1);
}

fn removal_and_replacement_of_what_lies_below(snapshots: &dyn Snapshots, show: Show<'_>) {
    snapshots.prepare(&key("a-1"), None).expect("prepare");
    write(snapshots, show, "a-1", &mut |root| {
        put(root, "gone", "1");
        std::fs::create_dir(root.join("folder")).expect("a folder can be made");
        put(root, "folder/kept", "1");
    });
    snapshots.commit(&key("a"), &key("a-1")).expect("commit");
    snapshots.prepare(&key("b-1"), Some(&key("a"))).expect("prepare");
    write(snapshots, show, "b-1", &mut |root| {
        std::fs::remove_file(root.join("gone")).expect("a file can be removed");
        put(root, "folder/new", "2");
    });
    snapshots.commit(&key("b"), &key("b-1")).expect("commit");
    snapshots.prepare(&key("c"), Some(&key("b"))).expect("prepare");
    assert_eq!(read(snapshots, show, "c", "gone"), None);
    assert_eq!(read(snapshots, show, "c", "folder/kept").as_deref(), Some("1"));
    assert_eq!(read(snapshots, show, "c", "folder/new").as_deref(), Some("2"));
}

fn the_walk_sees_all_and_stops(snapshots: &dyn Snapshots, _: Show<'_>) {
    for name in ["c", "a", "b"] {
        snapshots.prepare(&key(name), None).expect("prepare");
    }
    snapshots.commit(&key("b"), &key("b")).expect("commit");
    let mut seen: Vec<(String, SnapshotKind)> = Vec::new();
    snapshots
        .walk(&mut |snapshot| {
            seen.push((snapshot.key.to_string(), snapshot.kind));
            ControlFlow::Continue(())
        })
        .expect("walk");
    let wanted = [("a", SnapshotKind::Active), ("b", SnapshotKind::Committed), ("c", SnapshotKind::Active)];
    assert_eq!(seen, wanted.map(|(name, kind)| (name.to_owned(), kind)));
    let mut count = 0;
    snapshots
        .walk(&mut |_| {
            count += 1;
            ControlFlow::Break(())
        })
        .expect("walk");
    assert_eq!(count, 1);
}

fn threads_do_not_disturb_each_other(snapshots: &dyn Snapshots, _: Show<'_>) {
    snapshots.prepare(&key("base-1"), None).expect("prepare");
    snapshots.commit(&key("base"), &key("base-1")).expect("commit");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for number in 0..8 {
                    let name = key(&format!("t{thread}-{number}"));
                    snapshots.prepare(&name, Some(&key("base"))).expect("prepare");
                    let _: PathBuf = snapshots.folder(&name).expect("folder");
                    snapshots.remove(&name).expect("remove");
                }
            });
        }
    });
    // Of several that want one key, one gets it.
    let winners: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| usize::from(snapshots.prepare(&key("one"), None).is_ok())))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
    });
    assert_eq!(winners, 1);
}
