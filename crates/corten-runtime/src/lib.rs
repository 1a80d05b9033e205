//! Turns a runtime document into a process: namespaces, cgroup, root filesystem, exec, signals.
//!
//! One [`launch`] is one `clone3`; what follows happens in the new process itself, in the order of
//! [`Stage`], until it executes the user's command. Whatever goes wrong on the way comes back as a
//! [`LaunchError`] with the stage and Docker's wording. [`exec`] is the same for a further process of a
//! running container.
//!
//! The caller must have a single thread (it is the shim); then the child may allocate as any program may.
//! Everything of the host comes in by descriptor: the root as a detached mount, binds as detached trees, the
//! network namespace, the cgroup. The caller's mount namespace needs `/proc` and nothing else.
//!
//! What this crate knows nothing of: images, networks, the daemon, logs.

pub mod cgroup;
mod clocks;
pub mod container_init;
mod default_spec;
mod error;
mod exec;
mod hardening;
mod hook;
mod inside;
mod launch;
mod lifecycle;
mod relabel;
mod request;
mod seat;
pub mod seccomp;
pub mod user;
mod user_namespace;

pub use default_spec::{
    DEFAULT_CAPABILITIES, DEFAULT_MASKED_PATHS, DEFAULT_PATH, DEFAULT_READONLY_PATHS, SpecOptions,
    default_spec, make_privileged, permissive_device_rules,
};
pub use error::{LaunchError, LaunchErrorKind, Stage};
pub use exec::{exec, exec_preserving};
pub use hardening::{Hardening, HardeningStep};
pub use hook::{HookError, run_hooks};
pub use launch::launch;
pub use lifecycle::{Gate, HookStates, Lifecycle, create};
pub use relabel::{RelabelError, relabel};
pub use request::{ChildStdio, Container, ExecRequest, LaunchRequest, Launched};
pub use seat::Seat;
pub use user_namespace::{
    device_nodes, device_tree, give_pipes_to, host_id, in_user_namespace, map_text, root_of_maps,
    user_namespace,
};
