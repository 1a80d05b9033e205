//! The folder that holds all containers' cgroups.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::group::{Cgroup, inherit_cpuset, make_folder, write_file};
use super::hierarchies::{Hierarchies, Hierarchy};
use super::{CgroupError, Limits, Mode, Result, file_error};

/// The leaf into which a delegated cgroup's own processes go: version 2 allows none beside folders with
/// controllers.
const OWN_LEAF: &str = "daemon";

/// Names of cgroups that wait for a container begin with this; a container's id cannot.
const SPARE: &str = "spare-";

/// Controllers that containers use in version 2.
pub(super) const UNIFIED_CONTROLLERS: [&str; 5] = ["cpu", "memory", "pids", "cpuset", "io"];

/// Owns one folder per hierarchy, below which every container has its own.
#[derive(Clone, Debug)]
pub struct Manager {
    hierarchies: Hierarchies,
    /// Our folder in each version 1 hierarchy.
    legacy: Vec<(Hierarchy, PathBuf)>,
    /// Our folder in the version 2 tree.
    unified: Option<PathBuf>,
    /// The folder that paths in the version 2 tree begin at: its top, or what was delegated to us.
    unified_top: Option<PathBuf>,
    placed: Arc<Mutex<Placed>>,
}

/// Containers that are below another cgroup than ours.
#[derive(Debug, Default)]
struct Placed {
    /// The parts of the path of the parent, by id.
    parents: BTreeMap<String, Vec<String>>,
    /// Folders that were made for them; others were there, with limits of somebody's, and stay.
    made: std::collections::BTreeSet<PathBuf>,
}

