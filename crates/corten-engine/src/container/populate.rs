//! Filling volumes from the image: an empty volume gets what the image has at its place, once.

use crate::container::handle::Handle;
use crate::container::record::{MountKind, Mounted};
use crate::container::rootfs;
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use corten_api::container::HostConfig;
use corten_layer::{OwnerMapping, PackOptions, UnpackOptions};
use corten_std::file;
use corten_store::SnapshotKey;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, PoisonError};

/// Fills every volume of a new container that is empty and to be filled. Durably, but for those without a name of a
/// container that is removed when it ends. A volume that could not be filled is empty again,
/// unless another container has it.
pub(super) fn fill_volumes(
    engine: &EngineInner,
    snapshot: &SnapshotKey,
    mounts: &[Mounted],
    host: &HostConfig,
) -> Result<()> {
    let users = engine.settings.users.as_deref().filter(|_| host.userns_mode != "host");
    let mut root: Option<OwnedFd> = None;
    for mounted in mounts {
        let MountKind::Volume { name, source, copy: true, anonymous, .. } = &mounted.kind else { continue };
        let failed = |error| EngineError::from_error(&format!("filling volume {name} from the image"), error);
        let root = match &mut root {
            Some(root) => root,
            None => root.insert(rootfs::mount_snapshot(engine, snapshot.as_str(), true, None, None)?),
        };
        let Some(folder) = folder_in(root.as_fd(), &mounted.destination).map_err(failed)? else {
            continue;
        };
        let lock = engine.volumes.fill_lock(name);
        let _filling = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _in_use = engine.volumes.use_for(name, &format!("fill-{snapshot}"))?;
        if !file::list(source)?.is_empty() {
            continue;
        }
        let durable = !(host.auto_remove && *anonymous);
        // A folder of ours has the ids of containers; what is mounted from elsewhere those of the host.
        let owner = match users {
            Some(users) if !engine.volumes.is_folder(name) => users.owner(),
            _ => OwnerMapping::Identity,
        };
        let filled = fill(&folder, source, owner).and_then(|()| if durable { sync(source) } else { Ok(()) });
        if let Err(error) = filled {
            let is_anothers =
                |container: &Arc<Handle>| container.view().record.volumes().any(|one| one == name);
            // What is there may be of a container that has the volume already.
            if !engine.containers.all().iter().any(is_anothers) {
                for left in file::list(source)? {
                    file::remove_tree(source.join(left))?;
                }
            }
            return Err(failed(error));
        }
    }
    // The mount has set the mark that a later one, which is not volatile, would be refused for.
    if root.take().is_some()
        && let Ok(corten_store::Mounts::Overlay { work, .. }) = engine.store.snapshots().mounts(snapshot)
    {
        file::remove_tree(work.join("work/incompat"))?;
    }
    Ok(())
}

/// A folder of the image; none where it has nothing there, or something that is no folder.
fn folder_in(root: BorrowedFd<'_>, place: &str) -> std::io::Result<Option<OwnedFd>> {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat2(root, place, flags, Mode::empty(), inside) {
        Ok(folder) => Ok(Some(folder)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn fill(folder: &OwnedFd, volume: &Path, owner: OwnerMapping) -> std::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = rustix::fs::open(volume, flags, Mode::empty())?;
    let about = rustix::fs::fstat(folder)?;
    let (uid, gid) = owner.on_disk(about.st_uid, about.st_gid).map_err(std::io::Error::other)?;
    rustix::fs::fchown(&target, Some(rustix::fs::Uid::from_raw(uid)), Some(rustix::fs::Gid::from_raw(gid)))?;
    rustix::fs::fchmod(&target, Mode::from_raw_mode(about.st_mode & 0o7777))?;
    let (reader, writer) = std::io::pipe()?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(move || {
            let mut writer = std::io::BufWriter::new(writer);
            corten_layer::pack(folder.as_fd(), Path::new("."), &mut writer, &PackOptions::default())
                .map_err(std::io::Error::other)?;
            std::io::Write::flush(&mut writer)
        });
        let options = UnpackOptions { owner, ..UnpackOptions::default() };
        let unpacked = corten_layer::unpack(reader, target.as_fd(), Path::new("/"), &options);
        let packed = packing.join().unwrap_or_else(|_| Err(std::io::Error::other("the copy broke off")));
        unpacked.map_err(std::io::Error::other)?;
        packed
    })
}

/// Writes out what was put into a volume: torn by a power cut it would not be filled again, as it is not empty.
fn sync(volume: &Path) -> std::io::Result<()> {
    let folder = std::fs::File::open(volume)?;
    if std::fs::read_dir(volume)?.next().is_some() {
        rustix::fs::syncfs(&folder)?;
    }
    Ok(())
}
