//! A further process in a running container.

use std::os::fd::{AsFd, OwnedFd};

use corten_sys::capability::{self, Capabilities};
use corten_sys::process::{self, Child, CloneOptions, Fork, Namespaces};
use corten_sys::socket;

use crate::error::{Context, LaunchError, LaunchErrorKind, Stage};
use crate::hardening::HardeningStep;
use crate::inside::{self, Report};
use crate::launch::{ChildrenIn, await_exec};
use crate::request::{Container, ExecRequest, Launched};

/// Runs a process in a container: in all its namespaces, its cgroup and its root. Returns when it has
/// executed its command, or with what went wrong.
///
/// The caller has one thread, and becomes the parent; see also [`crate::Seat::exec`].
pub fn exec(container: &Container, request: ExecRequest<'_>) -> Result<Launched, LaunchError> {
    exec_preserving(container, request, 0)
}

/// As [`exec`]; the command gets so many of the caller's descriptors, from number 3.
pub fn exec_preserving(
    container: &Container,
    request: ExecRequest<'_>,
    descriptors: u32,
) -> Result<Launched, LaunchError> {
    let (ours, theirs) = socket::seqpacket_pair().at(Stage::Prepare, "open a socket")?;
    if descriptors == 0 && request.hardening.has(HardeningStep::HiddenExec) && may_trace(container) {
        let namespaces = differing_namespaces(container)?;
        if namespaces.contains(Namespaces::PID) {
            let child = begin_hidden(container, namespaces, request, &ours, Report::new(theirs))?;
            return await_exec(ours, child);
        }
    }
    let child = begin_preserving(container, request, descriptors, Report::new(theirs), false)?;
    await_exec(ours, child)
}

/// Whether processes of the container may look into others whatever those say: it has CAP_SYS_PTRACE to give. Where that
/// cannot be seen the container is not running, which is found out by others.
pub(crate) fn may_trace(container: &Container) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", container.pid)) else { return false };
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t"));
    let bounding = bounding.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(u64::MAX);
    capability::from_name("CAP_SYS_PTRACE")
        .is_none_or(|trace| Capabilities::from_bits(bounding).contains(trace))
}

/// Makes the process in two steps; see [`inside::run_hidden_exec`].
fn begin_hidden(
    container: &Container,
    namespaces: Namespaces,
    request: ExecRequest<'_>,
    ours: &OwnedFd,
    report: Report,
) -> Result<Child, LaunchError> {
    let options = CloneOptions {
        namespaces: Namespaces::NONE,
        cgroup: request.cgroup.unified.as_ref().map(AsFd::as_fd),
        sibling: false,
    };
    match process::clone_process(&options).at(Stage::Clone, "make a process for the exec")? {
        Fork::Child => inside::run_hidden_exec(container, namespaces, request, report),
        Fork::Parent(first) => {
            drop(report);
            drop(request);
            let second = inside::hear_of_second(ours);
            let _ = process::wait(first.pid);
            let pid = second?;
            // It is our child and not reaped yet: the number is its own.
            let pidfd = process::pidfd_open(pid).at(Stage::Clone, "open a handle of the process")?;
            Ok(Child { pid, pidfd })
        }
    }
}

/// Makes the process; see [`crate::launch::begin`].
pub(crate) fn begin(
    container: &Container,
    request: ExecRequest<'_>,
    report: Report,
    sibling: bool,
) -> Result<Child, LaunchError> {
    begin_preserving(container, request, 0, report, sibling)
}

fn begin_preserving(
    container: &Container,
    request: ExecRequest<'_>,
    descriptors: u32,
    report: Report,
    sibling: bool,
) -> Result<Child, LaunchError> {
    let namespaces = differing_namespaces(container)?;
    let gone = |error: LaunchError| LaunchError {
        kind: LaunchErrorKind::NotRunning,
        message: "the container is not running".to_owned(),
        ..error
    };
    let pid_namespace = if namespaces.contains(Namespaces::PID) {
        Some(ChildrenIn::enter(container.pidfd.as_fd()).map_err(gone)?)
    } else {
        None
    };
    let options = CloneOptions {
        namespaces: Namespaces::NONE,
        cgroup: request.cgroup.unified.as_ref().map(AsFd::as_fd),
        sibling,
    };
    match process::clone_process(&options) {
        Err(error) => {
            let error = Err::<(), _>(error).at(Stage::Clone, "make a process in the container").unwrap_err();
            // No process can be made in a pid namespace whose first process has ended.
            Err(if process::pidfd_send_signal(container.pidfd.as_fd(), 0).is_err() {
                gone(error)
            } else {
                error
            })
        }
        Ok(Fork::Child) => inside::run_exec(container, namespaces, request, descriptors, &report),
        Ok(Fork::Parent(child)) => {
            drop(pid_namespace);
            Ok(child)
        }
    }
}

/// The namespaces in which the container is and we are not: the kernel refuses to enter some that are ours
/// already.
fn differing_namespaces(container: &Container) -> Result<Namespaces, LaunchError> {
    let mut differing = Namespaces::NONE;
    for (name, kind) in [
        ("user", Namespaces::USER),
        ("mnt", Namespaces::MOUNT),
        ("pid", Namespaces::PID),
        ("net", Namespaces::NETWORK),
        ("ipc", Namespaces::IPC),
        ("uts", Namespaces::UTS),
        ("cgroup", Namespaces::CGROUP),
        ("time", Namespaces::TIME),
    ] {
        let link = |who: &str| rustix::fs::readlink(format!("/proc/{who}/ns/{name}"), Vec::new());
        if kind == Namespaces::TIME && link("self").is_err() {
            // A kernel without them.
            continue;
        }
        let own = link("self").at(Stage::Prepare, format_args!("read our own {name} namespace"))?;
        let theirs = link(&container.pid.to_string()).map_err(|_| {
            LaunchError::new(Stage::Prepare, LaunchErrorKind::NotRunning, "the container is not running")
        })?;
        if own != theirs {
            differing = differing.with(kind);
        }
    }
    // The links were those of our process only if it still is the one: a handle cannot be mistaken.
    process::pidfd_send_signal(container.pidfd.as_fd(), 0).map_err(|_| {
        LaunchError::new(Stage::Prepare, LaunchErrorKind::NotRunning, "the container is not running")
    })?;
    Ok(differing)
}
