//! Connections: unix socket, TCP, TLS, ssh, proxies, upgrades; the one crate that names the TLS library.
