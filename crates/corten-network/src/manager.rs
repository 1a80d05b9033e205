//! The manager: which networks and sandboxes there are, and what may be done with them.
//!
//! ```text
//! (pool) ready ──create_sandbox──▶ handed out ──remove_sandbox──▶ ports closed ──sweep──▶ gone, addresses free
//!                                   ▲      │
//!              restore, after a new start  connect, disconnect, publish
//! ```

mod connect;
mod policy;
mod publish;
mod remote;
mod restore;
mod sandbox;
mod standing;
mod warnings;

use crate::address::{Subnet, SubnetPool, choose_subnet};
use crate::background::{Background, Sweep};
use crate::bridge;
use crate::config::NetworkConfig;
use crate::error::NetworkError;
use crate::firewall::{self, Firewall};
use crate::forwarding::{Family as Forwarded, Guard};
use crate::names::Names;
use crate::parent;
use crate::pool::{self, Network, Ready};
use crate::port::{self, PortTable, Reservation};
use crate::proxy::Proxy;
use crate::record::{self, Record};
use crate::remote::RemoteDrivers;
use crate::settings::{FirewallMode, NetworkSettings};
use corten_std::file;
use corten_sys::netlink::namespace as kernel;
use corten_sys::netlink::{NetlinkError, Protocol as Family, Socket, route};
use standing::discarded;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Networks, sandboxes and published ports of one daemon. Dropping this removes what stood ready, and leaves
/// sandboxes, bridges and rules to the next one.
#[derive(Debug)]
pub struct NetworkManager {
    shared: Arc<Shared>,
    background: Mutex<Background>,
    /// Ends with the manager.
    watch: Option<policy::Watch>,
}

/// What callers and background threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: NetworkSettings,
    /// The namespace that the bridges are in.
    pub(crate) home: OwnedFd,
    state: Mutex<State>,
    /// rtnetlink in that namespace. Locked after `state`, if both.
    route: Mutex<Socket>,
    /// Locked after `state`, if both.
    firewall: Option<Mutex<Firewall>>,
    proxy: Proxy,
    /// The host has IPv6.
    ipv6: bool,
    /// `br_netfilter` is loaded: what a bridge carries passes the rules.
    bridge_netfilter: bool,
    /// Locked after `state`, if both.
    guard: Mutex<Guard>,
    /// Who answers for the names of sandboxes.
    pub(crate) names: Names,
    /// Who is asked for networks that others connect.
    remote: OnceLock<Arc<dyn RemoteDrivers>>,
    /// What the host's own rules close of what is published. Locked after `state`, before `firewall`.
    pub(crate) policy: Mutex<policy::Policy>,
    /// Something to tell the user since the start.
    warnings: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    networks: HashMap<String, Network>,
    /// Namespaces without a network.
    bare: VecDeque<Ready>,
    sandboxes: HashMap<String, Held>,
    ports: PortTable,
    /// Records of an earlier daemon, until [`NetworkManager::restore`] says what is live.
    pending: BTreeMap<String, Record>,
    /// Pins and files of an earlier daemon that no record names.
    leftover_paths: Vec<PathBuf>,
    /// Interfaces that look like ours, with their bridge's number.
    leftover_interfaces: Vec<(String, u32)>,
    closing: bool,
}

