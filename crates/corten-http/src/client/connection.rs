//! Sending a request.

use super::body::{Answer, Framing, Head};
use super::{Endpoint, HttpError, Stream};
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};

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
    /// Written by a function, sent in chunks. Its own failures end the request.
    Produced(&'a mut dyn FnMut(&mut dyn Write) -> io::Result<()>),
}

impl std::fmt::Debug for Body<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "Empty",
            Self::Bytes(_) => "Bytes",
            Self::Stream(_) => "Stream",
            Self::Produced(_) => "Produced",
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
    deadline: Option<Instant>,
}

impl Connection {
    /// Connects.
    pub fn open(endpoint: &Endpoint) -> Result<Self, HttpError> {
        let stream = endpoint.connect()?;
        Ok(Self { stream, host: endpoint.host(), buffer: Vec::new(), start: 0, deadline: None })
    }

    /// Whether another request may be sent: nothing is waiting to be read, and the server has not closed.
    pub fn is_usable(&self) -> bool {
        self.start == self.buffer.len() && !self.stream.is_stale()
    }

    /// What is sent and received from here on fails at this time, however much still comes. A [`Body`] that is not of known
    /// bytes may take longer to send.
    pub fn end_at(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// The socket alone.
    pub fn into_stream(self) -> Stream {
        self.stream
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
                self.transmit(&message).map_err(HttpError::Send)
            }
            Body::Stream(source) => {
                head.push_str("Transfer-Encoding: chunked\r\n\r\n");
                self.stream.write_all(head.as_bytes()).map_err(HttpError::Send)?;
                let mut chunks = Chunks::new(&mut self.stream);
                loop {
                    match source.read(chunks.room()) {
                        Ok(0) => return chunks.finish().map_err(HttpError::Send),
                        Ok(count) => chunks.filled(count).map_err(HttpError::Send)?,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(HttpError::Source(error)),
                    }
                }
            }
            Body::Produced(produce) => {
                head.push_str("Transfer-Encoding: chunked\r\n\r\n");
                self.stream.write_all(head.as_bytes()).map_err(HttpError::Send)?;
                let mut chunks = Chunks::new(&mut self.stream);
                match produce(&mut chunks) {
                    Ok(()) => chunks.finish().map_err(HttpError::Send),
                    // A server that has closed tells why in its answer.
                    Err(error) if chunks.broken => Err(HttpError::Send(error)),
                    Err(error) => Err(HttpError::Source(error)),
                }
            }
        }
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

    fn transmit(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.deadline.is_none() {
            return self.stream.write_all(bytes);
        }
        while !bytes.is_empty() {
            match self.in_time(Timeout::Send, |stream| stream.write(bytes)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads from the socket, past the buffer.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.in_time(Timeout::Recv, |stream| stream.read(buffer))
    }

    fn in_time(
        &mut self,
        side: Timeout,
        mut action: impl FnMut(&mut Stream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            if let Some(deadline) = self.deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "it was not over in time"));
                }
                // The kernel takes less than that for "for ever".
                set_socket_timeout(&self.stream, side, Some(left.max(Duration::from_micros(1))))?;
            }
            match action(&mut self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.deadline.is_some() => {}
                outcome => return outcome,
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
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = loop {
            match self.receive(&mut buffer[used..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer = buffer;
        self.buffer.truncate(used + result.as_ref().map_or(0, |count| *count));
        result
    }
}

/// Gathers bytes and sends them in large chunks, each one write.
struct Chunks<'a> {
    stream: &'a mut Stream,
    /// Room for the size line, the data, room for the line end.
    buffer: Vec<u8>,
    filled: usize,
    /// Whether sending has failed.
    broken: bool,
}

impl<'a> Chunks<'a> {
    const BEFORE: usize = 10;
    const SIZE: usize = 64 << 10;

    fn new(stream: &'a mut Stream) -> Self {
        Self { stream, buffer: vec![0; Self::BEFORE + Self::SIZE + 2], filled: 0, broken: false }
    }

    /// Where the next bytes go; never empty.
    fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[Self::BEFORE + self.filled..Self::BEFORE + Self::SIZE]
    }

    /// So many bytes were put into the room.
    fn filled(&mut self, count: usize) -> io::Result<()> {
        self.filled += count;
        if self.filled == Self::SIZE { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> io::Result<()> {
        let line = format!("{:x}\r\n", self.filled);
        let (from, to) = (Self::BEFORE - line.len(), Self::BEFORE + self.filled);
        self.buffer[from..Self::BEFORE].copy_from_slice(line.as_bytes());
        self.buffer[to..to + 2].copy_from_slice(b"\r\n");
        self.filled = 0;
        self.stream.write_all(&self.buffer[from..to + 2]).inspect_err(|_| self.broken = true)
    }

    fn finish(mut self) -> io::Result<()> {
        if self.filled > 0 {
            self.send()?;
        }
        self.stream.write_all(b"0\r\n\r\n")
    }
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room();
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.filled(count)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
