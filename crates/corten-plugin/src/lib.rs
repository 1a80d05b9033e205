//! Docker's plugin protocol from the daemon's side: finds plugins by socket and spec file, and calls them.
//!
//! A plugin is a program of somebody else with a socket in `/run/docker/plugins` (`NAME.sock` or `NAME/NAME.sock`), or
//! one that a file in `/etc/docker/plugins` or `/usr/lib/docker/plugins` names (`NAME.spec` with an address, `NAME.json`
//! with an address and TLS files). It is looked for at each call, so that one that comes later, or comes again
//! elsewhere, is found. A call is a `POST` of a JSON document; the first one asks what the plugin implements.

mod find;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use corten_engine::plugin::{PluginCaller, PluginError};
use corten_http::client::{Body, Connection, Endpoint, HttpError, Request};
use serde_json::Value;

pub use find::Folders;

/// The protocol's version, as a media type.
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// How long a plugin may take to answer: a volume may have to be made on another machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long its answer may be, in bytes: the list of all volumes is one.
const LONGEST_ANSWER: u64 = 32 << 20;

/// How often, and after which pauses, one is tried that has a socket and does not listen: it may be starting.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// Calls plugins that are found in these folders.
#[derive(Debug, Default)]
pub struct Plugins {
    folders: Folders,
    /// What the plugin at an address implements.
    known: Mutex<HashMap<String, Vec<String>>>,
}

impl Plugins {
    /// Over other folders than Docker's.
    pub fn new(folders: Folders) -> Self {
        Self { folders, known: Mutex::default() }
    }

    fn implements(&self, name: &str, endpoint: &Endpoint, capability: &str) -> Result<bool, PluginError> {
        let address = endpoint.to_string();
        let has = |known: &HashMap<String, Vec<String>>| {
            known.get(&address).map(|list| list.iter().any(|one| one == capability))
        };
        if let Some(true) = has(&self.known.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(true);
        }
        // What it did not do before it may do now: another program may be there.
        let answer = ask((name, PATIENCE), endpoint, "Plugin.Activate", &Value::Null)?;
        let list = answer["Implements"].as_array().into_iter().flatten();
        let list: Vec<String> = list.filter_map(Value::as_str).map(str::to_owned).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(address.clone(), list);
        Ok(has(&known) == Some(true))
    }
}

impl PluginCaller for Plugins {
    fn call(&self, plugin: &str, method: &str, request: &Value) -> Result<Value, PluginError> {
        let capability = method.split('.').next().unwrap_or_default();
        let capability = if capability == "AuthZPlugin" { "authz" } else { capability };
        let endpoint = self.folders.find(plugin).map_err(|reason| broken(plugin, reason))?;
        let endpoint = endpoint.ok_or_else(|| PluginError::NotFound(plugin.to_owned()))?;
        if !self.implements(plugin, &endpoint, capability)? {
            return Err(broken(plugin, format!("it does not implement {capability}")));
        }
        ask((plugin, PATIENCE), &endpoint, method, request)
    }
}

fn broken(plugin: &str, reason: impl Into<String>) -> PluginError {
    PluginError::Broken { plugin: plugin.to_owned(), reason: reason.into() }
}

/// One question and its answer, in `patience` at most.
fn ask(
    (plugin, patience): (&str, Duration),
    endpoint: &Endpoint,
    method: &str,
    request: &Value,
) -> Result<Value, PluginError> {
    let told = |error: HttpError| broken(plugin, corten_std::chain(&error));
    let mut pauses = PAUSES.iter();
    let mut connection = loop {
        match Connection::open(endpoint) {
            Ok(connection) => break connection,
            Err(error) => match pauses.next() {
                Some(pause) if error.is_absent() => std::thread::sleep(*pause),
                _ => return Err(told(error)),
            },
        }
    };
    connection.end_at(Instant::now() + patience);
    let body = if request.is_null() { Vec::new() } else { request.to_string().into_bytes() };
    let target = format!("/{method}");
    let headers = [("Accept", MEDIA_TYPE), ("Content-Type", MEDIA_TYPE)];
    let request = Request { method: "POST", target: &target, headers: &headers, body: Body::Bytes(&body) };
    let mut answer = connection.send(request).map_err(told)?;
    let status = answer.head.status;
    let bytes = answer.read_at_most(LONGEST_ANSWER).map_err(told)?;
    let document: Option<Value> = serde_json::from_slice(&bytes).ok();
    match (status, document) {
        (200, Some(document)) => Ok(document),
        (200, None) if bytes.trim_ascii().is_empty() => Ok(Value::Null),
        (200, None) => Err(broken(plugin, format!("{method} was not answered with JSON"))),
        (404, _) => Err(PluginError::Unknown { plugin: plugin.to_owned(), method: method.to_owned() }),
        (status, document) => {
            let text = document.and_then(|document| document["Err"].as_str().map(str::to_owned));
            let text = text.unwrap_or_else(|| String::from_utf8_lossy(&bytes).trim().to_owned());
            Err(broken(plugin, format!("{method}: {text} (status {status})")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    const SHORT: Duration = Duration::from_millis(500);
    const LONG: Duration = Duration::from_mins(1);

    /// What is said of a plugin that answers like this.
    fn check(
        name: &str,
        patience: Duration,
        answer: impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send + 'static,
    ) -> String {
        let path = std::env::temp_dir().join(format!("corten-plugin-{name}-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            // It ends when we hang up.
            let _ = answer(&mut stream);
        });
        let start = Instant::now();
        let said = ask(("odd", patience), &Endpoint::Unix(path.clone()), "Odd.Ask", &Value::Null);
        assert!(start.elapsed() < Duration::from_mins(1), "{said:?}");
        server.join().unwrap();
        std::fs::remove_file(&path).unwrap();
        said.map_or_else(|error| error.to_string(), |answer| answer.to_string())
    }

    #[test]
    fn an_answer_is_neither_waited_for_nor_read_without_end() {
        let whole =
            check("whole", LONG, |out| out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"));
        assert_eq!(whole, "{}");
        // A byte now and then, which keeps every single wait short.
        let slow = check("slow", SHORT, |out| {
            out.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            loop {
                out.write_all(b" ")?;
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        assert!(slow.contains("not over in time"), "{slow}");
        let slow = check("slow-head", SHORT, |out| {
            out.write_all(b"HTTP/1.1 200 OK\r\nX: ")?;
            loop {
                out.write_all(b"x")?;
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        assert!(slow.contains("not over in time"), "{slow}");
    }

    #[test]
    fn an_answer_that_is_too_long_is_refused() {
        let length = usize::try_from(LONGEST_ANSWER + 1).unwrap();
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + length, b' ');
        let said = check("long", LONG, move |out| out.write_all(&answer));
        assert!(said.contains("longer than"), "{said}");
    }
}
