//! Sending and receiving what outlives a process: a document with descriptors that waits on standard input.

use crate::Listener;
use crate::protocol::{HandOver, Role, RunningDaemon, Setup, VERSION};
use corten_shim::packet;
use rustix::net::SocketType;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The descriptors by meaning.
#[derive(Debug)]
pub(crate) struct Inheritance {
    pub(crate) setup: Setup,
    pub(crate) daemon: Option<RunningDaemon>,
    pub(crate) channel: Option<OwnedFd>,
    pub(crate) lock: Option<OwnedFd>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) held: BTreeMap<String, Vec<OwnedFd>>,
}

/// Sends copies of what is kept; the receiver may not be there yet.
pub(crate) fn send(
    socket: impl AsFd,
    setup: &Setup,
    lock: Option<&OwnedFd>,
    listeners: &[Listener],
    held: &BTreeMap<String, Vec<OwnedFd>>,
    daemon: Option<(RunningDaemon, &OwnedFd)>,
) -> io::Result<()> {
    let mut roles = Vec::new();
    let mut descriptors = Vec::new();
    let mut add = |role, descriptor: &OwnedFd| -> io::Result<()> {
        roles.push(role);
        descriptors.push(descriptor.try_clone()?);
        Ok(())
    };
    for Listener { name, descriptor, passed } in listeners {
        add(Role::Listener { name: name.clone(), passed: *passed }, descriptor)?;
    }
    for (name, held) in held {
        for descriptor in held {
            add(Role::Held { name: name.clone() }, descriptor)?;
        }
    }
    if let Some(lock) = lock {
        add(Role::Lock, lock)?;
    }
    if let Some((_, channel)) = daemon {
        add(Role::Channel, channel)?;
    }
    let document = HandOver {
        version: VERSION,
        setup: setup.clone(),
        daemon: daemon.map(|(daemon, _)| daemon),
        descriptors: roles,
    };
    packet::send(socket.as_fd(), serde_json::to_vec(&document)?, descriptors)
}

/// Receives it.
pub(crate) fn receive(socket: impl AsFd) -> io::Result<Inheritance> {
    let packet = packet::receive(socket.as_fd())?;
    let document: HandOver = serde_json::from_slice(&packet.document)?;
    let mut inheritance = Inheritance {
        setup: document.setup,
        daemon: document.daemon,
        channel: None,
        lock: None,
        listeners: Vec::new(),
        held: BTreeMap::new(),
    };
    for (role, descriptor) in document.descriptors.into_iter().zip(packet.descriptors) {
        match role {
            Role::Listener { name, passed } => {
                inheritance.listeners.push(Listener { name, descriptor, passed });
            }
            Role::Held { name } => inheritance.held.entry(name).or_default().push(descriptor),
            Role::Lock => inheritance.lock = Some(descriptor),
            Role::Channel => inheritance.channel = Some(descriptor),
            Role::Unknown => {}
        }
    }
    Ok(inheritance)
}

/// Takes the socket on standard input, which becomes `/dev/null`.
///
/// # Errors
/// `InvalidInput` where standard input is not such a socket: this process was not started by a keeper.
pub(crate) fn take_standard_input() -> io::Result<OwnedFd> {
    let stdin = rustix::stdio::stdin();
    match rustix::net::sockopt::socket_type(stdin) {
        Ok(SocketType::SEQPACKET) => {}
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "standard input is not a keeper's socket",
            ));
        }
    }
    let socket = rustix::io::fcntl_dupfd_cloexec(stdin, 3)?;
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?;
    corten_sys::descriptor::place_stdio(null.as_fd(), 0)?;
    Ok(socket)
}
