//! rtnetlink: interfaces, bridge ports, addresses, routes (linux/rtnetlink.h, linux/if_link.h).
//!
//! Functions named after an action add a message to a [`Batch`]; functions named after things list them.

use super::message::{Batch, Message, flag, u32_at};
use super::socket::{NetlinkError, Socket};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_FLAGS: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_BR_NF_CALL_IPV4: u16 = 36;
const IFLA_BR_NF_CALL_IPV6: u16 = 37;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_FLUSH: u16 = 24;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_INET_CONF: u16 = 1;
const ROUTE_LOCALNET: u16 = 26;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;

/// `IFF_UP`.
pub const UP: u32 = 1;
/// `IFF_RUNNING`: up, and so is what it is connected to.
pub const RUNNING: u32 = 0x40;
/// `AF_INET`, `AF_INET6` and `AF_BRIDGE` as the headers carry them.
const INET: u8 = 2;
const INET6: u8 = 10;
const BRIDGE: u8 = 7;
/// The table that ordinary routes are in.
pub const MAIN_TABLE: u8 = 254;
/// `IFA_F_NODAD`: the address is used at once, without asking for duplicates.
const NO_DUPLICATE_DETECTION: u8 = 0x02;

fn link_header(family: u8, index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[0] = family;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// Makes a bridge that is down. With `call_iptables` what it bridges passes the IP firewall where `br_netfilter` is loaded.
pub fn create_bridge(batch: &mut Batch, name: &str, mtu: u32, mac: [u8; 6], call_iptables: bool) {
    batch.message(
        NEW_LINK,
        flag::CREATE | flag::EXCLUSIVE,
        "make a bridge",
        &link_header(0, 0, 0, 0),
        |batch| {
            batch.attribute_text(IFLA_IFNAME, name);
            batch.attribute_u32(IFLA_MTU, mtu);
            batch.attribute(IFLA_ADDRESS, &mac);
            batch.nested(IFLA_LINKINFO, |batch| {
                batch.attribute_text(IFLA_INFO_KIND, "bridge");
                if call_iptables {
                    batch.nested(IFLA_INFO_DATA, |batch| {
                        batch.attribute_u8(IFLA_BR_NF_CALL_IPV4, 1);
                        batch.attribute_u8(IFLA_BR_NF_CALL_IPV6, 1);
                    });
                }
            });
        },
    );
}

/// Two ends of a cable.
#[derive(Clone, Copy, Debug)]
pub struct VethPair<'a> {
    /// The end that stays here.
    pub name: &'a str,
    /// The bridge it is a port of, 0 for none.
    pub bridge: u32,
    /// Bytes, of both.
    pub mtu: u32,
    /// The other end's name.
    pub peer_name: &'a str,
    /// The other end's hardware address.
    pub peer_mac: [u8; 6],
    /// The namespace of the other end.
    pub peer_namespace: BorrowedFd<'a>,
}

/// Makes both ends in one message: the near one up and on its bridge, the far one down in its namespace (a peer that
/// is to be up in this message is refused with ENOTCONN).
pub fn create_veth(batch: &mut Batch, pair: &VethPair<'_>) {
    batch.message(
        NEW_LINK,
        flag::CREATE | flag::EXCLUSIVE,
        "make a veth pair",
        &link_header(0, 0, UP, UP),
        |batch| {
            batch.attribute_text(IFLA_IFNAME, pair.name);
            batch.attribute_u32(IFLA_MTU, pair.mtu);
            if pair.bridge != 0 {
                batch.attribute_u32(IFLA_MASTER, pair.bridge);
            }
            batch.nested(IFLA_LINKINFO, |batch| {
                batch.attribute_text(IFLA_INFO_KIND, "veth");
                batch.nested(IFLA_INFO_DATA, |batch| {
                    batch.nested(VETH_INFO_PEER, |batch| {
                        batch.raw(&link_header(0, 0, 0, 0));
                        batch.attribute_text(IFLA_IFNAME, pair.peer_name);
                        batch.attribute_u32(IFLA_MTU, pair.mtu);
                        batch.attribute(IFLA_ADDRESS, &pair.peer_mac);
                        batch.attribute_u32(IFLA_NET_NS_FD, pair.peer_namespace.as_raw_fd() as u32);
                    });
                });
            });
        },
    );
}

