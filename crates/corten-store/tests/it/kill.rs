//! A process that changes the store without pause is killed at random instants; the store opens each time, and
//! what was acknowledged is there, whole.

use crate::Fixture;
use crate::archive::{Layout, Packing, architectures, files};
use corten_oci::{Digest, Reference};
use corten_std::{Paths, file};
use corten_store::{LoadEvent, SnapshotForm, SnapshotKey, Store, StoreOptions};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const FOLDER: &str = "CORTEN_STORE_KILL_TEST";
const ROUNDS: u64 = 60;

/// The process that is killed: this test program again, with the folder in the environment.
#[test]
fn the_child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = std::path::PathBuf::from(folder);
    let paths = Paths::new(folder.join("data"), folder.join("exec"));
    let store = Store::open(&paths, StoreOptions::default()).unwrap();
    let records = store.records::<u64>("test");
    // Numbers go on where the process before was killed, whatever it had got to.
    let mut number = records.list().unwrap().last().map_or(0, |(_, number)| *number);
    store
        .snapshots()
        .walk(&mut |snapshot| {
            let text = snapshot.key.as_str().rsplit('-').next().unwrap_or_default();
            number = number.max(text.parse().unwrap_or(0));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    let said = |line: String| {
        let mut out = std::io::stdout().lock();
        // Straight to the pipe: what is said was done.
        out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    };
    loop {
        number += 1;
        let name = format!("app:{}", number % 4);
        let packing = [Packing::Plain, Packing::Gzip, Packing::Zstd][number as usize % 3];
        let archive = image(&name, packing, number % 8);
        said(format!("touching {name}"));
        store.images().load(archive.as_slice(), &mut |_: LoadEvent| ()).unwrap();
        said(format!("ack loaded {name} {}", store.images().resolve_id(&name).unwrap()));
        let image = store.images().resolve(&name).unwrap();
        store
            .images()
            .tag_id(&image.id, &Reference::parse(&format!("other:{}", number % 2)).unwrap())
            .unwrap();

        let active = SnapshotKey::new(&format!("active-{number}")).unwrap();
        store.snapshots().prepare(&active, image.top_snapshot.as_ref()).unwrap();
        file::write(store.snapshots().folder(&active).unwrap().join("file"), number.to_string()).unwrap();
        said(format!("ack prepared {active}"));
        if number.is_multiple_of(3) {
            let step = SnapshotKey::new(&format!("step-{number}")).unwrap();
            store.snapshots().commit(&step, &active).unwrap();
            said(format!("ack committed {step} {active}"));
            if number.is_multiple_of(2) {
                said(format!("removing {step}"));
                store.snapshots().remove(&step).unwrap();
            }
        } else {
            said(format!("removing {active}"));
            store.snapshots().remove(&active).unwrap();
        }
        records.put(&format!("{number:08}"), &number).unwrap();
        said(format!("ack record {number}"));
        if number > 20 {
            records.delete(&format!("{:08}", number - 20)).unwrap();
        }
        let old = format!("app:{}", (number + 1) % 4);
        if number.is_multiple_of(5) && store.images().resolve(&old).is_ok() {
            said(format!("touching {old}"));
            store.images().remove(&old, true, &|_| Vec::new()).unwrap();
            said(format!("ack untagged {old}"));
        }
    }
}

fn image(name: &str, packing: Packing, variant: u64) -> Vec<u8> {
    let own = format!("{variant}");
    let layers: Vec<Vec<u8>> = vec![
        files(&[("base/", "755"), ("base/file", &"x".repeat(100_000)), ("base/gone", "1")]),
        files(&[("base/", "755"), ("base/.wh.gone", ""), ("own", &own), ("large", &own.repeat(200_000))]),
    ];
    let mut layout = Layout::default();
    let descriptor = layout.image(&architectures().0, &layers, packing, &own);
    layout.list(descriptor, Some(name));
    layout.archive(variant.is_multiple_of(2))
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn killed_at_any_instant_it_opens_and_is_whole() {
    if !corten_testing::need_root() {
        return;
    }
    let mut fixture = Fixture::with(StoreOptions { form: SnapshotForm::Overlay, ..StoreOptions::default() });
    fixture.store = None;
    let mut random = 88_172_645_463_325_252_u64;
    let mut slowest = Duration::ZERO;
    let mut acknowledged = 0;
    let mut active: BTreeSet<String> = BTreeSet::new();
    let mut committed: BTreeSet<String> = BTreeSet::new();
    let mut last_record = 0;
    for round in 0..ROUNDS {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["kill::the_child", "--exact", "--nocapture", "--test-threads=1"])
            .env(FOLDER, fixture.scratch.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut child = Killed(child);
        let output = child.0.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).collect::<Vec<_>>()
        });
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_micros(3_000 + random % 120_000));
        assert!(child.0.try_wait().unwrap().is_none(), "the child ended by itself");
        drop(child);
        let lines = reader.join().unwrap();

        let begin = std::time::Instant::now();
        fixture.store = Some(Store::open(&fixture.paths(), StoreOptions::default()).unwrap());
        slowest = slowest.max(begin.elapsed());
        let store = fixture.store();

        let mut tags: Vec<(String, Option<String>)> = Vec::new();
        for line in &lines {
            acknowledged += u64::from(line.starts_with("ack"));
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["ack", "loaded", name, id] => {
                    tags.retain(|(other, _)| other != name);
                    tags.push((name.to_owned(), Some(id.to_owned())));
                }
                ["ack", "prepared", key] => drop(active.insert(key.to_owned())),
                ["ack", "committed", step, key] => {
                    active.remove(key);
                    committed.insert(step.to_owned());
                }
                ["removing", key] => {
                    active.remove(key);
                    committed.remove(key);
                }
                ["ack", "record", number] => last_record = number.parse().unwrap(),
                // From here until its acknowledgement it may be there or not.
                ["touching", name] => tags.retain(|(other, _)| other != name),
                ["ack", "untagged", name] => tags.push((name.to_owned(), None)),
                _ => {}
            }
        }
        for (name, id) in &tags {
            let now = store.images().resolve_id(name).ok().map(|id| id.to_string());
            assert_eq!(now, *id, "round {round}: {name}, {lines:#?}");
        }
        for key in &active {
            let key = SnapshotKey::new(key).unwrap();
            // A commit that was not acknowledged may have been done.
            let step = SnapshotKey::new(&key.as_str().replace("active", "step")).unwrap();
            let found = store.snapshots().folder(&key).or_else(|_| store.snapshots().folder(&step));
            let folder = found.unwrap_or_else(|error| panic!("round {round}: {key}: {error}, {lines:#?}"));
            assert_eq!(file::read_to_string(folder.join("file")).unwrap(), key.as_str()[7..]);
        }
        for key in &committed {
            store.snapshots().stat(&SnapshotKey::new(key).unwrap()).unwrap();
        }
        let numbers: Vec<u64> =
            store.records::<u64>("test").list().unwrap().into_iter().map(|(_, number)| number).collect();
        assert!(
            numbers.last().copied().unwrap_or(0) >= last_record,
            "round {round}: {numbers:?}, {last_record}"
        );
        whole(store, &fixture.paths());
        fixture.store = None;
    }
    assert!(acknowledged > ROUNDS, "the child got to work: {acknowledged}");
    // A hundred times what it takes; the figure that counts is measured without a load beside.
    assert!(slowest < Duration::from_secs(1), "opening took {slowest:?}");
}

