//! Files of a container in and out: `cp`, `export`, `diff`.
//!
//! A running container is seen as its own first process sees it. A stopped one gets its root mounted for the moment,
//! detached; where it has volumes or binds, in a mount namespace of its own that ends with the operation. Either way
//! the paths are walked by `corten-layer`, which never leaves that root.

mod below;
mod layer;

use below::{mounts_below, with_mounts};
pub(crate) use layer::WritableLayer;

use crate::Engine;
use crate::container::handle::{Handle, View};
use crate::container::record::Record;
use crate::container::state::Phase;
use crate::container::{files, rootfs};
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use crate::users::{Sight, as_owner};
use crate::volume::blocking;
use corten_api::container::{FilesystemChange, PathStat};
use corten_layer::{
    ChangeKind, LayerError, OwnerMapping, PackOptions, TopName, UnpackOptions, decompress, pack,
    resolve_in_root, stat_in_root, unpack,
};
use corten_oci::runtime::User;
use corten_runtime::user;
use corten_std::ErrorClass;
use corten_store::{Mounts, SnapshotKey};
use corten_sys::mount::{self, OverlayMount};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How files are put into a container.
#[derive(Clone, Copy, Debug, Default)]
pub struct PutOptions {
    /// Refuse to replace a folder by something else, or the reverse.
    pub no_overwrite_dir_non_dir: bool,
    /// Everything belongs to the container's user afterwards; without a user in its configuration, to whom the
    /// archive says.
    pub copy_uid_gid: bool,
}

/// What a root is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Read,
    Write,
}

/// A container's root for one operation.
struct RootView {
    root: OwnedFd,
    /// How owners are seen there.
    sight: Sight,
    /// Keeps the mounts below the root where they were made for this operation.
    _namespace: Option<OwnedFd>,
}

impl Engine {
    /// `HEAD /containers/{}/archive`: what `path` is in the container, a link at its end not followed.
    pub async fn archive_stat(&self, reference: &str, path: &str) -> Result<PathStat> {
        let (engine, reference, path) = (self.clone(), reference.to_owned(), path.to_owned());
        blocking(move || {
            let handle = engine.find(&reference)?;
            let (root, _) = open(&engine.inner, &handle, &path, Purpose::Read)?;
            let stat = stat_in_root(root.root.as_fd(), Path::new(&path))
                .map_err(|error| path_failed(error, &path, &reference))?;
            Ok(PathStat {
                name: stat.name,
                size: i64::try_from(stat.size).unwrap_or(i64::MAX),
                mode: stat.mode,
                mtime: stat.mtime.to_string(),
                link_target: stat.link_target,
            })
        })
        .await
    }

    /// `GET /containers/{}/archive`: writes `path`, with all that is below it, as a tar. Blocking.
    pub fn archive_get(&self, reference: &str, path: &str, out: &mut dyn Write) -> Result<()> {
        let handle = self.find(reference)?;
        let (root, view) = open(&self.inner, &handle, path, Purpose::Read)?;
        let options = PackOptions { owner: root.sight.owner.clone(), ..PackOptions::default() };
        pack(root.root.as_fd(), Path::new(path), out, &options)
            .map_err(|error| path_failed(error, path, reference))?;
        self.tell_of(&view.record, "archive-path");
        Ok(())
    }

