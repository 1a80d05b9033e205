//! `tmpcopyup`: a fresh tmpfs begins with what is in the folder that it covers.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};

/// Folders deeper than this are not copied: no image has them, and each level is an open descriptor.
const DEEPEST: usize = 128;

/// Copies what is in one folder into another, which is empty: files, folders, links and nodes with owner, mode,
/// times and extended attributes. Nothing is followed.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    // The place was opened as a path only.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = rustix::fs::openat(from, ".", flags, Mode::empty())?;
    let to = rustix::fs::openat(to, ".", flags, Mode::empty())?;
    copy_folder(&from, &to, DEEPEST)
}

fn copy_folder(from: &OwnedFd, to: &OwnedFd, depth: usize) -> io::Result<()> {
    if depth == 0 {
        return Err(rustix::io::Errno::NAMETOOLONG.into());
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name().to_owned();
        if name.as_bytes() == b"." || name.as_bytes() == b".." {
            continue;
        }
        copy_entry(from, to, &name, depth)?;
    }
    Ok(())
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &CString, depth: usize) -> io::Result<()> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match kind {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::RWXU)?;
            let source = rustix::fs::openat(from, name, read | OFlags::DIRECTORY, Mode::empty())?;
            let copy = rustix::fs::openat(to, name, read | OFlags::DIRECTORY, Mode::empty())?;
            copy_folder(&source, &copy, depth - 1)?;
            copy_attributes(&source, &copy);
        }
        FileType::RegularFile => {
            let source = rustix::fs::openat(from, name, read, Mode::empty())?;
            // It may have become something else since.
            if FileType::from_raw_mode(rustix::fs::fstat(&source)?.st_mode) != FileType::RegularFile {
                return Ok(());
            }
            let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let copy = rustix::fs::openat(to, name, write, Mode::RUSR | Mode::WUSR)?;
            copy_attributes(&source, &copy);
            io::copy(&mut File::from(source), &mut File::from(copy))?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target, to, name)?;
        }
        // A socket without its listener is nothing.
        FileType::Socket => return Ok(()),
        _ => rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)?,
    }
    copy_owner(to, name, &stat, mode, kind)
}

fn copy_owner(to: &OwnedFd, name: &CString, stat: &Stat, mode: Mode, kind: FileType) -> io::Result<()> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(
        to,
        name,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
        nofollow,
    )?;
    if kind != FileType::Symlink {
        // After the owner, as a change of that takes the bits of set-user-id away.
        rustix::fs::chmodat(to, name, mode, AtFlags::empty())?;
    }
    let time = |seconds: i64, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as i64 };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(rustix::fs::utimensat(to, name, &times, nofollow)?)
}

/// Best effort: a tmpfs does not take every attribute that another filesystem has.
fn copy_attributes(from: impl AsFd, to: impl AsFd) {
    let mut names = vec![0_u8; 64 << 10];
    let Ok(length) = rustix::fs::flistxattr(&from, names.as_mut_slice()) else { return };
    let mut value = vec![0_u8; 64 << 10];
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // Marks of an overlay are about where the file came from.
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        if let Ok(length) = rustix::fs::fgetxattr(&from, name, value.as_mut_slice()) {
            let _ = rustix::fs::fsetxattr(&to, name, &value[..length], rustix::fs::XattrFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_is_copied_as_it_is() {
        let base = std::env::temp_dir().join(format!("corten-copy-up-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&base);
        std::fs::create_dir_all(base.join("from/a/b")).unwrap();
        std::fs::create_dir_all(base.join("to")).unwrap();
        std::fs::write(base.join("from/a/file"), "text").unwrap();
        std::fs::set_permissions(base.join("from/a/file"), PermissionsExt::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("/nowhere", base.join("from/link")).unwrap();
        let (from, to) = (File::open(base.join("from")).unwrap(), File::open(base.join("to")).unwrap());
        let outcome = copy(from.as_fd(), to.as_fd());
        let text = std::fs::read_to_string(base.join("to/a/file"));
        let mode = std::fs::metadata(base.join("to/a/file")).map(|file| file.permissions().mode() & 0o7777);
        let link = std::fs::read_link(base.join("to/link"));
        let deep = base.join("to/a/b").is_dir();
        let _ = std::fs::remove_dir_all(&base);
        outcome.unwrap();
        assert_eq!((text.unwrap().as_str(), mode.unwrap(), deep), ("text", 0o640, true));
        assert_eq!(link.unwrap().to_str(), Some("/nowhere"));
    }
}
