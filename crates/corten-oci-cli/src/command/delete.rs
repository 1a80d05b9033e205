//! `delete`: what is left of a container that has ended.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use corten_runtime::cgroup::systemd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Command, HELP, id};
use crate::Context;
use crate::arguments::{Arguments, Flag, Kind};
use crate::failure::{Failure, Result};
use crate::hooks;
use crate::state::{Folder, State, Status};

pub(super) const COMMAND: Command = Command {
    name: "delete",
    about: "Remove what is left of a stopped container",
    positional: "CONTAINER",
    flags: FLAGS,
    makes_processes: false,
    run,
};

const FLAGS: &[Flag] =
    &[Flag::new("force", Kind::Switch, "kill it where it runs; a missing one is fine").short('f'), HELP];

/// How long a killed process has to go.
const KILL_TIME: Duration = Duration::from_secs(10);

fn run(context: &mut Context, arguments: &Arguments) -> Result<i32> {
    let id = id("delete", arguments)?;
    let force = arguments.is_set("force");
    let (folder, state) = match context.root.load(id) {
        Ok(found) => found,
        Err(failure) => {
            if force && failure.to_string() == "container does not exist" {
                // Half-made, or never there.
                context.root.folder(id)?.remove()?;
                return Ok(0);
            }
            return Err(failure);
        }
    };
    match folder.status(&state) {
        Status::Stopped => {}
        Status::Created | Status::Creating => end(&state)?,
        _ if force => end(&state)?,
        status => {
            return Err(Failure::new(format!(
                "cannot delete container {id} that is not stopped: {}",
                status.word()
            )));
        }
    }
    destroy(context, &folder, &state)?;
    Ok(0)
}

/// Kills the first process and waits until it has ended.
pub(super) fn end(state: &State) -> Result<()> {
    let Ok(handle) = state.handle() else { return Ok(()) };
    let _ = corten_sys::process::pidfd_send_signal(handle.as_fd(), 9);
    if let Some(cgroup) = &state.cgroup
        && cgroup.is_frozen()
    {
        let _ = cgroup.thaw();
    }
    let deadline = Instant::now() + KILL_TIME;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) => return Err(Failure::new("container init still running")),
            _ => return Ok(()),
        }
    }
}

/// Removes cgroup and folder of a container whose first process has ended, and tells its hooks.
pub(super) fn destroy(context: &Context, folder: &Folder, state: &State) -> Result<()> {
    if let Some(cgroup) = &state.cgroup {
        if !state.own_pids || cgroup.is_frozen() {
            // Others may be left that nothing ends.
            cgroup.kill_all()?;
            let _ = cgroup.thaw();
        }
        if let Some(unit) = &state.unit {
            systemd::remove(unit, cgroup)?;
        }
        cgroup.remove().or_else(|_| {
            cgroup.kill_all()?;
            cgroup.remove()
        })?;
    }
    folder.remove()?;
    hooks::run_all("poststop", &state.hooks.poststop, state, Status::Stopped, &context.log);
    Ok(())
}
