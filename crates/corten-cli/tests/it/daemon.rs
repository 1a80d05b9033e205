//! A daemon that answers from a list and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What is done with a request: the answer is written to the socket; `true` keeps the connection.
pub(crate) type Handler = dyn Fn(&Request, &mut UnixStream) -> bool + Send + Sync;

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query without the version.
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
}

/// The daemon; its folder goes with it.
pub(crate) struct Daemon {
    folder: PathBuf,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Daemon {
    pub(crate) fn start(handler: impl Fn(&Request, &mut UnixStream) -> bool + Send + Sync + 'static) -> Self {
        static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("corten-cli-it-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let listener = UnixListener::bind(folder.join("docker.sock")).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let handler: Arc<Handler> = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, handler) = (Arc::clone(&seen), Arc::clone(&handler));
                std::thread::spawn(move || serve(stream, &seen, &*handler));
            }
        });
        Self { folder, requests }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// `METHOD target` of every request but the greeting.
    pub(crate) fn asked(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        let asked = requests.iter().filter(|request| !request.target.ends_with("_ping"));
        asked.map(|request| format!("{} {}", request.method, request.target)).collect()
    }

    /// The body of the first request whose target begins so.
    pub(crate) fn body(&self, target: &str) -> serde_json::Value {
        let requests = self.requests.lock().unwrap();
        let request = requests.iter().find(|request| request.target.starts_with(target)).unwrap();
        serde_json::from_slice(&request.body).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn serve(mut stream: UnixStream, seen: &Mutex<Vec<Request>>, handler: &Handler) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split(' ');
        let method = words.next().unwrap().to_owned();
        let target = words.next().unwrap();
        let target = match target.strip_prefix("/v").and_then(|rest| rest.split_once('/')) {
            Some((version, rest)) if version.contains('.') => format!("/{rest}"),
            _ => target.to_owned(),
        };
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let request = Request { method, target, body };
        seen.lock().unwrap().push(request.clone());
        if request.target.ends_with("_ping") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\nContent-Length: 0\r\n\r\n").unwrap();
            continue;
        }
        if !handler(&request, &mut stream) {
            return;
        }
    }
}

/// A JSON answer.
pub(crate) fn json(stream: &mut UnixStream, status: &str, body: &str) -> bool {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).is_ok()
}

/// A frame of a container's output.
pub(crate) fn frame(stream: u8, text: &str) -> Vec<u8> {
    let mut bytes = vec![stream, 0, 0, 0];
    bytes.extend((text.len() as u32).to_be_bytes());
    bytes.extend(text.as_bytes());
    bytes
}