impl Manager {
    /// Finds the host's hierarchies and makes our folder in each.
    ///
    /// `parent` is a path from the top of the hierarchy (`/corten`), or a systemd slice (`machine-x.slice`),
    /// which becomes the path that systemd gives it. Where systemd delegated this process's own cgroup to it
    /// (`Delegate=yes` with `DelegateSubgroup=daemon`, systemd 254), a path starts there instead. Without the
    /// subgroup systemd could not start the service again while containers run (exit code 219), so the path
    /// starts at the top where this process may write there.
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
        let mut unified_top = hierarchies.unified.clone();
        let unified = match &hierarchies.unified {
            None => None,
            Some(mount) => {
                let mut folder = mount.clone();
                if !hierarchies.is_legacy() {
                    folder.extend(delegated_base(mount));
                    enable_controllers(&folder)?;
                    unified_top = Some(folder.clone());
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
        Ok(Self { hierarchies, legacy, unified, unified_top, placed: Arc::default() })
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
        self.make_parents(id)?;
        let made =
            cgroup.make().and_then(|()| cgroup.update(limits)).and_then(|()| cgroup.set_devices(limits));
        if let Err(error) = made {
            let _ = cgroup.remove();
            return Err(error);
        }
        Ok(cgroup)
    }

    /// Makes a cgroup that no container has yet, for a [`crate::Seat`] to wait in; [`Self::adopt`] gives it
    /// to one.
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

    /// Gives a spare cgroup to a container: its name, limits and device rules. Handles of version 1 made
    /// before stay good; the folder of version 2 is a new one, as the kernel renames none there, so the
    /// container's handle is to be made after this. On an error nothing is left of either.
    pub fn adopt(&self, spare: Cgroup, id: &str, limits: &Limits) -> Result<Cgroup> {
        let cgroup = self.open(id)?;
        let adopted = spare
            .rename(&cgroup)
            .and_then(|()| cgroup.set_beside_seats(limits))
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
        let placed = self.placed();
        let Some(parts) = placed.parents.get(id) else {
            return Ok(Cgroup {
                legacy: self
                    .legacy
                    .iter()
                    .map(|(hierarchy, folder)| (hierarchy.clone(), folder.join(id)))
                    .collect(),
                unified: self.unified.as_ref().map(|folder| folder.join(id)),
            });
        };
        let below = |top: &PathBuf| top.join(parts.iter().collect::<PathBuf>()).join(id);
        Ok(Cgroup {
            legacy: self
                .legacy
                .iter()
                .map(|(hierarchy, _)| (hierarchy.clone(), below(&hierarchy.mount)))
                .collect(),
            unified: self.unified_top.as_ref().map(below),
        })
    }

    fn placed(&self) -> MutexGuard<'_, Placed> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a container's cgroup is below another parent, named as in [`Self::new`], until [`Self::displace`].
    /// Without a parent, and with one that [`check_parent`] refuses, it is below ours as all others.
    pub fn place(&self, id: &str, parent: &str) {
        if parent.is_empty() {
            return;
        }
        if let Ok(parts) = parent_path(parent) {
            self.placed().parents.insert(id.to_owned(), parts);
        }
    }

    /// Removes the cgroup of a placed container that is no more, and the parents that were made for it and are empty.
    pub fn displace(&self, id: &str) -> Result<()> {
        let cgroup = self.open(id)?;
        cgroup.remove()?;
        let mut placed = self.placed();
        placed.parents.remove(id);
        // The deepest first; one that is in use, or went with something else, is no matter.
        placed.made.retain(|folder| folder.is_dir());
        let folders: Vec<PathBuf> = placed.made.iter().rev().cloned().collect();
        for folder in folders {
            if fs::remove_dir(&folder).is_ok() {
                placed.made.remove(&folder);
            }
        }
        Ok(())
    }

    /// Makes the parents of a placed container where they are missing.
    fn make_parents(&self, id: &str) -> Result<()> {
        let mut placed = self.placed();
        let Some(parts) = placed.parents.get(id).cloned() else { return Ok(()) };
        let tops = self.legacy.iter().map(|(hierarchy, _)| (Some(hierarchy), hierarchy.mount.clone()));
        let tops: Vec<_> = tops.chain(self.unified_top.clone().map(|top| (None, top))).collect();
        for (hierarchy, mut folder) in tops {
            for part in &parts {
                folder.push(part);
                if !folder.is_dir() {
                    make_folder(&folder)?;
                    placed.made.insert(folder.clone());
                }
                match hierarchy {
                    Some(hierarchy) if hierarchy.has("cpuset") => inherit_cpuset(&folder)?,
                    None if !self.hierarchies.is_legacy() => enable_controllers_beside(&folder)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Which limits this host can set.
    pub fn abilities(&self) -> Abilities {
        let has = |controller: &str, files: &[&str]| {
            let folder = if self.hierarchies.is_legacy() {
                self.legacy.iter().find(|(hierarchy, _)| hierarchy.has(controller)).map(|(_, folder)| folder)
            } else {
                self.unified.as_ref()
            };
            folder.is_some_and(|folder| files.iter().any(|file| folder.join(file).exists()))
        };
        Abilities {
            legacy: self.hierarchies.is_legacy(),
            memory: has("memory", &["memory.limit_in_bytes", "memory.max"]),
            swap: has("memory", &["memory.memsw.limit_in_bytes", "memory.swap.max"]),
            swappiness: has("memory", &["memory.swappiness"]),
            reservation: has("memory", &["memory.soft_limit_in_bytes", "memory.low"]),
            oom_kill_disable: has("memory", &["memory.oom_control"]),
            pids: has("pids", &["pids.max"]),
            cpu_shares: has("cpu", &["cpu.shares", "cpu.weight"]),
            cpu_quota: has("cpu", &["cpu.cfs_quota_us", "cpu.max"]),
            realtime: has("cpu", &["cpu.rt_runtime_us"]),
            cpuset: has("cpuset", &["cpuset.cpus"]),
            block_weight: has("blkio", &["blkio.weight", "blkio.bfq.weight", "io.weight", "io.bfq.weight"]),
            bfq_only: !has("blkio", &["blkio.weight_device", "io.weight"]),
            throttle: has("blkio", &["blkio.throttle.read_bps_device", "io.max"]),
        }
    }

    /// Removes our folder from each hierarchy where no container is in it any more; what is in use stays.
    pub fn remove_unused(&self) {
        for folder in self.legacy.iter().map(|(_, folder)| folder).chain(&self.unified) {
            // Busy, or gone already: both are as well.
            let _ = fs::remove_dir(folder);
        }
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
        let placed: Vec<String> = self.placed().parents.keys().cloned().collect();
        names.extend(placed.into_iter().filter(|id| self.open(id).is_ok_and(|cgroup| cgroup.exists())));
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Whether a name that [`Manager::list`] gave is of a cgroup made by [`Manager::create_spare`].
pub fn is_spare(name: &str) -> bool {
    name.starts_with(SPARE)
}

/// Which limits a host can set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one answer for each kind of limit, asked one by one")]
pub struct Abilities {
    /// Limits are set in version 1.
    pub legacy: bool,
    /// Memory.
    pub memory: bool,
    /// Memory and swap together (version 1), or swap (version 2).
    pub swap: bool,
    /// How readily memory is swapped out; version 1 only.
    pub swappiness: bool,
    /// Memory that is kept, or given back last.
    pub reservation: bool,
    /// Waiting instead of being killed where memory is out; version 1 only.
    pub oom_kill_disable: bool,
    /// Number of processes.
    pub pids: bool,
    /// Share of the processors' time.
    pub cpu_shares: bool,
    /// The processors' time in a period.
    pub cpu_quota: bool,
    /// The same of real-time processes; version 1 only, and not of every kernel.
    pub realtime: bool,
    /// Which processors and memory nodes.
    pub cpuset: bool,
    /// Share of the disks' time, also of single disks.
    pub block_weight: bool,
    /// The share of a single disk is one of the scheduler `bfq`, which the disk may not have.
    pub bfq_only: bool,
    /// Bytes and operations of single disks in a second.
    pub throttle: bool,
}

impl Abilities {
    /// A host that can do everything.
    pub fn all() -> Self {
        Self {
            legacy: true,
            memory: true,
            swap: true,
            swappiness: true,
            reservation: true,
            oom_kill_disable: true,
            pids: true,
            cpu_shares: true,
            cpu_quota: true,
            realtime: true,
            cpuset: true,
            block_weight: true,
            bfq_only: false,
            throttle: true,
        }
    }
}

/// Whether a parent can be given to [`Manager::place`].
///
/// # Errors
/// It is no path, or leads out of the hierarchy.
pub fn check_parent(parent: &str) -> Result<()> {
    parent_path(parent).map(drop)
}

/// A path from the top, or the path that systemd gives to a slice: `a-b.slice` is `a.slice/a-b.slice`.
pub(super) fn parent_path(parent: &str) -> Result<Vec<String>> {
    let bad = || CgroupError::Name(parent.to_owned());
    let plain = parent.trim_matches('/');
    if plain.is_empty() && !parent.is_empty() {
        return Ok(Vec::new());
    }
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
    // In our own leaf, systemd put us there, or the daemon was started again.
    let own = if own.file_name().is_some_and(|name| name == OWN_LEAF) {
        own.parent()?.to_owned()
    } else if rustix::fs::access(mount.join("cgroup.subtree_control"), rustix::fs::Access::WRITE_OK).is_ok() {
        return None;
    } else {
        own
    };
    if own.as_os_str().is_empty() {
        return None;
    }
    let mut value = [0; 2];
    ["user.delegate", "trusted.delegate"].into_iter().find_map(|name| {
        let count = rustix::fs::getxattr(mount.join(&own), name, &mut value).ok()?;
        (count == 1 && value[0] == b'1').then(|| own.clone())
    })
}

/// Lets folders below use the controllers. Those that are not there are passed over: a limit that needs one
/// says so.
///
/// No folder but the top of the tree may hold processes beside folders that use controllers
/// (Documentation/admin-guide/cgroup-v2.rst, "No Internal Process Constraint"). They move to a leaf before the first
/// controller is on: below a folder that has processes and a controller for threads, a new leaf would be invalid.
fn enable_controllers(folder: &Path) -> Result<()> {
    let there = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    let path = folder.join("cgroup.subtree_control");
    let on = fs::read_to_string(&path).unwrap_or_default();
    let listed = |text: &str, controller: &str| text.split_whitespace().any(|own| own == controller);
    let mut missing = UNIFIED_CONTROLLERS
        .into_iter()
        .filter(|controller| listed(&there, controller) && !listed(&on, controller))
        .peekable();
    // The top of the whole tree has no such file, and may hold processes.
    if missing.peek().is_some() && folder.join("cgroup.type").exists() {
        evacuate(folder)?;
    }
    for controller in missing {
        write_file(&path, &format!("+{controller}")).map_err(file_error("configure", &path))?;
    }
    Ok(())
}

/// As [`enable_controllers`] in a folder of somebody else, whose processes stay where they are: where there are some,
/// containers below have no limits of their own, and the kernel's "busy" says so.
fn enable_controllers_beside(folder: &Path) -> Result<()> {
    let there = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    let path = folder.join("cgroup.subtree_control");
    let on = fs::read_to_string(&path).unwrap_or_default();
    let has = |text: &str, controller: &str| text.split_whitespace().any(|own| own == controller);
    for controller in UNIFIED_CONTROLLERS {
        if has(&there, controller) && !has(&on, controller) {
            write_file(&path, &format!("+{controller}")).map_err(file_error("configure", &path))?;
        }
    }
    Ok(())
}

/// Moves the processes of a folder to a leaf below it.
fn evacuate(folder: &Path) -> Result<()> {
    let leaf = folder.join(OWN_LEAF);
    let path = folder.join("cgroup.procs");
    let processes = fs::read_to_string(&path).map_err(file_error("read", path))?;
    if processes.is_empty() {
        return Ok(());
    }
    make_folder(&leaf)?;
    let target = leaf.join("cgroup.procs");
    for pid in processes.lines() {
        // A process that has ended meanwhile is no matter.
        if let Err(error) = write_file(&target, pid)
            && error.raw_os_error() != Some(Errno::SRCH.raw_os_error())
        {
            return Err(file_error("move processes to", target)(error));
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
        assert!(parent_path("/").unwrap().is_empty());
        for bad in ["", "..", "/a/../b", "a--b.slice"] {
            assert!(parent_path(bad).is_err(), "{bad}");
        }
    }
}
