//! Endpoints of sandboxes that exist: made and removed while the container runs.
//!
//! The order, so that a daemon that is killed in between leaves nothing that the next one does not find: the interface
//! first, which is swept where no record names it; then the record; ports last.

use super::remote::Given;
use super::sandbox::open_namespace;
use super::{Held, NetworkManager, Shared, State, lock};
use crate::background::Sweep;
use crate::bridge;
use crate::endpoint::{Endpoint, EndpointRequest, Sandbox, SandboxKind};
use crate::error::NetworkError;
use crate::gateway::{self, Targets};
use crate::namespace::{self, Addressing};
use crate::parent;
use crate::pool::{self, Plan};
use crate::record::pin_path;
use corten_sys::netlink::namespace as kernel;
use corten_sys::netlink::route::{self, Child, ChildKind};
use corten_sys::netlink::{Batch, NetlinkError, Protocol as Family, Socket};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

/// What is to be made inside, decided before anything is.
struct Wanted<'a> {
    request: &'a EndpointRequest,
    plan: Plan,
    kind: Option<ChildKind>,
    endpoint: Endpoint,
    /// Where the sandbox's default routes go afterwards, for the families where that changes: an interface's name and
    /// the next hop.
    routes: Vec<(bool, String, Option<IpAddr>)>,
}

impl NetworkManager {
    /// Connects a sandbox to one more network. Nothing is left behind where this fails.
    pub fn connect(&self, sandbox: &str, request: &EndpointRequest) -> Result<Sandbox, NetworkError> {
        let config = self.shared.config(&request.network_id)?;
        if config.is_remote() {
            return self.connect_remote(sandbox, &config, request);
        }
        let given = self.request_given(&config, request)?;
        if given.is_none()
            && let Some(again) = self.with_last_addresses(&self.container_of(sandbox), request)
            && let Ok(connected) = self.connect_here(sandbox, &again, None)
        {
            return Ok(connected);
        }
        self.connect_here(sandbox, request, given.as_ref()).inspect_err(|_| {
            if let Some(given) = &given {
                self.return_given(&request.network_id, given);
            }
        })
    }

    fn container_of(&self, sandbox: &str) -> String {
        let state = lock(&self.shared.state);
        state.sandboxes.get(sandbox).map(|held| held.record.container_id.clone()).unwrap_or_default()
    }

    /// The same by an interface that we make.
    fn connect_here(
        &self,
        sandbox: &str,
        request: &EndpointRequest,
        given: Option<&Given>,
    ) -> Result<Sandbox, NetworkError> {
        let shared = &*self.shared;
        let wanted = match self.plan_endpoint(sandbox, request, given) {
            // One may be on its way into the pool, or on its way back from a sandbox that is gone.
            Err(NetworkError::AddressesExhausted { .. } | NetworkError::AddressTaken(_)) => {
                self.settle();
                self.plan_endpoint(sandbox, request, given)?
            }
            other => other?,
        };
        if wanted.kind.is_some()
            && let Err(error) = self.note_unfinished(sandbox, &wanted)
        {
            self.take_apart(&request.network_id, &wanted.endpoint);
            return Err(error);
        }
        let make = || in_namespace(shared, sandbox, |host, inside, space| make(host, inside, space, &wanted));
        let mut made = make();
        if made.is_err() && wanted.kind.is_some() {
            // An interface of a sandbox that is gone may still have the parent for itself.
            self.settle();
            made = make();
        }
        let endpoint = match made {
            Ok(host_index) => Endpoint { host_index, ..wanted.endpoint },
            Err(error) => {
                self.take_apart(&request.network_id, &wanted.endpoint);
                if wanted.kind.is_some()
                    && let Some(held) = lock(&shared.state).sandboxes.get_mut(sandbox)
                {
                    held.record.unfinished.retain(|name| *name != wanted.endpoint.interface);
                    held.record.write(&shared.settings.paths)?;
                }
                return Err(error);
            }
        };
        let mut state = lock(&shared.state);
        let recorded = record_endpoint(shared, &mut state, sandbox, endpoint.clone());
        let name = held_name(&state, sandbox);
        let recorded = recorded.and_then(|old| {
            self.follow_gateway(&mut state, sandbox, &old).map_err(NetworkError::from).map(|()| old)
        });
        drop(state);
        let recorded = recorded.and_then(|old| {
            let all: Vec<Endpoint> = old.iter().cloned().chain([endpoint.clone()]).collect();
            self.move_remote_ports(&name, &old, &all)
        });
        if let Err(error) = recorded {
            if matches!(error, NetworkError::NoSuchSandbox(_)) {
                self.take_apart(&request.network_id, &endpoint);
            } else if let Err(error) = self.disconnect(sandbox, &request.network_id) {
                tracing::warn!(error = %corten_std::chain(&error), "an endpoint that was not finished is left");
            }
            return Err(error);
        }
        self.sandbox(sandbox)
    }

