//! The rule set: constant rules in one table, and sets and maps that alone change.
//!
//! ```text
//! prerouting (raw)   127.0.0.0/8 never enters from a bridge, nor from elsewhere for a port published on 127.0.0.1
//! prerouting (nat)   ┐ to one of the host's addresses:
//! output (nat)       ┘   (address, protocol, port) or (protocol, port) in a map → container's address and port
//! forward            into a bridge:   answers, published ports where the host's own rules let others in (policy.rs),
//!                                     the same without translation, neighbours where they may; the rest is dropped
//!                    out of a bridge: not from an internal network, nor into another bridge from there
//!                    neither:         dropped where it was we who turned forwarding on (see below)
//! postrouting (nat)  a container that reaches itself, the host's 127.0.0.0/8, neighbours whose answer would not come
//!                    back this way, and what leaves for elsewhere take the host's address
//! ```
//!
//! An accept of ours ends our chain only: a drop of another table (ufw, firewalld, an administrator's) stays a drop.
//!
//! **Forwarding.** Turning on `ip_forward` must not make the host a router for others. Where it was this daemon that
//! turned it on, packets between two interfaces are dropped when each of the two was there before, or is neither a
//! bridge nor a veth: hardware, tunnels and VPNs do not become connected by starting a container, while networks that
//! other programs (another daemon of ours, libvirt) make afterwards stay theirs to decide.
//!
//! **Neighbours.** Where `br_netfilter` sees what a bridge carries, a container that calls a neighbour's published port
//! keeps its source address; that traffic never leaves the bridge, and passes postrouting without an input interface,
//! so that the rule for neighbours does not match it. Without `br_netfilter` it is routed and matches.
//!
//! A caller on another bridge keeps its address too, but for one case: the called container is on several networks, the
//! caller's perhaps among them. It would answer there directly, past the translation, and the caller would not know the
//! answer for its own; so the call takes the host's address.

mod rules;

use crate::config::{GatewayMode, NetworkConfig};
use crate::gateway::Targets;
use crate::policy::{Closed, Service};
use crate::settings::PublishedPort;
use corten_sys::netlink::nftables::{self as nft, Element, Hook, IPV4, Set, data_type, interface_key};
use corten_sys::netlink::{Batch, NetlinkError, Protocol as Family, Socket};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

const BRIDGES: &str = "bridges";
const INTERNAL: &str = "internal";
const WITHIN: &str = "within";
const NEIGHBOURS: &str = "neighbours";
const MASQUERADE4: &str = "masquerade4";
const MASQUERADE6: &str = "masquerade6";
const SELF4: &str = "self4";
const SELF6: &str = "self6";
const SEVERAL4: &str = "several4";
const SEVERAL6: &str = "several6";
const ADDRESS4: &str = "address4";
const ADDRESS6: &str = "address6";
const PORT4: &str = "port4";
const PORT6: &str = "port6";
const BEFORE: &str = "before";
const GUARDED: &str = "guarded";
const CLOSED4: &str = "closed4";
const CLOSED6: &str = "closed6";
const OPEN4: &str = "open4";
const OPEN6: &str = "open6";
const ROUTED4: &str = "routed4";
const ROUTED6: &str = "routed6";
const UNPROTECTED4: &str = "unprotected4";
const UNPROTECTED6: &str = "unprotected6";

const fn set(name: &'static str, key_type: u32, key_length: u32) -> Set<'static> {
    Set { name, key_type, key_length, value_type: 0, value_length: 0, flags: 0 }
}

const fn map(
    name: &'static str,
    key_type: u32,
    key_length: u32,
    value_type: u32,
    value_length: u32,
) -> Set<'static> {
    Set { name, key_type, key_length, value_type, value_length, flags: 0 }
}

