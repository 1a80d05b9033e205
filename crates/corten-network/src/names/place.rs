//! The sockets on which a sandbox's queries arrive: 127.0.0.11, port 53, as programs inside see it.
//!
//! The sockets have ports of their own, and four stateless rules inside the namespace change 53 into them and back.
//! Bound to port 53 itself they would be in the way of containers that are name servers: binding 0.0.0.0:53, as most
//! of those do, would be refused. Where the kernel has no nftables, port 53 is taken nevertheless, as names matter to
//! more containers.

use crate::error::NetworkError;
use corten_sys::netlink::nftables::{self as nft, Hook, IPV4, Meta, REGISTER, Rule};
use corten_sys::netlink::{Batch, NetlinkError, Protocol, Socket, namespace};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Where a container finds its resolver.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// The port of name servers.
const PORT: u16 = 53;
/// The table inside.
const TABLE: &str = "corten-names";

/// The two sockets of a sandbox; they stay in its namespace, whoever has them.
#[derive(Debug)]
pub struct NameSockets {
    /// Queries of one packet.
    pub(crate) udp: OwnedFd,
    /// Connections with queries.
    pub(crate) tcp: OwnedFd,
}

impl NameSockets {
    /// Opens the sockets in the calling thread's namespace, and makes the rules there. In one that is not fresh there
    /// may be the rules of sockets that were lost.
    pub(crate) fn open(fresh: bool) -> io::Result<Self> {
        let sockets = Self::bind(0)?;
        match sockets.write_rules(fresh) {
            Ok(()) => Ok(sockets),
            Err(error) => {
                tracing::debug!(error = %corten_std::chain(&error), "names are served without rules");
                drop(sockets);
                Self::bind(PORT)
            }
        }
    }

    /// Opens them in a namespace, on a thread of its own.
    pub(crate) fn open_in(space: BorrowedFd<'_>) -> Result<Self, NetworkError> {
        let open = || {
            namespace::enter(space)?;
            Self::open(false)
        };
        let lost = || Err(io::ErrorKind::Other.into());
        std::thread::scope(|scope| scope.spawn(open).join().unwrap_or_else(|_| lost()))
            .map_err(|source| NetworkError::System { operation: "open the sockets for names", source })
    }

    /// Tells which is which of descriptors that another process kept.
    pub fn from_kept(descriptors: Vec<OwnedFd>) -> Option<Self> {
        let is =
            |descriptor: &OwnedFd, kind| sockopt::socket_type(descriptor).is_ok_and(|found| found == kind);
        let (mut udp, mut tcp) = (None, None);
        for descriptor in descriptors {
            if is(&descriptor, SocketType::DGRAM) {
                udp = Some(descriptor);
            } else if is(&descriptor, SocketType::STREAM) {
                tcp = Some(descriptor);
            }
        }
        Some(Self { udp: udp?, tcp: tcp? })
    }

    /// Copies, for a process that outlives this one.
    pub(crate) fn copies(&self) -> io::Result<Vec<OwnedFd>> {
        Ok(vec![self.udp.try_clone()?, self.tcp.try_clone()?])
    }

    fn bind(port: u16) -> io::Result<Self> {
        let open = |kind| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = net::socket_with(AddressFamily::INET, kind, flags, None)?;
            net::bind(&socket, &SocketAddr::from((ADDRESS, port)))?;
            io::Result::Ok(socket)
        };
        let sockets = Self { udp: open(SocketType::DGRAM)?, tcp: open(SocketType::STREAM)? };
        net::listen(&sockets.tcp, 128)?;
        Ok(sockets)
    }

    fn write_rules(&self, fresh: bool) -> Result<(), NetlinkError> {
        let port = |socket: &OwnedFd| {
            net::getsockname(socket.as_fd())
                .ok()
                .and_then(|address| SocketAddr::try_from(address).ok())
                .map_or(0, |address| address.port())
        };
        let mut socket = Socket::open(Protocol::Netfilter)?;
        let stale = !fresh && nft::table_flags(&mut socket, TABLE)?.is_some();
        let mut batch = Batch::new();
        nft::begin(&mut batch);
        if stale {
            // The kernel takes some ten milliseconds for this.
            nft::delete_table(&mut batch, TABLE);
        }
        nft::add_table(&mut batch, TABLE, 0);
        // Before and behind connection tracking, which so sees the same port in both directions.
        nft::add_base_chain(&mut batch, TABLE, "asked", "filter", Hook::Output, -300);
        nft::add_base_chain(&mut batch, TABLE, "answered", "filter", Hook::Output, 300);
        for (protocol, checksum, port) in [(17, 6, port(&self.udp)), (6, 16, port(&self.tcp))] {
            const SOURCE: u32 = 12;
            const DESTINATION: u32 = 16;
            let asked = rewrite(DESTINATION, protocol, 2, PORT, port, checksum);
            let answered = rewrite(SOURCE, protocol, 0, port, PORT, checksum);
            nft::add_rule(&mut batch, TABLE, "asked", &asked);
            nft::add_rule(&mut batch, TABLE, "answered", &answered);
        }
        nft::end(&mut batch);
        socket.send(batch)
    }
}

/// Changes a port of packets to or from [`ADDRESS`].
fn rewrite(address: u32, protocol: u8, offset: u32, from: u16, to: u16, checksum: u32) -> Rule {
    Rule::new()
        .family(IPV4)
        .network(address, 4, REGISTER)
        .compare(REGISTER, true, &ADDRESS.octets())
        .meta(Meta::Transport, REGISTER)
        .compare(REGISTER, true, &[protocol])
        .transport(offset, 2, REGISTER)
        .compare(REGISTER, true, &from.to_be_bytes())
        .load(REGISTER, &to.to_be_bytes())
        .write_transport(offset, 2, REGISTER, checksum)
}
