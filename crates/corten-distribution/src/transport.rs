//! Connections and single requests: kept open and used again, bounded in time, through proxies, with TLS.

use crate::challenge::{self, Challenge};
use crate::error::DistributionError;
use crate::hosts::RegistrySettings;
use crate::proxy::{Connection, Proxy, ProxySettings, dial, shake_hands};
use crate::url::Url;
use bytes::Bytes;
use corten_http::tls::{WorldFiles, WorldTls};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long opening a connection may take.
const CONNECT: Duration = Duration::from_secs(30);
/// How long nothing may happen.
const IDLE: Duration = Duration::from_mins(1);
/// How long a registry may take to answer when it has all of a blob, which it checks and puts into its place.
const COMMIT: Duration = Duration::from_mins(10);
/// How long a connection is kept that nobody uses.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// How long a kept connection may take to see that its last answer has ended.
const READY: Duration = Duration::from_millis(100);
/// Connections to one place that are kept.
const KEPT_EACH: usize = 8;
/// How long the settings of TLS are used before their files are read again.
const TLS_KEPT: Duration = Duration::from_mins(1);

/// What is sent.
#[derive(Debug, Default)]
pub(crate) enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// What is in memory.
    Full(Bytes),
    /// Pieces, of this length in all.
    Stream(mpsc::Receiver<io::Result<Bytes>>, u64),
}

/// A body on its way, that tells when it was last moved on.
struct Outgoing {
    body: Body,
    moved: Arc<AtomicU64>,
    /// The last of a body in pieces is on its way.
    sent: Arc<AtomicBool>,
    begun: Instant,
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.moved.store(self.begun.elapsed().as_millis() as u64, Ordering::Relaxed);
        match &mut self.body {
            Body::Empty => Poll::Ready(None),
            Body::Full(_) => {
                let Body::Full(bytes) = std::mem::take(&mut self.body) else { return Poll::Ready(None) };
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Body::Stream(receiver, left) => match receiver.poll_recv(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Ok(bytes))) => {
                    *left = left.saturating_sub(bytes.len() as u64);
                    let ended = *left == 0;
                    self.sent.store(ended, Ordering::Relaxed);
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
                Poll::Ready(None) if *left > 0 => {
                    Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::UnexpectedEof))))
                }
                Poll::Ready(None) => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Body::Empty => true,
            Body::Full(_) => false,
            Body::Stream(_, left) => *left == 0,
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(match &self.body {
            Body::Empty => 0,
            Body::Full(bytes) => bytes.len() as u64,
            Body::Stream(_, left) => *left,
        })
    }
}

type Sender = SendRequest<Outgoing>;

/// How a host is reached, where a file says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    pub(crate) files: WorldFiles,
    /// Instead of the proxy of the settings.
    pub(crate) proxy: Option<Proxy>,
    /// How long opening a connection may take.
    pub(crate) dial: Option<Duration>,
}

/// Which connections can stand for each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    secure: bool,
    host: String,
    port: u16,
    files: WorldFiles,
    proxy: Option<Proxy>,
}

/// Connections that wait to be used again, and since when.
type Kept = Arc<Mutex<HashMap<Key, Vec<(Instant, Sender)>>>>;

/// Everything that is open.
pub(crate) struct Transport {
    proxies: ProxySettings,
    /// For the certificates of proxies.
    settings: Arc<RwLock<RegistrySettings>>,
    open: Kept,
    tls: Mutex<HashMap<WorldFiles, (Instant, WorldTls)>>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Transport").field("proxies", &self.proxies).finish_non_exhaustive()
    }
}

/// An answer: its head, and its body as it comes.
pub(crate) struct Response {
    pub(crate) url: Url,
    method: Method,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    keep: Option<Keep>,
}

