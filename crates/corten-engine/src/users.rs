//! Containers in user namespaces (`--userns-remap`): root in there is nobody on the host.
//!
//! The disk keeps the ids that containers see, whoever they are for the host, so that commit, diff, export and a
//! container with `--userns=host` need no other copy of anything. What a container gets from our folders is shown to
//! it through mounts that map ids: layers and volumes, and its `/etc/hosts` and others.
//!
//! ```text
//! disk: 0 ──(id-mapped mount)──▶ host: 100000 ──(user namespace)──▶ container: 0
//! ```

mod ranges;

pub use ranges::{DEFAULT_USER, HostFiles, Range, Remap, RemapError, parse as parse_ranges, remap};

use crate::container::record::Record;
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use corten_layer::{IdRange, OwnerMapping};
use corten_oci::runtime::LinuxIdMapping;
use corten_sys::mount::{self, MountError, OverlayMount, Propagation};
use corten_sys::process::{self, Namespaces};
use corten_sys::user_namespace;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// What an id-mapped mount asks of the host.
const NEEDS: &str = "its filesystem cannot show files under other ids (ext4, xfs, btrfs and tmpfs can, overlayfs and \
                     network filesystems cannot)";

/// The maps of the daemon's containers, and the namespace that mounts are mapped by.
#[derive(Debug)]
pub struct MappedUsers {
    remap: Remap,
    /// Has the maps, and no process.
    namespace: OwnedFd,
    /// Has them the other way round: for what the host has, as a container sees it.
    inverse: OwnedFd,
    /// The folder of all layers.
    layers: PathBuf,
    /// The same as a detached mount that maps ids.
    mapped_layers: OwnedFd,
    /// The kernel takes no layers that are not attached; it complains in its log each time.
    attaches: AtomicBool,
}

impl MappedUsers {
    /// Prepares the folder of all layers, which exists. The namespaces have the maps of `remap` and of
    /// [`Remap::inverse`].
    ///
    /// # Errors
    /// Where its filesystem, or the kernel, maps no ids.
    pub fn new(remap: Remap, namespace: OwnedFd, inverse: OwnedFd, layers: PathBuf) -> Result<Self> {
        let mapped_layers = mapped(&layers, namespace.as_fd(), false).map_err(|error| {
            EngineError::from_error(
                &format!("--userns-remap: the layers in `{}` cannot be mapped; {NEEDS}", layers.display()),
                error,
            )
        })?;
        Ok(Self { remap, namespace, inverse, layers, mapped_layers, attaches: AtomicBool::new(false) })
    }

    /// The maps.
    pub fn remap(&self) -> &Remap {
        &self.remap
    }

    /// Who a container's root is on the host.
    pub(crate) fn root(&self) -> (u32, u32) {
        let first = |map: &[LinuxIdMapping]| map.first().map_or(0, |range| range.host_id);
        (first(&self.remap.uids), first(&self.remap.gids))
    }

    /// From a container's owners to the host's.
    pub(crate) fn owner(&self) -> OwnerMapping {
        let ranges = |map: &[LinuxIdMapping]| {
            let line = |range: &LinuxIdMapping| IdRange {
                container: range.container_id,
                host: range.host_id,
                length: range.size,
            };
            map.iter().map(line).collect()
        };
        OwnerMapping::Ranges { uids: ranges(&self.remap.uids), gids: ranges(&self.remap.gids) }
    }

    /// Shows a detached tree of ours to containers as theirs.
    pub(crate) fn map(&self, tree: BorrowedFd<'_>, recursive: bool, place: &str) -> Result<()> {
        mount::set_id_mapping(tree, self.namespace.as_fd(), recursive).map_err(|error| {
            let context =
                format!("the mount at {place} cannot be shown to a container in a user namespace; {NEEDS}");
            EngineError::from_error(&context, error)
        })
    }

    /// Shows a detached tree of the host to us as containers see it. A filesystem that cannot do that is shown as it is.
    pub(crate) fn show_inside(&self, tree: BorrowedFd<'_>) {
        let _ = mount::set_id_mapping(tree, self.inverse.as_fd(), false);
    }

