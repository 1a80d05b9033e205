//! Terminals: sent to who asked for them, or joined with our own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use corten_sys::socket;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::failure::{Failure, Result};

/// A connection to `--console-socket`.
#[derive(Debug)]
pub(crate) struct ConsoleSocket(OwnedFd);

impl ConsoleSocket {
    /// Connects before anything is made. The socket of `--pidfd-socket` is of the same kind.
    pub(crate) fn connect(path: &str) -> Result<Self> {
        let connect = || -> io::Result<OwnedFd> {
            let socket = rustix::net::socket_with(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            )?;
            let Ok(address) = SocketAddrUnix::new(path) else {
                // Longer than an address may be.
                return connect_by_folder(socket, Path::new(path));
            };
            rustix::net::connect(&socket, &address)?;
            Ok(socket)
        };
        connect()
            .map(Self)
            .map_err(|error| Failure::of(format_args!("cannot connect to the socket {path}"), &error))
    }

    /// Sends the watcher's side of a terminal, with its name as the message.
    pub(crate) fn send(&self, terminal: &OwnedFd) -> Result<()> {
        socket::send_with_fds(&self.0, b"/dev/ptmx", &[terminal.as_fd()])
            .map(drop)
            .map_err(|error| Failure::of("cannot send the terminal to the console socket", &error))
    }
}

impl ConsoleSocket {
    /// Sends a handle of the process, as runc does.
    pub(crate) fn send_handle(&self, handle: &OwnedFd) -> Result<()> {
        socket::send_with_fds(&self.0, b"pidfd", &[handle.as_fd()])
            .map(drop)
            .map_err(|error| Failure::of("cannot send the handle to the pidfd socket", &error))
    }
}

fn connect_by_folder(socket: OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;
    let folder = std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?;
    let mut short = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    short.extend(path.file_name().unwrap_or_default().as_bytes());
    rustix::net::connect(&socket, &SocketAddrUnix::new(short)?)?;
    Ok(socket)
}
