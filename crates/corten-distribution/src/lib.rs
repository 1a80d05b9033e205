//! Pulls from and pushes to registries, with authentication.
//!
//! [`Registries`] is all of them, as this machine reaches them: connections that are kept, tokens, mirrors. A
//! [`Repository`] is one name in one of them as one person sees it; its methods are the registry protocol (OCI's
//! distribution specification, and what Docker's registries do besides).
//!
//! Whatever a registry says is checked: lengths, digests, where it redirects to, how long its documents are. Nothing
//! here knows where content is kept.

mod auth;
mod blob;
pub mod challenge;
mod error;
mod explain;
mod fetch;
mod hosts;
mod login;
mod manifest;
mod proxy;
mod referrers;
mod registry;
mod resolve;
mod transport;
mod upload;
pub mod url;

pub use auth::Credentials;
pub use error::DistributionError;
pub use explain::Asked;
pub use fetch::Fetched;
pub use hosts::{Capabilities, Endpoint, RegistrySettings, check_hosts_file};
pub use login::Found;
pub use manifest::Document;
pub use proxy::ProxySettings;
pub use referrers::{as_referrer, fallback_tag};
pub use registry::{Notices, Registries, Repository};
pub use upload::{Open, Pushed};
