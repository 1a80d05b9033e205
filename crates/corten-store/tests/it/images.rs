//! Loading, finding, naming, removing and saving images.

use crate::Fixture;
use crate::archive::{Layout, Packing, architectures, archive, config, entry, files, pack, tar, two_layers};
use corten_layer::tar::EntryKind;
use corten_oci::image::{Descriptor, media_type};
use corten_oci::{Digest, Manifest, Reference};
use corten_std::{Classified, ErrorClass};
use corten_store::{Image, ImageUser, LoadEvent, NewImage, Removed, SnapshotForm, SnapshotKey, StoreOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

impl Fixture {
    /// Loads, and gives what Docker would print.
    pub(crate) fn load(&self, archive: &[u8]) -> Result<Vec<String>, String> {
        let loaded = self.store().images().load(archive, &mut |_: LoadEvent| ());
        let mut lines: Vec<String> =
            loaded.map_err(|error| corten_std::chain(&error))?.iter().map(ToString::to_string).collect();
        lines.sort();
        Ok(lines)
    }

    pub(crate) fn image(&self, name: &str) -> Arc<Image> {
        self.store().images().resolve(name).unwrap()
    }

    /// The folder of an image's topmost layer.
    pub(crate) fn top(&self, name: &str) -> PathBuf {
        self.store().snapshots().folder(self.image(name).top_snapshot.as_ref().unwrap()).unwrap()
    }

    /// Nothing but the rows' files lies about, and all content has its digest.
    pub(crate) fn assert_whole(&self) {
        assert!(self.store().check().unwrap().is_empty());
        self.store().finish_removals();
        assert!(crate::unfinished(&self.paths()).is_empty());
    }

    pub(crate) fn count(&self, folder: &str) -> usize {
        corten_std::file::list(self.paths().data_root.join(folder)).unwrap().len()
    }
}

/// An image of two layers by this name, in an OCI layout.
pub(crate) fn named(name: &str, packing: Packing, own: &str) -> Vec<u8> {
    let mut layout = Layout::default();
    let descriptor = layout.image(&architectures().0, &two_layers(), packing, own);
    layout.list(descriptor, Some(name));
    layout.archive(true)
}

#[test]
fn every_form_gives_the_same_files_and_comes_out_as_it_went_in() {
    if !corten_testing::need_root() {
        return;
    }
    for (packing, index_first) in [
        (Packing::Plain, true),
        (Packing::Plain, false),
        (Packing::Gzip, true),
        (Packing::Gzip, false),
        (Packing::Zstd, false),
    ] {
        let fixture = Fixture::new();
        let mut layout = Layout::default();
        let descriptor = layout.image(&architectures().0, &two_layers(), packing, "x");
        layout.list(descriptor.clone(), Some("docker.io/library/app:1"));
        // The whole archive may be compressed, too.
        let archive = pack(&layout.archive(index_first), packing);
        assert_eq!(fixture.load(&archive).unwrap(), ["Loaded image: app:1"], "{packing:?}");

        let image = fixture.image("app:1");
        assert_eq!(image.id, descriptor.digest);
        assert!(image.runnable);
        assert_eq!(image.config.config.healthcheck.as_ref().unwrap().test, ["CMD", "true"]);
        assert_eq!(Digest::of(&image.config_bytes), image.config_digest);
        assert_eq!(image.repo_digests(), [format!("app@{}", image.id)]);
        let top = fixture.top("app:1");
        assert_eq!(std::fs::read_to_string(top.join("etc/name")).unwrap(), "two");
        assert!(std::fs::symlink_metadata(top.join("etc/gone")).unwrap().file_type().is_char_device());
        assert_eq!(
            std::fs::metadata(top.join("tmp")).unwrap().mode() & 0o7777,
            0o1777,
            "as in the layer below"
        );

        let mut saved = Vec::new();
        fixture.store().images().save(&["app:1"], &mut saved).unwrap();
        let other = Fixture::new();
        assert_eq!(other.load(&saved).unwrap(), ["Loaded image: app:1"]);
        assert_eq!(other.image("app:1").id, image.id);
        // Every blob of the layout is in the saved archive with the same bytes.
        for (path, bytes) in &layout.blobs {
            let digest = Digest::from_hex(path.rsplit('/').next().unwrap()).unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut other.store().open_content(&digest).unwrap(), &mut content)
                .unwrap();
            assert!(content == *bytes, "{path}");
        }
        // Plain layers are not kept as blobs: manifest and configuration only.
        assert_eq!(fixture.count("blobs/sha256"), if packing == Packing::Plain { 2 } else { 4 });
        fixture.assert_whole();
        other.assert_whole();
    }
}

