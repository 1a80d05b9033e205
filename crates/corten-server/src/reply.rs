//! Answers: documents, nothing, and the content types of streams.

use corten_api::version::ApiVersion;
use corten_http::server::Response;
use serde::Serialize;

/// Output with frames.
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
/// Output as it is; in older versions output with frames too.
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";
/// Archives.
pub(crate) const TAR: &str = "application/x-tar";
/// Documents.
pub(crate) const JSON: &str = "application/json";

/// A document and a line end, as Go's encoder writes it.
pub(crate) fn json(status: u16, document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            Response::full(status, bytes).header("Content-Type", JSON)
        }
        Err(error) => {
            tracing::error!(%error, "a document cannot be written");
            Response::full(500, "{\"message\":\"a document cannot be written\"}\n")
                .header("Content-Type", JSON)
        }
    }
}

/// The content type of output: frames are told since 1.42.
pub(crate) fn stream_type(framed: bool, version: ApiVersion) -> &'static str {
    if framed && version >= ApiVersion::one(42) { MULTIPLEXED } else { RAW }
}
