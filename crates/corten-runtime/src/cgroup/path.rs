//! A cgroup by the path of a runtime document (`cgroupsPath`), for a runtime that owns no folder of its own.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::group::{Cgroup, inherit_cpuset, make_folder, process_ids, write_file};
use super::hierarchies::Hierarchies;
use super::manager::UNIFIED_CONTROLLERS;
use super::{CgroupError, Limits, Result, file_error};

impl Cgroup {
    /// The cgroup at a path, whether it is there or not. An absolute path counts from the top of every hierarchy,
    /// another from the cgroup of this process (in version 2 from the one above it, which may have folders with
    /// controllers).
    pub fn at_path(hierarchies: &Hierarchies, path: &str) -> Result<Self> {
        let bad = || CgroupError::Name(path.to_owned());
        let relative = Path::new(path);
        let from_top = relative.is_absolute();
        let mut parts = PathBuf::new();
        for part in relative.components() {
            match part {
                Component::Normal(name) => parts.push(name),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => return Err(bad()),
            }
        }
        if parts.as_os_str().is_empty() || path.contains('\0') {
            return Err(bad());
        }
        let own = if from_top { String::new() } else { own_cgroups()? };
        let place = |mount: &Path, controller: &str| {
            let mut folder = mount.to_owned();
            if !from_top {
                folder.push(own_path(&own, controller));
            }
            folder.join(&parts)
        };
        Ok(Self {
            legacy: hierarchies
                .legacy
                .iter()
                .map(|hierarchy| {
                    let controller = hierarchy.controllers.first().map_or("", String::as_str);
                    (hierarchy.clone(), place(&hierarchy.mount, controller))
                })
                .collect(),
            unified: hierarchies.unified.as_ref().map(|mount| {
                if from_top || hierarchies.is_legacy() {
                    return place(mount, "");
                }
                let own = own_path(&own, "");
                mount.join(own.parent().unwrap_or(Path::new(""))).join(&parts)
            }),
        })
    }

    /// A cgroup below this one.
    pub fn below(&self, path: &str) -> Result<Self> {
        let parts: Vec<_> = Path::new(path.trim_start_matches('/')).components().collect();
        if parts.is_empty() || parts.iter().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(CgroupError::Name(path.to_owned()));
        }
        let place = |folder: &PathBuf| folder.join(parts.iter().collect::<PathBuf>());
        Ok(Self {
            legacy: self.legacy.iter().map(|(one, folder)| (one.clone(), place(folder))).collect(),
            unified: self.unified.as_ref().map(place),
        })
    }

    /// The path by which a runtime document names this cgroup, from the top of the hierarchies.
    pub fn document_path(&self) -> Option<PathBuf> {
        let from_top = |mount: &Path, folder: &Path| {
            folder.strip_prefix(mount).ok().map(|path| Path::new("/").join(path))
        };
        match (self.legacy.first(), &self.unified) {
            (Some((hierarchy, folder)), _) => from_top(&hierarchy.mount, folder),
            (None, Some(folder)) => from_top(&unified_mount(folder), folder),
            (None, None) => None,
        }
    }

    /// Makes the folders that are missing and sets limits and device rules. A folder that is there already must be
    /// empty, or the process of one container would count for another's.
    ///
    /// # Errors
    /// `Busy` where processes are in it. On an error nothing that was made is left.
    pub fn create(&self, limits: &Limits) -> Result<()> {
        self.create_around(limits, None)
    }

    /// As [`Self::create`], with one process that may be in it already.
    pub(super) fn create_around(&self, limits: &Limits, seat: Option<i32>) -> Result<()> {
        let made = self
            .make_with_parents(seat)
            .and_then(|()| self.update(limits))
            .and_then(|()| self.set_devices(limits));
        if made.is_err() {
            let _ = self.remove();
        }
        made
    }

    fn make_with_parents(&self, seat: Option<i32>) -> Result<()> {
        for (hierarchy, folder) in &self.legacy {
            let cpuset = hierarchy.has("cpuset");
            make_below(&hierarchy.mount, folder, |made| if cpuset { inherit_cpuset(made) } else { Ok(()) })?;
            check_empty(folder, seat)?;
        }
        if let Some(folder) = &self.unified {
            let legacy = !self.legacy.is_empty();
            let top = unified_mount(folder);
            make_below(&top, folder, |made| {
                if !legacy && made != folder {
                    enable_available(made);
                }
                Ok(())
            })?;
            check_empty(folder, seat)?;
        }
        Ok(())
    }
}

