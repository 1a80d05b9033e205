//! Containers, images, networks, volumes, exec, logs and events as operations on plain structs.
//!
//! [`Engine`] is a cheap handle on everything; each family of operations is one module that adds methods to it:
//! `container` (one file per operation), `exec`, `image`, `volume`, `network`, `archive`, `log`, `event`, `system`.
//! What a user asked for and what inspect and list answer are documents of `corten-api`; what the engine keeps has
//! types of its own (`container::record`).
//!
//! What this crate knows nothing of: HTTP, API versions, the command line, the environment. It prints nothing.

pub mod archive;
pub mod container;
mod defaults;
mod embedded;
mod engine;
mod error;
pub mod event;
pub mod exec;
mod failpoint;
mod glob;
pub mod image;
pub mod log;
pub mod name;
pub mod network;
pub mod plugin;
mod prune;
mod runtime;
pub mod system;
mod undo;
pub mod users;
pub mod volume;

pub use defaults::{Defaults, Reloadable, SeccompProfile};
pub use engine::{Engine, EngineSettings, ShimSpawner};
pub use error::{EngineError, Result};
pub use failpoint::Failpoints;
pub use runtime::{RuntimeProgram, is_own as is_own_runtime};
