//! A container's places in networks: made at its start, and while it runs by connect and disconnect.
//!
//! What a container is to be connected to is its record's `networks`; what it is connected to is told by its sandbox.
//! The record is changed after the sandbox at a connect and before it at a disconnect, so that a daemon that dies in
//! between leaves a sandbox with one endpoint too many, which [`mend`] removes.

use crate::container::files::{self, Addresses};
use crate::container::handle::{NetworkView, View};
use crate::container::monitor::{owns_sandbox, release_port};
use crate::container::record::Record;
use crate::container::spec::ports;
use crate::container::start::bridge_address;
use crate::container::{links, names, save};
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use crate::network::{NetworkDriver, NetworkFound};
use crate::users;
use corten_api::network::EndpointSettings;
use corten_network::{Attachment, Endpoint, EndpointRequest, NamespaceOwner, Sandbox, SandboxRequest};
use corten_std::id;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What stands before the reason of a network that could not be set up.
const FAILED: &str = "failed to set up container networking";
/// An option of an endpoint: the name of the interface inside.
pub(super) const INTERFACE_NAME: &str = "com.docker.network.endpoint.ifname";
/// An option of an endpoint: settings of the interface, separated by commas.
pub(super) const INTERFACE_SETTINGS: &str = "com.docker.network.endpoint.sysctls";

/// The network: a sandbox of its own (in `users`, where they are given), another container's, or the host's. Also tells what the files need.
pub(super) fn connect(
    engine: &EngineInner,
    record: &Record,
    other: Option<&View>,
    users: Option<&Arc<OwnedFd>>,
) -> Result<(NetworkView, Option<OwnedFd>, Addresses)> {
    let failed = |error| EngineError::because(FAILED, error);
    if let Some(other) = other {
        let Some(network) = &other.network else {
            return Ok((NetworkView::default(), None, Addresses::default()));
        };
        let namespace = if owns_sandbox(&other.record) {
            Some(engine.network.sandbox(&network.sandbox_id).map_err(failed)?.namespace)
        } else {
            None
        };
        let view = NetworkView {
            sandbox_id: network.sandbox_id.clone(),
            sandbox_key: network.sandbox_key.clone(),
            ..NetworkView::default()
        };
        return Ok((view, namespace, Addresses::default()));
    }
    let mut gateways = engine.settings.host_gateway.clone();
    if gateways.is_empty() {
        gateways.extend(engine.networks.default_gateway());
    }
    let addresses = Addresses { gateways, ..Addresses::default() };
    let mut wanted = Vec::new();
    for (name, settings) in in_order(record) {
        let network = engine.networks.resolve(name).map_err(|error| EngineError::because(FAILED, error))?;
        match network.driver {
            NetworkDriver::Host => {
                let endpoint = EndpointSettings {
                    network_id: network.id,
                    endpoint_id: id::random_id(),
                    ..settings.clone()
                };
                let view = NetworkView {
                    sandbox_id: record.id.clone(),
                    sandbox_key: "/proc/1/ns/net".to_owned(),
                    endpoints: [(network.name, endpoint)].into(),
                    ..NetworkView::default()
                };
                return Ok((view, None, Addresses { host_network: true, ..addresses }));
            }
            NetworkDriver::None => {
                let endpoint = EndpointSettings {
                    network_id: network.id,
                    endpoint_id: id::random_id(),
                    ..settings.clone()
                };
                let sandbox = create(engine, record, users, Attachment::None)?;
                let mut view = view_of(record, &sandbox);
                view.endpoints.insert(network.name, endpoint);
                return Ok((view, Some(sandbox.namespace), addresses));
            }
            NetworkDriver::Configuration => {
                return Err(EngineError::because(FAILED, crate::network::configuration_only()));
            }
            NetworkDriver::Bridge
            | NetworkDriver::Macvlan
            | NetworkDriver::Ipvlan
            | NetworkDriver::Remote => {
                wanted.push(request(&network, record, settings)?);
            }
        }
    }
    let sandbox = create(engine, record, users, Attachment::Networks(wanted))?;
    let addresses = Addresses {
        own: sandbox.endpoints.iter().flat_map(Endpoint::addresses).collect(),
        ipv6: sandbox.endpoints.iter().any(|endpoint| endpoint.address6.is_some()),
        ..addresses
    };
    Ok((view_of(record, &sandbox), Some(sandbox.namespace), addresses))
}

