//! One container's cgroup: limits, device rules, kills, counts.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use corten_sys::{bpf, mount, process};
use rustix::fs::{Mode as FileMode, OFlags};
use serde::{Deserialize, Serialize};

use super::gauge::Gauge;
use super::handle::{CgroupHandle, oom_kills};
use super::hierarchies::Hierarchy;
use super::limits::{self, Write};
use super::stats::Stats;
use super::{CgroupError, Limits, Result, device, file_error};

/// One container's cgroup. As a document it is where its folders are.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Cgroup {
    #[serde(default)]
    pub(super) legacy: Vec<(Hierarchy, PathBuf)>,
    #[serde(default)]
    pub(super) unified: Option<PathBuf>,
}

impl Cgroup {
    pub(super) fn make(&self) -> Result<()> {
        for (hierarchy, folder) in &self.legacy {
            self.make_new_folder(folder)?;
            if hierarchy.has("cpuset") {
                inherit_cpuset(folder)?;
            }
        }
        self.unified.as_ref().map_or(Ok(()), |folder| self.make_new_folder(folder))
    }

    /// As [`make_folder`]; one that was left over is replaced, so that it carries no old limits.
    fn make_new_folder(&self, folder: &Path) -> Result<()> {
        match fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove_left(folder)?;
                fs::create_dir(folder).map_err(file_error("create", folder))
            }
            result => result.map_err(file_error("create", folder)),
        }
    }

    /// Removes what is left of an earlier container of that name. A process of it may be on its way out, our own beside it
    /// too; one that is not has no container any more.
    fn remove_left(&self, folder: &Path) -> Result<()> {
        if remove_folder(folder).is_err() {
            self.kill_all()?;
        }
        Patience::default().remove(folder)
    }

    pub(super) fn rename(&self, to: &Self) -> Result<()> {
        for ((_, from), (_, to_folder)) in self.legacy.iter().zip(&to.legacy) {
            let mut renamed = fs::rename(from, to_folder);
            if renamed.as_ref().is_err_and(|error| {
                matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
            }) {
                to.remove_left(to_folder)?;
                renamed = fs::rename(from, to_folder);
            }
            renamed.map_err(file_error("rename", from))?;
        }
        match (&self.unified, &to.unified) {
            (Some(from), Some(folder)) => {
                remove_folder(from).map_err(file_error("remove", from))?;
                to.make_new_folder(folder)
            }
            _ => Ok(()),
        }
    }

    /// Seats that wait inside: processes of ours that count for version 1, but are not the container's.
    fn seats(&self) -> Vec<i32> {
        let listed =
            self.seat_folder().and_then(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok());
        seats_of(&process_ids(&listed.unwrap_or_default())).collect()
    }

    /// Where seats can be: the folder of version 1 that counts processes.
    pub(super) fn seat_folder(&self) -> Option<&PathBuf> {
        self.legacy.iter().find(|(hierarchy, _)| hierarchy.has("pids")).map(|(_, folder)| folder)
    }

    /// Ends the seats; what is launched through one from now on joins the cgroup by itself.
    fn end_seats(&self) {
        for pid in self.seats() {
            // One that has just gone is as good.
            let _ = corten_sys::process::kill(pid, rustix::process::Signal::KILL.as_raw());
        }
    }

    /// Opens what a [`crate::Seat`] needs to join.
    pub fn joining(&self) -> Result<CgroupHandle> {
        let mut handle = CgroupHandle::default();
        for (_, folder) in &self.legacy {
            let path = folder.join("cgroup.procs");
            let file = rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, FileMode::empty())
                .map_err(|error| file_error("open", path)(error.into()))?;
            handle.join.push(file);
        }
        Ok(handle)
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

    pub(super) fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.legacy.iter().map(|(_, folder)| folder).chain(&self.unified)
    }

    /// Whether version 2 carries the limits and tells the use.
    pub(super) fn is_unified(&self) -> bool {
        self.legacy.is_empty()
    }

    /// The folder that carries a controller.
    pub(super) fn folder(&self, controller: &str) -> Option<&PathBuf> {
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
        if limits.pids.as_ref().is_some_and(|pids| pids.limit > 0) {
            // A seat would take one of the container's processes, or show in a limit that is one higher.
            self.end_seats();
        }
        self.set(limits)
    }

    /// Sets the first limits of a container that a seat is about to make: the seat is not the container's.
    pub(super) fn set_beside_seats(&self, limits: &Limits) -> Result<()> {
        let mut limits = limits.clone();
        if let Some(pids) = limits.pids.as_mut().filter(|pids| pids.limit > 0) {
            pids.limit += self.seats().len() as i64;
        }
        self.set(&limits)
    }

    fn set(&self, limits: &Limits) -> Result<()> {
        let writes = if self.legacy.is_empty() { limits::unified(limits) } else { limits::legacy(limits) };
        let mut memory_waits = None;
        for write in &writes {
            match self.write(write) {
                // Version 1 refuses a memory limit above the one for memory and swap: when both rise, that
                // one first.
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

    pub(super) fn set_devices(&self, limits: &Limits) -> Result<()> {
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
            let seats: Vec<i32> = seats_of(&found).collect();
            found.retain(|pid| !seats.contains(pid));
        }
        Ok(found)
    }

    /// Kills every process inside and below. They may still be on their way out when this returns.
    pub fn kill_all(&self) -> Result<()> {
        if let Some(folder) = &self.unified
            && write_file(&folder.join("cgroup.kill"), "1").is_ok()
            // Where there are both, a seat is in those of version 1 only.
            && self.legacy.is_empty()
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
        let mut patience = Patience::default();
        self.folders().try_for_each(|folder| patience.remove(folder))
    }

    /// A descriptor that becomes readable when the container is out of memory: version 1 only, where it has to be asked
    /// for. With version 2 the file of [`CgroupHandle::oom`] tells by itself.
    pub fn oom_signal(&self) -> Result<Option<OwnedFd>> {
        if self.legacy.is_empty() {
            return Ok(None);
        }
        let Some(folder) = self.folder("memory") else { return Ok(None) };
        let register = || -> io::Result<OwnedFd> {
            let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
            let signal = rustix::event::eventfd(0, flags)?;
            let path = folder.join("memory.oom_control");
            let control = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, FileMode::empty())?;
            let text = format!("{} {}", signal.as_raw_fd(), control.as_raw_fd());
            write_file(&folder.join("cgroup.event_control"), &text)?;
            Ok(signal)
        };
        register().map(Some).map_err(file_error("watch", folder.clone()))
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

    /// Whether every process inside stands still because of [`Self::freeze`], or is about to.
    pub fn is_frozen(&self) -> bool {
        let legacy = self.legacy.iter().find(|(hierarchy, _)| hierarchy.has("freezer"));
        let (path, frozen) = match (legacy, &self.unified) {
            (Some((_, folder)), _) => (folder.join("freezer.state"), "FRO"),
            (None, Some(folder)) => (folder.join("cgroup.freeze"), "1"),
            (None, None) => return false,
        };
        // `FREEZING` counts too.
        fs::read_to_string(path)
            .is_ok_and(|text| text.starts_with(frozen) || (legacy.is_some() && text.starts_with("FREEZING")))
    }

    /// What its processes use now. To read it often, keep a [`Gauge`].
    pub fn stats(&self) -> Result<Stats> {
        Gauge::new(self.clone()).read()
    }

    /// The path inside the hierarchy that shows it best, for people: the version 2 folder, or that for
    /// memory.
    pub fn path(&self) -> Option<&Path> {
        self.folder("memory").or(self.unified.as_ref()).map(PathBuf::as_path)
    }
}

/// The processes of a `cgroup.procs`.
pub(super) fn process_ids(listed: &str) -> Vec<i32> {
    listed.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The seats among the processes of a cgroup: by name, in our own pid namespace, and in the mount namespace of a parent – the
/// shim – that is not in the cgroup itself.
///
/// A container with `--init` has this program and may call its processes what it likes, but no process of it is in its
/// shim's mount namespace. The program's file says nothing: after an upgrade the seats run the one before.
pub(super) fn seats_of(processes: &[i32]) -> impl Iterator<Item = i32> {
    let namespace =
        |pid: i32, kind: &str| rustix::fs::readlink(format!("/proc/{pid}/ns/{kind}"), Vec::new()).ok();
    let own = rustix::fs::readlink("/proc/self/ns/pid", Vec::new()).ok();
    processes.iter().copied().filter(move |pid| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == crate::seat::NAME)
            && namespace(*pid, "pid").is_some_and(|theirs| own.as_ref() == Some(&theirs))
            && parent_of(*pid).is_some_and(|parent| {
                !processes.contains(&parent)
                    && namespace(*pid, "mnt").is_some_and(|theirs| namespace(parent, "mnt") == Some(theirs))
            })
    })
}

