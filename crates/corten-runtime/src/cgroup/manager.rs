//! The folder that holds all containers' cgroups, and one container's.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use corten_sys::{bpf, mount, process};
use rustix::fs::{Mode as FileMode, OFlags};

use super::handle::{CgroupHandle, oom_kills};
use super::hierarchies::{Hierarchies, Hierarchy};
use super::limits::{self, Write};
use super::stats::{self, Stats};
use super::{CgroupError, Limits, Mode, Result, device, file_error};

/// The leaf into which a delegated cgroup's own processes go: version 2 allows none beside folders with controllers.
const OWN_LEAF: &str = "daemon";

/// Names of cgroups that wait for a container begin with this; a container's id cannot.
const SPARE: &str = "spare-";

/// Controllers that containers use in version 2.
const UNIFIED_CONTROLLERS: [&str; 5] = ["cpu", "memory", "pids", "cpuset", "io"];

/// Owns one folder per hierarchy, below which every container has its own.
#[derive(Clone, Debug)]
pub struct Manager {
    hierarchies: Hierarchies,
    /// Our folder in each version 1 hierarchy.
    legacy: Vec<(Hierarchy, PathBuf)>,
    /// Our folder in the version 2 tree.
    unified: Option<PathBuf>,
}

impl Manager {
    /// Finds the host's hierarchies and makes our folder in each.
    ///
    /// `parent` is a path from the top of the hierarchy (`/corten`), or a systemd slice (`machine-x.slice`), which
    /// becomes the path that systemd gives it. Where systemd delegated this process's own cgroup to it (`Delegate=yes`), a
    /// path starts there instead, and this cgroup's processes move to a leaf of their own.
    pub fn new(parent: &str) -> Result<Self> {
        Self::with(Hierarchies::probe()?, parent)
    }

    /// As [`Self::new`] with the hierarchies known.
    pub fn with(hierarchies: Hierarchies, parent: &str) -> Result<Self> {
        let relative = parent_path(parent)?;
        let mut legacy = Vec::new();
        for hierarchy in &hierarchies.legacy {
            let mut folder = hierarchy.mount.clone();
            for part in &relative {
                folder.push(part);
                make_folder(&folder)?;
                if hierarchy.has("cpuset") {
                    inherit_cpuset(&folder)?;
                }
            }
            legacy.push((hierarchy.clone(), folder));
        }
        let unified = match &hierarchies.unified {
            None => None,
            Some(mount) => {
                let mut folder = mount.clone();
                if !hierarchies.is_legacy() {
                    folder.extend(delegated_base(mount));
                    enable_controllers(&folder)?;
                }
                for part in &relative {
                    folder.push(part);
                    make_folder(&folder)?;
                    if !hierarchies.is_legacy() {
                        enable_controllers(&folder)?;
                    }
                }
                Some(folder)
            }
        };
        Ok(Self { hierarchies, legacy, unified })
    }

    /// What the host has.
    pub fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// How the host arranges it.
    pub fn mode(&self) -> Mode {
        self.hierarchies.mode()
    }

    /// Makes a container's cgroup with its limits and device rules. On an error nothing is left.
    pub fn create(&self, id: &str, limits: &Limits) -> Result<Cgroup> {
        let cgroup = self.open(id)?;
        let made =
            cgroup.make().and_then(|()| cgroup.update(limits)).and_then(|()| cgroup.set_devices(limits));
        if let Err(error) = made {
            let _ = cgroup.remove();
            return Err(error);
        }
        Ok(cgroup)
    }

