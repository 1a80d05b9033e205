//! Sandboxes: handed out, described, removed.

use super::standing::discarded;
use super::{Held, NetworkManager, Shared, lock};
use crate::background::{self, Sweep};
use crate::bridge;
use crate::config::GatewayMode;
use crate::endpoint::{
    Attachment, Endpoint, EndpointRequest, NamespaceOwner, Sandbox, SandboxKind, SandboxRequest,
};
use crate::error::NetworkError;
use crate::firewall;
use crate::gateway::Targets;
use crate::namespace::{self, Addressing};
use crate::pool::{self, Leaving, Network, Plan, Ready};
use crate::port::Reservation;
use crate::record::{self, Record};
use crate::settings::MacAddress;
use corten_std::{PathError, file, id};
use corten_sys::netlink::{Batch, Protocol as Family, Socket, route};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

impl NetworkManager {
    /// Hands out a sandbox, from the pool where one stands ready, and connects it to all its networks.
    pub fn create_sandbox(&self, request: &SandboxRequest) -> Result<Sandbox, NetworkError> {
        let shared = &*self.shared;
        let record = |id, kind| Record::new(id, &request.container_id, &request.name, kind);
        let (kind, networks) = match &request.network {
            Attachment::Host => {
                let namespace = shared.home.try_clone().map_err(|source| NetworkError::System {
                    operation: "copy the descriptor of the network namespace",
                    source,
                })?;
                return self.hand_out(record(id::random_id(), SandboxKind::Host), host_path(), namespace);
            }
            Attachment::None => (SandboxKind::None, [].as_slice()),
            Attachment::Networks(networks) => (SandboxKind::Networks, networks.as_slice()),
        };
        let (sandbox, others) = match networks.split_first() {
            Some((first, others)) if first.is_plain() && self.is_pooled(&first.network_id)? => {
                (self.create_connected(request, first)?, others)
            }
            _ => {
                let ready = if shared.is_pooled(&request.owner) {
                    lock(&shared.state).bare.pop_front()
                } else {
                    None
                };
                let ready = match ready {
                    Some(ready) => ready,
                    None => self.make_now(None, &request.owner)?,
                };
                let record = record(ready.id, kind);
                (self.hand_out(record, ready.path, ready.namespace.descriptor)?, networks)
            }
        };
        others.iter().try_fold(sandbox, |sandbox, other| {
            self.connect(&sandbox.id, other).inspect_err(|_| {
                if let Err(error) = self.remove_sandbox(&sandbox.id) {
                    tracing::warn!(error = %corten_std::chain(&error), "a sandbox that was not finished is left");
                }
            })
        })
    }

    /// The same request for the addresses that the container had last; none where it asks for others, or had none. Others
    /// have looked them up: a proxy in front of it asks for its name once.
    pub(super) fn with_last_addresses(
        &self,
        container: &str,
        request: &EndpointRequest,
    ) -> Option<EndpointRequest> {
        if !request.asked().is_empty() {
            return None;
        }
        let state = lock(&self.shared.state);
        let network = state.networks.get(&request.network_id)?;
        let (address, address6) = network.recall(container)?;
        let again = EndpointRequest { address, address6, ..request.clone() };
        let left = |address: IpAddr| Some((address, network.leaving(address)?));
        let left: Vec<_> = again.asked().into_iter().filter_map(left).collect();
        drop(state);
        self.take_back(&request.network_id, &left);
        Some(again)
    }

