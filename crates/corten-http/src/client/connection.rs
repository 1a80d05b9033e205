//! Sending a request.

use super::body::{Answer, Framing, Head};
use super::{Endpoint, HttpError, Stream};
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// An answer's head may be this long at most, in bytes.
const LONGEST_HEAD: usize = 256 << 10;

/// What is sent.
#[derive(Debug)]
pub struct Request<'a, 'b> {
    /// As in `GET`.
    pub method: &'a str,
    /// Path and query, escaped.
    pub target: &'a str,
    /// Further headers; `Host`, lengths and encodings are set here and not by the caller.
    pub headers: &'a [(&'a str, &'a str)],
    /// What follows the head.
    pub body: Body<'b>,
}

/// A request's body.
pub enum Body<'a> {
    /// None; a POST then says `Content-Length: 0`.
    Empty,
    /// Known bytes.
    Bytes(&'a [u8]),
    /// A stream of unknown length, sent in chunks.
    Stream(&'a mut dyn Read),
}

impl std::fmt::Debug for Body<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "Empty",
            Self::Bytes(_) => "Bytes",
            Self::Stream(_) => "Stream",
        })
    }
}

/// One open connection, between two requests.
#[derive(Debug)]
pub struct Connection {
    pub(super) stream: Stream,
    host: String,
    /// What was read from the socket and not yet used lies in `buffer[start..]`.
    pub(super) buffer: Vec<u8>,
    pub(super) start: usize,
}

impl Connection {
    /// Connects.
    pub fn open(endpoint: &Endpoint) -> Result<Self, HttpError> {
        let stream = endpoint.connect()?;
        Ok(Self { stream, host: endpoint.host(), buffer: Vec::new(), start: 0 })
    }

    /// Whether another request may be sent: nothing is waiting to be read, and the server has not closed.
    pub fn is_usable(&self) -> bool {
        self.start == self.buffer.len() && !self.stream.is_stale()
    }

    /// Sends a request and waits for the answer's head. On an error the connection is gone.
    pub fn send(mut self, request: Request<'_, '_>) -> Result<Answer, HttpError> {
        let is_head = request.method == "HEAD";
        let sent = self.write(request);
        if let Err(error @ HttpError::Source(_)) = sent {
            return Err(error);
        }
        // A server that refuses a long body answers and closes while we still write: the answer counts more.
        let head = match (self.read_head(), sent) {
            (Ok(head), Ok(()) | Err(HttpError::Send(_))) => head,
            (_, Err(error)) | (Err(error), Ok(())) => return Err(error),
        };
        let framing = Framing::of(&head, is_head)?;
        Ok(Answer::new(self, head, framing))
    }

    fn write(&mut self, request: Request<'_, '_>) -> Result<(), HttpError> {
        let mut head = String::with_capacity(256);
        let _ = write!(head, "{} {} HTTP/1.1\r\nHost: {}\r\n", request.method, request.target, self.host);
        for (name, value) in request.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        match request.body {
            Body::Empty => {
                head.push_str(if matches!(request.method, "POST" | "PUT") {
                    "Content-Length: 0\r\n\r\n"
                } else {
                    "\r\n"
                });
                self.stream.write_all(head.as_bytes()).map_err(HttpError::Send)
            }
            Body::Bytes(bytes) => {
                let _ = write!(head, "Content-Length: {}\r\n\r\n", bytes.len());
                let mut message = head.into_bytes();
                message.extend_from_slice(bytes);
                self.stream.write_all(&message).map_err(HttpError::Send)
            }
            Body::Stream(source) => {
                head.push_str("Transfer-Encoding: chunked\r\n\r\n");
                self.stream.write_all(head.as_bytes()).map_err(HttpError::Send)?;
                self.write_chunks(source)
            }
        }
    }

    fn write_chunks(&mut self, source: &mut dyn Read) -> Result<(), HttpError> {
        // Room for the size line before and the line end after the data, so that a chunk is one write.
        const BEFORE: usize = 10;
        const SIZE: usize = 64 << 10;
        let mut buffer = vec![0_u8; BEFORE + SIZE + 2];
        loop {
            let count = match source.read(&mut buffer[BEFORE..BEFORE + SIZE]) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(HttpError::Source(error)),
            };
            let line = format!("{count:x}\r\n");
            let from = BEFORE - line.len();
            buffer[from..BEFORE].copy_from_slice(line.as_bytes());
            buffer[BEFORE + count..BEFORE + count + 2].copy_from_slice(b"\r\n");
            self.stream.write_all(&buffer[from..BEFORE + count + 2]).map_err(HttpError::Send)?;
        }
        self.stream.write_all(b"0\r\n\r\n").map_err(HttpError::Send)
    }

    /// Reads the next final answer's head; interim ones (100) are passed over.
    fn read_head(&mut self) -> Result<Head, HttpError> {
        loop {
            if self.start < self.buffer.len()
                && let Some((head, length)) = Head::parse(&self.buffer[self.start..])?
            {
                self.start += length;
                if head.status == 101 || head.status >= 200 {
                    return Ok(head);
                }
                continue;
            }
            if self.buffer.len() - self.start > LONGEST_HEAD {
                return Err(HttpError::Malformed("the head is too long".to_owned()));
            }
            if self.fill().map_err(HttpError::Receive)? == 0 {
                return Err(HttpError::Closed);
            }
        }
    }

    /// Reads more into the buffer; 0 at the end.
    pub(super) fn fill(&mut self) -> io::Result<usize> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let used = self.buffer.len();
        self.buffer.resize(used + (16 << 10), 0);
        let result = loop {
            match self.stream.read(&mut self.buffer[used..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(used + result.as_ref().map_or(0, |count| *count));
        result
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
