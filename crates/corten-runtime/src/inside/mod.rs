//! What the new process does between the clone and the exec, in order.

mod command;
mod copy_up;
mod devices;
mod gate;
mod hidden;
mod identity;
mod mounts;
mod options;
mod paths;
mod proc;
mod report;
mod service;
mod target;

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_oci::runtime::{NamespaceKind, Process};
use corten_sys::process::{self, Namespaces, StringVector};
use corten_sys::{descriptor, mount, terminal};
use rustix::fs::{Mode, OFlags};

use crate::error::{Context, LaunchError, LaunchErrorKind, Stage};
use crate::hardening::{Hardening, HardeningStep};
use crate::launch::Plan;
use crate::lifecycle::{Gate, HookStates, Lifecycle};
use crate::request::{ChildStdio, Container, ExecRequest, LaunchRequest};
use crate::seccomp;
use crate::user_namespace::give_pipes;

pub(crate) use devices::{NODES as DEVICE_NODES, numbers as device_number};
pub(crate) use hidden::{hear_of_second, run_hidden_exec};
pub(crate) use identity::set_outer_limits;
pub(crate) use report::{LONGEST_STATES, Report, listen};

type Result<T> = std::result::Result<T, LaunchError>;

/// Where our own program is found inside for `--init`, as Docker names it.
const INIT_PATH: &str = "/sbin/docker-init";

/// The first process of a container. Never returns: it becomes the command, or tells the error and ends.
pub(crate) fn run_container(request: LaunchRequest, plan: Plan, lifecycle: Lifecycle, report: &Report) -> ! {
    let Err(error) = start_container(request, plan, lifecycle, report);
    report.error(&error);
    process::exit_now(1)
}

/// A further process of a container. Never returns.
pub(crate) fn run_exec(
    container: &Container,
    namespaces: Namespaces,
    request: ExecRequest<'_>,
    preserved: u32,
    report: &Report,
) -> ! {
    let Err(error) = start_exec(container, namespaces, request, preserved, report);
    report.error(&error);
    process::exit_now(1)
}

