//! What a network is: its driver, its ranges of addresses, its options. The caller keeps it, in this form.

use crate::address::Subnet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How a network's containers are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// By a cable each to a bridge of ours.
    #[default]
    Bridge,
    /// By an interface with a hardware address of its own on an interface of the host.
    Macvlan(MacvlanMode),
    /// The same with the host interface's hardware address.
    Ipvlan(IpvlanMode),
    /// By interfaces that others make ([`crate::RemoteDrivers`]).
    Remote,
}

impl Driver {
    /// The API's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan(_) => "macvlan",
            Self::Ipvlan(_) => "ipvlan",
            Self::Remote => "remote",
        }
    }
}

/// Who sees whom on one parent interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// All see each other.
    Bridge,
    /// None sees another.
    Private,
    /// They see each other where the switch outside sends frames back.
    Vepa,
    /// One container has the parent for itself.
    Passthru,
}

/// On which layer an ipvlan interface works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanMode {
    /// As a switch.
    L2,
    /// As a router.
    L3,
    /// As a router whose packets pass the host's firewall.
    L3s,
}

/// Who sees whom on one parent interface of ipvlan; the parent has one flag for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanFlag {
    /// All see each other.
    #[default]
    Bridge,
    /// None sees another.
    Private,
    /// They see each other where the switch outside sends frames back.
    Vepa,
}

/// How containers of a bridge network and the world reach each other, for one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayMode {
    /// Outward with the host's address, inward by published ports.
    #[default]
    Nat,
    /// The same, but a container's address is open to those that route to it.
    NatUnprotected,
    /// Nothing is translated; published ports are open at the container's own address.
    Routed,
    /// The host has no address in the network.
    Isolated,
}

/// A range of addresses of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRange {
    /// The subnet.
    pub subnet: Subnet,
    /// The host's address in it (bridge), or that of a router outside (macvlan, ipvlan).
    pub gateway: Option<IpAddr>,
    /// The part of the subnet that containers' addresses are drawn from; the whole where absent.
    #[serde(default)]
    pub range: Option<Subnet>,
    /// Addresses that are never given, by the names that users gave them.
    #[serde(default)]
    pub reserved: BTreeMap<String, IpAddr>,
    /// Whether the subnet was asked for, rather than chosen: only there addresses may be asked for.
    #[serde(default)]
    pub asked: bool,
}

impl AddressRange {
    /// A range whose gateway is the subnet's first address.
    pub fn new(subnet: Subnet) -> Self {
        Self {
            subnet,
            gateway: Some(subnet.first_host()),
            range: None,
            reserved: BTreeMap::new(),
            asked: false,
        }
    }

    /// What is not given to containers.
    pub(crate) fn reserved(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.gateway.into_iter().chain(self.reserved.values().copied())
    }
}

/// A network as it shall be; the caller keeps it (the subnets too: see [`crate::choose_subnet`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own, with the user's word for it"
)]
pub struct NetworkConfig {
    /// The network's id, 64 hexadecimal digits.
    pub id: String,
    /// Its name, for messages and for the order of gateways.
    pub name: String,
    /// How containers are connected.
    pub driver: Driver,
    /// Of ipvlan.
    pub ipvlan_flag: IpvlanFlag,
    /// The bridge, or the parent interface of macvlan and ipvlan: at most 15 bytes. Docker's form for bridges made by
    /// users is `br-` and 12 digits of the id.
    #[serde(alias = "bridge_name")]
    pub interface: String,
    /// IPv4; none at all for a network of IPv6 alone. A bridge has one at most.
    pub ipv4: Vec<AddressRange>,
    /// IPv6, the same.
    #[serde(deserialize_with = "ranges6")]
    pub ipv6: Vec<AddressRange>,
    /// Bytes; of bridge and interfaces.
    pub mtu: u32,
    /// Whether what leaves for elsewhere takes the host's address.
    pub masquerade: bool,
    /// Whether containers of this network reach each other directly (Docker's `enable_icc`).
    pub icc: bool,
    /// Where ports without a host address are published; none means all of IPv4 and IPv6.
    pub default_host_address: Option<IpAddr>,
    /// No way out and no way in.
    pub internal: bool,
    /// How IPv4 passes the bridge.
    pub gateway_mode4: GatewayMode,
    /// How IPv6 does.
    pub gateway_mode6: GatewayMode,
    /// The bridge gets no IPv4 address; the gateway is someone else's (`inhibit_ipv4`).
    pub inhibit_ipv4: bool,
    /// The parent interface was made for this network and goes with it.
    pub own_parent: bool,
    /// The bridge was there before the network, and is left when the network goes.
    pub found_bridge: bool,
    /// Others keep the account of its addresses; the ranges are what they gave.
    pub remote_addresses: bool,
}

impl NetworkConfig {
    /// A bridge with Docker's defaults: MTU 1500, masquerade, containers reach each other; the gateway is the subnet's
    /// first address.
    pub fn bridge(id: &str, name: &str, bridge_name: &str, subnet: Subnet) -> Self {
        let mut this = Self::without_addresses(id, name, Driver::Bridge, bridge_name);
        this.ranges_mut(subnet.is_ipv4()).push(AddressRange::new(subnet));
        this
    }