/// Who sees whom on one parent (`MACVLAN_MODE_*`).
pub mod macvlan {
    /// None sees another.
    pub const PRIVATE: u32 = 1;
    /// By way of the switch outside.
    pub const VEPA: u32 = 2;
    /// All see each other.
    pub const BRIDGE: u32 = 4;
    /// One has the parent for itself.
    pub const PASSTHRU: u32 = 8;
}

/// On which layer an ipvlan interface works (`IPVLAN_MODE_*`), and the flags of its parent (`IPVLAN_F_*`).
pub mod ipvlan {
    /// The parent's interfaces do not see each other.
    pub const PRIVATE: u16 = 1;
    /// All frames leave by the parent.
    pub const VEPA: u16 = 2;

    /// As a switch.
    pub const L2: u16 = 0;
    /// As a router.
    pub const L3: u16 = 1;
    /// As a router, past the host's firewall.
    pub const L3S: u16 = 2;
}

/// What an interface on a parent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildKind {
    /// With a hardware address of its own; a mode of [`macvlan`].
    Macvlan(u32),
    /// With the parent's; mode and flags of [`ipvlan`].
    Ipvlan {
        /// The layer.
        mode: u16,
        /// Who sees whom.
        flags: u16,
    },
    /// The frames with one tag, 1 to 4094.
    Vlan(u16),
}

/// An interface on a parent.
#[derive(Clone, Copy, Debug)]
pub struct Child<'a> {
    /// Its name.
    pub name: &'a str,
    /// The parent's number in the socket's namespace.
    pub parent: u32,
    /// What it is.
    pub kind: ChildKind,
    /// Bytes; the parent's where absent.
    pub mtu: Option<u32>,
    /// Its hardware address; chosen by the kernel where absent.
    pub mac: Option<[u8; 6]>,
    /// Where it is made; the socket's namespace where absent.
    pub namespace: Option<BorrowedFd<'a>>,
}

/// Makes an interface on a parent, down.
pub fn create_child(batch: &mut Batch, child: &Child<'_>) {
    let (operation, kind) = match child.kind {
        ChildKind::Macvlan(_) => ("make a macvlan interface", "macvlan"),
        ChildKind::Ipvlan { .. } => ("make an ipvlan interface", "ipvlan"),
        ChildKind::Vlan(_) => ("make a vlan interface", "vlan"),
    };
    let header = link_header(0, 0, 0, 0);
    batch.message(NEW_LINK, flag::CREATE | flag::EXCLUSIVE, operation, &header, |batch| {
        batch.attribute_text(IFLA_IFNAME, child.name);
        if let Some(mtu) = child.mtu {
            batch.attribute_u32(IFLA_MTU, mtu);
        }
        if let Some(mac) = child.mac {
            batch.attribute(IFLA_ADDRESS, &mac);
        }
        batch.attribute_u32(IFLA_LINK, child.parent);
        if let Some(namespace) = child.namespace {
            batch.attribute_u32(IFLA_NET_NS_FD, namespace.as_raw_fd() as u32);
        }
        batch.nested(IFLA_LINKINFO, |batch| {
            batch.attribute_text(IFLA_INFO_KIND, kind);
            batch.nested(IFLA_INFO_DATA, |batch| match child.kind {
                ChildKind::Macvlan(mode) => batch.attribute_u32(IFLA_MACVLAN_MODE, mode),
                ChildKind::Ipvlan { mode, flags } => {
                    batch.attribute(IFLA_IPVLAN_MODE, &mode.to_ne_bytes());
                    batch.attribute(IFLA_IPVLAN_FLAGS, &flags.to_ne_bytes());
                }
                ChildKind::Vlan(tag) => batch.attribute(IFLA_VLAN_ID, &tag.to_ne_bytes()),
            });
        });
    });
}

/// Makes an interface that leads nowhere, down.
pub fn create_dummy(batch: &mut Batch, name: &str) {
    let header = link_header(0, 0, 0, 0);
    batch.message(NEW_LINK, flag::CREATE | flag::EXCLUSIVE, "make a dummy interface", &header, |batch| {
        batch.attribute_text(IFLA_IFNAME, name);
        batch.nested(IFLA_LINKINFO, |batch| batch.attribute_text(IFLA_INFO_KIND, "dummy"));
    });
}

/// Switches an interface on or off.
pub fn set_up(batch: &mut Batch, index: u32, up: bool) {
    let flags = if up { UP } else { 0 };
    batch.message(NEW_LINK, 0, "switch an interface on or off", &link_header(0, index, flags, UP), |_| {});
}

