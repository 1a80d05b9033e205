//! The caller's side of a start: one clone, then wait for the exec or the error.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_oci::runtime::{Linux, LinuxTimeOffset, NamespaceKind};
use corten_sys::process::{self, Child, CloneOptions, Fork, Namespaces};
use corten_sys::socket;

use crate::clocks::ChildrenWithClocks;
use crate::error::{Context, LaunchError, LaunchErrorKind, Stage};
use crate::inside::{self, Report};
use crate::lifecycle::Lifecycle;
use crate::request::{LaunchRequest, Launched};
use crate::user_namespace::{self, OwnUsers};

/// Starts a container's first process. Returns when it has executed its command, or with what went wrong;
/// then nothing is left of it.
///
/// The caller has one thread, and becomes the parent. The process joins a cgroup of version 1 by itself,
/// which may take ten milliseconds; [`crate::Seat::launch`] does not wait for that.
pub fn launch(request: LaunchRequest) -> Result<Launched, LaunchError> {
    let (ours, theirs) = socket::seqpacket_pair().at(Stage::Prepare, "open a socket")?;
    let (child, _) = begin(request, Report::new(theirs), false)?;
    await_exec(ours, child)
}

/// A process that did its part and has ended; whoever is its parent reaps it.
pub(crate) type Ended = i32;

/// Makes the process; it is the caller's child, or with `sibling` the caller's parent's. In the new process
/// it does not return.
pub(crate) fn begin(
    request: LaunchRequest,
    report: Report,
    sibling: bool,
) -> Result<(Child, Option<Ended>), LaunchError> {
    begin_in_steps(request, Lifecycle::default(), report, sibling)
}

/// As [`begin`] with hooks and a gate.
pub(crate) fn begin_in_steps(
    request: LaunchRequest,
    lifecycle: Lifecycle,
    report: Report,
    sibling: bool,
) -> Result<(Child, Option<Ended>), LaunchError> {
    let mut plan = Plan::new(&request)?;
    if lifecycle.in_user_namespace && plan.own_users.is_none() {
        let none = Linux::default();
        let linux = request.spec.linux.as_ref().unwrap_or(&none);
        plan.nodes = Some(user_namespace::host_nodes(linux, &request.devices)?);
    }
    if let Some(users) = plan.own_users.as_mut().and_then(|users| users.joined.take()) {
        return begin_in_users(request, plan, users, lifecycle, report, sibling);
    }
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
            release(&plan, &request, &child, sibling)?;
            // Our copies of the container's ends of its pipes go with the request: the shim must see their
            // end.
            Ok((child, None))
        }
    }
}

/// Lets a child go on that waits for what it cannot do itself; where that fails the child is gone.
fn release(plan: &Plan, request: &LaunchRequest, child: &Child, sibling: bool) -> Result<(), LaunchError> {
    let Some(users) = &plan.own_users else { return Ok(()) };
    users.release(child.pid, request.spec.process.as_ref(), &request.stdio).inspect_err(|_| {
        let signal = rustix::process::Signal::KILL.as_raw();
        let _ = process::pidfd_send_signal(child.pidfd.as_fd(), signal);
        if !sibling {
            let _ = process::wait(child.pid);
        }
    })
}

