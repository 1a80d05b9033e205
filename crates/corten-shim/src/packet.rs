//! Packets: a document of any length plus any number of descriptors over a SEQPACKET socket.
//!
//! The first byte of each kernel message says what it is:
//!
//! - `0`: the document follows, whole; the message's descriptors belong to it;
//! - `1`: the document is too long for a message and lies in a memory file, the packet's last descriptor;
//! - `2`: descriptors only (the kernel takes 253 at a time); the document follows in a later message.
//!
//! Both ends of the shim's control socket and of the keeper's speak this; so do tests that send rubbish.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const INLINE: u8 = 0;
const IN_FILE: u8 = 1;
const DESCRIPTORS: u8 = 2;

/// Longest document that goes inline, in bytes: well under the kernel's default send buffer of 208 kB.
const LONGEST_INLINE: usize = 64 * 1024;

/// Longest document at all, in bytes: what a hostile or broken peer can make us allocate.
pub const LONGEST: usize = 16 * 1024 * 1024;

/// Most descriptors in one kernel message (`SCM_MAX_FD`).
const MOST_DESCRIPTORS: usize = 253;

/// Most descriptors in one packet.
const MOST_DESCRIPTORS_IN_ALL: usize = 8192;

/// A received packet.
#[derive(Debug, Default)]
pub struct Packet {
    /// The document.
    pub document: Vec<u8>,
    /// The descriptors beside it, in the sender's order.
    pub descriptors: Vec<OwnedFd>,
}

/// Two connected SEQPACKET sockets, close-on-exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// One kernel message of a packet that is to be sent.
#[derive(Debug)]
struct Message {
    kind: u8,
    document: Vec<u8>,
    /// How many of the packet's descriptors go with it.
    descriptors: usize,
}

/// A packet on its way out; holds what could not be sent yet.
#[derive(Debug)]
pub struct Outgoing {
    messages: VecDeque<Message>,
    descriptors: VecDeque<OwnedFd>,
}

impl Outgoing {
    /// Prepares a packet.
    ///
    /// # Errors
    /// Where the document is longer than [`LONGEST`], or a memory file cannot be made.
    pub fn new(document: Vec<u8>, descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        if document.len() > LONGEST || descriptors.len() > MOST_DESCRIPTORS_IN_ALL {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the packet is too long"));
        }
        let mut descriptors = VecDeque::from(descriptors);
        let (kind, document) = if document.len() > LONGEST_INLINE {
            descriptors.push_back(memory_file(&document)?);
            (IN_FILE, Vec::new())
        } else {
            (INLINE, document)
        };
        let mut messages = VecDeque::new();
        let mut left = descriptors.len();
        while left > MOST_DESCRIPTORS {
            messages.push_back(Message {
                kind: DESCRIPTORS,
                document: Vec::new(),
                descriptors: MOST_DESCRIPTORS,
            });
            left -= MOST_DESCRIPTORS;
        }
        messages.push_back(Message { kind, document, descriptors: left });
        Ok(Self { messages, descriptors })
    }

    /// Sends what the socket takes; true when all is gone. Call again after the socket became writable.
    ///
    /// # Errors
    /// Those of sendmsg(2), but for EAGAIN.
    pub fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        while let Some(message) = self.messages.front() {
            let borrowed: Vec<BorrowedFd<'_>> =
                self.descriptors.iter().take(message.descriptors).map(AsFd::as_fd).collect();
            match send_message(socket, message.kind, &message.document, &borrowed) {
                Ok(()) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let count = message.descriptors;
            self.descriptors.drain(..count);
            self.messages.pop_front();
        }
        Ok(true)
    }
}

fn send_message(
    socket: BorrowedFd<'_>,
    kind: u8,
    document: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOBIG);
    }
    let kind = [kind];
    let slices = [IoSlice::new(&kind), IoSlice::new(document)];
    rustix::net::sendmsg(socket, &slices, &mut ancillary, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}

/// Sends a packet and waits while the socket is full.
///
/// # Errors
/// As [`Outgoing::new`] and [`Outgoing::send`].
pub fn send(socket: BorrowedFd<'_>, document: Vec<u8>, descriptors: Vec<OwnedFd>) -> io::Result<()> {
    let mut outgoing = Outgoing::new(document, descriptors)?;
    while !outgoing.send(socket)? {
        wait(socket, PollFlags::OUT)?;
    }
    Ok(())
}

/// Puts packets together from the messages of one socket.
#[derive(Debug, Default)]
pub struct Incoming {
    descriptors: Vec<OwnedFd>,
}

