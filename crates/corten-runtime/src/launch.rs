//! The caller's side of a start: one clone, then wait for the exec or the error.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use corten_oci::runtime::{LinuxTimeOffset, NamespaceKind};
use corten_sys::process::{self, Child, CloneOptions, Fork, Namespaces};
use corten_sys::socket;

use crate::clocks::ChildrenWithClocks;
use crate::error::{Context, LaunchError, LaunchErrorKind, Stage};
use crate::inside::{self, Report};
use crate::lifecycle::Lifecycle;
use crate::request::{LaunchRequest, Launched};
use crate::user_namespace::OwnUsers;

/// Starts a container's first process. Returns when it has executed its command, or with what went wrong;
/// then nothing is left of it.
///
/// The caller has one thread, and becomes the parent. The process joins a cgroup of version 1 by itself,
/// which may take ten milliseconds; [`crate::Seat::launch`] does not wait for that.
pub fn launch(request: LaunchRequest) -> Result<Launched, LaunchError> {
    let (ours, theirs) = socket::seqpacket_pair().at(Stage::Prepare, "open a socket")?;
    let child = begin(request, Report::new(theirs), false)?;
    await_exec(ours, child)
}

/// Makes the process; it is the caller's child, or with `sibling` the caller's parent's. In the new process
/// it does not return.
pub(crate) fn begin(request: LaunchRequest, report: Report, sibling: bool) -> Result<Child, LaunchError> {
    begin_in_steps(request, Lifecycle::default(), report, sibling)
}

/// As [`begin`] with hooks and a gate.
pub(crate) fn begin_in_steps(
    request: LaunchRequest,
    lifecycle: Lifecycle,
    report: Report,
    sibling: bool,
) -> Result<Child, LaunchError> {
    let plan = Plan::new(&request)?;
    let pid_namespace = match &plan.pid_namespace {
        Some(theirs) => Some(ChildrenIn::enter(theirs.as_fd())?),
        None => None,
    };
    let clocks = match &plan.new_clocks {
        Some(offsets) => Some(ChildrenWithClocks::enter(offsets)?),
        None => None,
    };
    let options = CloneOptions {
        namespaces: plan.new,
        cgroup: request.cgroup.unified.as_ref().map(AsFd::as_fd),
        sibling,
    };
    match process::clone_process(&options).at(Stage::Clone, "make the container's process")? {
        Fork::Child => inside::run_container(request, plan, lifecycle, &report),
        Fork::Parent(child) => {
            drop(pid_namespace);
            drop(clocks);
            if let Some(users) = &plan.own_users
                && let Err(error) = users.release(child.pid, request.spec.process.as_ref())
            {
                let signal = rustix::process::Signal::KILL.as_raw();
                let _ = process::pidfd_send_signal(child.pidfd.as_fd(), signal);
                if !sibling {
                    let _ = process::wait(child.pid);
                }
                return Err(error);
            }
            // Our copies of the container's ends of its pipes go with the request: the shim must see their
            // end.
            Ok(child)
        }
    }
}

/// Which namespaces are new, and which exist.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Made by the clone.
    pub(crate) new: Namespaces,
    /// Left for a new one by the child itself: a cgroup namespace shows the tree from where its maker is.
    pub(crate) new_cgroup: bool,
    /// Left for a new one by the caller around the clone, as it holds for children only: offsets of its clocks.
    new_clocks: Option<BTreeMap<String, LinuxTimeOffset>>,
    /// Entered by the child.
    pub(crate) existing: Vec<(Namespaces, OwnedFd)>,
    /// Entered by the caller around the clone, as it holds for children only.
    pid_namespace: Option<OwnedFd>,
    /// A new user namespace, which owns all the new others.
    pub(crate) own_users: Option<OwnUsers>,
}

