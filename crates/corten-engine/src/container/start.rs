//! Start: everything that the container needs is made and sent to a shim. The steps stand in one function in their
//! order; whichever fails, those before are undone in reverse, and the container is as it was, with the reason.

use crate::container::endpoints::{connect, publish};
use crate::container::files::{self, Addresses};
use crate::container::handle::{NetworkView, Request, View};
use crate::container::links::{self, Linked};
use crate::container::monitor::{clear_run_folder, owns_sandbox, remove_sandbox, take_down, tell_connected};
use crate::container::namespaces::{self, Namespaces};
use crate::container::owner::{Owner, Running};
use crate::container::record::Record;
use crate::container::spares::Spare;
use crate::container::spec::{self, Neighbours, logging};
use crate::container::{Outcome, cdi};
use crate::container::{names, rootfs, save, sources, validate};
use crate::engine::{Engine, EngineInner};
use crate::error::{EngineError, Result};
use crate::undo::Undo;
use crate::users;
use crate::volume::blocking;
use corten_network::HostEntry;
use corten_oci::runtime::{NamespaceKind, Spec};
use corten_runtime::LaunchErrorKind;
use corten_shim::client::{self, Events, Shim, ShimError, StartDescriptors};
use corten_shim::protocol::{AttachRequest, StartRequest};
use corten_std::{Timestamp, file};
use corten_sys::mount;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// A forked shim that has not told yet what became of its container.
struct Forked {
    shim: Shim,
    events: Events,
    network: Arc<NetworkView>,
}

/// What of other containers a start needs, looked up before.
struct Others {
    neighbours: Neighbours,
    /// Of `--network container:`.
    network: Option<Arc<View>>,
    /// Lines of `/etc/hosts`.
    links: Vec<HostEntry>,
}

impl Engine {
    /// Starts a container. Unchanged where it runs already.
    pub async fn start(&self, reference: &str) -> Result<Outcome> {
        let handle = self.find(reference)?;
        handle.ask(|reply| Request::Start { reply }).await
    }
}

impl Owner {
    /// Starts the program, by a user's wish or by the restart policy's. Nothing of it is left where this fails.
    #[tracing::instrument(name = "start", level = "debug", skip_all)]
    pub(super) async fn start(&mut self, by_user: bool) -> Result<()> {
        let others = self.others()?;
        let log_driver = self.open_log_driver().await?;
        let before = Timestamp::now();
        let (engine, record) = (Arc::clone(&self.engine.inner), Arc::clone(&self.record));
        let clients = std::mem::take(&mut self.waiting_clients);
        let Forked { shim, events, network } = blocking(move || fork(&engine, &record, others, clients))
            .await
            .map_err(|error| self.blame(error))?;
        let points = &self.engine.inner.settings.failpoints;
        let started = match points.check("start.started") {
            Ok(()) => shim.started().await.map_err(launch_error),
            Err(error) => Err(error),
        };
        let started = match started {
            Ok(started) => started,
            Err(error) => {
                drop((shim, events));
                let (engine, record) = (Arc::clone(&self.engine.inner), Arc::clone(&self.record));
                let undone = blocking(move || {
                    // Where it runs nevertheless (a failure point, a shim that broke off) it has to go.
                    let _ = engine.cgroups.open(&record.id).and_then(|cgroup| cgroup.kill_all());
                    take_down(&engine, &record, &network.sandbox_id)
                })
                .await;
                if let Err(error) = undone {
                    tracing::warn!(container = self.record.id, %error, "cannot undo a start");
                }
                return Err(self.blame(error));
            }
        };
        self.life.started(started.pid, started.at, by_user);
        self.restart_at = None;
        self.restarting_by_user = false;
        self.oom_told = false;
        tell_connected(&self.engine.inner, &self.record, &network);
        self.running = Some(Running { shim, events, network });
        self.watch_health();
        self.publish_and_save();
        if let Some(driver) = log_driver {
            self.forward_log(driver, before);
        }
        self.tell("start", []);
        Ok(())
    }

