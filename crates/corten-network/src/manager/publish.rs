//! Ports of sandboxes on the host's addresses.

use super::{NetworkManager, Shared, State, lock};
use crate::background::Sweep;
use crate::error::{PublishError, PublishFailure};
use crate::firewall::{self, SetElement};
use crate::gateway::Targets;
use crate::owner;
use crate::pool::Network;
use crate::port::{self, PortTable, Reservation};
use crate::settings::{PortMapping, Protocol, PublishedPort};
use corten_sys::netlink::{Batch, NetlinkError, route};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

impl NetworkManager {
    /// Publishes ports, all or none, and keeps them published while endpoints come and go: by the endpoints that have
    /// the default routes. Where none has, they wait for one, and nothing is published now. A sandbox may publish
    /// several times.
    pub fn publish(
        &self,
        sandbox: &str,
        mappings: &[PortMapping],
    ) -> Result<Vec<PublishedPort>, PublishError> {
        let shared = &*self.shared;
        let mut state = lock(&shared.state);
        let no_endpoint = || PublishError {
            name: sandbox.to_owned(),
            endpoint_id: String::new(),
            failure: PublishFailure::NoEndpoint(sandbox.to_owned()),
        };
        let held = state.sandboxes.get_mut(sandbox).ok_or_else(no_endpoint)?;
        let endpoints = held.record.endpoints.clone();
        let known = held.record.mappings.len();
        held.record.mappings.extend_from_slice(mappings);
        let targets = Targets::of(&endpoints);
        let published = match shared.publish_mappings(&mut state, sandbox, targets, mappings) {
            Ok(published) => published,
            Err(error) => {
                if let Some(held) = state.sandboxes.get_mut(sandbox) {
                    held.record.mappings.truncate(known);
                }
                return Err(error);
            }
        };
        drop(state);
        if published.iter().any(|port| port.protocol == Protocol::Udp) {
            lock(&self.background).sweep(Sweep::Flows(endpoints, published.clone()));
        }
        Ok(published)
    }

    /// Copies of the sockets that reserve host ports, by name, for a process that outlives this one.
    pub fn take_reserved(&self) -> Vec<(String, OwnedFd)> {
        let state = lock(&self.shared.state);
        state.sandboxes.values().flat_map(|held| &held.reservations).filter_map(copy).collect()
    }

    /// The same of one sandbox; none where there is no such sandbox.
    pub fn reserved_of(&self, sandbox: &str) -> Vec<(String, OwnedFd)> {
        let state = lock(&self.shared.state);
        let held = state.sandboxes.get(sandbox).map(|held| held.reservations.as_slice());
        held.unwrap_or_default().iter().filter_map(copy).collect()
    }
}

fn copy(reservation: &Reservation) -> Option<(String, OwnedFd)> {
    let socket = reservation.socket.as_ref()?.try_clone().ok()?;
    Some((Reservation::name(&reservation.port), socket))
}