/// Every set, with what `nft list` needs to print it.
const SETS: [Set<'static>; 24] = {
    use data_type::{FAMILY, INTERFACE, IPV4, IPV6, PORT, PROTOCOL, concat};
    const PAIR: u32 = concat(&[INTERFACE, INTERFACE]);
    const TARGET4: u32 = concat(&[IPV4, PORT]);
    const TARGET6: u32 = concat(&[IPV6, PORT]);
    [
        // our bridges
        set(BRIDGES, INTERFACE, 16),
        // those of networks without a way out
        set(INTERNAL, INTERFACE, 16),
        // (bridge, the same bridge), because a rule cannot compare two interfaces
        set(WITHIN, PAIR, 32),
        // the same for those whose containers may talk to each other
        set(NEIGHBOURS, PAIR, 32),
        // subnets that take the host's address outside
        Set { flags: nft::SET_INTERVAL, ..set(MASQUERADE4, IPV4, 4) },
        Set { flags: nft::SET_INTERVAL, ..set(MASQUERADE6, IPV6, 16) },
        // (address, the same address) of containers with published ports
        set(SELF4, concat(&[IPV4, IPV4]), 8),
        set(SELF6, concat(&[IPV6, IPV6]), 32),
        // addresses of containers with published ports that are on other networks besides
        set(SEVERAL4, IPV4, 4),
        set(SEVERAL6, IPV6, 16),
        // ports published on one address of the host, and on all
        map(ADDRESS4, concat(&[IPV4, PROTOCOL, PORT]), 12, TARGET4, 8),
        map(PORT4, concat(&[PROTOCOL, PORT]), 8, TARGET4, 8),
        map(ADDRESS6, concat(&[IPV6, PROTOCOL, PORT]), 24, TARGET6, 20),
        map(PORT6, concat(&[PROTOCOL, PORT]), 8, TARGET6, 20),
        // interfaces that were there when we turned forwarding on
        set(BEFORE, INTERFACE, 16),
        // the families of which we did
        set(GUARDED, FAMILY, 1),
        // published ports that the host's input rules close to other hosts
        set(CLOSED4, concat(&[PROTOCOL, PORT]), 8),
        set(CLOSED6, concat(&[PROTOCOL, PORT]), 8),
        // ports that are open at the container's own address
        set(OPEN4, concat(&[IPV4, PROTOCOL, PORT]), 12),
        set(OPEN6, concat(&[IPV6, PROTOCOL, PORT]), 24),
        // bridges whose containers are reached without translation, and those that are open altogether
        set(ROUTED4, INTERFACE, 16),
        set(ROUTED6, INTERFACE, 16),
        set(UNPROTECTED4, INTERFACE, 16),
        set(UNPROTECTED6, INTERFACE, 16),
    ]
};

/// The table of firewalld.
pub(crate) const FIREWALLD: &str = "firewalld";

/// A set's name with an element of it.
pub(crate) type SetElement = (&'static str, Element);

/// What a network adds; one without a bridge nothing, because its packets do not pass here.
pub(crate) fn network_elements(network: &NetworkConfig) -> Vec<SetElement> {
    if !network.is_bridge() {
        return Vec::new();
    }
    let bridge = interface_key(&network.interface);
    let pair = [bridge, bridge].concat();
    let mut elements = vec![(BRIDGES, Element::key(bridge)), (WITHIN, Element::key(pair.clone()))];
    if network.icc {
        elements.push((NEIGHBOURS, Element::key(pair)));
    }
    if network.internal {
        elements.push((INTERNAL, Element::key(bridge)));
    }
    for range in network.ranges() {
        let ipv4 = range.subnet.is_ipv4();
        match network.gateway_mode(ipv4) {
            _ if network.internal => {}
            GatewayMode::Routed => {
                elements.push((if ipv4 { ROUTED4 } else { ROUTED6 }, Element::key(bridge)));
            }
            GatewayMode::NatUnprotected => {
                elements.push((if ipv4 { UNPROTECTED4 } else { UNPROTECTED6 }, Element::key(bridge)));
            }
            GatewayMode::Nat | GatewayMode::Isolated => {}
        }
        let translated = matches!(network.gateway_mode(ipv4), GatewayMode::Nat | GatewayMode::NatUnprotected);
        if network.masquerade && !network.internal && translated {
            let set = if ipv4 { MASQUERADE4 } else { MASQUERADE6 };
            elements.push((set, Element::key(octets(range.subnet.address()))));
            if let Some(end) = after(range.subnet.last()) {
                elements.push((set, Element::end(octets(end))));
            }
        }
    }
    elements
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The next address; none after the last.
fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|next| IpAddr::V4(next.into())),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|next| IpAddr::V6(next.into())),
    }
}