    /// Why a start failed: because a container whose namespace was to be joined ended, or went, meanwhile, where that is so.
    fn blame(&self, error: EngineError) -> EngineError {
        self.others().err().unwrap_or(error)
    }

    fn others(&self) -> Result<Others> {
        let host = &self.record.host_config;
        let other = |mode: &str, kind: &str| -> Result<Option<Arc<View>>> {
            let Some(id) = mode.strip_prefix("container:") else { return Ok(None) };
            let view = self.engine.find(id).map_err(|error| match kind {
                "network" => EngineError::because("joining network namespace of container", error),
                _ => error,
            });
            let view = view?.view();
            if !view.life.phase.has_process() {
                return Err(EngineError::conflict(match kind {
                    "network" => format!("cannot join network namespace of a non running container: {id}"),
                    _ => format!("failed to join {kind} namespace: container {id} is not running"),
                }));
            }
            Ok(Some(view))
        };
        let linked = match &host.links {
            Some(_) => links::of(&self.engine.inner, &self.record)?,
            None => Vec::new(),
        };
        let ipc = other(&host.ipc_mode, "IPC")?;
        if let Some(donor) = &ipc
            && matches!(donor.record.host_config.ipc_mode.as_str(), "private" | "none")
        {
            return Err(EngineError::invalid(format!(
                "failed to join IPC namespace: container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                donor.record.id
            )));
        }
        Ok(Others {
            neighbours: Neighbours {
                pid: other(&host.pid_mode, "PID")?.map(|view| view.life.pid),
                ipc: ipc.map(|view| view.life.pid),
                links: linked.iter().flat_map(Linked::environment).collect(),
            },
            links: linked.iter().map(Linked::host_entry).collect(),
            network: other(&host.network_mode, "network")?,
        })
    }
}

/// Docker's text for a program that could not be started, with the exit code that the container is left with.
fn launch_error(error: ShimError) -> EngineError {
    match error.launch() {
        Some(launch) => {
            let code = launch.exit_code();
            // Docker looks the user up before it makes a task.
            let context = match launch.kind {
                LaunchErrorKind::UnknownUser | LaunchErrorKind::UnknownGroup => "",
                _ => "failed to create task for container",
            };
            EngineError::because(context, launch).with_exit_code(code)
        }
        None => EngineError::because("failed to create task for container", error),
    }
}

