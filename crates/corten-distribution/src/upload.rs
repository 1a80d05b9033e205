//! Pushing: blobs that are not there, by mounting them from another repository or sending them; then manifests.

use crate::auth::scope;
use crate::error::DistributionError;
use crate::manifest::Document;
use crate::referrers::as_referrer;
use crate::registry::{Ask, Repository, Target, jitter};
use crate::transport::{Body, Response};
use crate::url::Url;
use bytes::Bytes;
use corten_oci::Digest;
use corten_oci::image::Descriptor;
use http::{HeaderValue, Method, header};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Bytes that are read and sent at a time.
const PIECE: usize = 256 << 10;
/// So often an upload is gone on with where it broke.
const ATTEMPTS: u32 = 5;

/// Opens a blob's bytes; called once for each attempt.
pub type Open = Arc<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync>;

/// How a blob came to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Present,
    /// It was mounted from another repository.
    Mounted(String),
    /// It was sent.
    Sent,
}

impl Repository {
    /// Whether a blob is there.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, DistributionError> {
        let path = format!("/{}/blobs/{digest}", self.path);
        let response =
            self.push_ask(Method::HEAD, Target::Path(&path), Vec::new(), &|| Body::Empty, &[404]).await?;
        Ok(response.status.is_success())
    }

    /// Brings a blob there, by the cheapest way. `sources` are repositories of the same registry that may have it;
    /// `sent` is told how many bytes have been read for it.
    pub async fn push_blob(
        &self,
        blob: &Descriptor,
        sources: &[String],
        open: Open,
        sent: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Pushed, DistributionError> {
        if self.has_blob(&blob.digest).await? {
            return Ok(Pushed::Present);
        }
        for source in sources.iter().filter(|source| **source != self.path) {
            let path = format!(
                "/{}/blobs/uploads/?mount={}&from={}",
                self.path,
                blob.digest,
                crate::url::encode(source)
            );
            let mut scopes = vec![scope(&self.path, true), scope(source, false)];
            scopes.sort();
            let asked =
                self.ask_push(Method::POST, Target::Path(&path), Vec::new(), &|| Body::Empty, &[], scopes);
            match asked.await {
                Ok(response) if response.status.as_u16() == 201 => {
                    return Ok(Pushed::Mounted(source.clone()));
                }
                // An upload was begun instead: it is used.
                Ok(response) if response.status.as_u16() == 202 => {
                    let location = self.location(&response)?;
                    response.finish().await;
                    self.upload(blob, location, &open, sent).await?;
                    return Ok(Pushed::Sent);
                }
                Ok(response) => response.finish().await,
                // That one may not be read, or does not have it: the blob is sent.
                Err(error) => {
                    tracing::debug!(error = corten_std::chain(&error), source, "a blob cannot be mounted");
                }
            }
        }
        // Without naming a source: a registry that has it anywhere and may say so gives it.
        let path = format!("/{}/blobs/uploads/?mount={}", self.path, blob.digest);
        let asked = self.push_ask(Method::POST, Target::Path(&path), Vec::new(), &|| Body::Empty, &[]).await;
        let location = match asked {
            Ok(response) if response.status.as_u16() == 201 => {
                response.finish().await;
                return Ok(Pushed::Present);
            }
            Ok(response) if response.status.as_u16() == 202 => {
                let location = self.location(&response)?;
                response.finish().await;
                location
            }
            Ok(response) => {
                response.finish().await;
                self.begin().await?
            }
            // Some do not understand the question; what else is wrong shows when it is asked plainly.
            Err(error) if matches!(error.status(), Some(400..=499)) => self.begin().await?,
            Err(error) => return Err(error),
        };
        self.upload(blob, location, &open, sent).await?;
        Ok(Pushed::Sent)
    }

    /// Has the registry take over a blob from another repository of it; whether it did.
    pub async fn mount_blob(&self, digest: &Digest, source: &str) -> Result<bool, DistributionError> {
        let path =
            format!("/{}/blobs/uploads/?mount={digest}&from={}", self.path, crate::url::encode(source));
        let mut scopes = vec![scope(&self.path, true), scope(source, false)];
        scopes.sort();
        let response = self
            .ask_push(Method::POST, Target::Path(&path), Vec::new(), &|| Body::Empty, &[], scopes)
            .await?;
        let mounted = response.status.as_u16() == 201;
        response.finish().await;
        Ok(mounted)
    }

    async fn begin(&self) -> Result<Url, DistributionError> {
        let path = format!("/{}/blobs/uploads/", self.path);
        let response =
            self.push_ask(Method::POST, Target::Path(&path), Vec::new(), &|| Body::Empty, &[]).await?;
        let location = self.location(&response)?;
        response.finish().await;
        Ok(location)
    }

    /// Sends a blob to an upload that was begun: whole; from where it broke on, if it breaks.
    async fn upload(
        &self,
        blob: &Descriptor,
        mut location: Url,
        open: &Open,
        sent: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), DistributionError> {
        let mut from = 0;
        let mut wait = Duration::from_millis(250);
        let mut attempt = 1;
        loop {
            match self.upload_rest(blob, &location, from, open, sent).await {
                Ok(()) => return Ok(()),
                Err(error) if attempt == ATTEMPTS || !may_go_on(&error) => return Err(error),
                Err(error) => tracing::debug!(error = corten_std::chain(&error), "an upload broke off"),
            }
            attempt += 1;
            tokio::time::sleep(wait + jitter(wait)).await;
            wait *= 2;
            // It may have come whole all the same.
            if self.has_blob(&blob.digest).await? {
                return Ok(());
            }
            match self.progress_of(&location).await {
                Some((next, there)) if there < blob.size => (location, from) = (next, there),
                // The registry does not know it any more.
                _ => (location, from) = (self.begin().await?, 0),
            }
        }
    }

    /// How much of an upload is there, and where it goes on.
    async fn progress_of(&self, location: &Url) -> Option<(Url, u64)> {
        let response = self
            .push_ask(Method::GET, Target::Address(location), Vec::new(), &|| Body::Empty, &[])
            .await
            .ok()?;
        let next = self.location(&response).unwrap_or_else(|_| location.clone());
        // `0-END`; a registry that has nothing says `0-0`, as one does that has a single byte.
        let end: u64 = response.header("range").rsplit_once('-')?.1.trim().parse().ok()?;
        response.finish().await;
        Some((next, if end == 0 { 0 } else { end + 1 }))
    }

    async fn upload_rest(
        &self,
        blob: &Descriptor,
        location: &Url,
        from: u64,
        open: &Open,
        sent: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), DistributionError> {
        let mut location = location.clone();
        let kind = HeaderValue::from_static("application/octet-stream");
        let length = blob.size - from;
        if from > 0 {
            // What is left as one chunk, and then the end: only so a place can be named.
            let range = HeaderValue::from_str(&format!("{from}-{}", blob.size - 1));
            let mut headers = vec![(header::CONTENT_TYPE, kind.clone())];
            headers.extend(range.ok().map(|range| (header::CONTENT_RANGE, range)));
            let response =
                self.send_from(Method::PATCH, &location, headers, blob, from, open, sent, length).await?;
            location = self.location(&response)?;
            response.finish().await;
            let end = location.with_query("digest", &blob.digest.to_string());
            let response =
                self.push_ask(Method::PUT, Target::Address(&end), Vec::new(), &|| Body::Empty, &[]).await?;
            response.finish().await;
            return Ok(());
        }
        let end = location.with_query("digest", &blob.digest.to_string());
        let headers = vec![(header::CONTENT_TYPE, kind)];
        self.send_from(Method::PUT, &end, headers, blob, 0, open, sent, length).await?.finish().await;
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one call's parts, from two places")]
    async fn send_from(
        &self,
        method: Method,
        address: &Url,
        headers: Vec<(http::HeaderName, HeaderValue)>,
        blob: &Descriptor,
        from: u64,
        open: &Open,
        sent: &(dyn Fn(u64) + Send + Sync),
        length: u64,
    ) -> Result<Response, DistributionError> {
        // Asked for once per request: each redirection or renewed token reads the blob anew.
        let (told, mut moved) = mpsc::unbounded_channel();
        let open = Arc::clone(open);
        let size = blob.size;
        let body = move || {
            let (sender, receiver) = mpsc::channel(4);
            let (open, told) = (Arc::clone(&open), told.clone());
            tokio::task::spawn_blocking(move || {
                if let Err(error) = feed(&open, from, size, &sender, &told) {
                    let _ = sender.blocking_send(Err(error));
                }
            });
            Body::Stream(receiver, length)
        };
        let mut sending =
            std::pin::pin!(self.push_ask(method, Target::Address(address), headers, &body, &[]));
        loop {
            tokio::select! {
                answer = &mut sending => return answer,
                Some(position) = moved.recv() => sent(position),
            }
        }
    }

    /// Brings a manifest or index there, under a tag or its digest. One that refers to another is listed there: by the
    /// registry, or in the fallback index.
    pub async fn push_manifest(&self, name: &str, kind: &str, bytes: &[u8]) -> Result<(), DistributionError> {
        if self.put_manifest(name, kind, bytes).await? {
            return Ok(());
        }
        let document = Document { descriptor: Descriptor::of(kind, bytes), bytes: bytes.to_vec() };
        match as_referrer(&document) {
            Some((subject, referrer)) => self.change_fallback(&subject, &referrer, true).await,
            None => Ok(()),
        }
    }

    /// Sends a manifest; whether the registry says that it lists what it refers to.
    pub(crate) async fn put_manifest(
        &self,
        name: &str,
        kind: &str,
        bytes: &[u8],
    ) -> Result<bool, DistributionError> {
        let path = format!("/{}/manifests/{name}", self.path);
        let bytes = Bytes::copy_from_slice(bytes);
        let kind =
            HeaderValue::from_str(kind).unwrap_or(HeaderValue::from_static("application/octet-stream"));
        let headers = vec![(header::CONTENT_TYPE, kind)];
        let body = || Body::Full(bytes.clone());
        let response = self.push_ask(Method::PUT, Target::Path(&path), headers, &body, &[]).await?;
        let told = response.header("docker-content-digest").to_owned();
        let listed = !response.header("oci-subject").is_empty();
        let host = response.url.authority();
        response.finish().await;
        match Digest::parse(&told) {
            Ok(found) if found != found.again(&bytes) => {
                let wanted = found.again(&bytes);
                Err(DistributionError::Digest { host, wanted: wanted.to_string(), found: found.to_string() })
            }
            _ => Ok(listed),
        }
    }

    async fn push_ask(
        &self,
        method: Method,
        target: Target<'_>,
        headers: Vec<(http::HeaderName, HeaderValue)>,
        body: &(dyn Fn() -> Body + Sync),
        also: &[u16],
    ) -> Result<Response, DistributionError> {
        self.ask_push(method, target, headers, body, also, vec![scope(&self.path, true)]).await
    }

    /// Asks the place that takes content.
    async fn ask_push(
        &self,
        method: Method,
        target: Target<'_>,
        headers: Vec<(http::HeaderName, HeaderValue)>,
        body: &(dyn Fn() -> Body + Sync),
        also: &[u16],
        scopes: Vec<String>,
    ) -> Result<Response, DistributionError> {
        let endpoint =
            self.endpoints(|may| may.push).last().ok_or_else(|| DistributionError::Configuration {
                path: self.familiar.clone(),
                what: "no host of this registry takes pushes".to_owned(),
            })?;
        self.ask(endpoint, Ask { method, target, headers, body, scopes, also }).await
    }

    fn location(&self, response: &Response) -> Result<Url, DistributionError> {
        let text = response.header("location");
        let wrong = || DistributionError::Answer {
            host: response.url.authority(),
            what: format!("it names no place for an upload to {}: `{text}`", self.familiar),
        };
        let mut location = response.url.join(text).filter(|_| !text.is_empty()).ok_or_else(wrong)?;
        // Behind a proxy that ends TLS registries name themselves without it.
        let same_host = location.host.eq_ignore_ascii_case(&response.url.host);
        if response.url.secure && !location.secure && same_host {
            location.secure = true;
            location.port = response.url.port;
        }
        Ok(location)
    }
}

/// Whether what is left can be sent.
fn may_go_on(error: &DistributionError) -> bool {
    error.is_transient() || error.status() == Some(416)
}

/// Reads a blob from a position on, in pieces.
fn feed(
    open: &Open,
    from: u64,
    size: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
    told: &mpsc::UnboundedSender<u64>,
) -> io::Result<()> {
    let mut reader = open()?;
    if io::copy(&mut Read::take(&mut reader, from), &mut io::sink())? < from {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut position = from;
    while position < size {
        let mut piece = vec![0; PIECE.min((size - position) as usize)];
        reader.read_exact(&mut piece)?;
        position += piece.len() as u64;
        let _ = told.send(position);
        if sender.blocking_send(Ok(piece.into())).is_err() {
            // Nobody reads any more: the request has failed elsewhere.
            return Ok(());
        }
    }
    // The end is read too: there the digest is checked.
    if reader.read(&mut [0])? > 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the blob is longer than it should be"));
    }
    Ok(())
}
