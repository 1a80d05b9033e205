//! Containers for tests: a root of a few folders, this program inside it, streams caught.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use corten_oci::runtime::{LinuxResources, Mount, Spec};
use corten_runtime::cgroup::{Cgroup, CgroupHandle, Manager};
use corten_runtime::{
    ChildStdio, Container, Hardening, LaunchError, LaunchRequest, Launched, Seat, SpecOptions, default_spec,
    launch, seccomp,
};
use corten_sys::mount::{self, Attributes};
use corten_sys::process::{self, Exit};
use rustix::fs::{Mode, OFlags};

thread_local! {
    /// Cgroups of this test's process, removed at its end, whatever happened.
    static CGROUPS: RefCell<Vec<Cgroup>> = const { RefCell::new(Vec::new()) };
}

const PARENT: &str = "/corten-test";

/// Removes what the test made; called at its end, also after a panic.
pub(crate) fn clean_up() {
    CGROUPS.with(|list| {
        for cgroup in list.borrow_mut().drain(..) {
            let _ = cgroup.kill_all();
            while let Ok(Some(_)) = process::reap_any() {}
            let _ = cgroup.remove();
        }
    });
}

/// Removes the folder of all tests' cgroups.
pub(crate) fn remove_parent() {
    manager().remove_unused();
}

/// A container about to be started; fields can be changed before.
pub(crate) struct Trial {
    pub(crate) spec: Spec,
    pub(crate) root: OwnedFd,
    pub(crate) trees: Vec<(usize, OwnedFd)>,
    pub(crate) hardening: Hardening,
    pub(crate) filter: bool,
    pub(crate) init: bool,
    /// The init program is given as a mount that could be written to.
    pub(crate) writable_init: bool,
    pub(crate) limits: LinuxResources,
    pub(crate) network: Option<OwnedFd>,
    pub(crate) manager: Manager,
    /// A seat is in the cgroup before, and the cgroup is a spare one until then.
    pub(crate) seated: bool,
}

/// What a container did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

/// A container that runs.
pub(crate) struct Running {
    pub(crate) launched: Launched,
    pub(crate) cgroup: Cgroup,
    pub(crate) handle: CgroupHandle,
    pub(crate) filter: Option<seccomp::Program>,
    pub(crate) seat: Option<Seat>,
    pub(crate) stdout: Option<File>,
    pub(crate) stderr: Option<File>,
}

impl Trial {
    /// A default container that runs the probe with these commands.
    pub(crate) fn new(commands: &str) -> Self {
        let root = mount::tmpfs(&[("mode", Some("755"))], Attributes::empty()).expect("a root");
        for folder in ["bin", "etc", "proc", "sys", "dev", "tmp", "sbin", "root"] {
            make_folder(&root, folder);
        }
        write_file(&root, "bin/probe", b"");
        write_file(&root, "etc/passwd", b"root:x:0:0::/root:\nbob:x:1000:100::/home/bob:\n");
        write_file(&root, "etc/group", b"root:x:0:\nusers:x:100:\nwheel:x:10:bob\n");
        let mode = manager().mode();
        let mut spec = default_spec(SpecOptions {
            args: vec!["probe".into(), commands.into()],
            hostname: "trial".into(),
            cgroup: mode,
            ..SpecOptions::default()
        });
        spec.mounts.push(Mount {
            destination: "/bin/probe".into(),
            kind: Some("bind".into()),
            source: Some(own_program()),
            options: vec!["bind".into(), "ro".into()],
            ..Mount::default()
        });
        Self {
            spec,
            root,
            trees: Vec::new(),
            hardening: Hardening::all(),
            filter: true,
            init: false,
            writable_init: false,
            limits: LinuxResources::default(),
            network: None,
            manager: manager(),
            seated: false,
        }
    }

    /// Changes the document's process.
    pub(crate) fn process(mut self, change: impl FnOnce(&mut corten_oci::runtime::Process)) -> Self {
        change(self.spec.process.as_mut().expect("the document has a process"));
        self
    }

    /// Leaves out a hardening step.
    pub(crate) fn without(mut self, step: corten_runtime::HardeningStep) -> Self {
        self.hardening = self.hardening.without(step);
        self
    }

