//! What a pull or a push tells while it goes on, in Docker's words.

use std::sync::Arc;

/// One thing that is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// A message, about a tag where one is given.
    Status {
        /// The tag.
        id: Option<String>,
        /// The text.
        status: String,
    },
    /// A state of a layer.
    Layer {
        /// The layer's short digest.
        id: String,
        /// The text.
        status: String,
    },
    /// How far a layer is.
    Bar {
        /// The layer's short digest; empty where it is not about one.
        id: String,
        /// What is done with it.
        status: &'static str,
        /// Bytes done.
        current: u64,
        /// Bytes in all.
        total: u64,
    },
    /// What a program wants to know at the end.
    Aux(serde_json::Value),
}

/// Who is told. It never waits for long: who does not listen misses something.
pub type Tell = Arc<dyn Fn(Progress) + Send + Sync>;

/// Tells a state of a layer.
pub(crate) fn of_layer(tell: &Tell, id: &str, status: impl Into<String>) {
    tell(Progress::Layer { id: id.to_owned(), status: status.into() });
}

/// Tells a state of the whole.
pub(crate) fn of_all(tell: &Tell, status: impl Into<String>) {
    tell(Progress::Status { id: None, status: status.into() });
}
