//! Request heads: from bytes to a checked [`RequestHead`].
//!
//! Refused, because readers of HTTP differ about them and a request could be smuggled behind another: a line end
//! that is not CR LF, folded lines, both `Content-Length` and `Transfer-Encoding`, several or malformed lengths, a
//! transfer encoding other than a single `chunked`, and any in HTTP/1.0.

/// Bytes a head may have, as in Go.
pub const MAX_HEAD: usize = 1 << 20;
/// Headers a head may have.
pub const MAX_HEADERS: usize = 256;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// It has that many bytes; 0 also where nothing was said.
    Length(u64),
    /// It comes in chunks.
    Chunked,
}

/// Request line and headers, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// Method as sent.
    pub method: String,
    /// Path with escapes, beginning with a slash, or `*`.
    pub path: String,
    /// What follows the question mark; empty when there is none.
    pub query: String,
    /// Minor version: 0 or 1.
    pub minor: u8,
    /// Names in lower case, values as sent, in order.
    pub headers: Vec<(String, String)>,
    /// How the end of the body is found.
    pub framing: Framing,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether the connection can serve another request.
    pub keep_alive: bool,
}

/// Why a head was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// More bytes or headers than allowed.
    #[error("request header too large")]
    TooLarge,
    /// Not HTTP/1.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    /// HTTP, but a version or encoding that is not spoken.
    #[error("unsupported transfer encoding")]
    TransferEncoding,
    /// An `Expect` other than `100-continue`.
    #[error("unsupported expectation")]
    Expectation,
    /// HTTP/2 or later.
    #[error("unsupported protocol version")]
    Version,
}

impl HeadError {
    /// The status code that tells it.
    pub fn status(&self) -> u16 {
        match self {
            Self::TooLarge => 431,
            Self::Malformed(_) => 400,
            Self::TransferEncoding => 501,
            Self::Expectation => 417,
            Self::Version => 505,
        }
    }
}

impl RequestHead {
    /// The first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a body was announced.
    pub fn has_body(&self) -> bool {
        self.framing != Framing::Length(0)
    }

    /// The protocol that the client wants to go on with, where `Connection` names `Upgrade` or an `Upgrade` stands alone.
    pub fn upgrade(&self) -> Option<&str> {
        self.header("upgrade").filter(|protocol| !protocol.is_empty())
    }
}

/// Reads a head from the beginning of what was received: the head and its length, or `None` when more is needed.
pub fn parse(received: &[u8]) -> Result<Option<(RequestHead, usize)>, HeadError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(&received[..received.len().min(MAX_HEAD)]) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if received.len() >= MAX_HEAD => return Err(HeadError::TooLarge),
        Ok(httparse::Status::Partial) => {
            // Told as soon as it is seen, not when the blank line comes.
            check_line_ends(received)?;
            return Ok(None);
        }
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Err(httparse::Error::Version) if received.starts_with(b"PRI * HTTP/2.0") => {
            return Err(HeadError::Version);
        }
        Err(httparse::Error::Version) => return Err(HeadError::Malformed("version")),
        Err(httparse::Error::HeaderName) => return Err(HeadError::Malformed("header name")),
        Err(httparse::Error::HeaderValue) => return Err(HeadError::Malformed("header value")),
        Err(_) => return Err(HeadError::Malformed("request line")),
    };
    check_line_ends(&received[..length])?;
    let minor = request.version.unwrap_or(1);
    let headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|header| (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    let (path, query) = split_target(request.path.unwrap_or_default())?;
    let hosts = values(&headers, "host").count();
    if hosts > 1 || (hosts == 0 && minor == 1) {
        return Err(HeadError::Malformed(if hosts == 0 {
            "missing required Host header"
        } else {
            "several Host headers"
        }));
    }
    let framing = framing(&headers, minor)?;
    let expects_continue = expects_continue(&headers, minor)?;
    let connection = |word: &str| {
        values(&headers, "connection")
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    let keep_alive = minor == 1 && !connection("close");
    let method = request.method.unwrap_or_default().to_owned();
    let head = RequestHead { method, path, query, minor, headers, framing, expects_continue, keep_alive };
    Ok(Some((head, length)))
}

/// Every LF must follow a CR: what stands between two lone LFs is a line to some and none to others.
fn check_line_ends(bytes: &[u8]) -> Result<(), HeadError> {
    for at in memchr::memchr_iter(b'\n', bytes) {
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(HeadError::Malformed("line end"));
        }
    }
    Ok(())
}