    /// Changes anything.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Starts it with pipes.
    pub(crate) fn start(self) -> Result<Running, LaunchError> {
        let (out_read, out_write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let (error_read, error_write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let stdin = File::open("/dev/null").expect("the null device").into();
        let stdio = ChildStdio::Pipes { stdin, stdout: out_write, stderr: error_write };
        let mut running = self.start_with(stdio)?;
        running.stdout = Some(out_read.into());
        running.stderr = Some(error_read.into());
        Ok(running)
    }

    /// Starts it with these streams.
    pub(crate) fn start_with(self, stdio: ChildStdio) -> Result<Running, LaunchError> {
        let id = format!(
            "trial-{}-{}",
            std::process::id(),
            rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_nsec
        );
        let mut limits = self.limits;
        if let Some(resources) = self.spec.linux.as_ref().and_then(|linux| linux.resources.clone()) {
            limits.devices = resources.devices;
        }
        let mut seat = None;
        let cgroup = if self.seated {
            let spare = self.manager.create_spare().expect("a spare cgroup");
            CGROUPS.with(|list| list.borrow_mut().push(spare.clone()));
            let taken = Seat::take(&spare.handle().expect("a handle")).expect("a seat");
            taken.wait_until_ready().expect("a seat in the cgroup");
            seat = Some(taken);
            self.manager.adopt(spare, &id, &limits).expect("the cgroup adopted")
        } else {
            self.manager.create(&id, &limits).expect("a cgroup")
        };
        CGROUPS.with(|list| list.borrow_mut().push(cgroup.clone()));
        let handle = cgroup.handle().expect("a handle of the cgroup");
        let kept = handle.for_exec().expect("a copy of the handle");
        let filter = self.filter.then(|| {
            let capabilities = self.spec.process.as_ref().and_then(|process| process.capabilities.clone());
            seccomp::compile_default(&capabilities.unwrap_or_default().bounding).expect("the default profile")
        });
        let request = LaunchRequest {
            spec: self.spec,
            root: self.root,
            mount_trees: self.trees,
            network_namespace: self.network,
            user_namespace: None,
            devices: Vec::new(),
            cgroup: handle,
            stdio,
            seccomp: filter.clone(),
            init: self.init.then(|| {
                if self.writable_init {
                    mount::clone_tree(own_program(), false).expect("a clone of this program")
                } else {
                    mount::clone_read_only(own_program()).expect("a clone of this program")
                }
            }),
            hardening: self.hardening,
        };
        let launched = match &seat {
            Some(seat) => seat.launch(request)?,
            None => launch(request)?,
        };
        Ok(Running { launched, cgroup, handle: kept, filter, seat, stdout: None, stderr: None })
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Outcome {
        let running = self.start().unwrap_or_else(|error| panic!("{:?}: {error}", error.stage));
        running.finish()
    }

    /// The error with which it does not start.
    pub(crate) fn refused(self) -> LaunchError {
        self.start().map(Running::finish).expect_err("the start fails")
    }
}

impl Running {
    /// Waits for the end.
    pub(crate) fn finish(mut self) -> Outcome {
        let mut outcome = Outcome { stdout: String::new(), stderr: String::new(), code: 0 };
        if let Some(mut pipe) = self.stdout.take() {
            pipe.read_to_string(&mut outcome.stdout).expect("text");
        }
        if let Some(mut pipe) = self.stderr.take() {
            pipe.read_to_string(&mut outcome.stderr).expect("text");
        }
        outcome.code = process::wait(self.launched.pid).map_or(-1, Exit::shell_code);
        outcome
    }

    /// As `exec` names it.
    pub(crate) fn container(&self) -> Container {
        let pidfd = self.launched.pidfd.try_clone().expect("a copy of the handle");
        Container { pid: self.launched.pid, pidfd }
    }
}

impl Outcome {
    /// The rest of the line that begins with `key: ` or `key=`.
    #[track_caller]
    pub(crate) fn get(&self, key: &str) -> &str {
        self.stdout
            .lines()
            .find_map(|line| {
                let rest = line.strip_prefix(key)?;
                rest.strip_prefix(':').or_else(|| rest.strip_prefix('=')).map(str::trim)
            })
            .unwrap_or_else(|| panic!("no {key} in:\n{}\n{}", self.stdout, self.stderr))
    }
}

pub(crate) fn manager() -> Manager {
    Manager::new(PARENT).expect("cgroups")
}

pub(crate) fn own_program() -> String {
    // The one that runs from a nameless mount was told its name.
    let mut words = std::env::args();
    if words.next().as_deref() == Some(crate::cve::program::LAUNCHER) {
        return words.next().expect("the launcher is told its program");
    }
    // The link itself, as the program's own file may have been replaced by a newer build.
    std::env::current_exe().expect("this program has a path").to_string_lossy().into_owned()
}

pub(crate) fn make_folder(root: &OwnedFd, path: &str) {
    rustix::fs::mkdirat(root, path, Mode::from_raw_mode(0o755)).expect("a folder");
}

pub(crate) fn write_file(root: &OwnedFd, path: &str, content: &[u8]) {
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(root, path, flags, Mode::from_raw_mode(0o755)).expect("a file");
    rustix::io::write(&file, content).expect("its content");
}

pub(crate) fn link(root: &OwnedFd, path: &str, to: &str) {
    rustix::fs::symlinkat(to, root, path).expect("a link");
}

/// A bind of a host's file or folder.
pub(crate) fn bind(trial: &mut Trial, source: &Path, destination: &str, options: &[&str]) {
    trial.spec.mounts.push(Mount {
        destination: destination.into(),
        kind: Some("bind".into()),
        source: Some(source.display().to_string()),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        ..Mount::default()
    });
    let tree = mount::clone_tree(source, true).expect("a tree");
    trial.trees.push((trial.spec.mounts.len() - 1, tree.as_fd().try_clone_to_owned().expect("a copy")));
}
