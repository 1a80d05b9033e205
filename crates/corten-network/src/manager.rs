//! The manager: which networks and sandboxes there are, and what may be done with them.
//!
//! ```text
//! (pool) ready ──create_sandbox──▶ handed out ──remove_sandbox──▶ ports closed ──sweep──▶ gone, address free
//!                                   ▲      │
//!              restore, after a new start  publish
//! ```

use crate::address::{AddressRefusal, Subnet, choose_subnet};
use crate::background::{Background, Sweep};
use crate::error::{NetworkError, PublishError, PublishFailure};
use crate::firewall::{self, Firewall, SetElement};
use crate::namespace;
use crate::pool::{self, Network, Plan, Ready};
use crate::port::{self, PortTable, Reservation};
use crate::proxy::Proxy;
use crate::record::{self, Record};
use crate::settings::{
    Attachment, BridgeNetwork, Endpoint, FirewallMode, MacAddress, NetworkSettings, PortMapping, Protocol, PublishedPort,
    Sandbox, SandboxKind, SandboxRequest,
};
use crate::{bridge, forwarding};
use corten_std::{PathError, file, id};
use corten_sys::netlink::namespace as kernel;
use corten_sys::netlink::{Batch, NetlinkError, Protocol as Family, Socket, route};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Networks, sandboxes and published ports of one daemon. Dropping this removes what stood ready, and leaves
/// sandboxes, bridges and rules to the next one.
#[derive(Debug)]
pub struct NetworkManager {
    shared: Arc<Shared>,
    background: Mutex<Background>,
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
    /// Interfaces of before we turned forwarding on.
    before: Vec<SetElement>,
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
        leftover_paths.extend(file::list(&folder)?.into_iter().map(|name| folder.join(name)).filter(|path| !pins.contains(path)));
        let links = route::links(&mut route).map_err(refuse("list interfaces"))?;
        let leftover_interfaces = links
            .iter()
            .filter(|link| link.kind == "veth" && link.master != 0 && pool::is_interface_name(&link.name))
            .map(|link| (link.name.clone(), link.master))
            .collect();

