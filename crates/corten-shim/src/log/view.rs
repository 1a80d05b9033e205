//! An entry of the log as it lies in the file: for readers of many, who make nothing of each but bytes for a client.
//!
//! Only the form that the writer writes is known here. Whatever else is in the file – an older engine's lines, Docker's
//! own with their keys in another order – is for [`super::LogEntry::parse`].

use crate::mux::Stream;

/// The parts of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryView<'a> {
    pub(super) stream: Stream,
    /// The text with JSON's escapes.
    pub(super) escaped: &'a [u8],
    /// RFC 3339.
    pub(super) time: &'a [u8],
}

impl<'a> EntryView<'a> {
    /// Takes a line apart; none where it is not of the known form, or has attributes.
    pub(super) fn scan(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"{\"log\":\"")?;
        let mut at = 0;
        let end = loop {
            at += memchr::memchr2(b'"', b'\\', rest.get(at..)?)?;
            if rest[at] == b'"' {
                break at;
            }
            at += 2;
        };
        let (escaped, rest) = rest.split_at(end);
        let rest = rest.strip_prefix(b"\",\"stream\":\"std")?;
        let (stream, rest) = match rest.strip_prefix(b"out\"") {
            Some(rest) => (Stream::Stdout, rest),
            None => (Stream::Stderr, rest.strip_prefix(b"err\"")?),
        };
        let time = rest.strip_prefix(b",\"time\":\"")?.strip_suffix(b"\"}")?;
        let plain = |byte: &u8| byte.is_ascii_digit() || b"-:.TZ+".contains(byte);
        time.iter().all(plain).then_some(Self { stream, escaped, time })
    }
}

/// Appends a text without its escapes; false where one is wrong, and what was appended is of no use.
pub(super) fn append_unescaped(escaped: &[u8], out: &mut Vec<u8>) -> bool {
    let mut rest = escaped;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let Some(&kind) = rest.get(at + 1) else { return false };
        rest = &rest[at + 2..];
        match kind {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'"' | b'\\' | b'/' => out.push(kind),
            b'u' => {
                let Some((character, used)) = unicode(rest) else { return false };
                let mut bytes = [0; 4];
                out.extend_from_slice(character.encode_utf8(&mut bytes).as_bytes());
                rest = &rest[used..];
            }
            _ => return false,
        }
    }
    out.extend_from_slice(rest);
    true
}

/// The character of `XXXX`, or of a pair `XXXX\uXXXX`, and how many bytes it took.
fn unicode(text: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = std::str::from_utf8(text.get(at..at + 4)?).ok()?;
        // No sign, which the number parser would take.
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let first = unit(0)?;
    if let Some(character) = char::from_u32(first) {
        return Some((character, 4));
    }
    if text.get(4..6) != Some(br"\u") || !(0xd800..0xdc00).contains(&first) {
        return None;
    }
    let second = unit(6).filter(|second| (0xdc00..0xe000).contains(second))?;
    let character = char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))?;
    Some((character, 10))
}

#[cfg(test)]
mod tests {
    use super::super::entry::{LogEntry, append, time_text};
    use super::*;
    use corten_std::Timestamp;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_reads_what_the_writer_writes(text: Vec<u8>, error: bool) {
            let stream = if error { Stream::Stderr } else { Stream::Stdout };
            let time = Timestamp::from_unix(1, 5);
            let mut line = Vec::new();
            append(&mut line, stream, &text, b"", &time_text(time));
            line.pop();
            let view = EntryView::scan(&line).expect("the writer's own form");
            let mut out = Vec::new();
            prop_assert!(append_unescaped(view.escaped, &mut out));
            let entry = LogEntry::parse(&line).unwrap();
            prop_assert_eq!(&out, entry.line.as_bytes());
            let time = time.to_string();
            prop_assert_eq!((view.stream, view.time), (stream, time.as_bytes()));
        }

        #[test]
        fn whatever_it_takes_the_parser_takes_alike(text in "[\\\\\"nu0-9dD8c, a{}:]{0,30}") {
            let line = format!("{{\"log\":\"{text}\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:01Z\"}}");
            if let Some(view) = EntryView::scan(line.as_bytes()) {
                let mut out = Vec::new();
                if append_unescaped(view.escaped, &mut out)
                    && let Some(entry) = LogEntry::parse(line.as_bytes())
                {
                    prop_assert_eq!(out, entry.line.into_bytes());
                }
            }
        }

        #[test]
        fn rubbish_is_no_crash(text: Vec<u8>) {
            if let Some(view) = EntryView::scan(&text) {
                append_unescaped(view.escaped, &mut Vec::new());
            }
            append_unescaped(&text, &mut Vec::new());
        }
    }

    #[test]
    fn other_forms_are_left_to_the_parser() {
        for line in [
            r#"{"stream":"stdout","log":"x","time":"1970-01-01T00:00:01Z"}"#,
            r#"{"log":"x","stream":"stdout","attrs":{"a":"b"},"time":"1970-01-01T00:00:01Z"}"#,
            r#"{"log":"x","stream":"stdout","time":"1970","time":"1970"}"#,
            r#"{"log":"x"#,
            "",
        ] {
            assert_eq!(EntryView::scan(line.as_bytes()), None, "{line}");
        }
    }
}
