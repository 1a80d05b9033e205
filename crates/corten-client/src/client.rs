//! The client itself: requests, versions, connections that are used again.

use crate::start::start_daemon;
use crate::target::Target;
use crate::{ClientError, Filters};
use corten_http::client::{Answer, Body, Connection, Endpoint, HttpError, Request, Stream};
use corten_std::Paths;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

/// The newest version of the API that we speak.
pub const NEWEST_VERSION: &str = "1.51";

/// The header beside an error that says what can be done about it; Docker's clients do not look there.
const HINT: &str = "Corten-Hint";

/// What is done where our own daemon does not answer.
type Starter = Box<dyn Fn() + Send + Sync>;

/// A daemon's API. Cheap to share by reference; each request uses an idle connection or opens one.
pub struct Client {
    target: Target,
    /// Which version the paths carry, once known; without the `v`.
    version: OnceLock<String>,
    idle: Arc<Mutex<Vec<Connection>>>,
    headers: Vec<(String, String)>,
    starter: Option<(PathBuf, Paths, Starter)>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Client").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the given daemon; nothing is sent yet. `headers` go with every request.
    pub fn new(target: Target, headers: Vec<(String, String)>) -> Self {
        let version = OnceLock::new();
        if let Some(asked) = &target.api_version {
            let _ = version.set(asked.clone());
        } else if target.own {
            let _ = version.set(NEWEST_VERSION.to_owned());
        }
        Self { target, version, idle: Arc::default(), headers, starter: None }
    }

    /// Lets the client start our own daemon with `program daemon` where none answers; `announce` is called before.
    #[must_use]
    pub fn starting(
        mut self,
        program: PathBuf,
        paths: Paths,
        announce: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        self.starter = Some((program, paths, Box::new(announce)));
        self
    }

    /// The daemon that is meant.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The version in use; asks the daemon where it is not known.
    pub fn version(&self) -> Result<&str, ClientError> {
        if self.version.get().is_none() {
            let answer = self.send_raw("HEAD", "/_ping", &[], Body::Empty)?;
            let offered = answer.head.header("api-version").unwrap_or("1.24").to_owned();
            self.keep(answer);
            let _ = self.version.set(older(&offered, NEWEST_VERSION).to_owned());
        }
        Ok(self.version.get().map_or(NEWEST_VERSION, String::as_str))
    }

