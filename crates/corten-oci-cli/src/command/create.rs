//! `create`: everything up to the user's command.

use super::{Command, HELP, id};
use crate::Context;
use crate::arguments::{Arguments, Flag, Kind};
use crate::bundle::Bundle;
use crate::failure::Result;
use crate::rootless;
use crate::start::{self, Options};

pub(super) const COMMAND: Command = Command {
    name: "create",
    about: "Make a container, which then waits for start",
    positional: "CONTAINER",
    flags: FLAGS,
    makes_processes: true,
    run,
};

const FLAGS: &[Flag] = &[
    Flag::new("bundle", Kind::Value, "folder of the bundle (default: the working folder)").short('b'),
    Flag::new("console-socket", Kind::Value, "unix socket that is sent the terminal"),
    Flag::new("pid-file", Kind::Value, "file that takes the process id"),
    Flag::new("no-pivot", Kind::Switch, "enter the root by chroot"),
    Flag::new("no-new-keyring", Kind::Switch, "keep the session keyring"),
    Flag::new("preserve-fds", Kind::Value, "so many further descriptors are the container's"),
    Flag::new("pidfd-socket", Kind::Value, "unix socket that is sent a handle of the process"),
    HELP,
];

fn run(context: &mut Context, arguments: &Arguments) -> Result<i32> {
    let id = id("create", arguments)?;
    let bundle = Bundle::read(arguments.value("bundle"), &context.log)?;
    rootless::enter(&bundle.spec)?;
    let options = Options::of(arguments, id, true, true)?;
    start::make(context, bundle, &options)?;
    Ok(0)
}
