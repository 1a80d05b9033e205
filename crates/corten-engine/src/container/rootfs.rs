//! The mount that becomes a container's `/`: detached, so that no path of the host leads to it and nothing has to be
//! unmounted.

use crate::container::record::Record;
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use crate::users::MappedUsers;
use corten_std::file;
use corten_store::{Mounts, SnapshotKey};
use corten_sys::mount::{self, Attributes, OverlayMount};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Names of the folders below a `--rootfs` container's own folder.
const UPPER: &str = "upper";
const WORK: &str = "work";

/// Mounts a container's root, for containers with these maps; without, with the owners that the disk has. Blocking.
pub(crate) fn mount(engine: &EngineInner, record: &Record, users: Option<&MappedUsers>) -> Result<OwnedFd> {
    match (&record.snapshot, &record.host_config.rootfs) {
        (Some(key), _) => mount_snapshot(engine, key, record.auto_remove(), users, label_of(engine, record)),
        (None, Some(folder)) => mount_folder(engine, record, Path::new(folder), users),
        (None, None) => Err(EngineError::system("the container has neither an image nor a root folder")),
    }
}

/// The SELinux label of everything in it. A record may have one from a daemon that gave labels, which this one does not.
pub(super) fn label_of<'record>(engine: &EngineInner, record: &'record Record) -> Option<&'record str> {
    record.mount_label().filter(|_| engine.selinux.is_some())
}

/// Mounts an active snapshot; `volatile` leaves every sync out, for what is gone with its container anyway.
pub(super) fn mount_snapshot(
    engine: &EngineInner,
    key: &str,
    volatile: bool,
    users: Option<&MappedUsers>,
    label: Option<&str>,
) -> Result<OwnedFd> {
    let key = SnapshotKey::new(key).map_err(|error| EngineError::because("", error))?;
    let mounts = engine
        .store
        .snapshots()
        .mounts(&key)
        .map_err(|error| EngineError::because("looking up the root", error))?;
    let made = match &mounts {
        Mounts::Overlay { lowers, upper, work } => {
            if volatile {
                allow_again(work)?;
            }
            overlay(lowers, upper, work, volatile, users, label)
        }
        Mounts::ReadOnly { lowers } => {
            let overlay = OverlayMount {
                base: None,
                lowers,
                upper: None,
                work: None,
                volatile: false,
                userxattr: false,
                read_only: true,
                label,
            };
            match users {
                None => mount::overlay(&overlay),
                Some(users) => users.overlay(&overlay),
            }
        }
        Mounts::Plain(folder) => {
            let tree = mount::clone_tree(folder, false);
            if let (Ok(tree), Some(users)) = (&tree, users) {
                users.map(tree.as_fd(), false, "/")?;
            }
            tree
        }
    };
    made.map_err(|error| EngineError::from_error("mounting the root", error))
}

fn overlay(
    lowers: &[PathBuf],
    upper: &Path,
    work: &Path,
    volatile: bool,
    users: Option<&MappedUsers>,
    label: Option<&str>,
) -> Result<OwnedFd, mount::MountError> {
    let (upper, work) = (Some(upper), Some(work));
    let overlay =
        OverlayMount { base: None, lowers, upper, work, volatile, userxattr: false, read_only: false, label };
    match users {
        None => mount::overlay(&overlay),
        Some(users) => users.overlay(&overlay),
    }
}

/// The kernel refuses a second mount of a volatile layer, because after a crash of the machine it may be torn. It is
/// mounted again only by a restart in the same boot, so the mark can go.
fn allow_again(work: &Path) -> Result<()> {
    Ok(file::remove_tree(work.join("work/incompat"))?)
}

/// Any folder of the host, copy-on-write. The writes go to the container's own folder, or to memory where overlayfs
/// cannot have it so: the folder contains it (`/`), or its file system cannot be an upper layer.
fn mount_folder(
    engine: &EngineInner,
    record: &Record,
    folder: &Path,
    users: Option<&MappedUsers>,
) -> Result<OwnedFd> {
    let lower = folder.canonicalize().map_err(|error| {
        EngineError::from_error(&format!("looking up the root folder `{}`", folder.display()), error)
    })?;
    if !lower.is_dir() {
        return Err(EngineError::invalid(format!("the root folder `{}` is not a folder", folder.display())));
    }
    let own = engine.settings.paths.container(&record.id);
    let contained = own.canonicalize().is_ok_and(|own| own.starts_with(&lower) || lower.starts_with(own));
    let place = engine.settings.paths.running_container(&record.id).join("memory");
    if !contained {
        let (upper, work) = (own.join(UPPER), own.join(WORK));
        make_upper(&upper, &work, &lower)?;
        if record.auto_remove() {
            allow_again(&work)?;
        }
        let root = over_folder(&lower, &own, record.auto_remove(), users, &place, label_of(engine, record))?;
        if let Ok(root) = root {
            return Ok(root);
        }
    }
    // The kernel takes layers only from mounts of this namespace, so the memory is attached while the overlay is made.
    file::create_dir_all(&place)?;
    let memory = mount::tmpfs(&[("mode", Some("0700"))], Attributes::empty())
        .map_err(|error| EngineError::from_error("mounting memory for the writes", error))?;
    mount::attach(memory.as_fd(), &place)
        .map_err(|error| EngineError::from_error("mounting memory for the writes", error))?;
    let made = make_upper(&place.join(UPPER), &place.join(WORK), &lower).and_then(|()| {
        let context = match users {
            None => "mounting the root",
            Some(_) => {
                "mounting the root: memory for the writes of a container in a user namespace needs Linux 6.3"
            }
        };
        over_folder(&lower, &place, false, users, &place.with_extension("lower"), label_of(engine, record))?
            .map_err(|error| EngineError::from_error(context, error))
    });
    mount::detach(&place).map_err(|error| EngineError::from_error("mounting the root", error))?;
    file::remove_tree(&place)?;
    made
}

/// An overlay of a folder of the host and the two folders in `own`. `place` is where the first can be attached with its
/// ids mapped: that of `/` itself is taken.
fn over_folder(
    lower: &Path,
    own: &Path,
    volatile: bool,
    users: Option<&MappedUsers>,
    place: &Path,
    label: Option<&str>,
) -> Result<Result<OwnedFd, mount::MountError>> {
    let (upper, work) = (own.join(UPPER), own.join(WORK));
    let Some(users) = users else {
        return Ok(overlay(&[lower.to_owned()], &upper, &work, volatile, None, label));
    };
    file::create_dir_all(place)?;
    let made = users.with_mapped(&[(lower, place), (own, own)], || {
        overlay(&[place.to_owned()], &upper, &work, volatile, None, label)
    });
    file::remove_tree(place)?;
    Ok(made)
}

/// The two folders of a writable layer; the upper one has the mode of the folder that it covers.
fn make_upper(upper: &Path, work: &Path, lower: &Path) -> Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    for folder in [upper, work] {
        if !folder.is_dir() {
            file::create_dir(folder, 0o700)?;
        }
    }
    let about =
        std::fs::metadata(lower).map_err(|error| corten_std::PathError::new("look at", lower, error))?;
    let prepare = || {
        std::os::unix::fs::chown(upper, Some(about.uid()), Some(about.gid()))?;
        std::fs::set_permissions(upper, std::fs::Permissions::from_mode(about.mode() & 0o7777))
    };
    prepare().map_err(|error| corten_std::PathError::new("prepare", upper, error))?;
    Ok(())
}
