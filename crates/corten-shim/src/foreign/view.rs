//! The host's mount namespace as another runtime's program sees it: with the container's root and trees in the bundle.

use super::system;
use crate::control::failure;
use crate::protocol::{Failure, FailureCode, RUNTIME_STATE_NAME};
use crate::start::HostView;
use corten_sys::process::{self, Fork, Namespaces};
use corten_sys::{mount, socket};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

impl HostView {
    /// Goes there, in a process that has nothing to lose.
    pub(super) fn enter(&self) -> io::Result<()> {
        process::enter_namespace(self.namespace.as_fd(), Namespaces::MOUNT)?;
        // The namespace's root need not be what is the root there for the daemon.
        rustix::process::fchdir(&self.root)?;
        rustix::process::chroot(".")?;
        Ok(())
    }

    /// A copy of this namespace in which the container's root and trees are attached in the bundle.
    pub(super) fn with_mounts(
        &self,
        bundle: &Path,
        root: &OwnedFd,
        trees: &[(usize, OwnedFd)],
        mapped: bool,
    ) -> Result<Self, Failure> {
        let told = |error: io::Error| system("make a mount namespace for the runtime", &error);
        let (ours, theirs) = socket::seqpacket_pair().map_err(told)?;
        match process::fork().map_err(told)? {
            Fork::Child => {
                let outcome = self.mount_inside(bundle, root, trees, mapped);
                let sent = match &outcome {
                    Ok((namespace, root)) => {
                        socket::send_with_fds(&theirs, b"+", &[namespace.as_fd(), root.as_fd()])
                    }
                    Err(text) => socket::send_with_fds(&theirs, text.as_bytes(), &[]),
                };
                process::exit_now(i32::from(sent.is_err()))
            }
            Fork::Parent(child) => {
                drop(theirs);
                let mut buffer = vec![0; 4096];
                let received = socket::receive_with_fds(&ours, &mut buffer);
                let _ = process::wait(child.pid);
                let (count, descriptors) = received.map_err(told)?;
                let mut descriptors = descriptors.into_iter();
                match (descriptors.next(), descriptors.next()) {
                    (Some(namespace), Some(root)) => Ok(Self { namespace, root }),
                    _ => Err(failure(
                        FailureCode::System,
                        format!(
                            "cannot make a mount namespace for the runtime: {}",
                            String::from_utf8_lossy(&buffer[..count])
                        ),
                    )),
                }
            }
        }
    }

    fn mount_inside(
        &self,
        bundle: &Path,
        root: &OwnedFd,
        trees: &[(usize, OwnedFd)],
        mapped: bool,
    ) -> Result<(OwnedFd, OwnedFd), String> {
        let plain = |error: io::Error| error.to_string();
        self.enter().map_err(plain)?;
        process::unshare(Namespaces::MOUNT).map_err(plain)?;
        let mounts = |error: mount::MountError| corten_std::chain(&error);
        // What is mounted on the host later is seen here, as a runtime started by hand would see it; not the other way.
        mount::set_namespace_propagation(mount::Propagation::Slave).map_err(mounts)?;
        if mapped {
            open_way(bundle)?;
        }
        mount::attach(root.as_fd(), bundle.join("rootfs")).map_err(mounts)?;
        for (index, tree) in trees {
            mount::attach(tree.as_fd(), place(bundle, *index)).map_err(mounts)?;
        }
        let open = |path: &str, flags: OFlags| {
            rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| plain(error.into()))
        };
        Ok((open("/proc/self/ns/mnt", OFlags::RDONLY)?, open("/", OFlags::PATH | OFlags::DIRECTORY)?))
    }
}

/// Other runtimes walk to the root as root of the container's user namespace, which the run folder is closed to: in this
/// mount namespace it is covered by a folder with nothing but the bundle and the runtime's state.
fn open_way(bundle: &Path) -> Result<(), String> {
    let told = |error: mount::MountError| corten_std::chain(&error);
    let plain = |error: io::Error| error.to_string();
    let none = || "the run folder has no parent".to_owned();
    let run_dir = bundle.parent().ok_or_else(none)?;
    let folder = run_dir.parent().ok_or_else(none)?;
    let places = [bundle.to_owned(), run_dir.join(RUNTIME_STATE_NAME)];
    let mut trees = Vec::new();
    for place in &places {
        trees.push(mount::clone_tree(place, false).map_err(told)?);
    }
    let options = [("mode", Some("711")), ("size", Some("64k"))];
    let cover = mount::tmpfs(&options, mount::Attributes::empty()).map_err(told)?;
    mount::attach(cover.as_fd(), folder).map_err(told)?;
    std::fs::create_dir(run_dir).map_err(plain)?;
    std::fs::set_permissions(run_dir, std::fs::Permissions::from_mode(0o711)).map_err(plain)?;
    for (place, tree) in places.iter().zip(trees) {
        std::fs::create_dir(place).map_err(plain)?;
        mount::attach(tree.as_fd(), place).map_err(told)?;
    }
    Ok(())
}

/// Where a tree is attached in the bundle.
pub(super) fn place(bundle: &Path, index: usize) -> PathBuf {
    bundle.join("mounts").join(index.to_string())
}

pub(super) fn make_place(bundle: &Path, index: usize, tree: &OwnedFd) -> io::Result<()> {
    let place = place(bundle, index);
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode);
    if kind == rustix::fs::FileType::Directory {
        std::fs::create_dir(place)
    } else {
        std::fs::File::create(place).map(drop)
    }
}
