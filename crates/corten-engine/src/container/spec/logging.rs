//! Log drivers and their options.

use crate::container::record::Record;
use crate::error::{EngineError, Result};
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
        other => {
            return Err(EngineError::invalid(format!("logger: no log driver named '{other}' is registered"))
                .with_hint("the log drivers are json-file, local and none"));
        }
    }
    for (name, value) in log.config.iter().flatten() {
        let wrong = || EngineError::invalid(format!("invalid value for log opt '{name}': {value}"));
        match name.as_str() {
            "max-size" if value == "-1" => settings.max_size = None,
            "max-size" => {
                let bytes = size::parse_bytes(value).and_then(|bytes| u64::try_from(bytes).ok());
                settings.max_size = Some(bytes.ok_or_else(wrong)?);
            }
            "max-file" => {
                settings.max_file = value.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?;
            }
            "compress" | "mode" | "max-buffer-size" | "labels-regex" | "env-regex" => {}
            name if ATTRIBUTE_OPTIONS.contains(&name) => {}
            _ => {
                return Err(EngineError::invalid(format!(
                    "unknown log opt '{name}' for {} log driver",
                    log.driver
                )));
            }
        }
    }
    Ok(settings)
}

/// The labels and variables that `labels` and `env` name.
pub(crate) fn attributes(record: &Record) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let Some(options) = &record.host_config.log_config.config else { return found };
    let names = |option: &str| {
        options
            .get(option)
            .map(|list| list.split(',').map(str::to_owned).collect::<Vec<_>>())
            .unwrap_or_default()
    };
    for name in names("labels") {
        if let Some(value) = record.config.labels.get(&name) {
            found.insert(name, value.clone());
        }
    }
    for name in names("env") {
        let variables = record.config.env.iter().flatten().filter_map(|entry| entry.split_once('='));
        if let Some((_, value)) = variables.rev().find(|(key, _)| *key == name) {
            found.insert(name, value.to_owned());
        }
    }
    if let Some(tag) = options.get("tag") {
        found.insert("tag".to_owned(), tag.clone());
    }
    found
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
        assert!(check(&log("syslog", &[])).is_err());
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
        record.host_config.log_config = log("json-file", &[("labels", "app"), ("env", "MODE")]);
        let found = attributes(&record);
        assert_eq!(
            found.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>(),
            ["MODE=test", "app=web"]
        );
    }
}
