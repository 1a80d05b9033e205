//! `start`: lets a created container run its command.

use super::{Command, HELP, delete, id};
use crate::Context;
use crate::arguments::Arguments;
use crate::failure::{Failure, Result};
use crate::hooks;
use crate::state::Status;

pub(super) const COMMAND: Command = Command {
    name: "start",
    about: "Run the command of a created container",
    positional: "CONTAINER",
    flags: &[HELP],
    makes_processes: false,
    run,
};

fn run(context: &mut Context, arguments: &Arguments) -> Result<i32> {
    let (folder, state) = context.root.load(id("start", arguments)?)?;
    match folder.status(&state) {
        Status::Created => {}
        Status::Stopped => return Err(Failure::new("cannot start a container that has stopped")),
        Status::Running => return Err(Failure::new("cannot start an already running container")),
        status => {
            return Err(Failure::new(format!("cannot start a container in the {} state", status.word())));
        }
    }
    folder.open_gate()?;
    if let Err(failure) = hooks::run("poststart", &state.hooks.poststart, &state, Status::Running) {
        delete::end(&state)?;
        return Err(failure);
    }
    Ok(0)
}
