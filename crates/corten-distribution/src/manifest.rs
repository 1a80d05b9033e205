//! Manifests, indexes and tags.

use crate::auth::scope;
use crate::error::DistributionError;
use crate::registry::{Ask, Repository, Target};
use crate::transport::{Body, Response};
use crate::url::next_link;
use corten_oci::Digest;
use corten_oci::image::{Descriptor, media_type};
use http::{HeaderValue, Method, header};
use serde::Deserialize;

/// Bytes that a manifest may have.
const LIMIT: usize = 8 << 20;
/// Bytes that a page of tags may have.
const TAGS_LIMIT: usize = 8 << 20;
/// Tags of one repository that are read.
const TAGS: usize = 200_000;
/// Pages of tags that are read.
const PAGES: usize = 1000;
/// Media types of manifests that nobody writes any more.
const SCHEMA_1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// A manifest or index, byte for byte.
#[derive(Clone, Debug)]
pub struct Document {
    /// Media type, digest (computed) and length.
    pub descriptor: Descriptor,
    /// What the registry sent.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tags {
    tags: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Head {
    schema_version: u32,
    media_type: String,
    manifests: Option<serde_json::Value>,
}

impl Repository {
    /// What a tag or digest means now, without reading it where the registry tells so.
    pub async fn resolve(&self, name: &str) -> Result<Descriptor, DistributionError> {
        let path = format!("/{}/manifests/{name}", self.path);
        let head = self.ask_any(|may| may.resolve, || self.ask_manifest(Method::HEAD, &path)).await;
        if let Ok((response, _)) = &head {
            let kind = media_type_of(response);
            let digest = Digest::parse(response.header("docker-content-digest")).ok();
            let size = response.header("content-length").parse().ok();
            if let (Some(digest), Some(size)) = (digest, size)
                && (media_type::is_index(&kind) || media_type::is_manifest(&kind))
                && Digest::parse(name).is_ok_and(|wanted| wanted == digest) | !name.contains(':')
            {
                return Ok(Descriptor::new(&kind, digest, size));
            }
        }
        // The answer to a HEAD has no text that could say why; and some registries only answer a GET rightly.
        Ok(self.manifest(name).await?.descriptor)
    }

    /// A manifest or index by tag or digest; a digest is checked.
    pub async fn manifest(&self, name: &str) -> Result<Document, DistributionError> {
        let path = format!("/{}/manifests/{name}", self.path);
        let by_digest = Digest::parse(name).ok();
        let suits =
            |may: &crate::hosts::Capabilities| if by_digest.is_some() { may.pull } else { may.resolve };
        let mut last = None;
        for endpoint in self.endpoints(suits) {
            let read = async {
                let mut response = self.ask(endpoint, self.ask_manifest(Method::GET, &path)).await?;
                let bytes = response.whole(LIMIT).await?;
                self.document(&response, bytes, by_digest)
            };
            match read.await {
                Ok(document) => return Ok(document),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| DistributionError::Configuration {
            path: self.familiar.clone(),
            what: "no host of this registry may be asked for that".to_owned(),
        }))
    }

    fn document(
        &self,
        response: &Response,
        bytes: Vec<u8>,
        wanted: Option<Digest>,
    ) -> Result<Document, DistributionError> {
        let host = response.url.authority();
        let told = Digest::parse(response.header("docker-content-digest")).ok();
        let wanted = wanted.or(told);
        let digest = wanted.map_or_else(|| Digest::of(&bytes), |wanted| wanted.again(&bytes));
        if let Some(wanted) = wanted
            && wanted != digest
        {
            return Err(DistributionError::Digest {
                host,
                wanted: wanted.to_string(),
                found: digest.to_string(),
            });
        }
        let head: Head = serde_json::from_slice(&bytes).map_err(|error| DistributionError::Answer {
            host: host.clone(),
            what: format!("the manifest of {} is not one: {error}", self.familiar),
        })?;
        let mut kind = media_type_of(response);
        if head.schema_version == 1 || SCHEMA_1.contains(&kind.as_str()) {
            return Err(DistributionError::Schema1 { name: self.familiar.clone() });
        }
        if !head.media_type.is_empty() {
            // What was hashed says more than what was sent beside it.
            kind = head.media_type;
        } else if !media_type::is_index(&kind) && !media_type::is_manifest(&kind) {
            let meant =
                if head.manifests.is_some() { media_type::OCI_INDEX } else { media_type::OCI_MANIFEST };
            meant.clone_into(&mut kind);
        }
        Ok(Document { descriptor: Descriptor::new(&kind, digest, bytes.len() as u64), bytes })
    }

    fn ask_manifest<'a>(&self, method: Method, path: &'a str) -> Ask<'a> {
        let accept = [
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_INDEX,
            media_type::OCI_MANIFEST,
            media_type::OCI_INDEX,
        ];
        let mut headers: Vec<_> =
            accept.into_iter().map(|kind| (header::ACCEPT, HeaderValue::from_static(kind))).collect();
        headers.push((header::ACCEPT, HeaderValue::from_static("*/*")));
        Ask {
            method,
            target: Target::Path(path),
            headers,
            body: &|| Body::Empty,
            scopes: vec![scope(&self.path, false)],
            also: &[],
        }
    }

    fn ask_tags<'a>(&self, target: Target<'a>) -> Ask<'a> {
        Ask {
            method: Method::GET,
            target,
            headers: Vec::new(),
            body: &|| Body::Empty,
            scopes: vec![scope(&self.path, false)],
            also: &[],
        }
    }

    /// All tags.
    pub async fn tags(&self) -> Result<Vec<String>, DistributionError> {
        let first = format!("/{}/tags/list", self.path);
        let (mut response, endpoint) =
            self.ask_any(|may| may.resolve, || self.ask_tags(Target::Path(&first))).await?;
        let mut all = Vec::new();
        for _ in 0..PAGES {
            let bytes = response.whole(TAGS_LIMIT).await?;
            let wrong = |what: String| DistributionError::Answer { host: response.url.authority(), what };
            let page: Tags = serde_json::from_slice(&bytes).map_err(|error| {
                wrong(format!("the list of tags of {} is not one: {error}", self.familiar))
            })?;
            let tags = page.tags.unwrap_or_default();
            all.extend(tags.into_iter().filter(|tag| corten_oci::reference::is_tag(tag)));
            if all.len() > TAGS {
                return Err(wrong(format!("{} has more than {TAGS} tags", self.familiar)));
            }
            let Some(next) = next_link(response.header("link")) else { break };
            let next = response.url.join(next).filter(|next| next.same_origin(&response.url));
            let next = next.ok_or_else(|| wrong("the next page of tags is at another host".to_owned()))?;
            response = self.ask(endpoint, self.ask_tags(Target::Address(&next))).await?;
        }
        Ok(all)
    }
}

fn media_type_of(response: &Response) -> String {
    response.header("content-type").split(';').next().unwrap_or_default().trim().to_owned()
}
