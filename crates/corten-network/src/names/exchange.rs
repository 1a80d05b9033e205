//! Asking other servers: one exchange is one query that waits for a server's reply, then the next server's.

use super::message::{self, LONGEST};
use super::settings::Upstream;
use corten_sys::netlink::namespace;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Who waits for the reply.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker {
    /// A program behind this address, by UDP.
    Packet(SocketAddrV4),
    /// The connection with this number.
    Connection(u64),
}

/// A query under way.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) asker: Asker,
    /// The number of the sandbox's station.
    pub(super) station: u64,
    /// As it came.
    pub(super) query: Vec<u8>,
    /// Which of the servers comes next.
    pub(super) next: usize,
    /// Under which number the present server was asked.
    pub(super) id: u16,
    pub(super) socket: OwnedFd,
    /// By TCP: what is still to be written, and what was read.
    pub(super) stream: Option<Stream>,
}

/// Both directions of an exchange by TCP.
#[derive(Debug, Default)]
pub(super) struct Stream {
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

/// How an exchange stands after its socket had something to say.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing yet.
    Waiting,
    /// The server's reply.
    Reply(Vec<u8>),
    /// This server does not answer.
    Failed,
}

/// A query to a server, sent or about to be: the socket, and the number that the query has there.
pub(super) fn begin(
    query: &[u8],
    upstream: &Upstream,
    tcp: bool,
    home: BorrowedFd<'_>,
    inside: BorrowedFd<'_>,
) -> io::Result<(OwnedFd, u16, Option<Stream>)> {
    let socket = open(upstream, tcp, home, inside)?;
    let mut number = [0; 2];
    // Nobody may guess it.
    rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty())?;
    let id = u16::from_ne_bytes(number);
    let connected = net::connect(&socket, &upstream.address);
    let mut query = query.to_vec();
    message::set_id(&mut query, id);
    if tcp {
        match connected {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        return Ok((socket, id, Some(Stream { outgoing: framed(&query), incoming: Vec::new() })));
    }
    connected?;
    net::send(&socket, &query, SendFlags::NOSIGNAL)?;
    Ok((socket, id, None))
}

/// A socket where the server can be reached: in the host's namespace, or in the container's.
fn open(upstream: &Upstream, tcp: bool, home: BorrowedFd<'_>, inside: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let family = if upstream.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if tcp { SocketType::STREAM } else { SocketType::DGRAM };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let make = || Ok(net::socket_with(family, kind, flags, None)?);
    if upstream.from_host {
        return make();
    }
    namespace::enter(inside)?;
    let socket = make();
    // This thread has to come back: what it opens next is somebody else's.
    namespace::enter(home).expect("the way back to the host's network namespace");
    socket
}

/// A message with its length before it, as it goes over TCP.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&(message.len() as u16).to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

/// The first whole message of a stream, taken out of it.
pub(super) fn take_framed(stream: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes(stream.get(..2)?.try_into().ok()?));
    let message = stream.get(2..2 + length)?.to_vec();
    stream.drain(..2 + length);
    Some(message)
}

/// Whether a failed call is only to be made again later.
pub(super) fn would_wait(errno: Errno) -> bool {
    matches!(errno, Errno::AGAIN | Errno::INTR)
}

impl Exchange {
    /// Goes on as far as the socket lets it. `buffer` has room for the longest message.
    pub(super) fn step(&mut self, buffer: &mut [u8]) -> Step {
        let Ok(query) = message::read_query(&self.query) else { return Step::Failed };
        if let Some(stream) = &mut self.stream {
            return match stream.step(self.socket.as_fd(), buffer) {
                Ok(None) => Step::Waiting,
                Ok(Some(reply)) if query.is_answered_by(&reply, self.id) => Step::Reply(reply),
                _ => Step::Failed,
            };
        }
        loop {
            match net::recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, length)) => {
                    let reply = &buffer[..length.min(buffer.len())];
                    // Anything else is somebody's guess, and the reply may still come.
                    if query.is_answered_by(reply, self.id) {
                        return Step::Reply(reply.to_vec());
                    }
                }
                Err(errno) if would_wait(errno) => return Step::Waiting,
                Err(_) => return Step::Failed,
            }
        }
    }
}

impl Stream {
    fn step(&mut self, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<Vec<u8>>> {
        while !self.outgoing.is_empty() {
            match net::send(socket, &self.outgoing, SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(errno) if would_wait(errno) => return Ok(None),
                // Not connected yet.
                Err(Errno::NOTCONN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
        loop {
            if let Some(reply) = take_framed(&mut self.incoming) {
                return Ok(Some(reply));
            }
            if self.incoming.len() > LONGEST + 2 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            match net::recv(socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((_, count)) => self.incoming.extend_from_slice(&buffer[..count.min(buffer.len())]),
                Err(errno) if would_wait(errno) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// An IPv4 address; a query cannot come from another.
pub(super) fn ipv4(address: SocketAddr) -> Option<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    }
}
