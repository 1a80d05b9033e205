//! Mounts by descriptor: made detached, changed detached, attached last, so that no path is walked twice.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
pub use rustix::mount::MountAttrFlags as Attributes;
use rustix::mount::{FsMountFlags, FsOpenFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

/// A mount operation that failed: what was tried on what.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{subject}`")]
pub struct MountError {
    /// The verb, as in `mount`, `clone the mount at`.
    pub operation: &'static str,
    /// The path or filesystem it was about, with the option where one was refused.
    pub subject: String,
    /// Why it failed.
    pub source: io::Error,
}

impl MountError {
    /// Joins an operation, its subject and the cause; made for `map_err`.
    pub fn new(operation: &'static str, subject: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { operation, subject: subject.into(), source: source.into() }
    }
}

impl corten_std::Classified for MountError {
    fn class(&self) -> corten_std::ErrorClass {
        match self.source.kind() {
            io::ErrorKind::NotFound => corten_std::ErrorClass::NotFound,
            io::ErrorKind::PermissionDenied => corten_std::ErrorClass::Forbidden,
            _ => corten_std::ErrorClass::System,
        }
    }
}

type Result<T> = std::result::Result<T, MountError>;

/// What a mount shares with its copies in other mount namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Nothing in either direction.
    Private,
    /// Mounts made in the master appear here, not the other way.
    Slave,
    /// Mounts appear in both.
    Shared,
    /// As private, and it cannot be bound elsewhere.
    Unbindable,
}

impl Propagation {
    fn bits(self) -> u64 {
        match self {
            Self::Private => libc::MS_PRIVATE,
            Self::Slave => libc::MS_SLAVE,
            Self::Shared => libc::MS_SHARED,
            Self::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// A change to a mount, or with `recursive` to all below it (`mount_setattr`).
#[derive(Clone, Copy, Debug)]
pub struct AttributeChange {
    /// Switched on.
    pub set: Attributes,
    /// Switched off.
    pub clear: Attributes,
    /// Changed where given.
    pub propagation: Option<Propagation>,
    /// Applies to every mount of the tree.
    pub recursive: bool,
}

impl Default for AttributeChange {
    fn default() -> Self {
        Self { set: Attributes::empty(), clear: Attributes::empty(), propagation: None, recursive: false }
    }
}

impl AttributeChange {
    /// Read-only, this mount alone.
    pub fn read_only() -> Self {
        Self { set: Attributes::MOUNT_ATTR_RDONLY, ..Self::default() }
    }
}

/// `struct mount_attr` of the kernel.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes the mount behind a descriptor (of a detached tree, or opened as a path on an attached one).
pub fn set_attributes(mount: BorrowedFd<'_>, change: &AttributeChange) -> io::Result<()> {
    change_mount(mount, change, None)
}

/// Shows the files of a detached tree (of its top mount alone, or of all of them) under the ids of a user namespace:
/// what the namespace maps from inside to outside is mapped from disk to sight. A mount takes this once, and where
/// its filesystem can do it.
pub fn set_id_mapping(
    mount: BorrowedFd<'_>,
    user_namespace: BorrowedFd<'_>,
    recursive: bool,
) -> io::Result<()> {
    let set = Attributes::from_bits_retain(libc::MOUNT_ATTR_IDMAP as u32);
    let change = AttributeChange { set, recursive, ..AttributeChange::default() };
    change_mount(mount, &change, Some(user_namespace))
}

fn change_mount(
    mount: BorrowedFd<'_>,
    change: &AttributeChange,
    user_namespace: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut clear = u64::from(change.clear.bits());
    let set = u64::from(change.set.bits());
    // The kernel wants the whole field cleared when one of its values is set.
    if set & u64::from(Attributes::MOUNT_ATTR__ATIME.bits()) != 0 {
        clear |= u64::from(Attributes::MOUNT_ATTR__ATIME.bits());
    }
    let attributes = MountAttr {
        attr_set: set,
        attr_clr: clear,
        propagation: change.propagation.map_or(0, Propagation::bits),
        userns_fd: user_namespace.map_or(0, |namespace| namespace.as_raw_fd() as u64),
    };
    let recursive = if change.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the empty path with AT_EMPTY_PATH names the descriptor; the structure is the kernel's, its size
    // is given, and it outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A new filesystem, not attached anywhere. `options` are key and value, or a key alone.
///
/// # Errors
/// Names the option that the kernel refused.
pub fn filesystem(kind: &str, options: &[(&str, Option<&str>)], attributes: Attributes) -> Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|error| MountError::new("open filesystem", kind, error))?;
    for (key, value) in options {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value),
            None => rustix::mount::fsconfig_set_flag(context.as_fd(), *key),
        }
        .map_err(|error| {
            let value = value.map(|value| format!("={value}")).unwrap_or_default();
            MountError::new("set the option of filesystem", format!("{kind}: {key}{value}"), error)
        })?;
    }
    create(context.as_fd(), kind, attributes)
}

