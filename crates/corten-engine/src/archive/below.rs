//! What a stopped container has over its root: binds, volumes and its three files, mounted for one operation.

use super::{RootView, lexical};
use crate::container::files;
use crate::container::record::{MountKind, Mounted, Record};
use crate::container::sources::open_below;
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use crate::users::{self, MappedUsers, Sight};
use corten_layer::tar::{Entry, EntryKind, Writer};
use corten_layer::{UnpackOptions, unpack};
use corten_std::file;
use corten_sys::mount::{self, AttributeChange, Propagation};
use corten_sys::process::{self, Namespaces};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Something of the host that is seen at a place in a container.
pub(super) struct Below {
    pub(super) source: PathBuf,
    /// The part of a volume that is mounted, and the volume's name: links in it must not lead out of it.
    pub(super) part: Option<(String, String)>,
    pub(super) destination: String,
    pub(super) read_only: bool,
    pub(super) recursive: bool,
    /// Its owners are the host's, and the container is in a user namespace: it is shown as it is seen in there.
    pub(super) users: Option<Arc<MappedUsers>>,
}

impl Below {
    /// A detached copy of it.
    fn tree(&self) -> Result<OwnedFd> {
        let tree = match &self.part {
            Some((subpath, volume)) => open_below(&self.source, subpath, volume)?,
            None => mount::clone_tree(&self.source, self.recursive)
                .map_err(|error| EngineError::from_error("mounting the container's volumes", error))?,
        };
        if let Some(users) = &self.users {
            users.show_inside(tree.as_fd());
        }
        Ok(tree)
    }
}

/// What a stopped container has over its root and is there on the host. Memory is gone with its process.
pub(super) fn mounts_below(engine: &EngineInner, record: &Record, path: &str) -> Vec<Below> {
    let mut below: Vec<Below> =
        record.mounts.iter().filter_map(|mounted| below_of(engine, record, mounted)).collect();
    // The three files matter to few, and mounting them costs every copy.
    let clean = lexical(path);
    if clean == Path::new("/") || clean.starts_with("/etc") || !below.is_empty() {
        for (name, destination) in files::FILES {
            let source = files::path(engine, &record.id, name);
            if !below.iter().any(|below| below.destination == destination) {
                let destination = destination.to_owned();
                below.push(Below {
                    source,
                    part: None,
                    destination,
                    read_only: false,
                    recursive: false,
                    users: None,
                });
            }
        }
    }
    below.retain(|below| below.source.exists());
    below
}

fn below_of(engine: &EngineInner, record: &Record, mounted: &Mounted) -> Option<Below> {
    let mut users = engine.settings.users.clone().filter(|_| users::of(engine, record).is_some());
    let (source, part, recursive) = match &mounted.kind {
        MountKind::Bind { source, .. } => (source.clone(), None, mounted.recursive),
        MountKind::Volume { source, subpath, name, .. } => {
            let part = (!subpath.is_empty()).then(|| (subpath.clone(), name.clone()));
            users = users.filter(|_| !engine.volumes.is_folder(name));
            (source.clone(), part, true)
        }
        MountKind::Tmpfs { .. } | MountKind::Image { .. } => return None,
    };
    let (destination, read_only) = (mounted.destination.clone(), mounted.read_only);
    Some(Below { source, part, destination, read_only, recursive, users })
}

/// Mounts `below` over `root`, in a mount namespace of its own: the kernel wants a mount to be somewhere before another
/// can lie on it, and the host shall not see either.
pub(super) fn with_mounts(root: OwnedFd, below: &[Below], place: &Path) -> Result<RootView> {
    file::create_dir_all(place)?;
    let mut trees = Vec::new();
    for one in below {
        let tree = one.tree()?;
        if one.read_only {
            let change = AttributeChange { recursive: one.recursive, ..AttributeChange::read_only() };
            mount::set_attributes(tree.as_fd(), &change)
                .map_err(|error| EngineError::from_error("mounting the container's volumes", error))?;
        }
        trees.push((tree, one));
    }
    // The namespace is the thread's, so the thread is one that nobody uses again.
    std::thread::scope(|scope| {
        let work = move || -> Result<RootView> {
            let failed = |error| EngineError::from_error("mounting the container's volumes", error);
            process::unshare(Namespaces::MOUNT).map_err(failed)?;
            let namespace =
                rustix::fs::open("/proc/thread-self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .map_err(|error| failed(error.into()))?;
            let mount_failed = |error| EngineError::from_error("mounting the container's volumes", error);
            mount::set_namespace_propagation(Propagation::Private).map_err(mount_failed)?;
            mount::attach(root.as_fd(), place).map_err(mount_failed)?;
            for (tree, one) in trees {
                let target = mount_point(root.as_fd(), &tree, &one.destination)?;
                mount::attach_on(tree.as_fd(), target.as_fd()).map_err(failed)?;
            }
            Ok(RootView { root, sight: Sight::default(), _namespace: Some(namespace) })
        };
        match scope.spawn(work).join() {
            Ok(view) => view,
            Err(_) => Err(EngineError::system("mounting the container's volumes broke off")),
        }
    })
}

/// Opens the place for a mount; makes it where the image has none, as a start would.
fn mount_point(root: BorrowedFd<'_>, tree: &OwnedFd, destination: &str) -> Result<OwnedFd> {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let failed = |error: Errno| {
        EngineError::from_error(
            &format!("opening the mount point `{destination}`"),
            std::io::Error::from(error),
        )
    };
    let open =
        || rustix::fs::openat2(root, destination, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), inside);
    match open() {
        Err(Errno::NOENT) => {}
        outcome => return outcome.map_err(failed),
    }
    let about = rustix::fs::fstat(tree).map_err(failed)?;
    let folder = FileType::from_raw_mode(about.st_mode) == FileType::Directory;
    let entry = Entry {
        path: destination.as_bytes().to_vec(),
        kind: if folder { EntryKind::Directory } else { EntryKind::File },
        mode: 0o755,
        ..Entry::default()
    };
    let mut writer = Writer::new(Vec::new());
    let tar = writer.append(&entry, b"").and_then(|()| writer.finish());
    tar.and_then(|tar| unpack(tar.as_slice(), root, Path::new("/"), &UnpackOptions::default()))
        .map_err(|error| EngineError::because("making a mount point", error))?;
    open().map_err(failed)
}