    /// Takes back what was made of an endpoint that no sandbox has: it failed, or its sandbox was removed meanwhile.
    fn take_apart(&self, network_id: &str, endpoint: &Endpoint) {
        if !endpoint.host_interface.is_empty() {
            // Gone with its other end, where that was there.
            let _ = bridge::remove(&mut lock(&self.shared.route), &endpoint.host_interface);
        }
        if let Some(network) = lock(&self.shared.state).networks.get_mut(network_id) {
            network.attached -= 1;
            endpoint.addresses().for_each(|address| network.release_address(address));
        }
    }

    /// An interface that has no end on the host is found by nobody if this daemon dies before its endpoint is recorded: so
    /// its name is recorded first.
    fn note_unfinished(&self, sandbox: &str, wanted: &Wanted<'_>) -> Result<(), NetworkError> {
        let mut state = lock(&self.shared.state);
        let Some(held) = state.sandboxes.get_mut(sandbox) else { return Ok(()) };
        held.record.unfinished.push(wanted.endpoint.interface.clone());
        let written = held.record.write(&self.shared.settings.paths);
        if written.is_err() {
            held.record.unfinished.pop();
        }
        Ok(written?)
    }

    /// Takes addresses and names, and counts the endpoint as attached.
    fn plan_endpoint<'a>(
        &self,
        sandbox: &str,
        request: &'a EndpointRequest,
        given: Option<&Given>,
    ) -> Result<Wanted<'a>, NetworkError> {
        let mut state = lock(&self.shared.state);
        let State { networks, sandboxes, .. } = &mut *state;
        let held = sandboxes.get(sandbox).ok_or_else(|| NetworkError::NoSuchSandbox(sandbox.to_owned()))?;
        let record = &held.record;
        if record.kind == SandboxKind::Host {
            return Err(NetworkError::NotAttached(sandbox.to_owned()));
        }
        let network = networks
            .get_mut(&request.network_id)
            .ok_or_else(|| NetworkError::NoSuchNetwork(request.network_id.clone()))?;
        if record.endpoints.iter().any(|endpoint| endpoint.network_id == request.network_id) {
            return Err(NetworkError::Connected {
                name: record.name.clone(),
                network: network.config.name.clone(),
            });
        }
        let interface = request.interface.clone().unwrap_or_else(|| format!("eth{}", record.next_interface));
        let taken = record.endpoints.iter().any(|endpoint| endpoint.interface == interface);
        if taken || interface == "lo" || bridge::check_name(&interface).is_err() {
            return Err(NetworkError::InterfaceTaken(interface));
        }
        let evicted = network.evict(&request.asked());
        let mut taken = match given {
            Some(given) => Ok(network.place(&given.addresses)),
            None => network.take(request.address, request.address6),
        };
        while matches!(taken, Err(NetworkError::AddressesExhausted { .. }))
            && let Some(ready) = network.evict_one()
        {
            self.discard(vec![ready]);
            taken = network.take(request.address, request.address6);
        }
        self.discard(evicted);
        let addressing = taken?;
        network.attached += 1;
        let plan = network.plan(addressing, request.mac.or(given.and_then(|given| given.mac)));
        let kind = parent::child_kind(&network.config);
        let mut endpoint = network.endpoint(request, &addressing, plan.mac, &interface);
        if let Some(given) = given {
            endpoint.id.clone_from(&given.endpoint);
        }
        if kind.is_none() {
            endpoint.host_interface = pool::interface_name(&endpoint.id);
        }
        let mut all = record.endpoints.clone();
        all.push(endpoint.clone());
        let routes = routes(&record.endpoints, &all);
        Ok(Wanted { request, plan, kind, endpoint, routes })
    }

    /// Disconnects a sandbox from a network. One that is not connected is fine.
    pub fn disconnect(&self, sandbox: &str, network_id: &str) -> Result<Sandbox, NetworkError> {
        let shared = &*self.shared;
        let mut state = lock(&shared.state);
        let held = state
            .sandboxes
            .get_mut(sandbox)
            .ok_or_else(|| NetworkError::NoSuchSandbox(sandbox.to_owned()))?;
        let old = held.record.endpoints.clone();
        let Some(index) = old.iter().position(|endpoint| endpoint.network_id == network_id) else {
            drop(state);
            return self.sandbox(sandbox);
        };
        let endpoint = held.record.endpoints.remove(index);
        let routes = routes(&old, &held.record.endpoints);
        // The ports first, so that nothing is sent to an address that will be another's.
        if let Err(error) = self.follow_gateway(&mut state, sandbox, &old) {
            tracing::warn!(%error, "the ports of a container are not published any more");
        }
        let (name, left) = (held_name(&state, sandbox), held_endpoints(&state, sandbox));
        drop(state);
        if let Err(error) = self.move_remote_ports(&name, &old, &left) {
            tracing::warn!(%error, "the ports of a container are not published any more");
        }
        if endpoint.remote.is_some() {
            shared.remote()?.leave(network_id, &endpoint.id);
            self.give_back(sandbox, &endpoint, &routes);
        }
        let removed = in_namespace(shared, sandbox, |_, inside, _| {
            if endpoint.remote.is_some() {
                return Ok(());
            }
            remove(inside, &endpoint, &routes).map_err(|source| NetworkError::Kernel {
                operation: "disconnect a sandbox",
                subject: endpoint.network.clone(),
                source,
            })
        });
        if !endpoint.host_interface.is_empty() {
            // Gone with its other end, where that was there.
            let _ = bridge::remove(&mut lock(&shared.route), &endpoint.host_interface);
        }
        if endpoint.remote.is_some() || shared.has_remote_addresses(network_id) {
            shared.remote()?.delete(network_id, &endpoint.id);
        }
        let mut state = lock(&shared.state);
        if let Some(network) = state.networks.get_mut(network_id) {
            network.attached -= 1;
            endpoint.addresses().for_each(|address| network.release_address(address));
        }
        let written =
            state.sandboxes.get(sandbox).map_or(Ok(()), |held| held.record.write(&shared.settings.paths));
        drop(state);
        removed?;
        written?;
        self.sandbox(sandbox)
    }

    /// Has published ports lead to where the default routes go now, and saves the record. `old` are the endpoints of
    /// before.
    pub(super) fn follow_gateway(
        &self,
        state: &mut State,
        sandbox: &str,
        old: &[Endpoint],
    ) -> Result<(), crate::error::PublishError> {
        let Some(Held { record, .. }) = state.sandboxes.get(sandbox) else { return Ok(()) };
        let new = record.endpoints.clone();
        let (before, after) = (Targets::of(old), Targets::of(&new));
        if before == after || record.mappings.is_empty() {
            return Ok(());
        }
        let ports = record.ports.clone();
        let published = self.shared.move_ports(state, sandbox, before, after);
        let endpoints = before.all().chain(after.all()).cloned().collect();
        lock(&self.background).sweep(Sweep::Flows(endpoints, ports));
        published
    }
}

