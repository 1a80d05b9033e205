//! The life of one connection: heads in, answers out, until it ends or is taken over.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::body::{RequestBody, Source, Waiting};
use super::head::{self, HeadError, RequestHead};
use super::response::{Body, BodyStream, Hijacked, Response};
use super::stream::Stream;
use super::{Handler, Request, Settings};

/// Bytes of an unread request body that are passed over to keep a connection; beyond, it is closed.
const MAX_DRAIN: usize = 256 << 10;
/// Bytes that are kept of what a client sends ahead while its answer streams.
const MAX_AHEAD: usize = 64 << 10;
/// How long a closing connection takes in what the client still sends, so that the answer is not lost with it.
const LINGER: Duration = Duration::from_millis(500);

/// What comes after an answer.
enum Then {
    /// The next request, of which these bytes are there.
    Next(Vec<u8>, Arc<Stream>),
    /// The end.
    Close(Arc<Stream>),
    /// The connection is not ours any more, or is broken.
    Gone,
}

/// Serves a connection to its end.
pub(crate) async fn run(
    stream: Stream,
    handler: Arc<dyn Handler>,
    settings: Settings,
    mut stop: watch::Receiver<bool>,
) {
    let mut stream = Arc::new(stream);
    let mut buffer = Vec::new();
    loop {
        let head = match read_head(&stream, &mut buffer, &settings, &mut stop).await {
            Ok(Some(head)) => head,
            Ok(None) => return,
            Err(error) => {
                let text = format!("{} {error}", error.status());
                let response =
                    Response::full(error.status(), text).header("Content-Type", "text/plain; charset=utf-8");
                let _ = write_full(&stream, response, true, true).await;
                return linger(&stream).await;
            }
        };
        let last = !head.keep_alive || *stop.borrow();
        let with_body = head.method != "HEAD";
        let chunked = head.minor == 1;
        let source = Source::new(Arc::clone(&stream), buffer, &head);
        let waiting = source.waiting();
        let (body, given_back) = RequestBody::new(source);
        let response = handler.handle(Request { head, body }).await;
        if let Some(waiting) = waiting {
            *waiting.lock().await = Waiting::Settled;
        }
        match answer(stream, response, given_back, Shape { last, with_body, chunked }).await {
            Then::Next(rest, kept) => (buffer, stream) = (rest, kept),
            Then::Close(kept) => return linger(&kept).await,
            Then::Gone => return,
        }
    }
}

/// What the request and the connection say about the form of the answer.
#[derive(Clone, Copy)]
struct Shape {
    last: bool,
    with_body: bool,
    chunked: bool,
}

