//! How the new process tells the caller: messages over a socket that the exec closes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_sys::socket;

use crate::error::{Context, LaunchError, LaunchErrorKind, Stage};

const TERMINAL: u8 = b'T';
const ERROR: u8 = b'E';
/// An error's text is cut to this many bytes.
const LONGEST: usize = 16 << 10;

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

    /// Tells why there is no exec. Where even that fails the caller sees the process end.
    pub(crate) fn error(&self, error: &LaunchError) {
        let mut error = error.clone();
        if error.message.len() > LONGEST {
            let end = error.message.floor_char_boundary(LONGEST);
            error.message.truncate(end);
        }
        let mut message = vec![ERROR];
        if serde_json::to_writer(&mut message, &error).is_ok() {
            // A plain write, as it must pass whatever filter is loaded already.
            let _ = rustix::io::write(&self.socket, &message);
        }
    }
}

/// The caller's end: waits for the exec; the terminal, where one was sent.
pub(crate) fn listen(socket: OwnedFd) -> Result<Option<OwnedFd>, LaunchError> {
    // JSON may double the text.
    let mut buffer = vec![0; 4 * LONGEST];
    let mut terminal = None;
    loop {
        let (count, descriptors) = socket::receive_with_fds(socket.as_fd(), &mut buffer)
            .at(Stage::Prepare, "hear from the container's process")?;
        match buffer[..count].split_first() {
            None => return Ok(terminal),
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
