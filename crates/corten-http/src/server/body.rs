//! Request bodies, read as the handler asks for them.

use std::io::{self, Read};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};

use super::chunk::{ChunkError, Decoder};
use super::head::{Framing, RequestHead};
use super::stream::Stream;

/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// A body that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection failed.
    #[error("cannot read the request body")]
    Io(#[from] io::Error),
    /// The client went away before the end.
    #[error("the request body ended early")]
    Truncated,
    /// Not in chunks though it was said so.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// More bytes than the handler takes.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
}

/// The reading side of a connection while one request lasts: lent to the body, given back when that is dropped.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) stream: Arc<Stream>,
    /// Received and not yet used.
    pub(crate) buffer: Vec<u8>,
    left: Left,
    /// Set while the client waits to be told to go on.
    waiting: Option<Arc<Mutex<Waiting>>>,
}

/// What is still to come of a body.
#[derive(Debug)]
enum Left {
    Bytes(u64),
    Chunks(Decoder),
}

/// Whether `100 Continue` may still be sent: not after the answer has begun.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    ForContinue,
    Settled,
}

impl Source {
    pub(crate) fn new(stream: Arc<Stream>, buffer: Vec<u8>, head: &RequestHead) -> Self {
        let left = match head.framing {
            Framing::Length(length) => Left::Bytes(length),
            Framing::Chunked => Left::Chunks(Decoder::default()),
        };
        let waiting =
            (head.expects_continue && head.has_body()).then(|| Arc::new(Mutex::new(Waiting::ForContinue)));
        Self { stream, buffer, left, waiting }
    }

    pub(crate) fn waiting(&self) -> Option<Arc<Mutex<Waiting>>> {
        self.waiting.clone()
    }

    /// Whether the whole body was taken.
    pub(crate) fn is_done(&self) -> bool {
        match &self.left {
            Left::Bytes(left) => *left == 0,
            Left::Chunks(decoder) => decoder.is_done(),
        }
    }

    /// Bytes that are still to come, where that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match &self.left {
            Left::Bytes(left) => Some(*left),
            Left::Chunks(_) => None,
        }
    }

    /// Reads more into the buffer; `false` at the end.
    pub(crate) async fn fill(&mut self) -> io::Result<bool> {
        let mut piece = vec![0; PIECE];
        let length = self.stream.read(&mut piece).await?;
        if self.buffer.is_empty() {
            piece.truncate(length);
            self.buffer = piece;
        } else {
            self.buffer.extend_from_slice(&piece[..length]);
        }
        Ok(length > 0)
    }

    /// Tells a waiting client to send.
    async fn go_on(&mut self) -> io::Result<()> {
        if let Some(waiting) = self.waiting.take() {
            let mut waiting = waiting.lock().await;
            if *waiting == Waiting::ForContinue {
                *waiting = Waiting::Settled;
                self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
        }
        Ok(())
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, BodyError> {
        loop {
            if self.is_done() {
                return Ok(None);
            }
            if self.buffer.is_empty() {
                self.go_on().await?;
                if !self.fill().await? {
                    return Err(BodyError::Truncated);
                }
            }
            let piece = match &mut self.left {
                Left::Bytes(left) => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buffer.len());
                    *left -= length as u64;
                    let rest = self.buffer.split_off(length);
                    std::mem::replace(&mut self.buffer, rest)
                }
                Left::Chunks(decoder) => {
                    let mut data = Vec::with_capacity(self.buffer.len());
                    let taken = decoder.decode(&self.buffer, &mut data)?;
                    self.buffer.drain(..taken);
                    data
                }
            };
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }
}

/// The body of a request. Dropping it passes over what was not read.
#[derive(Debug)]
pub struct RequestBody {
    /// Always there until the drop.
    source: Option<Source>,
    back: Option<oneshot::Sender<Source>>,
    /// Read already, to be given once more.
    ahead: Option<Vec<u8>>,
}

impl RequestBody {
    pub(crate) fn new(source: Source) -> (Self, oneshot::Receiver<Source>) {
        let (back, given_back) = oneshot::channel();
        (Self { source: Some(source), back: Some(back), ahead: None }, given_back)
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, BodyError> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(Some(ahead));
        }
        match &mut self.source {
            Some(source) => source.next().await,
            None => Ok(None),
        }
    }

    /// The whole body, which must not have more than `most` bytes, and which can be read all the same afterwards.
    pub async fn look_ahead(&mut self, most: usize) -> Result<&[u8], BodyError> {
        let mut whole = self.ahead.take().unwrap_or_default();
        while let Some(piece) = self.next().await? {
            if whole.len() + piece.len() > most {
                return Err(BodyError::TooLarge(most));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(if whole.is_empty() { &[] } else { self.ahead.insert(whole) })
    }

    /// Tells a client that waits with its body to send it. Reading does this by itself; it is needed before an answer
    /// begins while the body is still to be read.
    pub async fn accept(&mut self) -> Result<(), BodyError> {
        match &mut self.source {
            Some(source) => Ok(source.go_on().await?),
            None => Ok(()),
        }
    }

    /// The whole body, which must not have more than `most` bytes.
    pub async fn collect(mut self, most: usize) -> Result<Vec<u8>, BodyError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await? {
            if whole.len() + piece.len() > most {
                return Err(BodyError::TooLarge(most));
            }
            if whole.is_empty() {
                whole = piece;
            } else {
                whole.extend_from_slice(&piece);
            }
        }
        Ok(whole)
    }

    /// As a reader for a thread that may block. Must be made inside the runtime, and read outside of its tasks.
    pub fn into_blocking_reader(self) -> BlockingReader {
        BlockingReader { body: self, runtime: Handle::current(), piece: Vec::new(), at: 0 }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let (Some(source), Some(back)) = (self.source.take(), self.back.take()) {
            let _ = back.send(source);
        }
    }
}

/// A request body as [`Read`], for a thread that may block.
#[derive(Debug)]
pub struct BlockingReader {
    body: RequestBody,
    runtime: Handle,
    piece: Vec<u8>,
    at: usize,
}

impl Read for BlockingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            match self.runtime.block_on(self.body.next()) {
                Ok(Some(piece)) => (self.piece, self.at) = (piece, 0),
                Ok(None) => return Ok(0),
                Err(BodyError::Io(error)) => return Err(error),
                Err(error) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)),
            }
        }
        let length = buffer.len().min(self.piece.len() - self.at);
        buffer[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}
