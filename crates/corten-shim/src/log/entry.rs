//! One line of a json-file log: written without a serializer, because it is written for every line of output.

use crate::mux::Stream;
use corten_std::Timestamp;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;

/// An entry as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Which stream it came from.
    pub stream: Stream,
    /// The text with its line feed; without one where the line goes on in the next entry of the stream, or ended
    /// without.
    pub line: String,
    /// When it was written.
    pub time: Timestamp,
    /// Label and environment pairs (`--details`).
    pub attributes: BTreeMap<String, String>,
}

/// The document on disk.
#[derive(Deserialize)]
struct Document<'text> {
    #[serde(borrow, default)]
    log: Cow<'text, str>,
    #[serde(borrow, default)]
    stream: Cow<'text, str>,
    #[serde(default)]
    attrs: Option<BTreeMap<String, String>>,
    time: Timestamp,
}

impl LogEntry {
    /// Reads one line of the file (without its line feed); none where it is not an entry.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let document: Document<'_> = serde_json::from_slice(line).ok()?;
        Some(Self {
            stream: if document.stream == "stderr" { Stream::Stderr } else { Stream::Stdout },
            line: document.log.into_owned(),
            time: document.time,
            attributes: document.attrs.unwrap_or_default(),
        })
    }

    /// Whether the line goes on in the next entry.
    pub fn is_partial(&self) -> bool {
        !self.line.ends_with('\n')
    }
}

/// The end of an entry: when it was written. The same for all lines that came at once.
pub(super) fn time_text(time: Timestamp) -> String {
    format!(",\"time\":\"{time}\"}}\n")
}

/// Appends an entry. `attributes` is a JSON object or empty, `time` what [`time_text`] gives.
pub(super) fn append(batch: &mut Vec<u8>, stream: Stream, text: &[u8], attributes: &[u8], time: &str) {
    batch.extend_from_slice(b"{\"log\":\"");
    append_escaped(batch, text);
    batch.extend_from_slice(b"\",\"stream\":\"");
    batch.extend_from_slice(stream.name().as_bytes());
    batch.push(b'"');
    if !attributes.is_empty() {
        batch.extend_from_slice(b",\"attrs\":");
        batch.extend_from_slice(attributes);
    }
    batch.extend_from_slice(time.as_bytes());
}

/// JSON's escapes as Go's encoder chooses them (also `<`, `>`, `&` and the two line separators); what is not UTF-8
/// becomes U+FFFD, as Docker does it.
fn append_escaped(batch: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        let mut start = 0;
        let mut at = 0;
        while at < valid.len() {
            let byte = valid[at];
            let (width, escape): (usize, &[u8]) = match byte {
                b'"' => (1, b"\\\""),
                b'\\' => (1, b"\\\\"),
                b'\n' => (1, b"\\n"),
                b'\r' => (1, b"\\r"),
                b'\t' => (1, b"\\t"),
                b'<' => (1, b"\\u003c"),
                b'>' => (1, b"\\u003e"),
                b'&' => (1, b"\\u0026"),
                0xe2 if valid[at..].starts_with("\u{2028}".as_bytes()) => (3, b"\\u2028"),
                0xe2 if valid[at..].starts_with("\u{2029}".as_bytes()) => (3, b"\\u2029"),
                0..0x20 => {
                    batch.extend_from_slice(&valid[start..at]);
                    let _ = write!(batch, "\\u{byte:04x}");
                    at += 1;
                    start = at;
                    continue;
                }
                _ => {
                    at += 1;
                    continue;
                }
            };
            batch.extend_from_slice(&valid[start..at]);
            batch.extend_from_slice(escape);
            at += width;
            start = at;
        }
        batch.extend_from_slice(&valid[start..]);
        if !chunk.invalid().is_empty() {
            batch.extend_from_slice(b"\\ufffd");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &[u8]) -> Vec<u8> {
        let mut batch = Vec::new();
        append(&mut batch, Stream::Stdout, text, b"", &time_text(Timestamp::from_unix(1, 500_000_000)));
        batch
    }

    #[test]
    fn the_document_is_dockers() {
        let expected =
            br#"{"log":"a\u003cb\u003e\u0026\"\\\t\u001b[0m\n","stream":"stdout","time":"1970-01-01T00:00:01.5Z"}"#;
        assert_eq!(written(b"a<b>&\"\\\t\x1b[0m\n"), [&expected[..], b"\n"].concat());
    }

    proptest! {
        #[test]
        fn any_output_is_one_line_and_reads_back(text: Vec<u8>) {
            let line = written(&text);
            prop_assert!(!line[..line.len() - 1].contains(&b'\n') && line.ends_with(b"\n"));
            let entry = LogEntry::parse(&line[..line.len() - 1]).unwrap();
            prop_assert_eq!(entry.line, String::from_utf8_lossy(&text));
        }

        #[test]
        fn rubbish_is_no_entry_and_no_crash(text: Vec<u8>) {
            let _ = LogEntry::parse(&text);
        }
    }
}