fn start_container(
    mut request: LaunchRequest,
    mut plan: Plan,
    lifecycle: Lifecycle,
    report: &Report,
) -> Result<Infallible> {
    let hardening = request.hardening.clone();
    begin(&hardening, &request.cgroup.join)?;
    let mut own_users = plan.own_users.take();
    if let Some(users) = &own_users {
        users.wait();
    }
    if plan.new_cgroup {
        process::unshare(Namespaces::CGROUP).at(Stage::Namespaces, "make a cgroup namespace")?;
    }
    for (kind, namespace) in &plan.existing {
        process::enter_namespace(namespace.as_fd(), *kind).at(Stage::Namespaces, "enter a namespace")?;
    }
    rustix::process::setsid().at(Stage::Prepare, "make a session")?;
    let mut spec = std::mem::take(&mut request.spec);
    let mut process = spec.process.take().ok_or_else(|| invalid("the document has no process"))?;
    if own_users.is_some() {
        // The caller has set them: in here they could only get stricter.
        process.rlimits.clear();
    } else {
        identity::set_oom_score(&process)?;
    }
    let checked_proc = hardening.has(HardeningStep::CheckedProc);
    if checked_proc {
        // Now, while the `/proc` in sight is the host's: what the container has at that place may be anything.
        identity::set_security_labels(&process)?;
    }
    set_names(&spec, plan.new)?;

    // What we create gets the mode we ask for.
    rustix::process::umask(Mode::empty());
    mount::set_namespace_propagation(mount::Propagation::Private)
        .map_err(|error| mount_error(Stage::Root, "/", &error))?;
    let mut trees = mounts::collect_trees(&spec, std::mem::take(&mut request.mount_trees))?;
    let early_hooks = lifecycle.has_early_hooks();
    let mapped = own_users.is_some() || plan.nodes.is_some();
    // A new proc or sysfs in a user namespace needs one in sight that hides nothing: the host's, for as long.
    let root_first =
        hardening.has(HardeningStep::RootBeforeMounts) && !early_hooks && !lifecycle.no_pivot && !mapped;
    let enter = if root_first { mount::enter_root } else { mount::cover_root };
    let at_path = !root_first && (!mapped || early_hooks || lifecycle.no_pivot);
    match lifecycle.root_path.as_deref().filter(|_| at_path) {
        // Hooks find the mounts made, and the host's files still there.
        Some(place) => mount::attach(request.root.as_fd(), place),
        None => enter(request.root.as_fd()),
    }
    .map_err(|error| mount_error(Stage::Root, "/", &error))?;
    let mut root =
        if root_first { open_root()? } else { request.root.try_clone().at(Stage::Root, "keep the root")? };
    let linux = spec.linux.take().unwrap_or_default();
    let nodes = own_users.as_mut().map(|users| std::mem::take(&mut users.nodes)).or(plan.nodes.take());
    if own_users.take().is_some() {
        become_inner_root()?;
    }
    if plan.new_ipc {
        process::unshare(Namespaces::IPC).at(Stage::Namespaces, "make an IPC namespace")?;
    }
    let made = mounts::make_all(
        &mounts::Setting {
            root: root.as_fd(),
            linux: &linux,
            hardening: &hardening,
            nodes: nodes.as_deref(),
        },
        &spec.mounts,
        &mut trees,
        std::mem::take(&mut request.cgroup.trees),
        request.cgroup.unified.is_some(),
    )?;
    let mut states = HookStates::default();
    if early_hooks {
        states = report.hooks()?;
        gate::run_hooks("createContainer", &lifecycle.create_container, &states.creating)?;
    }
    if !root_first {
        let enter = if lifecycle.no_pivot { mount::enter_root_by_chroot } else { mount::enter_covering_root };
        enter(root.as_fd()).map_err(|error| mount_error(Stage::Root, "/", &error))?;
        root = open_root()?;
    }
    if !checked_proc {
        identity::set_security_labels(&process)?;
    }
    let cwd = process.cwd.clone();
    target::create_directories(root.as_fd(), cwd.as_ref())
        .at(Stage::Execute, format_args!("mkdir {cwd}"))
        .map_err(working_directory)?;
    if let Some(init) = &request.init {
        mounts::bind_program(root.as_fd(), init.as_fd(), INIT_PATH, &hardening)?;
        let command = std::mem::take(&mut process.args);
        process.args = [INIT_PATH, "--"].into_iter().map(str::to_owned).chain(command).collect();
    }

    let slave = place_streams(&request.stdio, &process, report, || {
        let pts = made.pts.as_ref().map(AsFd::as_fd);
        let pair = open_terminal(root.as_fd(), pts)?;
        mounts::bind_console(
            root.as_fd(),
            made.dev.as_ref().map(AsFd::as_fd),
            pair.slave.as_fd(),
            &hardening,
        )?;
        Ok(pair)
    })?;
    drop(slave);

    proc::set_sysctls(made.proc.as_ref().map(AsFd::as_fd), &linux.sysctl, &hardening)?;
    paths::make_read_only(root.as_fd(), &linux.readonly_paths, &hardening)?;
    let label = linux.mount_label.as_deref().filter(|label| !label.is_empty());
    paths::mask(root.as_fd(), &linux.masked_paths, label, &hardening)?;
    mounts::finish_root(root.as_fd(), spec.root.as_ref(), linux.rootfs_propagation.as_deref())?;
    drop((made, nodes));

    if let Some(personality) = &linux.personality {
        service::set_personality(personality)?;
    }
    let last = Last {
        first_closed: lifecycle.preserved_descriptors,
        gate: lifecycle.gate.as_ref(),
        hooks: &lifecycle.start_container,
        state: &states.created,
    };
    finish(root, process, request.seccomp.as_ref(), &hardening, report, &last)
}

