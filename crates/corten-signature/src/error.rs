//! What can be wrong with keys, documents and policies.

use corten_std::{Classified, ErrorClass};

/// A failed check, or a document that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A file with a key.
    #[error("`{path}` is no public key: {what}")]
    Key {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The file with the policy.
    #[error("the policy `{path}` cannot be used: {what}")]
    Policy {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// What the policy asks for is not there.
    #[error("{name} is refused by the policy: {what}")]
    Refused {
        /// The image.
        name: String,
        /// What is missing, and by which rule.
        what: String,
        /// What can be done about it.
        hint: String,
    },
}

impl Classified for SignatureError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Refused { .. } => ErrorClass::Forbidden,
            Self::Key { .. } | Self::Policy { .. } => ErrorClass::InvalidParameter,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { hint, .. } => Some(hint.clone()),
            _ => None,
        }
    }
}