fn create(context: BorrowedFd<'_>, kind: &str, attributes: Attributes) -> Result<OwnedFd> {
    rustix::mount::fsconfig_create(context)
        .map_err(|error| MountError::new("create filesystem", kind, error))?;
    rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|error| MountError::new("mount filesystem", kind, error))
}

/// A new tmpfs, not attached. Options as in `mount -t tmpfs -o`: `size=64m`, `mode=1777`, `nr_inodes=…`.
pub fn tmpfs(options: &[(&str, Option<&str>)], attributes: Attributes) -> Result<OwnedFd> {
    filesystem("tmpfs", options, attributes)
}

/// A detached copy of the mount at `path` (of all mounts below it with `recursive`), which can be sent to
/// another process and attached in its mount namespace. Propagation stays as it is at the source.
pub fn clone_tree(path: impl AsRef<Path>, recursive: bool) -> Result<OwnedFd> {
    clone_tree_at(CWD, path.as_ref(), recursive)
}

/// As [`clone_tree`] with the path looked up from an open folder; an empty path names the descriptor itself.
pub fn clone_tree_at(folder: BorrowedFd<'_>, path: &Path, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    rustix::mount::open_tree(folder, path, flags)
        .map_err(|error| MountError::new("clone the mount at", path.display().to_string(), error))
}

/// A detached copy of the mount at a folder in the mount namespace of another process, looked up from the root there
/// without following links, so that what is in that namespace chooses nothing but the folder itself. Works in a thread
/// of its own, as a thread can change its namespace only where it shares its folder with no other.
pub fn clone_tree_of(process: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    let failed = |error: io::Error| MountError::new("clone the mount at", path.display().to_string(), error);
    let work = || -> Result<OwnedFd> {
        // SAFETY: plain call without pointers; it concerns the calling thread alone, which ends after this.
        if unsafe { libc::unshare(libc::CLONE_FS) } != 0 {
            return Err(failed(io::Error::last_os_error()));
        }
        crate::process::enter_process_namespaces(process, crate::process::Namespaces::MOUNT)
            .map_err(failed)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = rustix::fs::ResolveFlags::NO_SYMLINKS;
        let folder = rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve)
            .map_err(|error| failed(error.into()))?;
        clone_tree_at(folder.as_fd(), Path::new(""), false)
    };
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| Err(failed(io::Error::other("the thread broke off"))))
}

/// A read-only detached copy of the file or folder at `path`.
pub fn clone_read_only(path: impl AsRef<Path>) -> Result<OwnedFd> {
    let tree = clone_tree(path.as_ref(), false)?;
    set_attributes(tree.as_fd(), &AttributeChange::read_only()).map_err(|error| {
        MountError::new("make read-only the mount at", path.as_ref().display().to_string(), error)
    })?;
    Ok(tree)
}

/// Attaches a detached tree at a path.
pub fn attach(tree: BorrowedFd<'_>, target: impl AsRef<Path>) -> Result<()> {
    let target = target.as_ref();
    rustix::mount::move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|error| MountError::new("attach a mount at", target.display().to_string(), error))
}

/// Attaches a detached tree on what an open descriptor names: no path is walked.
pub fn attach_on(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, "", target, "", flags)?)
}

