//! A process of ours that waits inside a container's cgroup, to have processes born there.
//!
//! With version 1 a process enters a cgroup by writing to a file, and the kernel lets everything that forks
//! come to rest first: ten milliseconds and more when nobody has done so lately. A child is born in its
//! parent's cgroup at no cost. So a seat enters before anybody waits for it, and makes the container's
//! processes as its own siblings: they are children of the seat's parent, the shim, as if that had made them
//! itself.
//!
//! ```text
//! shim ──┬── seat (in the container's cgroup) ─ ─ makes ─ ─┐
//!        └── container's process, exec  ◀ ─ ─ ─ ─ ─ ─ ─ ─ ─┘
//! ```
//!
//! The seat executes nothing, is not dumpable, is in none of the container's namespaces and takes one request
//! at a time.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_oci::runtime::{Process, Spec};
use corten_sys::process::{self, Child, Fork};
use corten_sys::{descriptor, socket};
use serde::{Deserialize, Serialize};

use crate::cgroup::{CgroupHandle, CgroupShape};
use crate::error::{Context, LaunchError, LaunchErrorKind, Stage};
use crate::hardening::{Hardening, HardeningStep};
use crate::inside::Report;
use crate::launch::Ended;
use crate::request::{ChildStdio, Container, ExecRequest, LaunchRequest, Launched};
use crate::{exec, launch, seccomp};

/// What `ps` shows for a seat.
pub(crate) const NAME: &str = "corten-seat";

/// Longest request; above it a process joins the cgroup itself.
const LONGEST: usize = 128 << 10;

/// A seat, held by its parent. Dropping it ends the seat; its parent has to reap it.
#[derive(Debug)]
pub struct Seat {
    pid: i32,
    socket: OwnedFd,
}

/// What is asked, without descriptors.
#[derive(Deserialize, Serialize)]
enum Job {
    Launch {
        spec: Box<Spec>,
        mount_trees: Vec<usize>,
        network: bool,
        users: bool,
        devices: Vec<String>,
        init: bool,
        terminal: bool,
        cgroup: CgroupShape,
        hardening: Hardening,
    },
    Exec {
        container: i32,
        process: Box<Process>,
        terminal: bool,
        cgroup: CgroupShape,
        hardening: Hardening,
    },
}

impl Seat {
    /// Makes a seat that joins a cgroup by the files of the handle. Returns at once; the seat is ready when
    /// [`Self::wait_until_ready`] returns, or when the first request is answered.
    ///
    /// The caller has one thread and becomes the parent.
    pub fn take(cgroup: &CgroupHandle) -> Result<Self, LaunchError> {
        let (ours, theirs) = socket::seqpacket_pair().at(Stage::Prepare, "open a socket")?;
        match process::fork().at(Stage::Clone, "make a process for the cgroup")? {
            Fork::Child => {
                drop(ours);
                serve(theirs, &cgroup.join)
            }
            Fork::Parent(child) => Ok(Self { pid: child.pid, socket: ours }),
        }
    }

    /// The seat's process id: what its parent reaps.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until the seat is in the cgroup.
    ///
    /// # Errors
    /// Where it could not join; it is gone then.
    pub fn wait_until_ready(&self) -> Result<(), LaunchError> {
        self.ask(b"", &[]).map(drop)
    }

    /// [`crate::launch`] with the process born in the cgroup. The request's own files to join are not used.
    pub fn launch(&self, request: LaunchRequest) -> Result<Launched, LaunchError> {
        let (ours, report) = socket::seqpacket_pair().at(Stage::Prepare, "open a socket")?;
        let LaunchRequest {
            spec,
            root,
            mount_trees,
            network_namespace,
            user_namespace,
            devices,
            mut cgroup,
            stdio,
            seccomp,
            init,
            hardening,
        } = request;
        cgroup.join.clear();
        let (shape, cgroup) = cgroup.into_parts();
        let (streams, terminal) = streams(stdio);
        let (indexes, trees): (Vec<usize>, Vec<OwnedFd>) = mount_trees.into_iter().unzip();
        let (paths, nodes): (Vec<String>, Vec<OwnedFd>) = devices.into_iter().unzip();
        let job = Job::Launch {
            spec: Box::new(spec),
            mount_trees: indexes,
            network: network_namespace.is_some(),
            users: user_namespace.is_some(),
            devices: paths,
            init: init.is_some(),
            terminal,
            cgroup: shape,
            hardening,
        };
        let descriptors: Vec<OwnedFd> = [report, root]
            .into_iter()
            .chain(trees)
            .chain(network_namespace)
            .chain(user_namespace)
            .chain(nodes)
            .chain(init)
            .chain(streams)
            .chain(cgroup)
            .collect();
        let child = self.make(&job, seccomp.as_ref(), descriptors)?;
        launch::await_exec(ours, child)
    }