#[test]
fn copies_show_the_joined_tree_and_give_layers_back() {
    if !corten_testing::need_root() {
        return;
    }
    let fixture = Fixture::with(StoreOptions { form: SnapshotForm::Copy, ..StoreOptions::default() });
    fixture.load(&named("app:1", Packing::Plain, "x")).unwrap();
    let top = fixture.top("app:1");
    assert_eq!(std::fs::read_to_string(top.join("etc/name")).unwrap(), "two");
    assert_eq!(std::fs::read_to_string(top.join("bin/sh")).unwrap(), "#!");
    assert!(!top.join("etc/gone").exists());
    fixture.assert_whole();
}

#[test]
fn dockers_older_form_with_linked_layers() {
    if !corten_testing::need_root() {
        return;
    }
    let layers = two_layers();
    let config =
        config(&architectures().0, &[layers[0].clone(), layers[1].clone(), layers[1].clone()], "old");
    let config_path = format!("{}.json", Digest::of(&config).hex());
    let manifest = serde_json::json!([
        { "Config": config_path, "RepoTags": ["old:1", "old:2"], "Layers": ["a/layer.tar", "b/layer.tar", "c/layer.tar"] },
        { "Config": config_path, "RepoTags": null, "Layers": ["a/layer.tar", "b/layer.tar", "c/layer.tar"] },
    ]);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let mut link = entry("c/layer.tar", EntryKind::Symlink, 0o777, 0);
    link.link = b"../b/layer.tar".to_vec();
    let bytes = tar(&[
        (entry("a/layer.tar", EntryKind::File, 0o644, layers[0].len()), &layers[0]),
        (entry("a/VERSION", EntryKind::File, 0o644, 3), b"1.0"),
        (link, b""),
        (entry("b/layer.tar", EntryKind::File, 0o644, layers[1].len()), &layers[1]),
        (entry(&config_path, EntryKind::File, 0o644, config.len()), &config),
        (entry("./manifest.json", EntryKind::File, 0o644, manifest.len()), &manifest),
    ]);
    let fixture = Fixture::new();
    let loaded = fixture.load(&bytes).unwrap();
    let image = fixture.image("old:2");
    assert_eq!(
        loaded,
        [
            "Loaded image ID: ".to_owned() + &image.id.to_string(),
            "Loaded image: old:1".into(),
            "Loaded image: old:2".into()
        ]
    );
    assert_eq!(image.chain.len(), 3);
    assert_eq!(image.names.len(), 2);
    assert_eq!(image.target.media_type, media_type::DOCKER_MANIFEST);
    fixture.assert_whole();
    // Again: nothing is unpacked twice, and the ID is the same.
    fixture.load(&bytes).unwrap();
    assert_eq!(fixture.image("old:1").id, image.id);
    assert_eq!(fixture.count("snapshots/committed"), 3);
    fixture.assert_whole();
}

