//! Namespaces that stand ready, so that a start takes one instead of making one.

use crate::address::{AddressPool, AddressRefusal, mac_of};
use crate::config::NetworkConfig;
use crate::endpoint::Endpoint;
use crate::error::NetworkError;
use crate::namespace::{self, Addressing, CablePlan, Namespace, Placed};
use crate::record::pin_path;
use crate::settings::MacAddress;
use corten_std::{PathError, Paths, id};
use corten_sys::netlink::Socket;
use corten_sys::netlink::namespace as kernel;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// How many containers' addresses a network keeps in mind at least; it may be twice as many.
const REMEMBERED: usize = 1024;

/// The addresses that a container had last.
type LastAddresses = (Option<Ipv4Addr>, Option<Ipv6Addr>);

/// Whose an address was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaving {
    /// The sandbox.
    pub(crate) sandbox: String,
    /// The number of its cable's near end, 0 without one.
    pub(crate) cable: u32,
}

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

/// A network with its account of addresses and what stands ready on it.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) config: NetworkConfig,
    /// The number of the bridge, or of the parent interface.
    pub(crate) interface: u32,
    /// One for each range of the configuration, in its order.
    pools: Vec<AddressPool>,
    pub(crate) ready: VecDeque<Ready>,
    /// Endpoints that are handed out, or being made on the spot.
    pub(crate) attached: usize,
    /// The addresses that containers had last: who starts again gets them again where they are free. Every end of a container adds
    /// to the first and every start looks into both, so neither is searched: when the first is full it becomes the second.
    last: [HashMap<String, LastAddresses>; 2],
    /// Addresses of sandboxes that are gone and whose cables the kernel still has to take apart. The account still has them as
    /// taken.
    leaving: HashMap<IpAddr, Leaving>,
    /// Whether sandboxes on it have names: on all networks but the default bridge.
    names: bool,
    /// Whether namespaces are kept ready: from the start on the default bridge, elsewhere from the first sandbox on.
    pub(crate) warm: bool,
}

/// All that is needed to make a connected namespace without looking at the network again.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) network: String,
    pub(crate) interface: u32,
    pub(crate) mtu: u32,
    pub(crate) isolated: bool,
    pub(crate) addressing: Addressing,
    pub(crate) mac: MacAddress,
    /// Sandboxes on it have names.
    pub(crate) names: bool,
}

/// What is to stand ready.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// A namespace with nothing but a loopback interface.
    Bare,
    /// One on a network.
    Connected(Plan),
}

impl Plan {
    /// The cable of a bridge network, with the names of its ends.
    pub(crate) fn cable<'a>(&self, name: &'a str, peer_name: &'a str) -> CablePlan<'a> {
        CablePlan {
            name,
            bridge: self.interface,
            mtu: self.mtu,
            mac: self.mac.0,
            peer_name,
            isolated: self.isolated,
        }
    }
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
    /// A network of which no address is given yet; `warm` is the default bridge, which has no names.
    pub(crate) fn new(config: NetworkConfig, interface: u32, warm: bool) -> Self {
        let ours = |_: &&crate::config::AddressRange| !config.remote_addresses;
        let pools = config
            .ranges()
            .filter(ours)
            .map(|range| AddressPool::new(range.subnet, range.range, range.reserved()))
            .collect();
        Self {
            config,
            interface,
            pools,
            ready: VecDeque::new(),
            attached: 0,
            last: Default::default(),
            leaving: HashMap::new(),
            names: !warm,
            warm,
        }
    }

    /// Takes addresses, those asked for or the lowest free ones: one of each family that the network has.
    pub(crate) fn take(
        &mut self,
        asked4: Option<Ipv4Addr>,
        asked6: Option<Ipv6Addr>,
    ) -> Result<Addressing, NetworkError> {
        let ipv4 = self.take_one(true, asked4.map(IpAddr::V4))?;
        match self.take_one(false, asked6.map(IpAddr::V6)) {
            Ok(ipv6) => Ok(Addressing { ipv4, ipv6 }),
            Err(error) => {
                self.release(&Addressing { ipv4, ipv6: None });
                Err(error)
            }
        }
    }

    fn take_one(&mut self, ipv4: bool, asked: Option<IpAddr>) -> Result<Option<Placed>, NetworkError> {
        let mut pools = self.pools.iter_mut().filter(|pool| pool.subnet().is_ipv4() == ipv4).peekable();
        if pools.peek().is_none() && asked.is_none() {
            return Ok(None);
        }
        let taken = match asked {
            Some(address) => {
                match pools.find(|pool| pool.subnet().contains(address)).map(|pool| pool.take(address)) {
                    Some(Ok(())) => address,
                    None | Some(Err(AddressRefusal::Outside)) => {
                        return Err(NetworkError::AddressOutside(address));
                    }
                    Some(Err(_)) => return Err(NetworkError::AddressTaken(address)),
                }
            }
            None => pools.find_map(|pool| pool.allocate().ok()).ok_or_else(|| {
                NetworkError::AddressesExhausted {
                    family: if ipv4 { "IPv4" } else { "IPv6" },
                    name: self.config.name.clone(),
                    id: self.config.id.clone(),
                }
            })?,
        };
        Ok(Some(self.placed(taken)))
    }

