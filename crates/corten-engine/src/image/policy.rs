//! The policy for images from elsewhere: read anew for each, asked before anything is unpacked.
//!
//! ```text
//! name ─▶ rule of the policy ─▶ what is kept about the digest ─▶ enough: go on
//!                                └▶ not: tags `sha256-HEX.sig`, `.att` and referrers of the registry ─▶ enough: go on, keep it
//!                                                                                                     └▶ not: refused
//! ```
//!
//! What was found is kept by the image's digest, so that it can be judged again where no registry can be reached.

use super::{Credentials, image_error};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_distribution::{DistributionError, Repository};
use corten_oci::image::Descriptor;
use corten_oci::{Digest, Manifest, Reference};
use corten_signature::{Evidence, Key, Policy, Rule, media_type};
use serde::Serialize;
use std::io::ErrorKind;
use std::path::Path;

/// The table of what is kept.
const EVIDENCE: &str = "evidence";
/// Where the policy lies unless another file is named; only this one may be missing.
pub const POLICY_FILE: &str = "/etc/corten/policy.toml";
/// Documents that are read about one digest.
const DOCUMENTS: usize = 64;
/// Bytes that each may have.
const LIMIT: u64 = 4 << 20;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Verified {
    /// The image as it was named.
    pub name: String,
    /// Its digest.
    pub digest: String,
    /// A line for each thing that was asked for.
    pub met: Vec<String>,
    /// Whether what is kept here was enough.
    pub offline: bool,
}

fn refused(error: corten_signature::SignatureError) -> EngineError {
    EngineError::because("", error)
}

impl Engine {
    /// The policy as it is now. Blocking.
    pub(super) fn policy(&self) -> Result<Policy> {
        let path = self.inner.reloadable().policy.clone();
        if path.as_os_str().is_empty() {
            return Ok(Policy::default());
        }
        let shown = path.display().to_string();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && path == Path::new(POLICY_FILE) => {
                return Ok(Policy::default());
            }
            Err(error) => {
                let what = corten_std::kernel_words(&error);
                return Err(refused(corten_signature::SignatureError::Policy { path: shown, what }));
            }
        };
        let folder = path.parent().unwrap_or(Path::new("/"));
        let read = |name: &str| {
            std::fs::read_to_string(folder.join(name)).map_err(|error| corten_std::kernel_words(&error))
        };
        Policy::parse(&shown, &text, &read).map_err(refused)
    }

    pub(super) async fn rule(&self, name: &Reference) -> Result<Option<Rule>> {
        let (engine, name) = (self.clone(), name.clone());
        blocking(move || Ok(engine.policy()?.rule(&name))).await
    }

    /// What is kept about an image. Blocking.
    pub(crate) fn evidence(&self, image: &Digest) -> Result<Vec<Evidence>> {
        let kept = self.inner.store.records::<Vec<Evidence>>(EVIDENCE).get(&image.to_string());
        Ok(kept.map_err(|error| EngineError::because("", error))?.unwrap_or_default())
    }

    /// Keeps what was found about an image; what is kept about images that are gone goes. Blocking.
    pub(crate) fn keep_evidence(&self, image: &Digest, evidence: &[Evidence]) -> Result<()> {
        let of = |error| EngineError::because("", error);
        let records = self.inner.store.records::<Vec<Evidence>>(EVIDENCE);
        for (key, _) in records.list().map_err(of)? {
            let is_here =
                Digest::parse(&key).is_ok_and(|digest| self.inner.store.images().get(&digest).is_ok());
            if !is_here {
                records.delete(&key).map_err(of)?;
            }
        }
        records.put(&image.to_string(), &evidence.to_vec()).map_err(of)
    }

    /// Judges an image of a registry; gives what was found there where that had to be asked.
    pub(super) async fn admit(
        &self,
        repository: &Repository,
        name: &Reference,
        digests: &[Digest],
    ) -> Result<Option<Vec<Evidence>>> {
        let Some(rule) = self.rule(name).await? else { return Ok(None) };
        self.judge(&rule, Some(repository), name, digests).await.map(|(_, found)| found)
    }

    /// As above; with the lines of what was met.
    async fn judge(
        &self,
        rule: &Rule,
        repository: Option<&Repository>,
        name: &Reference,
        digests: &[Digest],
    ) -> Result<(Vec<String>, Option<Vec<Evidence>>)> {
        let Some(first) = digests.first().copied() else { return Ok((Vec::new(), None)) };
        let engine = self.clone();
        let mut evidence = blocking(move || engine.evidence(&first)).await?;
        let judged = rule.check(name, digests, &evidence);
        let (Err(error), Some(repository)) = (&judged, repository) else {
            return judged.map(|met| (met, None)).map_err(refused);
        };
        if rule.refuses_all() {
            return Err(refused(error.clone()));
        }
        for digest in digests {
            let found = gather(repository, digest).await.map_err(|error| {
                EngineError::because("the registry was asked for signatures", error)
                    .with_class(corten_std::ErrorClass::System)
            })?;
            evidence.extend(found);
        }
        let mut seen = std::collections::HashSet::new();
        evidence.retain(|one| seen.insert(one.clone()));
        let met = rule.check(name, digests, &evidence).map_err(refused)?;
        Ok((met, Some(evidence)))
    }

    /// `POST /images/{name}/verify`: whether an image that is here is what the policy, or one of these keys (name and
    /// text), asks for.
    pub async fn image_verify(
        &self,
        text: &str,
        keys: &[(String, String)],
        credentials: &Credentials,
    ) -> Result<Verified> {
        let (engine, asked) = (self.clone(), text.to_owned());
        let (name, digests) = blocking(move || {
            let images = engine.inner.store.images();
            let image = images.resolve(&asked).map_err(|error| image_error(&asked, error))?;
            let named = Reference::parse(&asked).ok().filter(|name| image.names.contains(name));
            let name = named.or_else(|| image.names.first().cloned());
            let name = name.ok_or_else(|| {
                EngineError::invalid(format!("{asked} has no name: signatures are looked for by repository"))
            })?;
            Ok((name, vec![image.id, image.manifest.digest]))
        })
        .await?;
        let rule = if keys.is_empty() {
            self.rule(&name).await?.ok_or_else(|| {
                EngineError::invalid(format!(
                    "no rule of the policy asks for a signature of {}",
                    name.familiar()
                ))
                .with_hint("name a key with --key, or a rule in the policy")
            })?
        } else {
            let keys = keys.iter().map(|(name, text)| Key::from_pem(name, text));
            Rule::of_keys(keys.collect::<std::result::Result<_, _>>().map_err(refused)?)
        };
        let (met, offline) = if let Ok((met, _)) = self.judge(&rule, None, &name, &digests).await {
            (met, true)
        } else {
            let repository = self.repository(&name, credentials).await?;
            let (met, found) = self.judge(&rule, Some(&repository), &name, &digests).await?;
            if let (Some(found), Some(id)) = (found, digests.first().copied()) {
                let engine = self.clone();
                blocking(move || engine.keep_evidence(&id, &found)).await?;
            }
            (met, false)
        };
        let digest = digests.first().map(ToString::to_string).unwrap_or_default();
        Ok(Verified { name: name.familiar(), digest, met, offline })
    }
}

