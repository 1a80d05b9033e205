//! `syslog`: RFC 3164 and RFC 5424 messages over UDP, TCP and local sockets.

use std::io;

use corten_shim::log::LogEntry;
use corten_shim::mux::Stream;
use corten_std::Timestamp;

use super::wire::{Address, Wire};
use super::{Options, Subject, text};
use crate::error::{EngineError, Result};

/// Where the system's own syslog may listen.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// By number.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "",
    "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

const OWN_OPTIONS: [&str; 3] = ["syslog-address", "syslog-facility", "syslog-format"];

const ERROR: u8 = 3;
const INFORMATION: u8 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// What local daemons expect: RFC 3164 without a host.
    Unix,
    Rfc3164,
    Rfc5424,
    /// With microseconds.
    Rfc5424Micro,
}

#[derive(Debug)]
pub(crate) struct Syslog {
    /// None: the system's own.
    address: Option<Address>,
    facility: u8,
    format: Format,
    wire: Option<Wire>,
}

impl Syslog {
    pub(super) fn new(options: &Options<'_>) -> Result<Self> {
        options.accept(&OWN_OPTIONS)?;
        let address = options.get("syslog-address").map(|text| {
            Address::parse(text, 514)
                .map_err(|why| EngineError::invalid(format!("invalid syslog-address `{text}`: {why}")))
        });
        let facility = match options.get("syslog-facility") {
            None => 3,
            Some(text) => FACILITIES
                .iter()
                .position(|name| *name == text)
                .or_else(|| text.parse().ok().filter(|number| *number < FACILITIES.len()))
                .ok_or_else(|| EngineError::invalid("invalid syslog facility"))?,
        };
        let format = match options.get("syslog-format") {
            None => Format::Unix,
            Some("rfc3164") => Format::Rfc3164,
            Some("rfc5424") => Format::Rfc5424,
            Some("rfc5424micro") => Format::Rfc5424Micro,
            Some(_) => return Err(EngineError::invalid("Invalid syslog format")),
        };
        Ok(Self { address: address.transpose()?, facility: facility as u8, format, wire: None })
    }

    pub(super) async fn open(&mut self) -> io::Result<()> {
        self.wire = None;
        let wire = match &self.address {
            Some(address) => Wire::open(address).await?,
            None => local().await?,
        };
        self.wire = Some(wire);
        Ok(())
    }

    pub(super) async fn send(&mut self, subject: &Subject, entry: &LogEntry) -> io::Result<()> {
        let wire = self.wire.as_mut().filter(|wire| !wire.is_gone()).ok_or(io::ErrorKind::NotConnected)?;
        let message = message(self.format, self.facility, std::process::id(), subject, entry);
        // On a stream RFC 5424 messages are counted; the others are lines.
        let counted = matches!(self.format, Format::Rfc5424 | Format::Rfc5424Micro) && !wire.is_datagram();
        let bytes = if counted { format!("{} {message}", message.len()) } else { message };
        wire.send(bytes.as_bytes()).await
    }
}

async fn local() -> io::Result<Wire> {
    for path in LOCAL {
        for address in [Address::UnixDatagram(path.into()), Address::Unix(path.into())] {
            if let Ok(wire) = Wire::open(&address).await {
                return Ok(wire);
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "Unix syslog delivery error"))
}

fn message(format: Format, facility: u8, pid: u32, subject: &Subject, entry: &LogEntry) -> String {
    let severity = if entry.stream == Stream::Stderr { ERROR } else { INFORMATION };
    let priority = (facility << 3) | severity;
    let (tag, host, line) = (&subject.tag, &subject.hostname, text(entry));
    // When the line was written, which is not always when it is sent.
    let time = entry.time;
    match format {
        Format::Unix => format!("<{priority}>{} {tag}[{pid}]: {line}\n", stamp(time)),
        Format::Rfc3164 => format!("<{priority}>{} {host} {tag}[{pid}]: {line}\n", stamp(time)),
        Format::Rfc5424 => {
            format!("<{priority}>1 {} {host} {tag} {pid} {tag} - {line}\n", iso(time, None))
        }
        Format::Rfc5424Micro => {
            let micros = time.subsecond_nanos() / 1000;
            format!("<{priority}>1 {} {host} {tag} {pid} {tag} - {line}\n", iso(time, Some(micros)))
        }
    }
}

/// `Nov 14 22:13:20`
fn stamp(time: Timestamp) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, month, day, hour, minute, second) = time.civil();
    format!("{} {day:>2} {hour:02}:{minute:02}:{second:02}", MONTHS[(month as usize + 11) % 12])
}

fn iso(time: Timestamp, micros: Option<u32>) -> String {
    let (year, month, day, hour, minute, second) = time.civil();
    let fraction = micros.map(|micros| format!(".{micros:06}")).unwrap_or_default();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, subject};
    use super::*;

    #[test]
    fn messages() {
        let said = |format, is_error| message(format, 3, 7, &subject(), &entry("hello\n", is_error));
        assert_eq!(said(Format::Unix, false), "<30>Nov 14 22:13:20 0123456789ab[7]: hello\n");
        assert_eq!(said(Format::Rfc3164, true), "<27>Nov 14 22:13:20 host 0123456789ab[7]: hello\n");
        assert_eq!(
            said(Format::Rfc5424, false),
            "<30>1 2023-11-14T22:13:20Z host 0123456789ab 7 0123456789ab - hello\n"
        );
        assert!(said(Format::Rfc5424Micro, false).contains("22:13:20.123456Z"));
        assert_eq!(stamp(Timestamp::from_unix(0, 0)), "Jan  1 00:00:00");
    }
}