impl Incoming {
    /// The next packet: `Ok(None)` when the socket has none now (EAGAIN).
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer is gone, `InvalidData` when it does not speak packets, else those of recvmsg(2).
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<Option<Packet>> {
        loop {
            let Some(mut message) = receive_message(socket, &mut self.descriptors)? else { return Ok(None) };
            if self.descriptors.len() > MOST_DESCRIPTORS_IN_ALL + 1 {
                return Err(invalid("a packet has too many descriptors"));
            }
            match message[0] {
                DESCRIPTORS => {}
                INLINE => {
                    message.remove(0);
                    return Ok(Some(Packet {
                        document: message,
                        descriptors: std::mem::take(&mut self.descriptors),
                    }));
                }
                IN_FILE => {
                    let mut descriptors = std::mem::take(&mut self.descriptors);
                    let file =
                        descriptors.pop().ok_or_else(|| invalid("a packet's memory file is missing"))?;
                    return Ok(Some(Packet { document: read_memory_file(file)?, descriptors }));
                }
                _ => return Err(invalid("not a packet")),
            }
        }
    }
}

/// The next packet; waits for it.
///
/// # Errors
/// As [`Incoming::receive`].
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Packet> {
    let mut incoming = Incoming::default();
    loop {
        if let Some(packet) = incoming.receive(socket)? {
            return Ok(packet);
        }
        wait(socket, PollFlags::IN)?;
    }
}

/// One kernel message; its descriptors are appended. None: there is none now.
fn receive_message(socket: BorrowedFd<'_>, descriptors: &mut Vec<OwnedFd>) -> io::Result<Option<Vec<u8>>> {
    // The length first: a shim shall not keep 64 kB for what is mostly a hundred bytes.
    let peek = RecvFlags::PEEK | RecvFlags::TRUNC | RecvFlags::DONTWAIT;
    let length =
        match retry(|| peeked(rustix::net::recv(socket, &mut [0_u8; 1][..], peek).map(|(_, length)| length)))
        {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
    if length > LONGEST_INLINE + 1 {
        return Err(invalid("a message is too long"));
    }
    let mut message = vec![0_u8; length];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received =
        retry(|| rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut message)], &mut ancillary, flags))?;
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = part {
            descriptors.extend(passed);
        }
    }
    if received.bytes != length {
        return Err(invalid("a message was cut"));
    }
    Ok(Some(message))
}

/// A peer that ended with requests of ours unread leaves an error on the socket, told once and in front of what it
/// had sent before: look again.
fn peeked(result: Result<usize, Errno>) -> Result<usize, Errno> {
    result.map_err(|error| if error == Errno::CONNRESET { Errno::INTR } else { error })
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// A memory file that holds `bytes`, sealed against change.
pub fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let file = rustix::fs::memfd_create("packet", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(file);
    file.write_all(bytes)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

/// What a memory file holds, up to [`LONGEST`] bytes.
pub fn read_memory_file(file: OwnedFd) -> io::Result<Vec<u8>> {
    let mut file = std::fs::File::from(file);
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(LONGEST as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > LONGEST { Err(invalid("a packet is too long")) } else { Ok(bytes) }
}

/// Waits until the socket can be read or written.
fn wait(socket: BorrowedFd<'_>, what: PollFlags) -> io::Result<()> {
    retry(|| poll(&mut [PollFd::from_borrowed_fd(socket, what)], None))?;
    Ok(())
}

/// Repeats a call that a signal interrupted.
pub(crate) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptors(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| memory_file(b"x").unwrap()).collect()
    }

    #[test]
    fn documents_of_any_length_and_many_descriptors_arrive() {
        for (length, count) in
            [(0, 0), (10, 1), (LONGEST_INLINE, 253), (LONGEST_INLINE + 1, 253), (1 << 20, 600)]
        {
            let (left, right) = pair().unwrap();
            let document = vec![7_u8; length];
            let sent = document.clone();
            let sender = std::thread::spawn(move || send(left.as_fd(), sent, descriptors(count)).unwrap());
            let packet = receive(right.as_fd()).unwrap();
            sender.join().unwrap();
            assert_eq!(packet.document, document);
            assert_eq!(packet.descriptors.len(), count);
            assert_eq!(receive(right.as_fd()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn rubbish_is_an_error_and_no_crash() {
        for rubbish in [&b"\x01"[..], b"\x09abc", &vec![0; LONGEST_INLINE + 2]] {
            let (left, right) = pair().unwrap();
            rustix::net::send(&left, rubbish, SendFlags::empty()).unwrap();
            assert_eq!(receive(right.as_fd()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