#[test]
fn finding_by_every_kind_of_name() {
    if !corten_testing::need_root() {
        return;
    }
    let fixture = Fixture::new();
    fixture.load(&named("app:latest", Packing::Plain, "x")).unwrap();
    let id = fixture.image("app").id;
    let hex = id.hex();
    for name in [
        "app",
        "app:latest",
        "docker.io/library/app",
        &id.to_string(),
        &hex,
        &hex[..12],
        &format!("sha256:{}", &hex[..7]),
        &format!("app@{id}"),
    ] {
        assert_eq!(fixture.store().images().resolve_id(name).unwrap(), id, "{name}");
    }
    let check = |name: &str, text: &str, class: ErrorClass| {
        let error = fixture.store().images().resolve(name).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.class()), (text, class));
    };
    check("none", "No such image: none:latest", ErrorClass::NotFound);
    check("app:2", "No such image: app:2", ErrorClass::NotFound);
    check(
        "other@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "No such image: other@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ErrorClass::NotFound,
    );
    check(&format!("other@{id}"), &format!("No such image: other@{id}"), ErrorClass::NotFound);
    check("a b", "invalid reference format", ErrorClass::InvalidParameter);
    check(&"0".repeat(64), &format!("No such image: {}", "0".repeat(64)), ErrorClass::NotFound);
    // A name of hexadecimal digits wins over an ID that begins so.
    fixture.load(&named(&format!("{}:latest", &hex[..4]), Packing::Plain, "y")).unwrap();
    assert_ne!(fixture.image(&hex[..4]).id, id);
}

#[test]
fn names_move_and_leave_an_image_without() {
    if !corten_testing::need_root() {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.load(&named("app:1", Packing::Plain, "x")).unwrap();
    let first = fixture.image("app:1").id;
    let mut events = Vec::new();
    fixture
        .store()
        .images()
        .load(named("app:1", Packing::Plain, "y").as_slice(), &mut |event| events.push(event))
        .unwrap();
    let reference = Reference::parse("app:1").unwrap();
    assert!(
        events.contains(&LoadEvent::Renamed { reference: reference.clone(), previous: first }),
        "{events:?}"
    );
    let images = fixture.store().images();
    assert_eq!(images.get(&first).unwrap().names, []);
    assert_eq!(images.list().unwrap().len(), 2);
    let image = images.tag("app:1", &Reference::parse("other/app").unwrap()).unwrap();
    assert_eq!(image.repo_tags(), ["app:1", "other/app:latest"]);
    assert!(!image.last_tagged.is_zero());
    assert!(images.tag("none", &reference).is_err());
    fixture.reopen();
    assert_eq!(fixture.image("other/app").repo_tags(), ["app:1", "other/app:latest"]);
    assert_eq!(fixture.store().images().get(&first).unwrap().names, []);
}

#[test]
fn removal_follows_dockers_rules() {
    if !corten_testing::need_root() {
        return;
    }
    let fixture = Fixture::new();
    let images = fixture.store().images();
    let nobody = |_: &Digest| Vec::new();
    let user = |running| move |_: &Digest| vec![ImageUser { container: "c".repeat(64), running }];
    let names = |removed: Vec<Removed>| -> Vec<String> {
        removed
            .into_iter()
            .map(|removed| match removed {
                Removed::Untagged(name) => format!("Untagged: {name}"),
                Removed::Deleted(id) => format!("Deleted: {}", id.short()),
            })
            .collect()
    };
    let load = || {
        fixture.load(&named("one:1", Packing::Plain, "x")).unwrap();
        images.tag("one:1", &Reference::parse("two:2").unwrap()).unwrap().id
    };
    let id = load();
    let short = id.short();
    // By name: only the name, then the image.
    assert_eq!(names(images.remove("one:1", false, &nobody).unwrap()), ["Untagged: one:1"]);
    assert_eq!(
        names(images.remove("two:2", false, &nobody).unwrap()),
        ["Untagged: two:2".to_owned(), format!("Deleted: {short}")]
    );
    assert_eq!((fixture.count("blobs/sha256"), fixture.count("snapshots/committed")), (0, 0));
    // By ID.
    load();
    let error = images.remove(&short, false, &nobody).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
    );
    assert_eq!(error.class(), ErrorClass::Conflict);
    let error = images.remove(&short, true, &user(true)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container cccccccccccc"
        )
    );
    assert_eq!(
        names(images.remove(&short, true, &user(false)).unwrap()),
        ["Untagged: one:1".to_owned(), "Untagged: two:2".into(), format!("Deleted: {short}")]
    );
    // The last name of an image in use.
    load();
    images.remove("two:2", false, &nobody).unwrap();
    let error = images.remove("one:1", false, &user(false)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to remove repository reference \"one:1\" (must force) - container cccccccccccc is using its referenced image {short}"
        )
    );
    let error = images.remove(&short, false, &user(false)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container cccccccccccc"
        )
    );
    assert_eq!(names(images.remove("one:1", true, &user(true)).unwrap()), ["Untagged: one:1"]);
    assert_eq!(images.get(&id).unwrap().names, [], "it stays, without a name");
    assert_eq!(images.remove("one:1", false, &nobody).unwrap_err().to_string(), "No such image: one:1");
    fixture.assert_whole();
}

