//! `exec`: a further process in a running container.

use std::os::fd::{AsFd, OwnedFd};

use corten_oci::runtime::{LinuxCapabilities, Process, User};
use corten_runtime::cgroup::CgroupHandle;
use corten_runtime::{ChildStdio, Container, ExecRequest, Hardening, HardeningStep, Launched};

use super::{Command, HELP};
use crate::arguments::{Arguments, Flag, Kind};
use crate::console::ConsoleSocket;
use crate::failure::{Failure, Result};
use crate::state::{State, Status};
use crate::{Context, bundle, foreground, rootless, start};

pub(super) const COMMAND: Command = Command {
    name: "exec",
    about: "Run a further process in a container",
    positional: "CONTAINER COMMAND [ARGUMENT...]",
    flags: FLAGS,
    makes_processes: true,
    run,
};

const FLAGS: &[Flag] = &[
    Flag::new("console-socket", Kind::Value, "unix socket that is sent the terminal"),
    Flag::new("pidfd-socket", Kind::Value, "unix socket that is sent a handle of the process"),
    Flag::new("cwd", Kind::Value, "working folder"),
    Flag::new("env", Kind::List, "NAME=value").short('e'),
    Flag::new("tty", Kind::Switch, "with a terminal").short('t'),
    Flag::new("user", Kind::Value, "UID[:GID]").short('u'),
    Flag::new("additional-gids", Kind::List, "further groups").short('g'),
    Flag::new("process", Kind::Value, "file with the process as JSON").short('p'),
    Flag::new("detach", Kind::Switch, "do not wait for the end").short('d'),
    Flag::new("pid-file", Kind::Value, "file that takes the process id"),
    Flag::new("process-label", Kind::Value, "SELinux label"),
    Flag::new("apparmor", Kind::Value, "AppArmor profile"),
    Flag::new("no-new-privs", Kind::Switch, "no exec gives more rights"),
    Flag::new("cap", Kind::List, "capability beside those of the container").short('c'),
    Flag::new("preserve-fds", Kind::Value, "so many further descriptors are the process's"),
    Flag::new("cgroup", Kind::Value, "cgroup below the container's"),
    Flag::new("ignore-paused", Kind::Switch, "also in a paused container"),
    HELP,
];

/// What runc ends with when the process could not be run at all.
const FAILED: u8 = 255;

fn run(context: &mut Context, arguments: &Arguments) -> Result<i32> {
    exec(context, arguments).map_err(|failure| failure.with_code(FAILED))
}

fn exec(context: &Context, arguments: &Arguments) -> Result<i32> {
    let (id, command) = arguments
        .words
        .split_first()
        .ok_or_else(|| Failure::new("corten-oci: \"exec\" requires at least 1 argument(s), not 0"))?;
    let (folder, state) = context.root.load(id)?;
    match folder.status(&state) {
        Status::Stopped | Status::Creating => {
            return Err(Failure::new("cannot exec in a stopped container"));
        }
        Status::Paused if !arguments.is_set("ignore-paused") => {
            return Err(Failure::new("cannot exec in a paused container (use --ignore-paused to override)"));
        }
        _ => {}
    }
    rootless::enter_of(&state)?;
    let process = process(context, arguments, &state, command)?;
    let detach = arguments.is_set("detach");
    let console = arguments.value("console-socket").filter(|path| !path.is_empty());
    if process.terminal && detach && console.is_none() {
        return Err(Failure::new("cannot allocate tty if runc will detach without setting console socket"));
    }
    if !process.terminal && console.is_some() {
        return Err(Failure::new("cannot use console socket if runc will not detach or allocate tty"));
    }
    let console = console.map(ConsoleSocket::connect).transpose()?;
    let handle_socket = start::handle_socket(arguments)?;
    let preserved = start::preserved_descriptors(arguments.number("preserve-fds")?)?;
    let cgroup = match (&state.cgroup, arguments.value("cgroup").filter(|path| !path.is_empty())) {
        (Some(cgroup), None) => cgroup.handle()?,
        (Some(cgroup), Some(path)) => sub_cgroup(cgroup, path)?,
        (None, _) => CgroupHandle::default(),
    };
    let filter = folder.load_filter()?;
    let mut hardening = Hardening::all();
    if !state.new_keyring {
        hardening = hardening.without(HardeningStep::NewKeyring);
    }
    let stdio = if process.terminal { ChildStdio::Terminal } else { start::own_stdio()? };
    let container = Container { pid: state.pid, pidfd: state.handle()? };
    let signals: Option<OwnedFd> = if detach { None } else { Some(foreground::hold_signals()?) };
    let request = ExecRequest { process, stdio, cgroup: &cgroup, seccomp: filter.as_ref(), hardening };
    let mut launched: Launched = corten_runtime::exec_preserving(&container, request, preserved)?;
    let finish = |launched: &mut Launched| -> Result<()> {
        if let (Some(socket), Some(master)) = (&console, launched.terminal.take_if(|_| console.is_some())) {
            socket.send(&master)?;
        }
        if let Some(socket) = &handle_socket {
            socket.send_handle(&launched.pidfd)?;
        }
        if let Some(file) = arguments.value("pid-file").filter(|file| !file.is_empty()) {
            start::write_pid(file, launched.pid)?;
        }
        Ok(())
    };
    if let Err(failure) = finish(&mut launched) {
        let _ = corten_sys::process::pidfd_send_signal(launched.pidfd.as_fd(), 9);
        let _ = corten_sys::process::wait(launched.pid);
        return Err(failure);
    }
    match signals {
        None => Ok(0),
        Some(signals) => foreground::stay(launched, &signals),
    }
}

