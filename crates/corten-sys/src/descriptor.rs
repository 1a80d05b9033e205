//! Descriptors as such: closing many, placing them at fixed numbers, opening below a root.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Marks every descriptor from `first` up close-on-exec (`close_range`): nothing of the host reaches a
/// program executed afterwards, also what a library opened behind our back.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC nothing is closed now, so no owner is left with a dead number.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A copy, close-on-exec, of the descriptor that whoever started this process left open under a number.
///
/// # Errors
/// `BADF` where nothing is open there.
pub fn copy_of(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(rustix::io::Errno::BADF.into());
    }
    // SAFETY: the number is not negative, and is used for this one call, which looks whether it is open.
    let passed = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_dupfd_cloexec(passed, 3)?)
}

/// Closes every descriptor from 3 up but those named: for the child of a fork that begins a life of its own.
///
/// # Safety
/// Whoever owns one of the closed numbers in this process (an `OwnedFd`, a `File`) must never use or drop it
/// again, as another descriptor may have got its number.
pub unsafe fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    // SAFETY: the caller's promise is the same.
    unsafe { close_from_but(3, keep) }
}

/// Closes every descriptor from `first` up but those named.
///
/// # Safety
/// As [`close_all_but`].
pub unsafe fn close_from_but(first: RawFd, keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<RawFd> = keep.iter().copied().filter(|number| *number >= first).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut first: u32 = first.max(0) as u32;
    for number in keep.into_iter().map(|number| number as u32).chain([u32::MAX]) {
        // The last round closes to the end: u32::MAX is no descriptor.
        let last = if number == u32::MAX { u32::MAX } else { number.wrapping_sub(1) };
        if number > first {
            // SAFETY: the caller answers for the owners; the call itself takes plain numbers.
            let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        first = number.saturating_add(1);
    }
    Ok(())
}

/// For the child of a fork that begins a life of its own: closes every descriptor from 3 up but one, and goes
/// on with
/// `body`, which gets that one and some bytes.
///
/// `body` captures nothing and does not return, so nothing that owned one of the closed numbers before is
/// ever used or dropped again.
pub fn alone_with(
    keep: OwnedFd,
    bytes: Vec<u8>,
    body: fn(OwnedFd, Vec<u8>) -> std::convert::Infallible,
) -> ! {
    struct NoReturn;
    impl Drop for NoReturn {
        fn drop(&mut self) {
            // A panic would unwind into owners of closed descriptors.
            crate::process::exit_now(70);
        }
    }
    let _guard = NoReturn;
    // SAFETY: whatever owns a closed number lives in frames above this one or in what `body` cannot name;
    // those frames are never returned to, as `body` does not return and a panic ends the process above.
    if unsafe { close_all_but(&[keep.as_raw_fd()]) }.is_err() {
        crate::process::exit_now(70);
    }
    match body(keep, bytes) {}
}

/// Makes `descriptor` standard input, output or error (0, 1, 2) of this process.
pub fn place_stdio(descriptor: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if !(0..=2).contains(&number) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if descriptor.as_raw_fd() == number {
        // `dup3` refuses equal numbers; all that is left to do is to keep it over exec.
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?;
        return Ok(());
    }
    // SAFETY: 0 to 2 are the process's standard streams, which Rust code never owns; replacing what they
    // point to is what this function is for.
    if unsafe { libc::dup3(descriptor.as_raw_fd(), number, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Opens a path below a root folder as if that folder were `/`: `..` and links (absolute ones too) cannot
/// lead out of it, and links of `/proc` that jump elsewhere are refused.
pub fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve) {
            // The kernel says so when something was renamed during the walk and it cannot be sure.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Clears the non-blocking flag or sets it.
pub fn set_non_blocking(descriptor: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(descriptor)?;
    flags.set(OFlags::NONBLOCK, on);
    Ok(rustix::fs::fcntl_setfl(descriptor, flags)?)
}