    /// Sends a request and gives the answer where its status is below 400; otherwise the daemon's error.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        query: &Query,
        payload: Payload<'_>,
    ) -> Result<Reply, ClientError> {
        self.request_with(method, path, query, payload, &[])
    }

    /// As [`Self::request`], with further headers.
    pub fn request_with(
        &self,
        method: &str,
        path: &str,
        query: &Query,
        payload: Payload<'_>,
        further: &[(&str, &str)],
    ) -> Result<Reply, ClientError> {
        check_name(path)?;
        let target = format!("/v{}{path}{query}", self.version()?);
        let with = |own: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> {
            own.iter().map(|(name, value)| (*name, *value)).chain(further.iter().copied()).collect()
        };
        let json = ("Content-Type", "application/json");
        let tar = ("Content-Type", "application/x-tar");
        let answer = match payload {
            Payload::Empty => self.send_raw(method, &target, &with(&[]), Body::Empty)?,
            Payload::Json(bytes) => self.send_raw(method, &target, &with(&[json]), Body::Bytes(bytes))?,
            Payload::Archive(source) => {
                self.send_raw(method, &target, &with(&[tar]), Body::Stream(source))?
            }
            Payload::Produced(produce) => {
                self.send_raw(method, &target, &with(&[tar]), Body::Produced(produce))?
            }
            Payload::Upgrade(document) => {
                let kind = if document.is_some() { "application/json" } else { "text/plain" };
                let headers = [("Connection", "Upgrade"), ("Upgrade", "tcp"), ("Content-Type", kind)];
                self.send_raw(method, &target, &with(&headers), document.map_or(Body::Empty, Body::Bytes))?
            }
        };
        let mut reply =
            Reply { answer: Some(answer), pool: Arc::clone(&self.idle), what: format!("{method} {path}") };
        if reply.status() < 400 {
            return Ok(reply);
        }
        let status = reply.status();
        let hint = reply.header(HINT).map(str::to_owned);
        let bytes = reply.body()?;
        Err(ClientError::Api { status, message: error_message(status, &bytes), hint })
    }

    /// GET, decoded.
    pub fn get<T: DeserializeOwned>(&self, path: &str, query: &Query) -> Result<T, ClientError> {
        self.request("GET", path, query, Payload::Empty)?.json()
    }

    /// POST of a document (or nothing), whose answer has no body that matters. Gives the status.
    pub fn post(&self, path: &str, query: &Query) -> Result<u16, ClientError> {
        let mut reply = self.request("POST", path, query, Payload::Empty)?;
        reply.body()?;
        Ok(reply.status())
    }

    /// POST of a document, answer decoded.
    pub fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query,
        document: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = encode(document)?;
        self.request("POST", path, query, Payload::Json(&body))?.json()
    }

    /// DELETE; the body is left to the caller.
    pub fn delete(&self, path: &str, query: &Query) -> Result<Reply, ClientError> {
        self.request("DELETE", path, query, Payload::Empty)
    }

    fn send_raw(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
    ) -> Result<Answer, ClientError> {
        let mut all: Vec<(&str, &str)> = vec![("User-Agent", concat!("corten/", env!("CARGO_PKG_VERSION")))];
        all.extend(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        all.extend_from_slice(headers);
        // What changes nothing may be asked again: a daemon that is started anew answers the second time. A program that
        // carries the connection is started once; why it failed would be told as often as it is.
        let carried = matches!(self.target.endpoint, Endpoint::Program(_));
        let repeats = matches!((method, &body), ("GET" | "HEAD", Body::Empty)) && !carried;
        let mut again = if repeats { 3 } else { 0 };
        if again == 0 {
            let request = Request { method, target, headers: &all, body };
            return self.connection()?.send(request).map_err(|error| match error {
                source if carried && source.is_broken() => {
                    ClientError::Carrier { command: self.target.endpoint.to_string(), source }
                }
                error => ClientError::Transport(error),
            });
        }
        loop {
            let request = Request { method, target, headers: &all, body: Body::Empty };
            match self.connection()?.send(request) {
                Err(error) if error.is_broken() && again > 0 => {
                    again -= 1;
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                other => return other.map_err(ClientError::Transport),
            }
        }
    }

    /// An idle connection that is still good, or a new one; starts our own daemon where none answers.
    fn connection(&self) -> Result<Connection, ClientError> {
        while let Some(connection) = self.idle.lock().ok().and_then(|mut idle| idle.pop()) {
            if connection.is_usable() {
                return Ok(connection);
            }
        }
        match Connection::open(&self.target.endpoint) {
            Err(error) if error.is_absent() && self.target.own => {
                if let Some((program, paths, announce)) = &self.starter {
                    start_daemon(program, paths, &mut || announce())?;
                }
                Connection::open(&self.target.endpoint).map_err(|error| self.connect_error(error))
            }
            other => other.map_err(|error| self.connect_error(error)),
        }
    }

    /// A connection on which nothing was sent yet, for whoever speaks on it himself.
    pub fn raw_connection(&self) -> Result<Stream, ClientError> {
        self.connection().map(Connection::into_stream)
    }

    fn connect_error(&self, error: HttpError) -> ClientError {
        let endpoint = self.target.endpoint.to_string();
        match error.io().map(io::Error::kind) {
            Some(io::ErrorKind::PermissionDenied) => ClientError::Denied { endpoint },
            Some(_) => ClientError::NoDaemon { endpoint, source: error },
            None => ClientError::Transport(error),
        }
    }

    fn keep(&self, mut answer: Answer) {
        if answer.read_all().is_ok()
            && let Some(connection) = answer.into_connection()
            && let Ok(mut idle) = self.idle.lock()
        {
            idle.push(connection);
        }
    }
}

/// A request's body.
pub enum Payload<'a> {
    /// None.
    Empty,
    /// An encoded document.
    Json(&'a [u8]),
    /// A tar stream.
    Archive(&'a mut dyn Read),
    /// A tar that a function writes.
    Produced(&'a mut dyn FnMut(&mut dyn Write) -> io::Result<()>),
    /// A document or nothing, with the wish to take the connection over.
    Upgrade(Option<&'a [u8]>),
}

impl std::fmt::Debug for Payload<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "Empty",
            Self::Json(_) => "Json",
            Self::Archive(_) => "Archive",
            Self::Produced(_) => "Produced",
            Self::Upgrade(_) => "Upgrade",
        })
    }
}

/// An answer with a status below 400. Its body streams ([`Read`]); the connection is used again once the body was
/// read to its end.
#[derive(Debug)]
pub struct Reply {
    answer: Option<Answer>,
    pool: Arc<Mutex<Vec<Connection>>>,
    what: String,
}

