//! What can go wrong with a registry. Every text names the host; Docker's words where scripts read them.

use corten_std::{Classified, ErrorClass};
use std::io;

/// A failed call of a registry.
#[derive(Debug, thiserror::Error)]
pub enum DistributionError {
    /// The registry, or a proxy before it, could not be reached, or the connection broke.
    #[error("{} \"{url}\": {cause}", title(method))]
    Connection {
        /// The method of the request.
        method: String,
        /// What was asked for.
        url: String,
        /// Why, with the operation that failed.
        cause: String,
    },
    /// The registry refused.
    #[error("{message}")]
    Refused {
        /// Host and port that answered.
        host: String,
        /// The status code.
        status: u16,
        /// What it said, in Docker's form.
        message: String,
        /// Seconds that the registry asks to wait for.
        retry_after: Option<u64>,
    },
    /// The answer cannot be used.
    #[error("{host}: {what}")]
    Answer {
        /// Host and port that answered.
        host: String,
        /// What is wrong with it.
        what: String,
    },
    /// Content is not what was asked for.
    #[error("{host}: content of {wanted} has digest {found}")]
    Digest {
        /// Host and port that answered.
        host: String,
        /// What was asked for.
        wanted: String,
        /// What came.
        found: String,
    },
    /// A manifest of a form that nobody writes any more.
    #[error(
        "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the author of {name} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. More information at https://docs.docker.com/go/deprecated-image-specs/"
    )]
    Schema1 {
        /// The image.
        name: String,
    },
    /// A file that says how to reach a registry is wrong.
    #[error("invalid registry configuration `{path}`: {what}")]
    Configuration {
        /// The file, or the key of the settings.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// The file at this end failed.
    #[error("cannot {operation}")]
    Local {
        /// The verb and object.
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
}

pub(crate) fn title(method: &str) -> String {
    let lower = method.to_ascii_lowercase();
    let mut characters = lower.chars();
    characters
        .next()
        .map_or(String::new(), |first| first.to_ascii_uppercase().to_string() + characters.as_str())
}

impl DistributionError {
    /// The status code of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the same request may succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Connection { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..),
            _ => false,
        }
    }
}

impl Classified for DistributionError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Refused { status, .. } => match status {
                401 => ErrorClass::Unauthorized,
                403 => ErrorClass::Forbidden,
                404 => ErrorClass::NotFound,
                _ => ErrorClass::System,
            },
            Self::Schema1 { .. } | Self::Configuration { .. } => ErrorClass::InvalidParameter,
            _ => ErrorClass::System,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Connection { cause, .. } if cause.starts_with("proxyconnect") && cause.contains("certificate") => {
                Some("put the authority of the proxy into /etc/corten/certs.d/PROXY:PORT/ca.crt".to_owned())
            }
            Self::Connection { cause, .. } if cause.contains("certificate") => Some(
                "put the registry's authority into /etc/corten/certs.d/HOST:PORT/ca.crt, or name the registry in `insecure-registries`"
                    .to_owned(),
            ),
            Self::Connection { .. } => {
                Some("check the registry's name, the network and the proxy settings of the daemon".to_owned())
            }
            Self::Refused { status: 429, host, retry_after, .. } => Some(match retry_after {
                Some(seconds) => format!("{host} asks to wait {seconds} s; logging in often raises the limit"),
                None => format!("{host} limits how often it may be asked; logging in often raises the limit"),
            }),
            Self::Refused { status: 401 | 403, host, .. } => {
                Some(format!("{host} answered; log in to it, or check the name"))
            }
            Self::Refused { host, status, .. } => Some(format!("{host} answered with status {status}")),
            Self::Digest { .. } => Some("the registry or a mirror gave other content than its name says".to_owned()),
            _ => None,
        }
    }
}
