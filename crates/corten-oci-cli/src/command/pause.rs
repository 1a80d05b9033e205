//! `pause` and `resume`: a container stands still, and goes on.

use corten_runtime::cgroup::Cgroup;

use super::{Command, HELP, id};
use crate::Context;
use crate::arguments::Arguments;
use crate::failure::{Failure, Result};
use crate::state::Status;

pub(super) const PAUSE: Command = Command {
    name: "pause",
    about: "Stop every process of a container from running",
    positional: "CONTAINER",
    flags: &[HELP],
    makes_processes: false,
    run: pause,
};

pub(super) const RESUME: Command = Command {
    name: "resume",
    about: "Let the processes of a paused container go on",
    positional: "CONTAINER",
    flags: &[HELP],
    makes_processes: false,
    run: resume,
};

fn pause(context: &mut Context, arguments: &Arguments) -> Result<i32> {
    let (cgroup, status) = find(context, id("pause", arguments)?)?;
    if !matches!(status, Status::Running | Status::Created) {
        return Err(Failure::new(format!("container not running or created: {}", status.word())));
    }
    cgroup.freeze()?;
    Ok(0)
}

fn resume(context: &mut Context, arguments: &Arguments) -> Result<i32> {
    let (cgroup, status) = find(context, id("resume", arguments)?)?;
    if status != Status::Paused {
        return Err(Failure::new("container not paused"));
    }
    cgroup.thaw()?;
    Ok(0)
}

fn find(context: &Context, id: &str) -> Result<(Cgroup, Status)> {
    let (folder, state) = context.root.load(id)?;
    let status = folder.status(&state);
    let cgroup = state.cgroup.ok_or_else(|| Failure::new("the container has no cgroup to be paused by"))?;
    Ok((cgroup, status))
}
