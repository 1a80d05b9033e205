//! Why a process could not be started.

use std::fmt;
use std::io;

use corten_std::{Classified, ErrorClass};
use serde::{Deserialize, Serialize};

/// Where in the start something failed, in the order in which things happen.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Reading the request, opening what it names.
    Prepare,
    /// Making the process.
    Clone,
    /// Joining the cgroup.
    Cgroup,
    /// Entering namespaces that exist already.
    Namespaces,
    /// Making the new root the root.
    Root,
    /// Mounts, devices, links.
    Mounts,
    /// Terminal and standard streams.
    Terminal,
    /// Kernel parameters, host name.
    Settings,
    /// Hidden and read-only paths.
    Paths,
    /// User, groups, limits, capabilities, filter.
    Identity,
    /// Working folder, looking the command up, executing it.
    Execute,
}

/// What kind of failure it was, as far as somebody acts on it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum LaunchErrorKind {
    /// The command is not there: exit code 127.
    CommandNotFound,
    /// The command cannot be executed: exit code 126.
    NotExecutable,
    /// The user is not in the container's `/etc/passwd`.
    UnknownUser,
    /// The group is not in the container's `/etc/group`.
    UnknownGroup,
    /// The working folder cannot be entered.
    WorkingDirectory,
    /// A mount failed.
    Mount {
        /// Where inside the container.
        destination: String,
    },
    /// The container does not run (any more).
    NotRunning,
    /// The document asks for something that cannot be: the request's fault.
    Invalid,
    /// The kernel refused something.
    System,
}

/// A start that failed. Nothing is left of it: no process, no mount. The text is Docker's (or runc's) where
/// scripts read it; the cause is part of it, because it crossed a process border.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct LaunchError {
    /// What kind.
    pub kind: LaunchErrorKind,
    /// What failed, on what, why.
    pub message: String,
    /// Where.
    pub stage: Stage,
}

impl LaunchError {
    pub(crate) fn new(stage: Stage, kind: LaunchErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), stage }
    }

    /// The code with which Docker's client ends: 127 where the command is not there, 126 where it cannot be
    /// executed, 128 else – told, as by Docker, by the text for what is not about the command itself.
    pub fn exit_code(&self) -> i32 {
        let says = |text: &str| self.message.contains(text);
        match self.kind {
            LaunchErrorKind::CommandNotFound => 127,
            LaunchErrorKind::NotExecutable => 126,
            _ if says("no such file or directory") => 127,
            _ if says("permission denied") || says("is a directory") || says("not a directory") => 126,
            _ => 128,
        }
    }
}

impl fmt::Display for LaunchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for LaunchError {}

impl Classified for LaunchError {
    fn class(&self) -> ErrorClass {
        match self.kind {
            LaunchErrorKind::NotRunning => ErrorClass::Conflict,
            LaunchErrorKind::System => ErrorClass::System,
            _ => ErrorClass::InvalidParameter,
        }
    }
}

/// The kernel's text for an error number, as C and Go print it (`no such file or directory`).
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    // Go's texts are the C library's in lower case.
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        // Abbreviations stay: "RPC struct is bad".
        (Some(first), Some(second)) if first.is_ascii_uppercase() && second.is_ascii_lowercase() => {
            format!("{}{}", first.to_ascii_lowercase(), &text[1..])
        }
        _ => text.to_owned(),
    }
}

/// Turns an error of the kernel into one of a stage.
pub(crate) trait Context<T> {
    /// `what: reason`.
    fn at(self, stage: Stage, what: impl fmt::Display) -> Result<T, LaunchError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn at(self, stage: Stage, what: impl fmt::Display) -> Result<T, LaunchError> {
        self.map_err(|error| {
            LaunchError::new(stage, LaunchErrorKind::System, format!("{what}: {}", reason(&error.into())))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_as_in_go() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "no such file or directory");
        assert_eq!(reason(&io::Error::from_raw_os_error(13)), "permission denied");
    }
}
