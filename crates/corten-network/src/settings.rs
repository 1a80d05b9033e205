//! The plain structs that callers and manager exchange.

use crate::policy::AllowedPorts;
use corten_std::Paths;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

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
    /// Ports that are open to other hosts whatever the host's rules say ([`FirewallMode::Host`]).
    pub allowed_ports: Vec<AllowedPorts>,
    /// Who makes namespaces that belong to a user namespace; those that stand ready are of this kind then.
    pub users: Option<Arc<dyn NamespaceMaker>>,
}

/// Makes network namespaces that belong to a user namespace. The layer above supplies it, as a process with threads
/// cannot.
pub trait NamespaceMaker: fmt::Debug + Send + Sync {
    /// In a new user namespace.
    ///
    /// # Errors
    /// Where it is not made.
    fn make(&self) -> io::Result<OwnedFd>;

    /// In a user namespace that exists.
    ///
    /// # Errors
    /// Where it is not made.
    fn make_in(&self, users: BorrowedFd<'_>) -> io::Result<OwnedFd>;
}

impl NetworkSettings {
    /// The defaults for a daemon whose default bridge has this name.
    pub fn new(paths: Paths, bridge_name: &str) -> Self {
        let table = match bridge_name {
            "corten0" => "corten".to_owned(),
            other => format!("corten-{other}"),
        };
        let default_bridge = bridge_name.to_owned();
        Self {
            paths,
            table,
            default_bridge,
            pool_size: 6,
            ip_forward: true,
            firewall: FirewallMode::default(),
            allowed_ports: Vec::new(),
            users: None,
        }
    }
}

impl NetworkSettings {
    /// Whether forwarding may be turned on: not without the rules that keep others from using it.
    pub(crate) fn may_forward(&self) -> bool {
        self.ip_forward && self.firewall != FirewallMode::None
    }
}

/// Whose rules decide which published ports other hosts reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirewallMode {
    /// The host's own: a published port is open where its input rules let other hosts reach a program on that port.
    #[default]
    Host,
    /// Every published port is open, as Docker has it.
    Docker,
    /// No rules are made at all; ports are reached through the proxy only.
    None,
}

/// A hardware address; printed as `02:42:ac:11:00:02`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// The host's port; 0 where the port is open at the container's own address instead.
    pub host_port: u16,
}

impl PublishedPort {
    /// Whether it is open at the container's own address, and not one of the host's.
    pub(crate) fn is_routed(&self) -> bool {
        self.host_port == 0
    }
}