    /// [`crate::exec`] with the process born in the cgroup.
    pub fn exec(&self, container: &Container, request: ExecRequest<'_>) -> Result<Launched, LaunchError> {
        if request.hardening.has(HardeningStep::HiddenExec) && exec::may_trace(container) {
            return exec::exec(container, request);
        }
        let (ours, report) = socket::seqpacket_pair().at(Stage::Prepare, "open a socket")?;
        let mut cgroup = request.cgroup.for_exec().at(Stage::Prepare, "copy the cgroup's descriptors")?;
        cgroup.join.clear();
        let (shape, cgroup) = cgroup.into_parts();
        let (streams, terminal) = streams(request.stdio);
        let pidfd = container.pidfd.try_clone().at(Stage::Prepare, "copy the container's handle")?;
        let job = Job::Exec {
            container: container.pid,
            process: Box::new(request.process),
            terminal,
            cgroup: shape,
            hardening: request.hardening,
        };
        let descriptors: Vec<OwnedFd> = [report, pidfd].into_iter().chain(streams).chain(cgroup).collect();
        let child = self.make(&job, request.seccomp, descriptors)?;
        launch::await_exec(ours, child)
    }

    fn make(
        &self,
        job: &Job,
        filter: Option<&seccomp::Program>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Child, LaunchError> {
        let system = |text: String| LaunchError::new(Stage::Prepare, LaunchErrorKind::System, text);
        let document =
            serde_json::to_vec(job).map_err(|error| system(format!("write the request: {error}")))?;
        let mut message = (document.len() as u32).to_ne_bytes().to_vec();
        message.extend(document);
        message.extend(filter.map(seccomp::Program::to_bytes).unwrap_or_default());
        if message.len() > LONGEST || descriptors.len() > socket::MAX_DESCRIPTORS {
            return Err(system("the container's document is too long".to_owned()));
        }
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        let pid = self.ask(&message, &borrowed)?;
        // The process has its own: what it listens to must not be held open here.
        drop(descriptors);
        // It is our child and not reaped yet: the number is its own.
        let pidfd = process::pidfd_open(pid).at(Stage::Clone, "open a handle of the process")?;
        Ok(Child { pid, pidfd })
    }

    fn ask(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<i32, LaunchError> {
        // An empty message would read as the end.
        let message = if message.is_empty() { &[0; 4][..] } else { message };
        socket::send_with_fds(&self.socket, message, descriptors).at(Stage::Clone, "ask the seat")?;
        let mut buffer = vec![0; LONGEST];
        let (count, _) =
            socket::receive_with_fds(&self.socket, &mut buffer).at(Stage::Clone, "hear the seat")?;
        let gone =
            || LaunchError::new(Stage::Cgroup, LaunchErrorKind::System, "the seat in the cgroup has ended");
        if count == 0 {
            return Err(gone());
        }
        let answer = serde_json::from_slice::<Result<(i32, Option<Ended>), LaunchError>>(&buffer[..count]);
        let (pid, ended) = answer.map_err(|_| gone())??;
        if let Some(ended) = ended {
            let _ = process::wait(ended);
        }
        Ok(pid)
    }
}

fn streams(stdio: ChildStdio) -> (Vec<OwnedFd>, bool) {
    match stdio {
        ChildStdio::Pipes { stdin, stdout, stderr } => (vec![stdin, stdout, stderr], false),
        ChildStdio::Terminal => (Vec::new(), true),
    }
}

/// The seat itself: joins, then makes what it is asked for until its parent lets it go.
fn serve(socket: OwnedFd, join: &[OwnedFd]) -> ! {
    let _ = CString::new(NAME).map(|name| process::set_name(&name));
    let _ = process::set_parent_death_signal(rustix::process::Signal::KILL.as_raw());
    let _ = process::set_dumpable(false);
    // The kernel must not choose it when the container's memory is out.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    let joined: Result<(), LaunchError> = join
        .iter()
        .try_for_each(|procs| rustix::io::write(procs, b"0").map(drop))
        .at(Stage::Cgroup, "join the container's cgroup");
    let failure = joined.err().and_then(|error| serde_json::to_vec(&Err::<(), _>(error)).ok());
    // Nothing of the shim stays open here: its clients and pipes would never see their end.
    descriptor::alone_with(socket, failure.unwrap_or_default(), answer)
}

/// Answers requests; with a failure, the first with that and no more.
fn answer(socket: OwnedFd, failure: Vec<u8>) -> Infallible {
    let mut buffer = vec![0; LONGEST];
    loop {
        let Ok((count, descriptors)) = socket::receive_with_fds(&socket, &mut buffer) else {
            process::exit_now(1);
        };
        if count == 0 {
            process::exit_now(0);
        }
        let text = if failure.is_empty() {
            serde_json::to_vec(&obey(&buffer[..count], descriptors)).unwrap_or_default()
        } else {
            failure.clone()
        };
        if socket::send_with_fds(&socket, &text, &[]).is_err() || !failure.is_empty() {
            process::exit_now(1);
        }
    }
}

/// Does one request; the new process's id, and that of one on the way that its parent is to reap.
fn obey(message: &[u8], descriptors: Vec<OwnedFd>) -> Result<(i32, Option<Ended>), LaunchError> {
    let damaged =
        || LaunchError::new(Stage::Prepare, LaunchErrorKind::System, "a damaged request to the seat");
    let (length, rest) = message.split_first_chunk::<4>().ok_or_else(damaged)?;
    let length = u32::from_ne_bytes(*length) as usize;
    if length == 0 {
        return Ok((0, None));
    }
    let (document, program) = rest.split_at_checked(length).ok_or_else(damaged)?;
    let job: Job = serde_json::from_slice(document).map_err(|_| damaged())?;
    let filter = if program.is_empty() {
        None
    } else {
        Some(seccomp::Program::from_bytes(program).ok_or_else(damaged)?)
    };
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or_else(damaged);
    let report = Report::new(next()?);
    let (child, ended) = match job {
        Job::Launch { spec, mount_trees, network, users, devices, init, terminal, cgroup, hardening } => {
            let root = next()?;
            let mount_trees = mount_trees
                .into_iter()
                .map(|index| Ok((index, next()?)))
                .collect::<Result<_, LaunchError>>()?;
            let network_namespace = network.then(&mut next).transpose()?;
            let user_namespace = users.then(&mut next).transpose()?;
            let devices =
                devices.into_iter().map(|path| Ok((path, next()?))).collect::<Result<_, LaunchError>>()?;
            let init = init.then(&mut next).transpose()?;
            let stdio = stdio(terminal, &mut next)?;
            let request = LaunchRequest {
                spec: *spec,
                root,
                mount_trees,
                network_namespace,
                user_namespace,
                devices,
                cgroup: CgroupHandle::from_parts(&cgroup, descriptors.collect()).ok_or_else(damaged)?,
                stdio,
                seccomp: filter,
                init,
                hardening,
            };
            launch::begin(request, report, true)?
        }
        Job::Exec { container, process, terminal, cgroup, hardening } => {
            let container = Container { pid: container, pidfd: next()? };
            let stdio = stdio(terminal, &mut next)?;
            let cgroup = CgroupHandle::from_parts(&cgroup, descriptors.collect()).ok_or_else(damaged)?;
            let request = ExecRequest {
                process: *process,
                stdio,
                cgroup: &cgroup,
                seccomp: filter.as_ref(),
                hardening,
            };
            (exec::begin(&container, request, report, true)?, None)
        }
    };
    Ok((child.pid, ended))
}

fn stdio(
    terminal: bool,
    next: &mut impl FnMut() -> Result<OwnedFd, LaunchError>,
) -> Result<ChildStdio, LaunchError> {
    if terminal {
        return Ok(ChildStdio::Terminal);
    }
    Ok(ChildStdio::Pipes { stdin: next()?, stdout: next()?, stderr: next()? })
}
