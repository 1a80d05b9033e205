//! The error of every engine operation: a class, the text that Docker's clients read, a hint, the cause.

use corten_std::{Classified, ErrorClass, chain};
use std::error::Error;
use std::fmt;

/// A failed operation. The message is Docker's where Docker has one, because scripts and clients match on it; its
/// causes are part of it, because that is what clients get, and so they are not told once more by
/// [`std::error::Error::source`]. Small, because it is in every result of the crate.
#[derive(Debug)]
pub struct EngineError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    class: ErrorClass,
    message: String,
    hint: Option<String>,
    exit_code: Option<i32>,
}

/// Result of an engine operation.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

impl EngineError {
    /// An error of a class with the text for the client.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { class, message: message.into(), hint: None, exit_code: None }))
    }

    /// The named object does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::NotFound, message)
    }

    /// The request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::InvalidParameter, message)
    }

    /// The request contradicts the present state.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Conflict, message)
    }

    /// Our own failure or the machine's.
    pub fn system(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::System, message)
    }

    /// The object is not the client's to change.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Forbidden, message)
    }

    /// The operation is not built.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::NotImplemented, message)
    }

    /// `No such container: NAME`.
    pub fn no_such_container(name: &str) -> Self {
        Self::not_found(format!("No such container: {name}"))
    }

    /// An error of a part below, with what was being done in front: `MESSAGE: error: its causes`. Takes over class and
    /// hint.
    #[expect(clippy::needless_pass_by_value, reason = "made for `map_err`, which gives it away")]
    pub fn because<E: Classified + 'static>(message: &str, error: E) -> Self {
        let text = if message.is_empty() { chain(&error) } else { format!("{message}: {}", chain(&error)) };
        let mut new = Self::new(error.class(), text);
        new.0.hint = error.hint();
        new
    }

    /// An error without a class, told as the machine's failure: `MESSAGE: error: its causes`.
    pub fn from_error<E: Error + 'static>(message: &str, error: E) -> Self {
        Self::system(format!("{message}: {}", chain(&error)))
    }

    /// With what the reader can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// With another class.
    #[must_use]
    pub fn with_class(mut self, class: ErrorClass) -> Self {
        self.0.class = class;
        self
    }

    /// With the exit code that the container is left with after a failed start: 127, 126 or 125.
    #[must_use]
    pub fn with_exit_code(mut self, code: i32) -> Self {
        self.0.exit_code = Some(code);
        self
    }

    /// The text for the client.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The exit code of a container whose start failed so; 128 where nobody knows better, as Docker's.
    pub fn exit_code(&self) -> i32 {
        self.0.exit_code.unwrap_or(128)
    }

    /// The class of the failure.
    pub fn class(&self) -> ErrorClass {
        self.0.class
    }

    /// The same text, class and hint once more: for every one of several who wait.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(Box::new(Inner {
            class: self.0.class,
            message: self.0.message.clone(),
            hint: self.0.hint.clone(),
            exit_code: self.0.exit_code,
        }))
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)
    }
}

impl Error for EngineError {}

impl Classified for EngineError {
    fn class(&self) -> ErrorClass {
        self.0.class
    }

    fn hint(&self) -> Option<String> {
        self.0.hint.clone()
    }
}

impl From<corten_std::PathError> for EngineError {
    /// A failed file call below the engine's own folders is the machine's failure whatever its kind.
    fn from(error: corten_std::PathError) -> Self {
        Self::because("", error).with_class(ErrorClass::System)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_std::PathError;

    #[test]
    fn a_cause_below_gives_text_and_class() {
        let cause = PathError::new("open", "/x", std::io::Error::from(std::io::ErrorKind::NotFound));
        let error = EngineError::because("preparing", cause);
        assert_eq!(error.class(), ErrorClass::NotFound);
        assert_eq!(error.to_string(), "preparing: cannot open `/x`: entity not found");
        let error = EngineError::because("starting", error);
        assert_eq!(chain(&error), "starting: preparing: cannot open `/x`: entity not found");
    }
}
