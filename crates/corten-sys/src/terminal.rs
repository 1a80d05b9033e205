//! Pseudo-terminals: the pair, its size, the controlling terminal.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// A pseudo-terminal of one devpts instance.
#[derive(Debug)]
pub struct Pair {
    /// The side of the one who watches; close-on-exec.
    pub master: OwnedFd,
    /// The side of the program; close-on-exec.
    pub slave: OwnedFd,
    /// The number: the program's side is `/dev/pts/NUMBER`.
    pub number: u32,
}

/// Opens a new pair by the multiplexer `ptmx` found in `pts`, an open devpts folder. The program's side is
/// opened through the master, so that no path inside a hostile filesystem is walked.
pub fn open_pair(pts: BorrowedFd<'_>) -> io::Result<Pair> {
    let master = rustix::fs::openat(
        pts,
        "ptmx",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )?;
    rustix::pty::unlockpt(&master)?;
    let flags =
        rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    let mut number: libc::c_uint = 0;
    // SAFETY: the kernel writes one unsigned integer, which outlives the call.
    if unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Pair { master, slave, number })
}

/// Sets the size; the foreground process group gets SIGWINCH where it changed.
pub fn set_size(terminal: BorrowedFd<'_>, size: Size) -> io::Result<()> {
    let winsize =
        rustix::termios::Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, winsize)?)
}

/// Makes it the controlling terminal of this process, which must be the leader of a session without one.
pub fn make_controlling(terminal: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::process::ioctl_tiocsctty(terminal)?)
}
