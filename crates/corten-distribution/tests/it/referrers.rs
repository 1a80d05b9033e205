//! What refers to a manifest, on registries that list it and on those that do not.

use crate::registry::{filled, repository};
use corten_distribution::{Credentials, Repository, fallback_tag};
use corten_oci::image::{Descriptor, media_type};
use corten_oci::{Digest, Index, Manifest};
use corten_testing::registry::Registry;

/// Pushes a manifest that says that it is of a type and refers to `subject`.
async fn attach(repository: &Repository, subject: &Descriptor, kind: &str) -> Digest {
    let mut manifest = Manifest::new(Descriptor::of(media_type::EMPTY, b"{}"), Vec::new());
    manifest.artifact_type = Some(kind.to_owned());
    manifest.subject = Some(subject.clone());
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let digest = Digest::of(&bytes);
    repository.push_manifest(&digest.to_string(), media_type::OCI_MANIFEST, &bytes).await.unwrap();
    digest
}

fn digests(listed: &[Descriptor]) -> Vec<Digest> {
    let mut all: Vec<Digest> = listed.iter().map(|entry| entry.digest).collect();
    all.sort();
    all
}

async fn written_and_read(registry: &Registry, lists: bool) {
    let repository = repository(&registry.host(), Credentials::default());
    let subject = repository.resolve("latest").await.unwrap();
    assert!(repository.referrers(&subject.digest, None).await.unwrap().is_empty());
    let mut all = vec![
        attach(&repository, &subject, "a/sbom").await,
        attach(&repository, &subject, "a/signature+json").await,
        attach(&repository, &subject, "a/other").await,
    ];
    all.sort();
    assert_eq!(digests(&repository.referrers(&subject.digest, None).await.unwrap()), all);
    let signed = repository.referrers(&subject.digest, Some("a/signature+json")).await.unwrap();
    assert_eq!(signed.len(), 1);
    let tag = format!("app:{}", fallback_tag(&subject.digest));
    assert_eq!(registry.manifest(&tag).is_none(), lists, "the fallback index is there where it is needed");
    // A second push of the same adds nothing.
    attach(&repository, &subject, "a/other").await;
    assert_eq!(repository.referrers(&subject.digest, None).await.unwrap().len(), 3);
    repository.delete_manifest(&signed[0].digest.to_string()).await.unwrap();
    all.retain(|digest| *digest != signed[0].digest);
    assert_eq!(digests(&repository.referrers(&subject.digest, None).await.unwrap()), all);
}

#[tokio::test]
async fn a_registry_that_lists_referrers_is_asked() {
    let (registry, _) = filled();
    registry.keep_referrers();
    written_and_read(&registry, true).await;
}

#[tokio::test]
async fn one_that_does_not_has_an_index_under_the_fallback_tag() {
    let (registry, _) = filled();
    written_and_read(&registry, false).await;
}

#[tokio::test]
async fn pushes_at_the_same_time_lose_none_of_each_other() {
    let (registry, _) = filled();
    let repository = repository(&registry.host(), Credentials::default());
    let subject = repository.resolve("latest").await.unwrap();
    let pushes = (0..4).map(|number| {
        let (repository, subject) = (repository.clone(), subject.clone());
        tokio::spawn(async move { attach(&repository, &subject, &format!("a/{number}")).await })
    });
    for push in pushes.collect::<Vec<_>>() {
        push.await.unwrap();
    }
    assert_eq!(repository.referrers(&subject.digest, None).await.unwrap().len(), 4);
}

#[tokio::test]
async fn an_entry_that_does_not_say_what_it_is_is_opened() {
    let (registry, _) = filled();
    let repository = repository(&registry.host(), Credentials::default());
    let subject = repository.resolve("latest").await.unwrap();
    attach(&repository, &subject, "a/bundle").await;
    let tag = format!("app:{}", fallback_tag(&subject.digest));
    let mut index: Index = serde_json::from_slice(&registry.manifest(&tag).unwrap()).unwrap();
    index.manifests[0].artifact_type = Some(media_type::EMPTY.to_owned());
    registry.add_manifest(&tag, media_type::OCI_INDEX, &serde_json::to_vec(&index).unwrap());
    assert_eq!(repository.referrers(&subject.digest, Some("a/bundle")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_flood_of_referrers_ends() {
    let (registry, _) = filled();
    registry.flood_referrers();
    let repository = repository(&registry.host(), Credentials::default());
    let subject = repository.resolve("latest").await.unwrap();
    let error = repository.referrers(&subject.digest, None).await.unwrap_err();
    assert!(error.to_string().contains("more than 4096 referrers"), "{error}");
    assert!(registry.counted() < 60, "{}", registry.counted());
}

#[tokio::test]
async fn a_blob_that_the_registry_has_elsewhere_is_not_sent() {
    let (registry, layers) = filled();
    registry.give_blobs();
    let name = corten_oci::Reference::parse(&format!("{}/new", registry.host())).unwrap();
    let repository = crate::registry::registries(&[]).repository(&name, Credentials::default()).unwrap();
    // Of another registry: nothing is known to have it.
    let elsewhere = Registry::start();
    let to = corten_oci::Reference::parse(&format!("{}/new", elsewhere.host())).unwrap();
    let plain = crate::registry::registries(&[]).repository(&to, Credentials::default()).unwrap();
    let blob = Descriptor::of("a/b", &layers[1]);
    let bytes = layers[1].clone();
    let open: corten_distribution::Open =
        std::sync::Arc::new(move || Ok(Box::new(std::io::Cursor::new(bytes.clone()))));
    for (repository, registry, puts) in [(repository, &registry, 0), (plain, &elsewhere, 1)] {
        let before = registry.seen().len();
        repository.push_blob(&blob, &[], std::sync::Arc::clone(&open), &|_| {}).await.unwrap();
        let sent = registry.seen()[before..].iter().filter(|seen| seen.method == "PUT").count();
        assert_eq!(sent, puts);
        assert!(registry.blob(&blob.digest.to_string()).is_some());
    }
}
