//! The interface of the host that macvlan and ipvlan networks stand on: found, or made where it is ours to make.

use crate::bridge;
use crate::config::{Driver, IpvlanFlag, IpvlanMode, MacvlanMode, NetworkConfig};
use crate::error::NetworkError;
use corten_sys::netlink::route::{self, Child, ChildKind, VethPair};
use corten_sys::netlink::{Batch, NetlinkError, Socket};
use std::os::fd::BorrowedFd;

/// Finds the parent, or makes it where it belongs to the network: `eth0.10` is the frames of `eth0` with the tag 10,
/// anything else an interface that leads nowhere. Returns its number. `home` is the socket's namespace.
pub(crate) fn ensure(
    socket: &mut Socket,
    home: BorrowedFd<'_>,
    network: &NetworkConfig,
) -> Result<u32, NetworkError> {
    let name = &network.interface;
    bridge::check_name(name)?;
    let fail =
        |operation| move |source| NetworkError::Kernel { operation, subject: network.name.clone(), source };
    if let Some(link) = route::link(socket, name).map_err(fail("find the parent interface"))? {
        return Ok(link.index);
    }
    if !network.own_parent {
        return Err(NetworkError::NoParent(name.clone()));
    }
    match name.split_once('.') {
        Some((base, tag)) => make_vlan(socket, network, base, tag)?,
        None => make_lonely(socket, home, name).map_err(fail("make an interface that leads nowhere"))?,
    }
    let link = route::link(socket, name).map_err(fail("find the parent interface"))?;
    let index = link.ok_or_else(|| NetworkError::NoParent(name.clone()))?.index;
    let mut batch = Batch::new();
    route::set_up(&mut batch, index, true);
    socket.send(batch).map_err(fail("switch on the parent interface"))?;
    Ok(index)
}

/// The frames with one tag.
fn make_vlan(
    socket: &mut Socket,
    network: &NetworkConfig,
    base: &str,
    tag: &str,
) -> Result<(), NetworkError> {
    let fail =
        |operation| move |source| NetworkError::Kernel { operation, subject: network.name.clone(), source };
    let found = route::link(socket, base).map_err(fail("find the parent interface"))?;
    let base = found.ok_or_else(|| NetworkError::NoParent(base.to_owned()))?;
    let tag = tag.parse().ok().filter(|tag| (1..=4094).contains(tag));
    let tag = tag.ok_or_else(|| NetworkError::InterfaceName(network.interface.clone()))?;
    let mut batch = Batch::new();
    let kind = ChildKind::Vlan(tag);
    let child =
        Child { name: &network.interface, parent: base.index, kind, mtu: None, mac: None, namespace: None };
    route::create_child(&mut batch, &child);
    socket.send(batch).map_err(|source| refused("vlan", &network.name, source))
}

/// A dummy interface, or on kernels without them a cable that goes nowhere.
fn make_lonely(socket: &mut Socket, home: BorrowedFd<'_>, name: &str) -> Result<(), NetlinkError> {
    let mut batch = Batch::new();
    route::create_dummy(&mut batch, name);
    match socket.send(batch) {
        Err(error) if error.is_unsupported() => {}
        other => return other,
    }
    let peer = format!("{}p", &name[..name.len().min(14)]);
    let mut batch = Batch::new();
    route::create_veth(
        &mut batch,
        &VethPair {
            name,
            bridge: 0,
            mtu: 1500,
            peer_name: &peer,
            peer_mac: [0x02, 0x42, 0, 0, 0, 1],
            peer_namespace: home,
        },
    );
    socket.send(batch)?;
    let peer = route::link(socket, &peer)?.map_or(0, |link| link.index);
    let mut batch = Batch::new();
    route::set_up(&mut batch, peer, true);
    socket.send(batch)
}

/// What a sandbox's interface on the parent is; none on a bridge.
pub(crate) fn child_kind(network: &NetworkConfig) -> Option<ChildKind> {
    Some(match network.driver {
        Driver::Bridge | Driver::Remote => return None,
        Driver::Macvlan(mode) => ChildKind::Macvlan(match mode {
            MacvlanMode::Bridge => route::macvlan::BRIDGE,
            MacvlanMode::Private => route::macvlan::PRIVATE,
            MacvlanMode::Vepa => route::macvlan::VEPA,
            MacvlanMode::Passthru => route::macvlan::PASSTHRU,
        }),
        Driver::Ipvlan(mode) => ChildKind::Ipvlan {
            mode: match mode {
                IpvlanMode::L2 => route::ipvlan::L2,
                IpvlanMode::L3 => route::ipvlan::L3,
                IpvlanMode::L3s => route::ipvlan::L3S,
            },
            flags: match network.ipvlan_flag {
                IpvlanFlag::Bridge => 0,
                IpvlanFlag::Private => route::ipvlan::PRIVATE,
                IpvlanFlag::Vepa => route::ipvlan::VEPA,
            },
        },
    })
}

/// The error of an interface that could not be made: a kernel that does not know its kind is told as that.
pub(crate) fn refused(kind: &'static str, network: &str, source: NetlinkError) -> NetworkError {
    if source.is_unsupported() {
        return NetworkError::Unsupported { kind, refused: source };
    }
    NetworkError::Kernel { operation: "make an interface", subject: network.to_owned(), source }
}
