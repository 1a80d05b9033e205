//! Ports of sandboxes on the host's addresses.

use super::{NetworkManager, Shared, State, lock};
use crate::background::Sweep;
use crate::error::{PublishError, PublishFailure};
use crate::firewall::{self, SetElement};
use crate::owner;
use crate::port::{self, PortTable, Reservation};
use crate::settings::{Endpoint, PortMapping, Protocol, PublishedPort};
use corten_sys::netlink::{Batch, NetlinkError, route};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

impl NetworkManager {
    /// Publishes ports, all or none. A sandbox may publish several times.
    pub fn publish(
        &self,
        sandbox: &str,
        mappings: &[PortMapping],
    ) -> Result<Vec<PublishedPort>, PublishError> {
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
            .and_then(|held| {
                Some((held.record.name.clone(), held.record.endpoint.clone()?, held.record.host_index))
            })
            .ok_or_else(no_endpoint)?;
        let default =
            networks.get(&endpoint.network_id).and_then(|network| network.config.default_host_address);
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
    pub(super) fn open_ports(&self, host_index: u32, elements: &[SetElement]) -> Result<(), NetlinkError> {
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
    pub(super) fn accept(&self, reservation: &Reservation, endpoint: &Endpoint) {
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
