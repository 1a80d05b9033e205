//! Hidden and read-only paths.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corten_sys::mount::{self, AttributeChange, Attributes};
use rustix::fs::{FileType, major, minor};

use super::{Result, invalid, proc, target};
use crate::error::{Context, Stage};
use crate::hardening::{Hardening, HardeningStep};

/// Makes paths read-only, with all that is mounted below them. What is not there is passed over.
pub(super) fn make_read_only(root: BorrowedFd<'_>, paths: &[String], hardening: &Hardening) -> Result<()> {
    if !hardening.has(HardeningStep::ReadonlyPaths) {
        return Ok(());
    }
    for path in paths {
        let Some(place) = find(root, path, hardening)? else { continue };
        let context = format!("make {path} read-only");
        let tree = mount::clone_tree_at(place.as_fd(), Path::new(""), true)
            .map_err(|error| error.source)
            .at(Stage::Paths, &context)?;
        let change = AttributeChange { recursive: true, ..AttributeChange::read_only() };
        mount::set_attributes(tree.as_fd(), &change).at(Stage::Paths, &context)?;
        mount::attach_on(tree.as_fd(), place.as_fd()).at(Stage::Paths, &context)?;
    }
    Ok(())
}

/// Hides paths: folders behind an empty read-only folder, files behind the null device.
pub(super) fn mask(
    root: BorrowedFd<'_>,
    paths: &[String],
    label: Option<&str>,
    hardening: &Hardening,
) -> Result<()> {
    if !hardening.has(HardeningStep::MaskedPaths) {
        return Ok(());
    }
    let mut masks = Masks { root, label, null: None, empty: None };
    for path in paths {
        let Some(place) = find(root, path, hardening)? else { continue };
        let context = format!("mask {path}");
        let folder = target::file_type(place.as_fd()).at(Stage::Paths, &context)? == FileType::Directory;
        let cover = if folder { masks.empty_folder()? } else { masks.null_device(hardening)? };
        mount::attach_on(cover.as_fd(), place.as_fd()).at(Stage::Paths, &context)?;
    }
    Ok(())
}

/// Opens a path; `None` where it is not there. What is named below `/proc` must be of a proc filesystem, so
/// that an image cannot have us protect a stand-in and leave the real one open.
fn find(root: BorrowedFd<'_>, path: &str, hardening: &Hardening) -> Result<Option<OwnedFd>> {
    let place = match target::open(root, Path::new(path)) {
        Ok(place) => place,
        Err(error)
            if matches!(
                rustix::io::Errno::from_io_error(&error),
                Some(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR)
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error).at(Stage::Paths, format_args!("open {path}")),
    };
    if path.starts_with("/proc/")
        && hardening.has(HardeningStep::CheckedProc)
        && !proc::is_proc(place.as_fd())
        && !covered(root, path)
    {
        return Err(invalid(format!("{path} is not of the proc filesystem")));
    }
    Ok(Some(place))
}

/// Whether `/proc` itself is ours and something was mounted on the path since: a mask or a bind that was
/// asked for.
fn covered(root: BorrowedFd<'_>, path: &str) -> bool {
    let proc_is_real =
        target::open_plain_folder(root, Path::new("/proc")).is_ok_and(|folder| proc::is_proc(folder.as_fd()));
    proc_is_real && path.starts_with("/proc/")
}

struct Masks<'root> {
    root: BorrowedFd<'root>,
    /// SELinux label of what is mounted.
    label: Option<&'root str>,
    null: Option<OwnedFd>,
    empty: Option<OwnedFd>,
}

impl Masks<'_> {
    /// One empty filesystem serves for all folders: a copy of its mount each.
    fn empty_folder(&mut self) -> Result<OwnedFd> {
        let context = "make an empty folder";
        let Some(first) = &self.empty else {
            let attributes = Attributes::MOUNT_ATTR_RDONLY
                | Attributes::MOUNT_ATTR_NOSUID
                | Attributes::MOUNT_ATTR_NODEV
                | Attributes::MOUNT_ATTR_NOEXEC;
            let mut data = vec![("mode", Some("755")), ("source", Some("tmpfs"))];
            data.extend(self.label.map(|label| ("context", Some(label))));
            let tree =
                mount::tmpfs(&data, attributes).map_err(|error| error.source).at(Stage::Paths, context)?;
            self.empty = Some(tree.try_clone().at(Stage::Paths, context)?);
            return Ok(tree);
        };
        mount::clone_tree_at(first.as_fd(), Path::new(""), false)
            .map_err(|error| error.source)
            .at(Stage::Paths, context)
    }

    /// A bind of the container's `/dev/null`, once it has shown to be that device.
    fn null_device(&mut self, hardening: &Hardening) -> Result<OwnedFd> {
        let context = "open /dev/null for masks";
        if self.null.is_none() {
            let node = target::open(self.root, Path::new("/dev/null")).at(Stage::Paths, context)?;
            let stat = rustix::fs::fstat(&node).at(Stage::Paths, context)?;
            let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
                && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
            if hardening.has(HardeningStep::CheckedMasks) && !is_null {
                return Err(invalid("/dev/null is not the null device"));
            }
            self.null = Some(node);
        }
        let node = self.null.as_ref().map_or(self.root, AsFd::as_fd);
        mount::clone_tree_at(node, Path::new(""), false)
            .map_err(|error| error.source)
            .at(Stage::Paths, context)
    }
}
