//! SELinux, as far as who makes containers needs it: whether it is there, and labels of files.

use rustix::fs::{Dir, FileType, Mode, OFlags, XattrFlags};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Where the kernel's files about it are.
const FILES: &str = "/sys/fs/selinux";
/// The attribute that holds a file's label.
const ATTRIBUTE: &str = "security.selinux";
/// What a process is called before there is a policy.
const NO_POLICY: &str = "kernel";
/// Folders in folders that are gone into.
const DEEPEST: usize = 1024;

/// Whether the kernel has SELinux and a policy, enforced or not.
pub fn is_enabled() -> bool {
    Path::new(FILES).join("enforce").exists()
        && std::fs::read_to_string("/proc/self/attr/current")
            .is_ok_and(|label| !matches!(label.trim_end_matches(['\0', '\n']), "" | NO_POLICY))
}

/// Gives an open file or folder a label.
pub fn set_label(file: BorrowedFd<'_>, label: &str) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(file, ATTRIBUTE, label.as_bytes(), XattrFlags::empty())?)
}

/// The label of a file itself, whatever kind it is; none where its filesystem keeps none.
pub fn label(path: &Path) -> io::Result<Option<String>> {
    let mut buffer = vec![0; 4096];
    match rustix::fs::lgetxattr(path, ATTRIBUTE, buffer.as_mut_slice()) {
        Ok(length) => {
            let text = String::from_utf8_lossy(&buffer[..length]);
            Ok(Some(text.trim_end_matches('\0').to_owned()))
        }
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gives a file, or a folder with everything below it, a label. The way to `path` is the caller's; below it no link is
/// followed. What goes away meanwhile is passed over.
///
/// # Errors
/// The first file that cannot have it; those before it have it.
pub fn relabel(path: &Path, label: &str) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    // A descriptor that is opened as a path only has no attributes of its own, but a name for this process.
    set_named(&crate::mount::descriptor_path(file.as_fd()), label, true)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::Directory {
        below(&file, label, 0)?;
    }
    Ok(())
}

fn below(folder: &OwnedFd, label: &str, depth: usize) -> io::Result<()> {
    if depth == DEEPEST {
        return Err(io::Error::other(format!("folders lie deeper than {DEEPEST}")));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |name: &CStr| rustix::fs::openat(folder, name, flags, Mode::empty());
    let listed = match open(c".") {
        Ok(listed) => listed,
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for entry in Dir::new(listed)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let place = format!("/proc/self/fd/{}/{}", folder.as_raw_fd(), name.to_string_lossy());
        if name.to_str().is_ok() {
            set_named(&place, label, false)?;
        } else {
            set_odd(folder, name, label)?;
        }
        // A link in its place meanwhile is not opened; a folder that came is gone into.
        match open(name) {
            Ok(inner) => below(&inner, label, depth + 1)?,
            Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// `follow` is for names of descriptors, which are links themselves.
fn set_named(place: &str, label: &str, follow: bool) -> io::Result<()> {
    let value = label.as_bytes();
    let set = if follow {
        rustix::fs::setxattr(place, ATTRIBUTE, value, XattrFlags::empty())
    } else {
        rustix::fs::lsetxattr(place, ATTRIBUTE, value, XattrFlags::empty())
    };
    match set {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A name that is no text.
fn set_odd(folder: &OwnedFd, name: &CStr, label: &str) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => set_named(&crate::mount::descriptor_path(file.as_fd()), label, true),
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any attribute that this machine's filesystems take shows where the walk goes; with SELinux it is its own.
    #[test]
    fn everything_below_is_labelled_and_no_link_followed() {
        let folder = std::env::temp_dir().join(format!("corten-selinux-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let outside = folder.join("outside");
        std::fs::create_dir_all(folder.join("in/deep")).unwrap();
        std::fs::write(folder.join("in/deep/file"), "").unwrap();
        std::fs::write(&outside, "").unwrap();
        std::os::unix::fs::symlink(&outside, folder.join("in/link")).unwrap();
        let label_text = "system_u:object_r:container_file_t:s0:c1,c2";
        match relabel(&folder.join("in"), label_text) {
            Ok(()) => {
                for inside in ["in", "in/deep", "in/deep/file", "in/link"] {
                    assert_eq!(label(&folder.join(inside)).unwrap().as_deref(), Some(label_text), "{inside}");
                }
                assert_ne!(label(&outside).unwrap().as_deref(), Some(label_text));
            }
            // Without privileges, or on a filesystem that keeps no such attribute.
            Err(error) => assert!(
                matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported),
                "{error}"
            ),
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
