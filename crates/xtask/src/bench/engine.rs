//! The two sides of a bench: a client with its engine's socket, and a daemon of ours in a folder of its own.

use super::Result;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// An engine as a client command and its socket.
pub(crate) struct Engine {
    pub(crate) program: String,
    pub(crate) host: String,
}

impl Engine {
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).env("DOCKER_HOST", &self.host).stdin(Stdio::null());
        command
    }

    /// Wall time of one command in milliseconds; a failure is an error with the command's own words.
    pub(crate) fn time(&self, words: &[&str]) -> Result<f64> {
        let mut command = self.command(words);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let start = Instant::now();
        let child = command.spawn().map_err(|error| format!("{}: {error}", self.program))?;
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let elapsed = start.elapsed().as_secs_f64() * 1000.0;
        if output.status.success() {
            Ok(elapsed)
        } else {
            Err(format!(
                "{} {}: {}",
                self.program,
                words.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            ))
        }
    }

    pub(crate) fn output(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words).output().map_err(|error| format!("{}: {error}", self.program))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(format!(
                "{} {}: {}",
                self.program,
                words.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            ))
        }
    }

    /// Removes what the bench made.
    pub(crate) fn clean(&self) {
        let Ok(ids) = self.output(&["ps", "-aq", "--filter", "label=bench"]) else { return };
        for chunk in ids.split_whitespace().collect::<Vec<_>>().chunks(100) {
            let mut words = vec!["rm", "-f"];
            words.extend(chunk);
            let _ = self.output(&words);
        }
    }
}

/// A daemon of ours in a folder of its own; stopped, with everything it left, when it is dropped.
pub(crate) struct Scratch {
    corten: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) keeper: Option<Child>,
    /// Interface of its default bridge; two daemons must not share one.
    bridge: String,
}

impl Scratch {
    pub(crate) fn new(corten: &Path, name: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("corten-bench-{name}-{}", std::process::id()));
        let exec = folder.join("exec");
        fs::create_dir_all(&exec).map_err(|error| error.to_string())?;
        // As `/run` is memory wherever systemd runs, and as the other engine has it.
        let mounted = Command::new("mount").args(["-t", "tmpfs", "corten-bench"]).arg(&exec).status();
        if !mounted.is_ok_and(|status| status.success()) {
            return Err(format!("no tmpfs could be mounted at {}", exec.display()));
        }
        let bridge = format!("ctb{}{}", std::process::id() % 100_000, name.get(..3).unwrap_or(name));
        let bridge = if name.ends_with("500") { format!("{bridge}5") } else { bridge };
        Ok(Self { corten: corten.to_owned(), folder, keeper: None, bridge })
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("exec/corten.sock")
    }

    pub(crate) fn engine(&self) -> Engine {
        Engine {
            program: self.corten.display().to_string(),
            host: format!("unix://{}", self.socket().display()),
        }
    }

    /// Starts the daemon; gives the time from its start to its first answer, in milliseconds.
    pub(crate) fn start(&mut self) -> Result<f64> {
        let log = fs::File::create(self.folder.join("daemon.log")).map_err(|error| error.to_string())?;
        let start = Instant::now();
        let keeper = Command::new(&self.corten)
            .arg("daemon")
            .arg("--data-root")
            .arg(self.folder.join("data"))
            .arg("--exec-root")
            .arg(self.folder.join("exec"))
            .args(["--bridge", &self.bridge])
            // What a terminal sends to us is not meant for it: it is ended in order, after its containers.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.corten.display()))?;
        self.keeper = Some(keeper);
        while start.elapsed() < Duration::from_secs(20) {
            if ping(&self.socket()) {
                return Ok(start.elapsed().as_secs_f64() * 1000.0);
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        let said = fs::read_to_string(self.folder.join("daemon.log")).unwrap_or_default();
        Err(format!("the daemon does not answer: {said}"))
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            let _ = Command::new("kill").arg(keeper.id().to_string()).status();
            let _ = keeper.wait();
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.keeper.is_some() {
            let engine = self.engine();
            if let Ok(ids) = engine.output(&["ps", "-aq"]) {
                for id in ids.split_whitespace() {
                    let _ = engine.output(&["rm", "-fv", id]);
                }
            }
            // Their bridges go with them.
            let _ = engine.output(&["network", "prune", "-f"]);
        }
        self.stop();
        remove_cgroups(&format!("corten-{}", self.bridge));
        // An orderly end keeps bridge and rules for the next start; there is none here.
        let _ = Command::new("ip").args(["link", "del", &self.bridge]).stderr(Stdio::null()).status();
        let table = format!("corten-{}", self.bridge);
        let _ = Command::new("nft").args(["delete", "table", "inet", &table]).stderr(Stdio::null()).status();
        let _ = Command::new("umount").arg("-l").arg(self.folder.join("exec")).status();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Ends what is left in the cgroups of a scratch daemon, frozen or not, and removes them in every hierarchy.
fn remove_cgroups(name: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders: Vec<PathBuf> = hierarchies
        .chain([root.to_owned()])
        .map(|hierarchy| hierarchy.join(name))
        .filter(|folder| folder.is_dir())
        .collect();
    for _ in 0..40 {
        for folder in &folders {
            empty(folder);
        }
        if folders.iter().all(|folder| !folder.exists()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Thaws, kills and removes a cgroup with those below it; what has not ended yet is for the next time.
fn empty(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            empty(&entry.path());
        }
    }
    let _ = fs::write(folder.join("freezer.state"), "THAWED");
    let _ = fs::write(folder.join("cgroup.freeze"), "0");
    for pid in fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default().lines() {
        let _ = Command::new("kill").args(["-KILL", pid]).stderr(Stdio::null()).status();
    }
    let _ = fs::remove_dir(folder);
}

/// One `GET /_ping` by hand: the client's own time is not the daemon's.
fn ping(socket: &Path) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::os::unix::net::UnixStream::connect(socket) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut answer = [0_u8; 15];
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}

/// Processes whose parent is `parent`.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Fields behind the name, which may itself hold spaces and brackets (proc_pid_stat(5)).
        let after = stat.rsplit(") ").next().unwrap_or_default();
        after.split(' ').nth(1).and_then(|text| text.parse().ok()) == Some(parent)
    })
    .collect()
}

/// Private_Clean + Private_Dirty in kB.
pub(crate) fn private_kilobytes(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let lines =
        text.lines().filter(|line| line.starts_with("Private_Clean") || line.starts_with("Private_Dirty"));
    Some(lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).sum())
}

/// What a process has used of the processors so far, in milliseconds (utime and stime of proc_pid_stat(5)).
pub(crate) fn cpu_milliseconds(pid: u32) -> Result<f64> {
    stat_milliseconds(&format!("/proc/{pid}/stat"), [11, 12])
}

/// What the children of this process that have ended used of the processors, in milliseconds (cutime and cstime there).
pub(crate) fn children_milliseconds() -> Result<f64> {
    stat_milliseconds("/proc/self/stat", [13, 14])
}

/// The sum of two times of a `stat`, counted behind the name. They are a hundred a second; the kernel adds them up more finely.
fn stat_milliseconds(path: &str, fields: [usize; 2]) -> Result<f64> {
    let stat = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let after: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |field: usize| after.get(field).and_then(|text| text.parse::<f64>().ok());
    match fields.map(ticks) {
        [Some(one), Some(other)] => Ok((one + other) * 10.0),
        _ => Err(format!("{path}: not understood")),
    }
}

/// The first process of that name.
pub(crate) fn find_process(name: &str) -> Option<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name))
}
