//! Pulls and pushes, from and to one registry on this machine.

use super::engine::{Engine, find_process, private_kilobytes};
use super::{Bench, Result, Row};
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Images of the row of many at once.
const MANY: usize = 10;
/// The first port of registries and relays.
static PORT: AtomicU16 = AtomicU16::new(28_500);

/// Processes that end with this.
#[derive(Default)]
struct Processes(Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A fresh registry and the ways to it.
struct Registry {
    folder: PathBuf,
    processes: Processes,
    port: u16,
    /// The relay's own port on each engine's loopback.
    way: u16,
}

impl Registry {
    /// Starts one that holds nothing, with a relay beside each engine: `weather` is delay in ms, and of how many requests one is lost.
    fn start(program: &str, folder: &Path, other: bool, weather: [u64; 2]) -> Result<Self> {
        let port = PORT.fetch_add(2, Ordering::Relaxed);
        let folder = folder.join(format!("registry-{port}"));
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let mut registry = Self { folder, processes: Processes::default(), port, way: port };
        registry.serve(program)?;
        registry.ways(other, weather)?;
        Ok(registry)
    }

    fn serve(&mut self, program: &str) -> Result<()> {
        let file = self.folder.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: 127.0.0.1:{}}}\n",
            self.folder.join("data").display(),
            self.port
        );
        fs::write(&file, text).map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.processes.0.push(command.spawn().map_err(|error| format!("{program}: {error}"))?);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err(format!("{program} does not listen on port {}", self.port));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// New relays on a port of their own, so that an engine's kept connections and what it remembers of a host are no part of it.
    fn ways(&mut self, other: bool, [delay, one_in]: [u64; 2]) -> Result<()> {
        self.way = PORT.fetch_add(2, Ordering::Relaxed);
        let near = format!("127.0.0.1:{}", self.way);
        let (delay, one_in) = (delay.to_string(), one_in.to_string());
        let mut sides = vec![None];
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let dockerd = find_process("dockerd").map(|pid| pid.to_string());
        if let Some(pid) = dockerd.filter(|pid| other && namespace(pid) != namespace("self")) {
            sides.push(Some(format!("--net=/proc/{pid}/ns/net")));
        }
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        for (number, side) in sides.iter().enumerate() {
            let socket = self.folder.join(format!("way-{}-{number}", self.way)).display().to_string();
            let target = format!("127.0.0.1:{}", self.port);
            let mut far = Command::new(&program);
            far.args(["relay", &socket, &target]);
            let mut close = match side {
                Some(namespace) => {
                    let mut command = Command::new("nsenter");
                    command.arg(namespace).arg(&program);
                    command
                }
                None => Command::new(&program),
            };
            close.args(["relay", &near, &socket, &delay, &one_in]);
            for command in [&mut far, &mut close] {
                let child = command.stdin(Stdio::null()).spawn();
                self.processes.0.push(child.map_err(|error| format!("relay: {error}"))?);
            }
        }
        std::thread::sleep(Duration::from_millis(300));
        Ok(())
    }

    fn name(&self, image: &str) -> String {
        format!("127.0.0.1:{}/bench/{image}", self.way)
    }

    /// Puts an image that `engine` has there.
    fn fill(&self, engine: &Engine, image: &str, name: &str) -> Result<()> {
        let target = self.name(name);
        engine.output(&["tag", image, &target])?;
        engine.output(&["push", "-q", &target])?;
        engine.output(&["rmi", &target]).map(drop)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.processes = Processes::default();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}