    /// `PUT /containers/{}/archive`: unpacks a tar, plain or compressed, into the folder `path`. Blocking. What was
    /// unpacked before a failure stays.
    pub fn archive_put(
        &self,
        reference: &str,
        path: &str,
        tar: impl Read + Send,
        options: &PutOptions,
    ) -> Result<()> {
        let handle = self.find(reference)?;
        let (root, view) = open(&self.inner, &handle, path, Purpose::Write)?;
        let fd = root.root.as_fd();
        let resolved =
            resolve_in_root(fd, Path::new(path)).map_err(|error| path_failed(error, path, reference))?;
        let inside = resolved.strip_prefix("/").unwrap_or(&resolved);
        let about = stat_in_root(fd, &resolved).map_err(|error| path_failed(error, path, reference))?;
        if about.mode & (1 << 31) == 0 {
            return Err(EngineError::invalid("extraction point is not a directory"));
        }
        check_writable(&view.record, &resolved)?;
        let owner = match view.record.config.user.as_str() {
            "" => root.sight.owner.clone(),
            _ if !options.copy_uid_gid => root.sight.owner.clone(),
            name => owner_of(fd, name, &root.sight)?,
        };
        let unpack_options =
            UnpackOptions { owner, no_overwrite_dir_non_dir: options.no_overwrite_dir_non_dir };
        let tar = decompress(tar).map_err(|error| EngineError::because("", error))?;
        let work =
            || unpack(tar, fd, inside, &unpack_options).map_err(|error| EngineError::because("", error));
        match root.sight.root {
            None => work()?,
            Some((uid, gid)) => as_owner(uid, gid, work)?,
        };
        self.tell_of(&view.record, "extract-to-dir");
        Ok(())
    }

    /// `GET /containers/{}/export`: writes the container's own files, without what is mounted over them, as a tar.
    /// Blocking.
    pub fn archive_export(&self, reference: &str, out: &mut dyn Write) -> Result<()> {
        let view = self.find(reference)?.view();
        check_there(&view)?;
        let root = match &view.record.snapshot {
            Some(key) => read_only(&self.inner, key)?,
            None if view.phase().has_process() => {
                return Err(EngineError::not_implemented(
                    "exporting a running container over a plain folder is not supported; stop it first",
                ));
            }
            None => rootfs::mount(&self.inner, &view.record, None)?,
        };
        let options = PackOptions { top: TopName::Omitted, ..PackOptions::default() };
        pack(root.as_fd(), Path::new("/"), out, &options)
            .map_err(|error| EngineError::because("exporting the container", error))?;
        self.tell_of(&view.record, "export");
        Ok(())
    }

    /// Fails where the container cannot be exported: what a caller asks before it begins an answer.
    pub fn archive_export_check(&self, reference: &str) -> Result<()> {
        check_there(&self.find(reference)?.view())
    }

    /// `GET /containers/{}/changes`: what the container changed over its image.
    pub async fn archive_changes(&self, reference: &str) -> Result<Vec<FilesystemChange>> {
        let (engine, reference) = (self.clone(), reference.to_owned());
        blocking(move || {
            let view = engine.find(&reference)?.view();
            check_there(&view)?;
            let Some(key) = &view.record.snapshot else {
                return Err(EngineError::not_implemented(
                    "a container over a plain folder has no list of changes",
                ));
            };
            let layer = WritableLayer::open(&engine.inner, &view.record, key)?;
            Ok(layer
                .changes
                .into_iter()
                .map(|(path, kind)| FilesystemChange { kind: kind as u8, path })
                .collect())
        })
        .await
    }

    fn tell_of(&self, record: &Record, action: &str) {
        self.inner.events.publish("container", action, &record.id, record.event_attributes());
    }
}

fn check_there(view: &View) -> Result<()> {
    match view.phase() {
        Phase::Removing | Phase::Removed | Phase::Dead => {
            Err(EngineError::conflict(format!("container {} is marked for removal", view.record.id)))
        }
        _ => Ok(()),
    }
}

/// Opens the container's root as it is now, and gives the container as it was then. `path` decides how much must be mounted.
fn open(
    engine: &EngineInner,
    handle: &Handle,
    path: &str,
    purpose: Purpose,
) -> Result<(RootView, Arc<View>)> {
    let view = settled(handle)?;
    let record = &view.record;
    if view.phase().has_process() {
        let (root, sight) = process_view(view.life.pid, &record.id).ok_or_else(|| {
            EngineError::new(
                ErrorClass::Unavailable,
                format!("the files of container {} cannot be reached", record.id),
            )
        })?;
        return Ok((RootView { root, sight, _namespace: None }, view));
    }
    // Held until what is below the root is mounted: from then on the volumes' mounts have a copy in this operation's own.
    let user = format!("copy-{}", corten_std::id::random_id());
    let _uses: Vec<_> =
        record.volumes().map(|name| engine.volumes.use_for(name, &user)).collect::<Result<_>>()?;
    let below = mounts_below(engine, record, path);
    let root = match &record.snapshot {
        Some(key) if purpose == Purpose::Read && below.is_empty() => read_only(engine, key)?,
        _ => rootfs::mount(engine, record, None)?,
    };
    let root = if below.is_empty() {
        RootView { root, sight: Sight::default(), _namespace: None }
    } else {
        with_mounts(root, &below, &engine.settings.paths.running())?
    };
    Ok((root, view))
}