        let forwarding = forwarding::plan(&paths, settings.ip_forward && settings.firewall == FirewallMode::Docker, &links)?;
        let before = firewall::before_elements(forwarding.guarded());
        let firewall = match settings.firewall {
            FirewallMode::Docker => {
                let guard = forwarding.guards();
                let mut firewall = Firewall::open(&settings.table, guard).map_err(refuse("make the firewall rules"))?;
                firewall.change(&before, &[]).map_err(refuse("make the firewall rules"))?;
                Some(Mutex::new(firewall))
            }
            FirewallMode::None => None,
        };
        // Only now, behind the rules that keep others from using it.
        let warnings = forwarding.carry_out(&paths)?;

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
            before,
            warnings,
        });
        let background = Background::start(&shared).map_err(system("start the network threads"))?;
        Ok(Self { shared, background: Mutex::new(background) })
    }

    /// Makes a network's bridge, or brings an existing one to what is asked for, and begins to fill its pool. Called
    /// for each network after every start of the daemon, before [`NetworkManager::restore`].
    pub fn ensure_network(&self, network: &BridgeNetwork) -> Result<(), NetworkError> {
        let shared = &*self.shared;
        if !network.subnet.contains(network.gateway) {
            return Err(NetworkError::Gateway { gateway: IpAddr::V4(network.gateway) });
        }
        let mut state = lock(&shared.state);
        let other = state.networks.values().find(|other| {
            other.config.id != network.id
                && (other.config.subnet.overlaps(network.subnet) || other.config.bridge_name == network.bridge_name)
        });
        if let Some(other) = other {
            return Err(NetworkError::Overlap { with: other.config.name.clone() });
        }
        let bridge = bridge::ensure(&mut lock(&shared.route), network)?;
        if network.ipv6.is_some() {
            forwarding::allow_ipv6();
        }
        if let Some(firewall) = &shared.firewall {
            let add = firewall::network_elements(network);
            let old = state.networks.get(&network.id).map(|old| firewall::network_elements(&old.config)).unwrap_or_default();
            let remove: Vec<_> = old.into_iter().filter(|element| !add.contains(element)).collect();
            let mut firewall = lock(firewall);
            firewall.remove(&remove).and_then(|()| firewall.change(&add, &[])).map_err(|source| NetworkError::Kernel {
                operation: "add firewall elements",
                subject: network.name.clone(),
                source,
            })?;
        }
        if let Some(known) = state.networks.get_mut(&network.id) {
            // Subnet and range of a network never change; a changed one has another id.
            known.config = network.clone();
            known.bridge = bridge;
        } else {
            let mut addresses = crate::address::AddressPool::new(network.subnet, network.range, network.gateway);
            for endpoint in state.pending.values().filter_map(|record| record.endpoint.as_ref()) {
                if endpoint.network_id == network.id {
                    let _ = addresses.take(endpoint.address);
                }
            }
            let warm = network.bridge_name == shared.settings.default_bridge;
            let config = network.clone();
            let known = Network { config, bridge, addresses, ready: VecDeque::new(), attached: 0, warm };
            state.networks.insert(network.id.clone(), known);
        }
        drop(state);
        drop(lock(&self.background).refill());
        Ok(())
    }

    /// Removes a network and its bridge; refused while sandboxes are attached. One that is not known is fine.
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
        let elements = shared.firewall.as_ref().map_or(Ok(()), |firewall| {
            lock(firewall).remove(&firewall::network_elements(&network.config))
        });
        let bridge = bridge::remove(&mut lock(&shared.route), &network.config.bridge_name);
        drop(state);
        let (names, paths) = discarded(network.ready);
        let background = lock(&self.background);
        background.sweep(Sweep::Interfaces(names));
        background.sweep(Sweep::Paths(paths));
        elements.map_err(fail("remove firewall elements"))?;
        bridge.map_err(fail("remove the bridge"))
    }

    /// A subnet that overlaps neither the host's routes and addresses, nor the known networks, nor what is given.
    pub fn choose_subnet(&self, avoid: &[Subnet]) -> Result<Option<Subnet>, NetworkError> {
        let fail = |source| NetworkError::Kernel { operation: "list routes", subject: "new".to_owned(), source };
        let mut avoid = avoid.to_vec();
        avoid.extend(lock(&self.shared.state).networks.values().map(|network| network.config.subnet));
        let mut route = lock(&self.shared.route);
        let routes = route::routes(&mut route).map_err(fail)?;
        let addresses = route::addresses(&mut route).map_err(fail)?;
        let routes = routes.iter().filter(|route| route.prefix > 0).map(|route| (route.destination, route.prefix));
        let all = routes.chain(addresses.iter().map(|address| (address.address, address.prefix)));
        avoid.extend(all.filter_map(|(address, prefix)| match address {
            IpAddr::V4(address) => Subnet::new(address, prefix).ok(),
            IpAddr::V6(_) => None,
        }));
        Ok(choose_subnet(&avoid))
    }

    /// Hands out a sandbox, from the pool where one stands ready.
    pub fn create_sandbox(&self, request: &SandboxRequest) -> Result<Sandbox, NetworkError> {
        let shared = &*self.shared;
        match &request.network {
            Attachment::Host => {
                let record = Record::new(id::random_id(), &request.name, SandboxKind::Host, None);
                let namespace = shared.home.try_clone().map_err(|source| NetworkError::System {
                    operation: "copy the descriptor of the network namespace",
                    source,
                })?;
                self.hand_out(record, host_path(), namespace)
            }
            Attachment::None => {
                let ready = lock(&shared.state).bare.pop_front();
                let ready = match ready {
                    Some(ready) => ready,
                    None => self.make_now(None)?,
                };
                let record = Record::new(ready.id, &request.name, SandboxKind::None, None);
                self.hand_out(record, ready.path, ready.namespace.descriptor)
            }
            Attachment::Bridge { network_id, address, mac } => {
                let ready = self.take_connected(network_id, *address, *mac)?;
                let Some(cable) = ready.cable else { return Err(NetworkError::NoSuchNetwork(network_id.clone())) };
                let ipv6 = cable.addressing.ipv6;
                let endpoint = Endpoint {
                    id: id::random_id(),
                    network_id: network_id.clone(),
                    interface: namespace::INTERFACE.to_owned(),
                    host_interface: cable.host_interface,
                    address: cable.addressing.address,
                    prefix: cable.addressing.prefix,
                    gateway: cable.addressing.gateway,
                    address6: ipv6.map(|(address, ..)| address),
                    prefix6: ipv6.map_or(0, |(_, prefix, _)| prefix),
                    gateway6: ipv6.and_then(|(_, _, gateway)| gateway),
                    mac: cable.mac,
                };
                let mut record = Record::new(ready.id, &request.name, SandboxKind::Bridge, Some(endpoint));
                record.host_index = cable.host_index;
                self.hand_out(record, ready.path, ready.namespace.descriptor)
            }
        }
    }

    /// A connected namespace with the address asked for, counted as attached.
    fn take_connected(
        &self,
        network_id: &str,
        address: Option<Ipv4Addr>,
        mac: Option<MacAddress>,
    ) -> Result<Ready, NetworkError> {
        let mut state = lock(&self.shared.state);
        let network =
            state.networks.get_mut(network_id).ok_or_else(|| NetworkError::NoSuchNetwork(network_id.to_owned()))?;
        let has = |wanted: Ipv4Addr| {
            move |ready: &Ready| ready.cable.as_ref().is_some_and(|cable| cable.addressing.address == wanted)
        };
        let (ready, address) = match address {
            None => match network.ready.pop_front() {
                Some(ready) => (Some(ready), None),
                None => (None, Some(network.addresses.allocate().map_err(|refusal| network.refused(refusal))?)),
            },
            Some(wanted) => match network.ready.iter().position(has(wanted)) {
                Some(index) => (network.ready.remove(index), None),
                None => {
                    network.addresses.take(wanted).map_err(|refusal| match refusal {
                        AddressRefusal::Outside => NetworkError::AddressOutside(wanted),
                        _ => NetworkError::AddressTaken(wanted),
                    })?;
                    (network.ready.pop_back(), Some(wanted))
                }
            },
        };
        network.attached += 1;
        network.warm = true;
        let plan = address.map(|address| network.plan(address, mac));
        drop(state);
        let result = match (ready, plan) {
            (None, plan) => self.make_now(plan.as_ref()),
            (Some(ready), plan) => self.adjust(ready, plan.as_ref(), mac),
        };
        if result.is_err()
            && let Some(network) = lock(&self.shared.state).networks.get_mut(network_id)
        {
            network.attached -= 1;
            if let Some(address) = address {
                network.addresses.release(address);
            }
        }
        result
    }

    /// Gives a namespace that stood ready another address or hardware address.
    fn adjust(&self, mut ready: Ready, plan: Option<&Plan>, mac: Option<MacAddress>) -> Result<Ready, NetworkError> {
        if plan.is_none() && mac.is_none() {
            return Ok(ready);
        }
        let Some(cable) = &mut ready.cable else { return Ok(ready) };
        let old = cable.addressing;
        let new = plan.map_or(old, |plan| plan.addressing);
        let mac = mac.or(plan.map(|plan| plan.mac));
        let result = namespace::readdress(&mut ready.namespace.inside, &old, &new, mac.map(|mac| mac.0));
        if let Err(source) = result {
            let (names, paths) = discarded(VecDeque::from([ready]));
            let background = lock(&self.background);
            background.sweep(Sweep::Interfaces(names));
            background.sweep(Sweep::Paths(paths));
            return Err(NetworkError::Kernel { operation: "set the address", subject: "sandbox".to_owned(), source });
        }
        cable.addressing = new;
        cable.mac = mac.unwrap_or(cable.mac);
        if let Some(plan) = plan
            && let Some(network) = lock(&self.shared.state).networks.get_mut(&plan.network)
        {
            network.addresses.release(old.address);
        }
        Ok(ready)
    }

    /// Makes a namespace while the caller waits, on a thread of its own because threads that make them move.
    fn make_now(&self, plan: Option<&Plan>) -> Result<Ready, NetworkError> {
        let shared = &*self.shared;
        let run = || {
            let mut host = Socket::open(Family::Route).map_err(|source| NetworkError::Kernel {
                operation: "open a socket",
                subject: "sandbox".to_owned(),
                source,
            })?;
            pool::make(&shared.settings.paths, shared.home.as_fd(), &mut host, plan)
        };
        let lost = || NetworkError::System { operation: "start a thread", source: std::io::ErrorKind::Other.into() };
        std::thread::scope(|scope| scope.spawn(run).join().unwrap_or_else(|_| Err(lost())))
    }

    /// Writes the record, and from then on the sandbox is someone's.
    fn hand_out(&self, record: Record, path: PathBuf, namespace: OwnedFd) -> Result<Sandbox, NetworkError> {
        let shared = &*self.shared;
        let sandbox = Sandbox {
            id: record.id.clone(),
            kind: record.kind,
            path,
            namespace,
            endpoint: record.endpoint.clone(),
            ports: Vec::new(),
        };
        let written = record.write(&shared.settings.paths);
        let held = Held { record, reservations: Vec::new() };
        lock(&shared.state).sandboxes.insert(sandbox.id.clone(), held);
        drop(lock(&self.background).refill());
        if let Err(error) = written {
            let _ = self.remove_sandbox(&sandbox.id);
            return Err(error.into());
        }
        Ok(sandbox)
    }

    /// A sandbox that exists, with a new descriptor of its namespace.
    pub fn sandbox(&self, id: &str) -> Result<Sandbox, NetworkError> {
        let shared = &*self.shared;
        let state = lock(&shared.state);
        let held = state.sandboxes.get(id).ok_or_else(|| NetworkError::NoSuchSandbox(id.to_owned()))?;
        shared.describe(&held.record)
    }

    /// Publishes ports, all or none. A sandbox may publish several times.
    pub fn publish(&self, sandbox: &str, mappings: &[PortMapping]) -> Result<Vec<PublishedPort>, PublishError> {
        let shared = &*self.shared;
        let mut state = lock(&shared.state);
        let State { networks, sandboxes, ports, .. } = &mut *state;
        let no_endpoint = || PublishError {
            name: sandbox.to_owned(),
            endpoint_id: String::new(),
            failure: PublishFailure::NoEndpoint(sandbox.to_owned()),
        };
        let (name, endpoint, host_index) = sandboxes
            .get(sandbox)
            .and_then(|held| Some((held.record.name.clone(), held.record.endpoint.clone()?, held.record.host_index)))
            .ok_or_else(no_endpoint)?;
        let default = networks.get(&endpoint.network_id).and_then(|network| network.config.default_host_address);
        let mut reservations = Vec::with_capacity(mappings.len() * 2);
        let mut result = mappings.iter().try_for_each(|mapping| {
            let addresses = match mapping.host_address {
                Some(address) => vec![address],
                None => port::default_addresses(default, shared.ipv6),
            };
            let names = |id: &str| {
                let held = sandboxes.get(id).map(|held| held.record.name.as_str());
                held.unwrap_or(id).to_owned()
            };
            reserve(ports, sandbox, &endpoint, mapping, &addresses, &names, &mut reservations)
        });
        let published: Vec<_> = reservations.iter().map(|reservation| reservation.port).collect();
        let elements = firewall::port_elements(&endpoint, &published);
        if result.is_ok() {
            result = shared.open_ports(host_index, &elements).map_err(PublishFailure::Kernel);
        }
        if result.is_ok()
            && let Some(held) = sandboxes.get_mut(sandbox)
        {
            held.record.ports.extend(&published);
            result = held.record.write(&shared.settings.paths).map_err(PublishFailure::Record);
            if result.is_err() {
                held.record.ports.truncate(held.record.ports.len() - published.len());
                shared.close_ports(&elements);
            }
        }
        if let Err(failure) = result {
            for port in &published {
                ports.release(port, sandbox);
            }
            return Err(PublishError { name, endpoint_id: endpoint.id, failure });
        }
        for reservation in &reservations {
            shared.accept(reservation, &endpoint);
        }
        if let Some(held) = sandboxes.get_mut(sandbox) {
            held.reservations.extend(reservations);
        }
        drop(state);
        if published.iter().any(|port| port.protocol == Protocol::Udp) {
            lock(&self.background).sweep(Sweep::Flows(Box::new(endpoint), published.clone()));
        }
        Ok(published)
    }

    /// Closes a sandbox's ports at once and removes the rest in the background. One that is not known is fine.
    pub fn remove_sandbox(&self, id: &str) -> Result<(), NetworkError> {
        let shared = &*self.shared;
        let mut state = lock(&shared.state);
        let Some(held) = state.sandboxes.remove(id) else { return Ok(()) };
        let mut closed = Ok(());
        if let Some(endpoint) = &held.record.endpoint {
            if let Some(network) = state.networks.get_mut(&endpoint.network_id) {
                network.attached -= 1;
            }
            closed = shared.try_close_ports(&firewall::port_elements(endpoint, &held.record.ports));
        }
        for port in &held.record.ports {
            state.ports.release(port, id);
            shared.proxy.remove(&Reservation::name(port));
        }
        drop(state);
        drop(held.reservations);
        lock(&self.background).sweep(Sweep::Sandbox(Box::new(held.record)));
        closed.map_err(|source| NetworkError::Kernel { operation: "close ports", subject: id.to_owned(), source })
    }

    /// After a restart of the daemon: keeps the sandboxes named, and removes everything else that an earlier daemon
    /// left behind: namespaces, interfaces, map elements, records. `reserved` are sockets that another process kept
    /// (see [`NetworkManager::take_reserved`]); ports without one are bound anew. Returns what was kept; a name that is
    /// missing in the answer has no sandbox any more. Called once, after the networks were ensured.
    pub fn restore(&self, live: &[String], reserved: Vec<(String, OwnedFd)>) -> Result<Vec<Sandbox>, NetworkError> {
        let shared = &*self.shared;
        let mut reserved: HashMap<_, _> = reserved.into_iter().collect();
        let mut state = lock(&shared.state);
        let mut pending = std::mem::take(&mut state.pending);
        let mut kept = Vec::new();
        for id in live {
            let Some(record) = pending.remove(id) else { continue };
            let network_is_known =
                record.endpoint.as_ref().is_none_or(|endpoint| state.networks.contains_key(&endpoint.network_id));
            let sandbox = match shared.describe(&record) {
                Ok(sandbox) if network_is_known => sandbox,
                _ => {
                    pending.insert(record.id.clone(), record);
                    continue;
                }
            };
            let mut reservations = Vec::new();
            if let Some(endpoint) = &record.endpoint {
                if let Some(network) = state.networks.get_mut(&endpoint.network_id) {
                    network.attached += 1;
                    network.warm = true;
                }
                for port in &record.ports {
                    state.ports.take(port, id);
                    let reservation = match reserved.remove(&Reservation::name(port)) {
                        Some(socket) => Ok(Reservation { port: *port, socket: Some(Arc::new(socket)) }),
                        None => port::reserve(*port),
                    };
                    match reservation {
                        Ok(reservation) => {
                            shared.accept(&reservation, endpoint);
                            reservations.push(reservation);
                        }
                        Err(error) => {
                            tracing::warn!(port = port.host_port, %error, "a published port is not reserved any more");
                        }
                    }
                }
            }
            state.sandboxes.insert(id.clone(), Held { record, reservations });
            kept.push(sandbox);
        }
        let reconciled = shared.firewall.as_ref().map_or(Ok(()), |firewall| {
            let networks = state.networks.values().flat_map(|network| firewall::network_elements(&network.config));
            let ports = state.sandboxes.values().filter_map(|held| {
                Some(firewall::port_elements(held.record.endpoint.as_ref()?, &held.record.ports))
            });
            let wanted: Vec<_> = networks.chain(ports.flatten()).chain(shared.before.iter().cloned()).collect();
            lock(firewall).reconcile(&wanted)
        });
        let bridges: Vec<_> = state.networks.values().map(|network| network.bridge).collect();
        let in_use: Vec<_> = state
            .sandboxes
            .values()
            .filter_map(|held| Some(held.record.endpoint.as_ref()?.host_interface.clone()))
            .chain(pending.values().filter_map(|record| Some(record.endpoint.as_ref()?.host_interface.clone())))
            .collect();
        let mut interfaces = std::mem::take(&mut state.leftover_interfaces);
        interfaces.retain(|(name, bridge)| bridges.contains(bridge) && !in_use.contains(name));
        let paths = std::mem::take(&mut state.leftover_paths);
        drop(state);
        let background = lock(&self.background);
        for record in pending.into_values() {
            background.sweep(Sweep::Sandbox(Box::new(record)));
        }
        background.sweep(Sweep::Interfaces(interfaces.into_iter().map(|(name, _)| name).collect()));
        background.sweep(Sweep::Paths(paths));
        reconciled.map_err(|source| NetworkError::Kernel {
            operation: "mend the firewall rules",
            subject: shared.settings.default_bridge.clone(),
            source,
        })?;
        Ok(kept)
    }

    /// Copies of the sockets that reserve host ports, by name, for a process that outlives this one.
    pub fn take_reserved(&self) -> Vec<(String, OwnedFd)> {
        let state = lock(&self.shared.state);
        let all = state.sandboxes.values().flat_map(|held| &held.reservations);
        all.filter_map(|reservation| {
            let socket = reservation.socket.as_ref()?.try_clone().ok()?;
            Some((Reservation::name(&reservation.port), socket))
        })
        .collect()
    }

    /// What the user should know about this host: foreign firewall rules that stop our traffic, forwarding that is off.
    pub fn warnings(&self) -> Vec<String> {
        let shared = &*self.shared;
        let mut warnings = shared.warnings.clone();
        if let Some(firewall) = &shared.firewall {
            let bridge = &shared.settings.default_bridge;
            for chain in lock(firewall).foreign_drops().unwrap_or_default() {
                let family = if chain.family == 1 { "inet" } else { "ip" };
                let place = format!("{family} {} {}", chain.table, chain.name);
                warnings.push(format!(
                    "the firewall chain `{place}` drops what it does not know, so that containers may reach nothing \
                     outside and published ports stay closed to other hosts; let the bridge pass there: \
                     nft insert rule {place} iifname {bridge} accept; nft insert rule {place} oifname {bridge} accept"
                ));
            }
        }
        warnings
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
        let mut background = lock(&self.background);
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
        lock(&self.background).stop();
    }

    /// Removes the rules, the bridges and everything else in the kernel: when the program is uninstalled, and after
    /// tests. Sandboxes must be removed before.
    pub fn erase(&self) -> Result<(), NetworkError> {
        let networks: Vec<_> = lock(&self.shared.state).networks.keys().cloned().collect();
        networks.iter().try_for_each(|id| self.remove_network(id))?;
        self.shutdown();
        self.shared.firewall.as_ref().map_or(Ok(()), |firewall| lock(firewall).delete()).map_err(|source| {
            NetworkError::Kernel { operation: "remove the firewall rules", subject: self.shared.settings.table.clone(), source }
        })
    }
}

