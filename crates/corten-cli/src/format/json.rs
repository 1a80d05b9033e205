//! JSON as Docker prints it.

use serde::Serialize;
use serde_json::ser::PrettyFormatter;

/// Indented by four blanks, in the order of the document.
pub(crate) fn pretty(document: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"    "));
    match document.serialize(&mut serializer) {
        Ok(()) => String::from_utf8(bytes).unwrap_or_default(),
        // Only maps with keys that are no strings cannot be written; ours come from JSON.
        Err(_) => String::new(),
    }
}