/// Detaches the mount at a path at once; it goes away when nobody uses it any more (`MNT_DETACH`).
pub fn detach(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .map_err(|error| MountError::new("unmount", path.display().to_string(), error))
}

/// Changes the propagation of every mount of this namespace.
pub fn set_namespace_propagation(propagation: Propagation) -> Result<()> {
    let root = open_path(Path::new("/"))?;
    let change =
        AttributeChange { propagation: Some(propagation), recursive: true, ..AttributeChange::default() };
    set_attributes(root.as_fd(), &change)
        .map_err(|error| MountError::new("change the propagation of", "/", error))
}

fn open_path(path: &Path) -> Result<OwnedFd> {
    open_path_at(CWD, path)
}

fn open_path_at(folder: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(folder, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| MountError::new("open", path.display().to_string(), error))
}

/// Makes a detached tree the root of the calling process's mount namespace, drops the old root with all its
/// mounts, and goes to `/`. The namespace must be the process's own: old root and copies are gone for all in
/// it.
pub fn enter_root(root: BorrowedFd<'_>) -> Result<()> {
    cover_root(root)?;
    enter_covering_root(root)
}

/// The first half of [`enter_root`]: the tree lies over the root folder, and is not yet the root of anybody.
///
/// # Errors
/// Names the step that failed.
pub fn cover_root(root: BorrowedFd<'_>) -> Result<()> {
    // A tree that was copied from a shared mount is shared too, and such a one is refused as a root (pivot_root(2)).
    let private = AttributeChange { propagation: Some(Propagation::Private), ..AttributeChange::default() };
    set_attributes(root, &private)
        .map_err(|error| MountError::new("make private the new root at", "/", error))?;
    // The tree needs a place in the namespace before it can become its root. That place is the root folder
    // itself: stacked on top of it, so that no folder has to exist anywhere.
    rustix::mount::move_mount(root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|error| MountError::new("attach the new root at", "/", error))
}

/// The second half of [`enter_root`], for a tree that covers the root folder or is attached elsewhere in the namespace.
///
/// # Errors
/// Names the step that failed.
pub fn enter_covering_root(root: BorrowedFd<'_>) -> Result<()> {
    let step = |operation| move |error: Errno| MountError::new(operation, "/", error);
    rustix::process::fchdir(root).map_err(step("go to the new root from"))?;
    // With both names "." the old root ends up stacked over the new one, and is then detached by that name.
    rustix::process::pivot_root(".", ".").map_err(step("pivot into the new root at"))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(step("detach the old root at"))?;
    rustix::process::chdir("/").map_err(step("go to"))
}

/// As [`enter_root`] where the old root cannot be pivoted away (it is the kernel's first one): it stays below the new
/// one, out of sight, but not out of reach for somebody with every privilege. `/proc` and `/sys` are detached from it
/// first, so that nothing hidden there is seen in full through it.
pub fn enter_root_by_chroot(root: BorrowedFd<'_>) -> Result<()> {
    let step = |operation| move |error: Errno| MountError::new(operation, "/", error);
    for place in ["/proc", "/sys"] {
        // Not a mount, or not there: nothing to detach.
        let _ = detach(place);
    }
    rustix::process::fchdir(root).map_err(step("go to the new root from"))?;
    // Where it was attached elsewhere already, this moves it.
    rustix::mount::move_mount(root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(step("attach the new root at"))?;
    rustix::process::chroot(".").map_err(step("change the root at"))?;
    rustix::process::chdir("/").map_err(step("go to"))
}

/// The layers of an overlay.
#[derive(Clone, Debug)]
pub struct OverlayMount<'path> {
    /// The folder that the paths begin at, on a mount that need not be attached (Linux 6.15); none: this namespace's
    /// own view of them.
    pub base: Option<BorrowedFd<'path>>,
    /// Read-only layers, the topmost first; at least one.
    pub lowers: &'path [PathBuf],
    /// The writable layer; none makes the mount read-only.
    pub upper: Option<&'path Path>,
    /// The empty working folder beside `upper`, on the same filesystem.
    pub work: Option<&'path Path>,
    /// Nothing is synced: the content is not needed after a crash of the machine.
    pub volatile: bool,
    /// Marks are kept in `user.overlay.*` (without privileges) instead of `trusted.overlay.*`.
    pub userxattr: bool,
    /// The mount is read-only although there is an upper layer.
    pub read_only: bool,
    /// SELinux label of everything in it, in place of what the files have.
    pub label: Option<&'path str>,
}

