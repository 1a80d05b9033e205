//! Several platforms under one name: kept, unpacked, saved and removed one by one.

use crate::Fixture;
use crate::archive::{Layout, Packing, architectures, files, two_layers};
use corten_oci::image::{Descriptor, annotation, media_type};
use corten_oci::{Digest, Index, Manifest};
use corten_store::{ImageUser, LoadEvent, ManifestKind, Removed};

#[test]
fn an_index_keeps_every_platform_and_attestation() {
    if !corten_testing::need_root() {
        return;
    }
    let (host, other) = architectures();
    let mut layout = Layout::default();
    let foreign_layers = vec![files(&[("foreign", "f")])];
    let foreign = layout.image(other, &foreign_layers, Packing::Plain, "foreign");
    let own = layout.image(&host, &two_layers(), Packing::Gzip, "own");
    let statement = layout.blob("application/vnd.in-toto+json", br#"{"_type":"statement"}"#.to_vec());
    let config = layout.blob(
        media_type::OCI_CONFIG,
        br#"{"architecture":"unknown","os":"unknown","rootfs":{"type":"layers","diff_ids":[]}}"#.to_vec(),
    );
    let manifest = serde_json::to_vec(&Manifest::new(config, vec![statement.clone()])).unwrap();
    let mut attestation = layout.blob(media_type::OCI_MANIFEST, manifest);
    attestation.annotations.insert(annotation::REFERENCE_TYPE.into(), "attestation-manifest".into());
    let absent = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(b"absent"), 6);
    let index =
        serde_json::to_vec(&Index::new(vec![foreign.clone(), own.clone(), attestation, absent])).unwrap();
    let index = layout.blob(media_type::OCI_INDEX, index);
    layout.list(index.clone(), Some("multi:1"));
    let archive = layout.archive(false);

    let fixture = Fixture::new();
    fixture.load(&archive).unwrap();
    let image = fixture.image("multi:1");
    assert_eq!((image.id, image.manifest.digest), (index.digest, own.digest));
    assert_eq!(image.config.config.labels.as_ref().unwrap()["own"], "own");
    assert_eq!(
        fixture.store().images().get(&foreign.digest).unwrap().id,
        image.id,
        "found by a manifest, too"
    );
    assert!(fixture.store().content_size(&statement.digest).is_some());
    assert_eq!(
        fixture.store().content_size(&Digest::of(&foreign_layers[0])),
        Some(foreign_layers[0].len() as u64)
    );
    assert_eq!(fixture.count("snapshots/committed"), 2, "only this machine's layers are unpacked");
    let mut saved = Vec::new();
    fixture.store().images().save(&["multi:1"], &mut saved).unwrap();
    let again = Fixture::new();
    again.load(&saved).unwrap();
    assert_eq!(again.image("multi:1").id, image.id);
    fixture.assert_whole();
    again.assert_whole();

    // Another platform is unpacked when it is wanted, once, and goes with the image.
    let wanted = corten_oci::Platform::new("linux", other, "");
    let store = fixture.store();
    let kinds: Vec<_> =
        store.images().manifests(&image.id).unwrap().iter().map(|one| (one.kind, one.available)).collect();
    assert_eq!(kinds[0], (ManifestKind::Image, true));
    assert!(!kinds[3].1, "absent");
    let chosen = store.images().for_platform(&image.id, &wanted).unwrap().expect("the other platform");
    assert_eq!((chosen.id, chosen.manifest.digest), (image.id, foreign.digest));
    assert_eq!(chosen.platform().architecture, other);
    assert_eq!(fixture.count("snapshots/committed"), 3);
    store.images().for_platform(&image.id, &wanted).unwrap().unwrap();
    store.collect_garbage().unwrap();
    assert_eq!(fixture.count("snapshots/committed"), 3, "it is kept while the image is");
    let nobody = corten_oci::Platform::new("linux", "mips", "");
    assert!(store.images().for_platform(&image.id, &nobody).unwrap().is_none());
    assert_eq!(fixture.image("multi:1").manifest.digest, own.digest, "the image's own stays the machine's");

    // An archive of one platform; the image keeps its ID.
    let mut part = Vec::new();
    store.images().save_platform(&["multi:1"], Some(&wanted), &mut part).unwrap();
    assert!(store.images().save_platform(&["multi:1"], Some(&nobody), &mut Vec::new()).is_err());
    let third = Fixture::new();
    third.load(&part).unwrap();
    assert_eq!(
        (third.image("multi:1").id, third.image("multi:1").platform().architecture.as_str()),
        (image.id, other)
    );
    assert!(third.store().content_size(&statement.digest).is_none());
    let fourth = Fixture::new();
    let load = |platform| {
        fourth.store().images().load_platform(archive.as_slice(), Some(platform), &mut |_: LoadEvent| ())
    };
    assert!(load(&nobody).is_err());
    assert_eq!(fourth.count("snapshots/committed"), 0, "nothing is left of a refused load");
    load(&wanted).unwrap();
    assert_eq!(fourth.image("multi:1").platform().architecture, other);
    third.assert_whole();
    fourth.assert_whole();

    platforms_go_one_by_one(&fixture, &image.id, &foreign, &own);
    store.images().remove("multi:1", false, &|_: &Digest| Vec::new()).unwrap();
    store.finish_removals();
    assert_eq!(fixture.count("snapshots/committed"), 0);

    // Another machine's image alone can be loaded, listed and run (by emulation, if at all).
    let mut layout = Layout::default();
    let foreign = layout.image(other, &foreign_layers, Packing::Plain, "foreign");
    layout.list(foreign, Some("foreign:1"));
    again.load(&layout.archive(false)).unwrap();
    assert_eq!(again.image("foreign:1").platform().architecture, other);
}

