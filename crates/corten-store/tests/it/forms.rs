//! Forms of layers: what is dropped, what not, and how it comes back.

use crate::Fixture;
use crate::archive::{Layout, Packing, architectures, files, pack, two_layers};
use crate::images::named;
use corten_oci::Digest;
use corten_store::{Again, StoreError, TwoForms};
use std::io::Read;
use std::time::Duration;

fn saved(fixture: &Fixture, name: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    fixture.store().images().save(&[name], &mut archive).unwrap();
    archive
}

fn size(fixture: &Fixture, name: &str) -> u64 {
    fixture.image(name).size
}

fn packed_size(layers: &[TwoForms]) -> u64 {
    layers.iter().map(|layer| layer.blob.size).sum()
}

fn compressing(layer: &TwoForms) -> Again {
    Again::Compressing(layer.diff_id)
}

fn registry() -> Again {
    Again::Registry("example.test/app".to_owned())
}

/// Every committed folder seems to have been used that long ago.
fn age(fixture: &Fixture, age: Duration) {
    let folder = fixture.paths().snapshots().join("committed");
    for name in corten_std::file::list(&folder).unwrap() {
        let time = std::time::SystemTime::now() - age;
        std::fs::File::open(folder.join(name)).unwrap().set_modified(time).unwrap();
    }
}

const DAY: Duration = Duration::from_hours(24);