#[derive(Debug)]
struct Held {
    record: Record,
    reservations: Vec<Reservation>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NetworkManager {
    /// Opens netlink, makes the rule set (with what an earlier daemon published, so that running containers stay
    /// reachable), turns forwarding on where that is allowed, and starts the background threads.
    pub fn open(settings: NetworkSettings) -> Result<Self, NetworkError> {
        let paths = settings.paths.clone();
        file::create_dir_all(paths.network_namespaces())?;
        file::create_dir_all(paths.sandboxes())?;
        let system = |operation| move |source| NetworkError::System { operation, source };
        let refuse = |operation| {
            let subject = settings.default_bridge.clone();
            move |source| NetworkError::Kernel { operation, subject, source }
        };
        let home = kernel::current().map_err(system("open the network namespace"))?;
        let mut route = Socket::open(Family::Route).map_err(refuse("open a socket"))?;

        let (records, mut leftover_paths) = record::read_all(&paths)?;
        let pending: BTreeMap<_, _> = records.into_iter().map(|record| (record.id.clone(), record)).collect();
        let pins: Vec<_> = pending.keys().map(|id| record::pin_path(&paths, id)).collect();
        let folder = paths.network_namespaces();
        leftover_paths.extend(
            file::list(&folder)?
                .into_iter()
                .map(|name| folder.join(name))
                .filter(|path| !pins.contains(path)),
        );
        let links = route::links(&mut route).map_err(refuse("list interfaces"))?;
        let leftover_interfaces = links
            .iter()
            .filter(|link| link.kind == "veth" && link.master != 0 && pool::is_interface_name(&link.name))
            .map(|link| (link.name.clone(), link.master))
            .collect();

        let mut guard = Guard::load(&paths)?;
        let turn_on = !Forwarded::V4.is_on() && settings.may_forward();
        if turn_on {
            guard.claim(Forwarded::V4, &paths, &links)?;
        }
        let firewall = match settings.firewall {
            FirewallMode::Host | FirewallMode::Docker => {
                let mut firewall = Firewall::open(&settings.table).map_err(|source| {
                    if firewall::is_foreign(&source) {
                        NetworkError::ForeignTable {
                            table: settings.table.clone(),
                            bridge: settings.default_bridge.clone(),
                            refused: source,
                        }
                    } else {
                        refuse("make the firewall rules")(source)
                    }
                })?;
                firewall.change(&guard.elements(), &[]).map_err(refuse("make the firewall rules"))?;
                Some(Mutex::new(firewall))
            }
            FirewallMode::None => None,
        };
        let mut warnings = Vec::new();
        // Only now, behind the rules that keep others from using it.
        if turn_on && let Err(error) = Forwarded::V4.turn_on() {
            tracing::warn!(%error, "forwarding could not be turned on");
        }
        if !Forwarded::V4.is_on() {
            warnings.push("IPv4 forwarding is disabled: containers reach nothing outside".to_owned());
        }

        let names = home.try_clone().and_then(Names::new).map_err(system("prepare the resolver"))?;
        let proxy = Proxy::start().map_err(system("start the port proxy"))?;
        let state = State { pending, leftover_paths, leftover_interfaces, ..State::default() };
        let shared = Arc::new(Shared {
            settings,
            home,
            state: Mutex::new(state),
            route: Mutex::new(route),
            firewall,
            proxy,
            ipv6: port::has_ipv6(),
            bridge_netfilter: Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists(),
            guard: Mutex::new(guard),
            names,
            remote: OnceLock::new(),
            policy: Mutex::default(),
            warnings,
        });
        let background = Background::start(&shared).map_err(system("start the network threads"))?;
        let mut watch = None;
        if shared.firewall.is_some() {
            // It listens before the rules are read for the first time.
            watch = Some(policy::Watch::start(&shared).map_err(system("watch the firewall"))?);
            let read = shared.refresh_policy(&lock(&shared.state));
            read.map_err(|source| NetworkError::Kernel {
                operation: "read the firewall rules",
                subject: shared.settings.default_bridge.clone(),
                source,
            })?;
        }
        Ok(Self { shared, background: Mutex::new(background), watch })
    }

    /// Makes a network's bridge or parent interface, or brings an existing one to what is asked for, and begins to fill
    /// its pool. Called for each network after every start of the daemon, before [`NetworkManager::restore`].
    pub fn ensure_network(&self, network: &NetworkConfig) -> Result<(), NetworkError> {
        let shared = &*self.shared;
        for range in network.ranges() {
            if let Some(gateway) = range.gateway.filter(|gateway| !range.subnet.contains(*gateway)) {
                return Err(NetworkError::Gateway { gateway });
            }
        }
        let mut state = lock(&shared.state);
        let overlaps = |other: &NetworkConfig| {
            other.ranges().any(|one| network.ranges().any(|two| one.subnet.overlaps(two.subnet)))
        };
        let other = state.networks.values().map(|other| &other.config).find(|other| {
            let same_bridge = network.is_bridge() && other.interface == network.interface;
            // Who keeps accounts of their own has spaces of their own, but the host's bridges are one.
            let apart = (other.remote_addresses || network.remote_addresses)
                && !(other.is_bridge() && network.is_bridge());
            other.id != network.id && (overlaps(other) && !apart || same_bridge)
        });
        if let Some(other) = other {
            return Err(NetworkError::Overlap { with: other.name.clone() });
        }
        // Where that cannot be told it is taken to be somebody else's.
        let found = if network.is_remote() {
            Ok(None)
        } else {
            route::link(&mut lock(&shared.route), &network.interface)
        };
        let is_new = matches!(found, Ok(None)) && !state.networks.contains_key(&network.id);
        let interface = match shared.make_network(&state, network) {
            Err(error) if is_new => {
                if let Err(error) = shared.undo_network(network) {
                    tracing::warn!(network = network.name, %error, "a network that was not finished is left");
                }
                return Err(error);
            }
            made => made?,
        };
        if let Some(known) = state.networks.get_mut(&network.id) {
            // Subnets and ranges of a network never change; a changed one has another id.
            known.config = network.clone();
            known.interface = interface;
        } else {
            let warm = network.interface == shared.settings.default_bridge;
            let mut known = Network::new(network.clone(), interface, warm);
            for endpoint in state.pending.values().flat_map(|record| &record.endpoints) {
                if endpoint.network_id == network.id {
                    known.retake(endpoint);
                }
            }
            state.networks.insert(network.id.clone(), known);
        }
        drop(state);
        drop(lock(&self.background).refill());
        Ok(())
    }

    /// Removes a network, with its bridge or the parent that was made for it; refused while sandboxes are attached. One
    /// that is not known is fine.
    pub fn remove_network(&self, id: &str) -> Result<(), NetworkError> {
        let shared = &*self.shared;
        let mut state = lock(&shared.state);
        let Some(network) = state.networks.get(id) else { return Ok(()) };
        if network.attached > 0 {
            return Err(NetworkError::InUse { name: network.config.name.clone() });
        }
        let Some(network) = state.networks.remove(id) else { return Ok(()) };
        let fail = |operation| {
            let subject = network.config.name.clone();
            move |source| NetworkError::Kernel { operation, subject, source }
        };
        // What fails is told at the end; the rest goes on.
        let elements = shared
            .firewall
            .as_ref()
            .map_or(Ok(()), |firewall| lock(firewall).remove(&firewall::network_elements(&network.config)));
        let shared_parent =
            state.networks.values().any(|other| other.config.interface == network.config.interface);
        let ours = if network.config.is_bridge() {
            !network.config.found_bridge
        } else {
            network.config.own_parent && !shared_parent
        };
        let removed =
            if ours { bridge::remove(&mut lock(&shared.route), &network.config.interface) } else { Ok(()) };
        drop(state);
        let (names, paths) = discarded(network.ready);
        let background = lock(&self.background);
        background.sweep(Sweep::Interfaces(names));
        background.sweep(Sweep::Paths(paths));
        elements.map_err(fail("remove firewall elements"))?;
        removed.map_err(fail("remove the interface"))
    }

    /// Takes away what there may be of a network that a daemon before this one did not finish. An interface that was there
    /// before it stays.
    pub fn remove_unfinished(&self, network: &NetworkConfig) -> Result<(), NetworkError> {
        if network.found_bridge {
            return Ok(());
        }
        self.shared.undo_network(network).map_err(|source| NetworkError::Kernel {
            operation: "remove what is left of a network",
            subject: network.interface.clone(),
            source,
        })
    }

    /// Whether the host has an interface of this name.
    pub fn has_interface(&self, name: &str) -> Result<bool, NetworkError> {
        let found = route::link(&mut lock(&self.shared.route), name);
        found.map(|link| link.is_some()).map_err(|source| NetworkError::Kernel {
            operation: "find an interface",
            subject: name.to_owned(),
            source,
        })
    }

    /// The first subnet of the pools that overlaps neither the host's routes and addresses, nor the known networks, nor
    /// what is given.
    pub fn choose_subnet(
        &self,
        pools: &[SubnetPool],
        avoid: &[Subnet],
    ) -> Result<Option<Subnet>, NetworkError> {
        let fail =
            |source| NetworkError::Kernel { operation: "list routes", subject: "new".to_owned(), source };
        let mut avoid = avoid.to_vec();
        let state = lock(&self.shared.state);
        avoid.extend(
            state.networks.values().flat_map(|network| network.config.ranges()).map(|range| range.subnet),
        );
        drop(state);
        let mut route = lock(&self.shared.route);
        let routes = route::routes(&mut route).map_err(fail)?;
        let addresses = route::addresses(&mut route).map_err(fail)?;
        let routes =
            routes.iter().filter(|route| route.prefix > 0).map(|route| (route.destination, route.prefix));
        let all = routes.chain(addresses.iter().map(|address| (address.address, address.prefix)));
        avoid.extend(all.filter_map(|(address, prefix)| Subnet::new(address, prefix).ok()));
        Ok(choose_subnet(pools, &avoid))
    }

    /// The names of sandboxes, and who answers for them.
    pub fn names(&self) -> &Names {
        &self.shared.names
    }

    /// Waits until the pools are full and everything put off is done: for tests and an orderly end.
    pub fn settle(&self) {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        let refilled = {
            let background = lock(&self.background);
            background.sweep(Sweep::Settle(done));
            background.refill()
        };
        let _ = wait.recv();
        let _ = refilled.recv();
    }

    /// Ends the background threads and removes the namespaces that stood ready; sandboxes, bridges and rules stay.
    pub fn shutdown(&self) {
        let mut ready = {
            let mut state = lock(&self.shared.state);
            state.closing = true;
            let mut ready = std::mem::take(&mut state.bare);
            state.networks.values_mut().for_each(|network| ready.append(&mut network.ready));
            ready
        };
        // Not waited for under the lock: whoever has the state may be about to give the threads work, and they need it.
        let mut background = lock(&self.background).take();
        let (names, paths) = discarded(std::mem::take(&mut ready));
        background.sweep(Sweep::Paths(paths));
        background.sweep(Sweep::Interfaces(names));
        background.stop();
    }

    /// Ends without undoing anything, as SIGKILL would: the next manager's [`NetworkManager::restore`] takes over or
    /// sweeps what is there. For upgrades, and for tests of that.
    pub fn hand_over(self) {
        let mut state = lock(&self.shared.state);
        state.closing = true;
        state.bare.clear();
        state.networks.clear();
        drop(state);
        let mut background = lock(&self.background).take();
        background.stop();
    }

    /// Removes the rules, the bridges and everything else in the kernel: when the program is uninstalled, and after
    /// tests. Sandboxes must be removed before.
    pub fn erase(&self) -> Result<(), NetworkError> {
        let networks: Vec<_> = lock(&self.shared.state).networks.keys().cloned().collect();
        networks.iter().try_for_each(|id| self.remove_network(id))?;
        self.shutdown();
        self.shared.firewall.as_ref().map_or(Ok(()), |firewall| lock(firewall).delete()).map_err(|source| {
            NetworkError::Kernel {
                operation: "remove the firewall rules",
                subject: self.shared.settings.table.clone(),
                source,
            }
        })
    }
}

impl Drop for NetworkManager {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Shared {
    /// The kernel's part of a network: its interface and its elements in the rules. Returns the interface's number.
    fn make_network(&self, state: &State, network: &NetworkConfig) -> Result<u32, NetworkError> {
        let interface = if network.is_remote() {
            0
        } else if network.is_bridge() {
            bridge::ensure(&mut lock(&self.route), network)?
        } else {
            parent::ensure(&mut lock(&self.route), self.home.as_fd(), network)?
        };
        if network.is_bridge() && !network.ipv6.is_empty() {
            self.forward_ipv6()?;
        }
        if let Some(firewall) = &self.firewall {
            let add = firewall::network_elements(network);
            let old = state
                .networks
                .get(&network.id)
                .map(|old| firewall::network_elements(&old.config))
                .unwrap_or_default();
            let remove: Vec<_> = old.into_iter().filter(|element| !add.contains(element)).collect();
            let mut firewall = lock(firewall);
            firewall.remove(&remove).and_then(|()| firewall.change(&add, &[])).map_err(|source| {
                NetworkError::Kernel {
                    operation: "add firewall elements",
                    subject: network.name.clone(),
                    source,
                }
            })?;
        }
        Ok(interface)
    }

