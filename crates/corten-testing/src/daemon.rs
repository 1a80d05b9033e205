//! A daemon of its own for one test: own data and exec roots, own bridge, nothing of the machine's touched.

use crate::Scratch;
use rustix::process::{Pid, Signal};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Marks the processes of one daemon by a variable in their environment.
const FAMILY: &str = "CORTEN_SCRATCH";

/// The program under test, built once per test run with the tests' own profile; `CORTEN_PROGRAM` names another.
///
/// # Panics
/// Where it cannot be built.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(named) = std::env::var_os("CORTEN_PROGRAM") {
            return named.into();
        }
        let test = std::env::current_exe().expect("a test knows its own program");
        // TARGET/PROFILE/deps/it-HASH
        let profile = test.parent().and_then(Path::parent).expect("the profile's folder");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", "corten"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
        assert!(status.success(), "the program builds");
        profile.join("corten")
    })
}

/// What a command printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// Exit code; 128 + signal where a signal ended it.
    pub code: i32,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { out: text(output.stdout), err: text(output.stderr), code }
    }
}

/// A running daemon; dropping it removes its containers, ends it and removes its folders.
#[derive(Debug)]
pub struct ScratchDaemon {
    scratch: Scratch,
    /// The one that was started here last; another may have followed it.
    keeper: Mutex<Child>,
    bridge: String,
    extra: Vec<String>,
    /// What it finds in `/etc/subuid` and `/etc/subgid`, where that is not the machine's own.
    subordinate_ids: Option<PathBuf>,
}

/// Puts a file in the place of two, in a mount namespace that nobody else is in, and goes on as the program.
const WITH_SUBORDINATE_IDS: &str =
    "for place in /etc/subuid /etc/subgid; do mount --bind \"$1\" $place || exit 1; done; shift; exec \"$@\"";

impl ScratchDaemon {
    /// Starts one and waits until it answers; `extra` are further arguments of `corten daemon`.
    ///
    /// # Panics
    /// Where it does not answer within 20 s (see [`crate::patience`]); with what it printed.
    pub fn start(name: &str, extra: &[&str]) -> Self {
        Self::start_on(name, extra, |_| {})
    }

