//! Docker's plugin protocol from the daemon's side: finds plugins by socket and spec file, and calls them.
//!
//! A plugin is a program of somebody else with a socket in `/run/docker/plugins` (`NAME.sock` or `NAME/NAME.sock`), or
//! one that a file in `/etc/docker/plugins` or `/usr/lib/docker/plugins` names (`NAME.spec` with an address, `NAME.json`
//! with an address and TLS files). It is looked for at each call, so that one that comes later, or comes again
//! elsewhere, is found. A call is a `POST` of a JSON document; the first one asks what the plugin implements.

mod find;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use corten_engine::plugin::{PluginCaller, PluginError};
use corten_http::client::{Body, Connection, Endpoint, HttpError, Request};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use serde_json::Value;

pub use find::Folders;

/// The protocol's version, as a media type.
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// How long a plugin may take to answer: a volume may have to be made on another machine.
const PATIENCE: Duration = Duration::from_mins(2);

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
        let answer = ask(name, endpoint, "Plugin.Activate", &Value::Null)?;
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
        ask(plugin, &endpoint, method, request)
    }
}

fn broken(plugin: &str, reason: impl Into<String>) -> PluginError {
    PluginError::Broken { plugin: plugin.to_owned(), reason: reason.into() }
}

fn ask(plugin: &str, endpoint: &Endpoint, method: &str, request: &Value) -> Result<Value, PluginError> {
    let told = |error: HttpError| broken(plugin, corten_std::chain(&error));
    let mut pauses = PAUSES.iter();
    let connection = loop {
        match Connection::open(endpoint) {
            Ok(connection) => break connection,
            Err(error) => match pauses.next() {
                Some(pause) if error.is_absent() => std::thread::sleep(*pause),
                _ => return Err(told(error)),
            },
        }
    };
    for side in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&connection, side, Some(PATIENCE))
            .map_err(|error| broken(plugin, error.to_string()))?;
    }
    let body = if request.is_null() { Vec::new() } else { request.to_string().into_bytes() };
    let target = format!("/{method}");
    let headers = [("Accept", MEDIA_TYPE), ("Content-Type", MEDIA_TYPE)];
    let request = Request { method: "POST", target: &target, headers: &headers, body: Body::Bytes(&body) };
    let mut answer = connection.send(request).map_err(told)?;
    let status = answer.head.status;
    let bytes = answer.read_all().map_err(told)?;
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
