//! From a bundle to a process: what `create` and `run` have in common.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use corten_oci::runtime::{Linux, LinuxDeviceCgroup, Mount, NamespaceKind, Spec};
use corten_runtime::cgroup::{Cgroup, CgroupHandle, Hierarchies, Limits, systemd};
use corten_runtime::{
    ChildStdio, Hardening, HardeningStep, HookStates, LaunchError, LaunchErrorKind, LaunchRequest, Launched,
    Lifecycle, Stage, seccomp,
};
use corten_std::Timestamp;
use corten_sys::mount::{self, AttributeChange, Propagation};
use corten_sys::user_namespace;

use crate::Context;
use crate::arguments::Arguments;
use crate::bundle::Bundle;
use crate::console::ConsoleSocket;
use crate::failure::{Failure, Result};
use crate::state::{Folder, State, Status};
use crate::{hooks, rootless};

/// How a container is made.
pub(crate) struct Options<'a> {
    pub(crate) id: &'a str,
    /// It waits at a gate for `start`.
    pub(crate) gate: bool,
    /// Nobody stays beside it.
    pub(crate) detached: bool,
    pub(crate) console: Option<ConsoleSocket>,
    pub(crate) pid_file: Option<&'a str>,
    pub(crate) handle_socket: Option<ConsoleSocket>,
    pub(crate) preserved_descriptors: u32,
    pub(crate) no_pivot: bool,
    pub(crate) new_keyring: bool,
}

impl<'a> Options<'a> {
    /// Of the flags that `create` and `run` share.
    pub(crate) fn of(arguments: &'a Arguments, id: &'a str, gate: bool, detached: bool) -> Result<Self> {
        let console = arguments.value("console-socket").filter(|path| !path.is_empty());
        Ok(Self {
            id,
            gate,
            detached,
            console: console.map(ConsoleSocket::connect).transpose()?,
            handle_socket: handle_socket(arguments)?,
            pid_file: arguments.value("pid-file").filter(|path| !path.is_empty()),
            preserved_descriptors: preserved_descriptors(arguments.number("preserve-fds")?)?,
            no_pivot: arguments.is_set("no-pivot"),
            new_keyring: !arguments.is_set("no-new-keyring"),
        })
    }
}

/// `--pidfd-socket`, connected.
pub(crate) fn handle_socket(arguments: &Arguments) -> Result<Option<ConsoleSocket>> {
    let path = arguments.value("pidfd-socket").filter(|path| !path.is_empty());
    path.map(ConsoleSocket::connect).transpose()
}

/// `--preserve-fds` and the descriptors that a service manager passes on, which must all be open.
pub(crate) fn preserved_descriptors(wanted: Option<u32>) -> Result<u32> {
    let passed: u32 = std::env::var("LISTEN_FDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let count = wanted.unwrap_or(0).saturating_add(passed);
    for number in 0..count {
        if std::fs::symlink_metadata(format!("/proc/self/fd/{}", 3 + u64::from(number))).is_err() {
            return Err(Failure::new(format!(
                "please check that preserved-fd {number} (of {count}) is present: descriptor {} is not open",
                3 + u64::from(number)
            )));
        }
    }
    Ok(count)
}

/// A container that was made.
pub(crate) struct Made {
    pub(crate) folder: Folder,
    pub(crate) state: State,
    pub(crate) launched: Launched,
}

/// Makes the container. On a failure nothing of it is left.
pub(crate) fn make(context: &Context, bundle: Bundle, options: &Options<'_>) -> Result<Made> {
    let folder = context.root.take(options.id)?;
    let mut undo = Undo { folder: &folder, cgroup: None, unit: None, stopped: None };
    let outcome = make_in(context, bundle, options, &folder, &mut undo);
    match outcome {
        Ok((state, launched)) => Ok(Made { folder, state, launched }),
        Err(failure) => {
            undo.undo(context);
            Err(failure)
        }
    }
}

struct Undo<'folder> {
    folder: &'folder Folder,
    cgroup: Option<Cgroup>,
    /// The unit of systemd that the cgroup is.
    unit: Option<String>,
    /// It was so far that its end is one that poststop hooks are told.
    stopped: Option<State>,
}

