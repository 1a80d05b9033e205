//! The error document.

use crate::document::document;

document! {
/// The body of every answer that is an error.
pub struct ErrorDocument {
    /// Text for the user.
    message: String = "message",
}
}

impl ErrorDocument {
    /// With that text.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}
