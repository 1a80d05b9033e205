//! What refers to a manifest: signatures, bills of materials, attestations. Read from the registry's list, or, where it
//! has none, from the index under the fallback tag, which is then kept by whoever pushes.
//!
//! ```text
//! push of a manifest with `subject` ─▶ answered with OCI-Subject: the registry keeps the list
//!                                   └▶ not: index under `sha256-HEX` read, entry added, written, read again
//! ```

use crate::auth::scope;
use crate::error::DistributionError;
use crate::manifest::Document;
use crate::registry::{Ask, Repository, Target, jitter};
use crate::transport::Body;
use crate::url::{encode, next_link};
use corten_oci::image::{Descriptor, media_type};
use corten_oci::{Digest, Index, Manifest};
use http::{HeaderValue, Method, header};
use std::collections::HashSet;
use std::time::Duration;

/// Bytes that a page of referrers may have.
const LIMIT: usize = 8 << 20;
/// Pages that are read.
const PAGES: usize = 100;
/// Referrers of one manifest that are read.
const REFERRERS: usize = 4096;
/// Entries of a fallback index whose own manifest is asked what they are.
const OPENED: usize = 64;
/// So often an index that others write too is written.
const ROUNDS: u32 = 5;

/// The tag under which an index of referrers lies where a registry has no list of its own.
pub fn fallback_tag(subject: &Digest) -> String {
    let text = subject.to_string();
    let (algorithm, hex) = text.split_once(':').unwrap_or_default();
    format!("{}-{}", &algorithm[..algorithm.len().min(32)], &hex[..hex.len().min(64)])
}

/// What a manifest is as an entry of a list of referrers.
pub fn as_referrer(document: &Document) -> Option<(Digest, Descriptor)> {
    let mut entry = Descriptor::new(
        &document.descriptor.media_type,
        document.descriptor.digest,
        document.bytes.len() as u64,
    );
    if media_type::is_index(&entry.media_type) {
        let index: Index = serde_json::from_slice(&document.bytes).ok()?;
        entry.artifact_type = index.artifact_type;
        entry.annotations = index.annotations;
        return Some((index.subject?.digest, entry));
    }
    let manifest: Manifest = serde_json::from_slice(&document.bytes).ok()?;
    let kind = manifest.artifact_type.filter(|kind| !kind.is_empty());
    entry.artifact_type = Some(kind.unwrap_or(manifest.config.media_type));
    entry.annotations = manifest.annotations;
    Some((manifest.subject?.digest, entry))
}

impl Repository {
    /// What refers to a manifest, of one type where one is named. What is listed is a claim of the registry: a reader opens
    /// the manifests.
    pub async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, DistributionError> {
        let mut all = match self.listed_referrers(subject, artifact_type).await? {
            Some(listed) => listed,
            None => self.fallback_index(subject).await?.map_or_else(Vec::new, |index| index.manifests),
        };
        let mut seen = HashSet::new();
        all.retain(|entry| seen.insert(entry.digest));
        let mut opened = 0;
        for entry in &mut all {
            let kind = entry.artifact_type.as_deref().unwrap_or_default();
            let is_vague = kind.is_empty() || kind == media_type::EMPTY;
            if is_vague && media_type::is_manifest(&entry.media_type) && opened < OPENED {
                // Some who write the fallback index do not say there what the manifest says.
                opened += 1;
                let document = self.manifest(&entry.digest.to_string()).await;
                if let Some((_, described)) = document.ok().as_ref().and_then(as_referrer) {
                    entry.artifact_type = described.artifact_type;
                }
            }
        }
        if let Some(wanted) = artifact_type {
            all.retain(|entry| entry.artifact_type.as_deref() == Some(wanted));
        }
        Ok(all)
    }

    /// The registry's own list; none where it has no such thing.
    async fn listed_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, DistributionError> {
        let filter = artifact_type.map_or(String::new(), |kind| {
            // `+` means a space in a query.
            format!("?artifactType={}", encode(kind).replace('+', "%2B"))
        });
        let first = format!("/{}/referrers/{subject}{filter}", self.path);
        let asked = self.ask_any(|may| may.resolve, || self.ask_list(Target::Path(&first))).await;
        let (mut response, endpoint) = match asked {
            Ok(answered) => answered,
            Err(error) if matches!(error.status(), Some(404 | 405)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut all = Vec::new();
        for _ in 0..PAGES {
            let host = response.url.authority();
            let wrong = |what: String| DistributionError::Answer { host: host.clone(), what };
            let kind =
                response.header("content-type").split(';').next().unwrap_or_default().trim().to_owned();
            let bytes = response.whole(LIMIT).await?;
            if all.is_empty() && kind != media_type::OCI_INDEX {
                // A page for people: it does not know referrers.
                return Ok(None);
            }
            let page: Index = serde_json::from_slice(&bytes).map_err(|error| {
                wrong(format!("the list of referrers of {}@{subject} is not one: {error}", self.familiar))
            })?;
            all.extend(page.manifests);
            if all.len() > REFERRERS {
                return Err(wrong(format!(
                    "{}@{subject} has more than {REFERRERS} referrers",
                    self.familiar
                )));
            }
            let Some(next) = next_link(response.header("link")) else { return Ok(Some(all)) };
            let next = response.url.join(next).filter(|next| next.same_origin(&response.url));
            let next =
                next.ok_or_else(|| wrong("the next page of referrers is at another host".to_owned()))?;
            response = self.ask(endpoint, self.ask_list(Target::Address(&next))).await?;
        }
        Err(DistributionError::Answer {
            host: self.host(),
            what: format!("the list of referrers of {}@{subject} has more than {PAGES} pages", self.familiar),
        })
    }

    fn ask_list<'a>(&self, target: Target<'a>) -> Ask<'a> {
        Ask {
            method: Method::GET,
            target,
            headers: vec![(header::ACCEPT, HeaderValue::from_static(media_type::OCI_INDEX))],
            body: &|| Body::Empty,
            scopes: vec![scope(&self.path, false)],
            also: &[],
        }
    }