impl Undo<'_> {
    fn undo(&mut self, context: &Context) {
        if let Some(cgroup) = self.cgroup.take() {
            let _ = cgroup.kill_all();
            if let Some(unit) = self.unit.take() {
                let _ = systemd::remove(&unit, &cgroup);
            }
            let _ = cgroup.remove();
        }
        if let Some(state) = self.stopped.take() {
            hooks::run_all("poststop", &state.hooks.poststop, &state, Status::Stopped, &context.log);
        }
        let _ = self.folder.remove();
    }
}

fn make_in(
    context: &Context,
    bundle: Bundle,
    options: &Options<'_>,
    folder: &Folder,
    undo: &mut Undo<'_>,
) -> Result<(State, Launched)> {
    let Bundle { path, rootfs, mut spec } = bundle;
    rootless::settle(&mut spec);
    let filter = spec
        .linux
        .as_mut()
        .and_then(|linux| linux.seccomp.take())
        .map(|document| {
            seccomp::compile(&document)
                .map_err(|error| Failure::of("cannot compile the seccomp filter", &error))
        })
        .transpose()?;
    let Place { cgroup, unit, seat } = make_cgroup(&spec, options.id, context)?;
    undo.cgroup.clone_from(&cgroup);
    undo.unit.clone_from(&unit);
    let handle = cgroup.as_ref().map(Cgroup::handle).transpose()?.unwrap_or_default();

    let process = spec.process.clone().unwrap_or_default();
    let hooks = spec.hooks.take().unwrap_or_default();
    let mut state = State {
        version: State::version(),
        id: options.id.to_owned(),
        pid: 0,
        start_time: 0,
        bundle: path,
        rootfs,
        created: Timestamp::now().to_string(),
        owner: rootless::owner(),
        annotations: std::mem::take(&mut spec.annotations),
        cgroup,
        unit,
        own_pids: spec.namespace(NamespaceKind::Pid).is_some_and(|namespace| namespace.path.is_none()),
        new_keyring: options.new_keyring,
        hooks,
        process,
    };
    if let Some(filter) = &filter {
        folder.save_filter(filter)?;
    }
    let has_hooks = !state.hooks.prestart.is_empty() || !state.hooks.create_runtime.is_empty();
    // The hook of a created container reads its state from its standard input, wherever it runs.
    let tells_state =
        has_hooks || !state.hooks.create_container.is_empty() || !state.hooks.start_container.is_empty();
    let lifecycle = Lifecycle {
        runtime_hooks: tells_state,
        create_container: state.hooks.create_container.clone(),
        start_container: state.hooks.start_container.clone(),
        in_user_namespace: corten_runtime::in_user_namespace(),
        root_path: Some(state.rootfs.clone()),
        no_pivot: options.no_pivot,
        gate: options.gate.then(|| folder.make_gate()).transpose()?,
        preserved_descriptors: options.preserved_descriptors,
    };
    let request = request(&mut spec, &state, handle, filter, options)?;
    let terminal = state.process.terminal;
    if tells_state {
        undo.stopped = Some(state.clone());
    }
    let mut told = state.clone();
    let launched = corten_runtime::create(request, lifecycle, &mut |pid| {
        told.pid = pid;
        told.start_time = corten_sys::process::start_time(pid).unwrap_or(0);
        run_early_hooks(folder, &told)
    })?;
    // The container's own process holds the scope now.
    drop(seat);
    state.pid = launched.pid;
    state.start_time = launched.start_time;
    let finish = || -> Result<()> {
        if let (true, Some(socket), Some(master)) = (terminal, &options.console, &launched.terminal) {
            socket.send(master)?;
        }
        if let Some(socket) = &options.handle_socket {
            socket.send_handle(&launched.pidfd)?;
        }
        folder.save(&state)?;
        if let Some(file) = options.pid_file {
            write_pid(file, state.pid)?;
        }
        Ok(())
    };
    if let Err(failure) = finish() {
        let _ = corten_sys::process::pidfd_send_signal(launched.pidfd.as_fd(), 9);
        let _ = corten_sys::process::wait(launched.pid);
        return Err(failure);
    }
    undo.stopped = None;
    Ok((state, launched))
}