#[test]
fn layers_stay_while_an_image_or_a_container_needs_them() {
    if !corten_testing::need_root() {
        return;
    }
    let mut fixture = Fixture::new();
    let nobody = |_: &Digest| Vec::new();
    fixture.load(&named("one:1", Packing::Gzip, "x")).unwrap();
    fixture.load(&named("two:1", Packing::Gzip, "y")).unwrap();
    assert_eq!(
        (fixture.count("blobs/sha256"), fixture.count("snapshots/committed")),
        (6, 2),
        "layers are shared"
    );
    let top = fixture.image("one:1").top_snapshot.clone().unwrap();
    let container = SnapshotKey::new("container").unwrap();
    fixture.store().snapshots().prepare(&container, Some(&top)).unwrap();
    fixture.store().images().remove("one:1", true, &nobody).unwrap();
    assert_eq!((fixture.count("blobs/sha256"), fixture.count("snapshots/committed")), (4, 2));
    fixture.store().images().remove("two:1", true, &nobody).unwrap();
    assert_eq!((fixture.count("blobs/sha256"), fixture.count("snapshots/committed")), (0, 2));
    fixture.reopen();
    assert_eq!(fixture.count("snapshots/committed"), 2);
    fixture.store().snapshots().mounts(&container).unwrap();
    fixture.store().snapshots().remove(&container).unwrap();
    // The collection runs beside.
    let begin = std::time::Instant::now();
    while fixture.count("snapshots/committed") > 0 && begin.elapsed().as_secs() < 10 {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(fixture.count("snapshots/committed"), 0);
    fixture.assert_whole();
}

#[test]
fn leases_keep_what_no_image_names() {
    if !corten_testing::need_root() {
        return;
    }
    use corten_store::{Lease, ProcessIdentity};
    let mut fixture = Fixture::new();
    let nobody = |_: &Digest| Vec::new();
    fixture.load(&named("one:1", Packing::Gzip, "x")).unwrap();
    let image = fixture.image("one:1");
    let lease = |owner| Lease {
        id: "build".to_owned(),
        owner,
        created: corten_std::Timestamp::now(),
        content: vec![image.config_digest],
        snapshots: vec![image.top_snapshot.clone().unwrap()],
    };
    let own = ProcessIdentity::current().unwrap();
    fixture.store().leases().take(&lease(own.clone())).unwrap();
    fixture.store().images().remove("one:1", false, &nobody).unwrap();
    assert_eq!((fixture.count("blobs/sha256"), fixture.count("snapshots/committed")), (1, 2));
    fixture.reopen();
    assert_eq!((fixture.count("blobs/sha256"), fixture.count("snapshots/committed")), (1, 2));
    // The same process id at another time is another process.
    let gone = ProcessIdentity { start_time: own.start_time + 1, ..own };
    fixture.store().leases().take(&lease(gone)).unwrap();
    fixture.reopen();
    assert_eq!(fixture.store().leases().list().unwrap(), []);
    assert_eq!((fixture.count("blobs/sha256"), fixture.count("snapshots/committed")), (0, 0));
    fixture.assert_whole();
}

#[test]
fn an_image_made_here() {
    if !corten_testing::need_root() {
        return;
    }
    let fixture = Fixture::new();
    let images = fixture.store().images();
    let layer = files(&[("hello", "text")]);
    let make = |packing| NewImage {
        base: None,
        layers: vec![Box::new(std::io::Cursor::new(pack(&layer, packing)))],
        config: corten_oci::ImageConfig { author: "somebody".into(), ..Default::default() },
        names: vec![Reference::parse("hello-world").unwrap()],
    };
    let image = images.add(make(Packing::Plain)).unwrap();
    assert_eq!(image.repo_tags(), ["hello-world:latest"]);
    assert_eq!(images.add(make(Packing::Gzip)).unwrap().id, image.id, "the same again, however it is packed");
    assert_eq!(fixture.count("snapshots/committed"), 1);
    let upon = images
        .add(NewImage {
            base: Some(Arc::clone(&image)),
            layers: vec![Box::new(std::io::Cursor::new(files(&[("more", "x")])))],
            config: (*image.config).clone(),
            names: vec![],
        })
        .unwrap();
    assert_eq!(upon.chain[0], image.chain[0]);
    assert_eq!(upon.chain.len(), 2);
    assert_eq!(upon.names, []);
    let sharing = images.sharing();
    let own = upon.size - sharing.shared[&upon.id];
    assert!(own > 0 && sharing.shared[&image.id] > 0);
    assert!(sharing.shared[&image.id] <= image.size, "its documents are its own");
    assert_eq!(sharing.total, image.size + own, "what both have is counted once");
    // No layers at all.
    let empty = images
        .add(NewImage {
            base: None,
            layers: vec![],
            config: corten_oci::ImageConfig::default(),
            names: vec![],
        })
        .unwrap();
    assert_eq!((empty.top_snapshot.clone(), empty.runnable), (None, true));
    fixture.assert_whole();
}

#[test]
fn hostile_archives_are_refused_whole() {
    if !corten_testing::need_root() {
        return;
    }
    let fixture = Fixture::new();
    let check = |archive: &[u8], text: &str| {
        let error = fixture.load(archive).unwrap_err();
        assert!(error.contains(text), "`{error}` should hold `{text}`");
        assert_eq!(fixture.store().images().list().unwrap().len(), 0);
        fixture.assert_whole();
        assert_eq!((fixture.count("blobs/sha256"), fixture.count("snapshots/committed")), (0, 0), "{text}");
    };
    check(b"", "neither `index.json` nor `manifest.json`");
    check(&[7; 2000], "checksum");
    check(&archive(&[("../index.json".into(), b"{}".to_vec())]), "leads outside of the archive");
    check(&archive(&[("/index.json".into(), b"{}".to_vec())]), "leads outside of the archive");
    check(&archive(&[("index.json".into(), b"nonsense".to_vec())]), "invalid `index.json` of the archive");
    check(
        &archive(&[(
            "index.json".into(),
            b"{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"sha256:../../x\",\"size\":1}]}".to_vec(),
        )]),
        "invalid digest",
    );
    check(&archive(&[("blobs/md5/00".into(), b"x".to_vec())]), "unsupported digest algorithm");
    check(&archive(&[(format!("blobs/sha256/{}", Digest::of(b"a").hex()), b"b".to_vec())]), "has digest");
    // A layer under a false name, plain and compressed.
    for packing in [Packing::Plain, Packing::Gzip] {
        let bytes = pack(&two_layers()[0], packing);
        check(&archive(&[(format!("blobs/sha256/{}", Digest::of(b"a").hex()), bytes)]), "has digest");
    }
    // A configuration that promises other layers.
    let mut layout = Layout::default();
    let config =
        layout.blob(media_type::OCI_CONFIG, config(&architectures().0, &[files(&[("other", "x")])], "x"));
    let layer = layout.blob(media_type::OCI_LAYER, two_layers()[0].clone());
    let manifest = serde_json::to_vec(&Manifest::new(config, vec![layer])).unwrap();
    let descriptor = layout.blob(media_type::OCI_MANIFEST, manifest);
    layout.list(descriptor.clone(), Some("bad:1"));
    check(&layout.archive(true), "has digest");
    // A size that is not the content's; a name that is none; content that is missing.
    let whole = |change: &dyn Fn(&mut Layout)| {
        let mut layout = Layout::default();
        let descriptor = layout.image(&architectures().0, &two_layers(), Packing::Plain, "x");
        layout.list(descriptor, Some("good:1"));
        change(&mut layout);
        layout.archive(false)
    };
    check(&whole(&|layout| layout.index[0].size += 1), "bytes instead of");
    check(
        &whole(&|layout| layout.list(layout.index[0].clone(), Some("UPPER/../x"))),
        "invalid reference format",
    );
    check(
        &whole(&|layout| {
            layout.list(Descriptor::new(media_type::OCI_MANIFEST, Digest::of(b"none"), 4), Some("none:1"));
        }),
        "does not hold it",
    );
    // A layer that wants out, one that is cut off, one that is no tar.
    let mut link = entry("up", EntryKind::HardLink, 0o644, 0);
    link.link = b"../../../etc/passwd".to_vec();
    for layer in [tar(&[(link, b"")]), files(&[("../../escape", "x")])] {
        let mut layout = Layout::default();
        let descriptor = layout.image(&architectures().0, &[layer], Packing::Plain, "x");
        layout.list(descriptor, Some("out:1"));
        check(&layout.archive(true), "leads outside of the root");
    }
    let cut = two_layers()[0][..700].to_vec();
    for packing in [Packing::Plain, Packing::Gzip] {
        let mut layout = Layout::default();
        let descriptor = layout.image(&architectures().0, std::slice::from_ref(&cut), packing, "x");
        layout.list(descriptor, Some("cut:1"));
        check(&layout.archive(true), "ends early");
    }
    let good = whole(&|_| ());
    check(&good[..good.len() / 2], "");
    // Links in a circle.
    let mut one = entry("manifest.json", EntryKind::Symlink, 0o777, 0);
    one.link = b"other.json".to_vec();
    let mut two = entry("other.json", EntryKind::Symlink, 0o777, 0);
    two.link = b"manifest.json".to_vec();
    check(&tar(&[(one, b""), (two, b"")]), "circle");
    // A document without end.
    let large = vec![b' '; (16 << 20) + 1];
    check(&archive(&[("index.json".into(), large)]), "larger than 16777216 bytes");
    assert_eq!(fixture.load(&good).unwrap(), ["Loaded image: good:1"], "and a good one goes in");
}

/// Run by hand with `CORTEN_TEST_IMAGES` set to a folder of archives: times of load and save.
#[test]
#[expect(clippy::print_stdout, reason = "the figures are for whoever runs it by hand")]
fn times_with_real_images() {
    let Ok(folder) = std::env::var("CORTEN_TEST_IMAGES") else { return };
    for name in corten_std::file::list(&folder).unwrap() {
        if !PathBuf::from(&folder).join(&name).is_file() {
            continue;
        }
        let fixture = Fixture::new();
        let file = std::fs::File::open(PathBuf::from(&folder).join(&name)).unwrap();
        let begin = std::time::Instant::now();
        let loaded = fixture.store().images().load(file, &mut |_: LoadEvent| ()).unwrap();
        let load = begin.elapsed();
        let begin = std::time::Instant::now();
        let mut out = Vec::new();
        fixture.store().images().save(&[&loaded[0].id.to_string()], &mut out).unwrap();
        let save = begin.elapsed();
        let size = fixture.store().images().get(&loaded[0].id).unwrap().size;
        println!("{}: load {load:?}, save {save:?}, size {size}", name.display());
        let again = Fixture::new();
        assert_eq!(
            again.store().images().load(out.as_slice(), &mut |_: LoadEvent| ()).unwrap()[0].id,
            loaded[0].id
        );
    }
}