/// Puts an interface on a bridge; one that is there already stays.
pub fn set_master(batch: &mut Batch, index: u32, bridge: u32) {
    batch.message(NEW_LINK, 0, "put an interface on a bridge", &link_header(0, index, 0, 0), |batch| {
        batch.attribute_u32(IFLA_MASTER, bridge);
    });
}

/// Sets an interface's MTU.
pub fn set_mtu(batch: &mut Batch, index: u32, mtu: u32) {
    batch.message(NEW_LINK, 0, "set an MTU", &link_header(0, index, 0, 0), |batch| {
        batch.attribute_u32(IFLA_MTU, mtu);
    });
}

/// Sets an interface's hardware address.
pub fn set_mac(batch: &mut Batch, index: u32, mac: [u8; 6]) {
    batch.message(NEW_LINK, 0, "set a hardware address", &link_header(0, index, 0, 0), |batch| {
        batch.attribute(IFLA_ADDRESS, &mac);
    });
}

/// Lets packets of 127.0.0.0/8 leave and enter by an interface (`route_localnet`).
pub fn set_route_localnet(batch: &mut Batch, index: u32) {
    batch.message(SET_LINK, 0, "set route_localnet", &link_header(0, index, 0, 0), |batch| {
        batch.nested(IFLA_AF_SPEC, |batch| {
            batch.nested(u16::from(INET), |batch| {
                batch.nested(IFLA_INET_CONF, |batch| batch.attribute_u32(ROUTE_LOCALNET, 1));
            });
        });
    });
}

/// Sets what a bridge port does: send a frame back where it came from (`hairpin`), keep apart from other isolated ports.
pub fn set_port(batch: &mut Batch, index: u32, hairpin: Option<bool>, isolated: Option<bool>) {
    batch.message(SET_LINK, 0, "set a bridge port", &link_header(BRIDGE, index, 0, 0), |batch| {
        batch.nested(IFLA_PROTINFO, |batch| {
            if let Some(hairpin) = hairpin {
                batch.attribute_u8(IFLA_BRPORT_MODE, u8::from(hairpin));
            }
            if let Some(isolated) = isolated {
                batch.attribute_u8(IFLA_BRPORT_ISOLATED, u8::from(isolated));
            }
        });
    });
}

/// Has a bridge carry nothing from or to a port any more, and forget who was behind it: what goes there goes to another port
/// that says it has it. Unlike removing the interface it waits for nothing. A bridge that runs the spanning tree protocol
/// refuses it.
pub fn silence_port(batch: &mut Batch, index: u32) {
    const BR_STATE_DISABLED: u8 = 0;
    batch.message(SET_LINK, 0, "silence a bridge port", &link_header(BRIDGE, index, 0, 0), |batch| {
        batch.nested(IFLA_PROTINFO, |batch| {
            batch.attribute_u8(IFLA_BRPORT_STATE, BR_STATE_DISABLED);
            batch.attribute(IFLA_BRPORT_FLUSH, &[]);
        });
    });
}

/// Moves an interface, which must be down, into another namespace, where it has this name.
pub fn move_link(batch: &mut Batch, index: u32, name: &str, namespace: BorrowedFd<'_>) {
    batch.message(NEW_LINK, 0, "move an interface", &link_header(0, index, 0, 0), |batch| {
        batch.attribute_u32(IFLA_NET_NS_FD, namespace.as_raw_fd().cast_unsigned());
        batch.attribute_text(IFLA_IFNAME, name);
    });
}

/// Removes an interface (both ends of a veth pair).
pub fn delete_link(batch: &mut Batch, name: &str) {
    batch.message(DELETE_LINK, 0, "remove an interface", &link_header(0, 0, 0, 0), |batch| {
        batch.attribute_text(IFLA_IFNAME, name);
    });
}

fn address_header(address: IpAddr, prefix: u8, index: u32) -> [u8; 8] {
    let mut header = [0; 8];
    (header[0], header[2]) = if address.is_ipv4() { (INET, 0) } else { (INET6, NO_DUPLICATE_DETECTION) };
    header[1] = prefix;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header
}

fn octets(address: IpAddr) -> ([u8; 16], usize) {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes = address.octets(),
    }
    (bytes, if address.is_ipv4() { 4 } else { 16 })
}

