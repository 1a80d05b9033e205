//! The plain structs that callers and manager exchange.

use crate::address::Subnet;
use corten_std::Paths;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// How a manager is opened.
#[derive(Clone, Debug)]
pub struct NetworkSettings {
    /// Where namespaces are pinned and records lie (`exec_root`).
    pub paths: Paths,
    /// The name of the nftables table; two daemons on one machine need two names.
    /// [`NetworkSettings::new`] derives it from the default bridge's name.
    pub table: String,
    /// The bridge on which namespaces stand ready from the start; on others from their first sandbox on.
    pub default_bridge: String,
    /// How many namespaces are kept ready on each bridge that is in use; 0 makes each on demand.
    pub pool_size: usize,
    /// Whether the manager may turn on forwarding where it is off.
    pub ip_forward: bool,
    /// Whose rules decide which published ports other hosts reach.
    pub firewall: FirewallMode,
}

impl NetworkSettings {
    /// The defaults for a daemon whose default bridge has this name.
    pub fn new(paths: Paths, bridge_name: &str) -> Self {
        let table = match bridge_name {
            "corten0" => "corten".to_owned(),
            other => format!("corten-{other}"),
        };
        let default_bridge = bridge_name.to_owned();
        Self { paths, table, default_bridge, pool_size: 6, ip_forward: true, firewall: FirewallMode::Docker }
    }
}

impl NetworkSettings {
    /// Whether forwarding may be turned on: not without the rules that keep others from using it.
    pub(crate) fn may_forward(&self) -> bool {
        self.ip_forward && self.firewall == FirewallMode::Docker
    }
}

/// Whose rules decide which published ports other hosts reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirewallMode {
    /// Every published port is open, as Docker has it.
    #[default]
    Docker,
    /// No rules are made at all; ports are reached through the proxy only.
    None,
}

/// A bridge network as it shall be; the caller keeps it (the subnet too: see [`crate::choose_subnet`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeNetwork {
    /// The network's id, 64 hexadecimal digits.
    pub id: String,
    /// Its name, for messages.
    pub name: String,
    /// The bridge interface: at most 15 bytes. Docker's form for networks made by users is `br-` and 12 digits of the id.
    pub bridge_name: String,
    /// The IPv4 subnet.
    pub subnet: Subnet,
    /// The bridge's own address in the subnet.
    pub gateway: Ipv4Addr,
    /// The part of the subnet that containers' addresses are drawn from; the whole where absent.
    #[serde(default)]
    pub range: Option<Subnet>,
    /// Bytes; of bridge and interfaces.
    pub mtu: u32,
    /// Whether what leaves for elsewhere takes the host's address.
    pub masquerade: bool,
    /// Whether containers of this network reach each other directly (Docker's `enable_icc`).
    pub icc: bool,
    /// Where ports without a host address are published; none means all of IPv4 and IPv6.
    #[serde(default)]
    pub default_host_address: Option<IpAddr>,
    /// No way out and no way in.
    #[serde(default)]
    pub internal: bool,
    /// IPv6 beside IPv4.
    #[serde(default)]
    pub ipv6: Option<Ipv6Network>,
}

impl BridgeNetwork {
    /// A network with Docker's defaults: MTU 1500, masquerade, containers reach each other; the gateway is the
    /// subnet's first address.
    pub fn new(id: &str, name: &str, bridge_name: &str, subnet: Subnet) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            bridge_name: bridge_name.to_owned(),
            subnet,
            gateway: subnet.first_host(),
            range: None,
            mtu: 1500,
            masquerade: true,
            icc: true,
            default_host_address: None,
            internal: false,
            ipv6: None,
        }
    }
}

/// The IPv6 side of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6Network {
    /// The subnet's address; bits beyond the prefix are zero.
    pub address: Ipv6Addr,
    /// Bits, 1 to 126.
    pub prefix: u8,
    /// The bridge's own address.
    pub gateway: Ipv6Addr,
}

/// What a sandbox is to be attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A bridge network that [`crate::NetworkManager::ensure_network`] made.
    Bridge {
        /// The network's id.
        network_id: String,
        /// The address asked for; the lowest free one where absent.
        address: Option<Ipv4Addr>,
        /// The hardware address asked for; derived from the address where absent.
        mac: Option<MacAddress>,
    },
    /// Only a loopback interface.
    None,
    /// The host's own namespace.
    Host,
}

/// A sandbox that is wanted.
#[derive(Clone, Debug)]
pub struct SandboxRequest {
    /// The container's name as messages show it (`driver failed … on endpoint NAME (…)`).
    pub name: String,
    /// What it is attached to.
    pub network: Attachment,
}

/// What a sandbox is attached to, without what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxKind {
    /// An interface on a bridge.
    Bridge,
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
    /// What it is attached to.
    pub kind: SandboxKind,
    /// Where the namespace is pinned (`NetworkSettings.SandboxKey`); for the host's namespace the link in /proc.
    pub path: PathBuf,
    /// The namespace, to be entered by the container's first process.
    pub namespace: OwnedFd,
    /// The interface on the bridge, where there is one.
    pub endpoint: Option<Endpoint>,
    /// What is published at present.
    pub ports: Vec<PublishedPort>,
}

/// An interface of a sandbox on a bridge network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// 64 hexadecimal digits (`EndpointID`).
    pub id: String,
    /// The network's id.
    pub network_id: String,
    /// The interface's name inside.
    pub interface: String,
    /// The other end, on the bridge.
    pub host_interface: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Bits of the subnet.
    pub prefix: u8,
    /// The default route's next hop; none in an internal network.
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
    /// Its hardware address.
    pub mac: MacAddress,
}

/// A hardware address; printed as `02:42:ac:11:00:02`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [vendor @ .., last] = self.0;
        vendor.iter().try_for_each(|byte| write!(formatter, "{byte:02x}:"))?;
        write!(formatter, "{last:02x}")
    }
}

impl std::str::FromStr for MacAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || format!("`{text}` is not a MAC address");
        let mut bytes = [0_u8; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(refuse)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| refuse())?;
        }
        if parts.next().is_some() { Err(refuse()) } else { Ok(Self(bytes)) }
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A transport protocol whose ports can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP; without a reserving socket where the kernel has no SCTP sockets.
    Sctp,
}

impl Protocol {
    /// The number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl std::str::FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(format!("invalid proto: {text}")),
        }
    }
}

/// One port to publish.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PortMapping {
    /// The port in the sandbox.
    pub container_port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The host's address; the network's default where absent (all addresses of IPv4 and IPv6 unless set).
    pub host_address: Option<IpAddr>,
    /// The host's port; out of a range the first free one, and where absent a free one of the ephemeral range.
    pub host_ports: Option<RangeInclusive<u16>>,
}

/// One port that is published on one address of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The port in the sandbox.
    pub container_port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The host's address; `0.0.0.0` and `::` are all of their family.
    pub host_address: IpAddr,
    /// The host's port.
    pub host_port: u16,
}
