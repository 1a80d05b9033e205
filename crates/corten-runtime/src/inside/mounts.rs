//! The container's mounts: each made detached, attached on a place opened once.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use corten_oci::runtime::{Linux, Mount, Root, Spec};
use corten_sys::mount::{self, AttributeChange, Attributes};
use rustix::fs::{FileType, Mode, OFlags};

use super::target::{self, Kind};
use super::{Result, devices, invalid, options, proc};
use crate::error::{Context, LaunchError, LaunchErrorKind, Stage, reason};
use crate::hardening::{Hardening, HardeningStep};

/// Files of `/proc` that a mount may cover: those that programs read to learn about their machine.
const COVERABLE_PROC_FILES: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// What all mounts have in common.
pub(super) struct Setting<'a> {
    pub(super) root: BorrowedFd<'a>,
    pub(super) linux: &'a Linux,
    pub(super) hardening: &'a Hardening,
    /// Devices of the host by path, in a user namespace, where none can be made.
    pub(super) nodes: Option<&'a [(String, OwnedFd)]>,
}

/// Filesystems made here that later steps work on without walking a path.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) proc: Option<OwnedFd>,
    pub(super) dev: Option<OwnedFd>,
    pub(super) pts: Option<OwnedFd>,
}

/// The trees for binds, by index of the mount. What did not come by descriptor is cloned here, while the
/// caller's mounts are still in sight.
pub(super) fn collect_trees(spec: &Spec, given: Vec<(usize, OwnedFd)>) -> Result<Vec<Option<OwnedFd>>> {
    let mut trees: Vec<Option<OwnedFd>> = Vec::new();
    trees.resize_with(spec.mounts.len(), || None);
    for (index, tree) in given {
        *trees.get_mut(index).ok_or_else(|| invalid("a mount tree has no mount in the document"))? =
            Some(tree);
    }
    for (mount, tree) in spec.mounts.iter().zip(&mut trees) {
        if tree.is_some() {
            continue;
        }
        let options = parse(mount)?;
        if let Some(recursive) = options.bind.or((mount.kind.as_deref() == Some("bind")).then_some(false)) {
            let source = mount.source.as_deref().unwrap_or_default();
            let clone = mount::clone_tree(source, recursive)
                .map_err(|error| failed(mount, &reason(&error.source)))?;
            *tree = Some(clone);
        }
    }
    Ok(trees)
}

/// Makes every mount of the document in its order.
pub(super) fn make_all(
    setting: &Setting<'_>,
    mounts: &[Mount],
    trees: &mut [Option<OwnedFd>],
    cgroup_trees: Vec<(String, OwnedFd)>,
    unified_cgroup: bool,
) -> Result<Made> {
    let mut made = Made::default();
    let mut cgroup_trees = Some(cgroup_trees);
    for (mount, tree) in mounts.iter().zip(trees) {
        if let Some(tree) = tree.take() {
            bind(setting, mount, tree)?;
            continue;
        }
        match mount.kind.as_deref() {
            Some("cgroup" | "cgroup2") => {
                let trees = cgroup_trees.take().unwrap_or_default();
                mount_cgroup(setting, mount, trees, unified_cgroup)?;
            }
            Some(kind) => mount_filesystem(setting, mount, kind, &mut made)?,
            None => return Err(failed(mount, "the document gives no type")),
        }
    }
    // A `/dev` that is bound from somewhere is as it is there.
    let has_dev = mounts.iter().any(|mount| destination(mount) == Path::new("/dev"));
    if !has_dev || !setting.linux.devices.is_empty() {
        match setting.nodes {
            Some(nodes) => devices::bind_in_root(setting.root, has_dev, nodes)?,
            None => devices::fill_root(setting.root, has_dev, &setting.linux.devices)?,
        }
    }
    Ok(made)
}

fn parse(mount: &Mount) -> Result<options::Options> {
    options::parse(&mount.options).map_err(|text| failed(mount, &text))
}

/// runc's sentence for a mount that failed.
fn failed(mount: &Mount, why: &str) -> LaunchError {
    let source = mount.source.as_deref().or(mount.kind.as_deref()).unwrap_or_default();
    LaunchError::new(
        Stage::Mounts,
        LaunchErrorKind::Mount { destination: mount.destination.clone() },
        format!("error mounting \"{source}\" to rootfs at \"{}\": {why}", mount.destination),
    )
}

/// The destination as an absolute path without `.` and `..`.
fn destination(mount: &Mount) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for part in Path::new(&mount.destination).components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain
}

