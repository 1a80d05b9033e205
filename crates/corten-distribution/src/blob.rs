//! Blobs: downloads that go on where they broke off.

use crate::auth::scope;
use crate::error::DistributionError;
use crate::registry::{Ask, Repository, Target, jitter};
use crate::transport::Body;
use corten_oci::image::Descriptor;
use http::{HeaderValue, Method, header};
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A range on its way; it ends with who waits for it.
struct Coming {
    /// What has come of it, in its order; at most as many bytes as it has.
    pieces: mpsc::UnboundedReceiver<Vec<u8>>,
    task: JoinHandle<Result<(), DistributionError>>,
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Bytes that a small blob may have, where it is held in memory.
const SMALL: u64 = 16 << 20;
/// A blob of which so much is to come is tried in ranges.
const LARGE: u64 = 32 << 20;
/// Bytes of the first range, which shows how fast one connection is.
const FIRST: u64 = 4 << 20;
/// Bytes of each of several ranges. What comes of all but the first of them is held in memory, and is lost where the daemon dies.
const RANGE: u64 = 1 << 20;
/// After so many bytes it is decided how the rest comes.
const TRIED: u64 = 16 << 20;
/// Ranges that are asked for at once.
const AT_ONCE: usize = 4;
/// So much faster several ranges must come than one for the rest to be asked for so.
const WORTH: f64 = 1.3;
/// So often in a row a download may break without a byte more.
const FRUITLESS: u32 = 5;

impl Repository {
    /// Downloads a blob from a position on, and gives each piece to `write`. Where the connection breaks it goes on by
    /// itself, at the next place too; what was given to `write` is never given again. The digest is not checked here.
    pub async fn download(
        &self,
        blob: &Descriptor,
        from: u64,
        write: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<(), DistributionError> {
        let mut position = from;
        let mut fruitless = 0;
        let path = format!("/{}/blobs/{}", self.path, blob.digest);
        let mut last = None;
        // Without the places that turned out to have something else.
        let mut places = self.clone();
        if blob.size.saturating_sub(position) >= LARGE {
            match self.download_in_ranges(&path, blob, &mut position, write).await {
                Ok(()) if position >= blob.size => return Ok(()),
                Ok(()) => {}
                Err(error @ DistributionError::Local { .. }) => return Err(error),
                // What is wrong shows again, or does not matter, when the rest is asked for as a whole.
                Err(error) => tracing::debug!(
                    blob = blob.digest.to_string(),
                    error = corten_std::chain(&error),
                    "a download in ranges goes on as a whole"
                ),
            }
        }
        while position < blob.size || (blob.size == 0 && last.is_none()) {
            let before = position;
            let tried = places.download_part(&path, blob, &mut position, write, None).await;
            match tried.map(drop) {
                Ok(()) if position >= blob.size => return Ok(()),
                Ok(()) => {
                    last = Some(DistributionError::Answer {
                        host: self.host(),
                        what: format!(
                            "the blob {} ended after {position} of {} bytes",
                            blob.digest, blob.size
                        ),
                    });
                }
                Err(error @ DistributionError::Connection { .. }) => last = Some(error),
                Err(error @ DistributionError::Answer { .. }) if places.pass_over_first() => {
                    tracing::debug!(
                        blob = blob.digest.to_string(),
                        error = corten_std::chain(&error),
                        "a place of a registry is passed over"
                    );
                    continue;
                }
                Err(error) => return Err(error),
            }
            fruitless = if position > before { 0 } else { fruitless + 1 };
            if fruitless == FRUITLESS {
                break;
            }
            if fruitless > 0 {
                let wait = Duration::from_millis(250) * 2_u32.pow(fruitless - 1);
                tokio::time::sleep(wait + jitter(wait)).await;
            }
        }
        last.map_or(Ok(()), Err)
    }

    /// Leaves the first place that content comes from out; false where there is no other.
    fn pass_over_first(&mut self) -> bool {
        let first = self.endpoints.iter().position(|endpoint| endpoint.capabilities.pull);
        let left = self.endpoints.iter().enumerate().filter(|(at, _)| Some(*at) != first);
        let left: Vec<_> = left.map(|(_, endpoint)| endpoint.clone()).collect();
        let another = left.iter().any(|endpoint| endpoint.capabilities.pull);
        if another {
            self.endpoints = std::sync::Arc::new(left);
        }
        another
    }

    /// The first of a large blob as one range, the next as several at once: where these come faster, so does the rest. What
    /// came is given on in its order; a failure leaves the position where that was.
    async fn download_in_ranges(
        &self,
        path: &str,
        blob: &Descriptor,
        position: &mut u64,
        write: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<(), DistributionError> {
        let before = *position;
        let took = self.download_part(path, blob, position, write, Some(before + FIRST)).await?;
        if *position != before + FIRST {
            // Ranges are not known there: it came as a whole.
            return Ok(());
        }
        let alone = FIRST as f64 / took.as_secs_f64().max(1e-6);
        let begun = Instant::now();
        let judged_at = *position + TRIED;
        let mut asked = *position;
        let mut coming: VecDeque<Coming> = VecDeque::new();
        while *position < blob.size {
            let until = if *position < judged_at { judged_at.min(blob.size) } else { blob.size };
            while coming.len() < AT_ONCE && asked < until {
                let end = (asked + RANGE).min(blob.size);
                coming.push_back(self.begin_range(path, blob, asked, end));
                asked = end;
            }
            let Some(mut next) = coming.pop_front() else { break };
            while let Some(bytes) = next.pieces.recv().await {
                write(&bytes).map_err(|source| DistributionError::Local {
                    operation: "write what was downloaded",
                    source,
                })?;
                *position += bytes.len() as u64;
            }
            let ended = (&mut next.task).await.map_err(|error| DistributionError::Local {
                operation: "go on with a download",
                source: io::Error::other(error),
            })?;
            ended.map_err(|error| match error {
                // Nothing failed at this end: the place that answered does not know ranges.
                DistributionError::Local { .. } => DistributionError::Answer {
                    host: self.host(),
                    what: format!("it sends more of {} than the range that it was asked for", blob.digest),
                },
                error => error,
            })?;
            if *position == judged_at {
                let together = TRIED as f64 / begun.elapsed().as_secs_f64().max(1e-6);
                tracing::debug!(alone, together, "the speed of one range and of several, in bytes a second");
                if together < alone * WORTH {
                    return Ok(());
                }
            }
        }
        self.tell_content(
            &format!("{} ({AT_ONCE} ranges at once)", blob.digest.short()),
            self.host(),
            *position - before - FIRST,
            begun.elapsed(),
        );
        Ok(())
    }

    fn begin_range(&self, path: &str, blob: &Descriptor, from: u64, until: u64) -> Coming {
        let (repository, path, blob) = (self.clone(), path.to_owned(), blob.clone());
        let (sender, pieces) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut position = from;
            let mut left = until - from;
            let mut write = |piece: &[u8]| {
                left = left
                    .checked_sub(piece.len() as u64)
                    .ok_or_else(|| io::Error::other("more came than the range that was asked for"))?;
                // Nobody waits any more where this fails, and the task ends.
                sender.send(piece.to_vec()).map_err(io::Error::other)
            };
            repository.download_part(&path, &blob, &mut position, &mut write, Some(until)).await?;
            if position == until {
                return Ok(());
            }
            Err(DistributionError::Answer {
                host: repository.host(),
                what: format!("a range of {} ended after {position} of {until} bytes", blob.digest),
            })
        });
        Coming { pieces, task }
    }