    /// Addresses that others gave.
    pub(crate) fn place(&self, addresses: &[(IpAddr, u8)]) -> Addressing {
        let of = |ipv4| {
            let (address, prefix) =
                addresses.iter().copied().find(|(address, _)| address.is_ipv4() == ipv4)?;
            Some(Placed { prefix, ..self.placed(address) })
        };
        Addressing { ipv4: of(true), ipv6: of(false) }
    }

    /// Takes namespaces that stand ready out of the pool because they have one of these addresses, which is free then.
    pub(crate) fn evict(&mut self, asked: &[IpAddr]) -> Vec<Ready> {
        let mut evicted = Vec::new();
        for ready in std::mem::take(&mut self.ready) {
            let addressing = ready.cable.as_ref().map(|cable| cable.addressing).unwrap_or_default();
            if asked.iter().any(|address| addressing.has(*address)) {
                self.release(&addressing);
                evicted.push(ready);
            } else {
                self.ready.push_back(ready);
            }
        }
        evicted
    }

    /// The same with the one that has the highest address, where there is one.
    pub(crate) fn evict_one(&mut self) -> Option<Ready> {
        let ready = self.ready.pop_back()?;
        if let Some(cable) = &ready.cable {
            self.release(&cable.addressing);
        }
        Some(ready)
    }

    /// The same with the one that has the lowest address.
    pub(crate) fn evict_lowest(&mut self) -> Option<Ready> {
        let ready = self.ready.pop_front()?;
        if let Some(cable) = &ready.cable {
            self.release(&cable.addressing);
        }
        Some(ready)
    }

    /// Keeps in mind which addresses a container had.
    pub(crate) fn remember(&mut self, container: &str, endpoint: &Endpoint) {
        let [young, old] = &mut self.last;
        if young.len() >= REMEMBERED {
            *old = std::mem::take(young);
        }
        young.insert(container.to_owned(), (endpoint.address, endpoint.address6));
    }

    /// Which addresses a container had.
    pub(crate) fn recall(&self, container: &str) -> Option<LastAddresses> {
        self.last.iter().find_map(|last| last.get(container)).copied()
    }

    /// The sandbox that has this address is gone; it comes back by [`Network::release_left`].
    pub(crate) fn leave(&mut self, address: IpAddr, sandbox: &str, cable: u32) {
        self.leaving.insert(address, Leaving { sandbox: sandbox.to_owned(), cable });
    }

    /// Whose an address was that waits only for a cable to go.
    pub(crate) fn leaving(&self, address: IpAddr) -> Option<Leaving> {
        self.leaving.get(&address).filter(|leaving| leaving.cable != 0).cloned()
    }

    /// Gives an address back that this sandbox had; one that has been given back already, and may be another's by now, is left.
    pub(crate) fn release_left(&mut self, address: IpAddr, sandbox: &str) {
        if self.leaving.get(&address).is_some_and(|leaving| leaving.sandbox == sandbox) {
            self.leaving.remove(&address);
            self.release_address(address);
        }
    }

    /// Takes addresses that an earlier daemon gave.
    pub(crate) fn retake(&mut self, endpoint: &Endpoint) {
        for address in endpoint.addresses() {
            for pool in &mut self.pools {
                let _ = pool.take(address);
            }
        }
    }

    /// Gives addresses back.
    pub(crate) fn release(&mut self, addressing: &Addressing) {
        addressing.all().for_each(|placed| self.release_address(placed.address));
    }

    /// Gives one address back.
    pub(crate) fn release_address(&mut self, address: IpAddr) {
        self.pools.iter_mut().for_each(|pool| pool.release(address));
    }

    /// How many sandboxes it can have at most.
    pub(crate) fn capacity(&self) -> usize {
        let families = [true, false].map(|ipv4| {
            let pools = self.pools.iter().filter(|pool| pool.subnet().is_ipv4() == ipv4);
            pools.map(AddressPool::capacity).reduce(usize::saturating_add)
        });
        families.into_iter().flatten().min().unwrap_or(usize::MAX)
    }

    /// The plan for addresses that are taken already.
    pub(crate) fn plan(&self, addressing: Addressing, mac: Option<MacAddress>) -> Plan {
        Plan {
            network: self.config.id.clone(),
            interface: self.interface,
            mtu: self.config.mtu,
            isolated: !self.config.icc,
            addressing,
            mac: mac.unwrap_or_else(|| mac_for(&addressing)),
            names: self.names,
        }
    }

    fn placed(&self, address: IpAddr) -> Placed {
        let range = self.config.ranges().find(|range| range.subnet.contains(address));
        let gateway =
            range.and_then(|range| range.gateway).filter(|_| self.config.has_gateway(address.is_ipv4()));
        Placed { address, prefix: range.map_or(0, |range| range.subnet.prefix()), gateway }
    }
}

