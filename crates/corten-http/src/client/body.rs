//! Reading an answer.

use super::{Connection, HttpError, Stream};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

/// Headers read at most per answer.
const MOST_HEADERS: usize = 96;

/// Status line and headers of an answer.
#[derive(Debug, Clone)]
pub struct Head {
    /// As in 200.
    pub status: u16,
    /// The words after the status; empty where there are none.
    pub reason: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of that name, in whatever case it came.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// A head and its length in bytes, or nothing where it is not complete yet.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HttpError> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => Ok(Some((
                Self {
                    status: parsed.code.unwrap_or(0),
                    reason: parsed.reason.unwrap_or_default().to_owned(),
                    headers: parsed
                        .headers
                        .iter()
                        .map(|header| {
                            (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned())
                        })
                        .collect(),
                },
                length,
            ))),
            Ok(httparse::Status::Partial) => Ok(None),
            Err(error) => Err(HttpError::Malformed(error.to_string())),
        }
    }
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// Chunks; so many bytes of the present one are left. Before the first chunk there is no line end to skip.
    Chunked { left: u64, first: bool },
    /// The end of the connection is the end of the body.
    UntilClosed,
    /// All was read.
    Done,
}

impl Framing {
    pub(super) fn of(head: &Head, is_head: bool) -> Result<Self, HttpError> {
        if is_head || matches!(head.status, 204 | 304) {
            return Ok(Self::Done);
        }
        if head.status == 101 {
            return Ok(Self::UntilClosed);
        }
        if head
            .header("transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"))
        {
            return Ok(Self::Chunked { left: 0, first: true });
        }
        match head.header("content-length") {
            Some(text) => match text.trim().parse() {
                Ok(0) => Ok(Self::Done),
                Ok(length) => Ok(Self::Length(length)),
                Err(_) => Err(HttpError::Malformed(format!("content length `{text}`"))),
            },
            None => Ok(Self::UntilClosed),
        }
    }
}

/// An answer: its head, and its body to be read. Reading past an end that came too early is an
/// `UnexpectedEof`.
#[derive(Debug)]
pub struct Answer {
    /// Status and headers.
    pub head: Head,
    connection: Connection,
    framing: Framing,
}

impl Answer {
    pub(super) fn new(connection: Connection, head: Head, framing: Framing) -> Self {
        Self { head, connection, framing }
    }

    /// The connection for the next request, where the body was read to its end and the server keeps it open.
    pub fn into_connection(self) -> Option<Connection> {
        let closes =
            self.head.header("connection").is_some_and(|value| value.to_ascii_lowercase().contains("close"));
        (self.framing == Framing::Done && !closes && self.connection.start == self.connection.buffer.len())
            .then_some(self.connection)
    }

    /// The raw socket after an upgrade or a hijack, and what was already read from it.
    pub fn into_raw(self) -> (Stream, Vec<u8>) {
        let Connection { stream, mut buffer, start, .. } = self.connection;
        buffer.drain(..start);
        (stream, buffer)
    }

    /// Whether bytes of the body (or its end) can be had without waiting for the socket.
    pub fn has_buffered(&self) -> bool {
        let buffered = &self.connection.buffer[self.connection.start..];
        let after_line = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
        match self.framing {
            Framing::Done => true,
            // The line end of the last chunk often comes with it, and says nothing of the next one: that has to be
            // there with its size and its first byte.
            Framing::Chunked { left: 0, first } => {
                let size = if first { Some(0) } else { after_line(buffered) };
                let content = size.and_then(|size| Some(size + after_line(&buffered[size..])?));
                content.is_some_and(|content| content < buffered.len())
            }
            _ => !buffered.is_empty(),
        }
    }

