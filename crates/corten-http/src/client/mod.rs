//! A small blocking HTTP/1.1 client: one [`Connection`] to one [`Endpoint`], used again while the server keeps
//! it open, and handed out raw after an upgrade.
//!
//! It starts no thread and no runtime, because a command line that lives two milliseconds has no time for one.
//! Bodies stream in both directions; an [`Answer`] owns its connection until its body is read to the end.

mod body;
mod connection;
mod endpoint;
mod secure;

pub use body::{Answer, Head};
pub use connection::{Body, Connection, Request};
pub use endpoint::{Endpoint, Stream};

use crate::tls::TlsError;
use corten_std::{Classified, ErrorClass};
use std::io;

/// A request that could not be sent, or an answer that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody listens, the socket is missing, permission is denied; the cause tells which.
    #[error("cannot connect to {endpoint}")]
    Connect {
        /// Where to, as a URL.
        endpoint: String,
        /// Why not.
        source: io::Error,
    },
    /// The files for TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Both sides did not agree, or one did not trust the other.
    #[error("cannot make a TLS connection to {endpoint}")]
    Handshake {
        /// Where to, as a URL.
        endpoint: String,
        /// Why not.
        source: io::Error,
    },
    /// The host's name is neither an address nor in the hosts file.
    #[error("cannot find an address for host `{host}`: give an IP address, or name it in /etc/hosts")]
    UnknownHost {
        /// The name as given.
        host: String,
    },
    /// The request could not be written.
    #[error("cannot send the request")]
    Send(#[source] io::Error),
    /// The body to send could not be read.
    #[error("cannot read what is to be sent")]
    Source(#[source] io::Error),
    /// The answer could not be read.
    #[error("cannot read the answer")]
    Receive(#[source] io::Error),
    /// The server closed the connection before an answer.
    #[error("the connection was closed before an answer came")]
    Closed,
    /// What came is not HTTP/1.
    #[error("the answer is not HTTP: {0}")]
    Malformed(String),
}

impl HttpError {
    /// The operating system's error below, where there is one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Connect { source, .. }
            | Self::Send(source)
            | Self::Source(source)
            | Self::Receive(source) => Some(source),
            _ => None,
        }
    }

    /// Whether nobody serves the endpoint (no socket, or nobody behind it), so that starting a server helps.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Connect { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused))
    }

    /// Whether the peer went away in the middle: what a killed daemon looks like.
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Send(source) | Self::Receive(source) => matches!(
                source.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
            ),
            _ => false,
        }
    }
}

impl Classified for HttpError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorClass::Forbidden
            }
            Self::Connect { .. } | Self::Closed => ErrorClass::Unavailable,
            Self::UnknownHost { .. } | Self::Tls(_) => ErrorClass::InvalidParameter,
            _ => ErrorClass::System,
        }
    }
}
