//! Small languages inside flags: what is typed becomes the documents' values. Everything here is plain: text in, value
//! or a message out.

pub(crate) mod create;
pub(crate) mod device;
pub(crate) mod filter;
pub(crate) mod health;
pub(crate) mod key_value;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod number;
pub(crate) mod port;
pub(crate) mod request;
pub(crate) mod security;