/// Takes the ids of root in our own user namespace: until now they were those of the caller, which nothing maps.
fn become_inner_root() -> Result<()> {
    process::set_user(0, 0, &[])
        .at(Stage::Namespaces, "become root in the user namespace (its maps need id 0)")?;
    // A change of the user clears it.
    process::set_parent_death_signal(rustix::process::Signal::KILL.as_raw())
        .at(Stage::Prepare, "ask for the parent's death signal")
}

fn start_exec(
    container: &Container,
    namespaces: Namespaces,
    mut request: ExecRequest<'_>,
    preserved: u32,
    report: &Report,
) -> Result<Infallible> {
    service::set_first_affinity(&request.process)?;
    begin(&request.hardening, &request.cgroup.join)?;
    service::set_last_affinity(&request.process)?;
    rustix::process::setsid().at(Stage::Prepare, "make a session")?;
    identity::set_oom_score(&request.process)?;
    identity::set_security_labels(&request.process)?;
    let other_users = namespaces.contains(Namespaces::USER);
    if other_users {
        give_pipes(container.pid, &request.stdio);
        // In there they could only get stricter.
        identity::set_limits(&request.process)?;
        request.process.rlimits.clear();
    }
    // The pid namespace was given by the clone.
    let others = [
        Namespaces::USER,
        Namespaces::MOUNT,
        Namespaces::NETWORK,
        Namespaces::IPC,
        Namespaces::UTS,
        Namespaces::CGROUP,
        Namespaces::TIME,
    ]
    .into_iter()
    .filter(|kind| namespaces.contains(*kind))
    .fold(Namespaces::NONE, Namespaces::with);
    if !others.is_empty() {
        process::enter_process_namespaces(container.pidfd.as_fd(), others)
            .at(Stage::Namespaces, "enter the container's namespaces")?;
    }
    if other_users {
        become_inner_root()?;
    }
    let root = open_root()?;
    place_streams(&request.stdio, &request.process, report, || open_terminal(root.as_fd(), None))?;
    let last = Last { first_closed: preserved, ..Last::default() };
    finish(root, request.process, request.seccomp, &request.hardening, report, &last)
}

/// What only some starts have at their end.
#[derive(Default)]
struct Last<'lifecycle> {
    /// How many descriptors above standard error the command gets.
    first_closed: u32,
    gate: Option<&'lifecycle Gate>,
    hooks: &'lifecycle [corten_oci::runtime::Hook],
    /// The container's state for the hooks.
    state: &'lifecycle str,
}

/// What comes first in every process.
fn begin(hardening: &Hardening, cgroups: &[OwnedFd]) -> Result<()> {
    // Until the command runs, nobody but the caller knows of this process.
    process::set_parent_death_signal(rustix::process::Signal::KILL.as_raw())
        .at(Stage::Prepare, "ask for the parent's death signal")?;
    if hardening.has(HardeningStep::NotDumpable) {
        process::set_dumpable(false).at(Stage::Prepare, "hide the process")?;
    }
    for procs in cgroups {
        rustix::io::write(procs, b"0").at(Stage::Cgroup, "join the container's cgroup")?;
    }
    Ok(())
}