    /// One request's worth, with `until` only up to there where the registry knows ranges. Gives how long the body took.
    async fn download_part(
        &self,
        path: &str,
        blob: &Descriptor,
        position: &mut u64,
        write: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
        until: Option<u64>,
    ) -> Result<Duration, DistributionError> {
        let from = *position;
        let range = match until {
            Some(until) => Some(format!("bytes={from}-{}", until - 1)),
            None => (from > 0).then(|| format!("bytes={from}-")),
        };
        let begun = Instant::now();
        let (mut response, _) = self
            .ask_any(
                |may| may.pull,
                || {
                    let mut headers = vec![(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))];
                    let range = range.as_ref().and_then(|range| HeaderValue::from_str(range).ok());
                    headers.extend(range.map(|range| (header::RANGE, range)));
                    Ask {
                        method: Method::GET,
                        target: Target::Path(path),
                        headers,
                        body: &|| Body::Empty,
                        scopes: vec![scope(&self.path, false)],
                        also: &[],
                    }
                },
            )
            .await?;
        let wrong = |host: String, what: String| DistributionError::Answer { host, what };
        // A registry that does not know ranges begins at the beginning: what is here already is passed over.
        let mut skip = 0;
        let mut end = blob.size;
        if range.is_some() {
            if response.status.as_u16() == 206 {
                end = until.unwrap_or(blob.size);
                let range = response.header("content-range");
                let begins =
                    range.strip_prefix("bytes ").and_then(|range| range.split('-').next()?.parse().ok());
                if begins != Some(from) {
                    let text =
                        format!("it was asked for {} from byte {from} on and sends `{range}`", blob.digest);
                    return Err(wrong(response.url.authority(), text));
                }
            } else {
                skip = from;
            }
        }
        let declared: Option<u64> = response.header("content-length").parse().ok();
        // Where nothing is passed over, what is here already comes on top.
        if let Some(there) = declared.map(|declared| declared.saturating_add(from - skip))
            && there != end
        {
            let text = format!("the blob {} has {there} bytes there instead of {end}", blob.digest);
            return Err(wrong(response.url.authority(), text));
        }
        let body_begun = Instant::now();
        while let Some(piece) = response.piece().await? {
            let mut bytes = &piece[..];
            if skip > 0 {
                let passed = skip.min(bytes.len() as u64);
                skip -= passed;
                bytes = &bytes[passed as usize..];
            }
            if *position + bytes.len() as u64 > end {
                let text = format!("the blob {} is longer there than its {end} bytes", blob.digest);
                return Err(wrong(response.url.authority(), text));
            }
            if !bytes.is_empty() {
                write(bytes).map_err(|source| DistributionError::Local {
                    operation: "write what was downloaded",
                    source,
                })?;
                *position += bytes.len() as u64;
            }
        }
        if until.is_none() {
            self.tell_content(&blob.digest.short(), response.url.origin(), *position - from, begun.elapsed());
        }
        Ok(body_begun.elapsed())
    }

