//! Ports of the host: who of our sandboxes has which, and the sockets that keep other programs off them.

use crate::settings::{Protocol, PublishedPort};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A bound socket; the port is reserved as long as one copy of it lives.
#[derive(Clone, Debug)]
pub(crate) struct Reservation {
    pub(crate) port: PublishedPort,
    /// None for a protocol of which the kernel has no sockets.
    pub(crate) socket: Option<Arc<OwnedFd>>,
}

impl Reservation {
    /// The name under which another process keeps the socket.
    pub(crate) fn name(port: &PublishedPort) -> String {
        format!("port/{}/{}", port.protocol, SocketAddr::new(port.host_address, port.host_port))
    }
}

/// Binds a port. TCP sockets listen, because only a listening socket keeps off programs that set `SO_REUSEADDR`, and
/// because the proxy accepts what no rule redirected. They set it themselves, so that connections of an earlier server
/// that wait for their end are no obstacle.
pub(crate) fn reserve(port: PublishedPort) -> io::Result<Reservation> {
    let family = if port.host_address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, protocol) = match port.protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = match net::socket_with(family, kind, flags, Some(protocol)) {
        Ok(socket) => socket,
        Err(_) if port.protocol == Protocol::Sctp => return Ok(Reservation { port, socket: None }),
        Err(errno) => return Err(errno.into()),
    };
    if family == AddressFamily::INET6 {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if port.protocol == Protocol::Tcp {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    } else {
        // Nobody reads it.
        let _ = sockopt::set_socket_recv_buffer_size(&socket, 0);
    }
    net::bind(&socket, &SocketAddr::new(port.host_address, port.host_port))?;
    if port.protocol == Protocol::Tcp {
        net::listen(&socket, 128)?;
    }
    Ok(Reservation { port, socket: Some(Arc::new(socket)) })
}

/// Whether this host has IPv6 at all.
pub(crate) fn has_ipv6() -> bool {
    net::socket_with(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .is_ok_and(|socket| net::bind(&socket, &SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0)).is_ok())
}

/// Which ports the kernel gives to programs that ask for any.
pub(crate) fn ephemeral_range() -> (u16, u16) {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| {
            let mut numbers = text.split_ascii_whitespace().map(str::parse::<u16>);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .filter(|(first, last)| first <= last)
        .unwrap_or((32768, 60999))
}

/// The addresses that a mapping without a host address means.
pub(crate) fn default_addresses(configured: Option<IpAddr>, ipv6: bool) -> Vec<IpAddr> {
    match configured {
        Some(address) if !(address.is_unspecified() && address.is_ipv4()) => vec![address],
        _ if ipv6 => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        _ => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
    }
}

/// Which sandbox has which port.
#[derive(Debug, Default)]
pub(crate) struct PortTable {
    /// By protocol and port: addresses with the sandbox that has each.
    taken: HashMap<(Protocol, u16), Vec<(IpAddr, String)>>,
    /// The ephemeral port given out last.
    last: u16,
}

impl PortTable {
    /// The sandbox that has a port, on the same address or because one of the two is all addresses.
    pub(crate) fn holder(&self, port: &PublishedPort) -> Option<&str> {
        let holders = self.taken.get(&(port.protocol, port.host_port))?;
        holders.iter().find(|(address, _)| collide(*address, port.host_address)).map(|(_, id)| id.as_str())
    }

    pub(crate) fn take(&mut self, port: &PublishedPort, sandbox: &str) {
        self.taken
            .entry((port.protocol, port.host_port))
            .or_default()
            .push((port.host_address, sandbox.to_owned()));
    }

    pub(crate) fn release(&mut self, port: &PublishedPort, sandbox: &str) {
        let key = (port.protocol, port.host_port);
        if let Some(holders) = self.taken.get_mut(&key) {
            holders.retain(|(address, id)| !(*address == port.host_address && id == sandbox));
            if holders.is_empty() {
                self.taken.remove(&key);
            }
        }
    }

    /// Ports to try, in order: those of a range, or the ephemeral ones from where the last search ended.
    pub(crate) fn candidates(
        &self,
        first: u16,
        last: u16,
        ephemeral: bool,
    ) -> impl Iterator<Item = u16> + use<> {
        let start = if ephemeral && (first..last).contains(&self.last) { self.last + 1 } else { first };
        (start..=last).chain(first..start)
    }

    pub(crate) fn remember(&mut self, port: u16) {
        self.last = port;
    }
}

fn collide(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4() && (one == other || one.is_unspecified() || other.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(address: &str, number: u16) -> PublishedPort {
        PublishedPort {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_address: address.parse().unwrap(),
            host_port: number,
        }
    }

    #[test]
    fn all_addresses_collide_with_each() {
        let mut table = PortTable::default();
        table.take(&port("127.0.0.1", 80), "a");
        for (address, holder) in
            [("127.0.0.1", Some("a")), ("0.0.0.0", Some("a")), ("127.0.0.2", None), ("::", None)]
        {
            assert_eq!(table.holder(&port(address, 80)), holder, "{address}");
        }
        let udp = PublishedPort { protocol: Protocol::Udp, ..port("127.0.0.1", 80) };
        assert_eq!(table.holder(&udp), None);
        table.release(&port("127.0.0.1", 80), "b");
        assert_eq!(table.holder(&port("127.0.0.1", 80)), Some("a"));
        table.release(&port("127.0.0.1", 80), "a");
        assert!(table.taken.is_empty());
    }

    #[test]
    fn ephemeral_ports_go_round() {
        let mut table = PortTable::default();
        let list = |table: &PortTable, ephemeral| table.candidates(10, 13, ephemeral).collect::<Vec<_>>();
        assert_eq!(list(&table, true), [10, 11, 12, 13]);
        table.remember(11);
        assert_eq!(list(&table, true), [12, 13, 10, 11]);
        assert_eq!(list(&table, false), [10, 11, 12, 13]);
        table.remember(13);
        assert_eq!(list(&table, true), [10, 11, 12, 13]);
    }

    #[test]
    fn a_reserved_port_is_kept_from_others() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let reservation = reserve(port("127.0.0.1", free)).unwrap();
        // The standard library sets SO_REUSEADDR.
        assert_eq!(
            std::net::TcpListener::bind(("127.0.0.1", free)).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert_eq!(reserve(port("127.0.0.1", free)).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(reservation);
        reserve(port("127.0.0.1", free)).unwrap();
    }
}
