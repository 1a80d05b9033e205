//! What a handler answers.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::pin::Pin;

use tokio::sync::mpsc;

use super::date;
use super::stream::Stream;

/// A status, headers and a body.
#[derive(Debug)]
pub struct Response {
    /// Status code; of a [`Body::Hijack`] with a protocol it is 101.
    pub status: u16,
    /// Headers in order. Length, encoding, connection and date are added.
    pub headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// The body.
    pub body: Body,
    /// Whether the connection ends after it.
    pub close: bool,
}

/// A piece of a streamed body, later; `None` at the end.
pub type NextPiece<'a> = Pin<Box<dyn Future<Output = Option<io::Result<Vec<u8>>>> + Send + 'a>>;

/// Pieces of a body as they come.
pub trait BodyStream: Send {
    /// The next piece; `None` at the end. An error ends the connection, so that the client sees that it is not the end.
    /// Must be safe to drop while it waits: it is asked again.
    fn next(&mut self) -> NextPiece<'_>;
}

impl BodyStream for mpsc::Receiver<io::Result<Vec<u8>>> {
    fn next(&mut self) -> NextPiece<'_> {
        Box::pin(self.recv())
    }
}

/// What takes a connection over.
type Taker = Box<dyn FnOnce(Hijacked) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// The body of a [`Response`].
pub enum Body {
    /// All of it.
    Full(Vec<u8>),
    /// As it comes. The head is sent at once. The stream is dropped when the client goes away.
    Stream(Box<dyn BodyStream>),
    /// The connection is handed over.
    Hijack {
        /// The protocol of a `101` answer; none: the head says what `status` says, and the raw stream follows.
        protocol: Option<String>,
        /// Called with the connection.
        taker: Taker,
    },
}

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(bytes) => write!(formatter, "Full({} bytes)", bytes.len()),
            Self::Stream(_) => formatter.write_str("Stream"),
            Self::Hijack { protocol, .. } => write!(formatter, "Hijack({protocol:?})"),
        }
    }
}

impl Response {
    /// A status and no body.
    pub fn empty(status: u16) -> Self {
        Self::full(status, Vec::new())
    }

