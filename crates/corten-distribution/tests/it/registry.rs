//! What a registry is asked for, and what it is shown.

use corten_distribution::{Credentials, ProxySettings, Registries, RegistrySettings, Repository};
use corten_oci::image::Descriptor;
use corten_oci::{Digest, Manifest, Reference};
use corten_testing::registry::{Fault, Registry, digest};

pub(crate) fn registries(mirrors: &[String]) -> Registries {
    let settings = RegistrySettings { mirrors: mirrors.to_vec(), ..RegistrySettings::default() };
    Registries::new(settings, ProxySettings::default(), 3)
}

pub(crate) fn repository(host: &str, credentials: Credentials) -> Repository {
    let name = Reference::parse(&format!("{host}/app")).unwrap();
    registries(&[]).repository(&name, credentials).unwrap()
}

/// A registry with the image `app:latest` of two layers.
pub(crate) fn filled() -> (Registry, Vec<Vec<u8>>) {
    let registry = Registry::start();
    let layers = vec![vec![7; 5000], (0..200_000_u32).map(|at| (at % 251) as u8).collect()];
    registry.add_image("app", "latest", b"{\"os\":\"linux\"}", &layers);
    (registry, layers)
}

/// Everything of `app:latest`.
pub(crate) async fn pull(repository: &Repository) -> Result<Vec<Vec<u8>>, String> {
    let told = |error: corten_distribution::DistributionError| {
        let hint = corten_std::Classified::hint(&error).unwrap_or_default();
        format!("{} ({hint})", corten_std::chain(&error))
    };
    let target = repository.resolve("latest").await.map_err(told)?;
    let document = repository.manifest(&target.digest.to_string()).await.map_err(told)?;
    let manifest: Manifest = serde_json::from_slice(&document.bytes).map_err(|error| error.to_string())?;
    repository.small_blob(&manifest.config).await.map_err(told)?;
    let mut layers = Vec::new();
    for layer in &manifest.layers {
        layers.push(repository.small_blob(layer).await.map_err(told)?);
    }
    Ok(layers)
}