fn bind(setting: &Setting<'_>, mount: &Mount, tree: OwnedFd) -> Result<()> {
    let mut options = parse(mount)?;
    // A tree that was opened on the host is a peer of the host's mount where that is shared, as under systemd: what is mounted below it in
    // here would appear there.
    options.propagation = options.propagation.or(Some((mount::Propagation::Private, true)));
    let fail = |error: std::io::Error| failed(mount, &reason(&error));
    change_attributes(tree.as_fd(), &options).map_err(fail)?;
    let folder = target::file_type(tree.as_fd()).map_err(fail)? == FileType::Directory;
    let place = place(setting, mount, if folder { Kind::Folder } else { Kind::File })?;
    only_proc_over_proc(setting, mount, proc::is_proc(tree.as_fd()))?;
    if let Err(error) = mount::attach_on(tree.as_fd(), place.as_fd()) {
        let there = target::file_type(place.as_fd()).is_ok_and(|kind| kind == FileType::Directory);
        let hint = if there == folder {
            ""
        } else {
            ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path \
             exists and is the expected type"
        };
        return Err(failed(mount, &format!("{}{hint}", reason(&error))));
    }
    Ok(())
}

fn change_attributes(tree: BorrowedFd<'_>, options: &options::Options) -> std::io::Result<()> {
    let recursive = AttributeChange {
        set: options.set_recursive,
        clear: options.clear_recursive,
        propagation: options.propagation.filter(|(_, tree)| *tree).map(|(propagation, _)| propagation),
        recursive: true,
    };
    let alone = AttributeChange {
        set: options.set,
        clear: options.clear,
        propagation: options.propagation.filter(|(_, tree)| !tree).map(|(propagation, _)| propagation),
        recursive: false,
    };
    for change in [recursive, alone] {
        if !change.set.is_empty() || !change.clear.is_empty() || change.propagation.is_some() {
            mount::set_attributes(tree, &change)?;
        }
    }
    Ok(())
}

/// The place for a mount, made where it is missing, and checked: nothing but some files of `/proc` is covered
/// there.
fn place(setting: &Setting<'_>, mount: &Mount, kind: Kind) -> Result<OwnedFd> {
    let fail = |error: std::io::Error| failed(mount, &reason(&error));
    let path = destination(mount);
    if !setting.hardening.has(HardeningStep::ResolveInRoot) {
        return place_by_text(setting, &path, kind).map_err(fail);
    }
    let place = target::open_or_create(setting.root, &path, kind).map_err(fail)?;
    if setting.hardening.has(HardeningStep::CheckedProc)
        && proc::is_proc(place.as_fd())
        && path != Path::new("/proc")
        && !COVERABLE_PROC_FILES.iter().any(|file| path == Path::new(file))
    {
        return Err(failed(mount, "the destination is inside /proc"));
    }
    Ok(place)
}