/// prestart and createRuntime; and the states for the hooks that run inside.
fn run_early_hooks(folder: &Folder, state: &State) -> std::result::Result<HookStates, LaunchError> {
    let refused = |failure: Failure| LaunchError {
        kind: LaunchErrorKind::Invalid,
        message: failure.to_string(),
        stage: Stage::Prepare,
    };
    // Hooks may ask for the state by the runtime's own command.
    folder.save(state).map_err(refused)?;
    hooks::run("prestart", &state.hooks.prestart, state, Status::Creating).map_err(refused)?;
    hooks::run("createRuntime", &state.hooks.create_runtime, state, Status::Creating).map_err(refused)?;
    Ok(HookStates {
        creating: state.document(Status::Creating).to_string(),
        created: state.document(Status::Created).to_string(),
    })
}

fn request(
    spec: &mut Spec,
    state: &State,
    cgroup: CgroupHandle,
    filter: Option<seccomp::Program>,
    options: &Options<'_>,
) -> Result<LaunchRequest> {
    let process = &state.process;
    if process.terminal && options.detached && options.console.is_none() {
        return Err(Failure::new("cannot allocate tty if runc will detach without setting console socket"));
    }
    if !process.terminal && options.console.is_some() {
        return Err(Failure::new("cannot use console socket if runc will not detach or allocate tty"));
    }
    let stdio = if process.terminal { ChildStdio::Terminal } else { own_stdio()? };
    let propagation = spec.linux.as_ref().and_then(|linux| linux.rootfs_propagation.clone());
    let root = clone_root(&state.rootfs, propagation.as_deref())?;
    check_joined_users(spec.linux.as_ref())?;
    let mut trees = Vec::new();
    let label =
        spec.linux.as_ref().and_then(|linux| linux.mount_label.clone()).filter(|label| !label.is_empty());
    for (index, mount) in spec.mounts.iter_mut().enumerate() {
        if let Some(label) = &label {
            relabel_bind(&state.bundle, mount, label)?;
        }
        if let Some(tree) = clone_bind(&state.bundle, mount)? {
            map_ids(&tree, mount, spec.linux.as_ref())?;
            trees.push((index, tree));
        }
    }
    let mut hardening = Hardening::all();
    if !options.new_keyring {
        hardening = hardening.without(HardeningStep::NewKeyring);
    }
    if let Ok(passed) = std::env::var("LISTEN_FDS")
        && let Some(process) = &mut spec.process
    {
        process.env.push(format!("LISTEN_FDS={passed}"));
        process.env.push("LISTEN_PID=1".to_owned());
    }
    Ok(LaunchRequest {
        spec: std::mem::take(spec),
        root,
        mount_trees: trees,
        network_namespace: None,
        user_namespace: None,
        devices: Vec::new(),
        cgroup,
        stdio,
        seccomp: filter,
        init: None,
        hardening,
    })
}

/// Our own streams for the process.
pub(crate) fn own_stdio() -> Result<ChildStdio> {
    let copy = |stream: std::os::fd::BorrowedFd<'_>| -> Result<OwnedFd> {
        stream.try_clone_to_owned().map_err(|error| Failure::of("cannot copy a standard stream", &error))
    };
    Ok(ChildStdio::Pipes {
        stdin: copy(rustix::stdio::stdin())?,
        stdout: copy(rustix::stdio::stdout())?,
        stderr: copy(rustix::stdio::stderr())?,
    })
}

/// The root as a detached tree. Its mounts are the container's own unless the document wants them shared.
fn clone_root(rootfs: &Path, propagation: Option<&str>) -> Result<OwnedFd> {
    let fail = |error: &(dyn std::error::Error + 'static)| {
        Failure::of(format_args!("cannot take the rootfs {}", rootfs.display()), error)
    };
    let tree = mount::clone_tree(rootfs, true).map_err(|error| fail(&error))?;
    let shares = propagation.is_some_and(|word| word.contains("shared") || word.contains("slave"));
    if !shares {
        make_private(&tree).map_err(|error| fail(&error))?;
    }
    Ok(tree)
}

fn make_private(tree: &OwnedFd) -> std::io::Result<()> {
    let change = AttributeChange {
        propagation: Some(Propagation::Private),
        recursive: true,
        ..AttributeChange::default()
    };
    mount::set_attributes(tree.as_fd(), &change)
}

