//! A bundle, a runtime's program, and what came of a call.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use corten_testing::{Scratch, fixture};
use serde_json::{Value, json};

/// Commands that scripts inside use.
const APPLETS: &[&str] = &[
    "cat", "chmod", "dd", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ls", "mkdir",
    "mount", "pwd", "readlink", "rm", "sed", "sh", "sleep", "sort", "stat", "test", "touch", "true", "tty",
    "umask", "uname", "wc",
];

/// A bundle with a root of its own, and a folder of state of its own. Dropping it deletes the container.
pub(crate) struct Bundle {
    scratch: Scratch,
    pub(crate) id: String,
    /// The runtime document; written at each call that reads it.
    pub(crate) config: Value,
    /// Flags before the command, of every call.
    pub(crate) flags: Vec<&'static str>,
}

/// How many bundles there are: the folder that holds their cgroups goes with the last one, and never while another makes its own.
static BUNDLES: Mutex<usize> = Mutex::new(0);

fn bundles() -> MutexGuard<'static, usize> {
    BUNDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The cgroup that holds those of this run's bundles.
pub(crate) fn suite() -> String {
    format!("corten-suite-{}", std::process::id())
}

/// What a call gave.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

impl Said {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

/// The program under test.
fn runtime() -> PathBuf {
    std::env::var_os("CORTEN_TEST_RUNTIME")
        .map_or_else(|| corten_testing::daemon::program().to_owned(), PathBuf::from)
}

/// Whether it is ours.
pub(crate) fn is_ours() -> bool {
    std::env::var_os("CORTEN_TEST_RUNTIME").is_none()
}

/// Whether it is a program of that name.
pub(crate) fn is(name: &str) -> bool {
    !is_ours() && runtime().file_name().is_some_and(|own| own == name)
}

/// Who calls the runtime, where `CORTEN_TEST_USER` says so: the id of somebody who is not root, and of their group.
pub(crate) fn somebody() -> Option<u32> {
    std::env::var("CORTEN_TEST_USER").ok().and_then(|text| text.parse().ok())
}

/// A bundle whose process is `sh -c script`; none where this machine cannot run it.
pub(crate) fn bundle(name: &str, script: &str) -> Option<Bundle> {
    if !corten_testing::need_root() {
        return None;
    }
    let busybox = fixture::busybox();
    if !corten_testing::need("busybox (static)", busybox.is_some()) {
        return None;
    }
    let scratch = Scratch::new(name);
    let root = scratch.path().join("bundle/rootfs");
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::copy(busybox.unwrap(), root.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let id = scratch.path().file_name().unwrap().to_string_lossy().into_owned();
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/sh", "-c", script],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": ["CAP_KILL", "CAP_SYS_ADMIN"],
                "effective": ["CAP_KILL", "CAP_SYS_ADMIN"],
                "permitted": ["CAP_KILL", "CAP_SYS_ADMIN"],
            },
        },
        "root": { "path": "rootfs" },
        "hostname": "suite",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "mode=1777"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
        ],
        "linux": {
            "cgroupsPath": format!("/{}/{id}", suite()),
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
            ],
        },
    });
    *bundles() += 1;
    let mut bundle = Bundle { scratch, id, config, flags: Vec::new() };
    if let Some(user) = somebody() {
        bundle.belong_to(user);
    }
    Some(bundle)
}

