//! Spans of requests, for OpenTelemetry: who asked what, and what was answered. Where nobody wants them nothing is measured.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use corten_http::server::{RequestHead, Response};
use corten_std::id::random_bytes;

/// Takes finished spans; must not block.
pub trait SpanSink: Send + Sync + 'static {
    /// A request was answered.
    fn take(&self, span: Span);
}

/// One request, from its head to the head of its answer: a stream goes on after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The trace it belongs to.
    pub trace: [u8; 16],
    /// Its own id.
    pub id: [u8; 8],
    /// The client's span, where `traceparent` named one.
    pub parent: Option<[u8; 8]>,
    /// What the client's `tracestate` said; handed on as it is.
    pub state: String,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// The same.
    pub end: u64,
    /// As in `GET`.
    pub method: String,
    /// The path as it was asked for, without the query, which may hold secrets.
    pub path: String,
    /// The pattern of the route, as in `/containers/{}/json`; none where nothing fits.
    pub route: Option<&'static str>,
    /// Of the answer.
    pub status: u16,
    /// What the client calls itself.
    pub agent: String,
}

/// A span that has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    sink: Arc<dyn SpanSink>,
    span: Span,
}

impl std::fmt::Debug for dyn SpanSink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SpanSink")
    }
}

impl Begun {
    /// Begins one; none where the client says that its trace is not recorded.
    pub(crate) fn new(sink: &Arc<dyn SpanSink>, head: &RequestHead) -> Option<Self> {
        let parent = head.header("traceparent").and_then(Parent::parse);
        if parent.as_ref().is_some_and(|parent| !parent.is_recorded) {
            return None;
        }
        let state = parent.as_ref().and_then(|_| head.header("tracestate"));
        let now = now();
        let span = Span {
            trace: parent.as_ref().map_or_else(random_bytes, |parent| parent.trace),
            id: random_bytes(),
            parent: parent.map(|parent| parent.span),
            state: state.unwrap_or_default().to_owned(),
            start: now,
            end: now,
            method: head.method.clone(),
            path: head.path.clone(),
            route: None,
            status: 0,
            agent: head.header("user-agent").unwrap_or_default().to_owned(),
        };
        Some(Self { sink: Arc::clone(sink), span })
    }

    pub(crate) fn route(&mut self, pattern: &'static str) {
        self.span.route = Some(pattern);
    }

    pub(crate) fn end(mut self, response: &Response) {
        self.span.end = now();
        self.span.status = response.status;
        self.sink.take(self.span);
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What a `traceparent` says (W3C Trace Context).
#[derive(Debug, PartialEq, Eq)]
struct Parent {
    trace: [u8; 16],
    span: [u8; 8],
    is_recorded: bool,
}

impl Parent {
    /// `00-TRACE-SPAN-FLAGS`; of later versions what follows is passed over. What is none begins a trace of its own.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = bytes::<1>(version)?;
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let (trace, span, [flags]) = (bytes(trace)?, bytes(span)?, bytes::<1>(flags)?);
        if trace == [0; 16] || span == [0; 8] {
            return None;
        }
        Some(Self { trace, span, is_recorded: flags & 1 == 1 })
    }
}

/// Small hexadecimal digits, just so many.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_taken_as_the_standard_says() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = Parent::parse(good).unwrap();
        assert_eq!((parent.trace[0], parent.span[7], parent.is_recorded), (0x0a, 0x31, true));
        assert!(
            !Parent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").unwrap().is_recorded
        );
        assert!(Parent::parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-more").is_some());
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333é-01",
        ] {
            assert_eq!(Parent::parse(bad), None, "{bad}");
        }
    }
}
