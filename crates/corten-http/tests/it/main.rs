//! TLS on both sides; the server loop against a handler that shows what it got, driven byte by byte over a unix socket.

mod client;
mod secure;
mod server;