    /// Takes back what [`Self::make_network`] did for a network that was not there before, however far it came.
    fn undo_network(&self, network: &NetworkConfig) -> Result<(), NetlinkError> {
        let elements = self
            .firewall
            .as_ref()
            .map_or(Ok(()), |firewall| lock(firewall).remove(&firewall::network_elements(network)));
        let removed = if network.is_bridge() || network.own_parent {
            bridge::remove(&mut lock(&self.route), &network.interface)
        } else {
            Ok(())
        };
        elements.and(removed)
    }

    /// Turns on forwarding of IPv6, for the first network that has it.
    fn forward_ipv6(&self) -> Result<(), NetworkError> {
        if Forwarded::V6.is_on() || !self.settings.may_forward() {
            return Ok(());
        }
        let refuse = |operation| {
            move |source| NetworkError::Kernel {
                operation,
                subject: self.settings.default_bridge.clone(),
                source,
            }
        };
        let links = route::links(&mut lock(&self.route)).map_err(refuse("list interfaces"))?;
        let mut guard = lock(&self.guard);
        guard.claim(Forwarded::V6, &self.settings.paths, &links)?;
        if let Some(firewall) = &self.firewall {
            lock(firewall).change(&guard.elements(), &[]).map_err(refuse("add firewall elements"))?;
        }
        Forwarded::V6
            .turn_on()
            .map_err(|source| NetworkError::System { operation: "turn on the forwarding of IPv6", source })
    }
}