fn create(
    engine: &EngineInner,
    record: &Record,
    users: Option<&Arc<OwnedFd>>,
    network: Attachment,
) -> Result<Sandbox> {
    let owner = match (users, users::of(engine, record)) {
        (Some(users), _) => NamespaceOwner::Users(Arc::clone(users)),
        (None, Some(_)) => NamespaceOwner::New,
        (None, None) => NamespaceOwner::Host,
    };
    let (container_id, name) = (record.id.clone(), record.name.clone());
    let request = SandboxRequest { container_id, name, network, owner };
    engine.network.create_sandbox(&request).map_err(|error| EngineError::because(FAILED, error))
}

/// The networks of a record in the order of `eth0`, `eth1`: that of the network mode first, then by name.
fn in_order(record: &Record) -> impl Iterator<Item = (&String, &EndpointSettings)> {
    let mode = &record.host_config.network_mode;
    let first = |name: &str, settings: &EndpointSettings| name == mode || settings.network_id == *mode;
    let (mut first, others): (Vec<_>, Vec<_>) =
        record.networks.iter().partition(|(name, settings)| first(name, settings));
    first.extend(others);
    first.into_iter()
}

/// What is asked of the network for one endpoint.
fn request(network: &NetworkFound, record: &Record, settings: &EndpointSettings) -> Result<EndpointRequest> {
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    let option = |key: &str| settings.driver_opts.as_ref().and_then(|options| options.get(key));
    let mac = match settings.mac_address.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|text: String| EngineError::invalid(text))?),
    };
    Ok(EndpointRequest {
        network_id: network.id.clone(),
        address: address(&ipam.ipv4_address, "IPv4")?,
        address6: address(&ipam.ipv6_address, "IPv6")?,
        link_local: ipam
            .link_local_ips
            .iter()
            .map(|text| Ok(address(text, "link-local IP")?.into_iter()))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect(),
        mac,
        priority: settings.gw_priority,
        interface: option(INTERFACE_NAME).cloned(),
        sysctls: option(INTERFACE_SETTINGS)
            .map(|text| text.split(',').map(str::to_owned).collect())
            .unwrap_or_default(),
        options: match network.driver {
            NetworkDriver::Remote => crate::network::endpoint_options(record, settings)?,
            _ => serde_json::Map::new(),
        },
    })
}

fn address<T: std::str::FromStr>(text: &str, what: &str) -> Result<Option<T>> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| EngineError::invalid(format!("invalid {what} address: {text}")))
}

/// How a container is connected, as its sandbox tells. Ports are left out.
fn view_of(record: &Record, sandbox: &Sandbox) -> NetworkView {
    let endpoints = sandbox.endpoints.iter().map(|endpoint| {
        let mut settings = record.networks.get(&endpoint.network).cloned().unwrap_or_default();
        fill(&mut settings, endpoint);
        (endpoint.network.clone(), settings)
    });
    NetworkView {
        sandbox_id: sandbox.id.clone(),
        sandbox_key: sandbox.path.to_string_lossy().into_owned(),
        endpoints: endpoints.collect(),
        ..NetworkView::default()
    }
}

fn fill(settings: &mut EndpointSettings, made: &Endpoint) {
    settings.network_id.clone_from(&made.network_id);
    settings.endpoint_id.clone_from(&made.id);
    settings.gateway = made.gateway.map(|address| address.to_string()).unwrap_or_default();
    settings.ip_address = made.address.map(|address| address.to_string()).unwrap_or_default();
    settings.ip_prefix_len = i64::from(made.prefix);
    settings.ipv6_gateway = made.gateway6.map(|address| address.to_string()).unwrap_or_default();
    settings.global_ipv6_address = made.address6.map(|address| address.to_string()).unwrap_or_default();
    settings.global_ipv6_prefix_len = i64::from(made.prefix6);
    settings.mac_address = made.mac.to_string();
    settings.dns_names = None;
}

