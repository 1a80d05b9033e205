//! Engine API documents, the table of routes, and the small languages of its query strings, shared by the daemon and its clients.
//!
//! Documents read as tolerantly as Go reads them and are written with Docker's names in Docker's order; see
//! `document`. They describe the newest version that is offered; what older ones differ in is data of the server.

mod document;
pub mod null;

pub mod container;
pub mod error;
pub mod event;
pub mod exec;
pub mod filter;
pub mod image;
pub mod network;
pub mod query;
pub mod route;
pub mod system;
pub mod version;
pub mod volume;