    /// The whole body.
    pub fn read_all(&mut self) -> Result<Vec<u8>, HttpError> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(HttpError::Receive)?;
        Ok(bytes)
    }

    /// The whole body, where it is not longer than that many bytes.
    pub fn read_at_most(&mut self, most: u64) -> Result<Vec<u8>, HttpError> {
        let mut bytes = Vec::new();
        self.take(most + 1).read_to_end(&mut bytes).map_err(HttpError::Receive)?;
        if bytes.len() as u64 > most {
            return Err(HttpError::Malformed(format!("the answer is longer than {most} bytes")));
        }
        Ok(bytes)
    }

    fn byte(&mut self) -> io::Result<u8> {
        if self.connection.start == self.connection.buffer.len() && self.connection.fill()? == 0 {
            return Err(early_end());
        }
        self.connection.start += 1;
        Ok(self.connection.buffer[self.connection.start - 1])
    }

    /// A line without its end; at most 4 KiB.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                byte if line.len() < 4096 => line.push(byte),
                _ => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the line of a chunk is too long",
                    ));
                }
            }
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Goes to the next chunk; sets the framing to done after the last.
    fn next_chunk(&mut self, first: bool) -> io::Result<u64> {
        if !first && !self.line()?.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a chunk is longer than it said"));
        }
        let line = self.line()?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("bad chunk size `{size}`")))?;
        if size == 0 {
            while !self.line()?.is_empty() {}
            self.framing = Framing::Done;
        } else {
            self.framing = Framing::Chunked { left: size, first: false };
        }
        Ok(size)
    }

    /// Bytes from the buffer or the socket, at most `limit`.
    fn some(&mut self, buffer: &mut [u8], limit: u64) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
        let connection = &mut self.connection;
        if connection.start == connection.buffer.len() {
            // Large reads go past our buffer.
            if wanted >= 16 << 10 {
                return connection.receive(&mut buffer[..wanted]);
            }
            if connection.fill()? == 0 {
                return Ok(0);
            }
        }
        let count = wanted.min(connection.buffer.len() - connection.start);
        buffer[..count].copy_from_slice(&connection.buffer[connection.start..connection.start + count]);
        connection.start += count;
        Ok(count)
    }
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.framing {
            Framing::Done => Ok(0),
            Framing::UntilClosed => {
                let count = self.some(buffer, u64::MAX)?;
                if count == 0 {
                    self.framing = Framing::Done;
                    // Closed for good: it must not be taken for one that can be used again.
                    self.connection.buffer.push(0);
                    self.connection.start = 0;
                }
                Ok(count)
            }
            Framing::Length(left) => {
                let count = self.some(buffer, left)?;
                if count == 0 {
                    return Err(early_end());
                }
                let left = left - count as u64;
                self.framing = if left == 0 { Framing::Done } else { Framing::Length(left) };
                Ok(count)
            }
            Framing::Chunked { left, first } => {
                let left = if left == 0 { self.next_chunk(first)? } else { left };
                if left == 0 {
                    return Ok(0);
                }
                let count = self.some(buffer, left)?;
                if count == 0 {
                    return Err(early_end());
                }
                self.framing = Framing::Chunked { left: left - count as u64, first: false };
                if left == count as u64 && self.connection.buffer.len() - self.connection.start >= 7 {
                    // The end often lies in the same packet; taking it now frees the connection.
                    if self.connection.buffer[self.connection.start..].starts_with(b"\r\n0\r\n\r\n") {
                        self.connection.start += 7;
                        self.framing = Framing::Done;
                    }
                }
                Ok(count)
            }
        }
    }
}

impl AsFd for Answer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

fn early_end() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed in the middle of an answer")
}

#[cfg(test)]
mod tests {
    use super::super::{Body, Request};
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    /// Sends one GET to a server that answers with these pieces, each in its own write.
    fn answer(pieces: &'static [&'static str]) -> Result<(u16, Vec<u8>, bool), HttpError> {
        static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("corten-http-client-{}-{number}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            for piece in pieces {
                if stream.write_all(piece.as_bytes()).is_err() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        });
        let connection = Connection::open(&super::super::Endpoint::Unix(path.clone())).unwrap();
        std::fs::remove_file(path).unwrap();
        let result = connection
            .send(Request { method: "GET", target: "/", headers: &[], body: Body::Empty })
            .and_then(|mut answer| {
                let bytes = answer.read_all()?;
                Ok((answer.head.status, bytes, answer.into_connection().is_some()))
            });
        server.join().unwrap();
        result
    }

    #[test]
    fn the_end_of_a_chunk_is_no_content() {
        let path = std::env::temp_dir().join(format!("corten-http-buffered-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let (next, told) = std::sync::mpsc::channel::<()>();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(format!("{head}2\r\nhe\r\n").as_bytes()).unwrap();
            told.recv().unwrap();
            stream.write_all(b"1\r\nl\r\n2\r\nlo\r\n0\r\n\r\n").unwrap();
        });
        let connection = Connection::open(&super::super::Endpoint::Unix(path.clone())).unwrap();
        std::fs::remove_file(path).unwrap();
        let mut answer =
            connection.send(Request { method: "GET", target: "/", headers: &[], body: Body::Empty }).unwrap();
        let mut buffer = [0; 64];
        assert_eq!(answer.read(&mut buffer).unwrap(), 2);
        assert!(!answer.has_buffered(), "the next read waits for the server");
        next.send(()).unwrap();
        assert_eq!(answer.read(&mut buffer).unwrap(), 1);
        assert!(answer.has_buffered(), "two more letters are there");
        assert_eq!(answer.read(&mut buffer).unwrap(), 2);
        assert!(answer.has_buffered(), "the end is there");
        server.join().unwrap();
    }

    #[test]
    fn bodies_end_where_they_should() {
        for (pieces, status, body, reusable) in [
            (&["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"][..], 200, "hello", true),
            (&["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", "llo"], 200, "hello", true),
            (
                &[
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                    "4;x=y\r\n th",
                    "e\r\n0\r\n\r\n",
                ],
                200,
                "hello the",
                true,
            ),
            (
                &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n\r\n"],
                200,
                "",
                true,
            ),
            (&["HTTP/1.1 204 No Content\r\n\r\n"], 204, "", true),
            (&["HTTP/1.1 200 OK\r\n\r\nuntil ", "the end"], 200, "until the end", false),
            (&["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"], 200, "x", false),
            (
                &["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 ", "404 Not Found\r\nContent-Length: 0\r\n\r\n"],
                404,
                "",
                true,
            ),
        ] {
            let (got_status, got_body, got_reusable) = answer(pieces).unwrap();
            assert_eq!(
                (got_status, String::from_utf8(got_body).unwrap().as_str()),
                (status, body),
                "{pieces:?}"
            );
            assert_eq!(got_reusable, reusable, "{pieces:?}");
        }
    }

    #[test]
    fn what_ends_early_is_an_error() {
        for pieces in [
            &[][..],
            &["HTTP/1.1 200"],
            &["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"],
            &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe"],
            &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"],
            &["SSH-2.0-OpenSSH\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"],
        ] {
            assert!(answer(pieces).is_err(), "{pieces:?}");
        }
    }
}
