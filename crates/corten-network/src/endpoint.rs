//! Sandboxes and their endpoints: what is asked for, and what is made of it.

use crate::settings::{MacAddress, PublishedPort};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

/// A place in a network that is wanted for a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointRequest {
    /// The id of a network that [`crate::NetworkManager::ensure_network`] made.
    pub network_id: String,
    /// The IPv4 address asked for; the lowest free one where absent.
    pub address: Option<Ipv4Addr>,
    /// The IPv6 address asked for, the same.
    pub address6: Option<Ipv6Addr>,
    /// Further addresses that nobody keeps account of.
    pub link_local: Vec<IpAddr>,
    /// The hardware address asked for; derived from the address where absent.
    pub mac: Option<MacAddress>,
    /// The endpoint with the highest number has the default route.
    pub priority: i64,
    /// The interface's name inside; `eth` and a number where absent.
    pub interface: Option<String>,
    /// Settings of the interface in the form `net.ipv4.conf.IFNAME.NAME=VALUE`.
    pub sysctls: Vec<String>,
    /// What others are told of it, as their protocol writes it.
    pub options: serde_json::Map<String, serde_json::Value>,
}

impl EndpointRequest {
    /// A place in this network, with nothing in particular asked for.
    pub fn on(network_id: &str) -> Self {
        Self { network_id: network_id.to_owned(), ..Self::default() }
    }

    /// The addresses that are asked for.
    pub(crate) fn asked(&self) -> Vec<IpAddr> {
        let (ipv4, ipv6) = (self.address.map(IpAddr::V4), self.address6.map(IpAddr::V6));
        ipv4.into_iter().chain(ipv6).collect()
    }

    /// Whether a namespace that stands ready can serve it.
    pub(crate) fn is_plain(&self) -> bool {
        self.link_local.is_empty() && self.interface.is_none() && self.sysctls.is_empty()
    }
}

/// What a sandbox is to be attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// These networks, in this order: `eth0`, `eth1`, … None at all is a namespace that can be connected later.
    Networks(Vec<EndpointRequest>),
    /// Only a loopback interface.
    None,
    /// The host's own namespace.
    Host,
}

/// A sandbox that is wanted.
#[derive(Clone, Debug)]
pub struct SandboxRequest {
    /// The container's id; 64 hexadecimal digits.
    pub container_id: String,
    /// The container's name as messages show it (`driver failed … on endpoint NAME (…)`).
    pub name: String,
    /// What it is attached to.
    pub network: Attachment,
    /// Which user namespace its network namespace belongs to.
    pub owner: NamespaceOwner,
}

/// Which user namespace a network namespace belongs to.
#[derive(Clone, Debug, Default)]
pub enum NamespaceOwner {
    /// The host's.
    #[default]
    Host,
    /// A new one of its own ([`crate::NetworkSettings::users`]).
    New,
    /// One that exists.
    Users(Arc<OwnedFd>),
}

/// What a sandbox is attached to, without what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxKind {
    /// Networks.
    #[serde(alias = "bridge")]
    Networks,
    /// Only a loopback interface.
    None,
    /// The host's own namespace.
    Host,
}

/// A network namespace with what belongs to it. Dropping this leaves the sandbox as it is; it goes with
/// [`crate::NetworkManager::remove_sandbox`].
#[derive(Debug)]
pub struct Sandbox {
    /// 64 hexadecimal digits (`NetworkSettings.SandboxID`).
    pub id: String,
    /// The container it was made for.
    pub container_id: String,
    /// What it is attached to.
    pub kind: SandboxKind,
    /// Where the namespace is pinned (`NetworkSettings.SandboxKey`); for the host's namespace the link in /proc.
    pub path: PathBuf,
    /// The namespace, to be entered by the container's first process.
    pub namespace: OwnedFd,
    /// Its places in networks, in the order in which they were made.
    pub endpoints: Vec<Endpoint>,
    /// What is published at present.
    pub ports: Vec<PublishedPort>,
}

impl Sandbox {
    /// Its place in one network.
    pub fn endpoint_on(&self, network_id: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.network_id == network_id)
    }
}

/// A sandbox's place in one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// 64 hexadecimal digits (`EndpointID`).
    pub id: String,
    /// The network's id.
    pub network_id: String,
    /// The network's name.
    #[serde(default)]
    pub network: String,
    /// The interface's name inside.
    pub interface: String,
    /// The other end, on the bridge; empty where the driver has none.
    pub host_interface: String,
    /// The number of that end, 0 without.
    #[serde(default)]
    pub host_index: u32,
    /// Its IPv4 address, where the network has IPv4.
    pub address: Option<Ipv4Addr>,
    /// Bits of the subnet, 0 without.
    pub prefix: u8,
    /// The IPv4 default route's next hop; none in an internal network.
    pub gateway: Option<Ipv4Addr>,
    /// Its IPv6 address, where the network has IPv6.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
    /// Bits of the IPv6 subnet, 0 without.
    #[serde(default)]
    pub prefix6: u8,
    /// The IPv6 default route's next hop.
    #[serde(default)]
    pub gateway6: Option<Ipv6Addr>,
    /// A default route needs no next hop: everything goes out by the interface.
    #[serde(default)]
    pub direct: bool,
    /// Further addresses that were asked for.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// Its hardware address.
    pub mac: MacAddress,
    /// The endpoint with the highest number has the default route.
    #[serde(default)]
    pub priority: i64,
    /// Its network leads nowhere else.
    #[serde(default)]
    pub internal: bool,
    /// IPv4 is not translated: published ports are open at the container's own address, and the host has none of them.
    #[serde(default)]
    pub routed4: bool,
    /// The same of IPv6.
    #[serde(default)]
    pub routed6: bool,
    /// Published ports reach the container by this endpoint where it has the default route.
    #[serde(default = "yes")]
    pub publishes: bool,
    /// Others made it: the name that its interface has on the host, empty without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// Others said that the sandbox is to have no other way out.
    #[serde(default)]
    pub without_gateway: bool,
}

fn yes() -> bool {
    true
}

impl Endpoint {
    /// Its addresses, without link-local ones.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let (first, second) = (self.address.map(IpAddr::V4), self.address6.map(IpAddr::V6));
        first.into_iter().chain(second)
    }

    /// The next hop of one family.
    pub(crate) fn gateway_of(&self, ipv4: bool) -> Option<IpAddr> {
        if ipv4 { self.gateway.map(IpAddr::V4) } else { self.gateway6.map(IpAddr::V6) }
    }

    /// Whether a default route of one family can go this way.
    pub(crate) fn leads_out(&self, ipv4: bool) -> bool {
        let has_address = if ipv4 { self.address.is_some() } else { self.address6.is_some() };
        has_address && (self.gateway_of(ipv4).is_some() || self.direct)
    }
}
