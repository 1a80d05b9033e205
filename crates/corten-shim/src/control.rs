//! The shim's control socket: the listener in the run folder, and the daemons connected to it.

use crate::packet::{Incoming, Outgoing, Packet};
use crate::protocol::{ClientPacket, Failure, FailureCode, Reply, SOCKET_NAME, ServerPacket};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Most packets waiting for a daemon that does not read; then its connection is given up.
const LONGEST_QUEUE: usize = 1024;

/// The address of the socket in a run folder, by way of an open descriptor of the folder (which must live until the
/// address was used): a socket's path ends at 107 bytes, a run folder's may be longer.
pub(crate) fn address(run_dir: &Path) -> io::Result<(OwnedFd, SocketAddrUnix)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(run_dir, flags, Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET_NAME}", folder.as_raw_fd()))?;
    Ok((folder, address))
}

/// Listens in a run folder; what an earlier shim left is replaced.
pub(crate) fn listen(run_dir: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let (folder, address) = address(run_dir)?;
    match rustix::fs::unlinkat(&folder, SOCKET_NAME, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

/// A daemon's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    incoming: Incoming,
    outgoing: VecDeque<Outgoing>,
    /// It has said hello (or is the one the shim was born with) and is told events.
    pub(crate) subscribed: bool,
    /// The other end is gone, or broke the rules.
    pub(crate) gone: bool,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd, subscribed: bool) -> Self {
        Self { socket, incoming: Incoming::default(), outgoing: VecDeque::new(), subscribed, gone: false }
    }

    /// Gives the socket back; what is queued is lost.
    pub(crate) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Whether something waits for the socket to become writable.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The next request with its descriptors. A document that is not understood is answered here.
    pub(crate) fn receive(&mut self) -> Option<(ClientPacket, Vec<OwnedFd>)> {
        while !self.gone {
            match self.incoming.receive(self.socket.as_fd()) {
                Ok(Some(Packet { document, descriptors })) => match decode(&document) {
                    Ok(packet) => return Some((packet, descriptors)),
                    Err(Some((sequence, failure))) => self.reply(sequence, Err(failure), Vec::new()),
                    // Not even a number to answer to.
                    Err(None) => self.gone = true,
                },
                Ok(None) => return None,
                Err(_) => self.gone = true,
            }
        }
        None
    }

    /// Answers a request.
    pub(crate) fn reply(&mut self, sequence: u64, result: Result<Reply, Failure>, descriptors: Vec<OwnedFd>) {
        self.send(&ServerPacket::Reply { sequence, result }, descriptors);
    }

    /// Sends, or queues what the socket does not take.
    pub(crate) fn send(&mut self, packet: &ServerPacket, descriptors: Vec<OwnedFd>) {
        if self.gone {
            return;
        }
        let outgoing = serde_json::to_vec(packet)
            .map_err(io::Error::from)
            .and_then(|document| Outgoing::new(document, descriptors));
        match outgoing {
            Ok(outgoing) => self.outgoing.push_back(outgoing),
            Err(_) => self.gone = true,
        }
        self.flush();
        self.gone |= self.outgoing.len() > LONGEST_QUEUE;
    }

    /// Sends what is queued, as far as the socket takes it.
    pub(crate) fn flush(&mut self) {
        while let Some(packet) = self.outgoing.front_mut() {
            match packet.send(self.socket.as_fd()) {
                Ok(true) => {
                    self.outgoing.pop_front();
                }
                Ok(false) => return,
                Err(_) => {
                    self.gone = true;
                    self.outgoing.clear();
                }
            }
        }
    }
}

/// A failure without a runtime's error.
pub(crate) fn failure(code: FailureCode, message: impl Into<String>) -> Failure {
    Failure { code, message: message.into(), launch: None }
}

/// Reads a request. The error carries the request's number and what to answer, where a number could be read.
fn decode(document: &[u8]) -> Result<ClientPacket, Option<(u64, Failure)>> {
    #[derive(serde::Deserialize)]
    struct Envelope {
        sequence: u64,
    }
    serde_json::from_slice::<ClientPacket>(document).map_err(|error| {
        let envelope: Envelope = serde_json::from_slice(document).ok()?;
        // A name that serde does not know is a newer daemon's request; everything else is a broken document.
        let text = error.to_string();
        let code =
            if text.starts_with("unknown variant") { FailureCode::Unsupported } else { FailureCode::Invalid };
        Some((envelope.sequence, failure(code, format!("the shim does not understand the request: {text}"))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Request, Target};
    use proptest::prelude::*;

    #[test]
    fn a_newer_daemons_request_is_answered() {
        let (sequence, failure) =
            decode(br#"{"sequence":7,"request":{"levitate":{"height":3}}}"#).unwrap_err().unwrap();
        assert_eq!((sequence, failure.code), (7, FailureCode::Unsupported));
        let (sequence, failure) = decode(br#"{"sequence":8,"request":{"resize":{}}}"#).unwrap_err().unwrap();
        assert_eq!((sequence, failure.code), (8, FailureCode::Invalid));
        assert!(decode(b"[]").unwrap_err().is_none());
    }

    #[test]
    fn unknown_fields_are_accepted() {
        let packet = decode(
            br#"{"sequence":1,"later":1,"request":{"signal":{"target":{"x":1},"signal":9,"why":"x"}}}"#,
        );
        assert!(matches!(
            packet.unwrap().request,
            Request::Signal { signal: 9, target: Target { exec_id: None, .. } }
        ));
    }

    proptest! {
        #[test]
        fn rubbish_does_not_crash(document: Vec<u8>) {
            let _ = decode(&document);
        }

        #[test]
        fn rubbish_inside_a_packet_is_answered(text in "[a-z{}\\[\\]\":0-9,]{0,60}") {
            let _ = decode(format!(r#"{{"sequence":1,"request":{text}}}"#).as_bytes());
        }
    }
}