/// The image's own platform goes first: the other one takes its place.
fn platforms_go_one_by_one(fixture: &Fixture, id: &Digest, foreign: &Descriptor, own: &Descriptor) {
    let (host, other) = architectures();
    let store = fixture.store();
    let platform = |architecture: &str| [corten_oci::Platform::new("linux", architecture, "")];
    let unused = |_: &Digest| Vec::new();
    let used = |running| move |_: &Digest| vec![ImageUser { container: "c".repeat(64), running }];
    let remove = |architecture: &str, force, users: &dyn Fn(&Digest) -> Vec<ImageUser>| {
        store.images().remove_platforms("multi:1", &platform(architecture), force, users)
    };
    assert!(remove("mips", true, &unused).is_err());
    assert!(remove(&host, false, &used(false)).unwrap_err().to_string().contains("must be forced"));
    assert!(remove(&host, true, &used(true)).unwrap_err().to_string().contains("cannot be forced"));
    assert_eq!(fixture.count("snapshots/committed"), 3, "a refusal changes nothing");

    assert_eq!(remove(&host, true, &used(false)).unwrap(), [Removed::Deleted(own.digest)]);
    let left = fixture.image("multi:1");
    assert_eq!((left.id, left.manifest.digest), (*id, foreign.digest));
    assert_eq!((left.platform().architecture.as_str(), left.runnable), (other, true));
    assert!(store.content_size(&own.digest).is_none());
    assert!(store.images().for_platform(id, &platform(&host)[0]).unwrap().is_none());
    store.finish_removals();
    assert_eq!(fixture.count("snapshots/committed"), 1);
    fixture.assert_whole();
    assert!(remove(&host, false, &unused).is_err(), "it is gone already");

    assert_eq!(remove(other, false, &unused).unwrap(), [Removed::Deleted(foreign.digest)]);
    let empty = fixture.image("multi:1");
    assert_eq!((empty.id, empty.runnable), (*id, false));
    store.finish_removals();
    assert_eq!(fixture.count("snapshots/committed"), 0);
    fixture.assert_whole();
}