/// Gives an interface an address, with the subnet's broadcast address.
pub fn add_address(batch: &mut Batch, index: u32, address: IpAddr, prefix: u8) {
    let header = address_header(address, prefix, index);
    batch.message(NEW_ADDRESS, flag::CREATE | flag::EXCLUSIVE, "add an address", &header, |batch| {
        let (bytes, length) = octets(address);
        batch.attribute(IFA_LOCAL, &bytes[..length]);
        batch.attribute(IFA_ADDRESS, &bytes[..length]);
        if let IpAddr::V4(address) = address
            && prefix < 31
        {
            let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            batch.attribute(IFA_BROADCAST, &Ipv4Addr::from(u32::from(address) | host_bits).octets());
        }
    });
}

/// Takes an address from an interface.
pub fn delete_address(batch: &mut Batch, index: u32, address: IpAddr, prefix: u8) {
    let header = address_header(address, prefix, index);
    batch.message(DELETE_ADDRESS, 0, "remove an address", &header, |batch| {
        let (bytes, length) = octets(address);
        batch.attribute(IFA_LOCAL, &bytes[..length]);
    });
}

/// Gives a namespace its default route of one family, in place of the one that it has: by an interface, to a next hop
/// or, without one, to whatever the interface leads to.
pub fn set_default_route(batch: &mut Batch, ipv4: bool, index: u32, gateway: Option<IpAddr>) {
    let header = default_route_header(ipv4, gateway.is_none() && ipv4);
    batch.message(NEW_ROUTE, flag::CREATE | flag::REPLACE, "set the default route", &header, |batch| {
        if let Some(gateway) = gateway {
            let (bytes, length) = octets(gateway);
            batch.attribute(RTA_GATEWAY, &bytes[..length]);
        }
        batch.attribute_u32(RTA_OIF, index);
    });
}

/// Adds a route by an interface: to a next hop or, without one, to what is on the interface itself.
pub fn add_route(batch: &mut Batch, destination: IpAddr, prefix: u8, index: u32, gateway: Option<IpAddr>) {
    let ipv4 = destination.is_ipv4();
    let mut header = default_route_header(ipv4, gateway.is_none() && ipv4);
    header[1] = prefix;
    batch.message(NEW_ROUTE, flag::CREATE | flag::REPLACE, "add a route", &header, |batch| {
        let (bytes, length) = octets(destination);
        batch.attribute(RTA_DST, &bytes[..length]);
        if let Some(gateway) = gateway {
            let (bytes, length) = octets(gateway);
            batch.attribute(RTA_GATEWAY, &bytes[..length]);
        }
        batch.attribute_u32(RTA_OIF, index);
    });
}

/// Takes the default route of one family away.
pub fn delete_default_route(batch: &mut Batch, ipv4: bool) {
    let mut header = default_route_header(ipv4, false);
    // Whatever its scope, kind and origin (RT_SCOPE_NOWHERE).
    (header[5], header[6], header[7]) = (0, 255, 0);
    batch.message(DELETE_ROUTE, 0, "remove the default route", &header, |_| {});
}

fn default_route_header(ipv4: bool, direct: bool) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = if ipv4 { INET } else { INET6 };
    header[4] = MAIN_TABLE;
    header[5] = 3; // RTPROT_BOOT
    header[6] = if direct { 253 } else { 0 }; // RT_SCOPE_LINK, RT_SCOPE_UNIVERSE
    header[7] = 1; // RTN_UNICAST
    header
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its driver (`bridge`, `veth`), empty for hardware and loopback.
    pub kind: String,
    /// The bridge it is a port of, 0 without.
    pub master: u32,
    /// The number of the interface below it, 0 without.
    pub parent: u32,
    /// `IFF_*`.
    pub flags: u32,
    /// Bytes.
    pub mtu: u32,
    /// Its hardware address, where it has one of six bytes.
    pub mac: Option<[u8; 6]>,
}

fn read_link(message: Message<'_>) -> Option<Link> {
    if message.kind != NEW_LINK {
        return None;
    }
    let attributes = message.attributes(16);
    let number = |kind| attributes.get(kind).and_then(|attribute| attribute.u32()).unwrap_or(0);
    Some(Link {
        index: u32_at(message.payload, 4)?,
        flags: u32_at(message.payload, 8)?,
        name: attributes.get(IFLA_IFNAME)?.text()?.to_owned(),
        kind: attributes
            .get(IFLA_LINKINFO)
            .and_then(|info| info.nested().get(IFLA_INFO_KIND)?.text())
            .unwrap_or_default()
            .to_owned(),
        master: number(IFLA_MASTER),
        parent: number(IFLA_LINK),
        mtu: number(IFLA_MTU),
        mac: attributes.get(IFLA_ADDRESS).and_then(|attribute| attribute.payload.try_into().ok()),
    })
}