#[test]
fn what_we_compress_alike_is_made_again_when_it_is_read() {
    if !corten_testing::need_root() {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.load(&named("own:1", Packing::Own, "x")).unwrap();
    fixture.load(&named("other:1", Packing::Gzip, "y")).unwrap();
    let (before, whole) = (saved(&fixture, "own:1"), size(&fixture, "own:1"));
    let layers = fixture.store().images().in_two_forms().unwrap();
    assert_eq!(layers.len(), 4);
    let (alike, others): (Vec<_>, Vec<_>) =
        layers.into_iter().partition(|layer| fixture.store().is_compressed_alike(layer).unwrap());
    assert_eq!((alike.len(), others.len()), (2, 2));
    assert!(alike.iter().all(|layer| layer.names.iter().all(|name| name.familiar() == "own:1")));
    let blobs = fixture.count("blobs/sha256");
    for layer in &alike {
        assert_eq!(fixture.store().drop_compressed(layer, compressing(layer)).unwrap(), layer.blob.size);
        assert_eq!(fixture.store().drop_compressed(layer, compressing(layer)).unwrap(), 0);
    }
    assert_eq!(fixture.count("blobs/sha256"), blobs - 2);
    assert_eq!(size(&fixture, "own:1"), whole - packed_size(&alike));
    assert!(saved(&fixture, "own:1") == before);
    fixture.reopen();
    assert!(saved(&fixture, "own:1") == before);
    fixture.assert_whole();
    // What can be had again is not taken in.
    fixture.load(&before).unwrap();
    assert_eq!(size(&fixture, "own:1"), whole - packed_size(&alike));
    assert_eq!(fixture.count("blobs/sha256"), blobs - 2);
    // The folder is what it is made of: it does not go meanwhile.
    age(&fixture, DAY * 3);
    assert!(fixture.store().images().pack(DAY, false).unwrap().is_empty());
    fixture.store().images().remove("own:1", true, &|_| Vec::new()).unwrap();
    fixture.reopen();
    fixture.assert_whole();
}

#[test]
fn what_a_registry_has_is_fetched_before_it_is_read() {
    if !corten_testing::need_root() {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.load(&named("app:1", Packing::Gzip, "x")).unwrap();
    let before = saved(&fixture, "app:1");
    let layer = fixture.store().images().in_two_forms().unwrap().remove(0);
    assert_eq!(layer.names[0].familiar(), "app:1");
    fixture.store().drop_compressed(&layer, registry()).unwrap();
    fixture.reopen();
    let digest = layer.blob.digest;
    let content = fixture.store().content_of_image(&fixture.image("app:1").id).unwrap();
    let expected = [(digest, layer.blob.size, "example.test/app".to_owned())];
    assert_eq!(fixture.store().elsewhere(&content), expected);
    let error = fixture.store().open_content(&digest).unwrap_err();
    assert!(matches!(&error, StoreError::Elsewhere { repository, .. } if repository == "example.test/app"));
    assert!(fixture.store().images().save(&["app:1"], &mut Vec::new()).is_err());
    // Another image that has the layer somewhere else is unpacked from the folder.
    let tars = [two_layers(), vec![files(&[("own", "of it")])]].concat();
    let mut layout = Layout::default();
    let turned = [tars[2].clone(), tars[0].clone()];
    let descriptor = layout.image(&architectures().0, &turned, Packing::Gzip, "turned");
    layout.list(descriptor, Some("turned:1"));
    layout.blobs.retain(|(path, _)| !path.ends_with(&digest.hex()));
    fixture.load(&layout.archive(true)).unwrap();
    assert!(fixture.image("turned:1").runnable);
    // An archive that has it brings it back.
    fixture.load(&named("app:1", Packing::Gzip, "x")).unwrap();
    assert!(fixture.store().elsewhere(&content).is_empty());
    assert!(saved(&fixture, "app:1") == before);
    fixture.store().drop_compressed(&layer, registry()).unwrap();
    // Back it comes whole or not at all.
    let path = fixture.scratch.path().join("come");
    std::fs::write(&path, b"something else").unwrap();
    assert!(matches!(fixture.store().bring_back(&digest, &path), Err(StoreError::Mismatch { .. })));
    assert_eq!(fixture.store().elsewhere(&content), expected);
    let tar = tars.iter().find(|tar| Digest::of(tar) == layer.diff_id).unwrap();
    std::fs::write(&path, pack(tar, Packing::Gzip)).unwrap();
    fixture.store().bring_back(&digest, &path).unwrap();
    assert!(fixture.store().elsewhere(&content).is_empty());
    assert!(saved(&fixture, "app:1") == before);
    fixture.reopen();
    assert!(saved(&fixture, "app:1") == before);
    fixture.assert_whole();
}

#[test]
fn folders_that_nothing_uses_go_and_come_back() {
    if !corten_testing::need_root() {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.load(&named("app:1", Packing::Zstd, "x")).unwrap();
    let whole = size(&fixture, "app:1");
    let read = |fixture: &Fixture| std::fs::read_to_string(fixture.top("app:1").join("tmp/left")).unwrap();
    assert_eq!(read(&fixture), "here");
    let pack = |fixture: &Fixture, dry| fixture.store().images().pack(DAY, dry).unwrap().len();
    // Just made.
    assert_eq!(pack(&fixture, false), 0);
    age(&fixture, DAY * 2);
    // A container lies upon it.
    let key = corten_store::SnapshotKey::new("container").unwrap();
    let image = fixture.image("app:1");
    fixture.store().snapshots().prepare(&key, image.top_snapshot.as_ref()).unwrap();
    assert_eq!((pack(&fixture, true), pack(&fixture, false)), (0, 0));
    fixture.store().snapshots().remove(&key).unwrap();
    assert_eq!(pack(&fixture, true), 2);
    assert_eq!(fixture.count("snapshots/committed"), 2);
    // Somebody is about to lie upon it, however long ago it seems to have been used.
    let held = fixture.store().images().unpacked(&image).unwrap();
    age(&fixture, DAY * 2);
    assert_eq!(pack(&fixture, false), 0);
    drop(held);
    // Used just now: a dry look changes nothing, and noting a use does.
    fixture.store().images().unpacked(&image).unwrap();
    assert_eq!(pack(&fixture, false), 0);
    age(&fixture, DAY * 2);
    assert_eq!(pack(&fixture, false), 2);
    fixture.store().finish_removals();
    assert_eq!(fixture.count("snapshots/committed"), 0);
    assert!(size(&fixture, "app:1") < whole);
    fixture.reopen();
    assert!(fixture.image("app:1").runnable);
    fixture.assert_whole();
    // Two want it at once.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| fixture.store().images().unpacked(&fixture.image("app:1")).unwrap());
        }
    });
    assert_eq!(fixture.count("snapshots/committed"), 2);
    assert_eq!((read(&fixture), size(&fixture, "app:1")), ("here".to_owned(), whole));
    fixture.reopen();
    assert_eq!(read(&fixture), "here");
    fixture.assert_whole();
    // Packed, it goes with its image.
    age(&fixture, DAY * 2);
    assert_eq!(pack(&fixture, false), 2);
    fixture.store().images().remove("app:1", true, &|_| Vec::new()).unwrap();
    fixture.reopen();
    fixture.load(&named("app:1", Packing::Zstd, "x")).unwrap();
    assert_eq!(size(&fixture, "app:1"), whole);
    fixture.assert_whole();
}

