//! What went wrong, with the exit code that tells it.

use std::error::Error;
use std::fmt;

/// A command that failed: its text, and the code with which the program ends.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    pub(crate) code: u8,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// `what: why`.
    pub(crate) fn of(what: impl fmt::Display, why: &(dyn Error + 'static)) -> Self {
        Self::new(format!("{what}: {}", plain(&corten_std::chain(why))))
    }

    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl From<corten_std::PathError> for Failure {
    fn from(error: corten_std::PathError) -> Self {
        Self::new(plain(&corten_std::chain(&error)))
    }
}

impl From<corten_runtime::cgroup::CgroupError> for Failure {
    fn from(error: corten_runtime::cgroup::CgroupError) -> Self {
        Self::new(plain(&corten_std::chain(&error)))
    }
}

impl From<corten_runtime::LaunchError> for Failure {
    fn from(error: corten_runtime::LaunchError) -> Self {
        Self::new(error.message)
    }
}

/// The kernel's reasons as Go prints them, which drivers of runtimes look for.
fn plain(text: &str) -> String {
    let mut plain = text.to_owned();
    while let Some(at) = plain.find(" (os error ") {
        let Some(end) = plain[at..].find(')') else { break };
        plain.replace_range(at..=at + end, "");
    }
    plain
        .replace("No such file or directory", "no such file or directory")
        .replace("Permission denied", "permission denied")
        .replace("Operation not permitted", "operation not permitted")
}
