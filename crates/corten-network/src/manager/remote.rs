//! Endpoints that others make, and those whose addresses others keep.
//!
//! The order is Docker's: addresses, endpoint, join, the interface, ports; and backwards.

use super::connect::{in_namespace, record_endpoint, routes, set_routes};
use super::{NetworkManager, Shared, lock};
use crate::config::NetworkConfig;
use crate::endpoint::{Endpoint, EndpointRequest, Sandbox, SandboxKind};
use crate::error::NetworkError;
use crate::gateway;
use crate::namespace::{self, Addressing, Placed};
use crate::record::pin_path;
use crate::remote::{RemoteDrivers, RemoteEndpoint, RemoteError, RemoteInterface};
use crate::settings::MacAddress;
use corten_std::id;
use corten_sys::netlink::{Batch, NetlinkError, Socket, route};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// A place whose addresses others gave.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) endpoint: String,
    pub(super) addresses: Vec<(IpAddr, u8)>,
    pub(super) mac: Option<MacAddress>,
}

impl NetworkManager {
    /// Who is asked for networks that others connect; once, before the networks are ensured.
    pub fn set_remote(&self, remote: Arc<dyn RemoteDrivers>) {
        let _ = self.shared.remote.set(remote);
    }

    /// Has others give the addresses of a place that we make ourselves.
    pub(super) fn request_given(
        &self,
        config: &NetworkConfig,
        request: &EndpointRequest,
    ) -> Result<Option<Given>, NetworkError> {
        if !config.remote_addresses {
            return Ok(None);
        }
        let endpoint = id::random_id();
        let made = self.shared.remote()?.create(config, &endpoint, "", request, &[])?;
        Ok(Some(Given { endpoint, addresses: made.addresses, mac: made.mac }))
    }

    /// Gives them back.
    pub(super) fn return_given(&self, network_id: &str, given: &Given) {
        if let Ok(remote) = self.shared.remote() {
            remote.delete(network_id, &given.endpoint);
        }
    }

    /// Connects a sandbox to a network that others connect. Nothing is left behind where this fails.
    pub(super) fn connect_remote(
        &self,
        sandbox: &str,
        config: &NetworkConfig,
        request: &EndpointRequest,
    ) -> Result<Sandbox, NetworkError> {
        let shared = &*self.shared;
        let remote = shared.remote()?;
        let (name, own) = self.begin_remote(sandbox, request)?;
        let release = || {
            let mut state = lock(&shared.state);
            if let Some(network) = state.networks.get_mut(&config.id) {
                network.attached -= 1;
                for (address, _) in &own {
                    network.release_address(*address);
                }
            }
        };
        let id = id::random_id();
        let made = remote.create(config, &id, &name, request, &own).inspect_err(|_| release())?;
        let undo = |joined: bool| {
            if joined {
                remote.leave(&config.id, &id);
            }
            remote.delete(&config.id, &id);
            release();
        };
        let path = pin_path(&shared.settings.paths, sandbox);
        let joined = remote.join(&config.id, &id, &path).inspect_err(|_| undo(false))?;
        let adopted = self.adopt(sandbox, config, request, (&id, made), &joined);
        let (endpoint, old) = adopted.inspect_err(|_| undo(true))?;
        let all: Vec<Endpoint> = old.iter().cloned().chain([endpoint]).collect();
        let opened = self.move_remote_ports(&name, &old, &all);
        let followed = opened.and_then(|()| {
            let mut state = lock(&shared.state);
            self.follow_gateway(&mut state, sandbox, &old).map_err(NetworkError::from)
        });
        if let Err(error) = followed {
            if let Err(error) = self.disconnect(sandbox, &config.id) {
                tracing::warn!(error = %corten_std::chain(&error), "an endpoint that was not finished is left");
            }
            return Err(error);
        }
        remote.finished(&config.id, &id);
        self.sandbox(sandbox)
    }

    /// Counts the endpoint as attached and takes addresses, where the account is ours. Gives the container's name too.
    fn begin_remote(
        &self,
        sandbox: &str,
        request: &EndpointRequest,
    ) -> Result<(String, Vec<(IpAddr, u8)>), NetworkError> {
        let mut state = lock(&self.shared.state);
        let held = state.sandboxes.get(sandbox);
        let record = &held.ok_or_else(|| NetworkError::NoSuchSandbox(sandbox.to_owned()))?.record;
        if record.kind == SandboxKind::Host {
            return Err(NetworkError::NotAttached(sandbox.to_owned()));
        }
        let name = record.name.clone();
        let connected = record.endpoints.iter().any(|endpoint| endpoint.network_id == request.network_id);
        let network = state.networks.get_mut(&request.network_id);
        let network = network.ok_or_else(|| NetworkError::NoSuchNetwork(request.network_id.clone()))?;
        if connected {
            return Err(NetworkError::Connected { name, network: network.config.name.clone() });
        }
        let own = if network.config.remote_addresses {
            Vec::new()
        } else {
            let taken = network.take(request.address, request.address6)?;
            taken.all().map(|placed| (placed.address, placed.prefix)).collect()
        };
        network.attached += 1;
        Ok((name, own))
    }