    /// Makes a cgroup that no container has yet, for a [`crate::Seat`] to wait in; [`Self::adopt`] gives it to one.
    pub fn create_spare(&self) -> Result<Cgroup> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let cgroup = self.open(&format!("{SPARE}{}-{number}", std::process::id()))?;
        if let Err(error) = cgroup.make() {
            let _ = cgroup.remove();
            return Err(error);
        }
        Ok(cgroup)
    }

    /// Gives a spare cgroup to a container: its name, limits and device rules. Handles of version 1 made before stay
    /// good; the folder of version 2 is a new one, as the kernel renames none there, so the container's handle is to be
    /// made after this. On an error nothing is left of either.
    pub fn adopt(&self, spare: Cgroup, id: &str, limits: &Limits) -> Result<Cgroup> {
        let cgroup = self.open(id)?;
        let adopted = spare
            .rename(&cgroup)
            .and_then(|()| cgroup.update(limits))
            .and_then(|()| cgroup.set_devices(limits));
        if let Err(error) = adopted {
            for one in [&spare, &cgroup] {
                let _ = one.kill_all();
                let _ = one.remove();
            }
            return Err(error);
        }
        Ok(cgroup)
    }

    /// A container's cgroup, whether it is there or not.
    pub fn open(&self, id: &str) -> Result<Cgroup> {
        if id.is_empty() || id == "." || id == ".." || id.contains(['/', '\0']) {
            return Err(CgroupError::Name(id.to_owned()));
        }
        Ok(Cgroup {
            legacy: self
                .legacy
                .iter()
                .map(|(hierarchy, folder)| (hierarchy.clone(), folder.join(id)))
                .collect(),
            unified: self.unified.as_ref().map(|folder| folder.join(id)),
        })
    }

    /// The names of all containers' cgroups that are there: what a daemon that starts finds left over.
    pub fn list(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .legacy
            .iter()
            .map(|(_, folder)| folder)
            .chain(&self.unified)
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name != OWN_LEAF)
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// One container's cgroup.
#[derive(Clone, Debug)]
pub struct Cgroup {
    legacy: Vec<(Hierarchy, PathBuf)>,
    unified: Option<PathBuf>,
}

impl Cgroup {
    fn make(&self) -> Result<()> {
        for (hierarchy, folder) in &self.legacy {
            make_new_folder(folder)?;
            if hierarchy.has("cpuset") {
                inherit_cpuset(folder)?;
            }
        }
        self.unified.as_ref().map_or(Ok(()), |folder| make_new_folder(folder))
    }

    fn rename(&self, to: &Self) -> Result<()> {
        for ((_, from), (_, to)) in self.legacy.iter().zip(&to.legacy) {
            // What was left over of an earlier container of that name is empty.
            remove_folder(to).map_err(file_error("remove", to))?;
            fs::rename(from, to).map_err(file_error("rename", from))?;
        }
        match (&self.unified, &to.unified) {
            (Some(from), Some(to)) => {
                remove_folder(from).map_err(file_error("remove", from))?;
                make_new_folder(to)
            }
            _ => Ok(()),
        }
    }

    /// How many seats wait inside: processes of ours that count for version 1, but are not the container's.
    fn seats(&self) -> u64 {
        self.legacy
            .iter()
            .find(|(hierarchy, _)| hierarchy.has("pids"))
            .and_then(|(_, folder)| fs::read_to_string(folder.join("cgroup.procs")).ok())
            .map_or(0, |text| text.lines().filter(|pid| is_seat(pid)).count() as u64)
    }

    /// Opens what the shim needs to put processes in here, to mount it inside and to see kills.
    pub fn handle(&self) -> Result<CgroupHandle> {
        let open = |path: PathBuf, flags: OFlags| {
            rustix::fs::open(&path, flags | OFlags::CLOEXEC, FileMode::empty())
                .map_err(|error| file_error("open", path)(error.into()))
        };
        let mut handle = CgroupHandle::default();
        for (hierarchy, folder) in &self.legacy {
            handle.join.push(open(folder.join("cgroup.procs"), OFlags::WRONLY)?);
            let tree = mount::clone_tree(folder, false)
                .map_err(|error| file_error("clone", folder.clone())(error.source))?;
            handle.trees.push((hierarchy.name(), tree));
        }
        if let Some(folder) = &self.unified {
            handle.unified = Some(open(folder.clone(), OFlags::RDONLY | OFlags::DIRECTORY)?);
        }
        handle.oom = self.oom_file().and_then(|path| open(path, OFlags::RDONLY).ok());
        Ok(handle)
    }

