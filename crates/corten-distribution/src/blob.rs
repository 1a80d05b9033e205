//! Blobs: downloads that go on where they broke off.

use crate::auth::scope;
use crate::error::DistributionError;
use crate::registry::{Ask, Repository, Target, jitter};
use crate::transport::Body;
use corten_oci::image::Descriptor;
use http::{HeaderValue, Method, header};
use std::io;
use std::time::Duration;

/// Bytes that a small blob may have, where it is held in memory.
const SMALL: u64 = 16 << 20;
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
        while position < blob.size || (blob.size == 0 && last.is_none()) {
            let before = position;
            let tried = self.download_part(&path, blob, &mut position, write).await;
            match tried {
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

    /// One request's worth.
    async fn download_part(
        &self,
        path: &str,
        blob: &Descriptor,
        position: &mut u64,
        write: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<(), DistributionError> {
        let from = *position;
        let begun = std::time::Instant::now();
        let (mut response, _) = self
            .ask_any(
                |may| may.pull,
                || {
                    let mut headers = vec![(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))];
                    if from > 0
                        && let Ok(range) = HeaderValue::from_str(&format!("bytes={from}-"))
                    {
                        headers.push((header::RANGE, range));
                    }
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
        if from > 0 {
            if response.status.as_u16() == 206 {
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
        if let Some(declared) = declared
            && declared + from - skip != blob.size
        {
            let text = format!(
                "the blob {} has {} bytes there instead of {}",
                blob.digest,
                declared + from - skip,
                blob.size
            );
            return Err(wrong(response.url.authority(), text));
        }
        while let Some(piece) = response.piece().await? {
            let mut bytes = &piece[..];
            if skip > 0 {
                let passed = skip.min(bytes.len() as u64);
                skip -= passed;
                bytes = &bytes[passed as usize..];
            }
            if *position + bytes.len() as u64 > blob.size {
                let text = format!("the blob {} is longer there than its {} bytes", blob.digest, blob.size);
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
        self.tell_content(&blob.digest.short(), response.url.origin(), *position - from, begun.elapsed());
        Ok(())
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
        let found = corten_oci::Digest::of(&bytes);
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
