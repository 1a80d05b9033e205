//! What can go wrong, with the facts as fields.

use crate::remote::RemoteError;
use crate::settings::{Protocol, PublishedPort};
use corten_std::{Classified, ErrorClass, PathError};
use corten_sys::netlink::NetlinkError;
use std::io;
use std::net::IpAddr;

/// A network, a sandbox or the firewall could not be made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refused a request.
    #[error("cannot {operation} for network `{subject}`")]
    Kernel {
        /// What was being done.
        operation: &'static str,
        /// Network, bridge or sandbox.
        subject: String,
        /// The kernel's answer.
        source: NetlinkError,
    },
    /// The firewall table is there, and the kernel lets only its owner change it.
    #[error("the firewall table `{table}` belongs to another daemon or program that runs now")]
    ForeignTable {
        /// The table's name.
        table: String,
        /// The bridge it is named after.
        bridge: String,
        /// The kernel's answer. Left out of the text's causes: the owner is the reason.
        refused: NetlinkError,
    },
    /// A file or a pin could not be made or read.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A call to the kernel that is not netlink failed.
    #[error("cannot {operation}")]
    System {
        /// What was being done.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No such network was ensured.
    #[error("network {0} not found")]
    NoSuchNetwork(String),
    /// No such sandbox.
    #[error("sandbox {0} not found")]
    NoSuchSandbox(String),
    /// A sandbox without an interface on a bridge cannot publish.
    #[error("sandbox {0} is not attached to a bridge")]
    NotAttached(String),
    /// The sandbox is on the network already. The text is Docker's.
    #[error("endpoint with name {name} already exists in network {network}")]
    Connected {
        /// The container's name.
        name: String,
        /// The network's.
        network: String,
    },
    /// An interface of the sandbox has this name already, or no interface can have it.
    #[error("the sandbox cannot have one more interface of the name `{0}`")]
    InterfaceTaken(String),
    /// The parent of a macvlan or ipvlan network is not there.
    #[error("-o parent interface was not found on the host: {0}")]
    NoParent(String),
    /// The kernel has no interfaces of this kind.
    #[error("this kernel has no {kind} interfaces")]
    Unsupported {
        /// `ipvlan`, `macvlan` or `vlan`.
        kind: &'static str,
        /// The kernel's answer; the text says what it means.
        refused: NetlinkError,
    },
    /// A setting of an interface was refused.
    #[error("cannot set `{setting}` for an interface")]
    Setting {
        /// As it was asked for.
        setting: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Sandboxes are still attached.
    #[error("error while removing network: network {name} has active endpoints")]
    InUse {
        /// The network's name.
        name: String,
    },
    /// The interface exists and is no bridge.
    #[error("interface `{0}` exists and is not a bridge")]
    NotABridge(String),
    /// A name that no interface can have.
    #[error("`{0}` cannot be the name of an interface")]
    InterfaceName(String),
    /// The subnet overlaps one of our own networks.
    #[error("invalid pool request: Pool overlaps with other one on this address space")]
    Overlap {
        /// The network that has it.
        with: String,
    },
    /// The gateway is outside the subnet.
    #[error("gateway {gateway} is outside of the subnet")]
    Gateway {
        /// What was asked for.
        gateway: IpAddr,
    },
    /// The address asked for is used.
    #[error("Address already in use")]
    AddressTaken(IpAddr),
    /// The address asked for is outside.
    #[error("invalid address {0}: It does not belong to any of this network's subnets")]
    AddressOutside(IpAddr),
    /// Every address of the subnet is used.
    #[error("no available {family} addresses on this network's address pools: {name} ({id})")]
    AddressesExhausted {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// The network's name.
        name: String,
        /// Its id.
        id: String,
    },
    /// The interface that a driver named is not on the host.
    #[error(
        "the driver of network {network} named the interface `{name}`, and there is none of that name on the host"
    )]
    NoInterface {
        /// The interface's name.
        name: String,
        /// The network's.
        network: String,
    },
    /// A driver that is not ours did not do what was asked.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A port could not be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl Classified for NetworkError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Kernel { .. }
            | Self::System { .. }
            | Self::NoInterface { .. }
            | Self::AddressesExhausted { .. } => ErrorClass::System,
            Self::Remote(error) => error.class,
            Self::Path(error) => error.class(),
            Self::NoSuchNetwork(_) | Self::NoSuchSandbox(_) => ErrorClass::NotFound,
            Self::NotAttached(_)
            | Self::InterfaceName(_)
            | Self::Gateway { .. }
            | Self::AddressOutside(_) => ErrorClass::InvalidParameter,
            Self::InterfaceTaken(_) | Self::NoParent(_) | Self::Setting { .. } => {
                ErrorClass::InvalidParameter
            }
            Self::Unsupported { .. } => ErrorClass::NotImplemented,
            Self::InUse { .. } | Self::Overlap { .. } | Self::Connected { .. } => ErrorClass::Forbidden,
            Self::NotABridge(_) | Self::ForeignTable { .. } => ErrorClass::Conflict,
            Self::AddressTaken(_) => ErrorClass::Forbidden,
            Self::Publish(error) => error.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Kernel { source, .. } if source.is_permission() => {
                Some(
                    "making networks needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN), and a bridge name that no other \
                     running daemon uses"
                        .to_owned(),
                )
            }
            Self::ForeignTable { bridge, .. } => Some(format!(
                "end the daemon that has the bridge `{bridge}`, or name another one with --bridge"
            )),
            Self::Overlap { with } => {
                Some(format!("network `{with}` has this range; name another with --subnet"))
            }
            Self::Unsupported { kind, .. } => Some(format!(
                "load the kernel's module `{}`, or use a network of another driver",
                if *kind == "vlan" { "8021q" } else { kind }
            )),
            Self::NotABridge(name) => Some(format!("give another bridge name, or remove `{name}`")),
            Self::Publish(error) => error.hint(),
            _ => None,
        }
    }
}