/// The way of old runtimes, for the tests that show where it leads: the root's path and the destination in one text,
/// which the kernel resolves with every link on the way.
fn place_by_text(setting: &Setting<'_>, destination: &Path, kind: Kind) -> std::io::Result<OwnedFd> {
    let path = if setting.hardening.has(HardeningStep::RootBeforeMounts) {
        destination.to_owned()
    } else {
        let inside = destination.strip_prefix("/").unwrap_or(destination);
        Path::new(&mount::descriptor_path(setting.root)).join(inside)
    };
    if let Some(folder) = if kind == Kind::Folder { Some(path.as_path()) } else { path.parent() } {
        std::fs::create_dir_all(folder)?;
    }
    if kind == Kind::File && !path.exists() {
        std::fs::write(&path, "")?;
    }
    Ok(rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// Refuses to cover the whole of `/proc` by something that is no proc filesystem: runc's rule and text.
fn only_proc_over_proc(setting: &Setting<'_>, mount: &Mount, is_proc: bool) -> Result<()> {
    if !is_proc
        && setting.hardening.has(HardeningStep::CheckedProc)
        && destination(mount) == Path::new("/proc")
    {
        return Err(failed(mount, "\"/proc\" cannot be mounted because it is not of type proc"));
    }
    Ok(())
}

fn mount_filesystem(setting: &Setting<'_>, mount: &Mount, kind: &str, made: &mut Made) -> Result<()> {
    let options = parse(mount)?;
    let path = destination(mount);
    only_proc_over_proc(setting, mount, kind == "proc")?;
    let place = if matches!(kind, "proc" | "sysfs") && setting.hardening.has(HardeningStep::CheckedProc) {
        // A link here would put the kernel's interface where the image wants it, and leave the real place to
        // the image.
        plain_folder(setting, mount, &path)?
    } else {
        place(setting, mount, Kind::Folder)?
    };
    let mut data: Vec<(&str, Option<&str>)> =
        options.data.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
    // A tmpfs without a mode takes that of the folder it covers.
    let mut mode = String::new();
    if kind == "tmpfs"
        && !data.iter().any(|(key, _)| *key == "mode")
        && let Ok(stat) = rustix::fs::fstat(&place)
    {
        mode = format!("{:o}", stat.st_mode & 0o7777);
    }
    if !mode.is_empty() {
        data.push(("mode", Some(&mode)));
    }
    // The kernel's own tables are the same for all, and a queue's label is that of its folder.
    let label = setting.linux.mount_label.as_deref().filter(|label| !label.is_empty());
    if !matches!(kind, "proc" | "sysfs" | "mqueue")
        && let Some(label) = label
    {
        data.push(("context", Some(label)));
    }
    // What the mount table shows.
    data.push(("source", Some(mount.source.as_deref().filter(|source| !source.is_empty()).unwrap_or(kind))));
    // Read-only comes last: there are things to put in first.
    let attributes = options.set.difference(Attributes::MOUNT_ATTR_RDONLY);
    let tree = mount::filesystem(kind, &data, attributes)
        .map_err(|error| failed(mount, &format!("{error}: {}", reason(&error.source))))?;
    let fail = |error: std::io::Error| failed(mount, &reason(&error));
    if kind == "mqueue"
        && let Some(label) = label
    {
        label_folder(tree.as_fd(), label).map_err(fail)?;
    }
    if kind == "tmpfs" && path == Path::new("/dev") {
        match setting.nodes {
            Some(_) => devices::fill_links(tree.as_fd())?,
            None => devices::fill(tree.as_fd(), &setting.linux.devices)?,
        }
    }
    if options.copy_up && kind == "tmpfs" {
        super::copy_up::copy(place.as_fd(), tree.as_fd()).map_err(fail)?;
    }
    mount::attach_on(tree.as_fd(), place.as_fd()).map_err(fail)?;
    if let ("tmpfs", Some(nodes)) = (kind, setting.nodes)
        && path == Path::new("/dev")
    {
        devices::bind(tree.as_fd(), nodes)?;
    }
    let read_only = Attributes::MOUNT_ATTR_RDONLY;
    if options.set.contains(read_only) {
        mount::set_attributes(tree.as_fd(), &AttributeChange::read_only()).map_err(fail)?;
    }
    match (kind, path.to_str()) {
        ("proc", Some("/proc")) => made.proc = Some(tree),
        ("tmpfs", Some("/dev")) => made.dev = Some(tree),
        ("devpts", Some("/dev/pts")) => made.pts = Some(tree),
        _ => {}
    }
    Ok(())
}

/// Gives the top folder of a fresh filesystem a label. The descriptor of a mount has no attributes.
fn label_folder(tree: BorrowedFd<'_>, label: &str) -> std::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(tree, ".", flags, Mode::empty())?;
    corten_sys::selinux::set_label(folder.as_fd(), label)
}

/// A folder without any link on the way, made where it is missing.
fn plain_folder(setting: &Setting<'_>, mount: &Mount, path: &Path) -> Result<OwnedFd> {
    let fail = |error: std::io::Error| match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
            let kind = mount.kind.as_deref().unwrap_or_default();
            failed(mount, &format!("filesystem \"{kind}\" must be mounted on ordinary directory"))
        }
        _ => failed(mount, &reason(&error)),
    };
    match target::open_plain_folder(setting.root, path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            target::create_directories(setting.root, path).map_err(fail)?;
            target::open_plain_folder(setting.root, path).map_err(fail)
        }
        result => result.map_err(fail),
    }
}

