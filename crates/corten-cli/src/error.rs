//! What ends a command, and how it is said. The one place where failures become exit codes and texts.

use corten_client::{ClientError, StartError};
use corten_std::{Classified, PathError, chain};
use std::io;

/// Why a command ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// A text of this program, said as it stands.
    #[error("{text}")]
    Said {
        /// One line or several.
        text: String,
        /// The exit code.
        code: u8,
    },
    /// A call to the daemon failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A registry that was asked without a daemon.
    #[error("{text}")]
    Registry {
        /// What failed.
        text: String,
        /// What can be done about it.
        hint: Option<String>,
    },
    /// A file of this machine.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Standard output or error cannot be written: the reader went away, or the disk is full.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
}

impl CliError {
    /// A text with exit code 1.
    pub(crate) fn said(text: impl Into<String>) -> Self {
        Self::Said { text: text.into(), code: 1 }
    }

    /// A file that the person named and that cannot be opened, in the words that Docker's clients print.
    pub(crate) fn open(path: &str, error: &PathError) -> Self {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            io::ErrorKind::IsADirectory => "is a directory".to_owned(),
            _ => error.source.to_string(),
        };
        Self::said(format!("open {path}: {why}"))
    }

    /// The text for people, causes included.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Said { text, .. } | Self::Registry { text, .. } => text.clone(),
            Self::Client(ClientError::Api { message, .. }) => {
                format!("Error response from daemon: {message}")
            }
            // Docker's line is complete in itself.
            Self::Client(error @ (ClientError::NoDaemon { .. } | ClientError::Denied { .. })) => {
                error.to_string()
            }
            Self::Client(error) => chain(error),
            Self::Path(error) => chain(error),
            Self::Output(error) => format!("cannot write the output: {error}"),
        }
    }

    /// What the reader can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Client(error) => error.hint(),
            Self::Path(error) => error.hint(),
            Self::Registry { hint, .. } => hint.clone(),
            _ => None,
        }
    }

    /// The exit code of a command that ends so.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Said { code, .. } => *code,
            _ => 1,
        }
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        Self::Client(error.into())
    }
}

/// Result of a step of a command.
pub(crate) type Result<T, E = CliError> = std::result::Result<T, E>;