    /// Whether any of its folders is there.
    pub fn exists(&self) -> bool {
        self.folders().any(|folder| folder.is_dir())
    }

    fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.legacy.iter().map(|(_, folder)| folder).chain(&self.unified)
    }

    /// The folder that carries a controller.
    fn folder(&self, controller: &str) -> Option<&PathBuf> {
        if self.legacy.is_empty() {
            return self.unified.as_ref();
        }
        self.legacy.iter().find(|(hierarchy, _)| hierarchy.has(controller)).map(|(_, folder)| folder)
    }

    fn oom_file(&self) -> Option<PathBuf> {
        let file = if self.legacy.is_empty() { "memory.events" } else { "memory.oom_control" };
        Some(self.folder("memory")?.join(file))
    }

    /// Sets limits, also of a running container. What the document does not name stays.
    pub fn update(&self, limits: &Limits) -> Result<()> {
        let mut limits = limits.clone();
        if let Some(pids) = limits.pids.as_mut().filter(|pids| pids.limit > 0) {
            pids.limit += self.seats() as i64;
        }
        let writes = if self.legacy.is_empty() { limits::unified(&limits) } else { limits::legacy(&limits) };
        let mut memory_waits = None;
        for write in &writes {
            match self.write(write) {
                // Version 1 refuses a memory limit above the one for memory and swap: when both rise, that one first.
                Err(CgroupError::Limit { .. }) if write.file == "memory.limit_in_bytes" => {
                    memory_waits = Some(write);
                }
                result => result?,
            }
            if write.file == "memory.memsw.limit_in_bytes"
                && let Some(memory) = memory_waits.take()
            {
                self.write(memory)?;
            }
        }
        memory_waits.map_or(Ok(()), |memory| self.write(memory))
    }

    fn write(&self, write: &Write) -> Result<()> {
        let no_controller = || CgroupError::NoController {
            controller: write.controller.to_owned(),
            file: write.file.clone(),
        };
        let Some(folder) = self.folder(write.controller) else {
            return if write.optional { Ok(()) } else { Err(no_controller()) };
        };
        match write_file(&folder.join(&write.file), &write.value) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if write.optional {
                    Ok(())
                } else {
                    Err(no_controller())
                }
            }
            Err(source) => Err(CgroupError::Limit {
                path: folder.clone(),
                file: write.file.clone(),
                value: write.value.clone(),
                source,
            }),
        }
    }

    fn set_devices(&self, limits: &Limits) -> Result<()> {
        if device::allow_all(&limits.devices) {
            return Ok(());
        }
        if let Some((_, folder)) = self.legacy.iter().find(|(hierarchy, _)| hierarchy.has("devices")) {
            for (allow, line) in device::legacy_lines(&limits.devices) {
                let file = folder.join(if allow { "devices.allow" } else { "devices.deny" });
                write_file(&file, &line)
                    .map_err(|source| CgroupError::Devices { path: folder.clone(), source })?;
            }
            return Ok(());
        }
        let Some(folder) = &self.unified else { return Ok(()) };
        let attach = || -> io::Result<()> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let descriptor = rustix::fs::open(folder, flags, FileMode::empty())?;
            let program = bpf::load_device_program(&device::program(&limits.devices))?;
            bpf::attach_device_program(descriptor.as_fd(), program.as_fd())
        };
        attach().map_err(|source| CgroupError::Devices { path: folder.clone(), source })
    }

    /// Ids of all processes of the container, of folders below too.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let Some(folder) = self.unified.as_ref().or_else(|| self.legacy.first().map(|(_, folder)| folder))
        else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        collect_processes(folder, &mut found)?;
        if self.unified.is_none() {
            found.retain(|pid| !is_seat(&pid.to_string()));
        }
        Ok(found)
    }

    /// Kills every process inside and below. They may still be on their way out when this returns.
    pub fn kill_all(&self) -> Result<()> {
        if let Some(folder) = &self.unified
            && write_file(&folder.join("cgroup.kill"), "1").is_ok()
        {
            return Ok(());
        }
        // A process may be made while we go through the list; frozen ones make none.
        let frozen = self.freeze().is_ok();
        let mut found = Vec::new();
        let killed = self
            .legacy
            .first()
            .map(|(_, folder)| folder)
            .or(self.unified.as_ref())
            .map_or(Ok(()), |folder| collect_processes(folder, &mut found));
        for pid in found {
            let _ = process::kill(pid, rustix::process::Signal::KILL.as_raw());
        }
        if frozen {
            self.thaw()?;
        }
        killed
    }

    /// Removes all folders. Waits up to half a second for processes on their way out.
    ///
    /// # Errors
    /// `Busy` where processes remain. A folder that is not there is no error.
    pub fn remove(&self) -> Result<()> {
        let mut pause = Duration::from_micros(200);
        let mut waited = Duration::ZERO;
        for folder in self.folders() {
            loop {
                match remove_folder(folder) {
                    Ok(()) => break,
                    Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                        if waited > Duration::from_millis(500) {
                            return Err(CgroupError::Busy { path: folder.clone() });
                        }
                        std::thread::sleep(pause);
                        waited += pause;
                        pause = (pause * 2).min(Duration::from_millis(50));
                    }
                    Err(error) => return Err(file_error("remove", folder.clone())(error)),
                }
            }
        }
        Ok(())
    }

    /// How many processes were killed for want of memory.
    pub fn oom_kill_count(&self) -> u64 {
        self.oom_file().and_then(|path| fs::read_to_string(path).ok()).map_or(0, |text| oom_kills(&text))
    }

    /// Stops every process inside until [`Self::thaw`]; returns when all stand still.
    pub fn freeze(&self) -> Result<()> {
        self.set_frozen(true)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<()> {
        self.set_frozen(false)
    }

    fn set_frozen(&self, frozen: bool) -> Result<()> {
        let legacy = self.legacy.iter().find(|(hierarchy, _)| hierarchy.has("freezer"));
        let (folder, file, value, watched, wanted) = if let Some((_, folder)) = legacy {
            let state = if frozen { "FROZEN" } else { "THAWED" };
            (folder, "freezer.state", state, "freezer.state", state)
        } else if let Some(folder) = &self.unified {
            let (value, wanted) = if frozen { ("1", "frozen 1") } else { ("0", "frozen 0") };
            (folder, "cgroup.freeze", value, "cgroup.events", wanted)
        } else {
            return Err(CgroupError::NoController {
                controller: "freezer".into(),
                file: "freezer.state".into(),
            });
        };
        for round in 0..1000 {
            write_file(&folder.join(file), value).map_err(file_error("freeze", folder.clone()))?;
            let path = folder.join(watched);
            let text = fs::read_to_string(&path).map_err(file_error("read", path))?;
            if text.lines().any(|line| line == wanted) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_micros(if round < 10 { 50 } else { 1000 }));
        }
        let _ = write_file(&folder.join(file), if legacy.is_some() { "THAWED" } else { "0" });
        Err(CgroupError::Busy { path: folder.clone() })
    }

    /// What the container uses now.
    pub fn stats(&self) -> Result<Stats> {
        if !self.exists() {
            let path = self.folders().next().cloned().unwrap_or_default();
            return Err(file_error("read", path)(io::ErrorKind::NotFound.into()));
        }
        let read = |controller: &str, file: &str| {
            self.folder(controller)
                .and_then(|folder| fs::read_to_string(folder.join(file)).ok())
                .unwrap_or_default()
        };
        let mut found = Stats { pids: stats::number(&read("pids", "pids.current")), ..Stats::default() };
        let limit = stats::number(&read("pids", "pids.max"));
        let seats = self.seats();
        found.pids_limit = if limit == u64::MAX { 0 } else { limit.saturating_sub(seats) };
        found.pids = found.pids.saturating_sub(seats);
        found.memory_details = stats::table(&read("memory", "memory.stat"));
        if self.legacy.is_empty() {
            found.unified = true;
            let cpu = stats::table(&read("cpu", "cpu.stat"));
            let micro = |name: &str| cpu.get(name).copied().unwrap_or(0) * 1000;
            found.cpu_total = micro("usage_usec");
            found.cpu_user = micro("user_usec");
            found.cpu_system = micro("system_usec");
            found.throttled_time = micro("throttled_usec");
            found.throttle_periods = cpu.get("nr_periods").copied().unwrap_or(0);
            found.throttled_periods = cpu.get("nr_throttled").copied().unwrap_or(0);
            found.memory_usage = stats::number(&read("memory", "memory.current"));
            found.memory_most = stats::number(&read("memory", "memory.peak"));
            found.memory_limit = stats::number(&read("memory", "memory.max"));
            found.memory_failures =
                stats::table(&read("memory", "memory.events")).get("max").copied().unwrap_or(0);
            found.block_io = stats::unified_block_io(&read("io", "io.stat"));
        } else {
            found.cpu_total = stats::number(&read("cpuacct", "cpuacct.usage"));
            found.cpu_user = stats::number(&read("cpuacct", "cpuacct.usage_user"));
            found.cpu_system = stats::number(&read("cpuacct", "cpuacct.usage_sys"));
            found.cpu_each =
                read("cpuacct", "cpuacct.usage_percpu").split_ascii_whitespace().map(stats::number).collect();
            let cpu = stats::table(&read("cpu", "cpu.stat"));
            found.throttle_periods = cpu.get("nr_periods").copied().unwrap_or(0);
            found.throttled_periods = cpu.get("nr_throttled").copied().unwrap_or(0);
            found.throttled_time = cpu.get("throttled_time").copied().unwrap_or(0);
            found.memory_usage = stats::number(&read("memory", "memory.usage_in_bytes"));
            found.memory_most = stats::number(&read("memory", "memory.max_usage_in_bytes"));
            found.memory_limit = stats::number(&read("memory", "memory.limit_in_bytes"));
            found.memory_failures = stats::number(&read("memory", "memory.failcnt"));
            found.block_io = stats::legacy_block_io(
                &read("blkio", "blkio.throttle.io_service_bytes_recursive"),
                &read("blkio", "blkio.throttle.io_serviced_recursive"),
            );
        }
        Ok(found)
    }

    /// The path inside the hierarchy that shows it best, for people: the version 2 folder, or that for memory.
    pub fn path(&self) -> Option<&Path> {
        self.folder("memory").or(self.unified.as_ref()).map(PathBuf::as_path)
    }
}