struct Keep {
    sender: Sender,
    key: Key,
    open: Kept,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transport {
    pub(crate) fn new(proxies: ProxySettings, settings: Arc<RwLock<RegistrySettings>>) -> Self {
        Self { proxies, settings, open: Arc::default(), tls: Mutex::default() }
    }

    /// One request and the head of its answer. A connection that was kept and turns out to be closed is replaced, where
    /// the body can be sent again.
    pub(crate) async fn request(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: Body,
        way: &Way,
    ) -> Result<Response, DistributionError> {
        let failed = |cause: String| DistributionError::Connection {
            method: method.to_string(),
            url: url.to_string(),
            cause,
        };
        let key = Key {
            secure: url.secure,
            host: url.host.to_ascii_lowercase(),
            port: url.port,
            files: if url.secure { way.files.clone() } else { WorldFiles::default() },
            proxy: way.proxy.clone(),
        };
        let proxy = match &way.proxy {
            Some(proxy) => Some(proxy.clone()),
            None => self.proxies.of(url).map_err(|error| failed(error.to_string()))?,
        };
        let whole = !url.secure && proxy.as_ref().is_some_and(crate::proxy::Proxy::takes_requests);
        let mut again = match &body {
            Body::Empty => Some(Body::Empty),
            Body::Full(bytes) => Some(Body::Full(bytes.clone())),
            Body::Stream(..) => None,
        };
        let mut body = Some(body);
        let mut kept = again.is_some().then(|| self.take(&key)).flatten();
        if let Some(sender) = &mut kept
            && !matches!(tokio::time::timeout(READY, sender.ready()).await, Ok(Ok(())))
        {
            kept = None;
        }
        loop {
            let used = kept.is_some();
            let mut sender = match kept.take() {
                Some(sender) => sender,
                None => tokio::time::timeout(
                    way.dial.unwrap_or(CONNECT),
                    self.connect(&key, proxy.as_ref(), whole),
                )
                .await
                .map_err(|_| failed(format!("dial tcp {}: i/o timeout", url.authority())))?
                .map_err(|error| failed(corten_std::chain(&error)))?,
            };
            let target = if whole { url.to_string() } else { url.path.clone() };
            let begun = Instant::now();
            let moved = Arc::new(AtomicU64::new(0));
            let sent = Arc::new(AtomicBool::new(false));
            let outgoing = Outgoing {
                body: body.take().unwrap_or_default(),
                moved: Arc::clone(&moved),
                sent: Arc::clone(&sent),
                begun,
            };
            let limit = || {
                let patience = if sent.load(Ordering::Relaxed) { COMMIT } else { IDLE };
                begun + Duration::from_millis(moved.load(Ordering::Relaxed)) + patience
            };
            let mut request = Request::builder()
                .method(method)
                .uri(target)
                .body(outgoing)
                .map_err(|error| failed(error.to_string()))?;
            *request.headers_mut() = headers.clone();
            let host = HeaderValue::from_str(&url.authority()).map_err(|error| failed(error.to_string()))?;
            request.headers_mut().insert(header::HOST, host);
            if whole && let Some(shown) = proxy.as_ref().and_then(crate::proxy::Proxy::authorization) {
                let shown = HeaderValue::from_str(&shown).map_err(|error| failed(error.to_string()))?;
                request.headers_mut().insert(header::PROXY_AUTHORIZATION, shown);
            }
            let mut sending = std::pin::pin!(sender.send_request(request));
            let answer = loop {
                tokio::select! {
                    answer = &mut sending => break Some(answer),
                    () = tokio::time::sleep_until(limit().into()) => {
                        if Instant::now() >= limit() {
                            break None;
                        }
                    }
                }
            };
            match answer {
                Some(Ok(answer)) => {
                    let (head, body) = answer.into_parts();
                    let keep = Keep { sender, key, open: Arc::clone(&self.open) };
                    return Ok(Response {
                        url: url.clone(),
                        method: method.clone(),
                        status: head.status,
                        headers: head.headers,
                        body,
                        keep: Some(keep),
                    });
                }
                // A kept connection may have been closed by the other side just now.
                Some(Err(_)) if used && again.is_some() => body = again.take(),
                Some(Err(error)) => return Err(failed(words(&error))),
                None => {
                    return Err(failed("net/http: timeout awaiting response headers".to_owned()));
                }
            }
        }
    }

    fn take(&self, key: &Key) -> Option<Sender> {
        let mut open = lock(&self.open);
        let kept = open.get_mut(key)?;
        while let Some((since, sender)) = kept.pop() {
            if since.elapsed() < KEPT_FOR && !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    async fn connect(
        &self,
        key: &Key,
        proxy: Option<&crate::proxy::Proxy>,
        whole: bool,
    ) -> io::Result<Sender> {
        let Some(proxy) = proxy else {
            return self.begin(key, dial(&key.host, key.port).await?).await;
        };
        // Its certificate has to be believed, whatever may be done with the registry's: it is shown our password.
        let tls = proxy.secured().map(|url| {
            let files = self.settings.read().unwrap_or_else(PoisonError::into_inner).files_of(&url);
            self.tls(&files).map_err(|error| {
                io::Error::other(format!("proxyconnect tcp: tls: {}", corten_std::chain(&error)))
            })
        });
        let tunnel = (!whole).then_some((key.host.as_str(), key.port));
        self.begin(key, proxy.connect(tls.transpose()?.as_ref(), tunnel).await?).await
    }

    /// Speaks with a host over an open connection, with TLS where that is its way.
    async fn begin(&self, key: &Key, stream: impl Connection + 'static) -> io::Result<Sender> {
        if !key.secure {
            return start(stream).await;
        }
        let tls = self.tls(&key.files).map_err(|error| io::Error::other(corten_std::chain(&error)))?;
        start(shake_hands(&tls, &key.host, stream).await?).await
    }

    fn tls(&self, files: &WorldFiles) -> Result<WorldTls, corten_http::tls::TlsError> {
        if let Some((since, tls)) = lock(&self.tls).get(files)
            && since.elapsed() < TLS_KEPT
        {
            return Ok(tls.clone());
        }
        let tls = WorldTls::load(files)?;
        lock(&self.tls).insert(files.clone(), (Instant::now(), tls.clone()));
        Ok(tls)
    }
}

/// Closes what nobody uses any more, until nothing is kept: the other side need not.
async fn close_unused(open: Kept) {
    loop {
        tokio::time::sleep(KEPT_FOR).await;
        let mut all = lock(&open);
        all.retain(|_, kept| {
            kept.retain(|(since, sender)| since.elapsed() < KEPT_FOR && !sender.is_closed());
            !kept.is_empty()
        });
        if all.is_empty() {
            return;
        }
    }
}

async fn start(stream: impl Connection + 'static) -> io::Result<Sender> {
    let (sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(256 << 10)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Ends when the sender and the body of its last answer are gone.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = corten_std::chain(&error), "a connection to a registry ended");
        }
    });
    Ok(sender)
}

