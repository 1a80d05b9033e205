//! Two views of the file system: the host's, where daemons are started, and the keeper's own, near-empty one, which
//! the shims inherit: each mount in it would be copied at each start of a container.

use corten_std::Paths;
use corten_sys::mount::{self, AttributeChange, Attributes, MountError, Propagation};
use corten_sys::process::{Namespaces, enter_namespace, unshare};
use rustix::fs::{Mode, OFlags, mkdirat, openat};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

/// Why the keeper could not get a view of its own.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// A mount could not be made.
    #[error("cannot set up the keeper's own mount namespace")]
    Mount(#[source] MountError),
    /// Another step failed.
    #[error("cannot {operation} for the keeper's own mount namespace")]
    System {
        /// What failed.
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
}

fn system<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> ViewError {
    move |error| ViewError::System { operation, source: error.into() }
}

/// The way back to the host's mount namespace, and home again.
#[derive(Debug)]
pub(crate) struct View {
    host: OwnedFd,
    host_root: OwnedFd,
    own: OwnedFd,
}

impl View {
    /// Goes into a new mount namespace with `/proc`, `/dev/null` and our two folders and nothing else. Nothing that
    /// is mounted on the host later appears in it.
    pub(crate) fn enter(paths: &Paths) -> Result<Self, ViewError> {
        let host = open_own_namespace().map_err(system("open the host's mount namespace"))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let host_root =
            rustix::fs::open("/", flags, Mode::empty()).map_err(system("open the host's root"))?;
        let mut trees = Vec::new();
        for path in [Path::new("/proc"), Path::new("/dev/null"), &paths.data_root, &paths.exec_root] {
            // The name that was given stays, also where it leads over links, which are not there in our view.
            let path = std::path::absolute(path).map_err(system("find a folder"))?;
            let tree = mount::clone_tree(&path, false).map_err(ViewError::Mount)?;
            // Else what is mounted on the host below these folders would follow us.
            let change =
                AttributeChange { propagation: Some(Propagation::Private), ..AttributeChange::default() };
            mount::set_attributes(tree.as_fd(), &change).map_err(system("make a mount private"))?;
            trees.push((path, tree));
        }
        // One of our folders may lie inside the other: the outer goes first.
        trees.sort_by_key(|(path, _)| path.components().count());
        let options = [("size", Some("64k")), ("mode", Some("755"))];
        let root = mount::tmpfs(&options, Attributes::empty()).map_err(ViewError::Mount)?;
        unshare(Namespaces::MOUNT).map_err(system("unshare"))?;
        mount::set_namespace_propagation(Propagation::Private).map_err(ViewError::Mount)?;
        mount::enter_root(root.as_fd()).map_err(ViewError::Mount)?;
        for (path, tree) in &trees {
            let is_file = path == Path::new("/dev/null");
            let target = make_target(path, is_file).map_err(system("make a mount point"))?;
            mount::attach_on(tree.as_fd(), target.as_fd()).map_err(system("attach a mount"))?;
        }
        let own = open_own_namespace().map_err(system("open the new mount namespace"))?;
        Ok(Self { host, host_root, own })
    }

    /// Calls `inside` in the host's namespace.
    ///
    /// # Panics
    /// Where the way home fails, which would leave the keeper in the wrong namespace.
    pub(crate) fn on_host<T>(&self, inside: impl FnOnce() -> T) -> io::Result<T> {
        self.leave()?;
        let result = inside();
        enter_namespace(self.own.as_fd(), Namespaces::MOUNT)
            .expect("a namespace that is held can be entered");
        Ok(result)
    }

    /// Goes to the host's namespace for good.
    pub(crate) fn leave(&self) -> io::Result<()> {
        enter_namespace(self.host.as_fd(), Namespaces::MOUNT)?;
        // The namespace's root need not be what was our root there.
        rustix::process::fchdir(&self.host_root)?;
        rustix::process::chroot(".")?;
        Ok(())
    }
}

fn open_own_namespace() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Makes a folder, or an empty file, with the folders above it; gives it open.
fn make_target(path: &Path, is_file: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut folder = rustix::fs::open("/", flags | OFlags::DIRECTORY, Mode::empty())?;
    let names: Vec<_> = path
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    for (index, name) in names.iter().enumerate() {
        if is_file && index + 1 == names.len() {
            let create = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            openat(&folder, *name, create, Mode::from_raw_mode(0o600))?;
            return Ok(openat(&folder, *name, flags, Mode::empty())?);
        }
        folder = next_folder(folder.as_fd(), name, flags)?;
    }
    Ok(folder)
}

fn next_folder(folder: BorrowedFd<'_>, name: &std::ffi::OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    match mkdirat(folder, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(openat(folder, name, flags | OFlags::DIRECTORY, Mode::empty())?)
}