/// What comes last in every process: who it is, what it may do, what it runs.
fn finish(
    root: OwnedFd,
    mut process: Process,
    filter: Option<&seccomp::Program>,
    hardening: &Hardening,
    report: &Report,
    last: &Last<'_>,
) -> Result<Infallible> {
    service::set_priorities(&process)?;
    if hardening.has(HardeningStep::NewKeyring) {
        match process::join_new_session_keyring() {
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {}
            result => result.at(Stage::Identity, "make a session keyring")?,
        }
    }
    let user = identity::resolve(root.as_fd(), &process.user)?;
    drop(root);
    identity::own_streams(user.uid);
    identity::set_limits(&process)?;
    let umask = process.user.umask.unwrap_or(0o022);
    rustix::process::umask(Mode::from_raw_mode(umask & 0o777));
    if process.no_new_privileges {
        process::set_no_new_privileges().at(Stage::Identity, "give up new privileges")?;
    }
    let closes = hardening.has(HardeningStep::NoHostDescriptors);
    let first_closed = 3_i32.saturating_add_unsigned(last.first_closed);
    if closes {
        // Before a filter is there that may know nothing of this call.
        descriptor::close_on_exec_from(first_closed).at(Stage::Identity, "close descriptors")?;
    }
    let filter = filter.filter(|_| hardening.has(HardeningStep::Seccomp));
    // Without no-new-privileges a filter can be loaded only while we are privileged.
    if let Some(filter) = filter
        && !process.no_new_privileges
    {
        filter.load().at(Stage::Identity, "load the system call filter")?;
    }
    identity::become_user(&process, &user, hardening)?;
    command::enter_working_directory(&process.cwd, hardening)?;
    if !process.env.iter().any(|entry| entry.strip_prefix("HOME=").is_some_and(|home| !home.is_empty())) {
        process.env.retain(|entry| !entry.starts_with("HOME="));
        process.env.push(format!("HOME={}", user.home));
    }
    let program = command::look_up(&process)?;
    let strings = |list: Vec<String>, what: &str| -> Result<StringVector> {
        list.into_iter()
            .map(|one| CString::new(one).map_err(|_| invalid(format!("{what} holds a zero byte"))))
            .collect::<Result<Vec<_>>>()
            .map(StringVector::new)
    };
    let arguments = strings(process.args, "an argument")?;
    let environment = strings(process.env, "an environment variable")?;
    let path = CString::new(program).map_err(|_| invalid("the command holds a zero byte"))?;
    process::reset_signals().at(Stage::Execute, "reset signals")?;
    process::set_parent_death_signal(0).at(Stage::Execute, "clear the parent's death signal")?;
    if let Some(gate) = last.gate {
        report.ready().at(Stage::Execute, "tell that the process waits")?;
        gate::wait(gate);
    }
    let rest = || -> Result<()> {
        gate::run_hooks("startContainer", last.hooks, last.state)?;
        if let Some(filter) = filter
            && process.no_new_privileges
        {
            filter.load().at(Stage::Identity, "load the system call filter")?;
        }
        Ok(())
    };
    let keep = match (rest(), last.gate) {
        (Ok(()), None) => report.as_fd(),
        (Ok(()), Some(gate)) => gate.answer.as_fd(),
        (Err(error), None) => return Err(error),
        (Err(error), Some(gate)) => gate::refuse(gate, &error),
    };
    if closes {
        process::execute_alone(first_closed, keep, &path, &arguments, &environment, tell_failed_exec);
    }
    let error = process::execute(&path, &arguments, &environment);
    tell_failed_exec(&path, &error);
    process::exit_now(255)
}

