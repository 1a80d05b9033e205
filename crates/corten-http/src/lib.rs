//! Connections: unix socket, TCP, TLS, ssh, proxies, upgrades; the one crate that names the TLS library.
//!
//! Two halves that share nothing but the protocol: [`server`], a strict HTTP/1.1 loop on tokio that can hand a connection over
//! raw, and [`client`], a blocking one for the command line.

pub mod client;
pub mod server;
pub mod tls;