/// The container once it is known whether it runs: an end that is not heard of yet is waited for.
fn settled(handle: &Handle) -> Result<Arc<View>> {
    const STEP: Duration = Duration::from_millis(20);
    for _ in 0..50 {
        let view = handle.view();
        check_there(&view)?;
        if !view.phase().has_process() || process_root(view.life.pid, &view.record.id).is_some() {
            return Ok(view);
        }
        std::thread::sleep(STEP);
    }
    Ok(handle.view())
}

/// The root of a running container. The number may have gone to another process meanwhile, so the process must be in the
/// container's cgroup; everything is asked through one open folder of `/proc`, which answers for that process only.
pub(crate) fn process_root(pid: i32, id: &str) -> Option<OwnedFd> {
    process_view(pid, id).map(|(root, _)| root)
}

/// The same with how owners are seen there.
fn process_view(pid: i32, id: &str) -> Option<(OwnedFd, Sight)> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let process = rustix::fs::open(format!("/proc/{pid}"), folder, Mode::empty()).ok()?;
    let text_of = |name: &str| {
        let file =
            rustix::fs::openat(&process, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut text = String::new();
        std::fs::File::from(file).take(64 * 1024).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let cgroup = text_of("cgroup")?;
    if !cgroup.lines().any(|line| line.split('/').any(|part| part == id)) {
        return None;
    }
    // A kernel without user namespaces has no maps.
    let sight = match (text_of("uid_map"), text_of("gid_map")) {
        (Some(uids), Some(gids)) => Sight::of_maps(&uids, &gids),
        _ => Sight::default(),
    };
    Some((rustix::fs::openat(&process, "root", folder, Mode::empty()).ok()?, sight))
}

/// The container's layers as one tree that cannot be written to. Works beside a mount of the same layers.
fn read_only(engine: &EngineInner, key: &str) -> Result<OwnedFd> {
    let failed = |error| EngineError::from_error("mounting the root", error);
    let lowers = match mounts_of(engine, key)? {
        Mounts::Overlay { mut lowers, upper, .. } => {
            lowers.insert(0, upper);
            lowers
        }
        Mounts::ReadOnly { lowers } => lowers,
        Mounts::Plain(folder) => return mount::clone_tree(folder, false).map_err(failed),
    };
    mount::overlay(&OverlayMount {
        base: None,
        lowers: &lowers,
        upper: None,
        work: None,
        volatile: false,
        userxattr: false,
        read_only: true,
        label: None,
    })
    .map_err(failed)
}

fn mounts_of(engine: &EngineInner, key: &str) -> Result<Mounts> {
    let key = SnapshotKey::new(key).map_err(|error| EngineError::because("", error))?;
    engine.store.snapshots().mounts(&key).map_err(|error| EngineError::because("looking up the root", error))
}

/// Refuses what Docker refuses: a root or a volume that was asked for as read-only.
fn check_writable(record: &Record, resolved: &Path) -> Result<()> {
    let over = record
        .mounts
        .iter()
        .filter(|mounted| resolved.starts_with(&mounted.destination))
        .max_by_key(|mounted| mounted.destination.len());
    match over {
        Some(mounted) if mounted.read_only => Err(EngineError::invalid("mounted volume is marked read-only")),
        Some(_) => Ok(()),
        None if record.host_config.readonly_rootfs => {
            Err(EngineError::invalid("container rootfs is marked read-only"))
        }
        None => Ok(()),
    }
}

/// The container's user by its own files, as the owner of everything.
fn owner_of(root: BorrowedFd<'_>, name: &str, sight: &Sight) -> Result<OwnerMapping> {
    let wanted = User { username: Some(name.to_owned()), ..User::default() };
    let user = user::resolve(&wanted, &read_inside(root, "etc/passwd"), &read_inside(root, "etc/group"))
        .map_err(|error| EngineError::invalid(error.to_string()))?;
    let (uid, gid) = sight.on_host(user.uid, user.gid).ok_or_else(|| {
        EngineError::invalid(format!("user {name} has no number in the container's user namespace"))
    })?;
    Ok(OwnerMapping::Fixed { uid, gid })
}

/// A small file of the container; nothing where there is none.
fn read_inside(root: BorrowedFd<'_>, path: &str) -> Vec<u8> {
    const LARGEST: u64 = 1024 * 1024;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut content = Vec::new();
    // Looked at before it is opened: it may be a node of a device of the host.
    let place = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(place) = rustix::fs::openat2(root, path, place, Mode::empty(), inside) else { return content };
    let regular = rustix::fs::fstat(&place)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    if !regular {
        return content;
    }
    let Ok(file) = std::fs::File::open(mount::descriptor_path(place.as_fd())) else { return content };
    if file.take(LARGEST).read_to_end(&mut content).is_err() {
        content.clear();
    }
    content
}

/// Docker's text for a path that is not there; anything else as it is.
fn path_failed(error: LayerError, path: &str, reference: &str) -> EngineError {
    match error.io_kind() {
        Some(std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            EngineError::not_found(format!("Could not find the file {path} in container {reference}"))
        }
        _ => EngineError::because("", error),
    }
}

/// Leaves out what a start adds by itself: places for mounts, and the folders that count as changed only because of those.
fn without_mount_points(changes: Vec<(String, ChangeKind)>, record: &Record) -> Vec<(String, ChangeKind)> {
    const OWN: [&str; 9] = [
        "/.dockerenv",
        "/dev",
        "/dev/console",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/proc",
        "/sys",
        "/etc/mtab",
    ];
    let is_own = |path: &str| {
        OWN.contains(&path)
            || files::FILES.iter().any(|(_, destination)| *destination == path)
            || record.mounts.iter().any(|mounted| Path::new(&mounted.destination).starts_with(path))
    };
    let (dropped, kept): (Vec<_>, Vec<_>) =
        changes.into_iter().partition(|(path, kind)| *kind == ChangeKind::Added && is_own(path));
    let because_of_dropped = |folder: &str| {
        let inside = |path: &str| Path::new(path) != Path::new(folder) && Path::new(path).starts_with(folder);
        dropped.iter().any(|(path, _)| inside(path)) && !kept.iter().any(|(path, _)| inside(path))
    };
    kept.iter()
        .filter(|(path, kind)| *kind != ChangeKind::Modified || !because_of_dropped(path))
        .cloned()
        .collect()
}

/// A typed path by its text alone, absolute, without `.` and `..`.
fn lexical(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::below::Below;
    use super::*;
    use crate::container::record::{MountKind, Mounted, tests_support};
    use corten_layer::tar::{Entry, Writer};

    #[test]
    fn what_a_start_adds_is_no_change() {
        let record = tests_support::record("a", "b");
        let changes = [
            ("/.dockerenv", ChangeKind::Added),
            ("/dev", ChangeKind::Added),
            ("/dev/console", ChangeKind::Added),
            ("/etc", ChangeKind::Modified),
            ("/etc/hosts", ChangeKind::Added),
            ("/root", ChangeKind::Modified),
            ("/root/f", ChangeKind::Added),
            ("/var", ChangeKind::Modified),
            ("/var/gone", ChangeKind::Deleted),
        ];
        let changes = changes.map(|(path, kind)| (path.to_owned(), kind)).to_vec();
        let left: Vec<_> = without_mount_points(changes, &record).into_iter().map(|(path, _)| path).collect();
        assert_eq!(left, ["/root", "/root/f", "/var", "/var/gone"]);
    }

    #[test]
    fn read_only_places_are_refused_as_docker_does() {
        let mut record = tests_support::record("a", "b");
        record.host_config.readonly_rootfs = true;
        record.mounts.push(Mounted {
            kind: MountKind::Tmpfs { options: String::new() },
            destination: "/run".to_owned(),
            read_only: false,
            propagation: String::new(),
            mode: String::new(),
            recursive: false,
            read_only_depth: crate::container::record::ReadOnlyDepth::Top,
        });
        let text = |path: &str| check_writable(&record, Path::new(path)).err().map(|error| error.to_string());
        assert_eq!(text("/tmp").as_deref(), Some("container rootfs is marked read-only"));
        assert_eq!(text("/run/x"), None);
        assert_eq!(text("/runner").as_deref(), Some("container rootfs is marked read-only"));
        record.mounts[0].read_only = true;
        let text = check_writable(&record, Path::new("/run")).unwrap_err().to_string();
        assert_eq!(text, "mounted volume is marked read-only");
    }

    #[test]
    fn typed_paths_are_cleaned_by_their_text() {
        for (path, clean) in [("etc/", "/etc"), ("/../etc/./x/..", "/etc"), ("", "/"), (".", "/")] {
            assert_eq!(lexical(path), Path::new(clean));
        }
    }

    #[test]
    fn volumes_of_a_stopped_container_are_seen_and_nowhere_else() {
        if !corten_testing::need_root() {
            return;
        }
        let scratch = corten_testing::Scratch::new("volumes");
        let (volume, place) = (scratch.path().join("volume"), scratch.path().join("place"));
        std::fs::create_dir(&volume).unwrap();
        std::fs::write(volume.join("f"), "in the volume").unwrap();
        // Both where it would be and what it would be of are below the scratch folder; the rest is other people's.
        let host_mounts = || {
            let all = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            let own = scratch.path().display().to_string();
            all.lines().filter(|line| line.contains(&own)).map(str::to_owned).collect::<Vec<_>>()
        };
        let below = |destination: &str, read_only| Below {
            source: volume.clone(),
            part: None,
            destination: destination.to_owned(),
            read_only,
            recursive: true,
            users: None,
        };
        let root = mount::tmpfs(&[], corten_sys::mount::Attributes::empty()).unwrap();
        let view = with_mounts(root, &[below("/data/deep", false), below("/fixed", true)], &place).unwrap();
        assert_eq!(stat_in_root(view.root.as_fd(), Path::new("/data/deep/f")).unwrap().size, 13);
        let mut writer = Writer::new(Vec::new());
        writer.append(&Entry { path: b"new".to_vec(), ..Entry::default() }, b"").unwrap();
        let tar = writer.finish().unwrap();
        let options = UnpackOptions::default();
        unpack(tar.as_slice(), view.root.as_fd(), Path::new("/data/deep"), &options).unwrap();
        assert!(volume.join("new").exists());
        assert!(unpack(tar.as_slice(), view.root.as_fd(), Path::new("/fixed"), &options).is_err());
        assert_eq!(host_mounts(), Vec::<String>::new());
        drop(view);
        assert!(volume.join("f").exists());
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
        // What a container put into its volume does not lead to the host.
        std::os::unix::fs::symlink("/etc", volume.join("part")).unwrap();
        let root = mount::tmpfs(&[], corten_sys::mount::Attributes::empty()).unwrap();
        let part = Below { part: Some(("part".to_owned(), "v".to_owned())), ..below("/data", false) };
        assert!(with_mounts(root, &[part], &place).is_err());
    }

    #[test]
    fn a_foreign_process_is_not_a_container() {
        assert!(process_root(std::process::id() as i32, "no-such-container").is_none());
        assert!(process_root(i32::MAX, "x").is_none());
    }
}