fn sub_cgroup(cgroup: &corten_runtime::cgroup::Cgroup, path: &str) -> Result<CgroupHandle> {
    if path.contains(':') {
        return Err(Failure::new("--cgroup with a controller is not supported: name one path for all"));
    }
    let below = cgroup.below(path)?;
    if !below.exists() {
        return Err(Failure::new(format!("the container has no cgroup {path}")));
    }
    Ok(below.handle()?)
}

/// The process: the file's, or the container's own with what the flags say.
fn process(context: &Context, arguments: &Arguments, state: &State, command: &[String]) -> Result<Process> {
    if let Some(file) = arguments.value("process").filter(|file| !file.is_empty()) {
        let mut process = bundle::read_process(file, &context.log)?;
        process.terminal |= arguments.is_set("tty");
        return Ok(process);
    }
    let mut process = state.process.clone();
    process.args = command.to_vec();
    process.terminal = arguments.is_set("tty");
    process.console_size = None;
    if let Some(cwd) = arguments.value("cwd").filter(|cwd| !cwd.is_empty()) {
        cwd.clone_into(&mut process.cwd);
    }
    if let Some(label) = arguments.value("process-label") {
        process.selinux_label = Some(label.to_owned());
    }
    if let Some(profile) = arguments.value("apparmor") {
        process.apparmor_profile = Some(profile.to_owned());
    }
    if arguments.value("no-new-privs").is_some() {
        process.no_new_privileges = arguments.is_set("no-new-privs");
    }
    process.env.extend(arguments.list("env"));
    if let Some(user) = arguments.value("user").filter(|user| !user.is_empty()) {
        process.user = numbers(user)?;
    }
    for group in arguments.list("additional-gids") {
        let group = group.parse().map_err(|_| Failure::new(format!("{group:?} is no group id")))?;
        process.user.additional_gids.push(group);
    }
    let more = arguments.list("cap");
    if !more.is_empty() {
        let sets = process.capabilities.get_or_insert_default();
        let LinuxCapabilities { bounding, effective, permitted, .. } = sets;
        for set in [bounding, effective, permitted] {
            set.extend(more.iter().cloned());
        }
    }
    bundle::check_process(&process)?;
    bundle::prepare_process(&mut process, &context.log);
    Ok(process)
}

/// `UID` or `UID:GID`.
fn numbers(text: &str) -> Result<User> {
    let number = |part: &str, what: &str| {
        part.parse::<u32>().map_err(|_| Failure::new(format!("parsing {part} as int for {what} failed")))
    };
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (number(uid, "uid")?, number(gid, "gid")?),
        None => (number(text, "uid")?, 0),
    };
    Ok(User { uid, gid, ..User::default() })
}
