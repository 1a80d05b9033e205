//! The Linux edge: mounts, namespaces, cgroups, netlink, process handles, seccomp; the home of `unsafe`.
//!
//! Every function here is safe to call, whatever its arguments: what could break memory safety is checked
//! inside, or kept out of the interface. Nothing here knows of containers or images; it is the kernel's own
//! interface with names, types and errors that say what failed.

#![expect(
    unsafe_code,
    reason = "this crate is the one place for raw system calls; each block argues its case"
)]

pub mod allocator;
pub mod attempt;
pub mod bpf;
pub mod capability;
pub mod classic_mount;
pub mod descriptor;
pub mod host;
pub mod mount;
pub mod netlink;
pub mod process;
pub mod seccomp;
pub mod selinux;
pub mod socket;
pub mod terminal;
pub mod user_namespace;

pub use host::HostCapabilities;
pub use mount::MountError;
