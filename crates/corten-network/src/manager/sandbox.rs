//! Sandboxes: handed out, described, removed.

use super::standing::discarded;
use super::{Held, NetworkManager, Shared, lock};
use crate::address::AddressRefusal;
use crate::background::Sweep;
use crate::error::NetworkError;
use crate::firewall;
use crate::namespace;
use crate::pool::{self, Network, Plan, Ready};
use crate::port::Reservation;
use crate::record::{self, Record};
use crate::settings::{Attachment, Endpoint, MacAddress, Sandbox, SandboxKind, SandboxRequest};
use corten_std::{PathError, file, id};
use corten_sys::netlink::{Protocol as Family, Socket};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

impl NetworkManager {
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
                let ready = match self.take_connected(network_id, *address, *mac) {
                    // One may be on its way into the pool, or on its way back from a sandbox that is gone.
                    Err(NetworkError::AddressesExhausted { .. } | NetworkError::AddressTaken(_)) => {
                        self.settle();
                        self.take_connected(network_id, *address, *mac)?
                    }
                    other => other?,
                };
                let Some(cable) = ready.cable else {
                    return Err(NetworkError::NoSuchNetwork(network_id.clone()));
                };
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
        let network = state
            .networks
            .get_mut(network_id)
            .ok_or_else(|| NetworkError::NoSuchNetwork(network_id.to_owned()))?;
        let has = |wanted: Ipv4Addr| {
            move |ready: &Ready| ready.cable.as_ref().is_some_and(|cable| cable.addressing.address == wanted)
        };
        let standing = address.and_then(|wanted| network.ready.iter().position(has(wanted)));
        let (ready, address) = match (address, standing) {
            (None, _) if network.ready.is_empty() => {
                (None, Some(network.addresses.allocate().map_err(|refusal| network.refused(refusal))?))
            }
            (None, _) => (network.ready.pop_front(), None),
            (Some(_), Some(index)) => (network.ready.remove(index), None),
            (Some(wanted), None) => {
                network.addresses.take(wanted).map_err(|refusal| match refusal {
                    AddressRefusal::Outside => NetworkError::AddressOutside(wanted),
                    _ => NetworkError::AddressTaken(wanted),
                })?;
                (network.ready.pop_back(), Some(wanted))
            }
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
            let (names, paths) = discarded(VecDeque::from([ready]));
            let background = lock(&self.background);
            background.sweep(Sweep::Interfaces(names));
            background.sweep(Sweep::Paths(paths));
            return Err(NetworkError::Kernel {
                operation: "set the address",
                subject: "sandbox".to_owned(),
                source,
            });
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
        let lost =
            || NetworkError::System { operation: "start a thread", source: std::io::ErrorKind::Other.into() };
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

    /// Closes a sandbox's ports at once and removes the rest in the background. One that is not known is fine.
    pub fn remove_sandbox(&self, id: &str) -> Result<(), NetworkError> {
        let shared = &*self.shared;
        // First, because the sockets hold the namespace.
        shared.names.remove(id);
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
        closed.map_err(|source| NetworkError::Kernel {
            operation: "close ports",
            subject: id.to_owned(),
            source,
        })
    }
}

impl Network {
    fn refused(&self, _: AddressRefusal) -> NetworkError {
        NetworkError::AddressesExhausted { name: self.config.name.clone(), id: self.config.id.clone() }
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
            endpoint: record.endpoint.clone(),
            ports: record.ports.clone(),
        })
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
