//! Namespaces that stand ready, so that a start takes one instead of making one.

use crate::address::{AddressPool, mac_of};
use crate::error::NetworkError;
use crate::namespace::{self, Addressing, Namespace, VethPlan};
use crate::record::pin_path;
use crate::settings::{BridgeNetwork, MacAddress};
use corten_std::{PathError, Paths, id};
use corten_sys::netlink::Socket;
use corten_sys::netlink::namespace as kernel;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

/// A namespace, pinned, and connected where it belongs to a network.
#[derive(Debug)]
pub(crate) struct Ready {
    /// The id of the sandbox that it will be.
    pub(crate) id: String,
    pub(crate) path: PathBuf,
    pub(crate) namespace: Namespace,
    pub(crate) cable: Option<Cable>,
}

/// The connection of a namespace with a bridge.
#[derive(Debug)]
pub(crate) struct Cable {
    /// The near end's name.
    pub(crate) host_interface: String,
    /// The near end's number.
    pub(crate) host_index: u32,
    pub(crate) addressing: Addressing,
    pub(crate) mac: MacAddress,
}

/// A network with what stands ready on it.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) config: BridgeNetwork,
    /// The bridge's number.
    pub(crate) bridge: u32,
    pub(crate) addresses: AddressPool,
    pub(crate) ready: VecDeque<Ready>,
    /// Sandboxes that are handed out, or being made on the spot.
    pub(crate) attached: usize,
    /// Whether namespaces are kept ready: from the start on the default bridge, elsewhere from the first sandbox on.
    pub(crate) warm: bool,
}

/// All that is needed to make a connected namespace without looking at the network again.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) network: String,
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    pub(crate) isolated: bool,
    pub(crate) addressing: Addressing,
    pub(crate) mac: MacAddress,
}

/// What is to stand ready.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// A namespace with nothing but a loopback interface.
    Bare,
    /// One on a network.
    Connected(Plan),
}

impl Wanted {
    /// The plan, where there is one.
    pub(crate) fn plan(&self) -> Option<&Plan> {
        match self {
            Self::Bare => None,
            Self::Connected(plan) => Some(plan),
        }
    }
}

impl Network {
    /// The plan for an address that is taken already.
    pub(crate) fn plan(&self, address: Ipv4Addr, mac: Option<MacAddress>) -> Plan {
        Plan {
            network: self.config.id.clone(),
            bridge: self.bridge,
            mtu: self.config.mtu,
            isolated: !self.config.icc,
            addressing: self.addressing(address),
            mac: mac.unwrap_or_else(|| mac_of(address)),
        }
    }

    /// What an interface with this address is given.
    pub(crate) fn addressing(&self, address: Ipv4Addr) -> Addressing {
        let config = &self.config;
        Addressing {
            address,
            prefix: config.subnet.prefix(),
            gateway: (!config.internal).then_some(config.gateway),
            ipv6: config.ipv6.map(|ipv6| {
                let offset = u32::from(address) - u32::from(config.subnet.address());
                (host_in(&ipv6, offset), ipv6.prefix, (!config.internal).then_some(ipv6.gateway))
            }),
        }
    }
}

/// The IPv6 address with the same place in its subnet as the IPv4 address has in its own, so that one account of
/// addresses serves both.
fn host_in(ipv6: &crate::settings::Ipv6Network, offset: u32) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(ipv6.prefix)).unwrap_or(0);
    let at = |offset: u128| Ipv6Addr::from((u128::from(ipv6.address) & mask) | (offset & !mask));
    let address = at(u128::from(offset));
    // A gateway with an unusual place; its neighbour 2^32 away is nobody's.
    if address == ipv6.gateway { at(u128::from(offset) | 1 << 32) } else { address }
}

/// Makes a namespace, connects it where there is a plan, and pins it. Leaves nothing behind when it fails. The calling
/// thread must be in `home` and used by nobody else meanwhile.
pub(crate) fn make(
    paths: &Paths,
    home: BorrowedFd<'_>,
    host: &mut Socket,
    plan: Option<&Plan>,
) -> Result<Ready, NetworkError> {
    let id = id::random_id();
    let path = pin_path(paths, &id);
    let ipv6 = plan.is_some_and(|plan| plan.addressing.ipv6.is_some());
    let mut space = namespace::make(home, ipv6)?;
    let mut cable = None;
    if let Some(plan) = plan {
        let host_interface = interface_name(&id);
        let veth = VethPlan { name: &host_interface, bridge: plan.bridge, mtu: plan.mtu, mac: plan.mac.0 };
        // When this fails, the cable goes with the namespace.
        let host_index = namespace::connect(host, &mut space, &veth, &plan.addressing, plan.isolated)
            .map_err(|source| NetworkError::Kernel {
                operation: "connect a sandbox",
                subject: plan.network.clone(),
                source,
            })?;
        namespace::set(&format!("/proc/sys/net/ipv6/conf/{host_interface}/disable_ipv6"), "1");
        cable = Some(Cable { host_interface, host_index, addressing: plan.addressing, mac: plan.mac });
    }
    kernel::pin(space.descriptor.as_fd(), &path)
        .map_err(|source| PathError::new("pin a namespace at", &path, source))?;
    Ok(Ready { id, path, namespace: space, cable })
}

/// The near end's name: `veth` and eleven digits of the sandbox's id, as long as a name can be.
fn interface_name(id: &str) -> String {
    format!("veth{}", &id[..11])
}

/// Whether a name is one that [`make`] gives.
pub(crate) fn is_interface_name(name: &str) -> bool {
    name.strip_prefix("veth").is_some_and(|rest| {
        rest.len() == 11 && rest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Ipv6Network;

    #[test]
    fn the_ipv6_address_has_the_same_place_and_spares_the_gateway() {
        let network = |gateway: &str| Ipv6Network {
            address: "fd00:1::".parse().unwrap(),
            prefix: 64,
            gateway: gateway.parse().unwrap(),
        };
        assert_eq!(host_in(&network("fd00:1::1"), 2).to_string(), "fd00:1::2");
        assert_eq!(host_in(&network("fd00:1::2"), 2).to_string(), "fd00:1::1:0:2");
    }

    #[test]
    fn interfaces_are_recognised() {
        assert!(is_interface_name(&interface_name(&id::random_id())));
        for name in ["veth0", "veth012345678", "eth0", "veth0123456789g"] {
            assert!(!is_interface_name(name), "{name}");
        }
    }
}