impl Shared {
    /// Reserves and opens ports, and saves them in the sandbox's record; nothing of them is left where this fails.
    fn publish_mappings(
        &self,
        state: &mut State,
        sandbox: &str,
        targets: Targets<'_>,
        mappings: &[PortMapping],
    ) -> Result<Vec<PublishedPort>, PublishError> {
        let State { networks, sandboxes, ports, .. } = state;
        let name = sandboxes.get(sandbox).map(|held| held.record.name.clone()).unwrap_or_default();
        let mut reservations = Vec::with_capacity(mappings.len() * 2);
        let mut published = Vec::with_capacity(mappings.len() * 2);
        let defaults = default_addresses(networks, targets, self.ipv6);
        let names = |id: &str| {
            let held = sandboxes.get(id).map(|held| held.record.name.as_str());
            held.unwrap_or(id).to_owned()
        };
        let mut result = mappings.iter().try_for_each(|mapping| {
            let addresses = match mapping.host_address {
                Some(address) if reaches(targets, address) => vec![address],
                Some(_) => Vec::new(),
                None => defaults.clone(),
            };
            let (routed, addresses): (Vec<_>, Vec<_>) =
                addresses.into_iter().partition(|address| targets.is_routed(address.is_ipv4()));
            let known = reservations.len();
            if !addresses.is_empty() {
                reserve(ports, sandbox, targets, mapping, &addresses, &names, &mut reservations)?;
            }
            published.extend(reservations[known..].iter().map(|reservation: &Reservation| reservation.port));
            published.extend(routed.into_iter().map(|address| routed_port(mapping, address)));
            Ok(())
        });
        if result.is_err() {
            // Those of a mapping that failed half-way too.
            published = reservations.iter().map(|reservation| reservation.port).collect();
        }
        let elements = firewall::port_elements(targets, &published);
        if result.is_ok() {
            result = self
                .admit(&published)
                .and_then(|()| self.open_ports(targets, &elements, &[]))
                .map_err(PublishFailure::Kernel);
        }
        if result.is_ok()
            && let Some(held) = sandboxes.get_mut(sandbox)
        {
            held.record.ports.extend(&published);
            result = held.record.write(&self.settings.paths).map_err(PublishFailure::Record);
            if result.is_err() {
                held.record.ports.truncate(held.record.ports.len() - published.len());
                self.close_ports(&elements);
            }
        }
        if let Err(failure) = result {
            for port in &published {
                ports.release(port, sandbox);
            }
            let endpoint_id = targets.all().next().map(|endpoint| endpoint.id.clone()).unwrap_or_default();
            return Err(PublishError { name, endpoint_id, failure });
        }
        for reservation in &reservations {
            self.accept(reservation, targets);
        }
        if let Some(held) = sandboxes.get_mut(sandbox) {
            held.reservations.extend(reservations);
        }
        Ok(published)
    }

    /// Has a sandbox's ports lead to other endpoints. Where the same host addresses are meant, the ports stay what they
    /// are, and change their target in one step; else they are closed and published anew.
    pub(super) fn move_ports(
        &self,
        state: &mut State,
        sandbox: &str,
        before: Targets<'_>,
        after: Targets<'_>,
    ) -> Result<(), PublishError> {
        let defaults = |targets| default_addresses(&state.networks, targets, self.ipv6);
        let routed = |targets: Targets<'_>| [true, false].map(|ipv4| targets.is_routed(ipv4));
        let same = defaults(before) == defaults(after) && routed(before) == routed(after);
        let Some(held) = state.sandboxes.get_mut(sandbox) else { return Ok(()) };
        let ports = held.record.ports.clone();
        let old = firewall::port_elements(before, &ports);
        let reservations = std::mem::take(&mut held.reservations);
        for reservation in &reservations {
            self.proxy.remove(&Reservation::name(&reservation.port));
        }
        if same && !ports.is_empty() {
            let new = firewall::port_elements(after, &ports);
            let moved = self.open_ports(after, &new, &old);
            for reservation in &reservations {
                self.accept(reservation, after);
            }
            held.reservations = reservations;
            return moved.map_err(|source| PublishError {
                name: held.record.name.clone(),
                endpoint_id: after.all().next().map(|endpoint| endpoint.id.clone()).unwrap_or_default(),
                failure: PublishFailure::Kernel(source),
            });
        }
        let mappings = held.record.mappings.clone();
        held.record.ports.clear();
        drop(reservations);
        for port in &ports {
            state.ports.release(port, sandbox);
        }
        self.close_ports(&old);
        self.publish_mappings(state, sandbox, after, &mappings).map(drop)
    }

    /// Adds elements, and removes others, in one step.
    fn open_ports(
        &self,
        targets: Targets<'_>,
        add: &[SetElement],
        remove: &[SetElement],
    ) -> Result<(), NetlinkError> {
        let Some(firewall) = &self.firewall else { return Ok(()) };
        lock(firewall).change(add, remove)?;
        // A container that calls its own port through `br_netfilter` is sent back where it came from.
        if self.bridge_netfilter && !add.is_empty() {
            let mut batch = Batch::new();
            for endpoint in targets.all().filter(|endpoint| endpoint.host_index != 0) {
                route::set_port(&mut batch, endpoint.host_index, Some(true), None);
            }
            if let Err(error) = lock(&self.route).send(batch) {
                tracing::warn!(error = %corten_std::chain(&error), "a container may not reach its own published ports");
            }
        }
        Ok(())
    }

