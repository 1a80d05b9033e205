//! Another OCI runtime (runc, crun, …) in the place of our own: its program makes the container's processes, and the
//! shim is beside them as always.
//!
//! ```text
//! shim ── fork ── mount namespace: the host's, with root and binds of this container attached in the bundle
//!      ── fork ── PROGRAM create, start, exec, kill, delete   (in that namespace; each ends at once)
//!      ◀── the container's processes, orphans of those calls: the shim is their next reaper
//! ```
//!
//! What our runtime is given by descriptor, another reads by path. So that no path of the host is walked twice here
//! either, the descriptors are attached below the run folder, in a mount namespace that nobody else is in and that
//! goes with the shim.

mod view;

use self::view::{make_place, place};
use crate::control::failure;
use crate::packet::retry;
use crate::protocol::{
    BUNDLE_NAME, ExecRequest, Failure, FailureCode, ForeignRuntime, RUNTIME_STATE_NAME, StartRequest,
};
use crate::start::{HostView, LaunchParts, launch_failure};
use corten_oci::runtime::{Mount, NamespaceKind, Process, Root};
use corten_runtime::cgroup::CgroupHandle;
use corten_runtime::{
    ChildStdio, LaunchError, LaunchErrorKind, Launched, Stage, give_pipes_to, root_of_maps,
};
use corten_std::file;
use corten_sys::process::{self, Exit, Fork, StringVector};
use corten_sys::{descriptor, socket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How long one call of the program may take, in seconds; then it is killed, and the call has failed.
const PATIENCE: i64 = 120;

const CONSOLE: &str = "console.sock";
const LOG: &str = "log.json";

/// A container of another runtime.
#[derive(Debug)]
pub(crate) struct Foreign {
    runtime: ForeignRuntime,
    id: String,
    bundle: PathBuf,
    /// The program's `--root`.
    state: PathBuf,
    view: HostView,
    /// The document names them by the paths of our descriptors.
    _namespaces: [Option<OwnedFd>; 2],
    root: OwnedFd,
    /// Who root of its user namespace is outside.
    inner_root: Option<(u32, u32)>,
    /// The folder of version 2 beside hierarchies of version 1, which other runtimes do not join.
    beside: Option<OwnedFd>,
}

impl Foreign {
    /// Creates and starts the container. Where that fails nothing of it is left but files in the run folder.
    pub(crate) fn launch(
        request: &StartRequest,
        runtime: ForeignRuntime,
        parts: LaunchParts,
        host: HostView,
        stdio: ChildStdio,
    ) -> Result<(Self, Launched), Failure> {
        // Orphans of the program's calls are the container's processes.
        process::set_child_subreaper(true).map_err(|error| system("become the parent of orphans", &error))?;
        let bundle = request.run_dir.join(BUNDLE_NAME);
        let files = |error: corten_std::PathError| failure(FailureCode::System, corten_std::chain(&error));
        file::remove_tree(&bundle).map_err(files)?;
        file::create_dir(&bundle, 0o700).map_err(files)?;
        for folder in ["rootfs", "mounts"] {
            file::create_dir(bundle.join(folder), 0o755).map_err(files)?;
        }
        let terminal = matches!(stdio, ChildStdio::Terminal);
        let document = document(request, &parts, &bundle)?;
        let root = parts.root.try_clone().map_err(|error| system("copy the root's descriptor", &error))?;
        let LaunchParts {
            root: attached,
            mut mount_trees,
            network_namespace,
            user_namespace,
            init,
            cgroup,
            ..
        } = parts;
        if let Some(init) = init {
            mount_trees.push((request.spec.mounts.len(), init));
        }
        for (index, tree) in &mount_trees {
            make_place(&bundle, *index, tree).map_err(|error| system("make a mount point", &error))?;
        }
        let linux = request.spec.linux.as_ref().filter(|_| user_namespace.is_some());
        let inner_root = linux.and_then(|linux| root_of_maps(&linux.uid_mappings, &linux.gid_mappings));
        let mapped = user_namespace.is_some();
        if mapped {
            let open = || {
                std::fs::create_dir_all(request.run_dir.join(RUNTIME_STATE_NAME))?;
                // The folder above is closed to all but root.
                std::fs::set_permissions(&bundle, std::fs::Permissions::from_mode(0o711))
            };
            open().map_err(|error: io::Error| system("prepare the bundle", &error))?;
        }
        let view = host.with_mounts(&bundle, &attached, &mount_trees, mapped)?;
        drop((attached, mount_trees));
        file::write(bundle.join("config.json"), document).map_err(files)?;
        let CgroupHandle { unified, join, .. } = cgroup;
        let foreign = Self {
            runtime,
            id: request.id.clone(),
            state: request.run_dir.join(RUNTIME_STATE_NAME),
            bundle,
            view,
            _namespaces: [network_namespace, user_namespace],
            root,
            inner_root,
            beside: unified.filter(|_| !join.is_empty()),
        };
        let launched = foreign.create(terminal, stdio).inspect_err(|_| foreign.delete())?;
        foreign.call(&["start", &foreign.id], None).inspect_err(|_| foreign.delete())?;
        Ok((foreign, launched))
    }

    fn create(&self, terminal: bool, stdio: ChildStdio) -> Result<Launched, Failure> {
        let pid_file = self.bundle.join("init.pid");
        let (bundle, pid) = (text(&self.bundle)?, text(&pid_file)?);
        let arguments = ["create", "--bundle", bundle, "--pid-file", pid];
        self.make(&arguments, &[&self.id], &pid_file, terminal, stdio)
    }

    /// A further process.
    pub(crate) fn exec(&self, request: &ExecRequest, stdio: ChildStdio) -> Result<Launched, Failure> {
        let mut process = request.process.clone();
        resolve_user(&self.root, &mut process)?;
        let name = |end: &str| self.bundle.join(format!("exec-{}.{end}", request.exec_id));
        let (process_file, pid_file) = (name("json"), name("pid"));
        let files = |error: corten_std::PathError| failure(FailureCode::System, corten_std::chain(&error));
        let document = serde_json::to_vec(&process)
            .map_err(|error| failure(FailureCode::Invalid, format!("cannot write the process: {error}")))?;
        file::write(&process_file, document).map_err(files)?;
        let (document, pid) = (text(&process_file)?, text(&pid_file)?);
        let mut arguments = vec!["exec", "--process", document, "--pid-file", pid, "--detach"];
        if process.terminal {
            arguments.push("--tty");
        }
        let launched = self.make(&arguments, &[&self.id], &pid_file, process.terminal, stdio);
        for file in [&process_file, &pid_file] {
            let _ = file::remove_file(file);
        }
        launched
    }

    /// Sends a signal to the container's first process.
    pub(crate) fn kill(&self, signal: i32) -> Result<(), Failure> {
        self.call(&["kill", &self.id, &signal.to_string()], None)
    }

    /// Has the program forget the container, killing what is left. Best effort: what it leaves goes with the run
    /// folder.
    pub(crate) fn delete(&self) {
        let _ = self.call(&["delete", "--force", &self.id], None);
    }

    /// Reaps orphans of the container that came to us, but not those of `known`.
    pub(crate) fn reap_orphans(known: &[i32]) {
        let own = std::process::id();
        let children = std::fs::read_to_string(format!("/proc/self/task/{own}/children")).unwrap_or_default();
        for pid in children.split_ascii_whitespace().filter_map(|word| word.parse::<i32>().ok()) {
            if !known.contains(&pid) {
                let _ = process::reap(pid);
            }
        }
    }

    /// A call that makes a process whose id it writes to a file.
    fn make(
        &self,
        before: &[&str],
        after: &[&str],
        pid_file: &Path,
        terminal: bool,
        stdio: ChildStdio,
    ) -> Result<Launched, Failure> {
        let mut arguments = before.to_vec();
        let console = if terminal {
            Some(Console::listen(&self.bundle).map_err(|error| system("listen for the terminal", &error))?)
        } else {
            None
        };
        if terminal {
            // Relative to the bundle, which the program starts in: an address has room for 107 bytes.
            arguments.extend(["--console-socket", CONSOLE]);
        }
        arguments.extend(after);
        if let Some((uid, gid)) = self.inner_root {
            give_pipes_to(uid, gid, &stdio);
        }
        let streams = match stdio {
            ChildStdio::Pipes { stdin, stdout, stderr } => Some([stdin, stdout, stderr]),
            ChildStdio::Terminal => None,
        };
        self.call(&arguments, streams)?;
        let pid: i32 = std::fs::read_to_string(pid_file)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(|| failure(FailureCode::System, format!("{} wrote no process id", self.name())))?;
        // It is our child now, and not reaped: the number is its own.
        let pidfd =
            process::pidfd_open(pid).map_err(|error| system("open a handle of the process", &error))?;
        let start_time = process::start_time(pid).unwrap_or(0);
        self.join_beside(pid);
        let terminal = console
            .map(|console| console.accept())
            .transpose()
            .map_err(|error| system("receive the terminal", &error))?;
        Ok(Launched { pid, pidfd, start_time, terminal })
    }

    fn join_beside(&self, pid: i32) {
        let Some(folder) = &self.beside else { return };
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        // Best effort: only counts are missing without.
        let _ = rustix::fs::openat(folder, "cgroup.procs", flags, Mode::empty())
            .and_then(|procs| rustix::io::write(&procs, pid.to_string().as_bytes()));
    }

    fn name(&self) -> String {
        self.runtime.program.display().to_string()
    }

    /// Runs the program to its end. Its streams are those given, else the null device.
    fn call(&self, arguments: &[&str], streams: Option<[OwnedFd; 3]>) -> Result<(), Failure> {
        let log = self.bundle.join(LOG);
        let _ = file::remove_file(&log);
        let mut words = vec![self.name()];
        words.extend(self.runtime.arguments.iter().cloned());
        for word in ["--root", text(&self.state)?, "--log", text(&log)?, "--log-format", "json"] {
            words.push(word.to_owned());
        }
        words.extend(arguments.iter().map(|&word| word.to_owned()));
        let child = self.fork(words, streams).map_err(|error| system("run the runtime's program", &error))?;
        let exit = wait(&child).map_err(|error| system("wait for the runtime's program", &error))?;
        match exit {
            Some(Exit::Code(0)) => Ok(()),
            Some(exit) => Err(self.refused(arguments[0], exit, &log)),
            None => Err(failure(
                FailureCode::System,
                format!(
                    "{} {} took longer than {PATIENCE} seconds and was killed",
                    self.name(),
                    arguments[0]
                ),
            )),
        }
    }

    /// What the program says in its log about why it failed, with Docker's words before it.
    fn refused(&self, command: &str, exit: Exit, log: &Path) -> Failure {
        let told = std::fs::read_to_string(log).unwrap_or_default();
        let message = last_error(&told).unwrap_or_else(|| match exit {
            Exit::Code(127) => format!("cannot execute {}", self.name()),
            Exit::Code(code) => format!("{} did not terminate successfully: exit status {code}", self.name()),
            Exit::Signal(signal) => format!("{} was killed by signal {signal}", self.name()),
        });
        let kind = kind_of(&message);
        // Programs in C say so in capitals; who reads these texts looks for Go's.
        let message = message
            .replace("No such file or directory", "no such file or directory")
            .replace("Permission denied", "permission denied");
        let message = match command {
            // The engine puts "exec failed" before it.
            "exec" => message.strip_prefix("exec failed: ").unwrap_or(&message).to_owned(),
            "create" | "start" => {
                format!("failed to create shim task: OCI runtime {command} failed: {message}")
            }
            _ => message,
        };
        launch_failure(&LaunchError { kind, message, stage: Stage::Execute })
    }

    fn fork(&self, words: Vec<String>, streams: Option<[OwnedFd; 3]>) -> io::Result<process::Child> {
        let program = CString::new(self.runtime.program.as_os_str().as_bytes())?;
        let arguments = words.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>()?;
        let environment = std::env::vars_os()
            .map(|(name, value)| CString::new([name.into_vec(), value.into_vec()].join(&b'=')))
            .collect::<Result<Vec<_>, _>>()?;
        let (arguments, environment) = (StringVector::new(arguments), StringVector::new(environment));
        match process::fork()? {
            Fork::Parent(child) => Ok(child),
            Fork::Child => {
                let prepare = || -> io::Result<()> {
                    self.view.enter()?;
                    rustix::process::chdir(&self.bundle)?;
                    for (number, stream) in streams.iter().flatten().enumerate() {
                        descriptor::place_stdio(stream.as_fd(), number as i32)?;
                    }
                    process::reset_signals()
                };
                if prepare().is_ok() {
                    process::execute(&program, &arguments, &environment);
                }
                process::exit_now(127)
            }
        }
    }
}

/// The runtime document as another runtime reads it.
fn document(request: &StartRequest, parts: &LaunchParts, bundle: &Path) -> Result<Vec<u8>, Failure> {
    let mut spec = request.spec.clone();
    let readonly = spec.root.as_ref().is_some_and(|root| root.readonly);
    spec.root = Some(Root { path: text(&bundle.join("rootfs"))?.to_owned(), readonly });
    for (index, _) in &parts.mount_trees {
        if let Some(mount) = spec.mounts.get_mut(*index) {
            mount.source = Some(text(&place(bundle, *index))?.to_owned());
        }
    }
    let process =
        spec.process.as_mut().ok_or_else(|| failure(FailureCode::Invalid, "the document has no process"))?;
    resolve_user(&parts.root, process)?;
    if parts.init.is_some() {
        const INIT: &str = "/sbin/docker-init";
        let command = std::mem::take(&mut process.args);
        process.args = [INIT, "--"].into_iter().map(str::to_owned).chain(command).collect();
        spec.mounts.push(Mount {
            destination: INIT.to_owned(),
            kind: Some("bind".to_owned()),
            source: Some(text(&place(bundle, request.spec.mounts.len()))?.to_owned()),
            options: vec!["bind".to_owned(), "ro".to_owned()],
            ..Mount::default()
        });
    }
    let given =
        [(NamespaceKind::Network, &parts.network_namespace), (NamespaceKind::User, &parts.user_namespace)];
    for (kind, namespace) in given {
        if let (Some(namespace), Some(linux)) = (namespace, &mut spec.linux) {
            let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
            for listed in linux.namespaces.iter_mut().filter(|one| one.kind == kind) {
                listed.path = Some(path.clone());
            }
            if kind == NamespaceKind::User {
                // One that exists has its maps.
                linux.uid_mappings.clear();
                linux.gid_mappings.clear();
            }
        }
    }
    serde_json::to_vec(&spec)
        .map_err(|error| failure(FailureCode::Invalid, format!("cannot write the runtime document: {error}")))
}

/// Names of users and groups become numbers, by the container's own files.
fn resolve_user(root: &OwnedFd, process: &mut Process) -> Result<(), Failure> {
    let wanted = std::mem::take(&mut process.user);
    let user = corten_runtime::user::resolve_in(root.as_fd(), &wanted).map_err(|error| {
        let kind = error.launch_kind();
        launch_failure(&LaunchError { kind, message: error.to_string(), stage: Stage::Identity })
    })?;
    process.user = corten_oci::runtime::User {
        uid: user.uid,
        gid: user.gid,
        umask: wanted.umask,
        additional_gids: user.groups,
        ..corten_oci::runtime::User::default()
    };
    if !process.env.iter().any(|entry| entry.starts_with("HOME=")) {
        process.env.push(format!("HOME={}", user.home));
    }
    Ok(())
}

/// Waits for a child no longer than [`PATIENCE`]; `None` where it was killed for that.
fn wait(child: &process::Child) -> io::Result<Option<Exit>> {
    let patience = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
    let ended = retry(|| poll(&mut [PollFd::new(&child.pidfd, PollFlags::IN)], Some(&patience)))?;
    if ended == 0 {
        let _ = process::pidfd_send_signal(child.pidfd.as_fd(), 9);
        process::wait(child.pid)?;
        return Ok(None);
    }
    process::wait(child.pid).map(Some)
}

/// The socket on which the program hands the terminal over.
struct Console {
    socket: OwnedFd,
}

impl Console {
    fn listen(bundle: &Path) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let _ = file::remove_file(bundle.join(CONSOLE));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(bundle, flags, Mode::empty())?;
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{CONSOLE}", folder.as_raw_fd()))?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, 1)?;
        Ok(Self { socket })
    }

    /// The terminal, which was sent before the program ended.
    fn accept(&self) -> io::Result<OwnedFd> {
        let connection = rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC)?;
        let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
        if retry(|| poll(&mut [PollFd::new(&connection, PollFlags::IN)], Some(&patience)))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut buffer = [0; 4096];
        let (_, descriptors) = socket::receive_with_fds(&connection, &mut buffer)?;
        descriptors.into_iter().next().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// The message of the last error in a log of JSON documents, one to a line or over several.
fn last_error(log: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        level: String,
        msg: String,
    }
    let mut last = None;
    let mut rest = log;
    while !rest.is_empty() {
        let mut entries = serde_json::Deserializer::from_str(rest).into_iter::<Entry>();
        while let Some(Ok(entry)) = entries.next() {
            if matches!(entry.level.as_str(), "" | "error" | "fatal") {
                last = Some(entry.msg);
            }
        }
        // What is none is passed over with its line.
        rest = rest.get(entries.byte_offset()..).unwrap_or_default().trim_start();
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    }
    last
}