/// Reads until a head is whole; `None` when the client ends the connection or we are stopping.
async fn read_head(
    stream: &Stream,
    buffer: &mut Vec<u8>,
    settings: &Settings,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<RequestHead>, HeadError> {
    let mut fresh = 0;
    loop {
        // Only a line's end can end a head or show a fault in it.
        if (memchr::memchr(b'\n', &buffer[fresh..]).is_some() || buffer.len() >= head::MAX_HEAD)
            && let Some((head, length)) = head::parse(buffer)?
        {
            buffer.drain(..length);
            return Ok(Some(head));
        }
        fresh = buffer.len();
        let mut piece = [0; 8 << 10];
        let read = if buffer.is_empty() {
            tokio::select! {
                read = stream.read(&mut piece) => read,
                _ = stop.wait_for(|stop| *stop) => return Ok(None),
            }
        } else {
            timeout(settings.head_timeout, stream.read(&mut piece)).await.unwrap_or(Ok(0))
        };
        match read {
            Ok(0) | Err(_) => return Ok(None),
            Ok(length) => buffer.extend_from_slice(&piece[..length]),
        }
    }
}

/// Writes an answer.
async fn answer(
    stream: Arc<Stream>,
    response: Response,
    mut given_back: oneshot::Receiver<Source>,
    shape: Shape,
) -> Then {
    let last = shape.last || response.close;
    match response {
        Response { body: Body::Full(_), .. } => {
            let Ok(mut source) = given_back.await else { return Then::Gone };
            let stays = !last && drain(&mut source).await;
            match write_full(&stream, response, !stays, shape.with_body).await {
                Err(_) => Then::Gone,
                Ok(()) if stays => Then::Next(source.buffer, stream),
                Ok(()) => Then::Close(stream),
            }
        }
        Response { body: Body::Stream(_), .. } => {
            let last = last || !shape.chunked;
            let head = response.head_bytes(shape.chunked, last);
            let Body::Stream(mut body) = response.body else { return Then::Gone };
            let mut client = Client { source: given_back.try_recv().ok(), given_back: None };
            if client.source.is_none() {
                client.given_back = Some(given_back);
            }
            if let Err(error) = stream_body(&stream, &mut *body, &mut client, &head, shape).await {
                tracing::debug!(%error, "an answer ended early");
                return Then::Gone;
            }
            drop(body);
            let Some(mut source) = client.into_source().await else { return Then::Gone };
            if !last && drain(&mut source).await {
                Then::Next(source.buffer, stream)
            } else {
                Then::Close(stream)
            }
        }
        Response { body: Body::Hijack { .. }, .. } => {
            let head = response.head_bytes(false, true);
            let Body::Hijack { taker, .. } = response.body else { return Then::Gone };
            let Ok(mut source) = given_back.await else { return Then::Gone };
            if !drain(&mut source).await {
                return Then::Close(stream);
            }
            // The taker gets the connection alone: the other reference to it is the source's.
            drop(stream);
            if let Ok(stream) = Arc::try_unwrap(source.stream) {
                taker(Hijacked { stream, leftover: source.buffer, head }).await;
            } else {
                tracing::error!("a connection to be handed over is still in use");
            }
            Then::Gone
        }
    }
}

async fn write_full(stream: &Stream, response: Response, last: bool, with_body: bool) -> io::Result<()> {
    let mut bytes = response.head_bytes(false, last);
    let Response { status, body: Body::Full(body), .. } = response else { return Ok(()) };
    if !with_body || matches!(status, 100..200 | 204 | 304) {
        return stream.write_all(&bytes).await;
    }
    // A small body goes out in one packet with its head; a large one is not copied.
    if body.len() <= 64 << 10 {
        bytes.extend_from_slice(&body);
        return stream.write_all(&bytes).await;
    }
    stream.write_all(&bytes).await?;
    stream.write_all(&body).await
}

/// Passes over what is left of a request body; `false` when that is too much, broken, or still waited for.
async fn drain(source: &mut Source) -> bool {
    if source.remaining().is_some_and(|remaining| remaining > MAX_DRAIN as u64) {
        return false;
    }
    let mut seen = 0;
    while !source.is_done() {
        if source.waiting().is_some() && source.buffer.is_empty() {
            return false;
        }
        match timeout(LINGER, source.next()).await {
            Ok(Ok(Some(piece))) if seen + piece.len() <= MAX_DRAIN => seen += piece.len(),
            Ok(Ok(None)) => {}
            _ => return false,
        }
    }
    true
}

/// The client's side while an answer streams.
struct Client {
    source: Option<Source>,
    /// Taken once it has given.
    given_back: Option<oneshot::Receiver<Source>>,
}

impl Client {
    /// Ends when the client has closed its side. Bytes that it sends ahead are kept, up to a bound; beyond it, and while the
    /// request body is still being read, nobody looks.
    async fn gone(&mut self) {
        if self.source.is_none() {
            let Some(given_back) = &mut self.given_back else { return std::future::pending().await };
            let source = given_back.await.ok();
            self.given_back = None;
            self.source = source;
        }
        let Some(source) = &mut self.source else { return std::future::pending().await };
        while source.buffer.len() < MAX_AHEAD {
            match source.fill().await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
        std::future::pending::<()>().await;
    }

    async fn into_source(self) -> Option<Source> {
        match self {
            Self { source: Some(source), .. } => Some(source),
            Self { given_back: Some(given_back), .. } => given_back.await.ok(),
            _ => None,
        }
    }
}

async fn stream_body(
    stream: &Stream,
    body: &mut dyn BodyStream,
    client: &mut Client,
    head: &[u8],
    shape: Shape,
) -> io::Result<()> {
    stream.write_all(head).await?;
    if !shape.with_body {
        return Ok(());
    }
    loop {
        let piece = tokio::select! {
            biased;
            piece = body.next() => piece,
            () = client.gone() => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        match piece.transpose()? {
            Some(piece) if piece.is_empty() => {}
            Some(piece) if shape.chunked => {
                let mut bytes = Vec::with_capacity(piece.len() + 20);
                bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                bytes.extend_from_slice(&piece);
                bytes.extend_from_slice(b"\r\n");
                stream.write_all(&bytes).await?;
            }
            Some(piece) => stream.write_all(&piece).await?,
            None if shape.chunked => return stream.write_all(b"0\r\n\r\n").await,
            None => return Ok(()),
        }
    }
}

/// Takes in what the client still sends, for a moment, after saying that we send no more.
async fn linger(stream: &Stream) {
    stream.finish();
    let mut piece = vec![0; 8 << 10];
    let _ = timeout(LINGER, async { while matches!(stream.read(&mut piece).await, Ok(1..)) {} }).await;
}
