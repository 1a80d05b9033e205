//! What the host's own firewall lets in: a published port is open to other hosts where the host's input rules would accept
//! a program of the host on that port.
//!
//! A packet for a published port is forwarded, and so never sees the rules of the input hook. They are read instead – the
//! tables of nftables, among them those of `iptables-nft`, and the tables of `iptables-legacy` – and judged for each
//! published port. What they close is closed by our own forward chain; what they open for some addresses only is open for
//! those.
//!
//! ```text
//! native      rules of nftables  ┐                      region   sets of source addresses
//! legacy      tables of iptables ├─▶ judged for a flow ─▶ walk   which addresses a chain accepts
//! extension   matches of both    ┘
//! ```

mod extension;
mod legacy;
mod native;
mod region;
mod walk;

use crate::settings::PublishedPort;
use corten_sys::netlink::iptables::{self, LegacyTable};
use corten_sys::netlink::nftables::{self as nft, Hook, ListedRule};
use corten_sys::netlink::{NetlinkError, Socket, route};
pub(crate) use region::Region;
use std::collections::{BTreeMap, HashMap};
pub(crate) use walk::Flow;

/// What a published port is for a firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Service {
    pub(crate) ipv6: bool,
    pub(crate) protocol: u8,
    pub(crate) port: u16,
}

impl Service {
    /// Of a port that other hosts can reach at all.
    pub(crate) fn of(port: &PublishedPort) -> Option<Self> {
        (!port.host_address.is_loopback()).then_some(Self {
            ipv6: port.host_address.is_ipv6(),
            protocol: port.protocol.number(),
            // A port without translation is judged as if it were the host's.
            port: if port.is_routed() { port.container_port } else { port.host_port },
        })
    }
}

/// Ports that are open whatever the host's rules say: the user's setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedPorts {
    /// None: of every protocol.
    pub protocol: Option<crate::settings::Protocol>,
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl AllowedPorts {
    fn has(self, service: Service) -> bool {
        (self.first..=self.last).contains(&service.port)
            && self.protocol.is_none_or(|protocol| protocol.number() == service.protocol)
    }
}

impl std::str::FromStr for AllowedPorts {
    type Err = String;

    /// `8080`, `8080/tcp`, `8000-8100/udp`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (ports, protocol) = match text.split_once('/') {
            Some((ports, protocol)) => (ports, Some(protocol.parse()?)),
            None => (text, None),
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { protocol, first, last }),
            _ => Err(format!("`{text}` is no port (as in 8080/tcp) or range of ports (as in 8000-8100)")),
        }
    }
}

/// A table with chains in the input hook.
#[derive(Debug)]
struct Table {
    family: u8,
    name: String,
    /// Chains that the kernel calls, and whether what falls through them is accepted.
    hooked: Vec<(String, bool)>,
    rules: Vec<ListedRule>,
    sets: native::Sets,
}

/// The tables `filter` of IPv4 and IPv6.
type LegacyTables = [Option<LegacyTable>; 2];

/// The host's input rules of one moment.
#[derive(Debug, Default)]
pub(crate) struct HostPolicy {
    tables: Vec<Table>,
    pub(crate) legacy: LegacyTables,
    /// By which other hosts come in.
    interfaces: Vec<String>,
}

/// Number of the input hook in the kernel.
const INPUT: usize = 1;