/// A process's parent (the second field behind the name in `/proc/PID/stat`, proc_pid_stat(5)).
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
}

pub(super) fn make_folder(folder: &Path) -> Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(file_error("create", folder)(error))
        }
        _ => Ok(()),
    }
}

/// A version 1 cpuset starts empty, and nothing can run in it: it takes the values of the folder above.
pub(super) fn inherit_cpuset(folder: &Path) -> Result<()> {
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
pub(super) fn write_file(path: &Path, value: &str) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, FileMode::empty())?;
    rustix::io::write(&file, value.as_bytes())?;
    Ok(())
}

/// Waits for processes on their way out, half a second in all.
struct Patience {
    pause: Duration,
    waited: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { pause: Duration::from_micros(200), waited: Duration::ZERO }
    }
}

impl Patience {
    fn remove(&mut self, folder: &Path) -> Result<()> {
        loop {
            match remove_folder(folder) {
                Ok(()) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                    if self.waited > Duration::from_millis(500) {
                        return Err(CgroupError::Busy { path: folder.to_owned() });
                    }
                    std::thread::sleep(self.pause);
                    self.waited += self.pause;
                    self.pause = (self.pause * 2).min(Duration::from_millis(50));
                }
                Err(error) => return Err(file_error("remove", folder)(error)),
            }
        }
    }
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
