//! Sources of a container's mounts: opened in the host's mount namespace as detached copies, so that no path of the host
//! is used where the container is built.

use crate::container::record::{MountKind, Mounted, ReadOnlyDepth, Record};
use crate::container::{files, rootfs, selinux};
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use crate::users::{self, MappedUsers};
use corten_oci::runtime::Spec;
use corten_std::{PathError, file};
use corten_sys::mount;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The source in the runtime document of the memory of another container's IPC namespace.
pub(super) const NEIGHBOURS_MEMORY: &str = "shm";

/// Opens what the document binds. `neighbour` is the first process of the container whose IPC namespace is shared.
pub(super) fn open_mounts(
    engine: &EngineInner,
    record: &Record,
    spec: &Spec,
    neighbour: Option<i32>,
) -> Result<Vec<(usize, OwnedFd)>> {
    let mut trees = Vec::new();
    for (index, mount) in spec.mounts.iter().enumerate() {
        if mount.kind.as_deref() != Some("bind") {
            continue;
        }
        let source = Path::new(mount.source.as_deref().unwrap_or_default());
        let mounted = record.mounts.iter().find(|mounted| mounted.destination == mount.destination);
        let tree = match (mounted, neighbour) {
            (Some(mounted), _) => open_mounted(engine, record, mounted, source)?,
            (None, Some(pid)) if mount.source.as_deref() == Some(NEIGHBOURS_MEMORY) => open_memory_of(pid)?,
            (None, _) => {
                let tree = clone(source, mount.options.iter().any(|option| option == "rbind"))?;
                if let (true, Some(users)) = (files::is_own(&mount.destination), users::of(engine, record)) {
                    users.map(tree.as_fd(), false, &mount.destination)?;
                }
                tree
            }
        };
        trees.push((index, tree));
    }
    Ok(trees)
}

fn open_mounted(engine: &EngineInner, record: &Record, mounted: &Mounted, source: &Path) -> Result<OwnedFd> {
    let tree = match &mounted.kind {
        MountKind::Volume { source: volume, subpath, name, .. } => {
            selinux::relabel_mounted(engine, record, mounted, volume)?;
            let tree =
                if subpath.is_empty() { clone(source, true)? } else { open_below(volume, subpath, name)? };
            // What is mounted from elsewhere has the owners that it has there, as a bind has.
            if let Some(users) = users::of(engine, record).filter(|_| engine.volumes.is_folder(name)) {
                users.map(tree.as_fd(), true, &mounted.destination)?;
            }
            tree
        }
        MountKind::Tmpfs { .. } => clone(source, true)?,
        MountKind::Bind { create, .. } => {
            if !source.exists() {
                make_source(source, *create, users::of(engine, record))?;
            }
            selinux::relabel_mounted(engine, record, mounted, source)?;
            check_propagation(source, &mounted.propagation)?;
            clone(source, mounted.recursive)?
        }
        MountKind::Image { name, snapshot, subpath } => open_image(engine, record, name, snapshot, subpath)?,
    };
    if mounted.read_only && mounted.read_only_depth == ReadOnlyDepth::Forced {
        // The one thing that an old kernel lacks: told before the container is made.
        let change = mount::AttributeChange { recursive: true, ..mount::AttributeChange::read_only() };
        mount::set_attributes(tree.as_fd(), &change).map_err(|error| {
            EngineError::from_error(
                &format!("the mount at {} cannot be made read-only with all below it", mounted.destination),
                error,
            )
        })?;
    }
    Ok(tree)
}

fn clone(source: &Path, recursive: bool) -> Result<OwnedFd> {
    mount::clone_tree(source, recursive)
        .map_err(|error| EngineError::from_error("opening a mount's source", error))
}

/// What a bind's propagation asks of the mount that its source lies on.
fn check_propagation(source: &Path, propagation: &str) -> Result<()> {
    let (tags, words): (&[&str], _) = match propagation {
        "shared" | "rshared" => (&["shared:"], "a shared mount"),
        "slave" | "rslave" => (&["shared:", "master:"], "a shared or slave mount"),
        _ => return Ok(()),
    };
    let path = source.canonicalize().map_err(|error| PathError::new("look up", source, error))?;
    let table = file::read_to_string("/proc/self/mountinfo")?;
    let Some((place, fields)) = mount_of(&table, &path) else { return Ok(()) };
    if tags.iter().any(|tag| fields.split(' ').any(|field| field.starts_with(tag))) {
        return Ok(());
    }
    Err(EngineError::system(format!("path {} is mounted on {place} but it is not {words}", source.display())))
}

/// The mount that a path lies on, by the mount table: where it is mounted, and its optional fields. Of several at one
/// place the last one is seen.
fn mount_of<'table>(table: &'table str, path: &Path) -> Option<(String, &'table str)> {
    let mut best: Option<(String, &str)> = None;
    for line in table.lines() {
        // ID PARENT MAJOR:MINOR ROOT MOUNT OPTIONS [FIELDS…] - KIND SOURCE SUPER_OPTIONS
        let Some((mount, _)) = line.split_once(" - ") else { continue };
        let mut words = mount.splitn(7, ' ');
        let Some(place) = words.nth(4) else { continue };
        let place = corten_runtime::cgroup::unescape(place);
        let fields = words.nth(1).unwrap_or_default();
        let Some(text) = place.to_str().filter(|_| path.starts_with(&place)) else { continue };
        if best.as_ref().is_none_or(|(have, _)| have.len() <= text.len()) {
            best = Some((text.to_owned(), fields));
        }
    }
    best
}