/// Makes an overlay that is not attached anywhere.
///
/// Layers are given by descriptor where the kernel can (about 6.13), as one string each where it can append
/// (6.5), else by one `mount(2)` and a detached copy of the result. Strings name the layers through
/// `/proc/self/fd`, so that neither long paths nor colons and commas in them matter.
///
/// # Errors
/// Names the layer that could not be opened or was refused.
pub fn overlay(overlay: &OverlayMount<'_>) -> Result<OwnedFd> {
    let layers = Layers::open(overlay)?;
    let attributes = if overlay.read_only { Attributes::MOUNT_ATTR_RDONLY } else { Attributes::empty() };
    if layers.upper.is_none() && layers.lowers.len() == 1 {
        // Kernels before 6.x want two layers where none is writable; a bind is the same, and cheaper.
        let tree = clone_tree_at(layers.lowers[0].as_fd(), Path::new(""), false)?;
        set_attributes(tree.as_fd(), &AttributeChange::read_only())
            .map_err(|error| MountError::new("make read-only", subject(overlay), error))?;
        return Ok(tree);
    }
    match layers.configure(overlay, LayersBy::Descriptor) {
        Ok(context) => create(context.as_fd(), "overlay", attributes)
            .map_err(|error| MountError { subject: subject(overlay), ..error }),
        Err(Unsupported::Other(error)) => Err(error),
        Err(Unsupported::Calls) => layers.mount_classic(overlay),
        Err(Unsupported::Way) => match layers.configure(overlay, LayersBy::AppendedString) {
            Ok(context) => create(context.as_fd(), "overlay", attributes)
                .map_err(|error| MountError { subject: subject(overlay), ..error }),
            Err(Unsupported::Other(error)) => Err(error),
            Err(Unsupported::Way | Unsupported::Calls) => layers.mount_classic(overlay),
        },
    }
}

