//! What can go wrong between a client and its daemon.

use corten_http::client::HttpError;
use corten_std::{Classified, ErrorClass, PathError};
use std::io;
use std::path::PathBuf;

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The daemon answered with an error. The text is the daemon's message alone.
    #[error("{message}")]
    Api {
        /// The HTTP status.
        status: u16,
        /// The daemon's message.
        message: String,
        /// What the reader can do about it, where the daemon is ours and knows.
        hint: Option<String>,
    },
    /// Nobody serves the socket. The wording is the one that scripts look for.
    #[error("Cannot connect to the Docker daemon at {endpoint}. Is the docker daemon running?")]
    NoDaemon {
        /// Where one was expected.
        endpoint: String,
        /// What the system said.
        source: HttpError,
    },
    /// The socket is there, but this user may not use it.
    #[error("permission denied while trying to connect to the daemon socket at {endpoint}")]
    Denied {
        /// The socket.
        endpoint: String,
    },
    /// The daemon could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The program that was to carry the connection ended first; what it says of that stands on stderr.
    #[error(
        "error during connect: the command {command} ended without an answer, make sure that the host can be reached and that Docker or Corten is installed there"
    )]
    Carrier {
        /// The program and its words, as in `` `ssh … host docker system dial-stdio` ``.
        command: String,
        /// How that showed.
        source: HttpError,
    },
    /// The connection failed.
    #[error("error during connect")]
    Transport(#[from] HttpError),
    /// An answer could not be understood.
    #[error("the daemon's answer to {what} cannot be read")]
    Answer {
        /// The request, as in `GET /info`.
        what: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// An operation of this machine failed on the way (reading an archive to send, writing a received one).
    #[error("{what}")]
    Local {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// An object is to be named, and its name is empty. The words are those of Docker's clients.
    #[error("invalid {kind} name or ID: value is empty")]
    NoName {
        /// `container`, `network` or `volume`.
        kind: &'static str,
    },
    /// `-H`, `DOCKER_HOST` or a context names something that is no endpoint.
    #[error("{0}")]
    BadTarget(String),
}

impl ClientError {
    /// Whether the daemon says that the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.class() == ErrorClass::NotFound
    }

    /// Whether the connection broke in the middle, as it does when a daemon dies.
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Transport(error) => error.is_broken(),
            Self::Answer { source, .. } => source.is_io() || source.is_eof(),
            Self::Local { source, .. } => source.kind() == io::ErrorKind::UnexpectedEof,
            _ => false,
        }
    }
}

impl Classified for ClientError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Api { status, .. } => match status {
                304 => ErrorClass::NotModified,
                400 => ErrorClass::InvalidParameter,
                401 => ErrorClass::Unauthorized,
                403 => ErrorClass::Forbidden,
                404 => ErrorClass::NotFound,
                409 => ErrorClass::Conflict,
                501 => ErrorClass::NotImplemented,
                503 => ErrorClass::Unavailable,
                _ => ErrorClass::System,
            },
            Self::NoDaemon { .. } | Self::Carrier { .. } => ErrorClass::Unavailable,
            Self::Denied { .. } => ErrorClass::Forbidden,
            Self::Start(error) => error.class(),
            Self::Transport(error) => error.class(),
            Self::BadTarget(_) | Self::NoName { .. } => ErrorClass::InvalidParameter,
            Self::Answer { .. } | Self::Local { .. } => ErrorClass::System,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Api { hint, .. } => hint.clone(),
            Self::Denied { .. } => Some("use sudo, or ask for access to the socket".to_owned()),
            Self::Start(error) => error.hint(),
            _ => None,
        }
    }
}

/// A daemon that a client could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not root.
    #[error("no daemon answers at {endpoint}, and starting one needs root for now")]
    NotRoot {
        /// The socket that was tried.
        endpoint: String,
    },
    /// A file or folder that the start needs.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The program could not be run.
    #[error("cannot start the daemon")]
    Spawn(#[source] io::Error),
    /// It ended before it answered. The text has the last line that it wrote.
    #[error("the daemon ended at its start: {last_line}")]
    Ended {
        /// The last line of its log, or its exit status.
        last_line: String,
        /// The whole log.
        log: PathBuf,
    },
    /// It runs, but does not answer in time.
    #[error("the daemon does not answer after {seconds} seconds: {last_line}")]
    Silent {
        /// How long was waited.
        seconds: u64,
        /// The last line of its log.
        last_line: String,
        /// The whole log.
        log: PathBuf,
    },
}

impl Classified for StartError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotRoot { .. } => ErrorClass::Forbidden,
            Self::Path(error) => error.class(),
            _ => ErrorClass::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotRoot { .. } => Some("run it with sudo, or start the daemon as root".to_owned()),
            Self::Ended { log, .. } | Self::Silent { log, .. } => {
                Some(format!("the daemon's log is {}", log.display()))
            }
            _ => None,
        }
    }
}
