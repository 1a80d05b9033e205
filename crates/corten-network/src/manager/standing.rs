//! Namespaces that stand ready: which are wanted, where they go, and the addresses they hold.

use super::{Shared, lock};
use crate::endpoint::NamespaceOwner;
use crate::error::NetworkError;
use crate::pool::{Network, Plan, Ready, Wanted};
use crate::record::Record;
use corten_sys::netlink::namespace;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

impl Shared {
    /// Which user namespace those that stand ready belong to.
    pub(crate) fn pooled(&self) -> NamespaceOwner {
        if self.settings.users.is_some() { NamespaceOwner::New } else { NamespaceOwner::Host }
    }

    /// Whether one that stands ready belongs to the right user namespace.
    pub(super) fn is_pooled(&self, owner: &NamespaceOwner) -> bool {
        match owner {
            NamespaceOwner::Host => self.settings.users.is_none(),
            NamespaceOwner::New => self.settings.users.is_some(),
            NamespaceOwner::Users(_) => false,
        }
    }

    /// A new namespace that belongs to a user namespace; none where any thread can make it.
    pub(crate) fn new_namespace(&self, owner: &NamespaceOwner) -> Result<Option<OwnedFd>, NetworkError> {
        let maker = || self.settings.users.as_ref().ok_or_else(|| std::io::ErrorKind::Unsupported.into());
        let made = match owner {
            NamespaceOwner::Host => return Ok(None),
            NamespaceOwner::New => maker().and_then(|maker| maker.make()),
            NamespaceOwner::Users(users) => maker().and_then(|maker| maker.make_in(users.as_fd())),
        };
        let operation = "make a network namespace in a user namespace";
        made.map(Some).map_err(|source| NetworkError::System { operation, source })
    }

    /// What should be made ready next: a plan, whose addresses are taken, or a namespace without a network.
    pub(crate) fn next_plan(&self) -> Option<Wanted> {
        let mut state = lock(&self.state);
        if state.closing {
            return None;
        }
        let warm = |network: &&mut Network| network.warm && network.config.is_pooled();
        for network in state.networks.values_mut().filter(warm) {
            if network.ready.len() < self.target(network)
                && let Ok(addressing) = network.take(None, None)
            {
                return Some(Wanted::Connected(network.plan(addressing, None)));
            }
        }
        (state.bare.len() < self.settings.pool_size.min(2)).then_some(Wanted::Bare)
    }

    /// Whether some pool has less than half of what it should have, so that the next starts may find it empty.
    pub(crate) fn is_low(&self) -> bool {
        let state = lock(&self.state);
        let mut warm = state.networks.values().filter(|network| network.warm && network.config.is_pooled());
        warm.any(|network| network.ready.len() * 2 < self.target(network))
    }

    /// How many namespaces stand ready on a warm network. A small subnet is not used up by what nobody asked for.
    fn target(&self, network: &Network) -> usize {
        self.settings.pool_size.min(network.capacity() / 4)
    }

    /// Puts what was made where it belongs; what is not wanted any more goes.
    pub(crate) fn put_ready(&self, ready: Ready, plan: Option<&Plan>) {
        let mut state = lock(&self.state);
        let closing = state.closing;
        let place = match plan {
            None => Some(&mut state.bare),
            Some(plan) => state
                .networks
                .get_mut(&plan.network)
                .filter(|network| network.interface == plan.interface)
                .map(|network| &mut network.ready),
        };
        if let Some(place) = place.filter(|_| !closing) {
            // Lowest address first, as if made on demand.
            let address = |ready: &Ready| {
                ready
                    .cable
                    .as_ref()
                    .and_then(|cable| cable.addressing.all().next())
                    .map(|placed| placed.address)
            };
            let index = place.partition_point(|other| address(other) < address(&ready));
            place.insert(index, ready);
        } else {
            drop(state);
            let _ = namespace::unpin(&ready.path);
        }
    }

    /// The address of a plan that came to nothing is free again. Whether its network still exists.
    pub(crate) fn give_back(&self, plan: &Plan) -> bool {
        let mut state = lock(&self.state);
        let network = state.networks.get_mut(&plan.network);
        network.map(|network| network.release(&plan.addressing)).is_some()
    }

    /// The addresses of a sandbox that has gone are free again, where they were not given back before.
    pub(crate) fn release_addresses(&self, record: &Record) {
        let mut state = lock(&self.state);
        for endpoint in &record.endpoints {
            if let Some(network) = state.networks.get_mut(&endpoint.network_id) {
                endpoint.addresses().for_each(|address| network.release_left(address, &record.id));
            }
        }
    }
}

/// The interfaces and pins of namespaces that are not wanted any more. The sockets inside are closed.
pub(super) fn discarded(ready: VecDeque<Ready>) -> (Vec<String>, Vec<PathBuf>) {
    ready.into_iter().map(|ready| (ready.cable.map(|cable| cable.host_interface), ready.path)).fold(
        (Vec::new(), Vec::new()),
        |(mut names, mut paths), (name, path)| {
            names.extend(name);
            paths.push(path);
            (names, paths)
        },
    )
}