    /// A network that has no addresses yet.
    pub fn without_addresses(id: &str, name: &str, driver: Driver, interface: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            driver,
            ipvlan_flag: IpvlanFlag::Bridge,
            interface: interface.to_owned(),
            ipv4: Vec::new(),
            ipv6: Vec::new(),
            mtu: 1500,
            masquerade: true,
            icc: true,
            default_host_address: None,
            internal: false,
            gateway_mode4: GatewayMode::Nat,
            gateway_mode6: GatewayMode::Nat,
            inhibit_ipv4: false,
            own_parent: false,
            found_bridge: false,
            remote_addresses: false,
        }
    }

    /// The ranges of one family.
    pub fn ranges_mut(&mut self, ipv4: bool) -> &mut Vec<AddressRange> {
        if ipv4 { &mut self.ipv4 } else { &mut self.ipv6 }
    }

    /// The ranges of both families.
    pub fn ranges(&self) -> impl Iterator<Item = &AddressRange> {
        self.ipv4.iter().chain(&self.ipv6)
    }

    /// Whether others connect its containers.
    pub fn is_remote(&self) -> bool {
        self.driver == Driver::Remote
    }

    /// Whether namespaces can stand ready on it.
    pub(crate) fn is_pooled(&self) -> bool {
        self.is_bridge() && !self.remote_addresses
    }

    /// Whether it has a bridge of ours.
    pub fn is_bridge(&self) -> bool {
        self.driver == Driver::Bridge
    }

    /// The bridge's addresses, with the bits of their subnets.
    pub(crate) fn host_addresses(&self) -> impl Iterator<Item = (IpAddr, u8)> + '_ {
        let wanted = |range: &&AddressRange| {
            let ipv4 = range.subnet.is_ipv4();
            self.gateway_mode(ipv4) != GatewayMode::Isolated && !(ipv4 && self.inhibit_ipv4)
        };
        let all = self.ranges().filter(wanted);
        all.filter_map(|range| Some((range.gateway?, range.subnet.prefix())))
    }

    /// How a family passes the bridge.
    pub(crate) fn gateway_mode(&self, ipv4: bool) -> GatewayMode {
        if ipv4 { self.gateway_mode4 } else { self.gateway_mode6 }
    }

    /// Whether containers are told a next hop of this family: not in an internal network, nor where the driver routes
    /// by interfaces, nor behind a bridge without an address.
    pub(crate) fn has_gateway(&self, ipv4: bool) -> bool {
        let isolated = self.is_bridge() && self.gateway_mode(ipv4) == GatewayMode::Isolated;
        !self.internal && !self.is_direct() && !self.is_lonely() && !isolated
    }

    /// Whether its parent is an interface that was made for it and leads nowhere.
    fn is_lonely(&self) -> bool {
        self.own_parent && !self.interface.contains('.')
    }

    /// Whether the default route is the interface, without a next hop.
    pub(crate) fn is_direct(&self) -> bool {
        !self.internal
            && !self.is_lonely()
            && matches!(self.driver, Driver::Ipvlan(IpvlanMode::L3 | IpvlanMode::L3s))
    }
}

impl Default for NetworkConfig {
    /// A bridge without name and addresses: what is missing in a saved network.
    fn default() -> Self {
        Self::without_addresses("", "", Driver::Bridge, "")
    }
}

impl Serialize for NetworkConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The derived form: it is no method of the trait, because of the other half.
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for NetworkConfig {
    /// Every form in which a network was ever saved.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Saved {
            #[serde(flatten, deserialize_with = "NetworkConfig::deserialize")]
            network: NetworkConfig,
            /// Before there were several ranges.
            subnet: Option<Subnet>,
            gateway: Option<Ipv4Addr>,
            range: Option<Subnet>,
        }
        let Saved { mut network, subnet, gateway, range } = Saved::deserialize(deserializer)?;
        if let Some(subnet) = subnet {
            let gateway = gateway.map(IpAddr::V4);
            network.ipv4.push(AddressRange { gateway, range, ..AddressRange::new(subnet) });
        }
        Ok(network)
    }
}

/// IPv6 as it is saved, and as it was before there were several ranges.
fn ranges6<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AddressRange>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Saved {
        Ranges(Vec<AddressRange>),
        One { address: Ipv6Addr, prefix: u8, gateway: Ipv6Addr },
        None,
    }
    Ok(match Saved::deserialize(deserializer)? {
        Saved::Ranges(ranges) => ranges,
        Saved::One { address, prefix, gateway } => Subnet::new(address, prefix)
            .map(|subnet| AddressRange { gateway: Some(gateway.into()), ..AddressRange::new(subnet) })
            .into_iter()
            .collect(),
        Saved::None => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_reads_back_and_so_does_an_old_one() {
        let mut network =
            NetworkConfig::bridge("aa", "net", "br-aa", "10.1.0.0/16".parse().expect("a subnet"));
        network.ipv6.push(AddressRange::new("fd00::/64".parse().expect("a subnet")));
        network.driver = Driver::Macvlan(MacvlanMode::Private);
        let text = serde_json::to_string(&network).unwrap();
        assert_eq!(serde_json::from_str::<NetworkConfig>(&text).unwrap(), network);

        let old = r#"{"id":"aa","name":"net","bridge_name":"br-aa","subnet":"10.1.0.0/16","gateway":"10.1.0.9",
            "range":"10.1.2.0/24","mtu":1400,"masquerade":false,"icc":true,"default_host_address":null,"internal":true,
            "ipv6":{"address":"fd00::","prefix":64,"gateway":"fd00::1"}}"#;
        let read: NetworkConfig = serde_json::from_str(old).unwrap();
        assert_eq!(read.ipv4[0].gateway, Some([10, 1, 0, 9].into()));
        assert_eq!(read.ipv4[0].range, Some("10.1.2.0/24".parse().unwrap()));
        assert_eq!((read.mtu, read.masquerade, read.internal), (1400, false, true));
        assert_eq!(read.ipv6, [AddressRange::new("fd00::/64".parse().unwrap())]);
        let without: NetworkConfig = serde_json::from_str(
            &old.replace("{\"address\":\"fd00::\",\"prefix\":64,\"gateway\":\"fd00::1\"}", "null"),
        )
        .unwrap();
        assert_eq!(without.ipv6, []);
    }
}