/// Gives the source of a bind with `Z` or `z` the container's SELinux label; with `z` one that every container may use.
fn relabel_bind(bundle: &Path, mount: &Mount, label: &str) -> Result<()> {
    let has = |word: &str| mount.options.iter().any(|option| option == word);
    if !(has("z") || has("Z")) {
        return Ok(());
    }
    let source = bundle.join(mount.source.as_deref().unwrap_or_default());
    corten_runtime::relabel(&source, label, has("z"))
        .map_err(|error| Failure::of(format_args!("cannot bind at {:?}", mount.destination), &error))
}

/// The source of a bind, taken in our own mount namespace, so that it can keep sharing with the host.
fn clone_bind(bundle: &Path, mount: &mut Mount) -> Result<Option<OwnedFd>> {
    let has = |word: &str| mount.options.iter().any(|option| option == word);
    let recursive = has("rbind");
    if !(recursive || has("bind") || mount.kind.as_deref() == Some("bind")) {
        return Ok(None);
    }
    let source = mount.source.as_deref().unwrap_or_default();
    let path = bundle.join(source);
    let fail = |error: &(dyn std::error::Error + 'static)| {
        Failure::of(format_args!("error mounting {source:?} to rootfs at {:?}", mount.destination), error)
    };
    let tree = mount::clone_tree(&path, recursive).map_err(|error| fail(&error))?;
    let propagates = mount.options.iter().any(|option| {
        matches!(option.trim_start_matches('r'), "private" | "shared" | "slave" | "unbindable")
    });
    if !propagates {
        make_private(&tree).map_err(|error| fail(&error))?;
    }
    Ok(Some(tree))
}

/// A user namespace that is joined has its maps: those of the document, where it has any, must be the same.
fn check_joined_users(linux: Option<&Linux>) -> Result<()> {
    let Some((linux, path)) = linux.and_then(|linux| {
        let users = linux.namespaces.iter().find(|namespace| namespace.kind == NamespaceKind::User)?;
        Some((linux, users.path.as_deref()?))
    }) else {
        return Ok(());
    };
    if linux.uid_mappings.is_empty() && linux.gid_mappings.is_empty() {
        return Ok(());
    }
    let fail =
        |error: &std::io::Error| Failure::of(format_args!("cannot look at the namespace {path}"), error);
    let namespace = std::fs::File::open(path).map_err(|error| fail(&error))?;
    let (uids, gids) = user_namespace::maps(namespace.as_fd()).map_err(|error| fail(&error))?;
    let words = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for (theirs, wanted) in [(uids, &linux.uid_mappings), (gids, &linux.gid_mappings)] {
        if words(&theirs) != words(&corten_runtime::map_text(wanted)) {
            return Err(Failure::new(
                "user namespaces enabled, but both namespace path and non-matching mapping specified -- you may only provide one",
            ));
        }
    }
    Ok(())
}

/// Shows a bind's files under the ids that its mappings give, or with `idmap` alone those of the container's users.
fn map_ids(tree: &OwnedFd, mount: &Mount, linux: Option<&Linux>) -> Result<()> {
    let has = |word: &str| mount.options.iter().any(|option| option == word);
    let joined = linux
        .into_iter()
        .flat_map(|linux| &linux.namespaces)
        .find_map(|namespace| namespace.path.as_ref().filter(|_| namespace.kind == NamespaceKind::User));
    let namespace: OwnedFd = match (linux, joined) {
        _ if !mount.uid_mappings.is_empty() => {
            corten_runtime::user_namespace(&mount.uid_mappings, &mount.gid_mappings)?
        }
        _ if !has("idmap") && !has("ridmap") => return Ok(()),
        (_, Some(path)) => std::fs::File::open(path)
            .map_err(|error| Failure::of(format_args!("cannot open the namespace {path}"), &error))?
            .into(),
        (Some(linux), None) => corten_runtime::user_namespace(&linux.uid_mappings, &linux.gid_mappings)?,
        (None, None) => return Ok(()),
    };
    mount::set_id_mapping(tree.as_fd(), namespace.as_fd(), has("ridmap")).map_err(|error| {
        let place = &mount.destination;
        let why = "its filesystem may not be able to (overlayfs is not, ext4, xfs, btrfs and tmpfs are)";
        Failure::of(format_args!("cannot map the ids of the mount at {place:?}; {why}"), &error)
    })
}