/// Every image can be used, all content has its digest, and nothing lies about without a row.
fn whole(store: &Store, paths: &Paths) {
    let damaged = store.check().unwrap();
    assert!(damaged.is_empty(), "{damaged:?}");
    let mut named: BTreeSet<Digest> = BTreeSet::new();
    for image in store.images().list().unwrap() {
        assert!(image.runnable);
        let folder = store.snapshots().folder(image.top_snapshot.as_ref().unwrap()).unwrap();
        let own = &image.config.config.labels.as_ref().unwrap()["own"];
        assert_eq!(file::read_to_string(folder.join("own")).unwrap(), *own);
        let manifest = store.read_document(&image.manifest.digest).unwrap();
        named.extend([image.manifest.digest, image.config_digest]);
        let manifest: corten_oci::Manifest = serde_json::from_slice(&manifest).unwrap();
        for layer in manifest.layers {
            assert_eq!(store.content_size(&layer.digest), Some(layer.size));
            named.insert(layer.digest);
        }
    }
    store.finish_removals();
    assert!(crate::unfinished(paths).is_empty());
    for name in file::list(paths.blobs().join("sha256")).unwrap() {
        assert!(
            named.contains(&Digest::from_hex(name.to_str().unwrap()).unwrap()),
            "a blob that no image names"
        );
    }
    let mut committed = 0;
    store
        .snapshots()
        .walk(&mut |snapshot| {
            committed += usize::from(snapshot.kind == corten_store::SnapshotKind::Committed);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(file::list(paths.snapshots().join("committed")).unwrap().len(), committed);
}