    /// Has the bridge pass over cables that the kernel has not taken apart yet, which takes it some ten milliseconds, and gives
    /// back the addresses at their far ends. Their records go first: a daemon that came later would have two with one address.
    fn take_back(&self, network_id: &str, left: &[(IpAddr, Leaving)]) {
        for (address, leaving) in left {
            background::remove_path(&record::record_path(&self.shared.settings.paths, &leaving.sandbox));
            let mut batch = Batch::new();
            route::silence_port(&mut batch, leaving.cable);
            // Of its own, so that the socket is free before the state is asked for: others have the state and ask for the socket.
            let sent = lock(&self.shared.route).send(batch);
            match sent {
                Err(error) if !error.is_missing() => {
                    tracing::debug!(error = %corten_std::chain(&error), "an old cable is waited for");
                }
                _ => {
                    if let Some(network) = lock(&self.shared.state).networks.get_mut(network_id) {
                        network.release_left(*address, &leaving.sandbox);
                    }
                }
            }
        }
    }

    fn is_pooled(&self, network_id: &str) -> Result<bool, NetworkError> {
        let state = lock(&self.shared.state);
        let network = state.networks.get(network_id);
        let network = network.ok_or_else(|| NetworkError::NoSuchNetwork(network_id.to_owned()))?;
        Ok(network.config.is_pooled())
    }

    /// A sandbox with its first endpoint, which namespaces have that stand ready.
    fn create_connected(
        &self,
        request: &SandboxRequest,
        wanted: &EndpointRequest,
    ) -> Result<Sandbox, NetworkError> {
        let owner = &request.owner;
        let take = |wanted: &EndpointRequest| match self.take_connected(wanted, owner) {
            // One may be on its way into the pool, or on its way back from a sandbox that is gone.
            Err(NetworkError::AddressesExhausted { .. } | NetworkError::AddressTaken(_)) => {
                self.settle();
                self.take_connected(wanted, owner)
            }
            other => other,
        };
        let again = self.with_last_addresses(&request.container_id, wanted);
        let ready = match again.map(|again| take(&again)) {
            Some(Ok(ready)) => ready,
            _ => take(wanted)?,
        };
        let Some(cable) = ready.cable else {
            return Err(NetworkError::NoSuchNetwork(wanted.network_id.clone()));
        };
        let state = lock(&self.shared.state);
        let endpoint = state.networks.get(&wanted.network_id).map(|network| Endpoint {
            host_interface: cable.host_interface,
            host_index: cable.host_index,
            ..network.endpoint(wanted, &cable.addressing, cable.mac, namespace::INTERFACE)
        });
        drop(state);
        let mut record = Record::new(ready.id, &request.container_id, &request.name, SandboxKind::Networks);
        record.endpoints.extend(endpoint);
        record.next_interface = 1;
        if let Some(sockets) = ready.namespace.names {
            self.shared.names.prepare(&record.id, sockets);
        }
        self.hand_out(record, ready.path, ready.namespace.descriptor)
    }

    /// A connected namespace with the addresses asked for, counted as attached.
    fn take_connected(
        &self,
        wanted: &EndpointRequest,
        owner: &NamespaceOwner,
    ) -> Result<Ready, NetworkError> {
        let network_id = &wanted.network_id;
        let mut state = lock(&self.shared.state);
        let network = state
            .networks
            .get_mut(network_id)
            .ok_or_else(|| NetworkError::NoSuchNetwork(network_id.clone()))?;
        let asked = wanted.asked();
        let serves = |ready: &Ready| {
            let addressing = ready.cable.as_ref().map(|cable| cable.addressing);
            addressing.is_some_and(|addressing| asked.iter().all(|address| addressing.has(*address)))
        };
        // What the plan's namespace held before, where it is still to be given back.
        let mut held = None;
        let mut unplanned = None;
        let pooled = self.shared.is_pooled(owner);
        let index = network.ready.iter().position(serves).filter(|_| pooled);
        let (ready, plan) = if let Some(index) = index {
            (network.ready.remove(index), None)
        } else {
            let mut evicted = network.evict(&asked);
            if !pooled && asked.is_empty() {
                // Its address is lower than that of any other, and free again where there is none else.
                evicted.extend(network.evict_lowest());
            }
            let addressing = match network.take(wanted.address, wanted.address6) {
                Ok(addressing) => addressing,
                Err(error) => {
                    drop(state);
                    self.discard(evicted);
                    return Err(error);
                }
            };
            let mut ready = if pooled { evicted.pop() } else { None };
            if ready.is_none() && pooled {
                ready = network.ready.pop_back();
                held = ready.as_ref().and_then(|ready| Some(ready.cable.as_ref()?.addressing));
            }
            self.discard(evicted);
            (ready, Some(network.plan(addressing, wanted.mac)))
        };
        if plan.is_none() && wanted.mac.is_some() {
            // Free again where the hardware address is refused.
            unplanned = ready.as_ref().and_then(|ready| Some(ready.cable.as_ref()?.addressing));
        }
        network.attached += 1;
        network.warm = true;
        drop(state);
        let result = match ready {
            None => self.make_now(plan.as_ref(), owner),
            Some(ready) => self.adjust(ready, plan.as_ref(), wanted.mac),
        };
        if let Some(network) = lock(&self.shared.state).networks.get_mut(network_id) {
            if let Some(held) = held {
                network.release(&held);
            }
            if result.is_err() {
                network.attached -= 1;
                if let Some(addressing) = plan.map(|plan| plan.addressing).or(unplanned) {
                    network.release(&addressing);
                }
            }
        }
        result
    }