    /// As [`Self::start`], with the data root made before: `prepare` gets its empty folder, and may mount something on it.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_on(name: &str, extra: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        Self::start_as(name, extra, None, prepare)
    }

    /// As [`Self::start`] in a mount namespace where this is in `/etc/subuid` and `/etc/subgid`, which exist. Needs the
    /// program `unshare`.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_with_subordinate_ids(name: &str, extra: &[&str], ids: &str) -> Self {
        Self::start_as(name, extra, Some(ids), |_| {})
    }

    fn start_as(name: &str, extra: &[&str], ids: Option<&str>, prepare: impl FnOnce(&Path)) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let scratch = Scratch::new(name);
        let data_root = scratch.path().join("data");
        std::fs::create_dir(&data_root).expect("a data root");
        prepare(&data_root);
        let bridge = format!("ct{}x{number}", std::process::id() % 100_000);
        let extra: Vec<String> = extra.iter().map(|&argument| argument.to_owned()).collect();
        let subordinate_ids = ids.map(|ids| {
            let file = scratch.path().join("subordinate-ids");
            std::fs::write(&file, ids).expect("a file of ids");
            file
        });
        let keeper = spawn(program(), scratch.path(), &bridge, &extra, subordinate_ids.as_deref());
        let daemon = Self { scratch, keeper: Mutex::new(keeper), bridge, extra, subordinate_ids };
        daemon.wait_until_it_answers();
        daemon
    }

    fn wait_until_it_answers(&self) {
        let start = Instant::now();
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err()
            || self.corten(&["version"]).code != 0
        {
            let ended = self.child().try_wait().ok().flatten();
            assert!(
                ended.is_none() && start.elapsed() < crate::patience(20),
                "the daemon does not answer ({ended:?}):\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The socket of its API.
    pub fn socket(&self) -> PathBuf {
        self.exec_root().join("corten.sock")
    }

    /// Its exec root.
    pub fn exec_root(&self) -> PathBuf {
        self.scratch.path().join("exec")
    }

    /// Its data root.
    pub fn data_root(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// A folder for the test's own files, removed with the rest.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The default bridge's interface.
    pub fn bridge(&self) -> &str {
        &self.bridge
    }

    /// What keeper and daemon printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("daemon.log")).unwrap_or_default()
    }

    /// The present keeper's process id: the one that was started here, or the one that followed it.
    pub fn keeper(&self) -> u32 {
        self.written_keeper().unwrap_or_else(|| self.child().id())
    }

    /// The process id that the last keeper wrote: a killed one's too, until the one that follows it has begun.
    fn written_keeper(&self) -> Option<u32> {
        std::fs::read_to_string(self.exec_root().join("corten.pid")).ok()?.trim().parse().ok()
    }

    /// The daemon's process id, found among the machine's processes by its arguments; none while it is dead.
    pub fn daemon(&self) -> Option<u32> {
        self.processes()
            .into_iter()
            .find(|(_, words)| words.iter().any(|word| word == "daemon-main"))
            .map(|(pid, _)| pid)
    }

    /// Every process whose arguments name this daemon's exec root, with its arguments.
    pub fn processes(&self) -> Vec<(u32, Vec<String>)> {
        let root = self.exec_root().display().to_string();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let bytes = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words: Vec<String> = bytes
                .split(|byte| *byte == 0)
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect();
            if words.iter().any(|word| word.contains(&root)) {
                found.push((pid, words));
            }
        }
        found
    }

    /// SIGKILL for one of this daemon's processes; one that is gone already is fine.
    pub fn kill(&self, pid: u32) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    /// Every process that was started for this daemon – keeper, daemon, shims – with its name; not those in containers.
    pub fn family(&self) -> Vec<(u32, String)> {
        let mark = format!("{FAMILY}={}", self.scratch.path().display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
                let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                found.push((pid, name.trim_end().to_owned()));
            }
        }
        found
    }

    /// A command of the client against this daemon.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("HOME", self.scratch.path())
            .env_remove("DOCKER_CONTEXT")
            .env_remove("DOCKER_CONFIG")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of the client.
    ///
    /// # Panics
    /// Where the program does not start.
    pub fn corten(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().expect("the program starts").into()
    }

    /// Runs a command that may hang: it is killed after so long, which is told as none.
    ///
    /// # Panics
    /// Where the program does not start.
    pub fn within(&self, time: Duration, arguments: &[&str]) -> Option<Said> {
        let mut command = self.command(arguments);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let start = Instant::now();
        while child.try_wait().expect("our child").is_none() {
            if start.elapsed() > time {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Some(child.wait_with_output().expect("it ended").into())
    }

    /// Runs a command that must succeed; gives its output without the last newline.
    ///
    /// # Panics
    /// Where it fails, with what it and the daemon said.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let said = self.corten(arguments);
        assert!(said.code == 0, "corten {arguments:?}: {said:?}\n{}", self.log());
        said.out.trim_end_matches('\n').to_owned()
    }

    /// Runs a command with something on its standard input.
    ///
    /// # Panics
    /// Where the program does not start.
    pub fn with_input(&self, arguments: &[&str], input: &[u8]) -> Said {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let said = child.wait_with_output().expect("it ends").into();
        let _ = writer.join();
        said
    }

    /// Loads `busybox:latest`; false where this machine has no static busybox (see [`crate::need`]).
    ///
    /// # Panics
    /// Where the image cannot be loaded.
    pub fn load_busybox(&self) -> bool {
        let image = crate::fixture::busybox_image();
        if !crate::need("busybox (static)", image.is_some()) {
            return false;
        }
        let said = self.with_input(&["load", "-q"], &image.unwrap_or_default());
        assert!(said.code == 0, "{said:?}\n{}", self.log());
        true
    }

    /// Ends keeper and daemon in order and starts them again; containers go on.
    pub fn restart(&self) {
        self.end();
        self.start_again();
    }

    /// Starts keeper and daemon again after their death.
    pub fn start_again(&self) {
        self.start_program(program());
    }

    /// As [`Self::start_again`], from another file with the program: an upgrade.
    pub fn start_program(&self, program: &Path) {
        let _ = self.child().wait();
        let ids = self.subordinate_ids.as_deref();
        *self.child() = spawn(program, self.scratch.path(), &self.bridge, &self.extra, ids);
        self.wait_until_it_answers();
    }

    /// Starts it again after [`Self::end`], this time with these variables in its environment.
    pub fn start_again_with(&self, environment: &[(&str, &str)]) {
        let _ = self.child().wait();
        let ids = self.subordinate_ids.as_deref();
        *self.child() =
            spawn_with(program(), self.scratch.path(), &self.bridge, &self.extra, ids, environment);
        self.wait_until_it_answers();
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends keeper and daemon in order; [`Self::start_again`] follows. Containers go on. Where they do not end in twenty
    /// seconds that is told, and they are asked again, and at last killed: no test waits for ever.
    #[expect(clippy::print_stderr, reason = "a test that hung says where")]
    pub fn end(&self) {
        for signal in [Signal::TERM, Signal::TERM, Signal::KILL] {
            let ask = |keeper: u32| {
                if let Some(pid) = Pid::from_raw(keeper.cast_signed()) {
                    let _ = rustix::process::kill_process(pid, signal);
                }
            };
            let mut keeper = self.keeper();
            ask(keeper);
            // A keeper that followed the first is not our child.
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(20) {
                // A young daemon lets a second pass before it replaces a killed keeper, and needs none for what it has
                // ready: till then the file names the dead one.
                if let Some(next) = self.written_keeper().filter(|next| *next != keeper) {
                    keeper = next;
                    ask(keeper);
                }
                let ended = !matches!(self.child().try_wait(), Ok(None));
                if ended && self.daemon().is_none() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            let child = self.child().id();
            eprintln!("keeper {keeper} (the first: {child}) did not end in 20 s:\n{}", self.log());
        }
    }
}

impl Drop for ScratchDaemon {
    fn drop(&mut self) {
        let ids = self.corten(&["ps", "-aq"]).out;
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if !ids.is_empty() {
            let mut words = vec!["rm", "-fv"];
            words.extend(&ids);
            self.corten(&words);
        }
        // Their bridges go with them.
        self.corten(&["network", "prune", "-f"]);
        self.end();
        // What a test broke on purpose: our own processes only.
        for (pid, _) in self.family() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        for pinned in std::fs::read_dir(self.exec_root().join("netns")).into_iter().flatten().flatten() {
            let _ = rustix::mount::unmount(pinned.path(), rustix::mount::UnmountFlags::DETACH);
        }
        // Where something was mounted on it; the scratch folder goes next.
        let _ = rustix::mount::unmount(self.data_root(), rustix::mount::UnmountFlags::DETACH);
        let _ = Command::new("ip").args(["link", "del", &self.bridge]).stderr(Stdio::null()).status();
        let table = format!("corten-{}", self.bridge);
        let _ = Command::new("nft").args(["delete", "table", "inet", &table]).stderr(Stdio::null()).status();
    }
}

fn spawn(program: &Path, folder: &Path, bridge: &str, extra: &[String], ids: Option<&Path>) -> Child {
    spawn_with(program, folder, bridge, extra, ids, &[])
}

fn spawn_with(
    program: &Path,
    folder: &Path,
    bridge: &str,
    extra: &[String],
    ids: Option<&Path>,
    environment: &[(&str, &str)],
) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("daemon.log"))
        .expect("a log file");
    let mut command = match ids {
        None => Command::new(program),
        Some(ids) => {
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", WITH_SUBORDINATE_IDS, "sh"]).arg(ids).arg(program);
            command
        }
    };
    command
        .arg("daemon")
        .arg("--data-root")
        .arg(folder.join("data"))
        .arg("--exec-root")
        .arg(folder.join("exec"))
        .args(["--bridge", bridge])
        .args(extra)
        .env(FAMILY, folder)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second descriptor"))
        .stderr(log)
        .spawn()
        .expect("the program starts")
}