/// Between the row's commit and the file's removal: the rows of afterwards, the files of before. What comes back and is in its place
/// before the row goes looks the same.
#[test]
fn killed_between_the_row_and_the_file_all_is_there() {
    if !corten_testing::need_root() {
        return;
    }
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let status = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
        assert!(status.success());
    };
    for folders in [false, true] {
        let mut fixture = Fixture::new();
        fixture.load(&named("app:1", Packing::Own, "x")).unwrap();
        let (before, whole) = (saved(&fixture, "app:1"), size(&fixture, "app:1"));
        let (blobs, committed) = (fixture.count("blobs/sha256"), fixture.count("snapshots/committed"));
        age(&fixture, DAY * 2);
        let root = fixture.paths().data_root;
        let kept = fixture.scratch.path().join("kept");
        std::fs::create_dir(&kept).unwrap();
        for name in ["blobs", "snapshots"] {
            copy(&root.join(name), &kept.join(name));
        }
        if folders {
            assert_eq!(fixture.store().images().pack(DAY, false).unwrap().len(), 2);
        } else {
            for layer in fixture.store().images().in_two_forms().unwrap() {
                assert!(fixture.store().drop_compressed(&layer, compressing(&layer)).unwrap() > 0);
            }
        }
        fixture.store().finish_removals();
        fixture.store = None;
        for name in ["blobs", "snapshots"] {
            std::fs::remove_dir_all(root.join(name)).unwrap();
            copy(&kept.join(name), &root.join(name));
        }
        fixture.reopen();
        fixture.store().finish_removals();
        fixture.assert_whole();
        assert!(size(&fixture, "app:1") < whole, "the row holds");
        let gone = if folders { (0, 2) } else { (2, 0) };
        let left = (fixture.count("blobs/sha256"), fixture.count("snapshots/committed"));
        assert_eq!(left, (blobs - gone.0, committed - gone.1), "what has no row is swept");
        assert!(saved(&fixture, "app:1") == before);
        let _held = fixture.store().images().unpacked(&fixture.image("app:1")).unwrap();
        assert_eq!(std::fs::read_to_string(fixture.top("app:1").join("tmp/left")).unwrap(), "here");
        fixture.assert_whole();
    }
}