impl Bundle {
    /// As somebody without root can have it: a user namespace with their own id alone, and no cgroup.
    pub(crate) fn belong_to(&mut self, user: u32) {
        let linux = &mut self.config["linux"];
        linux.as_object_mut().unwrap().remove("cgroupsPath");
        linux["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
        for map in ["uidMappings", "gidMappings"] {
            linux[map] = json!([{ "containerID": 0, "hostID": user, "size": 1 }]);
        }
        own_tree(self.scratch.path(), user);
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.scratch.path().join("bundle")
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// A folder beside the bundle.
    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn process(&mut self) -> &mut Value {
        &mut self.config["process"]
    }

    pub(crate) fn linux(&mut self) -> &mut Value {
        &mut self.config["linux"]
    }

    pub(crate) fn add_mount(&mut self, destination: &str, kind: &str, source: &str, options: &[&str]) {
        let mount = json!({ "destination": destination, "type": kind, "source": source, "options": options });
        self.config["mounts"].as_array_mut().unwrap().push(mount);
    }

    pub(crate) fn write(&self) {
        fs::write(self.path().join("config.json"), self.config.to_string()).unwrap();
    }

    /// A call of the program.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(runtime());
        if is_ours() {
            command.arg("oci");
        }
        if let Some(user) = somebody() {
            command.uid(user).gid(user);
        }
        command
            .arg("--root")
            .arg(self.scratch.path().join("state"))
            .args(&self.flags)
            .args(words)
            .stdin(Stdio::null());
        command.current_dir(self.path());
        command
    }

    pub(crate) fn call(&self, words: &[&str]) -> Said {
        Said::of(&self.command(words).output().expect("the runtime runs"))
    }

    /// As [`Self::call`], and it has to succeed.
    #[track_caller]
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let said = self.call(words);
        assert_eq!(said.code, 0, "{words:?}: {said:?}");
        said.out
    }

    /// As [`Self::call`], and it has to fail as the specification wants it: with a code and a word about it.
    #[track_caller]
    pub(crate) fn fails(&self, words: &[&str]) -> Said {
        let said = self.call(words);
        assert_ne!(said.code, 0, "{words:?}: {said:?}");
        assert!(!said.err.trim().is_empty(), "{words:?} fails without a word: {said:?}");
        said
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> Said {
        self.write();
        self.call(&["run", &self.id])
    }

    /// Runs it to its end, which has to be good; what it printed, without the last line break.
    #[track_caller]
    pub(crate) fn prints(&self) -> String {
        let said = self.run();
        assert_eq!(said.code, 0, "{said:?}");
        said.out.trim_end().to_owned()
    }

    /// It cannot be created, and nothing is left of the attempt.
    #[track_caller]
    pub(crate) fn is_refused(&self) {
        self.write();
        // To a file: a container that is made nevertheless would hold a pipe open.
        assert!(!self.try_create(), "it was created");
        assert!(!self.output().trim().is_empty(), "it fails without a word");
        self.fails(&["state", &self.id]);
    }

    /// Creates it, with output that nobody reads.
    #[track_caller]
    pub(crate) fn create(&self) {
        self.write();
        assert!(self.try_create(), "{}", self.output());
    }

    fn try_create(&self) -> bool {
        let out = fs::File::create(self.folder().join("out")).unwrap();
        let mut command = self.command(&["create", &self.id]);
        command.stdout(out.try_clone().unwrap()).stderr(out);
        command.status().unwrap().success()
    }

    /// What a created container (or its `create`) printed.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.folder().join("out")).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn start(&self) {
        self.ok(&["start", &self.id]);
    }

    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state", &self.id])).expect("the state is JSON")
    }

    pub(crate) fn status(&self) -> String {
        self.state()["status"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn pid(&self) -> i64 {
        self.state()["pid"].as_i64().expect("a process id")
    }

    /// Waits until it stands so.
    #[track_caller]
    pub(crate) fn wait_for(&self, status: &str) {
        wait(&format!("the status {status}"), || self.status() == status);
    }

    /// A file of its cgroup, by its name in version 1 (with the controller) and version 2.
    #[track_caller]
    pub(crate) fn cgroup_file(&self, legacy: (&str, &str), unified: &str) -> String {
        let top = Path::new("/sys/fs/cgroup");
        let own = format!("{}/{}", suite(), self.id);
        let (controller, file) = legacy;
        let path = if top.join(controller).is_dir() {
            top.join(controller).join(own).join(file)
        } else {
            top.join(own).join(unified)
        };
        fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .trim()
            .to_owned()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force", &self.id]);
        // What a runtime that failed half-way left in the host's mounts.
        let _ = Command::new("umount").arg("-R").arg(self.rootfs()).stderr(Stdio::null()).status();
        let mut bundles = bundles();
        *bundles -= 1;
        if *bundles == 0 {
            for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
                let _ = fs::remove_dir(controller.path().join(suite()));
            }
            let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(suite()));
        }
    }
}

fn own_tree(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap().flatten() {
            own_tree(&entry.path(), user);
        }
    }
}

/// Waits ten seconds for something.
#[track_caller]
pub(crate) fn wait(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