/// A broken connection in Go's words where scripts know them.
fn words(error: &hyper::Error) -> String {
    if error.is_incomplete_message() { "EOF".to_owned() } else { corten_std::chain(error) }
}

impl Response {
    /// A header's text; empty where it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Where it sends whoever asked, if it does; an error where that does not speak TLS and has to (`only_secure`).
    pub(crate) fn redirects_to(&self, only_secure: bool) -> Option<Result<Url, DistributionError>> {
        if !matches!(self.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let location = self.header("location");
        let wrong = |what| Err(DistributionError::Answer { host: self.url.authority(), what });
        Some(match self.url.join(location) {
            None => wrong(format!("it redirects to `{location}`, which is no address")),
            Some(next) if only_secure && !next.secure => {
                wrong(format!("it redirects to {}, which does not speak TLS", next.origin()))
            }
            Some(next) => Ok(next),
        })
    }

    /// How it wants to be asked.
    pub(crate) fn challenges(&self) -> Vec<Challenge> {
        let texts =
            self.headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        texts.flat_map(challenge::parse).collect()
    }

    /// The next piece of the body; none at its end. The connection is used again when the end was seen.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, DistributionError> {
        loop {
            let next = tokio::time::timeout(IDLE, self.body.frame()).await;
            let failed = |cause: String| DistributionError::Connection {
                method: self.method.to_string(),
                url: self.url.to_string(),
                cause,
            };
            match next {
                Err(_) => return Err(failed("no data came for a minute".to_owned())),
                Ok(None) => {
                    self.keep();
                    return Ok(None);
                }
                Ok(Some(Err(error))) => {
                    return Err(failed(if error.is_incomplete_message() || error.is_body_write_aborted() {
                        "unexpected EOF".to_owned()
                    } else {
                        corten_std::chain(&error)
                    }));
                }
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body, if it has at most so many bytes.
    pub(crate) async fn whole(&mut self, limit: usize) -> Result<Vec<u8>, DistributionError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece().await? {
            if bytes.len() + piece.len() > limit {
                return Err(DistributionError::Answer {
                    host: self.url.authority(),
                    what: format!("the answer to {} is larger than {limit} bytes", self.url.path),
                });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// Reads what is left of a short body, so that the connection can be used again.
    pub(crate) async fn finish(mut self) {
        let _ = self.whole(64 << 10).await;
    }

    fn keep(&mut self) {
        let Some(Keep { sender, key, open }) = self.keep.take() else { return };
        let mut all = lock(&open);
        if all.is_empty() {
            tokio::spawn(close_unused(Arc::clone(&open)));
        }
        let kept = all.entry(key).or_default();
        if kept.len() < KEPT_EACH {
            kept.push((Instant::now(), sender));
        }
    }
}
