//! The policy: which names need which signatures.
//!
//! ```toml
//! default = "accept"                       # or "refuse": what no rule names
//!
//! [[rule]]
//! repository = "registry.example/prod/**"  # `*` within a part of a name, `**` over parts
//! signed = ["prod.pub"]                    # by any of these keys
//! [[rule.attested]]
//! type = "https://slsa.dev/provenance/v1"
//! by = ["build.pub"]
//! ```
//!
//! The first rule that fits a name counts. A rule that demands nothing accepts; `refuse = true` refuses all.

use crate::{Evidence, Key, Said, SignatureError};
use corten_oci::{Digest, Reference};
use serde::Deserialize;
use std::fmt::Write as _;

/// The whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Where it was read.
    path: String,
    refuses: bool,
    rules: Vec<Rule>,
}

/// What holds for some names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The pattern, and the file that it stands in.
    place: String,
    pattern: String,
    refuses: bool,
    demands: Vec<Demand>,
}

/// One thing that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// A statement of this type; none for a signature.
    pub statement: Option<String>,
    /// By one of these.
    pub keys: Vec<Key>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    default: Default_,
    #[serde(default, rename = "rule")]
    rules: Vec<FileRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Default_ {
    #[default]
    Accept,
    Refuse,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRule {
    repository: String,
    #[serde(default)]
    signed: Vec<String>,
    #[serde(default)]
    attested: Vec<FileAttested>,
    #[serde(default)]
    refuse: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileAttested {
    #[serde(rename = "type")]
    kind: String,
    by: Vec<String>,
}

impl Policy {
    /// Reads the text of the file at `path`; `read` gives the text of a key's file, as it is named there.
    pub fn parse(
        path: &str,
        text: &str,
        read: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<Self, SignatureError> {
        let wrong = |what: String| SignatureError::Policy { path: path.to_owned(), what };
        let file: File = toml::from_str(text).map_err(|error| wrong(error.to_string().trim().to_owned()))?;
        let keys = |names: &[String]| -> Result<Vec<Key>, SignatureError> {
            names
                .iter()
                .map(|name| {
                    let text = read(name).map_err(|what| SignatureError::Key { path: name.clone(), what })?;
                    Key::from_pem(name, &text)
                })
                .collect()
        };
        let mut rules = Vec::new();
        for rule in file.rules {
            let mut demands = Vec::new();
            if !rule.signed.is_empty() {
                demands.push(Demand { statement: None, keys: keys(&rule.signed)? });
            }
            for attested in rule.attested {
                if attested.by.is_empty() {
                    return Err(wrong(format!(
                        "`attested` of `{}` names no key in `by`: a statement without a known key says nothing",
                        rule.repository
                    )));
                }
                demands.push(Demand { statement: Some(attested.kind), keys: keys(&attested.by)? });
            }
            if rule.refuse && !demands.is_empty() {
                return Err(wrong(format!(
                    "the rule for `{}` refuses all and demands something",
                    rule.repository
                )));
            }
            let place = format!("rule `{}` in {path}", rule.repository);
            rules.push(Rule { place, pattern: rule.repository, refuses: rule.refuse, demands });
        }
        Ok(Self { path: path.to_owned(), refuses: matches!(file.default, Default_::Refuse), rules })
    }

    /// What holds for a name; none where it is accepted as it is.
    pub fn rule(&self, name: &Reference) -> Option<Rule> {
        let full = name.canonical_name();
        match self.rules.iter().find(|rule| fits(&rule.pattern, &full)) {
            Some(rule) => (rule.refuses || !rule.demands.is_empty()).then(|| rule.clone()),
            None if self.refuses => Some(Rule {
                place: format!("`default` in {}", self.path),
                pattern: String::new(),
                refuses: true,
                demands: Vec::new(),
            }),
            None => None,
        }
    }
}

impl Rule {
    /// A rule of one demand that stands in no file: what a person asks for.
    pub fn of_keys(keys: Vec<Key>) -> Self {
        let demands = vec![Demand { statement: None, keys }];
        Self { place: "--key".to_owned(), pattern: String::new(), refuses: false, demands }
    }

    /// Whether anything could be enough.
    pub fn refuses_all(&self) -> bool {
        self.refuses
    }

    /// Judges what is said of an image, which goes by any of these digests: gives a line for each demand that is met.
    pub fn check(
        &self,
        name: &Reference,
        digests: &[Digest],
        evidence: &[Evidence],
    ) -> Result<Vec<String>, SignatureError> {
        let refused =
            |what: String, hint: String| SignatureError::Refused { name: name.familiar(), what, hint };
        if self.refuses {
            return Err(refused(
                format!("nothing of this repository is accepted ({})", self.place),
                "a rule that accepts it must stand before".to_owned(),
            ));
        }
        let mut met = Vec::new();
        for demand in &self.demands {
            let by = demand.keys.iter().find(|key| {
                evidence.iter().any(|one| match (one.said(key, digests), &demand.statement) {
                    (Some(Said::Signed), None) => true,
                    (Some(Said::Attested(kind)), Some(wanted)) => kind == *wanted,
                    _ => false,
                })
            });
            let what =
                demand.statement.as_deref().map_or("signed".to_owned(), |kind| format!("attested {kind}"));
            if let Some(key) = by {
                met.push(format!("{what} by {}", key.name));
                continue;
            }
            let mut keys = String::new();
            for (at, key) in demand.keys.iter().enumerate() {
                let _ = write!(keys, "{}{}", if at == 0 { "" } else { " or " }, key.name);
            }
            return Err(refused(
                format!("it is not {what} by {keys} ({})", self.place),
                format!(
                    "{} were found for it; sign it with `cosign sign`, or change the policy",
                    match evidence.len() {
                        0 => "no signatures".to_owned(),
                        count => format!("{count} signatures or statements by others"),
                    }
                ),
            ));
        }
        Ok(met)
    }
}

/// Whether a pattern fits a name as a whole.
fn fits(pattern: &str, name: &str) -> bool {
    let Some(at) = pattern.find('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(&pattern[..at]) else { return false };
    let (after, deep) = match pattern[at..].strip_prefix("**") {
        Some(after) => (after, true),
        None => (&pattern[at + 1..], false),
    };
    let most = if deep { rest.len() } else { rest.find('/').unwrap_or(rest.len()) };
    (0..=most).filter(|at| rest.is_char_boundary(*at)).any(|at| fits(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, is) in [
            ("a.example/b", "a.example/b", true),
            ("a.example/b", "a.example/bc", false),
            ("a.example/*", "a.example/b", true),
            ("a.example/*", "a.example/b/c", false),
            ("a.example/**", "a.example/b/c", true),
            ("a.example/*-prod/x", "a.example/web-prod/x", true),
            ("**", "docker.io/library/alpine", true),
            ("*/library/*", "docker.io/library/alpine", true),
        ] {
            assert_eq!(fits(pattern, name), is, "{pattern} {name}");
        }
    }

    #[test]
    fn a_policy_that_says_nothing_clear_is_refused() {
        let read = |_: &str| Err("no such file".to_owned());
        for text in [
            "defualt = \"refuse\"",
            "default = \"maybe\"",
            "[[rule]]\nrepository = \"a\"\nsigned = [\"missing.pub\"]",
            "[[rule]]\nrepository = \"a\"\nattested = [{ type = \"t\", by = [] }]",
            "[[rule]]\nsigned = []",
        ] {
            assert!(Policy::parse("p", text, &read).is_err(), "{text}");
        }
        let policy =
            Policy::parse("p", "default = \"refuse\"\n[[rule]]\nrepository = \"docker.io/**\"", &read)
                .unwrap();
        assert!(policy.rule(&Reference::parse("alpine").unwrap()).is_none());
        assert!(policy.rule(&Reference::parse("a.example/x").unwrap()).unwrap().refuses_all());
    }
}