/// Version 2: the tree as seen from the container's own cgroup. Version 1: a folder per hierarchy with the
/// container's own folder of it, as Docker shows it.
fn mount_cgroup(
    setting: &Setting<'_>,
    mount: &Mount,
    trees: Vec<(String, OwnedFd)>,
    unified: bool,
) -> Result<()> {
    if trees.is_empty() && !unified {
        return Ok(());
    }
    let options = parse(mount)?;
    let fail = |error: std::io::Error| failed(mount, &reason(&error));
    let place = place(setting, mount, Kind::Folder)?;
    if trees.is_empty() {
        let tree = mount::filesystem("cgroup2", &[("source", Some("cgroup"))], options.set)
            .map_err(|error| failed(mount, &format!("{error}: {}", reason(&error.source))))?;
        return mount::attach_on(tree.as_fd(), place.as_fd()).map_err(fail);
    }
    let attributes = options.set.difference(Attributes::MOUNT_ATTR_RDONLY);
    let mut data = vec![("mode", Some("755")), ("source", Some("tmpfs"))];
    data.extend(setting.linux.mount_label.as_deref().map(|label| ("context", Some(label))));
    let top = mount::tmpfs(&data, attributes).map_err(|error| failed(mount, &reason(&error.source)))?;
    mount::attach_on(top.as_fd(), place.as_fd()).map_err(fail)?;
    for (name, tree) in trees {
        // Named hierarchies have no controller: `name=systemd` is shown as `systemd`.
        let folder = name.strip_prefix("name=").unwrap_or(&name);
        rustix::fs::mkdirat(&top, folder, Mode::from_raw_mode(0o755)).map_err(|error| fail(error.into()))?;
        let spot = rustix::fs::openat(
            &top,
            folder,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| fail(error.into()))?;
        change_attributes(tree.as_fd(), &options).map_err(fail)?;
        mount::attach_on(tree.as_fd(), spot.as_fd()).map_err(fail)?;
        if folder.contains(',') {
            for controller in folder.split(',') {
                rustix::fs::symlinkat(folder, &top, controller).map_err(|error| fail(error.into()))?;
            }
        }
    }
    if options.set.contains(Attributes::MOUNT_ATTR_RDONLY) {
        mount::set_attributes(top.as_fd(), &AttributeChange::read_only()).map_err(fail)?;
    }
    Ok(())
}

/// Shows our own program, read-only, at a path inside.
pub(super) fn bind_program(
    root: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    path: &str,
    hardening: &Hardening,
) -> Result<()> {
    let context = format!("bind the init program at {path}");
    if hardening.has(HardeningStep::ReadOnlyProgram) {
        mount::set_attributes(program, &AttributeChange::read_only()).at(Stage::Mounts, &context)?;
    }
    let place = target::open_or_create(root, Path::new(path), Kind::File).at(Stage::Mounts, &context)?;
    mount::attach_on(program, place.as_fd()).at(Stage::Mounts, &context)
}

/// Shows the terminal at `/dev/console`.
pub(super) fn bind_console(
    root: BorrowedFd<'_>,
    dev: Option<BorrowedFd<'_>>,
    slave: BorrowedFd<'_>,
    hardening: &Hardening,
) -> Result<()> {
    let context = "bind the terminal at /dev/console";
    let place = if hardening.has(HardeningStep::CheckedConsole) {
        // Our own fresh `/dev`, or what covers it: either way the node is this name in it and no link.
        let bound;
        let dev = if let Some(dev) = dev {
            dev
        } else {
            bound =
                target::open_or_create(root, Path::new("/dev"), Kind::Folder).at(Stage::Terminal, context)?;
            bound.as_fd()
        };
        match rustix::fs::openat(
            dev,
            "console",
            OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o620),
        ) {
            Ok(_) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error).at(Stage::Terminal, context),
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(dev, "console", flags, Mode::empty()).at(Stage::Terminal, context)?
    } else {
        target::open_or_create(root, Path::new("/dev/console"), Kind::File).at(Stage::Terminal, context)?
    };
    let kind = target::file_type(place.as_fd()).at(Stage::Terminal, context)?;
    if kind != FileType::RegularFile && kind != FileType::CharacterDevice {
        return Err(invalid("/dev/console is neither a file nor a device"));
    }
    let tree = mount::clone_tree_at(slave, Path::new(""), false)
        .map_err(|error| error.source)
        .at(Stage::Terminal, context)?;
    mount::attach_on(tree.as_fd(), place.as_fd()).at(Stage::Terminal, context)
}

/// The root's own propagation, and read-only where it is to be.
pub(super) fn finish_root(
    root: BorrowedFd<'_>,
    document: Option<&Root>,
    propagation: Option<&str>,
) -> Result<()> {
    if let Some(word) = propagation.filter(|word| !word.is_empty()) {
        let (propagation, recursive) = options::propagation(word)
            .ok_or_else(|| invalid(format!("unknown propagation of the root: {word}")))?;
        // Everything is private already; making it so again would undo what single binds asked for.
        if propagation != mount::Propagation::Private {
            let change =
                AttributeChange { propagation: Some(propagation), recursive, ..AttributeChange::default() };
            mount::set_attributes(root, &change).at(Stage::Root, "change the propagation of the root")?;
        }
    }
    if document.is_some_and(|root| root.readonly) {
        mount::set_attributes(root, &AttributeChange::read_only())
            .at(Stage::Root, "make the root read-only")?;
    }
    Ok(())
}