impl Reply {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.answer.as_ref().map_or(0, |answer| answer.head.status)
    }

    /// A header, in whatever case it came.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.answer.as_ref().and_then(|answer| answer.head.header(name))
    }

    /// Whether reading gives something (or the end) without waiting for the socket.
    pub fn has_buffered(&self) -> bool {
        self.answer.as_ref().is_none_or(Answer::has_buffered)
    }

    /// The whole body.
    pub fn body(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(|source| ClientError::Transport(HttpError::Receive(source)))?;
        Ok(bytes)
    }

    /// The whole body as a document.
    pub fn json<T: DeserializeOwned>(mut self) -> Result<T, ClientError> {
        let bytes = self.body()?;
        serde_json::from_slice(&bytes)
            .map_err(|source| ClientError::Answer { what: std::mem::take(&mut self.what), source })
    }

    /// The raw socket and what was read from it already: after an upgrade, or where the answer has no end of its own.
    pub fn into_raw(mut self) -> Option<(Stream, Vec<u8>)> {
        self.answer.take().map(Answer::into_raw)
    }
}

impl Read for Reply {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.answer.as_mut().map_or(Ok(0), |answer| answer.read(buffer))
    }
}

impl AsFd for Reply {
    /// # Panics
    /// After [`Reply::into_raw`], which takes the reply.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.answer.as_ref().expect("the reply still has its connection").as_fd()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(connection) = self.answer.take().and_then(Answer::into_connection)
            && let Ok(mut pool) = self.pool.lock()
        {
            pool.push(connection);
        }
    }
}

/// A query string in the making.
#[derive(Debug, Clone, Default)]
pub struct Query(String);

impl Query {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        escape(&mut self.0, value.as_ref(), false);
        self
    }

    /// Adds a parameter where it has a value.
    #[must_use]
    pub fn maybe(self, name: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds `name=1` where true.
    #[must_use]
    pub fn flag(self, name: &str, value: bool) -> Self {
        if value { self.with(name, "1") } else { self }
    }

    /// Adds filters where there are any.
    #[must_use]
    pub fn filters(self, filters: &Filters) -> Self {
        if filters.is_empty() { self } else { self.with("filters", filters.to_parameter()) }
    }
}

impl std::fmt::Display for Query {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Without a name a path would be another one, as that of a list.
fn check_name(path: &str) -> Result<(), ClientError> {
    for kind in ["container", "network", "volume"] {
        let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(kind));
        let rest = rest.and_then(|rest| rest.strip_prefix("s/"));
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(ClientError::NoName { kind });
        }
    }
    Ok(())
}

/// A path segment (or, with slashes kept, a name like `library/busybox`), escaped.
pub(crate) fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    escape(&mut escaped, text, true);
    escaped
}

fn escape(into: &mut String, text: &str, slashes: bool) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => into.push(byte as char),
            b'/' | b':' | b'@' if slashes => into.push(byte as char),
            _ => {
                let _ = write!(into, "%{byte:02X}");
            }
        }
    }
}

/// A document as bytes. Our documents always encode.
pub(crate) fn encode(document: &impl Serialize) -> Result<Vec<u8>, ClientError> {
    serde_json::to_vec(document)
        .map_err(|source| ClientError::Answer { what: "the request itself".to_owned(), source })
}

/// The message of an error answer: the document's, or the text as it is.
fn error_message(status: u16, bytes: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Document {
        message: String,
    }
    match serde_json::from_slice::<Document>(bytes) {
        Ok(document) => document.message.trim().to_owned(),
        Err(_) if bytes.is_empty() => format!("the request failed with status {status}"),
        Err(_) => String::from_utf8_lossy(bytes).trim().to_owned(),
    }
}

/// The older of two versions as in `1.44`.
fn older<'a>(one: &'a str, other: &'a str) -> &'a str {
    let number = |text: &str| -> Option<(u32, u32)> {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    match (number(one), number(other)) {
        (Some(first), Some(second)) if first > second => other,
        (None, _) => other,
        _ => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        let query =
            Query::new().with("a", "x y/z&=").maybe("none", None::<&str>).flag("f", true).flag("g", false);
        assert_eq!(query.to_string(), "?a=x%20y%2Fz%26%3D&f=1");
        assert_eq!(segment("library/box:1@x y"), "library/box:1@x%20y");
    }

    #[test]
    fn the_older_version_wins() {
        for (one, other, expected) in
            [("1.44", "1.51", "1.44"), ("1.55", "1.51", "1.51"), ("1.9", "1.51", "1.9"), ("", "1.51", "1.51")]
        {
            assert_eq!(older(one, other), expected);
        }
    }

    #[test]
    fn error_messages_are_the_document_s_or_the_text() {
        assert_eq!(error_message(404, br#"{"message":"No such container: x"}"#), "No such container: x");
        assert_eq!(error_message(409, b"container x is not running\r\n"), "container x is not running");
    }
}