/// What published ports add. IPv6 ports of a container without IPv6 add nothing: the proxy serves them.
pub(crate) fn port_elements(targets: Targets<'_>, ports: &[PublishedPort]) -> Vec<SetElement> {
    let mut elements = Vec::with_capacity(ports.len() + 1);
    let address4 = targets.ipv4.and_then(|endpoint| endpoint.address);
    let address6 = targets.ipv6.and_then(|endpoint| endpoint.address6);
    let (mut own4, mut own6) = (false, false);
    for port in ports {
        let service =
            |elements: &mut Vec<u8>, port: u16| elements.extend([port.to_be_bytes(), [0, 0]].concat());
        let mut key = Vec::with_capacity(24);
        let mut value = Vec::with_capacity(20);
        if port.is_routed() {
            let (set, address) = match (port.host_address, address4, address6) {
                (IpAddr::V4(_), Some(address), _) => (OPEN4, octets(address.into())),
                (IpAddr::V6(_), _, Some(address)) => (OPEN6, octets(address.into())),
                _ => continue,
            };
            key.extend(address);
            key.extend([port.protocol.number(), 0, 0, 0]);
            service(&mut key, port.container_port);
            elements.push((set, Element::key(key)));
            continue;
        }
        let set = match (port.host_address, address4, address6) {
            (IpAddr::V4(host), Some(address), _) => {
                own4 = true;
                value.extend(address.octets());
                if host.is_unspecified() {
                    PORT4
                } else {
                    key.extend(host.octets());
                    ADDRESS4
                }
            }
            (IpAddr::V6(host), _, Some(address)) => {
                own6 = true;
                value.extend(address.octets());
                if host.is_unspecified() {
                    PORT6
                } else {
                    key.extend(host.octets());
                    ADDRESS6
                }
            }
            _ => continue,
        };
        key.extend([port.protocol.number(), 0, 0, 0]);
        service(&mut key, port.host_port);
        service(&mut value, port.container_port);
        elements.push((set, Element::entry(key, value)));
    }
    if let Some(address) = address4.filter(|_| own4) {
        elements.push((SELF4, Element::key([address.octets(); 2].concat())));
        if targets.several {
            elements.push((SEVERAL4, Element::key(address.octets())));
        }
    }
    if let Some(address) = address6.filter(|_| own6) {
        elements.push((SELF6, Element::key([address.octets(); 2].concat())));
        if targets.several {
            elements.push((SEVERAL6, Element::key(address.octets())));
        }
    }
    elements
}

/// What keeps the interfaces of before apart, for these families.
pub(crate) fn guard_elements(families: &[u8], interfaces: &[String]) -> Vec<SetElement> {
    let families = families.iter().map(|family| (GUARDED, Element::key([*family])));
    families.chain(interfaces.iter().map(|name| (BEFORE, Element::key(interface_key(name))))).collect()
}

/// The element that closes a published port.
pub(crate) fn closed_element(service: Service) -> SetElement {
    let [high, low] = service.port.to_be_bytes();
    let key = [service.protocol, 0, 0, 0, high, low, 0, 0];
    (if service.ipv6 { CLOSED6 } else { CLOSED4 }, Element::key(key))
}

/// Whether opening failed because the table has another owner: it may be read, and not removed.
pub(crate) fn is_foreign(error: &NetlinkError) -> bool {
    error.is_permission() && error.operation == nft::DELETING_TABLE
}

/// The table in the kernel.
#[derive(Debug)]
pub(crate) struct Firewall {
    socket: Socket,
    table: String,
}

impl Firewall {
    /// Makes the rules anew, in one step, with the elements that an earlier daemon left.
    pub(crate) fn open(table: &str) -> Result<Self, NetlinkError> {
        let mut socket = Socket::open(Family::Netfilter)?;
        let exists = nft::table_flags(&mut socket, table)?.is_some();
        let mut kept = Vec::new();
        if exists {
            for set in &SETS {
                kept.push((set.name, nft::elements(&mut socket, table, set.name)?));
            }
        }
        let build = |flags| {
            let mut batch = Batch::new();
            nft::begin(&mut batch);
            if exists {
                nft::delete_table(&mut batch, table);
            }
            nft::add_table(&mut batch, table, flags);
            rules::write_rules(&mut batch, table);
            for (set, elements) in &kept {
                nft::add_elements(&mut batch, table, set, elements);
            }
            nft::end(&mut batch);
            batch
        };
        // Newest kernels first: a table of ours that survives both a foreign `flush ruleset` and our own end; then
        // one without an owner. (An owner alone would take the table along when the daemon is killed.)
        match socket.send(build(nft::TABLE_OWNER | nft::TABLE_PERSIST)) {
            Err(error) if !error.is_permission() => socket.send(build(0))?,
            other => other?,
        }
        Ok(Self { socket, table: table.to_owned() })
    }

    /// Makes the rules again, after the table was removed; the sets are empty.
    pub(crate) fn renew(&mut self) -> Result<(), NetlinkError> {
        *self = Self::open(&self.table)?;
        Ok(())
    }

