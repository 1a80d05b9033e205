//! Signals of the calling process: dispositions, the mask, waiting for them.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use super::check;

/// All signals to their defaults and none blocked: what a new program expects. Handlers of ours would be
/// reset by exec anyway, ignored signals and the mask would not.
pub fn reset_signals() -> io::Result<()> {
    for signal in 1..=64 {
        if signal == libc::SIGKILL || signal == libc::SIGSTOP {
            continue;
        }
        // SAFETY: an all-zero action is SIG_DFL with an empty mask. The C library keeps two signals for
        // itself and answers EINVAL for those, which is as well.
        unsafe {
            let action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
    }
    set_signal_mask(&[])
}

/// Blocks exactly these signals in the calling thread.
pub fn set_signal_mask(blocked: &[i32]) -> io::Result<()> {
    // SAFETY: the set is initialised before use and outlives the call.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in blocked {
            libc::sigaddset(&raw mut set, *signal);
        }
        match libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// Blocks every signal that can be blocked in the calling thread.
pub fn block_all_signals() -> io::Result<()> {
    // SAFETY: the set is initialised before use and outlives the call.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        match libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// Ignores a signal (`true`) or gives it its default back.
pub fn ignore_signal(signal: i32, ignore: bool) -> io::Result<()> {
    // SAFETY: an all-zero action is valid; only its disposition is set to one of the two constants.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = if ignore { libc::SIG_IGN } else { libc::SIG_DFL };
        check(libc::c_long::from(libc::sigaction(signal, &raw const action, ptr::null_mut())))
    }
}

/// A descriptor from which blocked signals are read; close-on-exec and non-blocking.
pub fn signal_descriptor(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised before use; the descriptor is new and nobody else's.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        let descriptor = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if descriptor < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(descriptor)) }
    }
}

/// The next signal waiting in a descriptor of [`signal_descriptor`]: its number and who sent it (0 for the
/// kernel).
pub fn read_signal(descriptor: BorrowedFd<'_>) -> io::Result<Option<(i32, i32)>> {
    let mut buffer = [0_u8; 128];
    match rustix::io::read(descriptor, &mut buffer) {
        Ok(128) => {
            let number = u32::from_ne_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
            let sender = u32::from_ne_bytes([buffer[12], buffer[13], buffer[14], buffer[15]]);
            Ok(Some((number as i32, sender as i32)))
        }
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits for one of the given blocked signals (`sigwaitinfo`); its number.
pub fn wait_for_signal() -> io::Result<i32> {
    // SAFETY: the set is initialised before use; the optional information is not asked for.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        loop {
            let signal = libc::sigwaitinfo(&raw const set, ptr::null_mut());
            if signal > 0 {
                return Ok(signal);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}
