//! Log drivers that send elsewhere: what they are told, and what they say of a container.
//!
//! The shim keeps every log in a file, whatever the driver. A task of the daemon ([`super::forward`]) reads that file and
//! sends it on, so that `logs` works with each driver, a receiver that is away holds no container up, and what was
//! written while the daemon was dead is sent by the next one.

mod fluentd;
mod gelf;
mod journald;
mod syslog;
mod wire;

use std::collections::BTreeMap;
use std::io;

use corten_api::container::LogConfig;
use corten_shim::log::LogEntry;
use corten_std::Timestamp;

use crate::container::record::Record;
use crate::error::{EngineError, Result};

/// The drivers of this module.
pub(crate) const NAMES: [&str; 4] = ["fluentd", "gelf", "journald", "syslog"];

/// Options of the file in which such a log is kept too, and of the delivery: accepted, because a file that is never full
/// does both of Docker's modes better.
const COMMON_OPTIONS: [&str; 12] = [
    "mode",
    "max-buffer-size",
    "cache-disabled",
    "cache-max-size",
    "cache-max-file",
    "cache-compress",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
    "label",
];

/// What is told of a container with each line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    pub(crate) id: String,
    /// Without the slash.
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) image_id: String,
    /// Program and arguments.
    pub(crate) command: String,
    pub(crate) created: Timestamp,
    pub(crate) hostname: String,
    /// The tag option, filled in.
    pub(crate) tag: String,
    /// Labels and variables that are to go along.
    pub(crate) extra: BTreeMap<String, String>,
}

impl Subject {
    fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

/// Where a container's log is sent.
#[derive(Debug)]
pub(crate) enum Driver {
    Fluentd(fluentd::Fluentd),
    Gelf(gelf::Gelf),
    Journald(journald::Journald),
    Syslog(syslog::Syslog),
}

/// The options of one driver, for its own checks.
struct Options<'a> {
    driver: &'a str,
    given: BTreeMap<&'a str, &'a str>,
}

impl<'a> Options<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.given.get(name).copied().filter(|value| !value.is_empty())
    }

    fn accept(&self, own: &[&str]) -> Result<()> {
        match self.given.keys().find(|name| !own.contains(name) && !COMMON_OPTIONS.contains(name)) {
            Some(name) => {
                Err(EngineError::invalid(format!("unknown log opt '{name}' for {} log driver", self.driver)))
            }
            None => Ok(()),
        }
    }

    fn truth(&self, name: &str) -> Result<bool> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false" | "0" | "f") => Ok(false),
            Some("true" | "1" | "t") => Ok(true),
            Some(other) => Err(EngineError::invalid(format!("invalid value for log opt '{name}': {other}"))),
        }
    }
}

impl Driver {
    /// The driver of a configuration; none where the log is only kept. Nothing is opened.
    pub(crate) fn new(log: &LogConfig) -> Result<Option<Self>> {
        if !NAMES.contains(&log.driver.as_str()) {
            return Ok(None);
        }
        let given = log.config.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()));
        let options = Options { driver: &log.driver, given: given.collect() };
        if let Some(tag) = options.get("tag") {
            fill_in(tag, &Subject::default())?;
        }
        for name in ["labels-regex", "env-regex"] {
            if let Some(pattern) = options.get(name) {
                regex_lite::Regex::new(pattern).map_err(|error| {
                    EngineError::invalid(format!("invalid value for log opt '{name}': {error}"))
                })?;
            }
        }
        Ok(Some(match log.driver.as_str() {
            "fluentd" => Self::Fluentd(fluentd::Fluentd::new(&options)?),
            "gelf" => Self::Gelf(gelf::Gelf::new(&options)?),
            "journald" => Self::Journald(journald::Journald::new(&options)?),
            _ => Self::Syslog(syslog::Syslog::new(&options)?),
        }))
    }

    /// Whether a receiver that is away is no reason not to start.
    pub(crate) fn is_patient(&self) -> bool {
        matches!(self, Self::Fluentd(fluentd) if fluentd.is_async())
    }

    /// Connects; also again after a failure.
    pub(crate) async fn open(&mut self) -> io::Result<()> {
        match self {
            Self::Fluentd(driver) => driver.open().await,
            Self::Gelf(driver) => driver.open().await,
            Self::Journald(driver) => driver.open(),
            Self::Syslog(driver) => driver.open().await,
        }
    }

    /// Sends one entry, which may be a part of a line.
    pub(crate) async fn send(&mut self, subject: &Subject, entry: &LogEntry) -> io::Result<()> {
        match self {
            Self::Fluentd(driver) => driver.send(subject, entry).await,
            Self::Gelf(driver) => driver.send(subject, entry).await,
            Self::Journald(driver) => driver.send(subject, entry).await,
            Self::Syslog(driver) => driver.send(subject, entry).await,
        }
    }
}

