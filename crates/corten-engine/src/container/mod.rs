//! Containers: one file per operation, one task per container.
//!
//! A container is a [`record::Record`] (what was asked for; saved) and a [`state::Lifecycle`] (what became of it). Both
//! belong to one task, the container's owner (`owner`), which alone changes them. Everybody else holds a
//! [`handle::Handle`]: it sends the owner requests, and it watches the [`handle::View`] that the owner publishes after
//! every change. So no lock is held while anything slow happens, and two containers never wait for each other.
//!
//! ```text
//!  Engine::start ──request──▶ owner task of that container ──publishes──▶ View ──▶ inspect, list, wait, stop …
//!                               ▲ events of its shim (exit, exec exit)
//!                               ▲ its restart timer
//! ```
//!
//! The state machine is drawn in `state`. Where things are kept is told in `record`.

pub(crate) mod apparmor;
pub(crate) mod attach;
pub(crate) mod cdi;
mod create;
mod endpoints;
pub(crate) mod files;
pub mod filter;
mod forward;
pub(crate) mod handle;
pub(crate) mod health;
mod inspect;
mod limits;
pub(crate) mod links;
mod list;
pub(crate) mod lookup;
mod merge;
mod monitor;
pub(crate) mod mounts;
mod names;
mod namespaces;
mod networks;
mod owner;
mod pause;
mod populate;
pub(crate) mod record;
pub(crate) mod registry;
mod remove;
mod rename;
mod restart;
mod restore;
pub(crate) mod rootfs;
mod save;
pub(crate) mod seccomp;
pub(crate) mod selinux;
mod signal;
pub(crate) mod size;
pub(crate) mod sources;
pub(crate) mod spares;
pub(crate) mod spec;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod stats;
mod stop;
mod top;
mod update;
mod validate;
mod wait;

pub(crate) use merge::{defaults_of, merge as fill};
pub(crate) use signal::parse as parse_signal;

pub use attach::{AttachOptions, AttachTicket, ClientSocket};
pub use create::CreateOptions;
pub use list::ListOptions;
pub(crate) use networks::joined;
pub use remove::RemoveOptions;
pub use state::Phase;
pub use stats::StatsStream;
pub use stop::StopOptions;
pub use wait::{WaitCondition, WaitHandle};

/// Whether an operation did something: start of a running container and stop of a stopped one do not (HTTP 304).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something was done.
    Changed,
    /// It was so already.
    Unchanged,
}
