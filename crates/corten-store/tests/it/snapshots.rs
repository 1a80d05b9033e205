//! Both implementations against the suite that comes with the trait.

use crate::Fixture;
use corten_store::{Mounts, Snapshot, SnapshotForm, SnapshotKey, Snapshots, Store, StoreOptions, Usage};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The snapshots of a store with its folder.
#[derive(Debug)]
struct Owned {
    store: Store,
    _scratch: corten_testing::Scratch,
}

impl Snapshots for Owned {
    fn prepare(&self, key: &SnapshotKey, parent: Option<&SnapshotKey>) -> corten_store::Result<Snapshot> {
        self.store.snapshots().prepare(key, parent)
    }
    fn view(&self, key: &SnapshotKey, parent: Option<&SnapshotKey>) -> corten_store::Result<Snapshot> {
        self.store.snapshots().view(key, parent)
    }
    fn sync(&self, key: &SnapshotKey) -> corten_store::Result<()> {
        self.store.snapshots().sync(key)
    }
    fn commit(&self, name: &SnapshotKey, key: &SnapshotKey) -> corten_store::Result<()> {
        self.store.snapshots().commit(name, key)
    }
    fn mounts(&self, key: &SnapshotKey) -> corten_store::Result<Mounts> {
        self.store.snapshots().mounts(key)
    }
    fn usage(&self, key: &SnapshotKey) -> corten_store::Result<Usage> {
        self.store.snapshots().usage(key)
    }
    fn remove(&self, key: &SnapshotKey) -> corten_store::Result<()> {
        self.store.snapshots().remove(key)
    }
    fn stat(&self, key: &SnapshotKey) -> corten_store::Result<Snapshot> {
        self.store.snapshots().stat(key)
    }
    fn walk(&self, visit: &mut dyn FnMut(Snapshot) -> ControlFlow<()>) -> corten_store::Result<()> {
        self.store.snapshots().walk(visit)
    }
    fn folder(&self, key: &SnapshotKey) -> corten_store::Result<PathBuf> {
        self.store.snapshots().folder(key)
    }
}

fn suite(form: SnapshotForm) {
    let make = || -> Box<dyn Snapshots> {
        let Fixture { scratch, store, .. } = Fixture::with(StoreOptions { form, ..StoreOptions::default() });
        Box::new(Owned { store: store.unwrap(), _scratch: scratch })
    };
    corten_store::snapshots::testsuite::run(&make, &show);
}

/// Mounts with the system's own program, for as long as `work` runs.
fn show(mounts: &Mounts, work: &mut dyn FnMut(&Path)) {
    let join =
        |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":");
    let options = match mounts {
        Mounts::Plain(folder) => return work(folder),
        Mounts::ReadOnly { lowers } if lowers.len() == 1 => return work(&lowers[0]),
        Mounts::ReadOnly { lowers } => format!("lowerdir={}", join(lowers)),
        Mounts::Overlay { lowers, upper, work } => {
            format!("lowerdir={},upperdir={},workdir={}", join(lowers), upper.display(), work.display())
        }
    };
    struct Mounted(corten_testing::Scratch);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
        }
    }
    let mounted = Mounted(corten_testing::Scratch::new("mount"));
    let status = Command::new("mount")
        .args(["-t", "overlay", "overlay", "-o", &options])
        .arg(mounted.0.path())
        .status()
        .unwrap();
    assert!(status.success(), "mount with {options}");
    work(mounted.0.path());
}

#[test]
fn overlay_passes_the_suite() {
    if corten_testing::need_root() {
        suite(SnapshotForm::Overlay);
    }
}

#[test]
fn copies_pass_the_suite() {
    if corten_testing::need_root() {
        suite(SnapshotForm::Copy);
    }
}