    async fn fallback_index(&self, subject: &Digest) -> Result<Option<Index>, DistributionError> {
        let tag = fallback_tag(subject);
        let document = match self.manifest(&tag).await {
            Ok(document) => document,
            Err(error) if error.status() == Some(404) => return Ok(None),
            Err(error) => return Err(error),
        };
        let wrong = |what: String| DistributionError::Answer { host: self.host(), what };
        if !media_type::is_index(&document.descriptor.media_type) {
            return Err(wrong(format!("the tag {tag} of {} is no index of referrers", self.familiar)));
        }
        let index: Index = serde_json::from_slice(&document.bytes)
            .map_err(|error| wrong(format!("the index {tag} of {} is not one: {error}", self.familiar)))?;
        if index.manifests.len() > REFERRERS {
            return Err(wrong(format!("{}@{subject} has more than {REFERRERS} referrers", self.familiar)));
        }
        Ok(Some(index))
    }

    /// Writes a referrer into the fallback index, or out of it. Other programs may write at the same time: what was written is
    /// read again, and written again where it is not there; a write of theirs that comes later still can lose it.
    pub(crate) async fn change_fallback(
        &self,
        subject: &Digest,
        referrer: &Descriptor,
        there: bool,
    ) -> Result<(), DistributionError> {
        let _one = self.shared.fallback.lock().await;
        let own = self.without_mirrors();
        let mut wait = Duration::from_millis(50);
        for round in 0..ROUNDS {
            let mut index = own.fallback_index(subject).await?.unwrap_or_else(|| Index::new(Vec::new()));
            if index.manifests.iter().any(|entry| entry.digest == referrer.digest) == there {
                return Ok(());
            }
            if round > 0 {
                tokio::time::sleep(jitter(wait)).await;
                wait *= 2;
            }
            if there {
                index.manifests.push(referrer.clone());
            } else {
                index.manifests.retain(|entry| entry.digest != referrer.digest);
            }
            let bytes = serde_json::to_vec(&index).map_err(|error| DistributionError::Answer {
                host: own.host(),
                what: format!("the list of referrers cannot be written: {error}"),
            })?;
            own.put_manifest(&fallback_tag(subject), media_type::OCI_INDEX, &bytes).await?;
        }
        let index = own.fallback_index(subject).await?.unwrap_or_else(|| Index::new(Vec::new()));
        if index.manifests.iter().any(|entry| entry.digest == referrer.digest) == there {
            return Ok(());
        }
        Err(DistributionError::Answer {
            host: own.host(),
            what: format!(
                "the index {} of {} was changed by others each time it was written",
                fallback_tag(subject),
                self.familiar
            ),
        })
    }

    /// Takes a tag or a manifest away. A digest takes its tags too; where the registry keeps no list of referrers, the
    /// manifest's entry in the fallback index goes as well.
    pub async fn delete_manifest(&self, name: &str) -> Result<(), DistributionError> {
        let digest = Digest::parse(name).ok();
        let own = self.without_mirrors();
        let document = match digest {
            Some(_) => Some(own.manifest(name).await?),
            None => None,
        };
        let path = format!("/{}/manifests/{name}", self.path);
        let endpoint = own.endpoints(|may| may.push).last().cloned();
        let endpoint = endpoint.ok_or_else(|| DistributionError::Configuration {
            path: self.familiar.clone(),
            what: "no host of this registry takes changes".to_owned(),
        })?;
        let ask = Ask {
            method: Method::DELETE,
            target: Target::Path(&path),
            headers: Vec::new(),
            body: &|| Body::Empty,
            scopes: vec![format!("repository:{}:delete,pull,push", self.path)],
            also: &[],
        };
        own.ask(&endpoint, ask).await?.finish().await;
        let Some((subject, referrer)) = document.as_ref().and_then(as_referrer) else { return Ok(()) };
        if own.listed_referrers(&subject, None).await?.is_none() {
            own.change_fallback(&subject, &referrer, false).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_says_what_it_is() {
        let subject = Digest::of(b"subject");
        let of = |text: String| {
            let descriptor = Descriptor::of(media_type::OCI_MANIFEST, text.as_bytes());
            as_referrer(&Document { descriptor, bytes: text.into_bytes() })
        };
        let config = format!(r#"{{"mediaType":"a/b","digest":"{subject}","size":2}}"#);
        let plain = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
        assert!(of(plain).is_none(), "it refers to nothing");
        let old = format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[],"subject":{config},"annotations":{{"k":"v"}}}}"#
        );
        let (about, entry) = of(old).unwrap();
        assert_eq!((about, entry.artifact_type.as_deref()), (subject, Some("a/b")));
        assert_eq!(entry.annotations["k"], "v");
        let new = format!(
            r#"{{"schemaVersion":2,"artifactType":"c/d","config":{config},"layers":[],"subject":{config}}}"#
        );
        assert_eq!(of(new).unwrap().1.artifact_type.as_deref(), Some("c/d"));
        assert_eq!(fallback_tag(&subject), format!("sha256-{}", subject.hex()));
    }
}