/// The command was found and may be executed, so the container counts as started; what is wrong with the
/// program itself is told on its own standard error, as runc does.
fn tell_failed_exec(program: &CStr, error: &std::io::Error) {
    let line = format!("exec {}: {}\n", program.to_string_lossy(), crate::error::reason(error));
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

/// Puts the three streams at 0, 1 and 2; with a terminal, opens it first and sends its master to the caller.
fn place_streams(
    stdio: &ChildStdio,
    process: &Process,
    report: &Report,
    open: impl FnOnce() -> Result<terminal::Pair>,
) -> Result<Option<OwnedFd>> {
    let place = |stream: BorrowedFd<'_>, number| {
        descriptor::place_stdio(stream, number).at(Stage::Terminal, "place the standard streams")
    };
    match stdio {
        ChildStdio::Pipes { stdin, stdout, stderr } => {
            // One of them may have a number below 3 that another is to get.
            let [stdin, stdout, stderr] =
                [stdin, stdout, stderr].map(|stream| rustix::io::fcntl_dupfd_cloexec(stream, 3));
            let context = "keep the standard streams";
            place(stdin.at(Stage::Terminal, context)?.as_fd(), 0)?;
            place(stdout.at(Stage::Terminal, context)?.as_fd(), 1)?;
            place(stderr.at(Stage::Terminal, context)?.as_fd(), 2)?;
            Ok(None)
        }
        ChildStdio::Terminal => {
            let pair = open()?;
            if let Some(size) = process.console_size {
                let size = terminal::Size { rows: size.height, columns: size.width };
                terminal::set_size(pair.slave.as_fd(), size)
                    .at(Stage::Terminal, "set the terminal's size")?;
            }
            report.terminal(pair.master.as_fd()).at(Stage::Terminal, "send the terminal")?;
            terminal::make_controlling(pair.slave.as_fd())
                .at(Stage::Terminal, "take the controlling terminal")?;
            for number in 0..3 {
                place(pair.slave.as_fd(), number)?;
            }
            Ok(Some(pair.slave))
        }
    }
}

/// A terminal of the container's own devpts: the one just mounted, or what is at `/dev/pts`, checked.
fn open_terminal(root: BorrowedFd<'_>, pts: Option<BorrowedFd<'_>>) -> Result<terminal::Pair> {
    const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;
    let context = "open a terminal";
    if let Some(pts) = pts {
        return terminal::open_pair(pts).at(Stage::Terminal, context);
    }
    let folder =
        descriptor::open_in_root(root, "/dev/pts".as_ref(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
            .at(Stage::Terminal, "open /dev/pts")?;
    let kind = rustix::fs::fstatfs(&folder).at(Stage::Terminal, "look at /dev/pts")?;
    if kind.f_type as u64 != DEVPTS_SUPER_MAGIC {
        return Err(LaunchError::new(
            Stage::Terminal,
            LaunchErrorKind::Invalid,
            "open a terminal: /dev/pts is no devpts filesystem",
        ));
    }
    terminal::open_pair(folder.as_fd()).at(Stage::Terminal, context)
}

fn open_root() -> Result<OwnedFd> {
    rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at(Stage::Root, "open the root")
}

fn set_names(spec: &corten_oci::runtime::Spec, new: Namespaces) -> Result<()> {
    let own = new.contains(Namespaces::UTS)
        || spec.namespace(NamespaceKind::Uts).is_some_and(|namespace| namespace.path.is_some());
    if let Some(name) = &spec.hostname {
        if !own {
            return Err(invalid("a host name needs a UTS namespace of the container's own"));
        }
        process::set_host_name(name.as_bytes()).at(Stage::Settings, format_args!("sethostname {name}"))?;
    }
    if let Some(name) = spec.domainname.as_ref().filter(|name| !name.is_empty()) {
        if !own {
            return Err(invalid("a domain name needs a UTS namespace of the container's own"));
        }
        process::set_domain_name(name.as_bytes())
            .at(Stage::Settings, format_args!("setdomainname {name}"))?;
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> LaunchError {
    LaunchError::new(Stage::Prepare, LaunchErrorKind::Invalid, message)
}

fn working_directory(error: LaunchError) -> LaunchError {
    LaunchError { kind: LaunchErrorKind::WorkingDirectory, ..error }
}

/// A failed mount operation of the kernel's edge as an error of a stage.
fn mount_error(stage: Stage, destination: &str, error: &mount::MountError) -> LaunchError {
    LaunchError::new(
        stage,
        LaunchErrorKind::Mount { destination: destination.to_owned() },
        format!(
            "error mounting to rootfs at \"{destination}\": {error}: {}",
            crate::error::reason(&error.source)
        ),
    )
}
