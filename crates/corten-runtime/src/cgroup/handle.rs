//! A container's cgroup as open descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

/// A container's cgroup as open descriptors, made where the cgroup filesystem is visible and used where it
/// may not be. Sent between processes as a [`CgroupShape`] and the descriptors in its order.
#[derive(Debug, Default)]
pub struct CgroupHandle {
    /// The folder in the version 2 tree.
    pub unified: Option<OwnedFd>,
    /// The `cgroup.procs` files of version 1, open for writing.
    pub join: Vec<OwnedFd>,
    /// Version 1, for the mounts inside: the hierarchy's name and a detached clone of the container's folder.
    pub trees: Vec<(String, OwnedFd)>,
    /// The file that counts processes killed for want of memory.
    pub oom: Option<OwnedFd>,
}

/// How many descriptors of which kind a [`CgroupHandle`] has.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct CgroupShape {
    /// A version 2 folder comes first.
    pub unified: bool,
    /// Then so many files to join.
    pub join: usize,
    /// Then a tree for each of these names.
    pub trees: Vec<String>,
    /// Then the file that counts kills.
    pub oom: bool,
}

impl CgroupShape {
    /// How many descriptors belong to it.
    pub fn descriptors(&self) -> usize {
        usize::from(self.unified) + self.join + self.trees.len() + usize::from(self.oom)
    }
}

impl CgroupHandle {
    /// What it has, and the descriptors in the order in which [`Self::from_parts`] takes them.
    pub fn into_parts(self) -> (CgroupShape, Vec<OwnedFd>) {
        let shape = CgroupShape {
            unified: self.unified.is_some(),
            join: self.join.len(),
            trees: self.trees.iter().map(|(name, _)| name.clone()).collect(),
            oom: self.oom.is_some(),
        };
        let descriptors = self
            .unified
            .into_iter()
            .chain(self.join)
            .chain(self.trees.into_iter().map(|(_, tree)| tree))
            .chain(self.oom)
            .collect();
        (shape, descriptors)
    }

    /// The other way; `None` where the number of descriptors is not the shape's.
    pub fn from_parts(shape: &CgroupShape, descriptors: Vec<OwnedFd>) -> Option<Self> {
        if descriptors.len() != shape.descriptors() {
            return None;
        }
        let mut descriptors = descriptors.into_iter();
        Some(Self {
            unified: if shape.unified { descriptors.next() } else { None },
            join: descriptors.by_ref().take(shape.join).collect(),
            trees: shape.trees.iter().cloned().zip(descriptors.by_ref()).collect(),
            oom: descriptors.next(),
        })
    }

    /// A copy for joining later, without the trees, which can be mounted only once.
    pub fn for_exec(&self) -> io::Result<Self> {
        Ok(Self {
            unified: self.unified.as_ref().map(OwnedFd::try_clone).transpose()?,
            join: self.join.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?,
            trees: Vec::new(),
            oom: self.oom.as_ref().map(OwnedFd::try_clone).transpose()?,
        })
    }

    /// How many processes of the container were killed for want of memory; 0 where that cannot be read any
    /// more.
    pub fn oom_kill_count(&self) -> u64 {
        self.oom
            .as_ref()
            .and_then(|file| read_from_start(file.as_fd()).ok())
            .map_or(0, |text| oom_kills(&text))
    }

    /// Whether it has not been removed, as far as can be told.
    pub fn is_there(&self) -> bool {
        self.join.is_empty() || self.oom.as_ref().is_some_and(|file| read_from_start(file.as_fd()).is_ok())
    }

    /// Kills every process of the container, also those that are being made, in one step. `false` where the
    /// kernel or the arrangement has no such step.
    pub fn kill_all(&self) -> bool {
        let Some(unified) = &self.unified else { return false };
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::openat(unified, "cgroup.kill", flags, rustix::fs::Mode::empty())
            .and_then(|file| rustix::io::write(&file, b"1"))
            .is_ok()
    }
}

pub(super) fn oom_kills(text: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

fn read_from_start(file: BorrowedFd<'_>) -> io::Result<String> {
    let mut buffer = [0; 1024];
    let count = rustix::io::pread(file, &mut buffer, 0)?;
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_survives_being_taken_apart() {
        let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let handle = CgroupHandle {
            unified: None,
            join: vec![file(), file()],
            trees: vec![("memory".into(), file())],
            oom: Some(file()),
        };
        let (shape, descriptors) = handle.into_parts();
        assert_eq!(shape.descriptors(), 4);
        let again = CgroupHandle::from_parts(&shape, descriptors).unwrap();
        assert_eq!((again.join.len(), again.trees.len(), again.oom.is_some()), (2, 1, true));
        assert!(CgroupHandle::from_parts(&shape, vec![file()]).is_none());
    }

    #[test]
    fn kills_are_read_from_both_versions() {
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(oom_kills("low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\noom_group_kill 0\n"), 1);
    }
}
