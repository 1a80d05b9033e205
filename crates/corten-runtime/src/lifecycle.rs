//! A start in steps: create, then start, with hooks at the points that the runtime specification names.
//!
//! ```text
//! caller                                 new process
//!   │── clone ────────────────────────────▶│ namespaces, root attached, mounts
//!   │◀────────────── "hooks" ──────────────│
//!   │ prestart, createRuntime              │
//!   │─── the state for its own hooks ─────▶│ createContainer; the root becomes `/`; user, limits, …
//!   │◀────────────── "ready" ──────────────│ (with a gate; without one it goes on)
//!   │ may end                              │ waits at the gate
//!                          anybody ───────▶│ startContainer, exec
//! ```

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use corten_oci::runtime::Hook;
use corten_sys::socket;
use serde::{Deserialize, Serialize};

use crate::error::{Context, LaunchError, LaunchErrorKind, Stage};
use crate::inside::{self, Report};
use crate::launch;
use crate::request::{LaunchRequest, Launched};

/// What a start has beside its request. The default is a start in one step, without hooks.
#[derive(Debug, Default)]
pub struct Lifecycle {
    /// The caller has hooks to run when the namespaces are there.
    pub runtime_hooks: bool,
    /// Run in the container's namespaces before its root is the root.
    pub create_container: Vec<Hook>,
    /// Run in the container before its command.
    pub start_container: Vec<Hook>,
    /// The caller is root of a user namespace that is not the machine's: what only the machine's root can do is done
    /// otherwise (devices are the host's, bound).
    pub in_user_namespace: bool,
    /// Where the root is attached while hooks of the host look at it; `/` where none is given.
    pub root_path: Option<PathBuf>,
    /// The root is entered by `chroot`, for hosts that run from the kernel's first root filesystem.
    pub no_pivot: bool,
    /// Where the process waits until it is started.
    pub gate: Option<Gate>,
    /// The command gets so many of the caller's descriptors, from number 3.
    pub preserved_descriptors: u32,
}

impl Lifecycle {
    /// Whether hooks run between the mounts and the change of the root.
    pub(crate) fn has_early_hooks(&self) -> bool {
        self.runtime_hooks || !self.create_container.is_empty()
    }
}

/// Where a created process waits for its start. It uses nothing but `read` and `write` there, which pass any
/// filter that a program can live with.
#[derive(Debug)]
pub struct Gate {
    /// A byte read from here opens it.
    pub wait: OwnedFd,
    /// Takes a [`LaunchError`] as JSON where the start fails after that; closed by the exec.
    pub answer: OwnedFd,
}

/// The container's state as hooks read it, made by the caller when it knows the process.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct HookStates {
    /// While it is created.
    pub creating: String,
    /// While it is started.
    pub created: String,
}

/// As [`crate::launch`], in steps. `hooks` is called with the process id when the namespaces and mounts are
/// there, if the lifecycle has hooks at all: it runs those of the caller, and gives the states for the others.
/// With a gate it returns when the process waits there, without one when the command runs.
pub fn create(
    request: LaunchRequest,
    lifecycle: Lifecycle,
    hooks: &mut dyn FnMut(i32) -> Result<HookStates, LaunchError>,
) -> Result<Launched, LaunchError> {
    let (ours, theirs) = socket::seqpacket_pair().at(Stage::Prepare, "open a socket")?;
    let (child, _) = launch::begin_in_steps(request, lifecycle, Report::new(theirs), false)?;
    let pid = child.pid;
    launch::await_exec_with(ours, child, &mut |socket| {
        let states = hooks(pid)?;
        let text = serde_json::to_vec(&states).map_err(|error| {
            LaunchError::new(Stage::Prepare, LaunchErrorKind::System, format!("write the state: {error}"))
        })?;
        if text.len() > inside::LONGEST_STATES {
            return Err(LaunchError::new(
                Stage::Prepare,
                LaunchErrorKind::Invalid,
                "the container's state is too long for hooks: its annotations are",
            ));
        }
        socket::send_with_fds(socket.as_fd(), &text, &[])
            .map(drop)
            .at(Stage::Prepare, "tell the container's process to go on")
    })
}