/// Publishes what is asked for, where the container has a network of its own.
pub(super) fn publish(
    engine: &EngineInner,
    record: &Record,
    mut network: NetworkView,
) -> Result<NetworkView> {
    let exposed = &record.config.exposed_ports;
    if !owns_sandbox(record) || network.endpoints.contains_key("none") {
        return Ok(network);
    }
    let mappings = ports::mappings(exposed, &record.host_config)?;
    let published = if mappings.is_empty() {
        Vec::new()
    } else {
        engine
            .network
            .publish(&network.sandbox_id, &mappings)
            .map_err(|error| EngineError::because(FAILED, error))?
    };
    network.ports = ports::port_map(exposed, &published);
    if !published.is_empty() {
        hold_ports(engine, &network.sandbox_id, &[]);
    }
    Ok(network)
}

/// Has the keeper hold the sockets of a sandbox's ports, but for those that it holds already.
fn hold_ports(engine: &EngineInner, sandbox: &str, held: &[String]) {
    for (name, socket) in engine.network.reserved_of(sandbox) {
        if held.contains(&name) {
            continue;
        }
        if let Err(error) = engine.spawner.hold(&name, vec![socket]) {
            tracing::warn!(name, %error, "a port is not kept while no daemon lives");
        }
    }
}

/// Changes a running container's sandbox, and gives how it is connected then. The kept ports follow, because they may
/// have moved to another network's addresses.
fn change(
    engine: &EngineInner,
    record: &Record,
    old: &NetworkView,
    change: impl FnOnce() -> Result<Sandbox>,
) -> Result<NetworkView> {
    let sandbox = &old.sandbox_id;
    let names = || engine.network.reserved_of(sandbox).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let before = names();
    let changed = change();
    let after = names();
    before.iter().filter(|name| !after.contains(name)).for_each(|name| release_port(engine, name));
    hold_ports(engine, sandbox, &before);
    let sandbox = changed?;
    let mut view = view_of(record, &sandbox);
    view.ports = ports::port_map(&record.config.exposed_ports, &sandbox.ports);
    names::label(record, &mut view);
    save::network(engine, record, &view)?;
    let addresses = |view: &NetworkView| {
        let text =
            |endpoint: &EndpointSettings| [endpoint.ip_address.clone(), endpoint.global_ipv6_address.clone()];
        view.endpoints.values().flat_map(text).filter(|address| !address.is_empty()).collect::<Vec<_>>()
    };
    files::change_own(engine, record, &addresses(old), &addresses(&view))?;
    names::settle(engine, record, &view, None)?;
    links::tell_parents(engine, record, bridge_address(&view));
    Ok(view)
}

/// Connects a running container to a network that stands in its new record already. Blocking.
pub(super) fn add(
    engine: &EngineInner,
    record: &Record,
    old: &NetworkView,
    network: &str,
) -> Result<NetworkView> {
    let found = engine.networks.resolve(network)?;
    let settings = record.networks.get(network).cloned().unwrap_or_default();
    let request = request(&found, record, &settings)?;
    change(engine, record, old, || {
        engine.network.connect(&old.sandbox_id, &request).map_err(|error| EngineError::because("", error))
    })
}

/// Disconnects a running container from a network that stands in its new record no more. Blocking.
pub(super) fn remove(
    engine: &EngineInner,
    record: &Record,
    old: &NetworkView,
    network_id: &str,
) -> Result<NetworkView> {
    change(engine, record, old, || {
        let left = engine.network.disconnect(&old.sandbox_id, network_id);
        left.map_err(|error| EngineError::because("", error))
    })
}

/// How a container that runs is connected, found again by a new daemon: as its sandbox tells, without the endpoints
/// that its record does not know. Blocking.
pub(super) fn mend(
    engine: &EngineInner,
    record: &Record,
    old: NetworkView,
    sandbox: Sandbox,
) -> Result<NetworkView> {
    if old.endpoints.contains_key("none") {
        return Ok(old);
    }
    let unknown: Vec<_> = sandbox
        .endpoints
        .iter()
        .filter(|endpoint| !record.networks.contains_key(&endpoint.network) && !endpoint.network.is_empty())
        .map(|endpoint| endpoint.network_id.clone())
        .collect();
    let mut view = NetworkView { endpoints: old.endpoints.clone(), ..view_of(record, &sandbox) };
    let written_by_older = sandbox.endpoints.iter().any(|endpoint| endpoint.network.is_empty());
    if !written_by_older {
        view = view_of(record, &sandbox);
    }
    view.ports = ports::port_map(&record.config.exposed_ports, &sandbox.ports);
    names::label(record, &mut view);
    for network_id in unknown {
        view = remove(engine, record, &view, &network_id)?;
    }
    Ok(view)
}