impl Drop for NetworkManager {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Network {
    fn refused(&self, _: AddressRefusal) -> NetworkError {
        NetworkError::AddressesExhausted { name: self.config.name.clone(), id: self.config.id.clone() }
    }
}

impl Shared {
    /// What should be made ready next: a plan with an address that is taken, or a namespace without a network.
    pub(crate) fn next_plan(&self) -> Option<Option<Plan>> {
        let mut state = lock(&self.state);
        if state.closing {
            return None;
        }
        for network in state.networks.values_mut().filter(|network| network.warm) {
            if network.ready.len() < self.target(network)
                && let Ok(address) = network.addresses.allocate()
            {
                return Some(Some(network.plan(address, None)));
            }
        }
        (state.bare.len() < self.settings.pool_size.min(2)).then_some(None)
    }

    /// Whether some pool has less than half of what it should have, so that the next starts may find it empty.
    pub(crate) fn is_low(&self) -> bool {
        let state = lock(&self.state);
        state.networks.values().any(|network| network.warm && network.ready.len() * 2 < self.target(network))
    }

    /// How many namespaces stand ready on a warm network. A small subnet is not used up by what nobody asked for.
    fn target(&self, network: &Network) -> usize {
        self.settings.pool_size.min(network.addresses.capacity() as usize / 4)
    }

