//! `journald`: the native protocol, a datagram of fields for each entry.

use std::io;

use corten_shim::log::LogEntry;
use corten_shim::mux::Stream;

use super::wire::Wire;
use super::{Options, Subject, text};
use crate::error::Result;

const SOCKET: &str = "/run/systemd/journal/socket";

#[derive(Debug)]
pub(crate) struct Journald {
    wire: Option<Wire>,
    /// Entries sent so far.
    ordinal: u64,
}

impl Journald {
    pub(super) fn new(options: &Options<'_>) -> Result<Self> {
        options.accept(&[])?;
        Ok(Self { wire: None, ordinal: 0 })
    }

    pub(super) fn open(&mut self) -> io::Result<()> {
        let socket = tokio::net::UnixDatagram::unbound()?;
        socket
            .connect(SOCKET)
            .map_err(|error| io::Error::new(error.kind(), "journald is not enabled on this host"))?;
        self.wire = Some(Wire::UnixDatagram(socket));
        Ok(())
    }

    pub(super) async fn send(&mut self, subject: &Subject, entry: &LogEntry) -> io::Result<()> {
        let wire = self.wire.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        wire.send(&message(subject, entry, self.ordinal + 1)).await?;
        self.ordinal += 1;
        Ok(())
    }
}

fn message(subject: &Subject, entry: &LogEntry, ordinal: u64) -> Vec<u8> {
    let priority = if entry.stream == Stream::Stderr { "3" } else { "6" };
    let mut bytes = Vec::new();
    let mut field = |name: &str, value: &str| append(&mut bytes, name, value);
    for (name, value) in &subject.extra {
        field(&field_name(name), value);
    }
    field("CONTAINER_ID", subject.short_id());
    field("CONTAINER_ID_FULL", &subject.id);
    field("CONTAINER_NAME", &subject.name);
    field("CONTAINER_TAG", &subject.tag);
    field("IMAGE_NAME", &subject.image);
    field("SYSLOG_IDENTIFIER", &subject.tag);
    field("SYSLOG_TIMESTAMP", &entry.time.to_string());
    field("CONTAINER_LOG_ORDINAL", &ordinal.to_string());
    if entry.is_partial() {
        field("CONTAINER_PARTIAL_MESSAGE", "true");
    }
    field("PRIORITY", priority);
    field("MESSAGE", text(entry));
    bytes
}

/// A value with a line's end in it goes behind its length.
fn append(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(b'\n');
}

/// The journal's rule for names: capital letters, digits and `_`, which may not come first.
fn field_name(name: &str) -> String {
    let capital =
        |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
    name.chars().map(capital).collect::<String>().trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, subject};
    use super::*;

    #[test]
    fn fields() {
        let text = String::from_utf8(message(&subject(), &entry("a line\n", true), 4)).unwrap();
        for line in [
            "APP=shop",
            "CONTAINER_ID=0123456789ab",
            "CONTAINER_NAME=web",
            "CONTAINER_LOG_ORDINAL=4",
            "PRIORITY=3",
            "MESSAGE=a line",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(!text.contains("PARTIAL"));
        let part = String::from_utf8(message(&subject(), &entry("part", false), 1)).unwrap();
        assert!(part.contains("CONTAINER_PARTIAL_MESSAGE=true\n"));
        let mut bytes = Vec::new();
        append(&mut bytes, "A", "x\ny");
        assert_eq!(bytes, b"A\n\x03\0\0\0\0\0\0\0x\ny\n");
        assert_eq!(field_name("__com.x-y"), "COM_X_Y");
    }
}