    /// A status and a body.
    pub fn full(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: Body::Full(body.into()), close: false }
    }

    /// A status and a body that comes in pieces.
    pub fn stream(status: u16, stream: impl BodyStream + 'static) -> Self {
        Self { status, headers: Vec::new(), body: Body::Stream(Box::new(stream)), close: false }
    }

    /// Hands the connection over: after `101` when a protocol is named, else after `200`. What is left of the request
    /// body is passed over first.
    pub fn hijack<F>(protocol: Option<String>, taker: impl FnOnce(Hijacked) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let status = if protocol.is_some() { 101 } else { 200 };
        let taker: Taker = Box::new(move |hijacked| Box::pin(taker(hijacked)));
        Self { status, headers: Vec::new(), body: Body::Hijack { protocol, taker }, close: true }
    }

    /// With a further header. The value must have no line ends; they are cut out.
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        let value = value.into();
        let value =
            if value.contains(['\r', '\n']) { value.replace(['\r', '\n'], " ").into() } else { value };
        self.headers.push((name.into(), value));
        self
    }

    /// The bytes of the head. `last`: the connection ends after this answer; `chunked`: a streamed body is in chunks.
    pub(crate) fn head_bytes(&self, chunked: bool, last: bool) -> Vec<u8> {
        let mut head = Vec::with_capacity(512);
        let reason = if self.status == 101 { "UPGRADED" } else { reason(self.status) };
        put(&mut head, format_args!("HTTP/1.1 {} {reason}\r\n", self.status));
        for (name, value) in &self.headers {
            put(&mut head, format_args!("{name}: {value}\r\n"));
        }
        put(&mut head, format_args!("Date: {}\r\n", date::now()));
        match &self.body {
            Body::Full(_) if matches!(self.status, 100..200 | 204 | 304) => {}
            Body::Full(body) => put(&mut head, format_args!("Content-Length: {}\r\n", body.len())),
            Body::Stream(_) if chunked => head.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Body::Stream(_) | Body::Hijack { protocol: None, .. } => {}
            Body::Hijack { protocol: Some(protocol), .. } => {
                put(&mut head, format_args!("Connection: Upgrade\r\nUpgrade: {protocol}\r\n"));
            }
        }
        if last && !matches!(self.body, Body::Hijack { .. }) {
            head.extend_from_slice(b"Connection: close\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

fn put(head: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = head.write_fmt(text);
}

/// A connection that is no longer HTTP's. The answer's head is not sent yet, so that the taker can get ready first.
#[derive(Debug)]
pub struct Hijacked {
    pub(crate) stream: Stream,
    pub(crate) leftover: Vec<u8>,
    pub(crate) head: Vec<u8>,
}

impl Hijacked {
    /// Sends the head, and gives the raw connection (non-blocking) and what the client has sent already.
    pub async fn accept(self) -> io::Result<(OwnedFd, Vec<u8>)> {
        self.stream.write_all(&self.head).await?;
        Ok((self.stream.into_descriptor()?, self.leftover))
    }

    /// The raw connection (non-blocking), what the client has sent already, and the head, which must be written first.
    pub fn into_parts(self) -> io::Result<(OwnedFd, Vec<u8>, Vec<u8>)> {
        Ok((self.stream.into_descriptor()?, self.leftover, self.head))
    }
}

/// Bytes that a [`BlockingWriter`] gathers into one piece.
const PIECE: usize = 64 << 10;

/// Writes a streamed body from a thread that may block. Dropped without [`BlockingWriter::finish`], the body ends in an
/// error.
#[derive(Debug)]
pub struct BlockingWriter {
    pieces: mpsc::Sender<io::Result<Vec<u8>>>,
    /// Room for the error, kept free from the start: with a slow reader all other room is taken when it comes.
    last: Option<mpsc::OwnedPermit<io::Result<Vec<u8>>>>,
    piece: Vec<u8>,
}

impl BlockingWriter {
    /// The writer, and the stream to answer with.
    pub fn channel() -> (Self, mpsc::Receiver<io::Result<Vec<u8>>>) {
        let (pieces, receiver) = mpsc::channel(4 + 1);
        let last = pieces.clone().try_reserve_owned().ok();
        (Self { pieces, last, piece: Vec::with_capacity(PIECE) }, receiver)
    }

    /// Whether nobody reads any more: the client has gone away.
    pub fn is_abandoned(&self) -> bool {
        self.pieces.is_closed()
    }

    /// Ends the body rightly.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.last = None;
        Ok(())
    }
}

impl Write for BlockingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() + bytes.len() > PIECE {
            self.flush()?;
        }
        // What a slow reader holds up stays small, however much is written at once.
        let bytes = &bytes[..bytes.len().min(PIECE)];
        if bytes.len() == PIECE {
            self.piece = bytes.to_vec();
            self.flush()?;
        } else {
            self.piece.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for BlockingWriter {
    fn drop(&mut self) {
        if let Some(last) = self.last.take() {
            last.send(Err(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// The usual words for a status code.
fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        409 => "Conflict",
        413 => "Request Entity Too Large",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_broken_off_ends_in_an_error_also_where_its_reader_is_slow() {
        let (mut writer, mut body) = BlockingWriter::channel();
        // As many pieces as there is room for, and nobody reads.
        writer.write_all(&vec![1; 4 * PIECE]).unwrap();
        drop(writer);
        let mut came = Vec::new();
        while let Some(piece) = body.blocking_recv() {
            came.push(piece.map(|bytes| bytes.len()).map_err(|error| error.kind()));
        }
        assert_eq!(came.pop(), Some(Err(io::ErrorKind::UnexpectedEof)));
        assert_eq!(came, [Ok(PIECE); 4]);

        let (mut writer, mut body) = BlockingWriter::channel();
        writer.write_all(b"all").unwrap();
        writer.finish().unwrap();
        assert_eq!(body.blocking_recv().unwrap().unwrap(), b"all");
        assert!(body.blocking_recv().is_none(), "it ends rightly");
    }
}
