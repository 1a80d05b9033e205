//! Every fault at every request: it ends right, or with an error that names the host; and the next try is right.

use crate::registry::{filled, pull, repository};
use corten_distribution::{Credentials, Open, Pushed, Repository};
use corten_oci::Digest;
use corten_oci::image::Descriptor;
use corten_testing::registry::{FAULTS, Fault, Registry};
use std::sync::Arc;

const BLOB: usize = 300_000;

fn blob() -> Vec<u8> {
    (0..BLOB).map(|at| (at * 7 % 253) as u8).collect()
}

async fn push(repository: &Repository) -> Result<Pushed, String> {
    let told = |error: corten_distribution::DistributionError| {
        let hint = corten_std::Classified::hint(&error).unwrap_or_default();
        format!("{} ({hint})", corten_std::chain(&error))
    };
    let bytes = Arc::new(blob());
    let descriptor = Descriptor::new("application/octet-stream", Digest::of(&*bytes), BLOB as u64);
    let open: Open = Arc::new(move || Ok(Box::new(std::io::Cursor::new(bytes.to_vec()))));
    let pushed = repository.push_blob(&descriptor, &[], open, &|_| ()).await.map_err(told)?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    repository.push_manifest("latest", kind, b"{\"schemaVersion\":2}").await.map_err(told)?;
    Ok(pushed)
}

/// Whether an error says whom it is about.
fn names(error: &str, registry: &Registry) {
    assert!(error.contains(&registry.host()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_is_right_or_says_why_not() {
    let mut all = tokio::task::JoinSet::new();
    for fault in FAULTS {
        all.spawn(async move {
            let (registry, layers) = filled();
            pull(&repository(&registry.host(), Credentials::default())).await.unwrap();
            let requests = registry.counted();
            assert!(requests >= 5, "{requests}");
            for at in 0..requests {
                for stays in [false, true] {
                    let repository = repository(&registry.host(), Credentials::default());
                    registry.fault(
                        at,
                        *fault,
                        stays && matches!(fault, Fault::Status(403 | 404) | Fault::FlipBit),
                    );
                    match pull(&repository).await {
                        Ok(got) => assert!(got == layers, "{fault:?} at {at}: wrong bytes"),
                        Err(error) => names(&error, &registry),
                    }
                    registry.mend();
                    assert!(pull(&repository).await.unwrap() == layers, "{fault:?} at {at}");
                }
            }
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_right_or_says_why_not() {
    let mut all = tokio::task::JoinSet::new();
    for fault in FAULTS {
        all.spawn(async move {
            let name = Digest::of(blob()).to_string();
            let mut at = 0;
            loop {
                let registry = Registry::start();
                let repository = repository(&registry.host(), Credentials::default());
                registry.fault(at, *fault, false);
                let pushed = push(&repository).await;
                let reached = registry.counted() > at;
                match pushed {
                    Ok(_) => assert_eq!(registry.blob(&name), Some(blob()), "{fault:?} at {at}"),
                    Err(error) => names(&error, &registry),
                }
                registry.mend();
                push(&repository).await.unwrap();
                assert_eq!(registry.blob(&name), Some(blob()), "{fault:?} at {at}");
                assert!(registry.manifest("app:latest").is_some());
                if !reached {
                    break;
                }
                at += 1;
            }
            assert!(at >= 4, "{at}");
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}
