//! Classes of errors, the chain of causes as one line, and the error that names a path.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

/// What kind of failure it was: decided where the error is born, translated once per edge (to a status code
/// in the server, to an exit code in the command line).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The named object does not exist (HTTP 404).
    NotFound,
    /// The request itself is wrong (400).
    InvalidParameter,
    /// The request contradicts the present state: name taken, image in use (409).
    Conflict,
    /// Nothing had to be done: start of a running container (304).
    NotModified,
    /// The object is not the client's to change: predefined networks (403).
    Forbidden,
    /// Credentials are missing or wrong (401).
    Unauthorized,
    /// The service cannot answer this now (503).
    Unavailable,
    /// The operation is not built (501).
    NotImplemented,
    /// Our own failure or the machine's (500).
    System,
}

/// An error that knows its class and may have a hint: what to do, printed after the message and never part of it.
pub trait Classified: Error {
    /// The class of this failure.
    fn class(&self) -> ErrorClass;

    /// What the reader can do about it, one sentence.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// A failed file operation with the path it was about. The text is `cannot OPERATION PATH`; the cause is the source.
#[derive(Debug)]
pub struct PathError {
    /// The verb, as in `open`, `write`, `create folder`.
    pub operation: &'static str,
    /// What it was done to.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

impl PathError {
    /// Joins an operation, a path and the cause; made for `map_err`.
    pub fn new(operation: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self { operation, path: path.as_ref().to_owned(), source: source.into() }
    }

    /// The kind of the cause.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

impl std::fmt::Display for PathError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "cannot {} `{}`", self.operation, self.path.display())
    }
}

impl Error for PathError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

impl Classified for PathError {
    fn class(&self) -> ErrorClass {
        match self.source.kind() {
            io::ErrorKind::NotFound => ErrorClass::NotFound,
            io::ErrorKind::AlreadyExists => ErrorClass::Conflict,
            io::ErrorKind::PermissionDenied => ErrorClass::Forbidden,
            _ => ErrorClass::System,
        }
    }
}

/// The kernel's reason as other programs print it: small letters, no number.
///
/// ```
/// let error = std::io::Error::from_raw_os_error(2);
/// assert_eq!(corten_std::kernel_words(&error), "no such file or directory");
/// ```
pub fn kernel_words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    characters.next().map_or(String::new(), |first| first.to_lowercase().chain(characters).collect())
}

/// An error and its causes as one line: `a: b: c`.
pub fn chain(error: &(dyn Error + '_)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Wrappers that print their cause themselves (io::Error made from another error) are not repeated.
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_operation_path_and_cause_once() {
        let error = PathError::new("open", "/nowhere", io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(chain(&error), "cannot open `/nowhere`: entity not found");
        assert_eq!(error.class(), ErrorClass::NotFound);
    }
}