fn held_name(state: &State, sandbox: &str) -> String {
    state.sandboxes.get(sandbox).map(|held| held.record.name.clone()).unwrap_or_default()
}

fn held_endpoints(state: &State, sandbox: &str) -> Vec<Endpoint> {
    state.sandboxes.get(sandbox).map(|held| held.record.endpoints.clone()).unwrap_or_default()
}

/// Adds the endpoint to the sandbox's record; returns the endpoints of before.
pub(super) fn record_endpoint(
    shared: &Shared,
    state: &mut State,
    sandbox: &str,
    endpoint: Endpoint,
) -> Result<Vec<Endpoint>, NetworkError> {
    let held =
        state.sandboxes.get_mut(sandbox).ok_or_else(|| NetworkError::NoSuchSandbox(sandbox.to_owned()))?;
    let old = held.record.endpoints.clone();
    if endpoint.interface == format!("eth{}", held.record.next_interface) {
        held.record.next_interface += 1;
    }
    held.record.kind = SandboxKind::Networks;
    held.record.unfinished.retain(|name| *name != endpoint.interface);
    held.record.endpoints.push(endpoint);
    held.record.write(&shared.settings.paths)?;
    Ok(old)
}

/// Where the default routes go in `new`, for the families where that is not where they went in `old`.
pub(super) fn routes(old: &[Endpoint], new: &[Endpoint]) -> Vec<(bool, String, Option<IpAddr>)> {
    let mut changed = Vec::new();
    for ipv4 in [true, false] {
        let before = gateway::of(old, ipv4).map(|index| &old[index].id);
        if let Some(after) = gateway::of(new, ipv4).map(|index| &new[index])
            && before != Some(&after.id)
        {
            changed.push((ipv4, after.interface.clone(), after.gateway_of(ipv4)));
        }
    }
    changed
}

