//! `gelf`: Graylog's documents, compressed and in chunks over UDP, ended by a zero over TCP.

use std::io;

use corten_layer::{Wrapping, deflate};
use corten_shim::log::LogEntry;
use corten_shim::mux::Stream;
use serde_json::{Map, Value, json};

use super::wire::{Address, Wire};
use super::{Options, Subject, text};
use crate::error::{EngineError, Result};

const OWN_OPTIONS: [&str; 5] = [
    "gelf-address",
    "gelf-compression-type",
    "gelf-compression-level",
    "gelf-tcp-max-reconnect",
    "gelf-tcp-reconnect-delay",
];

/// Bytes of a datagram.
const CHUNK: usize = 1420;
/// Bytes in front of a chunk's data: mark, message id, number, count.
const CHUNK_HEAD: usize = 12;
/// Chunks that a message may have.
const MAX_CHUNKS: usize = 128;

#[derive(Debug)]
pub(crate) struct Gelf {
    address: Address,
    /// None: not at all.
    packing: Option<Wrapping>,
    /// None: the usual one.
    level: Option<u32>,
    wire: Option<Wire>,
}

impl Gelf {
    pub(super) fn new(options: &Options<'_>) -> Result<Self> {
        options.accept(&OWN_OPTIONS)?;
        let text = options
            .get("gelf-address")
            .ok_or_else(|| EngineError::invalid("gelf-address is a required parameter"))?;
        let address = Address::parse(text, 12201)
            .map_err(|why| EngineError::invalid(format!("invalid gelf-address `{text}`: {why}")))?;
        let is_tcp = match address {
            Address::Tcp(..) => true,
            Address::Udp(..) => false,
            _ => return Err(EngineError::invalid("gelf: endpoint needs to be TCP or UDP")),
        };
        for (option, for_tcp) in [
            ("gelf-compression-type", false),
            ("gelf-compression-level", false),
            ("gelf-tcp-max-reconnect", true),
            ("gelf-tcp-reconnect-delay", true),
        ] {
            if options.get(option).is_some() && for_tcp != is_tcp {
                let kind = if for_tcp { "TCP" } else { "UDP" };
                return Err(EngineError::invalid(format!("{option} option is only supported on {kind}")));
            }
        }
        let packing = match options.get("gelf-compression-type") {
            None | Some("gzip") => Some(Wrapping::Gzip),
            Some("zlib") => Some(Wrapping::Zlib),
            Some("none") => None,
            Some(other) => {
                return Err(EngineError::invalid(format!("gelf: invalid compression type {other:?}")));
            }
        };
        let level = match options.get("gelf-compression-level").map(str::parse::<i32>) {
            None => Some(1),
            Some(Ok(-1)) => None,
            Some(Ok(level @ 0..=9)) => Some(level as u32),
            Some(_) => return Err(EngineError::invalid("gelf: invalid compression level")),
        };
        Ok(Self { address, packing, level, wire: None })
    }

    pub(super) async fn open(&mut self) -> io::Result<()> {
        self.wire = None;
        self.wire = Some(Wire::open(&self.address).await?);
        Ok(())
    }

    pub(super) async fn send(&mut self, subject: &Subject, entry: &LogEntry) -> io::Result<()> {
        // A document without a text is not allowed.
        if text(entry).is_empty() {
            return Ok(());
        }
        let wire = self.wire.as_mut().filter(|wire| !wire.is_gone()).ok_or(io::ErrorKind::NotConnected)?;
        let mut document = document(subject, entry).to_string().into_bytes();
        if !wire.is_datagram() {
            document.push(0);
            return wire.send(&document).await;
        }
        let packed = match self.packing {
            Some(wrapping) => deflate(&document, wrapping, self.level),
            None => document,
        };
        for datagram in datagrams(&packed) {
            wire.send(&datagram).await?;
        }
        Ok(())
    }
}

fn document(subject: &Subject, entry: &LogEntry) -> Value {
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| drop(document.insert(name.to_owned(), value));
    put("version", json!("1.1"));
    put("host", json!(subject.hostname));
    put("short_message", json!(text(entry)));
    put("timestamp", json!((entry.time.unix_nanos() / 1_000_000) as f64 / 1000.0));
    put("level", json!(if entry.stream == Stream::Stderr { 3 } else { 6 }));
    put("_command", json!(subject.command));
    put("_container_id", json!(subject.id));
    put("_container_name", json!(subject.name));
    put("_created", json!(subject.created.to_string()));
    put("_image_id", json!(subject.image_id));
    put("_image_name", json!(subject.image));
    put("_tag", json!(subject.tag));
    for (name, value) in &subject.extra {
        put(&format!("_{name}"), json!(value));
    }
    Value::Object(document)
}

/// One datagram, or chunks under an id of their own. A message of too many is left out: the protocol has no way.
fn datagrams(message: &[u8]) -> Vec<Vec<u8>> {
    if message.len() <= CHUNK {
        return vec![message.to_vec()];
    }
    let count = message.len().div_ceil(CHUNK - CHUNK_HEAD);
    if count > MAX_CHUNKS {
        return Vec::new();
    }
    let id = corten_std::id::random_id();
    let chunks = message.chunks(CHUNK - CHUNK_HEAD).enumerate().map(|(number, data)| {
        let mut chunk = vec![0x1e, 0x0f];
        chunk.extend_from_slice(&id.as_bytes()[..8]);
        chunk.extend_from_slice(&[number as u8, count as u8]);
        chunk.extend_from_slice(data);
        chunk
    });
    chunks.collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, subject};
    use super::*;

    #[test]
    fn documents_and_chunks() {
        let document = document(&subject(), &entry("x\n", true));
        assert_eq!(
            (&document["short_message"], &document["level"], &document["_app"], &document["timestamp"]),
            (&json!("x"), &json!(3), &json!("shop"), &json!(1_700_000_000.123))
        );
        assert_eq!(datagrams(b"short"), [b"short"]);
        let message: Vec<u8> = (0..4000_u32).map(|number| number as u8).collect();
        let chunks = datagrams(&message);
        assert_eq!(chunks.len(), 3);
        let joined: Vec<u8> = chunks.iter().flat_map(|chunk| chunk[CHUNK_HEAD..].to_vec()).collect();
        assert!(joined == message && chunks.iter().all(|chunk| chunk.len() <= CHUNK));
        assert_eq!((&chunks[2][..2], chunks[2][10], chunks[2][11]), (&[0x1e, 0x0f][..], 2, 3));
    }
}
