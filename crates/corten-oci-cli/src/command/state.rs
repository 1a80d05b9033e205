//! `state`: how a container stands.

use super::{Command, HELP, id};
use crate::Context;
use crate::arguments::Arguments;
use crate::failure::{Failure, Result};

pub(super) const COMMAND: Command = Command {
    name: "state",
    about: "Print the state of a container",
    positional: "CONTAINER",
    flags: &[HELP],
    makes_processes: false,
    run,
};

fn run(context: &mut Context, arguments: &Arguments) -> Result<i32> {
    let (folder, state) = context.root.load(id("state", arguments)?)?;
    let summary = state.summary(folder.status(&state));
    let text = serde_json::to_string_pretty(&summary)
        .map_err(|error| Failure::of("cannot write the state", &error))?;
    println!("{text}");
    Ok(0)
}
