//! What runc has and this runtime does not: refused in one line.

use super::{Command, HELP};
use crate::Context;
use crate::arguments::{Arguments, Flag};
use crate::failure::{Failure, Result};

const FLAGS: &[Flag] = &[HELP];

pub(super) const CHECKPOINT: Command = Command {
    name: "checkpoint",
    about: "Not supported",
    positional: "CONTAINER",
    flags: FLAGS,
    makes_processes: false,
    run: refuse,
};

pub(super) const RESTORE: Command = Command {
    name: "restore",
    about: "Not supported",
    positional: "CONTAINER",
    flags: FLAGS,
    makes_processes: false,
    run: refuse,
};

fn refuse(_: &mut Context, _: &Arguments) -> Result<i32> {
    Err(Failure::new("checkpoint and restore are not supported by this runtime"))
}