    /// Removes namespaces that stood ready, their cables at once.
    pub(super) fn discard(&self, ready: Vec<Ready>) {
        if ready.is_empty() {
            return;
        }
        let (names, paths) = discarded(ready.into());
        for name in names {
            if let Err(error) = bridge::remove(&mut lock(&self.shared.route), &name) {
                tracing::warn!(name, error = %corten_std::chain(&error), "an interface could not be removed");
            }
        }
        lock(&self.background).sweep(Sweep::Paths(paths));
    }

    /// Gives a namespace that stood ready another address or hardware address.
    fn adjust(
        &self,
        mut ready: Ready,
        plan: Option<&Plan>,
        mac: Option<MacAddress>,
    ) -> Result<Ready, NetworkError> {
        if plan.is_none() && mac.is_none() {
            return Ok(ready);
        }
        let Some(cable) = &mut ready.cable else { return Ok(ready) };
        let old = cable.addressing;
        let new = plan.map_or(old, |plan| plan.addressing);
        let mac = mac.or(plan.map(|plan| plan.mac));
        let result = namespace::readdress(&mut ready.namespace.inside, &old, &new, mac.map(|mac| mac.0));
        if let Err(source) = result {
            self.discard(vec![ready]);
            return Err(NetworkError::Kernel {
                operation: "set the address",
                subject: "sandbox".to_owned(),
                source,
            });
        }
        cable.addressing = new;
        cable.mac = mac.unwrap_or(cable.mac);
        Ok(ready)
    }