/// A path from the top, or the path that systemd gives to a slice: `a-b.slice` is `a.slice/a-b.slice`.
fn parent_path(parent: &str) -> Result<Vec<String>> {
    let bad = || CgroupError::Name(parent.to_owned());
    let plain = parent.trim_matches('/');
    if let Some(slice) = plain.strip_suffix(".slice").filter(|slice| !slice.contains('/')) {
        if slice == "-" {
            return Ok(Vec::new());
        }
        let mut parts = Vec::new();
        let mut name = String::new();
        for word in slice.split('-') {
            if word.is_empty() {
                return Err(bad());
            }
            if !name.is_empty() {
                name.push('-');
            }
            name.push_str(word);
            parts.push(format!("{name}.slice"));
        }
        return Ok(parts);
    }
    let parts: Vec<String> = plain.split('/').map(str::to_owned).collect();
    if parts.iter().any(|part| part.is_empty() || part == "." || part == ".." || part.contains('\0')) {
        return Err(bad());
    }
    Ok(parts)
}

/// The cgroup of this process where systemd gave it to us, relative to the mount.
fn delegated_base(mount: &Path) -> Option<PathBuf> {
    let own = Hierarchies::own_unified_cgroup()?;
    // We may sit in our own leaf already: the daemon was started again.
    let own =
        if own.file_name().is_some_and(|name| name == OWN_LEAF) { own.parent()?.to_owned() } else { own };
    if own.as_os_str().is_empty() {
        return None;
    }
    let mut value = [0; 2];
    ["user.delegate", "trusted.delegate"].into_iter().find_map(|name| {
        let count = rustix::fs::getxattr(mount.join(&own), name, &mut value).ok()?;
        (count == 1 && value[0] == b'1').then(|| own.clone())
    })
}

