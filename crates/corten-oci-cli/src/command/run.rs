//! `run`: create and start in one step, and the end where nobody else waits for it.

use super::{Command, HELP, delete, id};
use crate::Context;
use crate::arguments::{Arguments, Flag, Kind};
use crate::bundle::Bundle;
use crate::failure::Result;
use crate::start::{self, Options};
use crate::state::Status;
use crate::{foreground, hooks, rootless};

pub(super) const COMMAND: Command = Command {
    name: "run",
    about: "Make and start a container, and wait for its end",
    positional: "CONTAINER",
    flags: FLAGS,
    makes_processes: true,
    run,
};

const FLAGS: &[Flag] = &[
    Flag::new("bundle", Kind::Value, "folder of the bundle (default: the working folder)").short('b'),
    Flag::new("console-socket", Kind::Value, "unix socket that is sent the terminal"),
    Flag::new("detach", Kind::Switch, "do not wait for the end").short('d'),
    Flag::new("keep", Kind::Switch, "do not delete the container at its end"),
    Flag::new("pid-file", Kind::Value, "file that takes the process id"),
    Flag::new("no-subreaper", Kind::Switch, "do not become the parent of the container's orphans"),
    Flag::new("no-pivot", Kind::Switch, "enter the root by chroot"),
    Flag::new("no-new-keyring", Kind::Switch, "keep the session keyring"),
    Flag::new("preserve-fds", Kind::Value, "so many further descriptors are the container's"),
    Flag::new("pidfd-socket", Kind::Value, "unix socket that is sent a handle of the process"),
    HELP,
];

fn run(context: &mut Context, arguments: &Arguments) -> Result<i32> {
    let id = id("run", arguments)?;
    let detach = arguments.is_set("detach");
    let bundle = Bundle::read(arguments.value("bundle"), &context.log)?;
    rootless::enter(&bundle.spec)?;
    let options = Options::of(arguments, id, false, detach || arguments.value("console-socket").is_some())?;
    let signals = if detach { None } else { Some(foreground::hold_signals()?) };
    if !detach && !arguments.is_set("no-subreaper") {
        // Best effort: without it orphans go to the first process of the machine.
        let _ = corten_sys::process::set_child_subreaper(true);
    }
    let start::Made { folder, state, mut launched } = start::make(context, bundle, &options)?;
    if let Err(failure) = hooks::run("poststart", &state.hooks.poststart, &state, Status::Running) {
        delete::end(&state)?;
        let _ = corten_sys::process::wait(launched.pid);
        delete::destroy(context, &folder, &state)?;
        return Err(failure);
    }
    let Some(signals) = signals else { return Ok(0) };
    if options.console.is_some() {
        // It was sent away.
        launched.terminal = None;
    }
    let outcome = foreground::stay(launched, &signals);
    if !arguments.is_set("keep") {
        delete::destroy(context, &folder, &state)?;
    }
    outcome
}