/// What a driver tells of a container.
pub(crate) fn subject(record: &Record) -> Result<Subject> {
    let options = record.host_config.log_config.config.as_ref();
    let option = |name: &str| options.and_then(|options| options.get(name)).map_or("", String::as_str);
    let mut command = vec![record.path.clone()];
    command.extend(record.arguments.iter().cloned());
    let mut subject = Subject {
        id: record.id.clone(),
        name: record.name.clone(),
        image: record.config.image.clone(),
        image_id: record.image.clone(),
        command: command.join(" "),
        created: record.created,
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        tag: String::new(),
        extra: BTreeMap::new(),
    };
    let labels = record.config.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let variables = record.config.env.iter().flatten().filter_map(|entry| entry.split_once('='));
    choose(&mut subject.extra, labels, option("labels"), option("labels-regex"));
    choose(&mut subject.extra, variables, option("env"), option("env-regex"));
    let tag = Some(option("tag")).filter(|tag| !tag.is_empty()).unwrap_or("{{.ID}}");
    subject.tag = fill_in(tag, &subject)?;
    Ok(subject)
}

fn choose<'a>(
    into: &mut BTreeMap<String, String>,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
    names: &str,
    pattern: &str,
) {
    let pattern = (!pattern.is_empty()).then(|| regex_lite::Regex::new(pattern).ok()).flatten();
    let names: Vec<&str> = names.split(',').filter(|name| !name.is_empty()).collect();
    for (name, value) in pairs {
        if names.contains(&name) || pattern.as_ref().is_some_and(|pattern| pattern.is_match(name)) {
            into.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// Fills in Docker's fields of a tag: `{{.ID}}`, `{{.FullID}}`, `{{.Name}}`, `{{.ImageID}}`, `{{.ImageFullID}}`,
/// `{{.ImageName}}`, `{{.DaemonName}}`.
fn fill_in(template: &str, subject: &Subject) -> Result<String> {
    let wrong = |what: &str| {
        EngineError::invalid(format!("invalid tag: template: log-tag: {what}")).with_hint(
            "a tag may have {{.ID}}, {{.FullID}}, {{.Name}}, {{.ImageID}}, {{.ImageFullID}}, {{.ImageName}} and {{.DaemonName}}",
        )
    };
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        let (field, behind) = after.split_once("}}").ok_or_else(|| wrong("unclosed action"))?;
        let image_id = corten_oci::Digest::without_algorithm(&subject.image_id);
        text.push_str(match field.trim() {
            ".ID" => subject.short_id(),
            ".FullID" | ".ContainerID" => &subject.id,
            ".Name" => &subject.name,
            ".ImageID" => image_id.get(..12).unwrap_or(image_id),
            ".ImageFullID" | ".ContainerImageID" => &subject.image_id,
            ".ImageName" | ".ContainerImageName" => &subject.image,
            ".DaemonName" => "docker",
            other => return Err(wrong(&format!("cannot evaluate {other}"))),
        });
        rest = behind;
    }
    text.push_str(rest);
    Ok(text)
}

/// The text without its line's end.
fn text(entry: &LogEntry) -> &str {
    entry.line.strip_suffix('\n').unwrap_or(&entry.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn subject() -> Subject {
        Subject {
            id: "0123456789abcdef0123".to_owned(),
            name: "web".to_owned(),
            image: "nginx:1".to_owned(),
            image_id: "sha256:fedcba98765432100".to_owned(),
            command: "nginx -g".to_owned(),
            created: Timestamp::from_unix(1, 0),
            hostname: "host".to_owned(),
            tag: "0123456789ab".to_owned(),
            extra: BTreeMap::from([("app".to_owned(), "shop".to_owned())]),
        }
    }

    pub(super) fn entry(line: &str, is_error: bool) -> LogEntry {
        use corten_shim::mux::Stream;
        LogEntry {
            stream: if is_error { Stream::Stderr } else { Stream::Stdout },
            line: line.to_owned(),
            time: Timestamp::from_unix(1_700_000_000, 123_456_789),
            attributes: BTreeMap::new(),
        }
    }

    pub(super) fn config(driver: &str, options: &[(&str, &str)]) -> LogConfig {
        let config = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        LogConfig { driver: driver.to_owned(), config: Some(config) }
    }

    #[test]
    fn tags_are_filled_in() {
        let tag = |template| fill_in(template, &subject()).map_err(|error| error.to_string());
        assert_eq!(tag("{{.Name}}/{{ .ID }}").unwrap(), "web/0123456789ab");
        assert_eq!(tag("{{.ImageName}}-{{.ImageID}}").unwrap(), "nginx:1-fedcba987654");
        assert_eq!(tag("plain").unwrap(), "plain");
        assert!(tag("{{.Nothing}}").is_err() && tag("{{.ID").is_err());
    }

    #[test]
    fn options_are_checked_at_create() {
        let said = |driver, options: &[_]| {
            Driver::new(&config(driver, options)).map(drop).map_err(|error| error.to_string())
        };
        assert!(said("syslog", &[("syslog-address", "udp://127.0.0.1:514"), ("tag", "{{.Name}}")]).is_ok());
        assert_eq!(said("gelf", &[("odd", "1")]).unwrap_err(), "unknown log opt 'odd' for gelf log driver");
        assert!(said("gelf", &[]).is_err(), "an address is needed");
        assert!(said("fluentd", &[("fluentd-async", "maybe")]).is_err());
        assert!(said("journald", &[("labels-regex", "(")]).is_err());
        assert!(Driver::new(&config("json-file", &[])).unwrap().is_none());
    }
}