fn subject(overlay: &OverlayMount<'_>) -> String {
    let top = overlay.upper.or(overlay.lowers.first().map(PathBuf::as_path)).unwrap_or(Path::new(""));
    format!("overlay: {} lower layers below {}", overlay.lowers.len(), top.display())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LayersBy {
    Descriptor,
    AppendedString,
}

enum Unsupported {
    /// The kernel does not know this way of giving layers.
    Way,
    /// Its overlayfs is behind the old mount calls only (before 6.5): such a context takes no descriptors (EOPNOTSUPP).
    Calls,
    Other(MountError),
}

struct Layers {
    lowers: Vec<OwnedFd>,
    upper: Option<OwnedFd>,
    work: Option<OwnedFd>,
}

impl Layers {
    fn open(overlay: &OverlayMount<'_>) -> Result<Self> {
        if overlay.lowers.is_empty() || overlay.upper.is_some() != overlay.work.is_some() {
            return Err(MountError::new("mount", subject(overlay), io::ErrorKind::InvalidInput));
        }
        let open = |path: &Path| open_path_at(overlay.base.unwrap_or(CWD), path);
        Ok(Self {
            lowers: overlay.lowers.iter().map(|path| open(path)).collect::<Result<_>>()?,
            upper: overlay.upper.map(open).transpose()?,
            work: overlay.work.map(open).transpose()?,
        })
    }

    fn configure(
        &self,
        overlay: &OverlayMount<'_>,
        by: LayersBy,
    ) -> std::result::Result<OwnedFd, Unsupported> {
        let refused = |option: &str, error: Errno| {
            Unsupported::Other(MountError::new(
                "set the option of",
                format!("{}: {option}", subject(overlay)),
                error,
            ))
        };
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|error| refused("filesystem", error))?;
        let give = |key: &str, layer: &OwnedFd| match by {
            LayersBy::Descriptor => rustix::mount::fsconfig_set_fd(context.as_fd(), key, layer.as_fd()),
            LayersBy::AppendedString => {
                rustix::mount::fsconfig_set_string(context.as_fd(), key, descriptor_path(layer.as_fd()))
            }
        };
        for (number, layer) in self.lowers.iter().enumerate() {
            match give("lowerdir+", layer) {
                Ok(()) => {}
                // An unknown key or kind of value; a layer that is no folder would be ENOTDIR and so on. Linux 6.12
                // takes no descriptor that is opened as a path only.
                Err(Errno::INVAL | Errno::BADF) if number == 0 => return Err(Unsupported::Way),
                Err(Errno::OPNOTSUPP) if number == 0 => return Err(Unsupported::Calls),
                Err(error) => return Err(refused(&overlay.lowers[number].display().to_string(), error)),
            }
        }
        for (key, layer, path) in
            [("upperdir", &self.upper, overlay.upper), ("workdir", &self.work, overlay.work)]
        {
            if let (Some(layer), Some(path)) = (layer, path) {
                give(key, layer).map_err(|error| refused(&path.display().to_string(), error))?;
            }
        }
        for (key, value) in fixed_options(overlay).into_iter().chain([("source", Some("overlay"))]) {
            match value {
                Some(value) => rustix::mount::fsconfig_set_string(context.as_fd(), key, value),
                None => rustix::mount::fsconfig_set_flag(context.as_fd(), key),
            }
            .map_err(|error| refused(key, error))?;
        }
        if let Some(label) = overlay.label {
            rustix::mount::fsconfig_set_string(context.as_fd(), "context", label)
                .map_err(|error| refused(&format!("context={label}"), error))?;
        }
        if overlay.read_only || overlay.upper.is_none() {
            rustix::mount::fsconfig_set_flag(context.as_fd(), "ro").map_err(|error| refused("ro", error))?;
        }
        Ok(context)
    }

    /// `mount(2)` over one of the overlay's own folders, a detached copy of it, and away again.
    fn mount_classic(&self, overlay: &OverlayMount<'_>) -> Result<OwnedFd> {
        if overlay.base.is_some() {
            let why = io::Error::from(Errno::INVAL);
            return Err(MountError::new("mount layers that are not attached in", subject(overlay), why));
        }
        let lowers: Vec<String> = self.lowers.iter().map(|layer| descriptor_path(layer.as_fd())).collect();
        let mut options = vec![format!("lowerdir={}", lowers.join(":"))];
        for (key, layer) in [("upperdir", &self.upper), ("workdir", &self.work)] {
            if let Some(layer) = layer {
                options.push(format!("{key}={}", descriptor_path(layer.as_fd())));
            }
        }
        for (key, value) in fixed_options(overlay) {
            options.push(value.map_or_else(|| key.to_owned(), |value| format!("{key}={value}")));
        }
        if let Some(label) = overlay.label {
            options.push(format!("context=\"{label}\""));
        }
        let place = overlay.work.unwrap_or(&overlay.lowers[0]);
        let options = std::ffi::CString::new(options.join(","))
            .map_err(|error| MountError::new("mount", subject(overlay), io::Error::other(error)))?;
        let flags = if overlay.read_only || overlay.upper.is_none() {
            rustix::mount::MountFlags::RDONLY
        } else {
            rustix::mount::MountFlags::empty()
        };
        rustix::mount::mount("overlay", place, "overlay", flags, options.as_c_str())
            .map_err(|error| MountError::new("mount", subject(overlay), error))?;
        let tree = clone_tree(place, false);
        detach(place)?;
        tree
    }
}

/// Features that a layer's content must not depend on are off, whatever the host's defaults are.
fn fixed_options(overlay: &OverlayMount<'_>) -> Vec<(&'static str, Option<&'static str>)> {
    let mut options = vec![("index", Some("off")), ("metacopy", Some("off")), ("redirect_dir", Some("off"))];
    if overlay.volatile && overlay.upper.is_some() {
        options.push(("volatile", None));
    }
    if overlay.userxattr {
        options.push(("userxattr", None));
    }
    options
}

/// A path that names an open descriptor of this process.
pub fn descriptor_path(descriptor: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}