impl HostPolicy {
    /// Reads what there is; tables of ours are passed over. A table of iptables-legacy that cannot be read is what it was
    /// before.
    pub(crate) fn read(
        netfilter: &mut Socket,
        route: &mut Socket,
        own: &str,
        legacy: LegacyTables,
    ) -> Result<Self, NetlinkError> {
        let mut tables: BTreeMap<(u8, String), Vec<(String, bool)>> = BTreeMap::new();
        for chain in nft::base_chains(netfilter)? {
            let ours = chain.table == own || chain.table == "corten" || chain.table.starts_with("corten-");
            if chain.hook == Hook::Input as u32
                && chain.kind == "filter"
                && !ours
                && [nft::INET, nft::IPV4, nft::IPV6].contains(&chain.family)
            {
                let hooked = tables.entry((chain.family, chain.table)).or_default();
                hooked.push((chain.name, !chain.drops));
            }
        }
        let mut policy = Self { legacy, ..Self::default() };
        for ((family, name), hooked) in tables {
            let rules = nft::rules(netfilter, family, &name)?;
            let mut sets = native::Sets::new();
            for set in nft::sets(netfilter, family, &name)? {
                let listed = nft::listed_elements(netfilter, family, &name, &set)?;
                let element = |element: nft::ListedElement| native::Element {
                    key: element.key,
                    last: element.last,
                    end: element.end,
                    verdict: element.verdict,
                };
                sets.insert(set, listed.into_iter().map(element).collect());
            }
            policy.tables.push(Table { family, name, hooked, rules, sets });
        }
        policy.read_legacy();
        if !policy.is_trivial() {
            policy.interfaces = interfaces(route)?;
        }
        Ok(policy)
    }

    /// Reads the tables of iptables-legacy again, which tell nobody when they change; whether there are any. One that
    /// cannot be read stays what it was, so that nothing is open because the machine is short of something.
    pub(crate) fn read_legacy(&mut self) -> bool {
        for (table, ipv6) in self.legacy.iter_mut().zip([false, true]) {
            match iptables::read_filter(ipv6) {
                Ok(read) => *table = read,
                Err(error) => tracing::warn!(%error, ipv6, "a table of iptables cannot be read"),
            }
        }
        self.has_legacy()
    }

    pub(crate) fn has_legacy(&self) -> bool {
        self.legacy.iter().any(Option::is_some)
    }

    /// Whether nobody has rules for what comes in.
    pub(crate) fn is_trivial(&self) -> bool {
        self.tables.is_empty() && !self.has_legacy()
    }

    /// From where a service of the host would be reached.
    pub(crate) fn accepted(&self, service: Service) -> Region {
        let mut region = Region::all(service.ipv6);
        if self.is_trivial() {
            return region;
        }
        let nowhere = [String::new()];
        let interfaces = if self.interfaces.is_empty() { &nowhere[..] } else { &self.interfaces };
        for interface in interfaces {
            let Service { ipv6, protocol, port } = service;
            let flow = Flow { ipv6, protocol, port, interface: interface.clone() };
            for table in &self.tables {
                region = region.and(&table.accepted(&flow));
            }
            if let Some(table) = &self.legacy[usize::from(ipv6)]
                && let Some(entry) = table.entries[INPUT]
            {
                let hooked = legacy::Hooked { entry, underflow: table.underflows[INPUT] };
                region = region.and(&legacy::accepted(&table.bytes, hooked, &flow));
            }
        }
        region
    }

    /// How the firewall's user lets a service in, in the words of the program that made the rules.
    pub(crate) fn remedy(&self, service: Service) -> String {
        let protocol = if service.protocol == 17 { "udp" } else { "tcp" };
        let port = service.port;
        let has_chain = |prefix: &str| {
            self.tables.iter().any(|table| table.rules.iter().any(|rule| rule.chain.starts_with(prefix)))
        };
        if self.tables.iter().any(|table| table.name == crate::firewall::FIREWALLD) {
            format!("firewall-cmd --permanent --add-port={port}/{protocol}; firewall-cmd --reload")
        } else if has_chain("ufw-")
            || has_chain("ufw6-")
            || std::path::Path::new("/etc/ufw/ufw.conf").exists()
        {
            format!("ufw allow {port}/{protocol}")
        } else if self.has_legacy() || self.tables.iter().all(|table| table.name == "filter") {
            let program = if service.ipv6 { "ip6tables" } else { "iptables" };
            format!("{program} -I INPUT -p {protocol} --dport {port} -j ACCEPT")
        } else {
            let (family, table, chain) = self
                .tables
                .iter()
                .find_map(|table| Some((table.family, &table.name, &table.hooked.first()?.0)))
                .map_or(("inet", "filter", "input"), |(family, table, chain)| {
                    let family = match family {
                        nft::IPV4 => "ip",
                        nft::IPV6 => "ip6",
                        _ => "inet",
                    };
                    (family, table.as_str(), chain.as_str())
                });
            format!("nft insert rule {family} {table} {chain} {protocol} dport {port} accept")
        }
    }
}