/// Where a container's processes are counted.
#[derive(Default)]
struct Place {
    /// None where the host has no cgroups.
    cgroup: Option<Cgroup>,
    /// The unit of systemd that it is.
    unit: Option<String>,
    /// Holds the unit's place until the container's process is in it.
    seat: Option<systemd::Seat>,
}

/// The cgroup of the document's path, or one of the container's name below our own.
fn make_cgroup(spec: &Spec, id: &str, context: &Context) -> Result<Place> {
    let hierarchies = match Hierarchies::probe() {
        Ok(hierarchies) => hierarchies,
        Err(corten_runtime::cgroup::CgroupError::NotMounted) => return Ok(Place::default()),
        Err(error) => return Err(error.into()),
    };
    let linux = spec.linux.as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path.as_deref()).filter(|path| !path.is_empty());
    let mut limits = linux.and_then(|linux| linux.resources.clone()).unwrap_or_default();
    if context.leaves_cgroups && path.is_none() {
        // Nobody but the machine's root says which devices there are.
        limits.devices.clear();
        return Ok(make_cgroup_if_allowed(&hierarchies, id, &limits)?.unwrap_or_default());
    }
    limits.devices = device_rules(limits.devices);
    if context.systemd_cgroup {
        let unit = systemd::Unit::new(path.unwrap_or(""), "corten", id)?;
        let (cgroup, seat) = unit.create(&hierarchies, &limits, &spec.annotations)?;
        return Ok(Place { cgroup: Some(cgroup), unit: Some(unit.name().to_owned()), seat: Some(seat) });
    }
    if path.is_some_and(|path| path.matches(':').count() == 2 && !path.contains('/')) {
        return Err(Failure::new(
            "the cgroup path is one of systemd's (slice:prefix:name); it needs --systemd-cgroup",
        ));
    }
    let cgroup = Cgroup::at_path(&hierarchies, path.unwrap_or(id))?;
    cgroup.create(&limits)?;
    Ok(Place { cgroup: Some(cgroup), ..Place::default() })
}

/// A cgroup below our own where we may make one. None where not, unless limits were asked for.
fn make_cgroup_if_allowed(hierarchies: &Hierarchies, id: &str, limits: &Limits) -> Result<Option<Place>> {
    let made = Cgroup::at_path(hierarchies, id).and_then(|cgroup| cgroup.create(limits).map(|()| cgroup));
    match made {
        Ok(cgroup) => Ok(Some(Place { cgroup: Some(cgroup), ..Place::default() })),
        Err(_) if *limits == Limits::default() => Ok(None),
        Err(error) => {
            Err(Failure::of("cannot set limits: the container could not be given a cgroup", &error))
        }
    }
}

/// The document's rules between "nothing" and the devices that every container has.
pub(crate) fn device_rules(asked: Vec<LinuxDeviceCgroup>) -> Vec<LinuxDeviceCgroup> {
    let everything = |rule: &LinuxDeviceCgroup| {
        rule.allow
            && matches!(rule.kind.as_deref(), None | Some("" | "a"))
            && rule.major.is_none_or(|number| number < 0)
            && rule.minor.is_none_or(|number| number < 0)
    };
    if asked.last().is_some_and(everything) {
        return asked;
    }
    let defaults = corten_runtime::default_spec(corten_runtime::SpecOptions::default());
    // The first of the defaults denies everything.
    let mut defaults = defaults
        .linux
        .and_then(|linux| linux.resources)
        .map(|resources: Limits| resources.devices)
        .unwrap_or_default()
        .into_iter();
    defaults.next().into_iter().chain(asked).chain(defaults).collect()
}

/// Writes a pid file in one step, as whoever waits for it reads it at once.
pub(crate) fn write_pid(path: &str, pid: i32) -> Result<()> {
    let path = Path::new(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}"));
    corten_std::file::write(&beside, pid.to_string())?;
    Ok(corten_std::file::rename(&beside, path)?)
}
