//! Network namespaces from the inside: what a container finds when it starts.

use crate::error::NetworkError;
use crate::names::NameSockets;
use corten_sys::netlink::route::{self, VethPair};
use corten_sys::netlink::{Batch, NetlinkError, Protocol, Socket, namespace};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The loopback interface's number in every namespace.
const LOOPBACK: u32 = 1;
/// The interface that a container has on its first network.
pub(crate) const INTERFACE: &str = "eth0";

/// A namespace that is not yet anyone's.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// Entered by the container.
    pub(crate) descriptor: OwnedFd,
    /// An rtnetlink socket inside.
    pub(crate) inside: Socket,
    /// The sockets for its names, where it has some.
    pub(crate) names: Option<NameSockets>,
}

/// Addresses of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addressing {
    pub(crate) ipv4: Option<Placed>,
    pub(crate) ipv6: Option<Placed>,
}

/// An address with what surrounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
    /// None in a network that leads nowhere.
    pub(crate) gateway: Option<IpAddr>,
}

impl Addressing {
    /// What there is of both families.
    pub(crate) fn all(&self) -> impl Iterator<Item = Placed> + use<> {
        self.ipv4.into_iter().chain(self.ipv6)
    }

    /// Whether it is the place that has this address.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.all().any(|placed| placed.address == address)
    }
}

/// Makes a namespace whose loopback is up, or takes one that is new. The calling thread must be one that nobody else
/// uses: it leaves its namespace and comes back to `home`.
pub(crate) fn make(
    home: BorrowedFd<'_>,
    new: Option<OwnedFd>,
    ipv6: bool,
    names: bool,
) -> Result<Namespace, NetworkError> {
    let fail = |operation| move |source| NetworkError::System { operation, source };
    match new {
        None => namespace::unshare().map_err(fail("make a network namespace"))?,
        Some(new) => namespace::enter(new.as_fd()).map_err(fail("enter a network namespace"))?,
    }
    let made = inside(ipv6, names);
    // Left where it is, the thread would make everything that follows in a container's namespace.
    namespace::enter(home).map_err(fail("come back from a network namespace"))?;
    made
}

