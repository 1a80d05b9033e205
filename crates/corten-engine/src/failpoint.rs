//! Named failure points: a test makes one step of an operation fail and looks at what is left behind.
//!
//! The names that are armed come in with the engine's settings (the daemon reads `CORTEN_FAILPOINTS`); with none
//! armed a point costs one comparison.

use crate::error::{EngineError, Result};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Which points fail, and how often. Text form: `start.network,create.record=2` – a name alone fails every time, a
/// number fails that many times.
#[derive(Debug, Default)]
pub struct Failpoints {
    armed: Option<Mutex<BTreeMap<String, u64>>>,
}

impl Failpoints {
    /// Reads the text form; empty text arms nothing, a number that is none counts as "every time".
    pub fn parse(text: &str) -> Self {
        let armed: BTreeMap<_, _> = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| match entry.split_once('=') {
                Some((name, count)) => (name.to_owned(), count.parse().unwrap_or(u64::MAX)),
                None => (entry.to_owned(), u64::MAX),
            })
            .collect();
        Self { armed: (!armed.is_empty()).then(|| Mutex::new(armed)) }
    }

    /// Fails where the point of this name is armed.
    pub(crate) fn check(&self, name: &'static str) -> Result<()> {
        let Some(armed) = &self.armed else { return Ok(()) };
        let mut armed = armed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match armed.get_mut(name) {
            Some(0) | None => Ok(()),
            Some(left) => {
                *left = left.saturating_sub(u64::from(*left != u64::MAX));
                Err(EngineError::system(format!("failure point {name}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_fail_as_often_as_armed() {
        let none = Failpoints::parse("");
        assert!(none.check("a").is_ok());
        let some = Failpoints::parse("a, b=1");
        assert!(some.check("a").is_err() && some.check("a").is_err());
        assert!(some.check("b").is_err());
        assert!(some.check("b").is_ok());
        assert!(some.check("c").is_ok());
    }
}