/// Makes the process in a user namespace that exists, in two steps; see [`crate::user_namespace`].
fn begin_in_users(
    request: LaunchRequest,
    mut plan: Plan,
    users: OwnedFd,
    lifecycle: Lifecycle,
    report: Report,
    sibling: bool,
) -> Result<(Child, Option<Ended>), LaunchError> {
    let clocks = match &plan.new_clocks {
        Some(offsets) => Some(ChildrenWithClocks::enter(offsets)?),
        None => None,
    };
    let (ours, theirs) = socket::seqpacket_pair().at(Stage::Prepare, "open a socket")?;
    let options = CloneOptions {
        namespaces: Namespaces::NONE,
        cgroup: request.cgroup.unified.as_ref().map(AsFd::as_fd),
        sibling,
    };
    match process::clone_process(&options).at(Stage::Clone, "make the container's process")? {
        Fork::Child => {
            let first = Report::new(theirs);
            drop(ours);
            let made = plan.enter_existing(users.as_fd()).and_then(|()| {
                drop(users);
                let options = CloneOptions { namespaces: plan.new, cgroup: None, sibling: true };
                process::clone_process(&options).at(Stage::Clone, "make the container's process")
            });
            match made {
                Ok(Fork::Child) => {
                    drop(first);
                    inside::run_container(request, plan, lifecycle, &report)
                }
                Ok(Fork::Parent(child)) => first.made(child.pid).unwrap_or_default(),
                Err(error) => first.error(&error),
            }
            process::exit_now(0)
        }
        Fork::Parent(first) => {
            drop(clocks);
            drop(theirs);
            drop(report);
            let second = inside::hear_of_second(&ours);
            let ended = if sibling {
                Some(first.pid)
            } else {
                let _ = process::wait(first.pid);
                None
            };
            let pid = second?;
            // Nobody has reaped it, as it waits for us: the number is its own.
            let pidfd = process::pidfd_open(pid).at(Stage::Clone, "open a handle of the process")?;
            let child = Child { pid, pidfd };
            release(&plan, &request, &child, sibling)?;
            Ok((child, ended))
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
    /// Left for a new one by the child itself, as root of its user namespace: the folder of queues (`/dev/mqueue`) belongs to
    /// the namespace's maker, and nobody in there could change that.
    pub(crate) new_ipc: bool,
    /// Left for a new one by the caller around the clone, as it holds for children only: offsets of its clocks.
    new_clocks: Option<BTreeMap<String, LinuxTimeOffset>>,
    /// Entered by the child.
    pub(crate) existing: Vec<(Namespaces, OwnedFd)>,
    /// Entered by the caller around the clone, as it holds for children only.
    pid_namespace: Option<OwnedFd>,
    /// Another user namespace than ours, which owns all the new others.
    pub(crate) own_users: Option<OwnUsers>,
    /// Our own user namespace is none in which devices can be made: the host's by path, as detached trees.
    pub(crate) nodes: Option<Vec<(String, OwnedFd)>>,
}

impl Plan {
    fn new(request: &LaunchRequest) -> Result<Self, LaunchError> {
        let mut plan = Self {
            new: Namespaces::MOUNT,
            new_cgroup: false,
            new_ipc: false,
            new_clocks: None,
            existing: Vec::new(),
            pid_namespace: None,
            own_users: None,
            nodes: None,
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
                NamespaceKind::User => {
                    plan.settle_users(request, namespace.path.as_deref())?;
                    continue;
                }
            };
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
        if plan.own_users.is_some() && plan.new.contains(Namespaces::IPC) {
            plan.new = plan.new.without(Namespaces::IPC);
            plan.new_ipc = true;
        }
        if let Some(namespace) = &request.network_namespace {
            let namespace = namespace.try_clone().at(Stage::Prepare, "keep the network namespace")?;
            plan.existing.push((Namespaces::NETWORK, namespace));
        }
        Ok(plan)
    }

    /// The user namespace: the one given, one by its path, or a new one.
    fn settle_users(&mut self, request: &LaunchRequest, path: Option<&str>) -> Result<(), LaunchError> {
        let joined: Option<OwnedFd> = match (&request.user_namespace, path) {
            (Some(given), _) => Some(given.try_clone().at(Stage::Prepare, "keep the user namespace")?),
            (None, Some(path)) => {
                let context = format!("open the namespace {path}");
                Some(File::open(path).at(Stage::Prepare, context)?.into())
            }
            (None, None) => None,
        };
        if joined.as_ref().is_some_and(|namespace| user_namespace::is_our_own(namespace.as_fd())) {
            return Ok(());
        }
        if joined.is_none() {
            self.new = self.new.with(Namespaces::USER);
        }
        let linux = request.spec.linux.as_ref();
        let none = Linux::default();
        self.own_users = Some(OwnUsers::new(linux.unwrap_or(&none), joined, &request.devices)?);
        Ok(())
    }

    /// In the first of two processes: enters what exists, the user namespace last, as its root may not enter what
    /// belongs to another.
    fn enter_existing(&mut self, users: BorrowedFd<'_>) -> Result<(), LaunchError> {
        for (kind, namespace) in std::mem::take(&mut self.existing) {
            process::enter_namespace(namespace.as_fd(), kind).at(Stage::Namespaces, "enter a namespace")?;
        }
        if let Some(namespace) = self.pid_namespace.take() {
            process::enter_namespace(namespace.as_fd(), Namespaces::PID)
                .at(Stage::Namespaces, "enter the container's pid namespace")?;
        }
        process::enter_namespace(users, Namespaces::USER).at(Stage::Namespaces, "enter the user namespace")
    }
}

/// While it lives, the caller's new children are born in another pid namespace.
pub(crate) struct ChildrenIn {
    own: OwnedFd,
}

impl ChildrenIn {
    /// `namespace` is a pid namespace, or a handle of a process inside one.
    pub(crate) fn enter(namespace: BorrowedFd<'_>) -> Result<Self, LaunchError> {
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