    /// Puts what was made where it belongs; what is not wanted any more goes.
    pub(crate) fn put_ready(&self, ready: Ready, plan: Option<&Plan>) {
        let mut state = lock(&self.state);
        let closing = state.closing;
        let place = match plan {
            None => Some(&mut state.bare),
            Some(plan) => state.networks.get_mut(&plan.network).filter(|network| network.bridge == plan.bridge).map(|network| &mut network.ready),
        };
        match place.filter(|_| !closing) {
            Some(place) => {
                // Lowest address first, as if made on demand.
                let address = |ready: &Ready| ready.cable.as_ref().map(|cable| cable.addressing.address);
                let index = place.partition_point(|other| address(other) < address(&ready));
                place.insert(index, ready);
            }
            None => {
                drop(state);
                let _ = kernel::unpin(&ready.path);
            }
        }
    }

    /// The address of a plan that came to nothing is free again.
    pub(crate) fn give_back(&self, plan: &Plan) {
        if let Some(network) = lock(&self.state).networks.get_mut(&plan.network) {
            network.addresses.release(plan.addressing.address);
        }
    }

    /// The address of a sandbox that has gone is free again.
    pub(crate) fn release_address(&self, record: &Record) {
        if let Some(endpoint) = &record.endpoint
            && let Some(network) = lock(&self.state).networks.get_mut(&endpoint.network_id)
        {
            network.addresses.release(endpoint.address);
        }
    }

