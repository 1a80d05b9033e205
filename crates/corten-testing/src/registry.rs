//! A small registry in memory that fails on purpose: what clients of registries are tested against.
//!
//! It speaks as much of the distribution protocol as a pull and a push need, counts its requests, and does at a chosen one
//! what it is told. With [`Registry::ask_for_tokens`] it wants tokens, which it gives itself.

mod content;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends without an answer.
    Drop,
    /// The body ends in its middle.
    Truncate,
    /// One bit of the body is another.
    FlipBit,
    /// This status, with `Retry-After: 0` where that has a meaning.
    Status(u16),
    /// It sends to itself, for ever.
    RedirectLoop,
    /// The length that is told is not that of the body, which ends early.
    WrongLength,
    /// The type is none of a registry.
    WrongType,
    /// The digest that is told is another.
    WrongDigest,
}

/// All of them, with every status that matters.
pub const FAULTS: &[Fault] = &[
    Fault::Drop,
    Fault::Truncate,
    Fault::FlipBit,
    Fault::Status(401),
    Fault::Status(403),
    Fault::Status(404),
    Fault::Status(408),
    Fault::Status(416),
    Fault::Status(429),
    Fault::Status(500),
    Fault::Status(503),
    Fault::RedirectLoop,
    Fault::WrongLength,
    Fault::WrongType,
    Fault::WrongDigest,
];

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET`
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in small letters.
    pub headers: HashMap<String, String>,
}

#[derive(Debug, Default)]
struct State {
    blobs: HashMap<String, Vec<u8>>,
    /// By `repository:tag` and `repository@digest`: type and bytes.
    manifests: HashMap<String, (String, Vec<u8>)>,
    uploads: HashMap<String, Vec<u8>>,
    seen: Vec<Seen>,
    sent: u64,
    /// At which request, counted from the moment it was set, what is done; and whether at all after it too.
    fault: Option<(usize, Fault, bool)>,
    counted: usize,
    tokens: bool,
    /// Where blobs are, instead of here.
    elsewhere: Option<String>,
    /// So many bytes of a blob are sent, then the connection ends; as often as that is told.
    cut: Option<(usize, u32)>,
    /// How long each piece of a blob takes.
    pace: std::time::Duration,
    /// Whether it sends blobs from their beginning whatever is asked for.
    no_ranges: bool,
    /// Seconds that it asks to wait where that has a meaning.
    retry_after: u32,
    /// Whether it lists what refers to a manifest, and how.
    referrers: Referrers,
    /// Whether it gives blobs of other repositories to who does not say of which.
    mounts: bool,
    /// Whether it has ended: nobody listens any more.
    ended: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Referrers {
    #[default]
    Unknown,
    Listed,
    /// A list without end.
    Flood,
}

/// The registry. It ends with the process, or with [`Registry::end`].
#[derive(Debug, Clone)]
pub struct Registry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

pub use crate::digest::{digest, digest_like};

impl Registry {
    /// Starts one on this machine.
    ///
    /// # Panics
    /// Where no port can be had.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let registry = Self { address, state: Arc::default() };
        let served = registry.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if served.state().ended {
                    break;
                }
                let served = served.clone();
                std::thread::spawn(move || while served.serve(&stream) == Some(()) {});
            }
        });
        registry
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Ends it: open connections end with their next request, and from now on none can be made.
    pub fn end(&self) {
        self.state().ended = true;
        // Who waits for connections sees it at the next one, and stops listening.
        let woken = TcpStream::connect(self.address);
        drop(woken);
        while TcpStream::connect(self.address).is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Does this at the request of that number from now on, counted from 0; `on` at all that follow too.
    pub fn fault(&self, at: usize, fault: Fault, on: bool) {
        let mut state = self.state();
        (state.fault, state.counted) = (Some((at, fault, on)), 0);
    }

    /// Nothing goes wrong any more.
    pub fn mend(&self) {
        let mut state = self.state();
        (state.fault, state.counted, state.cut) = (None, 0, None);
    }

    /// Ends the connection after so many bytes of a blob, so many times.
    pub fn cut_blobs(&self, after: usize, times: u32) {
        self.state().cut = Some((after, times));
    }

    /// Sends blobs in pieces of 64 KiB, so long each.
    pub fn pace(&self, each: std::time::Duration) {
        self.state().pace = each;
    }

    /// Requests since the last fault was set or taken back.
    pub fn counted(&self) -> usize {
        self.state().counted
    }

    /// Requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// Bytes of blobs that were sent.
    pub fn sent(&self) -> u64 {
        self.state().sent
    }

    /// A blob that is here.
    pub fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        self.state().blobs.get(digest).cloned()
    }

    /// A manifest that is here, by `repository:tag`.
    pub fn manifest(&self, reference: &str) -> Option<Vec<u8>> {
        self.state().manifests.get(reference).map(|(_, bytes)| bytes.clone())
    }

    /// Wants a token with every request, which it gives to the user `user` with the password `secret`.
    pub fn ask_for_tokens(&self) {
        self.state().tokens = true;
    }

    /// Sends who wants a blob to another registry.
    pub fn keep_blobs_at(&self, other: &Self) {
        self.state().elsewhere = Some(format!("http://{}", other.host()));
    }

    /// Lists what refers to a manifest from now on, one entry a page.
    pub fn keep_referrers(&self) {
        self.state().referrers = Referrers::Listed;
    }

    /// Sends blobs from their beginning whatever is asked for, from now on.
    pub fn ignore_ranges(&self) {
        self.state().no_ranges = true;
    }

    /// Asks to wait so many seconds with each refusal from now on.
    pub fn ask_to_wait(&self, seconds: u32) {
        self.state().retry_after = seconds;
    }

    /// Lists referrers without end from now on.
    pub fn flood_referrers(&self) {
        self.state().referrers = Referrers::Flood;
    }

    /// Gives blobs of other repositories from now on, also to who does not say of which.
    pub fn give_blobs(&self) {
        self.state().mounts = true;
    }

    /// Answers one request; none where the connection has ended.
    fn serve(&self, mut stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::with_capacity(1, stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let seen = Seen { method, target, headers };
        let (fault, mut answer) = {
            let mut state = self.state();
            if state.ended {
                return None;
            }
            let number = state.counted;
            state.counted += 1;
            state.seen.push(seen.clone());
            let fault = state.fault.filter(|(at, _, on)| number == *at || (*on && number > *at));
            let answer = self.answer(&mut state, &seen, body);
            (fault.map(|(_, fault, _)| fault), answer)
        };
        let mut told_length = answer.body.len();
        let mut ends = false;
        let half = answer.body.len() / 2;
        match fault {
            Some(Fault::Drop) => {
                let _ = stream.shutdown(Shutdown::Both);
                return None;
            }
            Some(Fault::Truncate) => {
                answer.body.truncate(half);
                ends = true;
            }
            Some(Fault::FlipBit) if !answer.body.is_empty() => answer.body[half] ^= 1,
            Some(Fault::Status(status)) => {
                answer =
                    Answer::new(status, "{\"errors\":[{\"code\":\"FAULT\",\"message\":\"on purpose\"}]}");
                answer.headers.push(("Retry-After", self.state().retry_after.to_string()));
                told_length = answer.body.len();
            }
            Some(Fault::RedirectLoop) => {
                answer = Answer::new(307, "");
                answer.headers.push(("Location", seen.target.clone()));
                told_length = 0;
                // Whoever follows comes back here.
                let mut state = self.state();
                if let Some((at, _, _)) = &mut state.fault {
                    *at += 1;
                }
            }
            Some(Fault::WrongLength) => {
                told_length += 7;
                ends = true;
            }
            Some(Fault::WrongType) => {
                answer.headers.retain(|(name, _)| *name != "Content-Type");
                answer.headers.push(("Content-Type", "text/html".to_owned()));
            }
            Some(Fault::WrongDigest) => {
                answer.headers.retain(|(name, _)| *name != "Docker-Content-Digest");
                answer.headers.push(("Docker-Content-Digest", digest(b"another")));
            }
            _ => {}
        }
        let is_blob = seen.method == "GET" && seen.target.contains("/blobs/sha");
        if is_blob {
            let mut state = self.state();
            if let Some((after, times)) = &mut state.cut
                && *times > 0
                && answer.body.len() > *after
            {
                *times -= 1;
                answer.body.truncate(*after);
                ends = true;
            }
        }
        let pace = self.state().pace;
        let mut head = format!("HTTP/1.1 {} X\r\nContent-Length: {told_length}\r\n", answer.status);
        for (name, value) in &answer.headers {
            let _ = std::fmt::Write::write_fmt(&mut head, format_args!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        if seen.method != "HEAD" {
            for piece in answer.body.chunks(64 << 10) {
                if is_blob {
                    // Counted first: who has read the last byte may ask for the sum at once.
                    self.state().sent += piece.len() as u64;
                }
                stream.write_all(piece).ok()?;
                if is_blob {
                    std::thread::sleep(pace);
                }
            }
        }
        if ends {
            let _ = stream.shutdown(Shutdown::Both);
            return None;
        }
        Some(())
    }

    fn answer(&self, state: &mut State, seen: &Seen, body: Vec<u8>) -> Answer {
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let parameter = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.replace("%3A", ":"))
        };
        let shown = seen.headers.get("authorization").map_or("", String::as_str);
        if path == "/token" {
            // `user:secret`
            let known = shown.is_empty() || shown == "Basic dXNlcjpzZWNyZXQ=";
            let scope = parameter("scope").unwrap_or_default();
            return if known && !(shown.is_empty() && scope.contains("push")) {
                Answer::new(200, "{\"token\":\"good\",\"expires_in\":300}")
            } else {
                Answer::new(401, "{\"details\":\"incorrect username or password\"}")
            };
        }
        if state.tokens && shown != "Bearer good" {
            let mut answer = Answer::new(
                401,
                "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"authentication required\"}]}",
            );
            let realm = format!("Bearer realm=\"http://{}/token\",service=\"test\"", self.address);
            answer.headers.push(("WWW-Authenticate", realm));
            return answer;
        }
        let Some(rest) = path.strip_prefix("/v2/") else { return Answer::new(404, "") };
        if rest.is_empty() {
            return Answer::new(200, "{}");
        }
        if let Some((repository, subject)) = rest.split_once("/referrers/") {
            return referrers_answer(state, repository, subject, parameter("last"));
        }
        if let Some((repository, reference)) = rest.split_once("/manifests/") {
            let separator = if reference.contains(':') { '@' } else { ':' };
            let key = format!("{repository}{separator}{reference}");
            if seen.method == "PUT" {
                let kind = seen.headers.get("content-type").cloned().unwrap_or_default();
                let name = digest_like(reference, &body);
                let mut answer = Answer::new(201, "");
                if state.referrers != Referrers::Unknown
                    && let Some(subject) = subject_of(&body)
                {
                    answer.headers.push(("OCI-Subject", subject));
                }
                state.manifests.insert(format!("{repository}@{name}"), (kind.clone(), body.clone()));
                state.manifests.insert(key, (kind, body));
                answer.headers.push(("Docker-Content-Digest", name));
                return answer;
            }
            if seen.method == "DELETE" {
                let Some((_, bytes)) = state.manifests.remove(&key) else { return Answer::new(404, "") };
                if separator == '@' {
                    state.manifests.retain(|_, (_, other)| *other != bytes);
                }
                return Answer::new(202, "");
            }
            let Some((kind, bytes)) = state.manifests.get(&key) else {
                return Answer::new(
                    404,
                    "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"manifest unknown\"}]}",
                );
            };
            let mut answer = Answer::new(200, "");
            answer.headers.push(("Content-Type", kind.clone()));
            answer.headers.push(("Docker-Content-Digest", digest_like(reference, bytes)));
            answer.body.clone_from(bytes);
            return answer;
        }
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            let prefix = format!("{repository}:");
            let mut tags: Vec<&str> =
                state.manifests.keys().filter_map(|key| key.strip_prefix(&prefix)).collect();
            tags.sort_unstable();
            let mut answer =
                Answer::new(200, &serde_json::json!({"name": repository, "tags": tags}).to_string());
            answer.headers.push(("Content-Type", "application/json".to_owned()));
            return answer;
        }
        if let Some((repository, upload)) = rest.split_once("/blobs/uploads/") {
            let mounted = parameter("mount").filter(|_| seen.method == "POST" && state.mounts);
            if mounted.is_some_and(|mounted| state.blobs.contains_key(&mounted)) {
                return Answer::new(201, "");
            }
            return upload_answer(state, &seen.method, repository, upload, parameter("digest"), body);
        }
        if let Some((_, name)) = rest.split_once("/blobs/") {
            if let Some(other) = &state.elsewhere {
                let mut answer = Answer::new(307, "");
                answer.headers.push(("Location", format!("{other}{path}")));
                return answer;
            }
            let Some(bytes) = state.blobs.get(name) else {
                return Answer::new(
                    404,
                    "{\"errors\":[{\"code\":\"BLOB_UNKNOWN\",\"message\":\"blob unknown\"}]}",
                );
            };
            let range = seen.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
            let range = range.filter(|_| !state.no_ranges);
            let range = range.and_then(|range| range.split_once('-'));
            let from: Option<usize> = range.and_then(|(from, _)| from.parse().ok());
            let end = range.and_then(|(_, end)| end.parse().ok()).map_or(bytes.len(), |end: usize| end + 1);
            let end = end.min(bytes.len());
            let mut answer = Answer::new(if from.is_some() { 206 } else { 200 }, "");
            let begin = from.unwrap_or(0);
            if begin >= bytes.len() && from.is_some() {
                return Answer::new(416, "");
            }
            if from.is_some() {
                let range = format!("bytes {begin}-{}/{}", end - 1, bytes.len());
                answer.headers.push(("Content-Range", range));
            }
            answer.body = bytes[begin..end.max(begin)].to_vec();
            answer.headers.push(("Content-Type", "application/octet-stream".to_owned()));
            return answer;
        }
        Answer::new(404, "")
    }
}

/// What a manifest says that it refers to.
fn subject_of(bytes: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    Some(document["subject"]["digest"].as_str()?.to_owned())
}

/// One page of the list: one entry.
fn referrers_answer(state: &State, repository: &str, subject: &str, last: Option<String>) -> Answer {
    let prefix = format!("{repository}@");
    let mut all: Vec<(&str, serde_json::Value)> = state
        .manifests
        .iter()
        .filter(|(key, (_, bytes))| key.starts_with(&prefix) && subject_of(bytes).as_deref() == Some(subject))
        .map(|(key, (kind, bytes))| {
            let document: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
            let name = &key[prefix.len()..];
            let entry = serde_json::json!({
                "mediaType": kind,
                "digest": name,
                "size": bytes.len(),
                "artifactType": document["artifactType"],
                "annotations": document["annotations"],
            });
            (name, entry)
        })
        .collect();
    all.sort_by_key(|(name, _)| *name);
    let at = last.and_then(|last| all.iter().position(|(name, _)| *name == last)).map_or(0, |at| at + 1);
    let (page, next): (Vec<_>, _) = match state.referrers {
        Referrers::Unknown => return Answer::new(404, ""),
        Referrers::Listed => {
            let next = all.get(at).filter(|_| at + 1 < all.len()).map(|(name, _)| (*name).to_owned());
            (all.get(at).map(|(_, entry)| entry.clone()).into_iter().collect(), next)
        }
        Referrers::Flood => {
            let kind = "application/vnd.oci.image.manifest.v1+json";
            let entry = |number: u32| serde_json::json!({"mediaType": kind, "digest": digest(&number.to_le_bytes()), "size": 2});
            ((0..100).map(entry).collect(), Some("more".to_owned()))
        }
    };
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": page});
    let mut answer = Answer::new(200, &index.to_string());
    answer.headers.push(("Content-Type", kind.to_owned()));
    if let Some(next) = next {
        let link = format!("</v2/{repository}/referrers/{subject}?last={next}>; rel=\"next\"");
        answer.headers.push(("Link", link));
    }
    answer
}

fn upload_answer(
    state: &mut State,
    method: &str,
    repository: &str,
    upload: &str,
    wanted: Option<String>,
    body: Vec<u8>,
) -> Answer {
    let place = |upload: &str| format!("/v2/{repository}/blobs/uploads/{upload}");
    match method {
        "POST" => {
            let upload = format!("u{}", state.seen.len());
            state.uploads.insert(upload.clone(), Vec::new());
            let mut answer = Answer::new(202, "");
            answer.headers.push(("Location", place(&upload)));
            answer
        }
        "PATCH" | "PUT" | "GET" => {
            let Some(bytes) = state.uploads.get_mut(upload) else { return Answer::new(404, "") };
            bytes.extend_from_slice(&body);
            if method == "PUT" {
                let name = digest_like(wanted.as_deref().unwrap_or_default(), bytes);
                let bytes = bytes.clone();
                state.uploads.remove(upload);
                if wanted.as_deref() != Some(&name) {
                    return Answer::new(
                        400,
                        "{\"errors\":[{\"code\":\"DIGEST_INVALID\",\"message\":\"wrong\"}]}",
                    );
                }
                state.blobs.insert(name, bytes);
                return Answer::new(201, "");
            }
            let end = bytes.len().saturating_sub(1);
            let mut answer = Answer::new(if method == "GET" { 204 } else { 202 }, "");
            answer.headers.push(("Location", place(upload)));
            answer.headers.push(("Range", format!("0-{end}")));
            answer
        }
        _ => Answer::new(405, ""),
    }
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: body.as_bytes().to_vec() }
    }
}