/// Removes interfaces of connections that were broken off.
pub(super) fn remove_unfinished(
    shared: &Shared,
    sandbox: &str,
    names: &[String],
) -> Result<(), NetworkError> {
    in_namespace(shared, sandbox, |_, inside, _| {
        for name in names {
            let removed = bridge::remove(inside, name);
            removed.map_err(|source| NetworkError::Kernel {
                operation: "remove an interface",
                subject: name.clone(),
                source,
            })?;
        }
        Ok(())
    })
}

/// Runs on a thread inside a sandbox's namespace, with a socket of the host's and one of the inside.
pub(super) fn in_namespace<T: Send>(
    shared: &Shared,
    sandbox: &str,
    run: impl FnOnce(&mut Socket, &mut Socket, BorrowedFd<'_>) -> Result<T, NetworkError> + Send,
) -> Result<T, NetworkError> {
    let namespace = open_namespace(&pin_path(&shared.settings.paths, sandbox))?;
    let fail =
        |source| NetworkError::Kernel { operation: "open a socket", subject: "sandbox".to_owned(), source };
    let work = || {
        let mut host = Socket::open(Family::Route).map_err(fail)?;
        kernel::enter(namespace.as_fd())
            .map_err(|source| NetworkError::System { operation: "enter a network namespace", source })?;
        let mut inside = Socket::open(Family::Route).map_err(fail)?;
        run(&mut host, &mut inside, namespace.as_fd())
    };
    let lost = || NetworkError::System {
        operation: "start a thread (no memory for it, or too many)",
        source: io::ErrorKind::Other.into(),
    };
    // The thread ends inside.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(256 * 1024).spawn_scoped(scope, work);
        thread.map_err(|_| lost())?.join().unwrap_or_else(|_| Err(lost()))
    })
}