/// The hardware address of an interface where none was asked for: after its IPv4 address, else a random one.
fn mac_for(addressing: &Addressing) -> MacAddress {
    if let Some(IpAddr::V4(address)) = addressing.ipv4.map(|placed| placed.address) {
        return mac_of(address);
    }
    let [a, b, c, d] = id::random_bytes();
    MacAddress([0x02, 0x42, a, b, c, d])
}

/// Makes a namespace, or takes a new one, connects it where there is a plan, and pins it. Leaves nothing behind when it fails. The calling
/// thread must be in `home` and used by nobody else meanwhile.
pub(crate) fn make(
    paths: &Paths,
    home: BorrowedFd<'_>,
    host: &mut Socket,
    new: Option<OwnedFd>,
    plan: Option<&Plan>,
) -> Result<Ready, NetworkError> {
    let id = id::random_id();
    let path = pin_path(paths, &id);
    let ipv6 = plan.is_some_and(|plan| plan.addressing.ipv6.is_some());
    let mut space = namespace::make(home, new, ipv6, plan.is_some_and(|plan| plan.names))?;
    let mut cable = None;
    if let Some(plan) = plan {
        let host_interface = interface_name(&id);
        let layout = plan.cable(&host_interface, namespace::INTERFACE);
        // When this fails, the cable goes with the namespace.
        let host_index =
            namespace::connect(host, &mut space, &layout, &plan.addressing).map_err(|source| {
                NetworkError::Kernel { operation: "connect a sandbox", subject: plan.network.clone(), source }
            })?;
        quiet(&host_interface);
        cable = Some(Cable { host_interface, host_index, addressing: plan.addressing, mac: plan.mac });
    }
    kernel::pin(space.descriptor.as_fd(), &path)
        .map_err(|source| PathError::new("pin a namespace at", &path, source))?;
    Ok(Ready { id, path, namespace: space, cable })
}

/// The near end of a cable has no address of its own.
pub(crate) fn quiet(host_interface: &str) {
    namespace::set(&format!("/proc/sys/net/ipv6/conf/{host_interface}/disable_ipv6"), "1");
}

/// The near end's name: `veth` and eleven digits of an id, as long as a name can be.
pub(crate) fn interface_name(id: &str) -> String {
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
    use crate::config::AddressRange;

    #[test]
    fn addresses_of_both_families_are_taken_or_none() {
        let mut config = NetworkConfig::bridge("aa", "net", "br-aa", "10.0.0.0/29".parse().unwrap());
        config.ipv6.push(AddressRange::new("fd00::/64".parse().unwrap()));
        let mut network = Network::new(config, 1, false);
        assert_eq!(network.capacity(), 5);
        let all = |addressing: Addressing| {
            addressing.all().map(|placed| placed.address.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(all(network.take(None, None).unwrap()), ["10.0.0.2", "fd00::2"]);
        let taken = network.take(None, Some("fd00::2".parse().unwrap()));
        assert!(matches!(taken, Err(NetworkError::AddressTaken(_))));
        assert_eq!(all(network.take(None, None).unwrap()), ["10.0.0.3", "fd00::3"]);
        let outside = network.take(Some([10, 1, 0, 2].into()), None);
        assert!(matches!(outside, Err(NetworkError::AddressOutside(_))));
        let placed = network.take(Some([10, 0, 0, 6].into()), None).unwrap().ipv4.unwrap();
        assert_eq!((placed.prefix, placed.gateway), (29, Some([10, 0, 0, 1].into())));
    }

    #[test]
    fn an_address_that_was_given_back_early_is_not_given_back_again() {
        let config = NetworkConfig::bridge("aa", "net", "br-aa", "10.0.0.0/29".parse().unwrap());
        let mut network = Network::new(config, 1, false);
        let asked = Ipv4Addr::new(10, 0, 0, 2);
        let address = IpAddr::V4(asked);
        network.take(Some(asked), None).unwrap();
        network.leave(address, "first", 7);
        assert!(matches!(network.take(Some(asked), None), Err(NetworkError::AddressTaken(_))));
        assert_eq!(network.leaving(address).map(|leaving| leaving.cable), Some(7));
        network.release_left(address, "first");
        network.take(Some(asked), None).unwrap();
        // The sweep of the first sandbox, while the second has it, is there no more, and when it is free.
        network.release_left(address, "first");
        assert!(matches!(network.take(Some(asked), None), Err(NetworkError::AddressTaken(_))));
        network.leave(address, "second", 8);
        network.release_left(address, "first");
        assert!(matches!(network.take(Some(asked), None), Err(NetworkError::AddressTaken(_))));
        network.release_left(address, "second");
        network.take(Some(asked), None).unwrap();
    }

    #[test]
    fn interfaces_are_recognised() {
        assert!(is_interface_name(&interface_name(&id::random_id())));
        for name in ["veth0", "veth012345678", "eth0", "veth0123456789g"] {
            assert!(!is_interface_name(name), "{name}");
        }
    }
}