impl Plan {
    fn new(request: &LaunchRequest) -> Result<Self, LaunchError> {
        let mut plan = Self {
            new: Namespaces::MOUNT,
            new_cgroup: false,
            new_clocks: None,
            existing: Vec::new(),
            pid_namespace: None,
            own_users: None,
        };
        let listed = request.spec.linux.as_ref().map_or(&[][..], |linux| &linux.namespaces);
        for namespace in listed {
            let kind = match namespace.kind {
                NamespaceKind::Pid => Namespaces::PID,
                NamespaceKind::Network => Namespaces::NETWORK,
                NamespaceKind::Mount => Namespaces::MOUNT,
                NamespaceKind::Ipc => Namespaces::IPC,
                NamespaceKind::Uts => Namespaces::UTS,
                NamespaceKind::Cgroup => Namespaces::CGROUP,
                NamespaceKind::Time => Namespaces::TIME,
                NamespaceKind::User if namespace.path.is_some() => {
                    return Err(LaunchError::new(
                        Stage::Prepare,
                        LaunchErrorKind::Invalid,
                        "a user namespace that exists already cannot be joined: leave out its path for a new one",
                    ));
                }
                NamespaceKind::User => Namespaces::USER,
            };
            if let (NamespaceKind::User, Some(linux)) = (namespace.kind, &request.spec.linux) {
                plan.own_users = Some(OwnUsers::new(linux)?);
            }
            if namespace.kind == NamespaceKind::Network && request.network_namespace.is_some() {
                continue;
            }
            match &namespace.path {
                Some(path) => {
                    let file = File::open(path)
                        .at(Stage::Prepare, format_args!("open the namespace {path}"))?
                        .into();
                    if namespace.kind == NamespaceKind::Pid {
                        plan.pid_namespace = Some(file);
                    } else {
                        plan.existing.push((kind, file));
                    }
                }
                None if namespace.kind == NamespaceKind::Cgroup => plan.new_cgroup = true,
                None if namespace.kind == NamespaceKind::Time => {
                    let linux = request.spec.linux.as_ref();
                    plan.new_clocks = Some(linux.map(|linux| linux.time_offsets.clone()).unwrap_or_default());
                }
                None => plan.new = plan.new.with(kind),
            }
        }
        if let Some(namespace) = &request.network_namespace {
            let namespace = namespace.try_clone().at(Stage::Prepare, "keep the network namespace")?;
            plan.existing.push((Namespaces::NETWORK, namespace));
        }
        Ok(plan)
    }
}

/// While it lives, the caller's new children are born in another pid namespace.
pub(crate) struct ChildrenIn {
    own: OwnedFd,
}

impl ChildrenIn {
    /// `namespace` is a pid namespace, or a handle of a process inside one.
    pub(crate) fn enter(namespace: std::os::fd::BorrowedFd<'_>) -> Result<Self, LaunchError> {
        let own = File::open("/proc/self/ns/pid").at(Stage::Prepare, "open our own pid namespace")?.into();
        process::enter_namespace(namespace, Namespaces::PID)
            .at(Stage::Namespaces, "enter the container's pid namespace")?;
        Ok(Self { own })
    }
}

impl Drop for ChildrenIn {
    fn drop(&mut self) {
        // Our own namespace can always be chosen again.
        let _ = process::enter_namespace(self.own.as_fd(), Namespaces::PID);
    }
}

/// Listens until the exec closes the child's end, or an error comes.
pub(crate) fn await_exec(reports: OwnedFd, child: Child) -> Result<Launched, LaunchError> {
    await_exec_with(reports, child, &mut |_| {
        Err(LaunchError::new(Stage::Prepare, LaunchErrorKind::System, "nobody runs the container's hooks"))
    })
}

/// As [`await_exec`], or until the process waits at its gate; `hooks` is called when it is time for them, and
/// lets the process go on by a message on the socket.
pub(crate) fn await_exec_with(
    reports: OwnedFd,
    child: Child,
    hooks: &mut dyn FnMut(&OwnedFd) -> Result<(), LaunchError>,
) -> Result<Launched, LaunchError> {
    let outcome = inside::listen(reports, hooks);
    match outcome {
        Ok(terminal) => {
            let start_time = process::start_time(child.pid).unwrap_or(0);
            Ok(Launched { pid: child.pid, pidfd: child.pidfd, start_time, terminal })
        }
        Err(error) => {
            let _ = process::pidfd_send_signal(child.pidfd.as_fd(), rustix::process::Signal::KILL.as_raw());
            let _ = process::wait(child.pid);
            Err(error)
        }
    }
}