/// The mount of the version 2 tree that a folder is in: the highest folder above it that is a cgroup.
fn unified_mount(folder: &Path) -> PathBuf {
    folder.ancestors().filter(|above| above.join("cgroup.procs").exists()).last().unwrap_or(folder).to_owned()
}

/// Makes every folder from `top` (which is there) down to `folder`; `prepare` is called for each, the top too.
fn make_below(top: &Path, folder: &Path, prepare: impl Fn(&Path) -> Result<()>) -> Result<()> {
    let mut here = top.to_owned();
    prepare(&here)?;
    for part in folder.strip_prefix(top).unwrap_or(Path::new("")).components() {
        here.push(part);
        make_folder(&here)?;
        prepare(&here)?;
    }
    Ok(())
}

/// Lets folders below use the controllers, as far as that is possible: one with processes in it does not allow it,
/// and a limit that needs one says so.
fn enable_available(folder: &Path) {
    let there = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    let path = folder.join("cgroup.subtree_control");
    let on = fs::read_to_string(&path).unwrap_or_default();
    let listed = |text: &str, controller: &str| text.split_whitespace().any(|own| own == controller);
    for controller in UNIFIED_CONTROLLERS {
        if listed(&there, controller) && !listed(&on, controller) {
            let _ = write_file(&path, &format!("+{controller}"));
        }
    }
}

fn check_empty(folder: &Path, seat: Option<i32>) -> Result<()> {
    let path = folder.join("cgroup.procs");
    let processes = fs::read_to_string(&path).map_err(file_error("read", path))?;
    let others = process_ids(&processes).into_iter().any(|pid| Some(pid) != seat);
    if others { Err(CgroupError::Busy { path: folder.to_owned() }) } else { Ok(()) }
}

fn own_cgroups() -> Result<String> {
    let path = "/proc/self/cgroup";
    fs::read_to_string(path).map_err(file_error("read", path))
}

/// Where this process is in the hierarchy of a controller (empty: version 2), relative to its top.
fn own_path(own: &str, controller: &str) -> PathBuf {
    own.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .find(|(controllers, _)| controllers.split(',').any(|one| one == controller))
        .map(|(_, path)| PathBuf::from(path.trim_start_matches('/')))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Hierarchy;

    #[test]
    fn paths_stay_below_the_top() {
        let hierarchies = Hierarchies {
            legacy: vec![Hierarchy { controllers: vec!["memory".into()], mount: "/c/memory".into() }],
            unified: Some("/c/unified".into()),
        };
        let cgroup = Cgroup::at_path(&hierarchies, "/a//b/./c").unwrap();
        let folders: Vec<_> = cgroup.folders().cloned().collect();
        assert_eq!(folders, [PathBuf::from("/c/memory/a/b/c"), PathBuf::from("/c/unified/a/b/c")]);
        for bad in ["", "/", "/../x", "a/../../b"] {
            assert!(Cgroup::at_path(&hierarchies, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_own_place_is_found() {
        let own = "4:memory:/a/b\n2:cpu,cpuacct:/c\n0::/d\n";
        assert_eq!(own_path(own, "memory"), Path::new("a/b"));
        assert_eq!(own_path(own, "cpuacct"), Path::new("c"));
        assert_eq!(own_path(own, ""), Path::new("d"));
        assert_eq!(own_path(own, "pids"), Path::new(""));
    }
}
