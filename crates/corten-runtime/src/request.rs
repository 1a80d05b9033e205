//! What a start needs, and what comes of it.

use std::os::fd::OwnedFd;

use corten_oci::runtime::{Process, Spec};

use crate::cgroup::CgroupHandle;
use crate::hardening::Hardening;
use crate::seccomp;

/// Everything that a container's first process needs.
#[derive(Debug)]
pub struct LaunchRequest {
    /// What the container is; paths of the host in it are not used where a descriptor stands for them here.
    pub spec: Spec,
    /// The detached mount that becomes `/`.
    pub root: OwnedFd,
    /// Detached trees for binds: index into `spec.mounts` and the tree.
    pub mount_trees: Vec<(usize, OwnedFd)>,
    /// The network namespace to enter; none follows the document (new, by path, or the caller's).
    pub network_namespace: Option<OwnedFd>,
    /// The user namespace to enter; none follows the document (new, by path, or the caller's). The new namespaces
    /// belong to it.
    pub user_namespace: Option<OwnedFd>,
    /// The host's device nodes for a container in a user namespace, by their path inside, as detached trees
    /// ([`crate::device_nodes`]); one that is not here is looked for among the caller's own mounts.
    pub devices: Vec<(String, OwnedFd)>,
    /// The cgroup to be born into.
    pub cgroup: CgroupHandle,
    /// Standard streams.
    pub stdio: ChildStdio,
    /// The filter, compiled; none loads none.
    pub seccomp: Option<seccomp::Program>,
    /// `--init`: a read-only detached clone of our own program, which becomes `/sbin/docker-init` and runs
    /// the command.
    pub init: Option<OwnedFd>,
    /// Which hardening steps are taken; all of them outside tests.
    pub hardening: Hardening,
}

/// The standard streams of a new process.
#[derive(Debug)]
pub enum ChildStdio {
    /// The process's ends of three pipes (or files).
    Pipes {
        /// Read by the process.
        stdin: OwnedFd,
        /// Written by the process.
        stdout: OwnedFd,
        /// Written by the process.
        stderr: OwnedFd,
    },
    /// A pseudo-terminal is made inside; its master comes back in [`Launched::terminal`].
    Terminal,
}

/// A process that runs.
#[derive(Debug)]
pub struct Launched {
    /// Process id in the caller's pid namespace; it is the caller's child.
    pub pid: i32,
    /// Handle of the process.
    pub pidfd: OwnedFd,
    /// When it was started, in clock ticks since boot: with the pid it names the process for ever.
    pub start_time: u64,
    /// The watcher's side of the terminal, where there is one.
    pub terminal: Option<OwnedFd>,
}

/// A running container, as far as [`crate::exec`] needs it.
#[derive(Debug)]
pub struct Container {
    /// Process id of its first process.
    pub pid: i32,
    /// Handle of its first process.
    pub pidfd: OwnedFd,
}

/// A further process in a running container.
#[derive(Debug)]
pub struct ExecRequest<'container> {
    /// What to run, and as whom. Capabilities, limits and `no_new_privileges` are its own.
    pub process: Process,
    /// Standard streams.
    pub stdio: ChildStdio,
    /// The container's cgroup.
    pub cgroup: &'container CgroupHandle,
    /// The container's filter; none where it is unconfined.
    pub seccomp: Option<&'container seccomp::Program>,
    /// Which hardening steps are taken.
    pub hardening: Hardening,
}