/// Whether a table of iptables-legacy drops what none of its rules decides at a hook.
pub(crate) fn drops(table: &LegacyTable, hook: usize) -> bool {
    table.entries[hook].is_some() && legacy::is_drop(&table.bytes, table.underflows[hook])
}

impl Table {
    fn accepted(&self, flow: &Flow) -> Region {
        let applies = match self.family {
            nft::IPV4 => !flow.ipv6,
            nft::IPV6 => flow.ipv6,
            _ => true,
        };
        if !applies {
            return Region::all(flow.ipv6);
        }
        let mut chains: walk::Chains = HashMap::new();
        for rule in &self.rules {
            let judged = native::judge(&rule.expressions, flow, &self.sets);
            chains.entry(rule.chain.clone()).or_default().extend(judged);
        }
        let accepts = |(chain, accepts): &(String, bool)| walk::accepted(&chains, chain, *accepts, flow.ipv6);
        self.hooked.iter().map(accepts).fold(Region::all(flow.ipv6), |all, one| all.and(&one))
    }
}

/// By which other hosts come in: what the default routes leave by; without one, everything that may be a cable.
fn interfaces(route: &mut Socket) -> Result<Vec<String>, NetlinkError> {
    let links = route::links(route)?;
    let defaults: Vec<u32> = route::routes(route)?
        .iter()
        .filter(|route| route.prefix == 0 && route.index != 0)
        .map(|route| route.index)
        .collect();
    let named = |chosen: &dyn Fn(&route::Link) -> bool| -> Vec<String> {
        links.iter().filter(|link| chosen(link)).map(|link| link.name.clone()).collect()
    };
    let leading_out = named(&|link| link.name != "lo" && defaults.contains(&link.index));
    if leading_out.is_empty() {
        return Ok(named(&|link| link.name != "lo" && link.master == 0 && link.kind != "bridge"));
    }
    Ok(leading_out)
}

/// What our forward chain does about it: services that are closed, with the addresses that may come in nevertheless.
pub(crate) type Closed = BTreeMap<Service, Region>;

/// What of these services is closed.
pub(crate) fn closed(
    policy: &HostPolicy,
    allowed: &[AllowedPorts],
    services: impl IntoIterator<Item = Service>,
) -> Closed {
    let mut closed = Closed::new();
    if policy.is_trivial() {
        return closed;
    }
    for service in services {
        if closed.contains_key(&service) || allowed.iter().any(|ports| ports.has(service)) {
            continue;
        }
        let region = policy.accepted(service);
        if !region.is_all(service.ipv6) {
            closed.insert(service, region);
        }
    }
    closed
}

/// The first and last address of a range as they lie in packets.
pub(crate) fn edges(ipv6: bool, (first, last): (u128, u128)) -> (Vec<u8>, Vec<u8>) {
    let bytes = |number: u128| {
        let bytes = number.to_be_bytes();
        if ipv6 { bytes.to_vec() } else { bytes[12..].to_vec() }
    };
    (bytes(first), bytes(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_ports_are_read() {
        let service = |protocol, port| Service { ipv6: false, protocol, port };
        let one: AllowedPorts = "8080/tcp".parse().unwrap();
        assert!(one.has(service(6, 8080)) && !one.has(service(17, 8080)) && !one.has(service(6, 8081)));
        let range: AllowedPorts = "8000-8100".parse().unwrap();
        assert!(range.has(service(17, 8100)));
        for wrong in ["", "0", "9-8", "x", "80/x", "70000"] {
            assert!(wrong.parse::<AllowedPorts>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn edges_lie_as_in_packets() {
        assert_eq!(edges(false, (0x0a00_0001, 0x0a00_00ff)), (vec![10, 0, 0, 1], vec![10, 0, 0, 255]));
    }
}
