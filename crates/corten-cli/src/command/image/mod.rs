//! `image …` and its short forms.

pub(crate) mod bundle;
pub(crate) mod compact;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod ls;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rm;
pub(crate) mod save;
pub(crate) mod send;
pub(crate) mod tag;
pub(crate) mod tree;
pub(crate) mod unbuilt;
pub(crate) mod verify;

use crate::error::{CliError, Result};

/// `os[/architecture[/variant]]` as the document that the daemon takes.
pub(crate) fn platform(text: &str) -> Result<String> {
    let mut parts = text.split('/');
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let (os, architecture, variant) = (part(), part(), part());
    if os.is_empty() || parts.next().is_some() {
        return Err(CliError::said(format!(
            "invalid platform: `{text}` (os[/arch[/variant]], as in linux/amd64)"
        )));
    }
    let mut document = serde_json::Map::new();
    for (key, value) in [("architecture", architecture), ("os", os), ("variant", variant)] {
        if !value.is_empty() {
            document.insert(key.to_owned(), value.into());
        }
    }
    Ok(serde_json::Value::Object(document).to_string())
}