/// All of a start that blocks: some milliseconds at most. The failure points have the names of the steps.
fn fork(
    engine: &EngineInner,
    record: &Record,
    others: Others,
    clients: Vec<(AttachRequest, OwnedFd)>,
) -> Result<Forked> {
    let points = &engine.settings.failpoints;
    let mut undo = Undo::new();
    let users = users::of(engine, record);
    if users.is_some() {
        // It may have been made by a daemon without them.
        validate::in_user_namespace(&record.host_config)?;
    }

    let run_dir = engine.settings.paths.running_container(&record.id);
    file::create_dir_all(engine.settings.paths.running())?;
    if !record.auto_remove() {
        file::remove_tree(&run_dir)?;
        file::create_dir(&run_dir, 0o700)?;
    }
    undo.push("run folder", || clear_run_folder(engine, record));
    points.check("start.folder")?;

    for name in record.volumes() {
        engine.volumes.begin_use(name, &record.id)?;
        undo.push("volume", || engine.volumes.end_use(name, &record.id));
    }
    let root = rootfs::mount(engine, record, users)?;
    match users {
        None => prepare_root(root.as_fd(), record)?,
        Some(users) => users.as_root(|| prepare_root(root.as_fd(), record))?,
    }
    points.check("start.root")?;

    let neighbours_users = namespaces::of_neighbours(engine, record, &others.neighbours)?;
    let (network, namespace, addresses) =
        connect(engine, record, others.network.as_deref(), neighbours_users.as_ref())?;
    if owns_sandbox(record) {
        let sandbox = network.sandbox_id.clone();
        undo.push("network", move || remove_sandbox(engine, &sandbox));
    }
    points.check("start.network")?;
    let mut network = publish(engine, record, network)?;
    names::label(record, &mut network);
    save::network(engine, record, &network)?;
    points.check("start.publish")?;

    if others.network.is_none() {
        let addresses = Addresses { links: others.links, named: names::has_resolver(&network), ..addresses };
        let conf = files::write(engine, record, &addresses)?;
        names::settle(engine, record, &network, Some(conf))?;
        links::tell_parents(engine, record, bridge_address(&network));
    }
    points.check("start.files")?;

    let mut spec = spec::build(engine, record, &others.neighbours)?;
    if namespace.is_none() {
        without_network_namespace(&mut spec);
    }
    settle_modes(root.as_fd(), &mut spec);
    points.check("start.spec")?;
    let mut mount_trees = sources::open_mounts(engine, record, &spec, others.neighbours.ipc)?;
    points.check("start.mounts")?;
    let Namespaces { users: user_namespace, devices } = namespaces::settle(
        engine,
        record,
        &mut spec,
        namespace.as_ref(),
        neighbours_users,
        &mut mount_trees,
    )?;

    let mut foreign = crate::runtime::foreign(&engine.reloadable(), record)?;
    if foreign.is_none() {
        cdi::check_built_in(&spec)?;
        if cdi::has_hooks(&spec) {
            foreign = Some(crate::runtime::own_alone(&engine.settings.program));
        }
    }
    let limits = spec.linux.as_ref().and_then(|linux| linux.resources.clone()).unwrap_or_default();
    let seccomp = engine.seccomp.program(record, &engine.settings.defaults.seccomp.filter, &spec)?;
    let mut request = start_request(engine, record, spec, run_dir)?;
    // A seat would count against a limit on processes, which the container can read.
    let counted = limits.pids.as_ref().is_some_and(|pids| pids.limit > 0);
    let elsewhere = !record.host_config.cgroup_parent.is_empty();
    let fits = !counted
        && !elsewhere
        && foreign.is_none()
        && client::Spare::takes(&request, mount_trees.len() + devices.len());
    let spare = if fits { engine.spares.take() } else { None };
    let (cgroup, spare) = match spare {
        Some(Spare { cgroup, shim }) => (engine.cgroups.adopt(cgroup, &record.id, &limits), Some(shim)),
        None => (engine.cgroups.create(&record.id, &limits), None),
    };
    let cgroup = cgroup.map_err(|error| EngineError::because("failed to create the cgroup", error))?;
    let removed = cgroup.clone();
    undo.push("cgroup", move || removed.remove().map_err(|error| EngineError::because("", error)));
    points.check("start.cgroup")?;

    let host = match foreign {
        None => None,
        Some(program) => {
            let path = cgroup.document_path();
            let default = &engine.settings.defaults.seccomp.filter;
            crate::runtime::complete(&mut request.spec, record, default, path)?;
            request.runtime = Some(program);
            Some(crate::runtime::host_view()?)
        }
    };
    // Only a container with a limit can be short of memory on its own.
    let mut keep = Vec::new();
    if limits.memory.as_ref().and_then(|memory| memory.limit).is_some_and(|limit| limit > 0) {
        let signal = cgroup
            .oom_signal()
            .map_err(|error| EngineError::because("watching the container's memory", error))?;
        keep.extend(signal.map(|signal| (corten_shim::protocol::OOM_SIGNAL.to_owned(), signal)));
    }
    let descriptors = StartDescriptors {
        root,
        mount_trees,
        network_namespace: namespace,
        user_namespace,
        devices,
        cgroup: cgroup.handle().map_err(|error| EngineError::because("opening the cgroup", error))?,
        seccomp,
        init: init_program(engine, record)?,
        host,
        attach: clients,
        keep,
    };
    if let Some(spare) = spare {
        points.check("start.fork")?;
        let (shim, events) = spare
            .start(request, descriptors)
            .map_err(|error| EngineError::from_error("cannot start the container's shim", error))?;
        undo.keep();
        return Ok(Forked { shim, events, network: Arc::new(network) });
    }
    let (prepared, shim, events) = client::prepare(request, descriptors)
        .map_err(|error| EngineError::from_error("preparing the shim", error))?;
    points.check("start.fork")?;
    engine
        .spawner
        .fork_shim(&prepared.bytes, &prepared.borrowed())
        .map_err(|error| EngineError::from_error("cannot start a shim for the container", error))?;
    // What the shim has now is the shim's alone.
    drop(prepared);
    undo.keep();
    Ok(Forked { shim, events, network: Arc::new(network) })
}

