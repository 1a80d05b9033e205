//! One kept connection to an engine's socket: the API's own time, without a client's.

use super::Result;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A connection over which requests go one after the other.
pub(super) struct Connection {
    host: String,
    stream: BufReader<UnixStream>,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Connection {
    /// Connects to `unix://PATH`.
    pub(super) fn open(host: &str) -> Result<Self> {
        let path =
            host.strip_prefix("unix://").ok_or_else(|| format!("{host}: a unix:// socket is wanted"))?;
        let stream = UnixStream::connect(path).map_err(|error| format!("{path}: {error}"))?;
        let limit = Some(Duration::from_mins(2));
        stream.set_read_timeout(limit).map_err(|error| error.to_string())?;
        Ok(Self { host: host.to_owned(), stream: BufReader::with_capacity(64 << 10, stream) })
    }

    /// Sends one request and reads its whole answer. An engine that closes behind an answer is connected to anew.
    pub(super) fn ask(&mut self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Answer> {
        let length = body.len();
        let mut request =
            format!("{method} /v1.51{path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n")
                .into_bytes();
        request.extend_from_slice(body);
        let outcome = self.exchange(method, &request);
        let (answer, closes) = outcome.map_err(|error| format!("{method} {path}: {error}"))?;
        if closes {
            *self = Self::open(&self.host)?;
        }
        Ok(answer)
    }

    fn exchange(&mut self, method: &str, request: &[u8]) -> std::io::Result<(Answer, bool)> {
        self.stream.get_mut().write_all(request)?;
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let (mut length, mut chunked, mut closes) = (None, false, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            match line.split_once(':') {
                Some(("content-length", value)) => length = value.trim().parse::<u64>().ok(),
                Some(("transfer-encoding", value)) => chunked = value.contains("chunked"),
                Some(("connection", value)) => closes = value.contains("close"),
                _ => {}
            }
        }
        let mut body = Vec::new();
        if method == "HEAD" || matches!(status, 204 | 304) {
        } else if chunked {
            loop {
                let size = u64::from_str_radix(&self.line()?, 16).map_err(std::io::Error::other)?;
                self.stream.by_ref().take(size).read_to_end(&mut body)?;
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = length {
            self.stream.by_ref().take(length).read_to_end(&mut body)?;
        } else {
            closes = true;
            self.stream.read_to_end(&mut body)?;
        }
        Ok((Answer { status, body }, closes))
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::Error::other("the engine closed the connection"));
        }
        Ok(line.trim_end().to_owned())
    }
}
