//! Netlink: sockets, an encoder and a decoder, and the messages of rtnetlink, nftables and conntrack that containers
//! need. No other program and no other crate stands between the caller and the kernel.
//!
//! A [`Batch`] is written by the pure functions of [`route`], [`nftables`] and [`conntrack`] and sent as one by
//! [`Socket::send`]. Answers are read through [`messages`] and [`attributes`], which never panic: what does not parse
//! ends the iteration.

pub mod conntrack;
pub mod events;
pub mod iptables;
mod message;
pub mod namespace;
pub mod nftables;
pub mod route;
mod socket;

pub use message::flag;
pub use message::{Attribute, Attributes, Batch, Message, Messages, attributes, messages};
pub use socket::{NetlinkError, Protocol, Socket};