/// Makes the interface with its addresses, settings and routes. Returns the number of its end on the host.
fn make(
    host: &mut Socket,
    inside: &mut Socket,
    space: BorrowedFd<'_>,
    wanted: &Wanted<'_>,
) -> Result<u32, NetworkError> {
    let Wanted { request, plan, kind, endpoint, routes } = wanted;
    let fail = |source| NetworkError::Kernel {
        operation: "connect a sandbox",
        subject: endpoint.network.clone(),
        source,
    };
    let name = endpoint.interface.as_str();
    let near = match kind {
        None => {
            let cable = plan.cable(&endpoint.host_interface, name);
            namespace::lay_cable(host, space, &cable).map_err(fail)?
        }
        Some(kind) => {
            let mut batch = Batch::new();
            let mac = matches!(kind, ChildKind::Macvlan(_)).then_some(plan.mac.0);
            let parent = plan.interface;
            let child = Child { name, parent, kind: *kind, mtu: None, mac, namespace: Some(space) };
            route::create_child(&mut batch, &child);
            let word = if mac.is_some() { "macvlan" } else { "ipvlan" };
            host.send(batch).map_err(|source| parent::refused(word, &endpoint.network, source))?;
            0
        }
    };
    let finished = finish(inside, request, &plan.addressing, name, routes, fail);
    if finished.is_err() {
        let mut batch = Batch::new();
        route::delete_link(&mut batch, name);
        let _ = inside.send(batch);
    }
    finished?;
    if near != 0 {
        namespace::wait_for_bridge(host, near, plan.interface).map_err(fail)?;
    }
    Ok(near)
}

pub(super) fn finish(
    inside: &mut Socket,
    request: &EndpointRequest,
    addressing: &Addressing,
    name: &str,
    routes: &[(bool, String, Option<IpAddr>)],
    fail: impl Fn(NetlinkError) -> NetworkError,
) -> Result<(), NetworkError> {
    let has_ipv6 = addressing.ipv6.is_some() || request.link_local.iter().any(IpAddr::is_ipv6);
    // The first network decided for interfaces that come later; each has its own way.
    let path = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    namespace::set(&path, if has_ipv6 { "0" } else { "1" });
    for setting in &request.sysctls {
        apply(setting, name)?;
    }
    let index = namespace::interface_index(inside, name).map_err(&fail)?;
    let mut batch = Batch::new();
    route::set_up(&mut batch, index, true);
    namespace::add_addresses(&mut batch, index, addressing);
    for address in &request.link_local {
        route::add_address(&mut batch, index, *address, if address.is_ipv4() { 16 } else { 64 });
    }
    inside.send(batch).map_err(&fail)?;
    set_routes(inside, routes).map_err(fail)
}

pub(super) fn set_routes(
    inside: &mut Socket,
    routes: &[(bool, String, Option<IpAddr>)],
) -> Result<(), NetlinkError> {
    let mut batch = Batch::new();
    for (ipv4, name, next_hop) in routes {
        let index = namespace::interface_index(inside, name)?;
        route::set_default_route(&mut batch, *ipv4, index, *next_hop);
    }
    inside.send(batch)
}

/// Writes `net.ipv4.conf.IFNAME.log_martians=1`.
fn apply(setting: &str, interface: &str) -> Result<(), NetworkError> {
    let refuse = |source| NetworkError::Setting { setting: setting.to_owned(), source };
    let (key, value) = setting.split_once('=').ok_or_else(|| refuse(io::ErrorKind::InvalidInput.into()))?;
    let parts: Vec<&str> = key.splitn(5, '.').collect();
    let [net @ "net", family @ ("ipv4" | "ipv6" | "mpls"), group, "IFNAME" | "ifname", name] = parts[..]
    else {
        return Err(refuse(io::ErrorKind::InvalidInput.into()));
    };
    if [group, name].iter().any(|part| part.contains('/') || matches!(*part, "" | "." | "..")) {
        return Err(refuse(io::ErrorKind::InvalidInput.into()));
    }
    fs::write(format!("/proc/sys/{net}/{family}/{group}/{interface}/{name}"), value).map_err(refuse)
}

/// Removes the interface, and gives the default routes that went with it to others.
fn remove(
    inside: &mut Socket,
    endpoint: &Endpoint,
    routes: &[(bool, String, Option<IpAddr>)],
) -> Result<(), NetlinkError> {
    let mut batch = Batch::new();
    route::delete_link(&mut batch, &endpoint.interface);
    match inside.send(batch) {
        Err(error) if !error.is_missing() => return Err(error),
        _ => {}
    }
    set_routes(inside, routes)
}