fn inside(ipv6: bool, names: bool) -> Result<Namespace, NetworkError> {
    let descriptor = namespace::current()
        .map_err(|source| NetworkError::System { operation: "open a network namespace", source })?;
    let mut inside = Socket::open(Protocol::Route).map_err(|source| kernel("open a socket", source))?;
    // What Docker sets in every container: unprivileged programs may ping, and bind any port.
    set("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
    set("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    if !ipv6 {
        // Interfaces that come now have no IPv6; the loopback keeps ::1.
        set("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    }
    let mut batch = Batch::new();
    route::set_up(&mut batch, LOOPBACK, true);
    inside.send(batch).map_err(|source| kernel("switch on the loopback interface", source))?;
    // Where this fails it is tried again when they are needed, and told.
    let names = if names { NameSockets::open(true).ok() } else { None };
    Ok(Namespace { descriptor, inside, names })
}

fn kernel(operation: &'static str, source: NetlinkError) -> NetworkError {
    NetworkError::Kernel { operation, subject: "none".to_owned(), source }
}

/// Writes a kernel setting of the calling thread's namespace. One that does not exist here is no reason to fail.
pub(crate) fn set(path: &str, value: &str) {
    let _: io::Result<()> = fs::write(path, value);
}

/// Connects a namespace to a bridge and gives it its addresses and default routes. `host` is a socket in the bridge's
/// namespace. Returns the near end's number.
pub(crate) fn connect(
    host: &mut Socket,
    space: &mut Namespace,
    cable: &CablePlan<'_>,
    addressing: &Addressing,
) -> Result<u32, NetlinkError> {
    let near = lay_cable(host, space.descriptor.as_fd(), cable)?;
    let index = interface_index(&mut space.inside, cable.peer_name)?;
    let mut batch = Batch::new();
    route::set_up(&mut batch, index, true);
    add_addresses(&mut batch, index, addressing);
    add_routes(&mut batch, index, addressing);
    space.inside.send(batch)?;
    wait_for_bridge(host, near, cable.bridge)?;
    Ok(near)
}

/// Lays a cable from a bridge into a namespace, where its end is down yet. Returns the near end's number.
pub(crate) fn lay_cable(
    host: &mut Socket,
    namespace: BorrowedFd<'_>,
    cable: &CablePlan<'_>,
) -> Result<u32, NetlinkError> {
    let mut batch = Batch::new();
    route::create_veth(
        &mut batch,
        &VethPair {
            name: cable.name,
            bridge: cable.bridge,
            mtu: cable.mtu,
            peer_name: cable.peer_name,
            peer_mac: cable.mac,
            peer_namespace: namespace,
        },
    );
    host.send(batch)?;
    let near = route::link(host, cable.name)?.map_or(0, |link| link.index);
    if cable.isolated {
        let mut batch = Batch::new();
        route::set_port(&mut batch, near, None, Some(true));
        host.send(batch)?;
    }
    Ok(near)
}

/// Waits until the kernel has noticed that a cable is connected.
pub(crate) fn wait_for_bridge(host: &mut Socket, near: u32, bridge: u32) -> Result<(), NetlinkError> {
    wait_for_carrier(host, near)?;
    wait_for_carrier(host, bridge)
}

/// Waits, at most some milliseconds, until the kernel has noticed that an interface is connected: the near end, whose
/// other end came up just now, and the bridge, which comes up with its first port. The kernel does so in deferred work,
/// and drops what is sent before: a container's first connection would take a second.
fn wait_for_carrier(host: &mut Socket, index: u32) -> Result<(), NetlinkError> {
    const TRIES: u32 = 100;
    const PAUSE: Duration = Duration::from_micros(200);
    for _ in 0..TRIES {
        if route::link_at(host, index)?.is_none_or(|link| link.flags & route::RUNNING != 0) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// The number that the kernel gave to an interface inside.
pub(crate) fn interface_index(inside: &mut Socket, name: &str) -> Result<u32, NetlinkError> {
    Ok(route::link(inside, name)?.map_or(0, |link| link.index))
}

/// A cable, as it shall be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CablePlan<'a> {
    /// The near end's name.
    pub(crate) name: &'a str,
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    pub(crate) mac: [u8; 6],
    /// The far end's name.
    pub(crate) peer_name: &'a str,
    /// Whether the near end is kept apart from other such ends of the bridge.
    pub(crate) isolated: bool,
}

/// Gives an interface its addresses.
pub(crate) fn add_addresses(batch: &mut Batch, index: u32, addressing: &Addressing) {
    for placed in addressing.all() {
        route::add_address(batch, index, placed.address, placed.prefix);
    }
}

fn add_routes(batch: &mut Batch, index: u32, addressing: &Addressing) {
    for placed in addressing.all() {
        if placed.gateway.is_some() {
            route::set_default_route(batch, placed.address.is_ipv4(), index, placed.gateway);
        }
    }
}

/// Gives a namespace that stands ready another hardware address, or other addresses.
pub(crate) fn readdress(
    inside: &mut Socket,
    old: &Addressing,
    new: &Addressing,
    mac: Option<[u8; 6]>,
) -> Result<(), NetlinkError> {
    let index = interface_index(inside, INTERFACE)?;
    let mut batch = Batch::new();
    if old != new {
        // The routes of an address go with it.
        for placed in old.all() {
            route::delete_address(&mut batch, index, placed.address, placed.prefix);
        }
    }
    if let Some(mac) = mac {
        route::set_mac(&mut batch, index, mac);
    }
    if old != new {
        add_addresses(&mut batch, index, new);
        add_routes(&mut batch, index, new);
    }
    inside.send(batch)
}