/// Whether a process is a seat: one of this program with the seat's name.
fn is_seat(pid: &str) -> bool {
    let file = |path: String| rustix::fs::stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino));
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == crate::seat::NAME)
        && file(format!("/proc/{pid}/exe"))
            .is_some_and(|theirs| file("/proc/self/exe".to_owned()) == Some(theirs))
}

/// Lets folders below use the controllers. Those that are not there are passed over: a limit that needs one says so.
fn enable_controllers(folder: &Path) -> Result<()> {
    let there = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    let path = folder.join("cgroup.subtree_control");
    let on = fs::read_to_string(&path).unwrap_or_default();
    for controller in UNIFIED_CONTROLLERS {
        let listed = |text: &str| text.split_whitespace().any(|own| own == controller);
        if !listed(&there) || listed(&on) {
            continue;
        }
        match write_file(&path, &format!("+{controller}")) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                evacuate(folder)?;
                write_file(&path, &format!("+{controller}")).map_err(file_error("configure", &path))?;
            }
            result => result.map_err(file_error("configure", &path))?,
        }
    }
    Ok(())
}

/// Moves the processes of a folder to a leaf below it.
fn evacuate(folder: &Path) -> Result<()> {
    let leaf = folder.join(OWN_LEAF);
    make_folder(&leaf)?;
    let path = folder.join("cgroup.procs");
    let processes = fs::read_to_string(&path).map_err(file_error("read", path))?;
    let target = leaf.join("cgroup.procs");
    for pid in processes.lines() {
        // A process that has ended meanwhile is no matter.
        if let Err(error) = write_file(&target, pid)
            && error.raw_os_error() != Some(rustix::io::Errno::SRCH.raw_os_error())
        {
            return Err(file_error("move processes to", target)(error));
        }
    }
    Ok(())
}

