//! The Engine API from the other side: a blocking client that finds its daemon, starts it where it may, and speaks
//! HTTP to it.
//!
//! The same client drives Corten and Docker. Requests to Corten's own default socket go out at once in the newest
//! version; anywhere else one `HEAD /_ping` settles the version first. Lists and requests are the documents of
//! `corten-api`; what `inspect` shows is passed on as it came ([`Object`]), because its key order is part of what
//! people see.
//!
//! This crate prints nothing, reads no environment and no home directory: the command line brings all of it in
//! [`target::Wishes`].

mod archive;
mod client;
mod container;
pub mod contexts;
mod error;
mod exec;
mod image;
mod network;
mod plugin;
mod start;
pub mod stream;
mod system;
pub mod target;
mod volume;

pub use archive::PathStat;
pub use client::{Client, NEWEST_VERSION, Payload, Query, Reply};
pub use container::{AttachOptions, ListOptions, LogOptions, RemoveOptions, Waiting};
pub use corten_api::filter::Filters;
pub use corten_http::tls::TlsFiles;
pub use error::{ClientError, StartError};
pub use start::start_daemon;
pub use target::Target;

/// What an object's inspection gave, as the daemon sent it: the order of keys is kept.
pub type Object = serde_json::Value;
