//! Answers in a shorter form, where the client takes one and Docker gives one: the archive of a path.

use std::io::Write;

use corten_engine::EngineError;
use corten_http::server::{BodyStream, RequestHead, Response};
use corten_layer::Encoder;

use crate::stream::written;

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    /// Without zlib's head, as Go's package of that name writes it and clients expect it.
    Deflate,
}

impl Encoding {
    /// What the client likes best of what we have; of two that it likes the same, gzip.
    pub(crate) fn wanted(head: &RequestHead) -> Self {
        let headers = head.headers.iter().filter(|(name, _)| name == "accept-encoding");
        let mut best = (0, Self::Identity);
        let liked: Vec<(&str, u32)> = headers.flat_map(|(_, value)| liked(value)).collect();
        for (name, encoding) in [("gzip", Self::Gzip), ("deflate", Self::Deflate)] {
            for (value, quality) in &liked {
                if (*value == "*" || *value == name) && *quality > best.0 {
                    best = (*quality, encoding);
                }
            }
        }
        best.1
    }

    /// A streamed body that `write` writes on a thread that may block, in this form.
    pub(crate) fn stream(
        self,
        what: &'static str,
        write: impl FnOnce(&mut dyn Write) -> Result<(), EngineError> + Send + 'static,
    ) -> Response {
        let body = written(what, move |writer| {
            let mut encoder = match self {
                Self::Identity => Encoder::plain(writer),
                Self::Gzip => Encoder::gzip(writer),
                Self::Deflate => Encoder::deflate(writer),
            };
            write(&mut encoder)?;
            // Fails only where the client is gone, which the body's end finds out too.
            let _ = encoder.finish();
            Ok(())
        });
        self.told(body)
    }

    fn told(self, body: impl BodyStream + 'static) -> Response {
        let response = Response::stream(200, body);
        match self {
            Self::Identity => response,
            Self::Gzip => response.header("Content-Encoding", "gzip"),
            Self::Deflate => response.header("Content-Encoding", "deflate"),
        }
    }
}

/// Each name with its weight in thousandths; what follows a fault in a header is passed over.
fn liked(value: &str) -> impl Iterator<Item = (&str, u32)> {
    value.split(',').map_while(|part| match part.split_once(';') {
        None => Some((part.trim(), 1000)),
        Some((name, weight)) => Some((name.trim(), quality(weight.trim().strip_prefix("q=")?)?)),
    })
}

/// `1`, `0.25`
fn quality(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1" | "") || part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part: u32 = format!("{part:0<3}").parse().ok()?;
    Some(if whole == "1" { 1000 } else { part })
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_http::server::head;

    #[test]
    fn the_best_liked_of_two() {
        use Encoding::{Deflate, Gzip, Identity};
        for (value, wanted) in [
            ("", Identity),
            ("gzip", Gzip),
            ("deflate", Deflate),
            ("deflate, gzip", Gzip),
            ("*", Gzip),
            ("br, x-gzip", Identity),
            ("gzip;q=0", Identity),
            ("gzip;q=0.1, deflate;q=0.9", Deflate),
            ("identity;q=1, gzip; q=0.001", Gzip),
            ("gzip;q=2, deflate", Identity),
            ("gzip;level=1, deflate", Identity),
            ("gzip;q=0, *;q=0.5", Gzip),
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: d\r\nAccept-Encoding: {value}\r\n\r\n");
            let head = head::parse(head.as_bytes()).unwrap().unwrap().0;
            assert_eq!(Encoding::wanted(&head), wanted, "{value}");
        }
    }
}