/// Ports could not be published; nothing of the request is left behind. The text is Docker's.
#[derive(Debug, thiserror::Error)]
#[error("driver failed programming external connectivity on endpoint {name} ({endpoint_id}): {failure}")]
pub struct PublishError {
    /// The container's name.
    pub name: String,
    /// The endpoint's id.
    pub endpoint_id: String,
    /// What failed. Part of the text, as in Docker's message, and so not a cause.
    pub failure: PublishFailure,
}

/// Why ports could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishFailure {
    /// One of our own sandboxes has the port.
    #[error("Bind for {address}:{port} failed: port is already allocated", address = bracketed(*address))]
    Allocated {
        /// The host's address asked for.
        address: IpAddr,
        /// The port.
        port: u16,
        /// The name of the container that has it.
        by: String,
    },
    /// The host refuses to bind it: another program has it, or it is not ours to bind.
    #[error(
        "failed to bind host port for {host}:{port}:{container}:{container_port}/{protocol}: {reason}",
        host = bracketed(mapping.host_address), port = mapping.host_port, container_port = mapping.container_port,
        protocol = mapping.protocol, reason = plain(source)
    )]
    Bind {
        /// What was to be published.
        mapping: PublishedPort,
        /// The container's address.
        container: IpAddr,
        /// The kernel's answer.
        source: io::Error,
        /// The program that has it, where that could be found out (`nginx`, pid 123).
        by: Option<String>,
    },
    /// No port of the range is free.
    #[error("Bind for {address}:{first}-{last} failed: all ports are allocated", address = bracketed(*address))]
    RangeFull {
        /// The host's address asked for.
        address: IpAddr,
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
        /// The protocol.
        protocol: Protocol,
    },
    /// The kernel refused the map elements.
    #[error("{0}")]
    Kernel(NetlinkError),
    /// The record of the sandbox could not be written.
    #[error("{0}")]
    Record(PathError),
    /// No such sandbox, or one without an interface on a bridge.
    #[error("sandbox {0} has no endpoint")]
    NoEndpoint(String),
}

impl Classified for PublishError {
    fn class(&self) -> ErrorClass {
        match &self.failure {
            PublishFailure::NoEndpoint(_) => ErrorClass::NotFound,
            // Docker answers 500 for a taken port, and clients read the text.
            _ => ErrorClass::System,
        }
    }

    fn hint(&self) -> Option<String> {
        match &self.failure {
            PublishFailure::Allocated { port, by, .. } => Some(format!(
                "port {port} is published by container `{by}`; stop it or publish on another port"
            )),
            PublishFailure::Bind { mapping, by: Some(by), .. } => Some(format!(
                "port {} is used by {by}; stop it or publish on another port",
                mapping.host_port
            )),
            PublishFailure::Bind { mapping, source, .. }
                if source.kind() == io::ErrorKind::AddrNotAvailable =>
            {
                Some(format!("no interface of this machine has the address {}", mapping.host_address))
            }
            _ => None,
        }
    }
}

/// An address as it stands in front of a port.
fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// The kernel's words as Go prints them (without Rust's `(os error N)`), because Docker's users search for them.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
