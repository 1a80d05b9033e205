//! The commands, one file each.

mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod ps;
mod run;
mod spec;
mod start;
mod state;
mod unsupported;
mod update;

use crate::Context;
use crate::arguments::{Arguments, Flag, Kind};
use crate::failure::{Failure, Result};

/// One command.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) positional: &'static str,
    pub(crate) flags: &'static [Flag],
    /// Its processes are in a container before they run the user's command.
    pub(crate) makes_processes: bool,
    pub(crate) run: fn(&mut Context, &Arguments) -> Result<i32>,
}

pub(crate) const COMMANDS: &[Command] = &[
    create::COMMAND,
    delete::COMMAND,
    events::COMMAND,
    exec::COMMAND,
    features::COMMAND,
    kill::COMMAND,
    list::COMMAND,
    pause::PAUSE,
    ps::COMMAND,
    pause::RESUME,
    run::COMMAND,
    spec::COMMAND,
    start::COMMAND,
    state::COMMAND,
    update::COMMAND,
    unsupported::CHECKPOINT,
    unsupported::RESTORE,
];

const HELP: Flag = Flag::new("help", Kind::Switch, "print this").short('h');

pub(crate) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// The one positional word, a container's id.
fn id<'a>(command: &str, arguments: &'a Arguments) -> Result<&'a str> {
    match arguments.words.as_slice() {
        [id] => Ok(id),
        words => Err(Failure::new(format!(
            "corten-oci: \"{command}\" requires exactly 1 argument(s), not {}",
            words.len()
        ))),
    }
}