fn make_folder(folder: &Path) -> Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(file_error("create", folder)(error))
        }
        _ => Ok(()),
    }
}

/// As [`make_folder`]; an empty one that was left over is replaced, so that it carries no old limits.
fn make_new_folder(folder: &Path) -> Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            remove_folder(folder).map_err(file_error("remove", folder))?;
            fs::create_dir(folder).map_err(file_error("create", folder))
        }
        result => result.map_err(file_error("create", folder)),
    }
}

/// A version 1 cpuset starts empty, and nothing can run in it: it takes the values of the folder above.
fn inherit_cpuset(folder: &Path) -> Result<()> {
    let Some(above) = folder.parent() else { return Ok(()) };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = folder.join(file);
        if fs::read_to_string(&own).is_ok_and(|text| !text.trim().is_empty()) {
            continue;
        }
        let path = above.join(file);
        let value = fs::read_to_string(&path).map_err(file_error("read", path))?;
        write_file(&own, value.trim()).map_err(file_error("configure", own))?;
    }
    Ok(())
}

/// One write to a file that exists; the kernel's files want the value in one piece.
fn write_file(path: &Path, value: &str) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, FileMode::empty())?;
    rustix::io::write(&file, value.as_bytes())?;
    Ok(())
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {}
        result => return result,
    }
    // Containers may make folders of their own below.
    if let Ok(entries) = fs::read_dir(folder) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_folder(&entry.path())?;
            }
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn collect_processes(folder: &Path, found: &mut Vec<i32>) -> Result<()> {
    let path = folder.join("cgroup.procs");
    match fs::read_to_string(&path) {
        Ok(text) => found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(file_error("read", path)(error)),
    }
    if let Ok(entries) = fs::read_dir(folder) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                collect_processes(&entry.path(), found)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_have_systemds_paths() {
        assert_eq!(parent_path("/corten").unwrap(), ["corten"]);
        assert_eq!(parent_path("a-b-c.slice").unwrap(), ["a.slice", "a-b.slice", "a-b-c.slice"]);
        assert_eq!(parent_path("/x/y").unwrap(), ["x", "y"]);
        for bad in ["", "..", "/a/../b", "a--b.slice"] {
            assert!(parent_path(bad).is_err(), "{bad}");
        }
    }
}