fn values<'a>(headers: &'a [(String, String)], name: &'a str) -> impl Iterator<Item = &'a str> {
    headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn split_target(target: &str) -> Result<(String, String), HeadError> {
    let local = match target.strip_prefix("http://").or_else(|| target.strip_prefix("https://")) {
        None => target,
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
    };
    if !local.starts_with('/') && local != "*" {
        return Err(HeadError::Malformed("request target"));
    }
    let local = local.split_once('#').map_or(local, |(before, _)| before);
    let (path, query) = local.split_once('?').unwrap_or((local, ""));
    Ok((path.to_owned(), query.to_owned()))
}

fn framing(headers: &[(String, String)], minor: u8) -> Result<Framing, HeadError> {
    let mut encodings = values(headers, "transfer-encoding");
    let mut lengths = values(headers, "content-length");
    match (encodings.next(), lengths.next()) {
        (None, None) => Ok(Framing::Length(0)),
        (Some(_), Some(_)) => Err(HeadError::Malformed("both Content-Length and Transfer-Encoding")),
        (Some(_), None) if minor == 0 => Err(HeadError::Malformed("Transfer-Encoding in HTTP/1.0")),
        (Some(encoding), None)
            if encodings.next().is_none() && encoding.trim().eq_ignore_ascii_case("chunked") =>
        {
            Ok(Framing::Chunked)
        }
        (Some(_), None) => Err(HeadError::TransferEncoding),
        (None, Some(length)) => {
            let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            match length.parse() {
                Ok(length) if digits && lengths.next().is_none() => Ok(Framing::Length(length)),
                _ => Err(HeadError::Malformed("Content-Length")),
            }
        }
    }
}

fn expects_continue(headers: &[(String, String)], minor: u8) -> Result<bool, HeadError> {
    match values(headers, "expect").next() {
        None | Some("") => Ok(false),
        Some(value) if value.trim().eq_ignore_ascii_case("100-continue") => Ok(minor == 1),
        Some(_) => Err(HeadError::Expectation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Result<Option<(RequestHead, usize)>, HeadError> {
        parse(text.as_bytes())
    }

    fn refused(text: &str) -> u16 {
        match parsed(text) {
            Err(error) => error.status(),
            Ok(found) => panic!("{text:?} gave {found:?}"),
        }
    }

    #[test]
    fn a_head_is_taken_apart() {
        let text = "POST /v1.51/a%20b?x=1&y HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\nX-A: b \r\n\r\nhello";
        let (head, length) = parsed(text).unwrap().unwrap();
        assert_eq!(&text[length..], "hello");
        assert_eq!(
            (head.method.as_str(), head.path.as_str(), head.query.as_str()),
            ("POST", "/v1.51/a%20b", "x=1&y")
        );
        assert_eq!(head.framing, Framing::Length(5));
        assert_eq!(head.header("x-a"), Some("b"));
        assert!(head.keep_alive);
    }

    #[test]
    fn what_could_be_smuggled_is_refused() {
        let cases = [
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Content-Length: 1\r\nContent-Length: 2\r\n", 400),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", 400),
            ("Content-Length: 1, 1\r\n", 400),
            ("Content-Length: +1\r\n", 400),
            ("Content-Length: -1\r\n", 400),
            ("Content-Length: 0x1\r\n", 400),
            ("Content-Length: \r\n", 400),
            ("Content-Length: 99999999999999999999999\r\n", 400),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 501),
            ("Transfer-Encoding: xchunked\r\n", 501),
            ("Transfer-Encoding : chunked\r\n", 400),
            ("A: b\r\n folded\r\n", 400),
            ("A: b\nB: c\r\n", 400),
            ("A: b\rB: c\r\n", 400),
            ("A\0: b\r\n", 400),
            ("Expect: 200-ok\r\n", 417),
            ("Host: again\r\n", 400),
        ];
        for (headers, status) in cases {
            assert_eq!(
                refused(&format!("POST / HTTP/1.1\r\nHost: d\r\n{headers}\r\n")),
                status,
                "{headers:?}"
            );
        }
        for line in ["GET x HTTP/1.1", "GET  / HTTP/1.1", "GET / HTTP/3.1", "GET /", "\u{1}ET / HTTP/1.1"] {
            assert_eq!(refused(&format!("{line}\r\nHost: d\r\n\r\n")), 400, "{line:?}");
        }
        assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
        assert_eq!(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(MAX_HEAD))), 431);
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1))), 431);
    }

    #[test]
    fn http_1_0_and_close_end_the_connection() {
        assert!(!parsed("GET / HTTP/1.0\r\n\r\n").unwrap().unwrap().0.keep_alive);
        assert!(
            !parsed("GET / HTTP/1.1\r\nHost: d\r\nConnection: x, Close\r\n\r\n")
                .unwrap()
                .unwrap()
                .0
                .keep_alive
        );
        assert_eq!(parsed("GET http://h:1/p?q HTTP/1.1\r\nHost: d\r\n\r\n").unwrap().unwrap().0.path, "/p");
        assert_eq!(parsed("GET / HTTP/1.1\r\nHos"), Ok(None));
    }

    /// Pieces that heads are made of, so that random combinations come near to the edges.
    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("\r\n".to_owned()),
            Just("\n".to_owned()),
            Just("\r".to_owned()),
            Just("GET / HTTP/1.1\r\n".to_owned()),
            Just("POST /a?b HTTP/1.0\r\n".to_owned()),
            Just("Host: d\r\n".to_owned()),
            Just("Content-Length: 3\r\n".to_owned()),
            Just("Content-Length: 3, 4\r\n".to_owned()),
            Just("Transfer-Encoding: chunked\r\n".to_owned()),
            Just("Transfer-Encoding: \tchunked\r\n".to_owned()),
            Just(" ".to_owned()),
            Just(":".to_owned()),
            Just("\0".to_owned()),
            "[ -~]{0,8}",
        ]
    }

    proptest! {
        #[test]
        fn what_is_accepted_can_be_read_in_one_way_only(pieces in prop::collection::vec(piece(), 0..12)) {
            let text = pieces.concat();
            if let Ok(Some((head, length))) = parsed(&text) {
                let bytes = &text.as_bytes()[..length];
                prop_assert!(bytes.ends_with(b"\r\n\r\n"));
                prop_assert!(bytes.windows(2).all(|pair| pair[1] != b'\n' || pair[0] == b'\r'));
                prop_assert!(!matches!(parse(&bytes[..length - 1]), Ok(Some(_))));
                let count = |name: &str| values(&head.headers, name).count();
                prop_assert!(count("content-length") + count("transfer-encoding") <= 1);
                prop_assert_eq!(head.framing == Framing::Chunked, count("transfer-encoding") == 1);
                prop_assert!(head.path.starts_with('/') || head.path == "*");
            }
        }
    }
}