    /// Opens the namespace of a record.
    fn describe(&self, record: &Record) -> Result<Sandbox, NetworkError> {
        let (path, namespace) = if record.kind == SandboxKind::Host {
            (host_path(), self.home.try_clone().map_err(|source| PathError::new("copy", host_path(), source))?)
        } else {
            let path = record::pin_path(&self.settings.paths, &record.id);
            let namespace = open_namespace(&path)?;
            (path, namespace)
        };
        Ok(Sandbox {
            id: record.id.clone(),
            kind: record.kind,
            path,
            namespace,
            endpoint: record.endpoint.clone(),
            ports: record.ports.clone(),
        })
    }

    fn open_ports(&self, host_index: u32, elements: &[SetElement]) -> Result<(), NetlinkError> {
        let Some(firewall) = &self.firewall else { return Ok(()) };
        lock(firewall).change(elements, &[])?;
        // A container that calls its own port through `br_netfilter` is sent back where it came from.
        if host_index != 0 && self.bridge_netfilter {
            let mut batch = Batch::new();
            route::set_port(&mut batch, host_index, Some(true), None);
            if let Err(error) = lock(&self.route).send(batch) {
                tracing::warn!(error = %corten_std::chain(&error), "a container may not reach its own published ports");
            }
        }
        Ok(())
    }

