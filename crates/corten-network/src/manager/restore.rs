//! What a new daemon does with what the one before left.

use super::connect::remove_unfinished;
use super::{Held, NetworkManager, Shared, State, lock};
use crate::background::Sweep;
use crate::bridge;
use crate::endpoint::Sandbox;
use crate::error::NetworkError;
use crate::firewall;
use crate::gateway::Targets;
use crate::pool;
use crate::port::{self, Reservation};
use corten_sys::netlink::{Batch, NetlinkError, route};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

impl NetworkManager {
    /// After a restart of the daemon: keeps the sandboxes named, and removes everything else that an earlier daemon
    /// left behind: namespaces, interfaces, map elements, records. `reserved` are sockets that another process kept
    /// (see [`NetworkManager::take_reserved`]); ports without one are bound anew. Returns what was kept; a name that is
    /// missing in the answer has no sandbox any more. Called once, after the networks were ensured.
    pub fn restore(
        &self,
        live: &[String],
        reserved: Vec<(String, OwnedFd)>,
    ) -> Result<Vec<Sandbox>, NetworkError> {
        let shared = &*self.shared;
        let mut reserved: HashMap<_, _> = reserved.into_iter().collect();
        let mut state = lock(&shared.state);
        let mut pending = std::mem::take(&mut state.pending);
        let mut kept = Vec::new();
        for id in live {
            let Some(mut record) = pending.remove(id) else { continue };
            let Ok(sandbox) = shared.describe(&record) else {
                pending.insert(record.id.clone(), record);
                continue;
            };
            if !record.unfinished.is_empty() {
                let removed = remove_unfinished(shared, id, &record.unfinished);
                record.unfinished.clear();
                let written = removed.and_then(|()| Ok(record.write(&shared.settings.paths)?));
                if let Err(error) = written {
                    tracing::warn!(error = %corten_std::chain(&error), "a connection that was broken off is left");
                }
            }
            for endpoint in &record.endpoints {
                if let Some(network) = state.networks.get_mut(&endpoint.network_id) {
                    network.attached += 1;
                    network.warm = true;
                    shared.reconnect(endpoint.host_index, network.interface);
                }
            }
            let mut reservations = Vec::new();
            for port in record.ports.iter().filter(|port| !port.is_routed()) {
                state.ports.take(port, id);
                let reservation = match reserved.remove(&Reservation::name(port)) {
                    Some(socket) => Ok(Reservation { port: *port, socket: Some(Arc::new(socket)) }),
                    None => port::reserve(*port),
                };
                match reservation {
                    Ok(reservation) => {
                        shared.accept(&reservation, Targets::of(&record.endpoints));
                        reservations.push(reservation);
                    }
                    Err(error) => {
                        tracing::warn!(port = port.host_port, %error, "a published port is not reserved any more");
                    }
                }
            }
            state.sandboxes.insert(id.clone(), Held { record, reservations });
            kept.push(sandbox);
        }
        // What the host's rules close first, so that nothing is open in between.
        let reconciled = shared.refresh_policy(&state).and_then(|()| shared.reconcile(&state));
        let bridges: Vec<_> = state.networks.values().map(|network| network.interface).collect();
        let records = state.sandboxes.values().map(|held| &held.record).chain(pending.values());
        let in_use: Vec<_> = records
            .flat_map(|record| &record.endpoints)
            .map(|endpoint| endpoint.host_interface.clone())
            .collect();
        let mut interfaces = std::mem::take(&mut state.leftover_interfaces);
        interfaces.retain(|(name, bridge)| bridges.contains(bridge) && !in_use.contains(name));
        let paths = std::mem::take(&mut state.leftover_paths);
        // Those of namespaces that stood ready, or whose sandbox goes, go with them. Others are in sandboxes that stay:
        // of a connection that was broken off.
        let ready = |name: &str| {
            let has = |id: &str| pool::interface_name(id) == name;
            let pinned = paths.iter().filter_map(|path| path.file_name()?.to_str());
            pinned.filter(|id| id.len() >= 11).any(has) || pending.keys().any(|id| has(id))
        };
        let (interfaces, strays): (Vec<_>, Vec<_>) =
            interfaces.into_iter().map(|(name, _)| name).partition(|name| ready(name));
        for (id, record) in &pending {
            for endpoint in &record.endpoints {
                if let Some(network) = state.networks.get_mut(&endpoint.network_id) {
                    endpoint.addresses().for_each(|address| network.leave(address, id, endpoint.host_index));
                }
            }
        }
        drop(state);
        for name in strays {
            if let Err(error) = bridge::remove(&mut lock(&shared.route), &name) {
                tracing::warn!(name, error = %corten_std::chain(&error), "an interface could not be removed");
            }
        }
        if let Some(watch) = &self.watch {
            watch.nudge();
        }
        let background = lock(&self.background);
        for record in pending.into_values() {
            background.sweep(Sweep::Sandbox(Box::new(record)));
        }
        background.sweep(Sweep::Paths(paths));
        background.sweep(Sweep::Interfaces(interfaces));
        reconciled.map_err(|source| NetworkError::Kernel {
            operation: "mend the firewall rules",
            subject: shared.settings.default_bridge.clone(),
            source,
        })?;
        Ok(kept)
    }
}

impl Shared {
    /// Brings the sets of the rules to what networks and sandboxes need.
    pub(super) fn reconcile(&self, state: &State) -> Result<(), NetlinkError> {
        let Some(firewall) = &self.firewall else { return Ok(()) };
        let networks =
            state.networks.values().flat_map(|network| firewall::network_elements(&network.config));
        let ports = state.sandboxes.values().flat_map(|held| {
            firewall::port_elements(Targets::of(&held.record.endpoints), &held.record.ports)
        });
        let guarded = lock(&self.guard).elements();
        let closed = lock(&self.policy).elements();
        let wanted: Vec<_> = networks.chain(ports).chain(guarded).chain(closed).collect();
        lock(firewall).reconcile(&wanted)
    }

    /// Puts a cable on its bridge again, where the bridge was removed and made anew meanwhile.
    fn reconnect(&self, host_index: u32, bridge: u32) {
        if host_index == 0 {
            return;
        }
        let mut batch = Batch::new();
        route::set_master(&mut batch, host_index, bridge);
        let sent = lock(&self.route).send(batch);
        // Gone already where a disconnect was broken off: the engine goes on with that.
        if let Err(error) = sent.or_else(|error| if error.is_missing() { Ok(()) } else { Err(error) }) {
            tracing::warn!(error = %corten_std::chain(&error), "a sandbox is not on its bridge any more");
        }
    }
}
