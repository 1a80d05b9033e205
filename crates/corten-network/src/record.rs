//! What is known of one sandbox, in a small file that outlives the daemon but not the machine.
//!
//! The file is written when a sandbox is handed out and whenever its endpoints or ports change, and removed after its
//! namespace. A namespace without a record is one that stood ready, and a record that the engine does not know is a
//! sandbox whose container is gone; [`crate::NetworkManager::restore`] sweeps both.

use crate::endpoint::{Endpoint, SandboxKind};
use crate::settings::{PortMapping, PublishedPort};
use corten_std::file::{self, Durability};
use corten_std::{PathError, Paths};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;

/// Raised when a field changes its meaning; a reader refuses what is newer than itself.
const VERSION: u32 = 2;

/// One sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The form of this file.
    version: u32,
    /// The sandbox's id.
    pub(crate) id: String,
    /// The container's id; empty where an older program wrote this.
    #[serde(default)]
    pub(crate) container_id: String,
    /// The container's name, for messages.
    pub(crate) name: String,
    pub(crate) kind: SandboxKind,
    /// In the order in which they were made.
    #[serde(default)]
    pub(crate) endpoints: Vec<Endpoint>,
    /// Interfaces inside that are being made and are no endpoints yet: a new daemon removes them. Only those that nothing on
    /// the host tells of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unfinished: Vec<String>,
    /// The number of the next interface: that of one that went is not given again.
    #[serde(default)]
    pub(crate) next_interface: u32,
    /// What is to be published while an endpoint leads out.
    #[serde(default)]
    pub(crate) mappings: Vec<PortMapping>,
    /// What is published.
    #[serde(default)]
    pub(crate) ports: Vec<PublishedPort>,
    /// Before there were several endpoints.
    #[serde(default, skip_serializing)]
    endpoint: Option<Endpoint>,
    #[serde(default, skip_serializing)]
    host_index: u32,
}

impl Record {
    pub(crate) fn new(id: String, container_id: &str, name: &str, kind: SandboxKind) -> Self {
        Self {
            version: VERSION,
            id,
            container_id: container_id.to_owned(),
            name: name.to_owned(),
            kind,
            endpoints: Vec::new(),
            unfinished: Vec::new(),
            next_interface: 0,
            mappings: Vec::new(),
            ports: Vec::new(),
            endpoint: None,
            host_index: 0,
        }
    }

    /// Writes or replaces the file.
    pub(crate) fn write(&self, paths: &Paths) -> Result<(), PathError> {
        let path = record_path(paths, &self.id);
        let bytes = serde_json::to_vec(self)
            .map_err(|error| PathError::new("write", &path, io::Error::other(error)))?;
        file::write_atomic(&path, &bytes, Durability::Kernel)
    }
}

/// Where a sandbox's record lies.
pub(crate) fn record_path(paths: &Paths, id: &str) -> PathBuf {
    paths.sandboxes().join(format!("{id}.json"))
}

/// Where a sandbox's namespace is pinned.
pub(crate) fn pin_path(paths: &Paths, id: &str) -> PathBuf {
    paths.network_namespaces().join(corten_std::id::short(id))
}

/// Which interfaces there were when forwarding was turned on: a list of names. The file exists only where it was a
/// daemon with this exec root that turned it on.
pub(crate) fn forwarding_path(paths: &Paths) -> PathBuf {
    paths.exec_root.join("forwarding.json")
}

/// Reads one record; what cannot be read is no record.
pub(crate) fn parse(bytes: &[u8]) -> Option<Record> {
    let mut record: Record = serde_json::from_slice(bytes).ok()?;
    if record.version > VERSION || !corten_std::id::is_full(&record.id) {
        return None;
    }
    record.version = VERSION;
    if let Some(endpoint) = record.endpoint.take() {
        record.endpoints.push(Endpoint { host_index: record.host_index, ..endpoint });
        record.next_interface = 1;
    }
    Some(record)
}

/// All records, and the files in the folder that are none (left by a killed writer).
pub(crate) fn read_all(paths: &Paths) -> Result<(Vec<Record>, Vec<PathBuf>), PathError> {
    let mut records = Vec::new();
    let mut others = Vec::new();
    for name in file::list(paths.sandboxes())? {
        let path = paths.sandboxes().join(name);
        match file::read_optional(&path)?.as_deref().and_then(parse) {
            Some(record) if record_path(paths, &record.id) == path => records.push(record),
            _ => others.push(path),
        }
    }
    Ok((records, others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_a_damaged_one_does_not() {
        let record = Record::new(corten_std::id::random_id(), "", "web", SandboxKind::None);
        let bytes = serde_json::to_vec(&record).unwrap();
        assert_eq!(parse(&bytes), Some(record.clone()));
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), None);
        }
        let newer = Record { version: VERSION + 1, ..record };
        assert_eq!(parse(&serde_json::to_vec(&newer).unwrap()), None);
    }

    #[test]
    fn a_record_of_one_endpoint_is_read() {
        let text = format!(
            r#"{{"version":1,"id":"{}","name":"web","kind":"bridge","endpoint":{{"id":"e","network_id":"n",
            "interface":"eth0","host_interface":"veth0","address":"172.17.0.2","prefix":16,"gateway":"172.17.0.1",
            "mac":"02:42:ac:11:00:02"}},"host_index":7,"ports":[]}}"#,
            corten_std::id::random_id()
        );
        let record = parse(text.as_bytes()).unwrap();
        assert_eq!((record.kind, record.next_interface), (SandboxKind::Networks, 1));
        assert_eq!((record.endpoints[0].host_index, record.endpoints[0].publishes), (7, true));
        assert_eq!(record.endpoints[0].address, Some([172, 17, 0, 2].into()));
    }
}