    /// Brings the interface into the sandbox and records the endpoint. Gives it, and the endpoints of before.
    fn adopt(
        &self,
        sandbox: &str,
        config: &NetworkConfig,
        request: &EndpointRequest,
        (id, made): (&str, RemoteEndpoint),
        joined: &RemoteInterface,
    ) -> Result<(Endpoint, Vec<Endpoint>), NetworkError> {
        let shared = &*self.shared;
        let gateway = |ipv4| joined.gateways.iter().copied().find(|gateway| gateway.is_ipv4() == ipv4);
        let place = |ipv4: bool| {
            let (address, prefix) =
                made.addresses.iter().copied().find(|(address, _)| address.is_ipv4() == ipv4)?;
            Some(Placed { address, prefix, gateway: gateway(ipv4) })
        };
        let addressing = Addressing { ipv4: place(true), ipv6: place(false) };
        let mut state = lock(&shared.state);
        let Some(held) = state.sandboxes.get_mut(sandbox) else {
            return Err(NetworkError::NoSuchSandbox(sandbox.to_owned()));
        };
        let taken = |name: &str| held.record.endpoints.iter().any(|endpoint| endpoint.interface == name);
        let prefix = if joined.prefix.is_empty() { "eth" } else { &joined.prefix };
        let interface = match (joined.source.as_str(), joined.name.as_str()) {
            ("", _) => String::new(),
            (_, "") if prefix == "eth" => {
                let mut numbers = held.record.next_interface..;
                numbers.find_map(|number| free(format!("eth{number}"), taken)).unwrap_or_default()
            }
            (_, "") => {
                (0u32..).find_map(|number| free(format!("{prefix}{number}"), taken)).unwrap_or_default()
            }
            (_, name) => name.to_owned(),
        };
        let is_name = |name: &str| crate::bridge::check_name(name).is_ok() && name != "lo";
        if !joined.source.is_empty() && (taken(&interface) || !is_name(&interface)) {
            return Err(NetworkError::InterfaceTaken(interface));
        }
        let old = held.record.endpoints.clone();
        if !interface.is_empty() {
            // An interface without an end on the host that we know of: a new daemon finds it by its name.
            held.record.unfinished.push(interface.clone());
            held.record.write(&shared.settings.paths)?;
        }
        let network = state.networks.get(&config.id);
        let network = network.ok_or_else(|| NetworkError::NoSuchNetwork(config.id.clone()))?;
        let mut endpoint = Endpoint {
            id: id.to_owned(),
            remote: Some(joined.source.clone()),
            without_gateway: joined.without_gateway,
            ..network.endpoint(request, &addressing, made.mac.unwrap_or_default(), &interface)
        };
        drop(state);
        let mut all = old.clone();
        all.push(endpoint.clone());
        let defaults = routes(&old, &all);
        let moved = in_namespace(shared, sandbox, |host, inside, space| {
            if interface.is_empty() {
                return Ok(MacAddress::default());
            }
            let mac = move_in(host, space, config, joined, (&interface, made.mac))?;
            let finished =
                super::connect::finish(inside, request, &addressing, &interface, &defaults, |source| {
                    NetworkError::Kernel {
                        operation: "connect a sandbox",
                        subject: config.name.clone(),
                        source,
                    }
                })
                .and_then(|()| add_routes(inside, &interface, joined));
            if finished.is_err() {
                let _ = move_out(inside, shared.home.as_fd(), &interface, &joined.source);
            }
            finished.map(|()| mac)
        });
        let mut state = lock(&shared.state);
        let recorded = moved.and_then(|mac| {
            endpoint.mac = mac;
            record_endpoint(shared, &mut state, sandbox, endpoint.clone())
        });
        if recorded.is_err()
            && let Some(held) = state.sandboxes.get_mut(sandbox)
        {
            held.record.unfinished.retain(|name| *name != interface);
            held.record.endpoints.retain(|other| other.id != endpoint.id);
            held.record.write(&shared.settings.paths)?;
        }
        recorded.map(|old| (endpoint, old))
    }

    /// Tells others where the default routes went. `old` and `new` are a sandbox's endpoints.
    pub(super) fn move_remote_ports(
        &self,
        name: &str,
        old: &[Endpoint],
        new: &[Endpoint],
    ) -> Result<(), NetworkError> {
        let (before, after) = (leading(old), leading(new));
        for endpoint in before.iter().filter(|one| !after.iter().any(|other| other.id == one.id)) {
            self.shared.remote()?.close_ports(&endpoint.network_id, &endpoint.id);
        }
        let entered = after.iter().filter(|one| !before.iter().any(|other| other.id == one.id));
        for endpoint in entered.filter(|endpoint| !endpoint.internal) {
            self.shared.remote()?.open_ports(&endpoint.network_id, &endpoint.id, name)?;
        }
        Ok(())
    }