    /// Makes a namespace while the caller waits, on a thread of its own because threads that make them move.
    fn make_now(&self, plan: Option<&Plan>, owner: &NamespaceOwner) -> Result<Ready, NetworkError> {
        let shared = &*self.shared;
        let new = shared.new_namespace(owner)?;
        let run = move || {
            let mut host = Socket::open(Family::Route).map_err(|source| NetworkError::Kernel {
                operation: "open a socket",
                subject: "sandbox".to_owned(),
                source,
            })?;
            pool::make(&shared.settings.paths, shared.home.as_fd(), &mut host, new, plan)
        };
        let lost = || NetworkError::System {
            operation: "start a thread (no memory for it, or too many)",
            source: std::io::ErrorKind::Other.into(),
        };
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
            container_id: record.container_id.clone(),
            endpoints: record.endpoints.clone(),
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

    /// Closes a sandbox's ports at once and removes the rest in the background. One that is not known is fine.
    pub fn remove_sandbox(&self, id: &str) -> Result<(), NetworkError> {
        let shared = &*self.shared;
        // First, because the sockets hold the namespace.
        shared.names.remove(id);
        let mut state = lock(&shared.state);
        let Some(held) = state.sandboxes.remove(id) else { return Ok(()) };
        // Looked up now: a network that nothing is in any more may go at once.
        let mut others_keep = Vec::new();
        for endpoint in &held.record.endpoints {
            if let Some(network) = state.networks.get_mut(&endpoint.network_id) {
                network.attached -= 1;
                if network.config.remote_addresses {
                    others_keep.push(endpoint.id.as_str());
                }
                network.remember(&held.record.container_id, endpoint);
                endpoint.addresses().for_each(|address| network.leave(address, id, endpoint.host_index));
            }
        }
        let targets = Targets::of(&held.record.endpoints);
        let closed = shared.try_close_ports(&firewall::port_elements(targets, &held.record.ports));
        for port in &held.record.ports {
            state.ports.release(port, id);
            shared.proxy.remove(&Reservation::name(port));
        }
        drop(state);
        drop(held.reservations);
        self.leave_remote(id, &held.record.endpoints, &others_keep);
        lock(&self.background).sweep(Sweep::Sandbox(Box::new(held.record)));
        closed.map_err(|source| NetworkError::Kernel {
            operation: "close ports",
            subject: id.to_owned(),
            source,
        })
    }
}

impl Network {
    /// The place of a sandbox in this network, but for what is made on the host's side.
    pub(super) fn endpoint(
        &self,
        wanted: &EndpointRequest,
        addressing: &Addressing,
        mac: MacAddress,
        interface: &str,
    ) -> Endpoint {
        let v4 = |address| if let IpAddr::V4(address) = address { Some(address) } else { None };
        let v6 = |address| if let IpAddr::V6(address) = address { Some(address) } else { None };
        let (ipv4, ipv6) = (addressing.ipv4, addressing.ipv6);
        Endpoint {
            id: id::random_id(),
            network_id: self.config.id.clone(),
            network: self.config.name.clone(),
            interface: interface.to_owned(),
            host_interface: String::new(),
            host_index: 0,
            address: ipv4.and_then(|placed| v4(placed.address)),
            prefix: ipv4.map_or(0, |placed| placed.prefix),
            gateway: ipv4.and_then(|placed| v4(placed.gateway?)),
            address6: ipv6.and_then(|placed| v6(placed.address)),
            prefix6: ipv6.map_or(0, |placed| placed.prefix),
            gateway6: ipv6.and_then(|placed| v6(placed.gateway?)),
            direct: self.config.is_direct(),
            link_local: wanted.link_local.clone(),
            mac,
            priority: wanted.priority,
            internal: self.config.internal,
            routed4: self.config.gateway_mode4 == GatewayMode::Routed,
            routed6: self.config.gateway_mode6 == GatewayMode::Routed,
            publishes: self.config.is_bridge(),
            remote: None,
            without_gateway: false,
        }
    }
}

impl Shared {
    /// Opens the namespace of a record.
    pub(super) fn describe(&self, record: &Record) -> Result<Sandbox, NetworkError> {
        let (path, namespace) = if record.kind == SandboxKind::Host {
            (
                host_path(),
                self.home.try_clone().map_err(|source| PathError::new("copy", host_path(), source))?,
            )
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
            container_id: record.container_id.clone(),
            endpoints: record.endpoints.clone(),
            ports: record.ports.clone(),
        })
    }
}

/// The host's namespace as a path.
fn host_path() -> PathBuf {
    PathBuf::from("/proc/1/ns/net")
}

/// Opens a pinned namespace; a file that is none is refused.
pub(super) fn open_namespace(path: &Path) -> Result<OwnedFd, PathError> {
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    let file = file::open(path)?;
    let is_namespace = rustix::fs::fstatfs(&file).is_ok_and(|status| status.f_type as u64 == NSFS_MAGIC);
    if is_namespace {
        Ok(file.into())
    } else {
        Err(PathError::new("open the namespace", path, std::io::ErrorKind::NotFound))
    }
}