impl Bench<'_> {
    /// All rows of registries.
    pub(super) fn registries(&mut self, image: &str) -> Result<()> {
        let Some(program) = self.settings.registry.clone() else { return Ok(()) };
        if !["pull", "push"].iter().any(|word| {
            self.settings.rows.is_empty() || self.settings.rows.iter().any(|row| row.contains(word))
        }) {
            return Ok(());
        }
        for archive in self.settings.load.clone() {
            self.pulls_of(&program, &archive)?;
        }
        self.many(&program, image)?;
        for archive in self.settings.load.clone() {
            self.pushes_of(&program, &archive)?;
        }
        self.bad_line(&program)?;
        self.memory_of_a_pull(&program, image)
    }

    fn registry(&self, program: &str, weather: [u64; 2]) -> Result<Registry> {
        Registry::start(program, &self.scratch.folder, self.other.is_some(), weather)
    }

    /// Loads `archive` into `engine`; gives the image's one name.
    pub(super) fn loaded(engine: &Engine, archive: &Path) -> Result<String> {
        let said = engine.output(&["load", "-q", "-i", &archive.display().to_string()])?;
        let mut names = said.lines().filter_map(|line| line.strip_prefix("Loaded image: "));
        let name = names.next().ok_or_else(|| format!("{}: no named image: {said}", archive.display()))?;
        // Under one name alone, so that it is gone when that is removed.
        for other in names {
            engine.output(&["rmi", other])?;
        }
        Ok(name.to_owned())
    }

    fn pulls_of(&mut self, program: &str, archive: &Path) -> Result<()> {
        let stem = archive.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (fresh, again) = (format!("pull of an image, {stem}"), format!("pull of what is there, {stem}"));
        let beside = format!("pull of an image beside skopeo into a folder, {stem}");
        if ![&fresh, &again, &beside].iter().any(|name| self.settings.wants(name)) {
            return Ok(());
        }
        let registry = self.registry(program, [0, 0])?;
        let engine = self.scratch.engine();
        let loaded = Self::loaded(&engine, archive)?;
        registry.fill(&engine, &loaded, &stem)?;
        for (_, engine) in self.both() {
            let _ = engine.output(&["rmi", "-f", &loaded]);
        }
        let name = registry.name(&stem);
        self.alternate((&fresh, "ms", false, ">= 3x"), 5, |engine| {
            let took = engine.time(&["pull", "-q", &name])?;
            engine.output(&["rmi", &name])?;
            Ok(took)
        })?;
        if self.settings.wants(&beside) && Command::new("skopeo").arg("--version").output().is_ok() {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for round in 0..5 {
                ours.push(engine.time(&["pull", "-q", &name])?);
                engine.output(&["rmi", &name])?;
                let folder = registry.folder.join(format!("plain-{round}"));
                let source = format!("docker://{name}");
                let target = format!("dir:{}", folder.display());
                let skopeo = Engine { program: "skopeo".into(), host: String::new() };
                theirs.push(skopeo.time(&[
                    "copy",
                    "-q",
                    "--insecure-policy",
                    "--src-tls-verify=false",
                    &source,
                    &target,
                ])?);
            }
            self.push_medians((&beside, "ms", false, ">= 1x"), [ours, theirs]);
        }
        if self.settings.wants(&again) {
            for (_, engine) in self.both() {
                engine.output(&["pull", "-q", &name])?;
            }
            self.alternate((&again, "ms", false, ">= 10x"), 7, |engine| engine.time(&["pull", "-q", &name]))?;
            for (_, engine) in self.both() {
                engine.output(&["rmi", &name])?;
            }
        }
        Ok(())
    }

    /// Ten images with a layer of 4 MiB each of their own, by ten clients at once.
    fn many(&mut self, program: &str, image: &str) -> Result<()> {
        let row = ("pull of ten images at once", "ms", false, ">= 3x");
        if !self.settings.wants(row.0) {
            return Ok(());
        }
        let registry = self.registry(program, [0, 0])?;
        let engine = self.scratch.engine();
        let mut names = Vec::new();
        for number in 0..MANY {
            let made = format!("bench-many:{number}");
            Self::committed(&engine, image, "head -c 4194304 /dev/urandom > /content", &made)?;
            registry.fill(&engine, &made, &format!("many{number}"))?;
            engine.output(&["rmi", &made])?;
            names.push(registry.name(&format!("many{number}")));
        }
        self.alternate(row, 5, |engine| {
            let begun = Instant::now();
            let children: Vec<_> = names
                .iter()
                .map(|name| engine.command(&["pull", "-q", name]).stdout(Stdio::null()).spawn())
                .collect();
            for child in children {
                let status = child.and_then(|mut child| child.wait()).map_err(|error| error.to_string())?;
                if !status.success() {
                    return Err("a pull of ten at once failed".to_owned());
                }
            }
            let took = milliseconds(begun);
            let mut words = vec!["rmi"];
            words.extend(names.iter().map(String::as_str));
            engine.output(&words)?;
            Ok(took)
        })
    }

    /// Commits what `script` changes in a container of `image` as `name`.
    pub(super) fn committed(engine: &Engine, image: &str, script: &str, name: &str) -> Result<()> {
        let container = "bench-committing";
        engine.output(&["run", "--label", "bench", "--name", container, image, "sh", "-c", script])?;
        engine.output(&["commit", container, name])?;
        engine.output(&["rm", container]).map(drop)
    }

    /// Each push goes to a registry that holds nothing: an engine remembers which layers a registry has.
    fn pushes_of(&mut self, program: &str, archive: &Path) -> Result<()> {
        let stem = archive.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (whole, line) = (format!("push of an image, {stem}"), format!("push of a changed line, {stem}"));
        if !self.settings.wants(&whole) && !self.settings.wants(&line) {
            return Ok(());
        }
        let mut times = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
        for round in 0..3 {
            for (own, engine) in self.both() {
                let registry = self.registry(program, [0, 0])?;
                let loaded = Self::loaded(&engine, archive)?;
                let name = registry.name(&stem);
                engine.output(&["tag", &loaded, &name])?;
                let side = usize::from(!own);
                times[0][side].push(engine.time(&["push", "-q", &name])?);
                let made = format!("{name}:changed");
                Self::committed(&engine, &loaded, &format!("echo {round} > /line"), &made)?;
                times[1][side].push(engine.time(&["push", "-q", &made])?);
                engine.output(&["rmi", "-f", &made, &name, &loaded])?;
            }
        }
        for ((name, wanted), times) in [(whole, ">= 3x"), (line, ">= 5x")].into_iter().zip(times) {
            self.push_medians((&name, "ms", false, wanted), times);
        }
        Ok(())
    }

    /// A line with 20 ms of delay on which every hundredth request loses its connection; a pull that fails is made again, and
    /// counts until it is whole.
    fn bad_line(&mut self, program: &str) -> Result<()> {
        let row = ("pull, 20 ms of delay, 1 % of requests lost", "ms", false, ">= 3x");
        let Some(archive) = self.settings.load.get(1).or(self.settings.load.first()).cloned() else {
            return Ok(());
        };
        if !self.settings.wants(row.0) {
            return Ok(());
        }
        let mut registry = self.registry(program, [0, 0])?;
        let engine = self.scratch.engine();
        let loaded = Self::loaded(&engine, &archive)?;
        registry.fill(&engine, &loaded, "far")?;
        for (_, engine) in self.both() {
            let _ = engine.output(&["rmi", "-f", &loaded]);
        }
        registry.ways(self.other.is_some(), [20, 100])?;
        let name = registry.name("far");
        // So many that each engine meets faults; the mean tells of them, a median would not.
        let rounds = 12;
        let mut means = [0.0, 0.0];
        for _ in 0..rounds {
            for (own, engine) in self.both() {
                let begun = Instant::now();
                let mut tries = 0;
                while let Err(error) = engine.output(&["pull", "-q", &name]) {
                    tries += 1;
                    if tries == 10 {
                        return Err(error);
                    }
                }
                means[usize::from(!own)] += milliseconds(begun) / f64::from(rounds);
                engine.output(&["rmi", &name])?;
            }
        }
        let [corten, other] = means;
        self.push_both(row, [Some(corten), self.other.is_some().then_some(other)]);
        Ok(())
    }

    /// The daemon's private memory at its most while a layer of 2 GB comes in.
    fn memory_of_a_pull(&mut self, program: &str, image: &str) -> Result<()> {
        let name = "memory while a layer of 2 GB is pulled";
        if !self.settings.wants(name) {
            return Ok(());
        }
        let registry = self.registry(program, [0, 0])?;
        let engine = self.scratch.engine();
        Self::committed(&engine, image, "head -c 2000000000 /dev/urandom > /content", "bench-big:1")?;
        registry.fill(&engine, "bench-big:1", "big")?;
        engine.output(&["rmi", "bench-big:1"])?;
        // A fresh daemon: what earlier rows left is not this pull's.
        self.scratch.stop();
        self.scratch.start()?;
        let daemon = self.daemon_of(true)?;
        let (done, most) = (AtomicBool::new(false), std::sync::Mutex::new(0.0_f64));
        let target = registry.name("big");
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let now = private_kilobytes(daemon).unwrap_or_default() / 1024.0;
                    let mut most = most.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    *most = most.max(now);
                    drop(most);
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
            let outcome = engine.time(&["pull", "-q", &target]);
            done.store(true, Ordering::Relaxed);
            outcome
        });
        outcome?;
        engine.output(&["rmi", &target])?;
        let corten = most.into_inner().unwrap_or(f64::NAN);
        self.push(Row {
            name: name.into(),
            unit: "MiB",
            corten,
            other: None,
            rate: false,
            wanted: "<= 64 MiB",
        });
        Ok(())
    }
}
