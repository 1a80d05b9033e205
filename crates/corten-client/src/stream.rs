//! A container's streams: the raw socket, and the frames on it.
//!
//! Without a terminal, output comes in frames: one byte for the stream, three zeros, the length in big-endian order,
//! the bytes. With a terminal there are no frames.

use crate::{ClientError, Reply};
use corten_http::client::Stream;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// A connection taken over.
#[derive(Debug)]
pub struct Raw {
    stream: Stream,
    /// What came with the head of the answer.
    early: Vec<u8>,
}

impl Raw {
    /// Takes over the reply's connection.
    pub(crate) fn of(reply: Reply) -> Result<Self, ClientError> {
        match reply.into_raw() {
            Some((stream, early)) => Ok(Self { stream, early }),
            None => Err(ClientError::BadTarget("the connection is gone".to_owned())),
        }
    }

    /// What came with the head of the answer; empty after the first call.
    pub fn take_early(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.early)
    }

    /// Reads what is there, or waits for something; 0 at the end. A reset counts as the end, because a peer that
    /// has gone sends nothing more.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.stream, &mut *buffer) {
                Ok(count) => return Ok(count),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(0),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends without waiting; gives how much was taken, or nothing where the socket is full.
    pub fn send_some(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        use rustix::net::SendFlags;
        match rustix::net::send(&self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => Ok(Some(count)),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the other side that no input comes any more.
    pub fn finish_input(&self) {
        let _ = self.stream.shutdown_write();
    }
}

impl AsFd for Raw {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Where a frame's bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Standard output (and the echo of input).
    Output,
    /// Standard error.
    Error,
    /// An error of the daemon that ends the stream.
    System,
}

/// Where payload goes, with whether it begins a frame; its first failure ends the feeding.
pub type Sink<'a, E> = dyn FnMut(Channel, bool, &[u8]) -> Result<(), E> + 'a;

/// Takes frames apart, whatever way they are cut into packets.
#[derive(Debug, Default)]
pub struct Deframer {
    header: [u8; 8],
    /// So many bytes of the header are there.
    filled: usize,
    /// So many bytes of the frame are still to come.
    left: usize,
    /// Whether the next byte is the frame's first.
    first: bool,
}

impl Deframer {
    /// Gives the payload in these bytes to `sink`, piece by piece.
    pub fn feed<E>(&mut self, mut bytes: &[u8], sink: &mut Sink<'_, E>) -> Result<(), E> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let count = bytes.len().min(8 - self.filled);
                self.header[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
                self.filled += count;
                bytes = &bytes[count..];
                if self.filled == 8 {
                    let [_, _, _, _, length @ ..] = self.header;
                    self.left = u32::from_be_bytes(length) as usize;
                    self.filled = 0;
                    self.first = true;
                }
                continue;
            }
            let count = bytes.len().min(self.left);
            let channel = match self.header[0] {
                2 => Channel::Error,
                3 => Channel::System,
                _ => Channel::Output,
            };
            sink(channel, std::mem::take(&mut self.first), &bytes[..count])?;
            self.left -= count;
            bytes = &bytes[count..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_apart_however_they_are_cut() {
        let mut wire = Vec::new();
        for (stream, text) in [(1_u8, "out"), (2, "error"), (1, ""), (3, "gone")] {
            wire.extend([stream, 0, 0, 0]);
            wire.extend((text.len() as u32).to_be_bytes());
            wire.extend(text.as_bytes());
        }
        for size in 1..wire.len() {
            let mut texts = [String::new(), String::new(), String::new()];
            let mut deframer = Deframer::default();
            for packet in wire.chunks(size) {
                deframer
                    .feed::<()>(packet, &mut |channel, _, bytes| {
                        let at = match channel {
                            Channel::Output => 0,
                            Channel::Error => 1,
                            Channel::System => 2,
                        };
                        texts[at].push_str(std::str::from_utf8(bytes).unwrap());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(texts, ["out", "error", "gone"], "cut at {size}");
        }
    }
}
