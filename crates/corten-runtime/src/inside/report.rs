//! How the new process tells the caller: messages over a socket that the exec closes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_sys::socket;

use crate::error::{Context, LaunchError, LaunchErrorKind, Stage};
use crate::lifecycle::HookStates;

const TERMINAL: u8 = b'T';
const ERROR: u8 = b'E';
const HOOKS: u8 = b'H';
const READY: u8 = b'R';
const MADE: u8 = b'M';
/// An error's text is cut to this many bytes.
const LONGEST: usize = 16 << 10;
/// Longest states that the caller sends for hooks, in bytes; one message of the socket.
pub(crate) const LONGEST_STATES: usize = 128 << 10;

/// The new process's end.
#[derive(Debug)]
pub(crate) struct Report {
    socket: OwnedFd,
}

impl Report {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// The socket, which the exec is to close.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends the watcher's side of the terminal.
    pub(super) fn terminal(&self, master: BorrowedFd<'_>) -> io::Result<()> {
        socket::send_with_fds(self.socket.as_fd(), &[TERMINAL], &[master]).map(drop)
    }

    /// Asks the caller to run its hooks; the states for our own.
    pub(super) fn hooks(&self) -> Result<HookStates, LaunchError> {
        let context = "wait for the hooks of the runtime";
        socket::send_with_fds(self.socket.as_fd(), &[HOOKS], &[]).at(Stage::Prepare, context)?;
        let mut buffer = vec![0; LONGEST_STATES + 1];
        let (count, _) =
            socket::receive_with_fds(self.socket.as_fd(), &mut buffer).at(Stage::Prepare, context)?;
        serde_json::from_slice(&buffer[..count]).map_err(|_| {
            LaunchError::new(Stage::Prepare, LaunchErrorKind::System, "the runtime has gone away")
        })
    }

    /// The socket itself.
    pub(super) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Tells the number of the process that is to be listened to from now on.
    pub(crate) fn made(&self, pid: i32) -> io::Result<()> {
        let mut message = vec![MADE];
        message.extend(pid.to_ne_bytes());
        rustix::io::write(&self.socket, &message)?;
        Ok(())
    }

    /// Tells that the process waits at its gate.
    pub(super) fn ready(&self) -> io::Result<()> {
        // A plain write, as a filter may be loaded.
        rustix::io::write(&self.socket, &[READY])?;
        Ok(())
    }

    /// Tells why there is no exec. Where even that fails the caller sees the process end.
    pub(crate) fn error(&self, error: &LaunchError) {
        if let Some(text) = text_of(error) {
            let mut message = vec![ERROR];
            message.extend(text);
            // A plain write, as it must pass whatever filter is loaded already.
            let _ = rustix::io::write(&self.socket, &message);
        }
    }
}

/// An error as it is told, no longer than the other side reads.
pub(super) fn text_of(error: &LaunchError) -> Option<Vec<u8>> {
    let mut error = error.clone();
    if error.message.len() > LONGEST {
        let end = error.message.floor_char_boundary(LONGEST);
        error.message.truncate(end);
    }
    serde_json::to_vec(&error).ok()
}

/// The number told by [`Report::made`]; none where the other side ended before.
pub(super) fn listen_for_made(socket: &OwnedFd) -> Result<Option<i32>, LaunchError> {
    let mut buffer = vec![0; 4 * LONGEST];
    let (count, _) = socket::receive_with_fds(socket.as_fd(), &mut buffer)
        .at(Stage::Prepare, "hear from the container's process")?;
    match buffer[..count].split_first() {
        Some((&MADE, pid)) => Ok(pid.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))),
        Some((_, text)) => match serde_json::from_slice(text) {
            Ok(error) => Err(error),
            Err(_) => Ok(None),
        },
        None => Ok(None),
    }
}

/// The caller's end: waits for the exec, or the gate; the terminal, where one was sent. `hooks` is called when it
/// is time for them.
pub(crate) fn listen(
    socket: OwnedFd,
    hooks: &mut dyn FnMut(&OwnedFd) -> Result<(), LaunchError>,
) -> Result<Option<OwnedFd>, LaunchError> {
    // JSON may double the text.
    let mut buffer = vec![0; 4 * LONGEST];
    let mut terminal = None;
    loop {
        let (count, descriptors) = socket::receive_with_fds(socket.as_fd(), &mut buffer)
            .at(Stage::Prepare, "hear from the container's process")?;
        match buffer[..count].split_first() {
            None | Some((&READY, _)) => return Ok(terminal),
            Some((&HOOKS, _)) => hooks(&socket)?,
            Some((&TERMINAL, _)) => terminal = descriptors.into_iter().next(),
            Some((_, text)) => {
                return Err(serde_json::from_slice(text).unwrap_or_else(|_| {
                    LaunchError::new(
                        Stage::Prepare,
                        LaunchErrorKind::System,
                        "the container's process failed and could not say why",
                    )
                }));
            }
        }
    }
}
