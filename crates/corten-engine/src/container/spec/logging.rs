//! Log drivers and their options.

use crate::container::record::Record;
use crate::error::{EngineError, Result};
use crate::log::driver;
use corten_api::container::LogConfig;
use corten_shim::protocol::LogSettings;
use corten_std::size;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Options that only say which labels and variables go into each line.
const ATTRIBUTE_OPTIONS: [&str; 3] = ["labels", "env", "tag"];

/// Checks a log configuration; an empty driver is the default's.
pub(crate) fn check(log: &LogConfig) -> Result<()> {
    settings(log, PathBuf::new(), BTreeMap::new()).map(drop)
}

/// What the shim needs to know.
pub(crate) fn settings(
    log: &LogConfig,
    path: PathBuf,
    attributes: BTreeMap<String, String>,
) -> Result<LogSettings> {
    let mut settings = LogSettings::json_file(path);
    settings.attributes = attributes;
    match log.driver.as_str() {
        "" | "default" | "json-file" | "local" => {}
        "none" => "none".clone_into(&mut settings.format),
        // What is sent elsewhere is kept too; the other options are the driver's.
        driver if driver::NAMES.contains(&driver) => {
            driver::Driver::new(log)?;
        }
        other => {
            return Err(EngineError::invalid(format!("logger: no log driver named '{other}' is registered"))
                .with_hint(
                    "the log drivers are fluentd, gelf, journald, json-file, local, none and syslog",
                ));
        }
    }
    let sent = driver::NAMES.contains(&log.driver.as_str());
    for (name, value) in log.config.iter().flatten() {
        // The file of a log that is sent elsewhere has options of its own.
        let name = match name.as_str() {
            name if !sent => name,
            "cache-max-size" => "max-size",
            "cache-max-file" => "max-file",
            _ => continue,
        };
        let wrong = || EngineError::invalid(format!("invalid value for log opt '{name}': {value}"));
        match name {
            "max-size" if value == "-1" => settings.max_size = None,
            "max-size" => {
                let bytes = size::parse_bytes(value).and_then(|bytes| u64::try_from(bytes).ok());
                settings.max_size = Some(bytes.ok_or_else(wrong)?);
            }
            "max-file" => {
                settings.max_file = value.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?;
            }
            "mode" if !matches!(value.as_str(), "" | "blocking" | "non-blocking") => {
                return Err(EngineError::invalid(format!("logger: logging mode not supported: {value}")));
            }
            "compress" | "mode" | "max-buffer-size" | "labels-regex" | "env-regex" => {}
            name if ATTRIBUTE_OPTIONS.contains(&name) => {}
            _ => {
                let driver = if log.driver.is_empty() { "json-file" } else { &log.driver };
                return Err(EngineError::invalid(format!(
                    "unknown log opt '{name}' for {driver} log driver"
                )));
            }
        }
    }
    Ok(settings)
}

/// The labels and variables that go into each line of the file, and the tag where one is given.
pub(crate) fn attributes(record: &Record) -> Result<BTreeMap<String, String>> {
    let Some(options) = &record.host_config.log_config.config else { return Ok(BTreeMap::new()) };
    let subject = driver::subject(record)?;
    let mut found = subject.extra;
    if options.contains_key("tag") {
        found.insert("tag".to_owned(), subject.tag);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(driver: &str, options: &[(&str, &str)]) -> LogConfig {
        let config = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        LogConfig { driver: driver.to_owned(), config: Some(config) }
    }

    #[test]
    fn drivers_and_options() {
        let settings = |log: &LogConfig| settings(log, PathBuf::new(), BTreeMap::new());
        let found = settings(&log("json-file", &[("max-size", "10m"), ("max-file", "3")])).unwrap();
        assert_eq!((found.max_size, found.max_file), (Some(10 * 1024 * 1024), 3));
        assert_eq!(settings(&log("none", &[])).unwrap().format, "none");
        assert!(check(&log("splunk", &[])).is_err());
        let sent =
            settings(&log("syslog", &[("cache-max-size", "1m"), ("syslog-facility", "local0")])).unwrap();
        assert_eq!((sent.format.as_str(), sent.max_size), ("json-file", Some(1024 * 1024)));
        assert_eq!(
            check(&log("json-file", &[("odd", "1")])).unwrap_err().to_string(),
            "unknown log opt 'odd' for json-file log driver"
        );
        assert!(check(&log("json-file", &[("max-file", "0")])).is_err());
    }

    #[test]
    fn named_labels_and_variables_go_into_lines() {
        let mut record = crate::container::record::tests_support::record("aa", "a");
        record.config.labels.insert("app".to_owned(), "web".to_owned());
        record.config.env = Some(vec!["MODE=test".to_owned(), "OTHER=x".to_owned()]);
        record.host_config.log_config =
            log("json-file", &[("labels", "app"), ("env-regex", "^MO"), ("tag", "{{.Name}}!")]);
        let found = attributes(&record).unwrap();
        assert_eq!(
            found.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>(),
            ["MODE=test", "app=web", "tag=a!"]
        );
    }
}