    /// Changes which published ports are closed, and to whom not, in one step.
    pub(crate) fn close(&mut self, before: &Closed, now: &Closed) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        nft::begin(&mut batch);
        let missing = |from: &Closed, other: &Closed| -> Vec<SetElement> {
            from.keys().filter(|service| !other.contains_key(service)).copied().map(closed_element).collect()
        };
        for (set, elements) in grouped(&missing(before, now)) {
            nft::delete_elements(&mut batch, &self.table, set, &elements);
        }
        for (set, elements) in grouped(&missing(now, before)) {
            nft::add_elements(&mut batch, &self.table, set, &elements);
        }
        nft::flush_chain(&mut batch, &self.table, "allowed");
        for rule in now.iter().flat_map(|(service, region)| rules::allowed(*service, region)) {
            nft::add_rule(&mut batch, &self.table, "allowed", &rule);
        }
        nft::end(&mut batch);
        self.socket.send(batch)
    }

    /// Adds and removes elements in one step. An entry that exists with another value is refused.
    pub(crate) fn change(&mut self, add: &[SetElement], remove: &[SetElement]) -> Result<(), NetlinkError> {
        if add.is_empty() && remove.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        nft::begin(&mut batch);
        for (set, elements) in grouped(remove) {
            nft::delete_elements(&mut batch, &self.table, set, &elements);
        }
        for (set, elements) in grouped(add) {
            nft::add_elements(&mut batch, &self.table, set, &elements);
        }
        nft::end(&mut batch);
        self.socket.send(batch)
    }

    /// Removes elements, those that are missing too.
    pub(crate) fn remove(&mut self, elements: &[SetElement]) -> Result<(), NetlinkError> {
        match self.change(&[], elements) {
            Err(error) if error.is_missing() && elements.len() > 1 => {
                for (set, elements) in grouped(elements) {
                    // The two ends of a range belong together.
                    let range = elements.iter().any(|element| element.end);
                    for elements in elements.chunks(if range { 2 } else { 1 }) {
                        let elements: Vec<_> =
                            elements.iter().map(|element| (set, element.clone())).collect();
                        match self.change(&[], &elements) {
                            Err(error) if !error.is_missing() => return Err(error),
                            _ => {}
                        }
                    }
                }
                Ok(())
            }
            Err(error) if error.is_missing() => Ok(()),
            other => other,
        }
    }

    /// Brings every set to exactly these elements, in one step.
    pub(crate) fn reconcile(&mut self, wanted: &[SetElement]) -> Result<(), NetlinkError> {
        let mut add = Vec::new();
        let mut remove = Vec::new();
        let wanted: BTreeMap<_, _> =
            grouped(wanted).into_iter().map(|(set, elements)| (set, members(elements))).collect();
        let none = BTreeSet::new();
        for set in &SETS {
            let mut present = nft::elements(&mut self.socket, &self.table, set.name)?;
            // The kernel shows the open beginning of a set of ranges as an element of its own.
            present.retain(|element| !(element.end && element.key.iter().all(|byte| *byte == 0)));
            let present = members(present);
            let wanted = wanted.get(set.name).unwrap_or(&none);
            let named = |element: &Element| (set.name, element.clone());
            remove.extend(present.difference(wanted).flatten().map(named));
            add.extend(wanted.difference(&present).flatten().map(named));
        }
        self.change(&add, &remove)
    }

    /// Removes the table.
    pub(crate) fn delete(&mut self) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        nft::begin(&mut batch);
        nft::delete_table(&mut batch, &self.table);
        nft::end(&mut batch);
        match self.socket.send(batch) {
            Err(error) if error.is_missing() => Ok(()),
            other => other,
        }
    }

    /// Chains of other tables in the forward hook that stop what they do not know, whatever our own rules say: those
    /// with a policy of drop, and firewalld's, which reject at their end.
    pub(crate) fn foreign_drops(&mut self) -> Result<Vec<nft::BaseChain>, NetlinkError> {
        let mut chains = nft::base_chains(&mut self.socket)?;
        chains.retain(|chain| {
            chain.kind == "filter"
                && chain.hook == Hook::Forward as u32
                && (chain.drops || chain.table == FIREWALLD)
                && chain.table != self.table
                && [nft::INET, IPV4].contains(&chain.family)
        });
        Ok(chains)
    }
}

/// The members of a set: single elements, and ranges with both their ends. The ends of ranges that touch have the same key, and the
/// kernel takes and gives up a range only by its beginning followed by its end.
fn members(mut elements: Vec<Element>) -> BTreeSet<Vec<Element>> {
    elements.sort_by(|one, other| one.key.cmp(&other.key).then(other.end.cmp(&one.end)));
    let mut members: Vec<Vec<Element>> = Vec::new();
    for element in elements {
        match members.last_mut() {
            Some(range) if element.end && range.len() == 1 => range.push(element),
            _ => members.push(vec![element]),
        }
    }
    members.into_iter().collect()
}

fn grouped(elements: &[SetElement]) -> BTreeMap<&'static str, Vec<Element>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (set, element) in elements {
        groups.entry(*set).or_default().push(element.clone());
    }
    groups
}
