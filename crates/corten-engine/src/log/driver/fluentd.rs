//! `fluentd`: the forward protocol, a MessagePack array for each entry.

use std::io;

use corten_shim::log::LogEntry;
use corten_shim::mux::Stream;

use super::wire::{Address, Wire};
use super::{Options, Subject, text};
use crate::error::{EngineError, Result};

const OWN_OPTIONS: [&str; 11] = [
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-connect",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-retry-wait",
    "fluentd-max-retries",
    "fluentd-sub-second-precision",
    "fluentd-request-ack",
    "fluentd-read-timeout",
    "fluentd-write-timeout",
];

#[derive(Debug)]
pub(crate) struct Fluentd {
    address: Address,
    patient: bool,
    precise: bool,
    acknowledged: bool,
    /// Of the line that is not whole yet, by stream: its id and how many parts there were.
    parts: [Option<(String, u32)>; 2],
    wire: Option<Wire>,
}

impl Fluentd {
    pub(super) fn new(options: &Options<'_>) -> Result<Self> {
        options.accept(&OWN_OPTIONS)?;
        let text = options.get("fluentd-address").unwrap_or("tcp://127.0.0.1:24224");
        // A bare address is one of TCP.
        let whole = if text.contains("://") { text.to_owned() } else { format!("tcp://{text}") };
        let address = Address::parse(&whole, 24224)
            .map_err(|why| EngineError::invalid(format!("invalid fluentd-address ({text}): {why}")))?;
        if !matches!(address, Address::Tcp(..) | Address::Unix(_)) {
            return Err(EngineError::invalid(format!(
                "invalid fluentd-address ({text}): unsupported scheme"
            )));
        }
        Ok(Self {
            address,
            patient: options.truth("fluentd-async")? || options.truth("fluentd-async-connect")?,
            precise: options.truth("fluentd-sub-second-precision")?,
            acknowledged: options.truth("fluentd-request-ack")?,
            parts: [None, None],
            wire: None,
        })
    }

    pub(super) fn is_async(&self) -> bool {
        self.patient
    }

    pub(super) async fn open(&mut self) -> io::Result<()> {
        self.wire = None;
        self.wire = Some(Wire::open(&self.address).await?);
        Ok(())
    }

    pub(super) async fn send(&mut self, subject: &Subject, entry: &LogEntry) -> io::Result<()> {
        let wire = self.wire.as_mut().filter(|wire| !wire.is_gone()).ok_or(io::ErrorKind::NotConnected)?;
        let open = &mut self.parts[usize::from(entry.stream == Stream::Stderr)];
        let part = match &open {
            Some((id, count)) => Some((id.clone(), count + 1)),
            None if entry.is_partial() => Some((corten_std::id::random_id(), 1)),
            None => None,
        };
        let chunk = self.acknowledged.then(corten_std::id::random_id);
        let bytes = message(subject, entry, self.precise, part.as_ref(), chunk.as_deref());
        wire.send(&bytes).await?;
        if let Some(chunk) = chunk {
            await_acknowledgement(wire, &chunk).await?;
        }
        *open = part.filter(|_| entry.is_partial());
        Ok(())
    }
}

/// The answer is a small map that holds the chunk's name.
async fn await_acknowledgement(wire: &mut Wire, chunk: &str) -> io::Result<()> {
    let mut answer = Vec::new();
    let mut piece = [0; 256];
    while !answer.windows(chunk.len()).any(|window| window == chunk.as_bytes()) {
        match wire.receive(&mut piece).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => answer.extend_from_slice(&piece[..count]),
        }
        if answer.len() > 4096 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "fluentd acknowledged something else"));
        }
    }
    Ok(())
}

fn message(
    subject: &Subject,
    entry: &LogEntry,
    precise: bool,
    part: Option<&(String, u32)>,
    chunk: Option<&str>,
) -> Vec<u8> {
    let source = if entry.stream == Stream::Stderr { "stderr" } else { "stdout" };
    let mut record: Vec<(String, String)> = vec![
        ("container_id".to_owned(), subject.id.clone()),
        ("container_name".to_owned(), format!("/{}", subject.name)),
        ("source".to_owned(), source.to_owned()),
        ("log".to_owned(), text(entry).to_owned()),
    ];
    record.extend(subject.extra.iter().map(|(name, value)| (name.clone(), value.clone())));
    if let Some((id, ordinal)) = part {
        record.push(("partial_message".to_owned(), "true".to_owned()));
        record.push(("partial_id".to_owned(), id.clone()));
        record.push(("partial_ordinal".to_owned(), ordinal.to_string()));
        record.push(("partial_last".to_owned(), (!entry.is_partial()).to_string()));
    }
    let mut bytes = vec![0x94];
    string(&mut bytes, &subject.tag);
    let seconds = entry.time.unix_seconds();
    if precise {
        // The protocol's own type for times: seconds and nanoseconds.
        bytes.extend_from_slice(&[0xd7, 0x00]);
        bytes.extend_from_slice(&(seconds as u32).to_be_bytes());
        bytes.extend_from_slice(&entry.time.subsecond_nanos().to_be_bytes());
    } else {
        bytes.push(0xd3);
        bytes.extend_from_slice(&seconds.to_be_bytes());
    }
    bytes.push(0xde);
    bytes.extend_from_slice(&(record.len() as u16).to_be_bytes());
    for (name, value) in &record {
        string(&mut bytes, name);
        string(&mut bytes, value);
    }
    match chunk {
        Some(chunk) => {
            bytes.push(0x81);
            string(&mut bytes, "chunk");
            string(&mut bytes, chunk);
        }
        None => bytes.push(0x80),
    }
    bytes
}

/// A text in MessagePack.
fn string(bytes: &mut Vec<u8>, text: &str) {
    match text.len() {
        length @ ..=31 => bytes.push(0xa0 | length as u8),
        length @ 32..=0xff => bytes.extend_from_slice(&[0xd9, length as u8]),
        length @ 0x100..=0xffff => {
            bytes.push(0xda);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0xdb);
            bytes.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, subject};
    use super::*;

    #[test]
    fn messages() {
        let bytes = message(&subject(), &entry("x\n", false), false, None, None);
        let mut expected = vec![0x94, 0xac];
        expected.extend(b"0123456789ab");
        expected.push(0xd3);
        expected.extend(1_700_000_000_i64.to_be_bytes());
        expected.extend([0xde, 0, 5, 0xac]);
        expected.extend(b"container_id");
        expected.push(0xa0 | 0x14);
        expected.extend(b"0123456789abcdef0123");
        assert_eq!(bytes[..expected.len()], expected);
        assert_eq!(bytes.last(), Some(&0x80));
        let precise = message(&subject(), &entry("x\n", false), true, None, Some("c"));
        assert_eq!(precise[14..16], [0xd7, 0]);
        assert!(precise.ends_with(b"\x81\xa5chunk\xa1c"));
        let part = message(&subject(), &entry("x", false), false, Some(&("i".to_owned(), 1)), None);
        let last = b"\xacpartial_last\xa5false";
        assert!(part.windows(last.len()).any(|window| window == last));
        let mut long = Vec::new();
        string(&mut long, &"x".repeat(300));
        assert_eq!(long[..3], [0xda, 1, 44]);
    }
}
