//! An exec in a container that may trace: nothing of it is in the container's pid namespace before it has nothing of the
//! host left.
//!
//! Who has CAP_SYS_PTRACE looks into every process that it sees, dumpable or not. So a first process, which nobody inside
//! sees, gets rid of everything – namespaces, descriptors – and only then makes the one that stays:
//!
//! ```text
//! caller ──┬── first (host's pid namespace): cgroup, labels, streams, namespaces, closes all else ─ ─ makes ─ ─┐
//!          └── second (the container's pid namespace): terminal, user, exec  ◀ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─┘
//! ```

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use corten_oci::runtime::Process;
use corten_sys::process::{self, Namespaces};
use corten_sys::{descriptor, terminal};
use serde::{Deserialize, Serialize};

use super::{
    Last, Report, Result, become_inner_root, begin, finish, identity, invalid, open_root, open_terminal,
    place_streams, service,
};
use crate::error::{Context, LaunchError, LaunchErrorKind, Stage};
use crate::hardening::Hardening;
use crate::request::{ChildStdio, Container, ExecRequest};
use crate::seccomp;
use crate::user_namespace::give_pipes;

/// What the second process needs to know.
#[derive(Deserialize, Serialize)]
struct Rest {
    process: Process,
    terminal: bool,
    filter: Option<Vec<u8>>,
    hardening: Hardening,
}

/// The first process. Never returns.
pub(crate) fn run_hidden_exec(
    container: &Container,
    namespaces: Namespaces,
    request: ExecRequest<'_>,
    report: Report,
) -> ! {
    match prepare(container, namespaces, request, &report) {
        // From here on nothing is known but what is in the bytes.
        Ok(rest) => descriptor::alone_with(report.into_socket(), rest, make_second),
        Err(error) => fail(&report, &error),
    }
}

fn prepare(
    container: &Container,
    namespaces: Namespaces,
    mut request: ExecRequest<'_>,
    report: &Report,
) -> Result<Vec<u8>> {
    service::set_first_affinity(&request.process)?;
    begin(&request.hardening, &request.cgroup.join)?;
    service::set_last_affinity(&request.process)?;
    identity::set_oom_score(&request.process)?;
    identity::set_security_labels(&request.process)?;
    let other_users = namespaces.contains(Namespaces::USER);
    if other_users {
        give_pipes(container.pid, &request.stdio);
    }
    let terminal = matches!(request.stdio, ChildStdio::Terminal);
    if !terminal {
        let none = || Err(invalid("pipes need no terminal"));
        place_streams(&request.stdio, &request.process, report, none)?;
    }
    if other_users {
        // In there they could only get stricter.
        identity::set_limits(&request.process)?;
        request.process.rlimits.clear();
    }
    // The pid namespace is the one of the children to come.
    process::enter_process_namespaces(container.pidfd.as_fd(), namespaces)
        .at(Stage::Namespaces, "enter the container's namespaces")?;
    if other_users {
        become_inner_root()?;
    }
    let rest = Rest {
        process: request.process,
        terminal,
        filter: request.seccomp.map(seccomp::Program::to_bytes),
        hardening: request.hardening,
    };
    serde_json::to_vec(&rest).map_err(|error| invalid(format!("write down what is left to do: {error}")))
}

/// The first process, with nothing but the socket open: makes the second, tells its number and ends.
fn make_second(socket: OwnedFd, rest: Vec<u8>) -> Infallible {
    let report = Report::new(socket);
    let second = || -> Result<()> {
        let rest: Rest = serde_json::from_slice(&rest)
            .map_err(|error| invalid(format!("read what is left to do: {error}")))?;
        // The second waits until its number is told: nothing it says may come before.
        let (wait, go) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).at(Stage::Clone, "make a pipe")?;
        let made = process::fork_sibling().at(Stage::Clone, "make a process in the container")?;
        let Some(pid) = made else {
            drop(go);
            let _ = rustix::io::read(&wait, &mut [0; 1]);
            drop(wait);
            let Err(error) = run(rest, &report);
            fail(&report, &error);
        };
        report.made(pid).at(Stage::Clone, "tell the number of the process")
    };
    if let Err(error) = second() {
        fail(&report, &error);
    }
    process::exit_now(0)
}

/// The second process.
fn run(rest: Rest, report: &Report) -> Result<Infallible> {
    // Neither is passed on by a fork.
    begin(&rest.hardening, &[])?;
    rustix::process::setsid().at(Stage::Prepare, "make a session")?;
    let filter = match &rest.filter {
        Some(bytes) => {
            Some(seccomp::Program::from_bytes(bytes).ok_or_else(|| invalid("a damaged system call filter"))?)
        }
        None => None,
    };
    let root = open_root()?;
    if rest.terminal {
        let open = || -> Result<terminal::Pair> { open_terminal(root.as_fd(), None) };
        place_streams(&ChildStdio::Terminal, &rest.process, report, open)?;
    }
    finish(root, rest.process, filter.as_ref(), &rest.hardening, report, &Last::default())
}

fn fail(report: &Report, error: &LaunchError) -> ! {
    report.error(error);
    process::exit_now(1)
}

/// Hears from the first process which is the second.
pub(crate) fn hear_of_second(socket: &OwnedFd) -> std::result::Result<i32, LaunchError> {
    super::report::listen_for_made(socket).and_then(|pid| {
        pid.ok_or_else(|| {
            LaunchError::new(
                Stage::Clone,
                LaunchErrorKind::System,
                "the process that was to make the exec ended and could not say why",
            )
        })
    })
}