fn start_request(
    engine: &EngineInner,
    record: &Record,
    spec: Spec,
    run_dir: std::path::PathBuf,
) -> Result<StartRequest> {
    let log = logging::settings(
        &record.host_config.log_config,
        engine.settings.paths.container_log(&record.id),
        logging::attributes(record)?,
    )?;
    Ok(StartRequest {
        version: corten_shim::protocol::VERSION,
        id: record.id.clone(),
        spec,
        log,
        run_dir,
        open_stdin: record.config.open_stdin,
        stdin_once: record.config.stdin_once,
        cgroup: corten_runtime::cgroup::CgroupShape::default(),
        hardening: corten_runtime::Hardening::all(),
        attach: Vec::new(),
        sandbox: None,
        runtime: None,
        descriptors: Vec::new(),
    })
}

/// `--init`: our own program from a read-only clone of its file, so that nothing inside can write to it.
fn init_program(engine: &EngineInner, record: &Record) -> Result<Option<OwnedFd>> {
    if record.host_config.init != Some(true) {
        return Ok(None);
    }
    mount::clone_read_only(&engine.settings.program)
        .map(Some)
        .map_err(|error| EngineError::from_error("opening the init program", error))
}

/// The working folder, which Docker makes where the image has none, and the mark by which programs know a container.
fn prepare_root(root: BorrowedFd<'_>, record: &Record) -> Result<()> {
    // Made, never opened: the image may have a pipe or a device there, and opening one waits or does something.
    let mode = Mode::from_raw_mode(0o755);
    match rustix::fs::mknodat(root, ".dockerenv", FileType::RegularFile, mode, 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::ROFS) => {}
        Err(error) => return Err(EngineError::from_error("preparing the root", std::io::Error::from(error))),
    }
    let directory = record.config.working_dir.trim_matches('/');
    if directory.is_empty() {
        return Ok(());
    }
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &Path| rustix::fs::openat2(root, path, folder, Mode::empty(), inside);
    let mut path = std::path::PathBuf::new();
    for part in Path::new(directory).components() {
        let above = if path.as_os_str().is_empty() { open(Path::new("/")) } else { open(&path) };
        path.push(part);
        match open(&path) {
            Ok(_) => continue,
            Err(rustix::io::Errno::NOENT) => {}
            // A file in its way, or a link to nowhere: the runtime tells it in Docker's words.
            Err(_) => return Ok(()),
        }
        let Ok(above) = above else { return Ok(()) };
        match rustix::fs::mkdirat(&above, part.as_os_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

/// The address on the default bridge.
pub(super) fn bridge_address(network: &NetworkView) -> &str {
    network.endpoints.get("bridge").map_or("", |endpoint| &endpoint.ip_address)
}

fn without_network_namespace(spec: &mut Spec) {
    if let Some(linux) = &mut spec.linux {
        linux.namespaces.retain(|namespace| namespace.kind != NamespaceKind::Network);
        linux.sysctl.retain(|name, _| !name.starts_with("net."));
    }
}

/// Memory that is mounted with no mode asked for has the mode of the folder it covers, or a temporary folder's where
/// there is none.
fn settle_modes(root: BorrowedFd<'_>, spec: &mut Spec) {
    for mount in &mut spec.mounts {
        if mount.kind.as_deref() != Some("tmpfs")
            || mount.options.iter().any(|option| option.starts_with("mode="))
        {
            continue;
        }
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let mode = rustix::fs::openat2(root, mount.destination.as_str(), flags, Mode::empty(), inside)
            .and_then(rustix::fs::fstat)
            .map_or(0o1777, |about| about.st_mode & 0o7777);
        mount.options.push(format!("mode={mode:o}"));
    }
}