/// The interface of this name.
pub fn link(socket: &mut Socket, name: &str) -> Result<Option<Link>, NetlinkError> {
    find_link(socket, 0, |batch| batch.attribute_text(IFLA_IFNAME, name))
}

/// The interface with this number.
pub fn link_at(socket: &mut Socket, index: u32) -> Result<Option<Link>, NetlinkError> {
    find_link(socket, index, |_| {})
}

fn find_link(
    socket: &mut Socket,
    index: u32,
    body: impl FnOnce(&mut Batch),
) -> Result<Option<Link>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(GET_LINK, 0, "find an interface", &link_header(0, index, 0, 0), body);
    match socket.get(batch, read_link) {
        Err(error) if error.is_missing() => Ok(None),
        other => other,
    }
}

/// All interfaces.
pub fn links(socket: &mut Socket) -> Result<Vec<Link>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(GET_LINK, flag::DUMP, "list interfaces", &link_header(0, 0, 0, 0), |_| {});
    list(socket, &batch, read_link)
}

/// Lists objects; again where they changed meanwhile, because one that was there all the time may be missing then.
fn list<T>(
    socket: &mut Socket,
    batch: &Batch,
    read: impl Fn(Message<'_>) -> Option<T>,
) -> Result<Vec<T>, NetlinkError> {
    const TRIES: u32 = 20;
    let mut found = Vec::new();
    for _ in 0..TRIES {
        found.clear();
        if socket.dump(batch, |message| found.extend(read(message)))? {
            break;
        }
    }
    Ok(found)
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface's number.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// Bits of its subnet.
    pub prefix: u8,
}

/// All addresses of all interfaces.
pub fn addresses(socket: &mut Socket) -> Result<Vec<Address>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(GET_ADDRESS, flag::DUMP, "list addresses", &[0; 8], |_| {});
    list(socket, &batch, read_address)
}

fn read_address(message: Message<'_>) -> Option<Address> {
    if message.kind != NEW_ADDRESS {
        return None;
    }
    let attributes = message.attributes(8);
    let address = attributes.get(IFA_LOCAL).or_else(|| attributes.get(IFA_ADDRESS))?.address()?;
    Some(Address { index: u32_at(message.payload, 4)?, address, prefix: *message.payload.get(1)? })
}

/// A route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to; unspecified for a default route.
    pub destination: IpAddr,
    /// Bits; 0 for a default route.
    pub prefix: u8,
    /// The interface it leaves by, 0 where there is none or several.
    pub index: u32,
}

/// All routes of the main table and of tables that users made.
pub fn routes(socket: &mut Socket) -> Result<Vec<Route>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(GET_ROUTE, flag::DUMP, "list routes", &[0; 12], |_| {});
    list(socket, &batch, read_route)
}

fn read_route(message: Message<'_>) -> Option<Route> {
    /// The kernel's own table of local addresses.
    const LOCAL_TABLE: u8 = 255;
    if message.kind != NEW_ROUTE || *message.payload.get(4)? == LOCAL_TABLE {
        return None;
    }
    let attributes = message.attributes(12);
    let unspecified = if message.payload[0] == INET {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6([0; 16].into())
    };
    Some(Route {
        destination: attributes.get(RTA_DST).and_then(|attribute| attribute.address()).unwrap_or(unspecified),
        prefix: *message.payload.get(1)?,
        index: attributes.get(RTA_OIF).and_then(|attribute| attribute.u32()).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::super::message::messages;
    use super::super::socket::Protocol;
    use super::*;

    #[test]
    fn the_loopback_interface_is_listed() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let lo = link(&mut socket, "lo").unwrap().unwrap();
        assert_eq!((lo.name.as_str(), lo.master), ("lo", 0));
        assert!(links(&mut socket).unwrap().contains(&lo));
        assert_eq!(link(&mut socket, "no-such-link").unwrap(), None);
        addresses(&mut socket).unwrap();
        routes(&mut socket).unwrap();
    }

    #[test]
    fn a_bridge_request_reads_back() {
        let mut batch = Batch::new();
        create_bridge(&mut batch, "br-test", 1400, [2, 0, 0, 0, 0, 1], true);
        let message = messages(batch.bytes()).next().unwrap();
        let link = read_link(message).unwrap();
        assert_eq!((link.name.as_str(), link.kind.as_str(), link.mtu), ("br-test", "bridge", 1400));
        assert_eq!(link.mac, Some([2, 0, 0, 0, 0, 1]));
    }
}
