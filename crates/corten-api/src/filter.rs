//! The `filters` parameter: which objects a list, a prune or an event stream is about.
//!
//! Different keys must all match; of one key's values one must, except labels, of which all must.

use std::collections::{BTreeMap, BTreeSet};

use corten_std::{Classified, ErrorClass};
use regex_lite::Regex;
use serde::Deserialize;

/// The values asked for by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    keys: BTreeMap<String, BTreeSet<String>>,
}

/// What is wrong with a filter. The texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The parameter is no JSON of either form.
    #[error("invalid filter")]
    Malformed,
    /// The key means nothing for this kind of object.
    #[error("invalid filter '{0}'")]
    UnknownKey(String),
    /// The value is neither true nor false.
    #[error("invalid value for filter '{0}', must be \"true\" (or \"1\"), or \"false\" (or \"0\")")]
    NotBoolean(String),
    /// The value means nothing for this key.
    #[error("invalid filter '{key}=[{}]'", .values.join(" "))]
    InvalidValue {
        /// The key.
        key: String,
        /// Its values.
        values: Vec<String>,
    },
}

impl Classified for FilterError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidParameter
    }
}

impl Filters {
    /// No filter: everything matches.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the parameter: `{"key":{"value":true}}` or the older `{"key":["value"]}`; empty is no filter.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Values {
            Map(BTreeMap<String, bool>),
            List(Vec<String>),
        }
        if text.is_empty() {
            return Ok(Self::new());
        }
        let keys: Option<BTreeMap<String, Option<Values>>> =
            serde_json::from_str(text).map_err(|_| FilterError::Malformed)?;
        let keys = keys.unwrap_or_default().into_iter().map(|(key, values)| {
            let values = match values {
                None => BTreeSet::new(),
                Some(Values::Map(map)) => map.into_keys().collect(),
                Some(Values::List(list)) => list.into_iter().collect(),
            };
            (key, values)
        });
        Ok(Self { keys: keys.collect() })
    }

    /// The parameter as the newer form; empty when there is no filter.
    pub fn to_parameter(&self) -> String {
        if self.keys.is_empty() {
            return String::new();
        }
        let map: BTreeMap<&str, BTreeMap<&str, bool>> = self
            .keys
            .iter()
            .map(|(key, values)| (key.as_str(), values.iter().map(|value| (value.as_str(), true)).collect()))
            .collect();
        serde_json::to_string(&map).unwrap_or_default()
    }

    /// Adds a value.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.keys.entry(key.into()).or_default().insert(value.into());
    }

    /// Whether there is no filter.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether that key was given.
    pub fn contains(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// The values of that key.
    pub fn get<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.keys.get(key).into_iter().flatten().map(String::as_str)
    }

    /// Refuses a key that is not one of these.
    pub fn validate(&self, accepted: &[&str]) -> Result<(), FilterError> {
        match self.keys.keys().find(|key| !accepted.contains(&key.as_str())) {
            Some(key) => Err(FilterError::UnknownKey(key.clone())),
            None => Ok(()),
        }
    }

    /// Whether one of the key's values is the text; also when the key was not given.
    pub fn matches_exactly(&self, key: &str, text: &str) -> bool {
        self.keys.get(key).is_none_or(|values| values.is_empty() || values.contains(text))
    }

    /// Whether one of the key's values begins the text; also when the key was not given.
    pub fn matches_prefix(&self, key: &str, text: &str) -> bool {
        self.keys.get(key).is_none_or(|values| {
            values.is_empty() || values.iter().any(|value| text.starts_with(value.as_str()))
        })
    }

    /// Whether one of the key's values is the text or a regular expression found in it; also when the key was not
    /// given. A value that is no regular expression is only compared.
    pub fn matches_pattern(&self, key: &str, text: &str) -> bool {
        self.keys.get(key).is_none_or(|values| {
            values.is_empty() || values.contains(text) || values.iter().any(|value| found_in(value, text))
        })
    }

    /// Whether the labels have all of the key's values, each `name` or `name=value`; also when the key was not given.
    pub fn matches_labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.get(key).all(|wanted| has_label(labels, wanted))
    }

    /// Whether the labels pass `label` and have none of what `label!` names.
    pub fn matches_label_keys(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_labels("label", labels) && !self.get("label!").any(|refused| has_label(labels, refused))
    }

    /// A key that is true or false: `None` when it was not given.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, FilterError> {
        let Some(values) = self.keys.get(key) else { return Ok(None) };
        let yes = values.contains("1") || values.contains("true");
        let no = values.contains("0") || values.contains("false");
        if values.len() == 1 && yes != no {
            Ok(Some(yes))
        } else {
            let values = values.iter().cloned().collect();
            Err(FilterError::InvalidValue { key: key.to_owned(), values })
        }
    }
}

fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|has| has == value),
        None => labels.contains_key(wanted),
    }
}

fn found_in(pattern: &str, text: &str) -> bool {
    // Most patterns are plain names: those need no expression.
    if pattern.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/' | b':')) {
        return text.contains(pattern);
    }
    Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_the_newer_is_written() {
        let new = Filters::parse(r#"{"label":{"a=1":true,"b":true}}"#).unwrap();
        let old = Filters::parse(r#"{"label":["b","a=1"]}"#).unwrap();
        assert_eq!(new, old);
        assert_eq!(new.to_parameter(), r#"{"label":{"a=1":true,"b":true}}"#);
        assert!(Filters::parse("").unwrap().is_empty());
        assert!(Filters::parse("null").unwrap().is_empty());
        for wrong in ["[]", "{", r#"{"a":1}"#, "asdf"] {
            assert_eq!(Filters::parse(wrong).unwrap_err().to_string(), "invalid filter", "{wrong}");
        }
    }

    #[test]
    fn unknown_keys_and_bad_truth_are_refused() {
        let filters = Filters::parse(r#"{"dangling":["maybe"]}"#).unwrap();
        assert_eq!(filters.validate(&["label"]).unwrap_err().to_string(), "invalid filter 'dangling'");
        assert_eq!(filters.flag("dangling").unwrap_err().to_string(), "invalid filter 'dangling=[maybe]'");
        assert_eq!(Filters::parse(r#"{"d":["1"]}"#).unwrap().flag("d"), Ok(Some(true)));
        assert_eq!(filters.flag("other"), Ok(None));
    }

    #[test]
    fn labels_must_all_match() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]);
        let matches = |text| Filters::parse(text).unwrap().matches_label_keys(&labels);
        assert!(matches(r#"{"label":["a=1","b"]}"#));
        assert!(!matches(r#"{"label":["a=1","c"]}"#));
        assert!(!matches(r#"{"label!":["b"]}"#));
        assert!(matches(r#"{"label!":["c"]}"#));
    }

    #[test]
    fn names_are_unanchored_expressions() {
        let matches = |value: &str, text| {
            let mut filters = Filters::new();
            filters.add("name", value);
            filters.matches_pattern("name", text)
        };
        assert!(matches("eb", "/web1"));
        assert!(matches("^/web1$", "/web1"));
        assert!(!matches("^eb", "/web1"));
        assert!(matches("w.b", "/web1"));
        assert!(!matches("(", "/web1"));
        assert!(Filters::new().matches_pattern("name", "any"));
    }
}