    /// Makes files as a container's root does: as nobody else they cannot be made through a mount that maps ids.
    pub(crate) fn as_root<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let (uid, gid) = self.root();
        as_owner(uid, gid, work)
    }

    /// An overlay of our layers that shows them as the containers' own.
    pub(crate) fn overlay(&self, overlay: &OverlayMount<'_>) -> std::result::Result<OwnedFd, MountError> {
        if !self.attaches.load(Ordering::Relaxed) {
            match self.overlay_of_detached(overlay) {
                // Before Linux 6.15 layers must be attached somewhere.
                Some(Err(error)) if is_invalid(&error) => self.attaches.store(true, Ordering::Relaxed),
                Some(made) => return made,
                None => {}
            }
        }
        let layers = [(self.layers.as_path(), self.layers.as_path())];
        self.with_mapped(&layers, || mount::overlay(overlay))
    }

    /// None where a layer is not in our folder.
    fn overlay_of_detached(
        &self,
        overlay: &OverlayMount<'_>,
    ) -> Option<std::result::Result<OwnedFd, MountError>> {
        let inside = |path: &Path| path.strip_prefix(&self.layers).ok().map(Path::to_owned);
        let lowers: Vec<PathBuf> = overlay.lowers.iter().map(|path| inside(path)).collect::<Option<_>>()?;
        let upper = overlay.upper.map(|path| inside(path).ok_or(())).transpose().ok()?;
        let work = overlay.work.map(|path| inside(path).ok_or(())).transpose().ok()?;
        let (uid, gid) = self.root();
        let made = user_namespace::with_file_owner(uid, gid, || {
            mount::overlay(&OverlayMount {
                base: Some(self.mapped_layers.as_fd()),
                lowers: &lowers,
                upper: upper.as_deref(),
                work: work.as_deref(),
                ..overlay.clone()
            })
        });
        Some(made.unwrap_or_else(|error| Err(MountError::new("mount", "overlay", error))))
    }

    /// Does something in a mount namespace of its own, as a container's root, with folders attached at places there
    /// that show their files as the containers' own.
    pub(crate) fn with_mapped<T: Send>(
        &self,
        folders: &[(&Path, &Path)],
        work: impl FnOnce() -> std::result::Result<T, MountError> + Send,
    ) -> std::result::Result<T, MountError> {
        let (uid, gid) = self.root();
        let failed = |error: std::io::Error| MountError::new("map the ids of", "layers", error);
        let inside = || {
            process::unshare(Namespaces::MOUNT).map_err(failed)?;
            mount::set_namespace_propagation(Propagation::Private)?;
            for (folder, place) in folders {
                let tree = mapped(folder, self.namespace.as_fd(), false)?;
                mount::attach(tree.as_fd(), place)?;
            }
            user_namespace::with_file_owner(uid, gid, work).map_err(failed)?
        };
        // The namespace is the thread's, so the thread is one that nobody uses again.
        std::thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|_| Err(failed(std::io::Error::other("the thread broke off"))))
    }
}

/// A detached copy of a folder that shows its files under the ids of a namespace.
fn mapped(
    folder: &Path,
    namespace: BorrowedFd<'_>,
    recursive: bool,
) -> std::result::Result<OwnedFd, MountError> {
    let tree = mount::clone_tree(folder, recursive)?;
    mount::set_id_mapping(tree.as_fd(), namespace, recursive)
        .map_err(|error| MountError::new("map the ids of", folder.display().to_string(), error))?;
    Ok(tree)
}

fn is_invalid(error: &MountError) -> bool {
    error.source.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error())
}

/// Makes files as somebody else does.
pub(crate) fn as_owner<T>(uid: u32, gid: u32, work: impl FnOnce() -> Result<T>) -> Result<T> {
    user_namespace::with_file_owner(uid, gid, work)
        .map_err(|error| EngineError::from_error("making files for a container in a user namespace", error))?
}

/// The maps that a container starts with; none where it is in the host's user namespace.
pub(crate) fn of<'engine>(engine: &'engine EngineInner, record: &Record) -> Option<&'engine MappedUsers> {
    engine.settings.users.as_deref().filter(|_| record.host_config.userns_mode != "host")
}

/// The user namespace of a process; none where it is the host's.
pub(crate) fn of_process(pid: i32) -> std::io::Result<Option<OwnedFd>> {
    other_than_ours(std::fs::File::open(format!("/proc/{pid}/ns/user"))?.into())
}

/// The user namespace that a network namespace belongs to; none where it is the host's.
pub(crate) fn of_network(namespace: BorrowedFd<'_>) -> std::io::Result<Option<OwnedFd>> {
    other_than_ours(user_namespace::owner_of(namespace)?)
}

fn other_than_ours(users: OwnedFd) -> std::io::Result<Option<OwnedFd>> {
    let own = std::fs::File::open("/proc/self/ns/user")?;
    Ok(if user_namespace::is_same(users.as_fd(), own.as_fd())? { None } else { Some(users) })
}

/// How a running process sees the owners of files.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// From archives to files, and back.
    pub(crate) owner: OwnerMapping,
    /// Who makes files; none: who we are.
    pub(crate) root: Option<(u32, u32)>,
}

impl Sight {
    /// By the maps of a process, as `/proc` shows them.
    pub(crate) fn of_maps(uid_map: &str, gid_map: &str) -> Self {
        let (uids, gids) = (read_map(uid_map), read_map(gid_map));
        let is_whole = |map: &[IdRange]| matches!(map, [IdRange { container: 0, host: 0, length: u32::MAX }]);
        if is_whole(&uids) && is_whole(&gids) {
            return Self { owner: OwnerMapping::Identity, root: None };
        }
        let root = |map: &[IdRange]| map.iter().find(|range| range.container == 0).map(|range| range.host);
        let root = root(&uids).zip(root(&gids));
        Self { owner: OwnerMapping::Seen { uids, gids }, root }
    }

    /// Who somebody inside is on the host; none where nobody is.
    pub(crate) fn on_host(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        self.owner.on_disk(uid, gid).ok()
    }
}

fn read_map(text: &str) -> Vec<IdRange> {
    let ranges = text.lines().filter_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(IdRange { container: next()?, host: next()?, length: next()? })
    });
    ranges.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_sees_owners_as_they_are() {
        let whole = "         0          0 4294967295\n";
        assert!(matches!(Sight::of_maps(whole, whole), Sight { owner: OwnerMapping::Identity, root: None }));
        let sight = Sight::of_maps("0 100000 65536\n", "0 200000 10\n10 5 1\n");
        assert_eq!(sight.root, Some((100_000, 200_000)));
        assert_eq!(sight.on_host(7, 10), Some((100_007, 5)));
        assert_eq!(sight.on_host(7, 11), None);
        let OwnerMapping::Seen { gids, .. } = sight.owner else { panic!("{sight:?}") };
        assert_eq!(gids[1], IdRange { container: 10, host: 5, length: 1 });
    }
}