    /// Whether the registry itself, no mirror of it, says that it has a blob of that length. Asks for no more than may be pulled.
    pub async fn answers_for(&self, blob: &Descriptor) -> Result<bool, DistributionError> {
        let path = format!("/{}/blobs/{}", self.path, blob.digest);
        let itself = self.without_mirrors();
        let (response, _) = itself
            .ask_any(
                |may| may.pull,
                || Ask {
                    method: Method::HEAD,
                    target: Target::Path(&path),
                    headers: vec![(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))],
                    body: &|| Body::Empty,
                    scopes: vec![scope(&self.path, false)],
                    also: &[404],
                },
            )
            .await?;
        let length = response.header("content-length").parse::<u64>();
        Ok(response.status.is_success() && length == Ok(blob.size))
    }

    /// A small blob as a whole, its digest checked.
    pub async fn small_blob(&self, blob: &Descriptor) -> Result<Vec<u8>, DistributionError> {
        if blob.size > SMALL {
            return Err(DistributionError::Answer {
                host: self.host(),
                what: format!("the document {} has {} bytes, more than {SMALL}", blob.digest, blob.size),
            });
        }
        let mut bytes = Vec::with_capacity(blob.size as usize);
        self.download(blob, 0, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })
        .await?;
        let found = blob.digest.again(&bytes);
        if found != blob.digest {
            return Err(DistributionError::Digest {
                host: self.host(),
                wanted: blob.digest.to_string(),
                found: found.to_string(),
            });
        }
        Ok(bytes)
    }
}