    pub(super) fn try_close_ports(&self, elements: &[SetElement]) -> Result<(), NetlinkError> {
        if elements.is_empty() {
            return Ok(());
        }
        self.firewall.as_ref().map_or(Ok(()), |firewall| lock(firewall).remove(elements))
    }

    pub(super) fn close_ports(&self, elements: &[SetElement]) {
        if let Err(error) = self.try_close_ports(elements) {
            tracing::warn!(error = %corten_std::chain(&error), "a port could not be closed");
        }
    }

    /// Has the proxy accept what no rule redirects.
    pub(super) fn accept(&self, reservation: &Reservation, targets: Targets<'_>) {
        if reservation.port.protocol != Protocol::Tcp {
            return;
        }
        let address4 = targets.ipv4.and_then(|endpoint| endpoint.address).map(IpAddr::V4);
        let address6 = targets.ipv6.and_then(|endpoint| endpoint.address6).map(IpAddr::V6);
        if let (Some(socket), Some(address)) = (&reservation.socket, address4.or(address6)) {
            let target = SocketAddr::new(address, reservation.port.container_port);
            self.proxy.add(Reservation::name(&reservation.port), Arc::clone(socket), target);
        }
    }
}

/// The address in the sandbox that a port on this address of the host leads to.
fn target_of(targets: Targets<'_>, host: IpAddr) -> IpAddr {
    let address4 = targets.ipv4.and_then(|endpoint| endpoint.address).map(IpAddr::V4);
    let address6 = targets.ipv6.and_then(|endpoint| endpoint.address6).map(IpAddr::V6);
    let (first, second) = if host.is_ipv4() { (address4, address6) } else { (address6, address4) };
    first.or(second).unwrap_or(host)
}

/// What is published of a mapping where nothing is translated: the host's part of it means nothing.
fn routed_port(mapping: &PortMapping, host: IpAddr) -> PublishedPort {
    let any: IpAddr =
        if host.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    PublishedPort {
        container_port: mapping.container_port,
        protocol: mapping.protocol,
        host_address: any,
        host_port: 0,
    }
}

/// Whether a port on this address of the host can lead to the sandbox: IPv4 needs IPv4, for IPv6 the proxy helps out.
fn reaches(targets: Targets<'_>, host: IpAddr) -> bool {
    let proxied = targets.ipv4.is_some() && !targets.is_routed(true);
    if host.is_ipv4() { targets.ipv4.is_some() } else { targets.ipv6.is_some() || proxied }
}

/// Where ports without a host address are published.
fn default_addresses(
    networks: &HashMap<String, Network>,
    targets: Targets<'_>,
    host_ipv6: bool,
) -> Vec<IpAddr> {
    let configured = targets.all().find_map(|endpoint| {
        let network = networks.get(&endpoint.network_id)?;
        network.config.default_host_address
    });
    let mut addresses = port::default_addresses(configured, host_ipv6);
    addresses.retain(|address| reaches(targets, *address));
    addresses
}

/// Finds and binds the host port of one mapping on each of its addresses. What was bound is appended, also where it
/// fails then: the caller gives it back.
fn reserve(
    ports: &mut PortTable,
    sandbox: &str,
    targets: Targets<'_>,
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
                container: target_of(targets, *host_address),
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
                let hopeless = matches!(&error, PublishFailure::Bind { source, .. } if source.kind() != io::ErrorKind::AddrInUse);
                failure = Some(error);
                if hopeless {
                    break;
                }
            }
        }
    }
    match failure {
        Some(PublishFailure::Bind { mapping: port, container, source, .. })
            if first == last || source.kind() != io::ErrorKind::AddrInUse =>
        {
            let by = (source.kind() == io::ErrorKind::AddrInUse).then(|| owner::holder(&port)).flatten();
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