/// What kind of failure a text is about, as Docker guesses it for its exit code.
fn kind_of(message: &str) -> LaunchErrorKind {
    let message = message.to_lowercase();
    let is_about = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if is_about(&[
        "executable file not found",
        "executable file `",
        "no such file or directory",
        "system cannot find the file",
    ]) {
        return LaunchErrorKind::CommandNotFound;
    }
    if is_about(&["not a directory", "is a directory", "permission denied"]) {
        return LaunchErrorKind::NotExecutable;
    }
    LaunchErrorKind::System
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| {
        failure(FailureCode::Invalid, format!("the path {} is not valid UTF-8", path.display()))
    })
}

fn system(what: &str, error: &io::Error) -> Failure {
    failure(FailureCode::System, format!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_error_is_what_went_wrong() {
        let log = "{\"level\":\"error\",\"msg\":\"first\",\"time\":\"x\"}\nrubbish\n\
                   {\"level\":\"error\",\"msg\":\"runc create failed: exec: \\\"x\\\": executable file not found in $PATH\"}\n\
                   {\"level\":\"warning\",\"msg\":\"later\"}\n";
        let message = last_error(log).unwrap();
        assert!(message.starts_with("runc create failed"));
        assert_eq!(kind_of(&message), LaunchErrorKind::CommandNotFound);
        assert_eq!(kind_of("executable file `x` not found: No such file"), LaunchErrorKind::CommandNotFound);
        assert_eq!(kind_of("exec: \"/etc\": is a directory"), LaunchErrorKind::NotExecutable);
        assert_eq!(last_error(""), None);
        let log = "{\n  \"msg\": \"of several lines\",\n  \"level\": \"error\"\n}\n";
        assert_eq!(last_error(log).unwrap(), "of several lines");
    }

    proptest! {
        #[test]
        fn any_log_is_read(text in ".{0,200}") {
            let _ = last_error(&text);
        }
    }
}