    /// Takes apart what others made of a sandbox that ended, interfaces first, so that those are the host's again. Of the
    /// endpoints named in `others_keep` the addresses are others'; their networks may be gone by now.
    pub(super) fn leave_remote(&self, sandbox: &str, endpoints: &[Endpoint], others_keep: &[&str]) {
        let Ok(remote) = self.shared.remote() else { return };
        for endpoint in leading(endpoints) {
            remote.close_ports(&endpoint.network_id, &endpoint.id);
        }
        for endpoint in endpoints {
            if endpoint.remote.is_some() {
                remote.leave(&endpoint.network_id, &endpoint.id);
                self.give_back(sandbox, endpoint, &[]);
            }
            if endpoint.remote.is_some() || others_keep.contains(&endpoint.id.as_str()) {
                remote.delete(&endpoint.network_id, &endpoint.id);
            }
        }
    }

    /// Gives an interface back to the host under the name that it had there, and the default routes to others.
    pub(super) fn give_back(
        &self,
        sandbox: &str,
        endpoint: &Endpoint,
        routes: &[(bool, String, Option<IpAddr>)],
    ) {
        let source = endpoint.remote.as_deref().unwrap_or_default();
        let given = in_namespace(&self.shared, sandbox, |_, inside, _| {
            let moved = move_out(inside, self.shared.home.as_fd(), &endpoint.interface, source);
            let set = set_routes(inside, routes);
            moved.and(set).map_err(|source| NetworkError::Kernel {
                operation: "give an interface back",
                subject: endpoint.network.clone(),
                source,
            })
        });
        // Its driver took it away itself, or it goes with the namespace.
        if let Err(error) = given {
            tracing::debug!(interface = endpoint.interface, error = %corten_std::chain(&error), "stays inside");
        }
    }
}

impl Shared {
    pub(super) fn remote(&self) -> Result<&Arc<dyn RemoteDrivers>, NetworkError> {
        self.remote.get().ok_or_else(|| {
            NetworkError::Remote(RemoteError {
                class: corten_std::ErrorClass::System,
                text: "there are no drivers but our own".to_owned(),
                hint: None,
            })
        })
    }

    pub(super) fn config(&self, network_id: &str) -> Result<NetworkConfig, NetworkError> {
        let state = lock(&self.state);
        let network = state.networks.get(network_id);
        network
            .map(|network| network.config.clone())
            .ok_or_else(|| NetworkError::NoSuchNetwork(network_id.to_owned()))
    }

    pub(super) fn has_remote_addresses(&self, network_id: &str) -> bool {
        let state = lock(&self.state);
        state.networks.get(network_id).is_some_and(|network| network.config.remote_addresses)
    }
}

/// The endpoints made by others that have a default route.
fn leading(endpoints: &[Endpoint]) -> Vec<&Endpoint> {
    let by_index = |ipv4| gateway::of(endpoints, ipv4).map(|index| &endpoints[index]);
    let (first, second) = (by_index(true), by_index(false));
    let second = second.filter(|second| first.is_none_or(|first| first.id != second.id));
    first.into_iter().chain(second).filter(|endpoint| endpoint.remote.is_some()).collect()
}

fn free(name: String, taken: impl Fn(&str) -> bool) -> Option<String> {
    Some(name).filter(|name| !taken(name))
}

/// Moves the interface in. Gives the hardware address that it has then.
fn move_in(
    host: &mut Socket,
    space: BorrowedFd<'_>,
    config: &NetworkConfig,
    joined: &RemoteInterface,
    (name, mac): (&str, Option<MacAddress>),
) -> Result<MacAddress, NetworkError> {
    let fail = |source| NetworkError::Kernel {
        operation: "move an interface into a sandbox",
        subject: config.name.clone(),
        source,
    };
    let link = route::link(host, &joined.source).map_err(fail)?;
    let link = link.ok_or_else(|| NetworkError::NoInterface {
        name: joined.source.clone(),
        network: config.name.clone(),
    })?;
    let mut batch = Batch::new();
    route::set_up(&mut batch, link.index, false);
    if let Some(mac) = mac {
        route::set_mac(&mut batch, link.index, mac.0);
    }
    route::move_link(&mut batch, link.index, name, space);
    host.send(batch).map_err(fail)?;
    Ok(mac.or(link.mac.map(MacAddress)).unwrap_or_default())
}

fn add_routes(inside: &mut Socket, name: &str, joined: &RemoteInterface) -> Result<(), NetworkError> {
    let fail =
        |source| NetworkError::Kernel { operation: "add a route", subject: joined.source.clone(), source };
    let index = namespace::interface_index(inside, name).map_err(fail)?;
    let mut batch = Batch::new();
    for (destination, prefix, hop) in &joined.routes {
        route::add_route(&mut batch, *destination, *prefix, index, *hop);
    }
    inside.send(batch).map_err(fail)
}

fn move_out(inside: &mut Socket, home: BorrowedFd<'_>, name: &str, source: &str) -> Result<(), NetlinkError> {
    if name.is_empty() {
        return Ok(());
    }
    let Some(link) = route::link(inside, name)? else { return Ok(()) };
    let mut batch = Batch::new();
    route::set_up(&mut batch, link.index, false);
    route::move_link(&mut batch, link.index, source, home);
    inside.send(batch)
}