/// A dropped blob of one image is unpacked from the folder that another image has too: so it stays as long as the blob is named.
#[test]
fn folders_stay_where_a_dropped_blob_of_another_image_is_the_same_layer() {
    if !corten_testing::need_root() {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.load(&named("gzip:1", Packing::Gzip, "x")).unwrap();
    fixture.load(&named("zstd:1", Packing::Zstd, "y")).unwrap();
    let layers = fixture.store().images().in_two_forms().unwrap();
    let of_zstd = |layer: &&TwoForms| layer.names.iter().any(|name| name.familiar() == "zstd:1");
    for layer in layers.iter().filter(of_zstd) {
        fixture.store().drop_compressed(layer, registry()).unwrap();
    }
    age(&fixture, DAY * 2);
    assert_eq!(fixture.store().images().pack(DAY, false).unwrap().len(), 0);
    fixture.store().images().remove("gzip:1", true, &|_| Vec::new()).unwrap();
    fixture.reopen();
    fixture.store().images().unpacked(&fixture.image("zstd:1")).unwrap();
    assert_eq!(std::fs::read_to_string(fixture.top("zstd:1").join("tmp/left")).unwrap(), "here");
}

#[test]
fn a_platform_is_unpacked_whose_blobs_were_dropped_for_an_image_that_is_gone() {
    if !corten_testing::need_root() {
        return;
    }
    let (host, other) = architectures();
    let fixture = Fixture::new();
    fixture.load(&named("app:1", Packing::Gzip, "x")).unwrap();
    let mut layout = Layout::default();
    let own = layout.image(&host, &[files(&[("own", "of it")])], Packing::Plain, "own");
    let foreign = layout.image(other, &two_layers(), Packing::Gzip, "foreign");
    let index = serde_json::to_vec(&corten_oci::Index::new(vec![own, foreign])).unwrap();
    let index = layout.blob(corten_oci::image::media_type::OCI_INDEX, index);
    layout.list(index, Some("multi:1"));
    fixture.load(&layout.archive(true)).unwrap();
    for layer in fixture.store().images().in_two_forms().unwrap() {
        assert!(fixture.store().drop_compressed(&layer, registry()).unwrap() > 0);
    }
    fixture.store().images().remove("app:1", true, &|_| Vec::new()).unwrap();
    fixture.store().collect_garbage().unwrap();
    let wanted = corten_oci::Platform::new("linux", other, "");
    let id = fixture.image("multi:1").id;
    assert!(fixture.store().images().for_platform(&id, &wanted).unwrap().is_some_and(|image| image.runnable));
    // With the last image that names them everything goes.
    fixture.store().images().remove("multi:1", true, &|_| Vec::new()).unwrap();
    fixture.store().finish_removals();
    assert_eq!((fixture.count("snapshots/committed"), fixture.count("blobs/sha256")), (0, 0));
}

#[test]
fn folders_stay_below_what_stays_and_where_their_blob_is_damaged() {
    if !corten_testing::need_root() {
        return;
    }
    let fixture = Fixture::new();
    fixture.load(&named("app:1", Packing::Gzip, "x")).unwrap();
    // An image upon it whose own layer is a plain tar, and which has the base's as plain tars too.
    let layers = [two_layers(), vec![files(&[("own", "of it")])]].concat();
    let mut layout = Layout::default();
    let descriptor = layout.image(&architectures().0, &layers, Packing::Plain, "child");
    layout.list(descriptor, Some("child:1"));
    fixture.load(&layout.archive(true)).unwrap();
    age(&fixture, DAY * 2);
    let pack_now = || fixture.store().images().pack(DAY, false).unwrap().len();
    assert_eq!(pack_now(), 0);
    fixture.store().images().remove("child:1", true, &|_| Vec::new()).unwrap();
    // The blob of the topmost layer is damaged: it stays, and so does what it lies upon.
    let top = fixture.image("app:1").top_snapshot.clone();
    let layer = fixture.store().images().in_two_forms().unwrap();
    let layer = layer.into_iter().find(|layer| Some(&layer.snapshot) == top.as_ref()).unwrap();
    let path = fixture.paths().blobs().join("sha256").join(layer.blob.digest.hex());
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(pack_now(), 0);
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    // Work in progress holds the top.
    let mut holding = fixture.store().hold();
    assert!(holding.has(&layer.blob.digest));
    assert_eq!(pack_now(), 0);
    assert_eq!(fixture.store().drop_compressed(&layer, registry()).unwrap(), 0);
    drop(holding);
    assert_eq!(pack_now(), 2);
    let mut out = Vec::new();
    fixture.store().open_content(&layer.blob.digest).unwrap().read_to_end(&mut out).unwrap();
    assert_eq!(out, bytes);
}