/// Everything that a registry has of signatures and statements about a digest. That there are none is no error.
async fn gather(
    repository: &Repository,
    digest: &Digest,
) -> std::result::Result<Vec<Evidence>, DistributionError> {
    let mut evidence = Vec::new();
    let mut manifests = Vec::new();
    for end in ["sig", "att"] {
        match repository.manifest(&format!("{}-{}.{end}", digest.algorithm(), digest.hex())).await {
            Ok(document) => manifests.push(document),
            Err(error) if matches!(error.status(), Some(401 | 403 | 404)) => {}
            Err(error) => return Err(error),
        }
    }
    let listed = repository.referrers(digest, None).await?;
    let holds = |entry: &&Descriptor| {
        let kind = entry.artifact_type.as_deref().unwrap_or_default();
        kind == media_type::SIGNATURE_ARTIFACT
            || kind.starts_with(media_type::BUNDLE)
            || kind == media_type::ENVELOPE
    };
    for entry in listed.iter().filter(holds).take(DOCUMENTS) {
        manifests.push(repository.manifest(&entry.digest.to_string()).await?);
    }
    for document in manifests {
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&document.bytes) else { continue };
        for layer in manifest.layers.iter().filter(|layer| layer.size <= LIMIT) {
            if evidence.len() == DOCUMENTS {
                return Ok(evidence);
            }
            let kind = layer.media_type.as_str();
            if kind == media_type::PAYLOAD {
                let Some(signature) = layer.annotations.get(media_type::SIGNATURE) else { continue };
                evidence.push(Evidence::payload(&repository.small_blob(layer).await?, signature));
            } else if kind == media_type::ENVELOPE || kind.starts_with(media_type::BUNDLE) {
                evidence.push(Evidence::envelope(&repository.small_blob(layer).await?));
            }
        }
    }
    Ok(evidence)
}