/// `/dev/shm` of another container as it is there: the two share what programs keep in it.
fn open_memory_of(pid: i32) -> Result<OwnedFd> {
    let failed = |error: std::io::Error| EngineError::from_error("failed to join IPC namespace", error);
    let process = corten_sys::process::pidfd_open(pid).map_err(failed)?;
    mount::clone_tree_of(process.as_fd(), Path::new("/dev/shm"))
        .map_err(|error| EngineError::from_error("failed to join IPC namespace", error))
}

/// An image's files, or a part of them; links in the image do not lead out of it.
fn open_image(
    engine: &EngineInner,
    record: &Record,
    name: &str,
    snapshot: &str,
    subpath: &str,
) -> Result<OwnedFd> {
    let root = rootfs::mount_snapshot(
        engine,
        snapshot,
        false,
        users::of(engine, record),
        rootfs::label_of(engine, record),
    )?;
    if subpath.is_empty() {
        return Ok(root);
    }
    match open_part(&root, subpath, name) {
        // Kernels before 6.15 copy no part of what is not attached: it is for that moment.
        Err((_, true)) => {
            let place = engine.settings.paths.running_container(&record.id).join("image");
            file::create_dir_all(&place)?;
            mount::attach(root.as_fd(), &place)
                .map_err(|error| EngineError::from_error("mounting an image", error))?;
            let part = open_part(&root, subpath, name).map_err(|(error, _)| error);
            mount::detach(&place).map_err(|error| EngineError::from_error("mounting an image", error))?;
            file::remove_tree(&place)?;
            part
        }
        result => result.map_err(|(error, _)| error),
    }
}

/// The error comes with whether the kernel copies no part of a detached tree.
fn open_part(root: &OwnedFd, subpath: &str, name: &str) -> std::result::Result<OwnedFd, (EngineError, bool)> {
    let failed = |error: rustix::io::Errno| {
        let why = kernel_words(error);
        (EngineError::invalid(format!("cannot access path {subpath} of image {name}: {why}")), false)
    };
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let below = rustix::fs::openat2(root, subpath, flags, Mode::empty(), inside).map_err(failed)?;
    mount::clone_tree_at(below.as_fd(), Path::new(""), false).map_err(|error| {
        let unattached = error.source.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error());
        (EngineError::from_error("mounting a part of an image", error), unattached)
    })
}

/// A missing source of `-v` becomes a folder, as Docker has it.
fn make_source(source: &Path, create: bool, users: Option<&MappedUsers>) -> Result<()> {
    if !create {
        return Err(EngineError::invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            source.display()
        )));
    }
    let missing: Vec<&Path> = source.ancestors().take_while(|folder| !folder.exists()).collect();
    let make = || {
        std::fs::create_dir_all(source)?;
        // Whose it would be, had the container made it.
        let Some((uid, gid)) = users.map(MappedUsers::root) else { return Ok(()) };
        missing.iter().try_for_each(|folder| std::os::unix::fs::lchown(folder, Some(uid), Some(gid)))
    };
    make().map_err(|error| {
        EngineError::from_error(
            &format!("error while creating mount source path '{}'", source.display()),
            PathError::new("create folder", source, error),
        )
    })
}

/// The kernel's words as other programs print them.
fn kernel_words(error: rustix::io::Errno) -> String {
    match error {
        rustix::io::Errno::NOENT => "no such file or directory".to_owned(),
        rustix::io::Errno::ACCESS => "permission denied".to_owned(),
        rustix::io::Errno::NOTDIR => "not a directory".to_owned(),
        other => std::io::Error::from(other).to_string(),
    }
}

/// A folder below a volume; links in it do not lead out.
pub(crate) fn open_below(volume: &Path, subpath: &str, name: &str) -> Result<OwnedFd> {
    let failed = |error: rustix::io::Errno| {
        EngineError::invalid(format!(
            "cannot access path {subpath} of volume {name}: {}",
            kernel_words(error)
        ))
    };
    let path = OFlags::PATH | OFlags::CLOEXEC;
    let folder = rustix::fs::open(volume, path, Mode::empty()).map_err(failed)?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let below = rustix::fs::openat2(&folder, subpath, path, Mode::empty(), inside).map_err(failed)?;
    mount::clone_tree_at(below.as_fd(), Path::new(""), true)
        .map_err(|error| EngineError::from_error("opening a mount's source", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_a_path_is_the_deepest_and_last() {
        let table = "20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                     21 20 0:5 / /mnt/a\\040b rw master:2 propagate_from:1 - tmpfs x rw\n\
                     22 20 0:6 / /mnt rw - tmpfs x rw\n\
                     23 20 0:7 / /mnt rw shared:9 - tmpfs x rw\n";
        let of = |path: &str| mount_of(table, Path::new(path)).unwrap();
        assert_eq!(of("/srv/x"), ("/".to_owned(), "shared:1"));
        assert_eq!(of("/mnt/c"), ("/mnt".to_owned(), "shared:9"));
        assert_eq!(of("/mnt/a b/c"), ("/mnt/a b".to_owned(), "master:2 propagate_from:1"));
        assert_eq!(of("/mntx").0, "/");
    }
}
