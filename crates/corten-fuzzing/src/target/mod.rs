//! The targets.

mod documents;
mod http;
mod layer;
mod network;
mod registry;
mod runtime;
mod shim;
mod store;

use crate::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    http::HEAD,
    http::QUERY,
    http::FILTERS,
    layer::TAR,
    layer::APPLY,
    layer::UNPACK,
    layer::REPRODUCE,
    layer::DECOMPRESS,
    layer::COMPRESS,
    documents::IMAGE,
    documents::REFERENCE,
    documents::BODIES,
    documents::RUNTIME,
    runtime::SECCOMP,
    runtime::USERS,
    shim::PACKETS,
    shim::LOG,
    shim::DETACH,
    shim::KEEPER,
    network::DNS,
    network::RESOLV,
    registry::CHALLENGES,
    registry::LINKS,
    registry::HOSTS,
    registry::SIGNATURES,
    store::ARCHIVE,
];

/// Examples that are text.
fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