    fn try_close_ports(&self, elements: &[SetElement]) -> Result<(), NetlinkError> {
        if elements.is_empty() {
            return Ok(());
        }
        self.firewall.as_ref().map_or(Ok(()), |firewall| lock(firewall).remove(elements))
    }

    fn close_ports(&self, elements: &[SetElement]) {
        if let Err(error) = self.try_close_ports(elements) {
            tracing::warn!(error = %corten_std::chain(&error), "a port could not be closed");
        }
    }

    /// Has the proxy accept what no rule redirects.
    fn accept(&self, reservation: &Reservation, endpoint: &Endpoint) {
        if reservation.port.protocol != Protocol::Tcp {
            return;
        }
        if let Some(socket) = &reservation.socket {
            let target = SocketAddr::new(IpAddr::V4(endpoint.address), reservation.port.container_port);
            self.proxy.add(Reservation::name(&reservation.port), Arc::clone(socket), target);
        }
    }
}

/// Finds and binds the host port of one mapping on each of its addresses. What was bound is appended, also where it
/// fails then: the caller gives it back.
fn reserve(
    ports: &mut PortTable,
    sandbox: &str,
    endpoint: &Endpoint,
    mapping: &PortMapping,
    addresses: &[IpAddr],
    name_of: &dyn Fn(&str) -> String,
    reservations: &mut Vec<Reservation>,
) -> Result<(), PublishFailure> {
    let ephemeral = mapping.host_ports.is_none();
    let (first, last) = match &mapping.host_ports {
        Some(range) => (*range.start(), *range.end()),
        None => port::ephemeral_range(),
    };
    let mut failure = None;
    for host_port in ports.candidates(first, last, ephemeral) {
        let before = reservations.len();
        let result = addresses.iter().try_for_each(|host_address| {
            let port = PublishedPort {
                container_port: mapping.container_port,
                protocol: mapping.protocol,
                host_address: *host_address,
                host_port,
            };
            if let Some(holder) = ports.holder(&port) {
                let by = name_of(holder);
                return Err(PublishFailure::Allocated { address: *host_address, port: host_port, by });
            }
            let reservation = port::reserve(port).map_err(|source| PublishFailure::Bind {
                mapping: port,
                container: endpoint.address,
                source,
                by: None,
            })?;
            ports.take(&port, sandbox);
            reservations.push(reservation);
            Ok(())
        });
        match result {
            Ok(()) => {
                if ephemeral {
                    ports.remember(host_port);
                }
                return Ok(());
            }
            Err(error) => {
                for reservation in reservations.drain(before..) {
                    ports.release(&reservation.port, sandbox);
                }
                let hopeless = matches!(&error, PublishFailure::Bind { source, .. } if source.kind() != std::io::ErrorKind::AddrInUse);
                failure = Some(error);
                if hopeless {
                    break;
                }
            }
        }
    }
    match failure {
        Some(PublishFailure::Bind { mapping: port, container, source, .. }) if first == last || source.kind() != std::io::ErrorKind::AddrInUse => {
            let by = (source.kind() == std::io::ErrorKind::AddrInUse).then(|| crate::owner::holder(&port)).flatten();
            Err(PublishFailure::Bind { mapping: port, container, source, by })
        }
        Some(failure) if first == last => Err(failure),
        _ => Err(PublishFailure::RangeFull {
            address: addresses.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            first,
            last,
            protocol: mapping.protocol,
        }),
    }
}

/// The host's namespace as a path.
fn host_path() -> PathBuf {
    PathBuf::from("/proc/1/ns/net")
}

/// Opens a pinned namespace; a file that is none is refused.
fn open_namespace(path: &Path) -> Result<OwnedFd, PathError> {
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    let file = file::open(path)?;
    let is_namespace = rustix::fs::fstatfs(&file).is_ok_and(|status| status.f_type as u64 == NSFS_MAGIC);
    if is_namespace {
        Ok(file.into())
    } else {
        Err(PathError::new("open the namespace", path, std::io::ErrorKind::NotFound))
    }
}

/// The interfaces and pins of namespaces that are not wanted any more. The sockets inside are closed.
fn discarded(ready: VecDeque<Ready>) -> (Vec<String>, Vec<PathBuf>) {
    ready.into_iter().map(|ready| (ready.cable.map(|cable| cable.host_interface), ready.path)).fold(
        (Vec::new(), Vec::new()),
        |(mut names, mut paths), (name, path)| {
            names.extend(name);
            paths.push(path);
            (names, paths)
        },
    )
}
