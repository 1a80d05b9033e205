//! What the host has mounted.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{CgroupError, Mode, Result, file_error};

/// One mounted hierarchy of version 1.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Hierarchy {
    /// Its controllers (`memory`; `cpu` and `cpuacct`), or `name=systemd`.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
}

impl Hierarchy {
    /// The controllers as one name, in the mount's order: `cpu,cpuacct`.
    pub fn name(&self) -> String {
        self.controllers.join(",")
    }

    /// Whether it carries a controller.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|own| own == controller)
    }
}

/// Every cgroup filesystem that is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// Those of version 1.
    pub legacy: Vec<Hierarchy>,
    /// The tree of version 2.
    pub unified: Option<PathBuf>,
}

impl Hierarchies {
    /// Reads the mount table of this process.
    pub fn probe() -> Result<Self> {
        let path = "/proc/self/mountinfo";
        let text = fs::read_to_string(path).map_err(file_error("read", path))?;
        let found = Self::parse(&text);
        if found.legacy.is_empty() && found.unified.is_none() {
            return Err(CgroupError::NotMounted);
        }
        Ok(found)
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            // ID PARENT MAJOR:MINOR ROOT MOUNT OPTIONS [FIELDS…] - KIND SOURCE SUPER_OPTIONS
            let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
            let mut filesystem = filesystem.split(' ');
            let (kind, options) = (filesystem.next().unwrap_or(""), filesystem.nth(1).unwrap_or(""));
            let Some(place) = mount.split(' ').nth(4).map(unescape) else { continue };
            match kind {
                "cgroup2" if found.unified.is_none() => found.unified = Some(place),
                "cgroup" => {
                    let controllers: Vec<String> = options
                        .split(',')
                        .filter(|option| {
                            !matches!(
                                *option,
                                "rw" | "ro" | "xattr" | "noprefix" | "clone_children" | "cpuset_v2_mode"
                            ) && !option.starts_with("release_agent=")
                                && !option.starts_with("favordynmods")
                                && !option.starts_with("nofavordynmods")
                        })
                        .map(str::to_owned)
                        .collect();
                    let known = found.legacy.iter().any(|hierarchy| hierarchy.controllers == controllers);
                    if !known && !controllers.is_empty() {
                        found.legacy.push(Hierarchy { controllers, mount: place });
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// How they are arranged.
    pub fn mode(&self) -> Mode {
        match (self.legacy.is_empty(), self.unified.is_some()) {
            (true, true) => Mode::V2,
            (false, true) => Mode::Hybrid,
            (false, false) => Mode::V1,
            (true, false) => Mode::None,
        }
    }

    /// Whether limits are set in version 1.
    pub fn is_legacy(&self) -> bool {
        !self.legacy.is_empty()
    }

    /// Whether a controller can be used somewhere.
    pub fn has_controller(&self, controller: &str) -> bool {
        if self.is_legacy() {
            return self.legacy.iter().any(|hierarchy| hierarchy.has(controller));
        }
        let controller = if controller == "blkio" { "io" } else { controller };
        self.unified.as_ref().is_some_and(|mount| {
            fs::read_to_string(mount.join("cgroup.controllers"))
                .is_ok_and(|text| text.split_whitespace().any(|own| own == controller))
        })
    }

    /// The cgroup of this process in the version 2 tree, relative to the mount.
    pub(super) fn own_unified_cgroup() -> Option<PathBuf> {
        let text = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        Some(Path::new(path.trim_start_matches('/')).to_owned())
    }
}

/// A field of the mount table as the path that it means: spaces and the like are octal escapes there.
pub fn unescape(field: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes = field.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'\\'
            && let Some(digits) = field.get(at + 1..at + 4)
            && let Ok(byte) = u8::from_str_radix(digits, 8)
        {
            plain.push(byte);
            at += 4;
        } else {
            plain.push(bytes[at]);
            at += 1;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mountinfo: &str, mode: Mode, names: &[&str]) {
        let found = Hierarchies::parse(mountinfo);
        assert_eq!(found.mode(), mode);
        assert_eq!(found.legacy.iter().map(Hierarchy::name).collect::<Vec<_>>(), names);
    }

    #[test]
    fn arrangements_are_recognised() {
        check(
            "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate",
            Mode::V2,
            &[],
        );
        check(
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
            Mode::V1,
            &["cpu,cpuacct", "memory"],
        );
        check(
            "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
            Mode::Hybrid,
            &["name=systemd"],
        );
        check("22 27 0:21 / /proc rw,relatime - proc proc rw", Mode::None, &[]);
    }

    #[test]
    fn spaces_in_mount_points_are_read() {
        assert_eq!(unescape("/a\\040b"), Path::new("/a b"));
    }
}