fn user() -> Credentials {
    Credentials { username: "user".to_owned(), password: "secret".to_owned(), ..Credentials::default() }
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_shown_to_the_registry_alone() {
    let (registry, layers) = filled();
    registry.ask_for_tokens();
    let elsewhere = Registry::start();
    for blob in layers.iter().map(Vec::as_slice).chain([&b"{\"os\":\"linux\"}"[..]]) {
        elsewhere.add_image("app", "x", blob, &[]);
    }
    registry.keep_blobs_at(&elsewhere);
    assert_eq!(pull(&repository(&registry.host(), user())).await.unwrap(), layers);
    let asked = registry.seen().iter().filter(|seen| seen.target.starts_with("/token")).count();
    assert_eq!(asked, 1);
    let shown: Vec<_> = elsewhere.seen();
    assert_eq!(shown.len(), 3);
    assert!(shown.iter().all(|seen| !seen.headers.contains_key("authorization")), "{shown:?}");
}

#[tokio::test]
async fn a_login_is_checked_and_a_wrong_one_is_told() {
    let (registry, _) = filled();
    registry.ask_for_tokens();
    assert_eq!(registries(&[]).login(&registry.host(), &user()).await.unwrap(), "");
    let wrong = Credentials { password: "other".to_owned(), ..user() };
    let error = registries(&[]).login(&registry.host(), &wrong).await.unwrap_err();
    assert_eq!(error.status(), Some(401));
    assert!(error.to_string().contains("incorrect username or password"), "{error}");
}

#[tokio::test]
async fn a_mirror_is_asked_first_told_whose_and_shown_nothing() {
    let (mirror, layers) = filled();
    mirror.add_image("library/app", "latest", b"{\"os\":\"linux\"}", &layers);
    let name = Reference::parse("app").unwrap();
    let repository = registries(&[format!("http://{}", mirror.host())]).repository(&name, user()).unwrap();
    assert_eq!(pull(&repository).await.unwrap(), layers);
    for seen in mirror.seen() {
        assert!(seen.target.contains("ns=docker.io"), "{seen:?}");
        assert!(!seen.headers.contains_key("authorization"), "{seen:?}");
    }
}

#[tokio::test]
async fn a_mirror_that_has_another_length_is_passed_over() {
    let (wrong, layers) = filled();
    let (right, _) = filled();
    for mirror in [&wrong, &right] {
        mirror.add_image("library/app", "latest", b"{\"os\":\"linux\"}", &layers);
    }
    wrong.fault(0, Fault::WrongLength, true);
    let name = Reference::parse("app").unwrap();
    let mirrors = [&wrong, &right].map(|mirror| format!("http://{}", mirror.host()));
    let repository = registries(&mirrors).repository(&name, Credentials::default()).unwrap();
    let layer = Descriptor::new("application/octet-stream", Digest::of(&layers[1]), layers[1].len() as u64);
    assert!(repository.small_blob(&layer).await.unwrap() == layers[1]);
    assert!(!wrong.seen().is_empty() && !right.seen().is_empty());
}

#[tokio::test]
async fn a_registry_answers_for_a_blob_of_that_length() {
    let (registry, layers) = filled();
    registry.ask_for_tokens();
    let repository = repository(&registry.host(), Credentials::default());
    let length = layers[1].len() as u64;
    let layer = Descriptor::new("application/octet-stream", Digest::of(&layers[1]), length);
    assert!(repository.answers_for(&layer).await.unwrap());
    assert!(!repository.answers_for(&Descriptor { size: length + 1, ..layer.clone() }).await.unwrap());
    let absent = Descriptor { digest: Digest::of(b"absent"), ..layer.clone() };
    assert!(!repository.answers_for(&absent).await.unwrap());
    // Nobody was asked for a token that pushes.
    let tokens: Vec<_> = registry.seen().into_iter().filter(|seen| seen.target.contains("scope=")).collect();
    assert!(!tokens.is_empty() && tokens.iter().all(|seen| !seen.target.contains("push")), "{tokens:?}");
    registry.fault(0, Fault::Status(403), true);
    assert!(repository.answers_for(&layer).await.is_err());
}

#[tokio::test]
async fn what_no_one_should_send_is_refused() {
    let registry = Registry::start();
    let repository = repository(&registry.host(), Credentials::default());
    let schema1 = br#"{"schemaVersion":1,"name":"app","tag":"old"}"#;
    registry.add_manifest("app:old", "application/vnd.docker.distribution.manifest.v1+json", schema1);
    let error = repository.manifest("old").await.unwrap_err().to_string();
    assert!(error.contains("schema 1 support has been removed"), "{error}");
    let large = vec![b' '; 9 << 20];
    registry.add_manifest("app:large", "application/vnd.oci.image.manifest.v1+json", &large);
    let error = repository.manifest("large").await.unwrap_err().to_string();
    assert!(error.contains("is larger than") && error.contains(&registry.host()), "{error}");
    let wanted = digest(b"wanted");
    registry.add_manifest(&format!("app@{wanted}"), "application/vnd.oci.image.manifest.v1+json", b"{}");
    let error = repository.manifest(&wanted).await.unwrap_err().to_string();
    assert!(error.contains(&wanted) && error.contains(&registry.host()), "{error}");
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_and_fetches_nothing_twice() {
    let (registry, layers) = filled();
    registry.cut_blobs(30_000, 4);
    let layer = Descriptor::new("application/octet-stream", Digest::of(&layers[1]), layers[1].len() as u64);
    let mut got = Vec::new();
    let repository = repository(&registry.host(), Credentials::default());
    repository
        .download(&layer, 0, &mut |piece| {
            got.extend_from_slice(piece);
            Ok(())
        })
        .await
        .unwrap();
    assert!(got == layers[1]);
    assert_eq!(registry.sent(), layer.size);
}

#[tokio::test]
async fn a_hosts_file_names_the_proxy_of_a_host() {
    let scratch = corten_testing::Scratch::new("hosts-proxy");
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = scratch.path().join("up.example");
    std::fs::create_dir(&folder).unwrap();
    let text = format!(
        "server = \"http://up.example\"\nproxy = \"http://u:p@{}\"\ndial_timeout = \"5s\"\n",
        proxy.local_addr().unwrap()
    );
    std::fs::write(folder.join("hosts.toml"), text).unwrap();
    let asked = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = proxy.accept().unwrap();
        let mut head = vec![0; 4096];
        let length = stream.read(&mut head).unwrap();
        stream.write_all(b"HTTP/1.1 403 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        String::from_utf8_lossy(&head[..length]).into_owned()
    });
    let settings = RegistrySettings {
        certificate_folders: vec![scratch.path().to_owned()],
        ..RegistrySettings::default()
    };
    let registries = Registries::new(settings, ProxySettings::default(), 1);
    let name = Reference::parse("up.example/app").unwrap();
    let repository = registries.repository(&name, Credentials::default()).unwrap();
    assert_eq!(repository.tags().await.unwrap_err().status(), Some(403));
    let head = asked.join().unwrap();
    assert!(head.starts_with("GET http://up.example/v2/app/tags/list?ns=up.example HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("Basic dTpw"), "{head}");
}

/// Downloads a blob of 48 MiB; gives the requests for ranges, and how long it took.
async fn download_large(registry: &Registry, from: u64) -> (usize, std::time::Duration) {
    let bytes: Vec<u8> = (0..48_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    registry.add_image("app", "large", b"{}", std::slice::from_ref(&bytes));
    let blob = Descriptor::of("a/b", &bytes);
    let before = registry.seen().len();
    let repository = repository(&registry.host(), Credentials::default());
    let mut came = bytes[..from as usize].to_vec();
    let begun = std::time::Instant::now();
    repository
        .download(&blob, from, &mut |piece| {
            came.extend_from_slice(piece);
            Ok(())
        })
        .await
        .unwrap();
    assert!(came == bytes, "byte for byte");
    let took = begun.elapsed();
    let is_range = |range: &String| !range.ends_with('-');
    let seen = registry.seen();
    let ranges = seen[before..].iter().filter(|seen| seen.headers.get("range").is_some_and(is_range)).count();
    (ranges, took)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_blob_comes_in_ranges_where_that_is_faster() {
    let (registry, _) = filled();
    // Each connection gives 64 KiB in 3 ms: 48 MiB would take 2.3 s.
    registry.pace(std::time::Duration::from_millis(3));
    let (ranges, took) = download_large(&registry, 0).await;
    assert_eq!(ranges, 45, "one of 4 MiB, the rest in ranges of 1 MiB");
    assert!(took.as_millis() < 1800, "{took:?}");
    // What is here already is not asked for.
    let (ranges, _) = download_large(&registry, 10 << 20).await;
    assert_eq!(ranges, 35);
    // Broken ranges, each time another one.
    registry.pace(std::time::Duration::ZERO);
    for after in [1 << 20, 3 << 20] {
        registry.cut_blobs(after, 3);
        download_large(&registry, 0).await;
    }
}

#[tokio::test]
async fn a_registry_without_ranges_sends_a_large_blob_once() {
    let (registry, _) = filled();
    registry.ignore_ranges();
    let before = registry.sent();
    assert_eq!(download_large(&registry, 0).await.0, 1);
    assert_eq!(registry.sent() - before, 48 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_forgets_ranges_half_way_gives_the_rest_as_a_whole() {
    let (registry, _) = filled();
    let bytes: Vec<u8> = (0..40_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    registry.add_image("app", "large", b"{}", std::slice::from_ref(&bytes));
    let repository = repository(&registry.host(), Credentials::default());
    let mut came = Vec::new();
    let blob = Descriptor::of("a/b", &bytes);
    repository
        .download(&blob, 0, &mut |piece| {
            registry.ignore_ranges();
            came.extend_from_slice(piece);
            Ok(())
        })
        .await
        .unwrap();
    assert!(came == bytes, "byte for byte");
}
