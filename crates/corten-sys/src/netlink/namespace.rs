//! Network namespaces: make one, enter one, pin one by a path.

use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The calling thread's network namespace.
pub fn current() -> io::Result<OwnedFd> {
    let file = File::open("/proc/thread-self/ns/net")?;
    Ok(file.into())
}

/// Moves the calling thread into a new network namespace; other threads stay.
pub fn unshare() -> io::Result<()> {
    unshare_flags(UnshareFlags::NEWNET)
}

/// Moves the calling thread into a new network and a new mount namespace, whose mounts no longer spread to others:
/// for tests, which must not touch the machine they run on. The thread stops sharing its working folder with others.
pub fn isolate() -> io::Result<()> {
    unshare_flags(UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::FS)?;
    use rustix::mount::{MountPropagationFlags, mount_change};
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    Ok(())
}

fn unshare_flags(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the descriptor table stays shared (no CLONE_FILES), which is the one thing that unshare can make unsound.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

/// Has the calling thread give way to those that wake it (`SCHED_BATCH`): it gets its share of the processor, but does
/// not interrupt the thread that handed it work. Where that is refused, nothing changes.
pub fn yield_to_callers() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the structure is valid for the call, and 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
}

/// Moves the calling thread into a network namespace.
pub fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// Pins a namespace at a path, where it lives until [`unpin`]. The file is made.
pub fn pin(namespace: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    File::create(path)?;
    let source = format!("/proc/thread-self/fd/{}", namespace.as_fd().as_raw_fd());
    if let Err(errno) = rustix::mount::mount_bind(source, path) {
        let _ = std::fs::remove_file(path);
        return Err(errno.into());
    }
    Ok(())
}

/// Undoes [`pin`]: the namespace goes with its last process. A path that is not there, or not pinned, is fine.
pub fn unpin(path: &Path) -> io::Result<()> {
    loop {
        match rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH) {
            // Something else may have been mounted on top.
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
