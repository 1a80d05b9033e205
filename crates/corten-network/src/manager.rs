//! The manager: which networks and sandboxes there are, and what may be done with them.

use crate::address::Subnet;
use crate::error::{NetworkError, PublishError};
use crate::settings::{BridgeNetwork, NetworkSettings, PortMapping, PublishedPort, Sandbox, SandboxRequest};
use std::os::fd::OwnedFd;

/// Networks, sandboxes and published ports of one daemon.
#[derive(Debug)]
pub struct NetworkManager {
    _settings: NetworkSettings,
}

impl NetworkManager {
    /// Opens netlink, makes the rule set (with what the records say is published, so that running containers stay
    /// reachable) and starts the background thread.
    pub fn open(settings: NetworkSettings) -> Result<Self, NetworkError> {
        let _ = settings;
        todo!()
    }

    /// Makes a network's bridge, or brings an existing one to what is asked for, and begins to fill its pool. Called
    /// for each network after every start of the daemon, before [`NetworkManager::restore`].
    pub fn ensure_network(&self, network: &BridgeNetwork) -> Result<(), NetworkError> {
        let _ = network;
        todo!()
    }

    /// Removes a network and its bridge; refused while sandboxes are attached. One that is not known is fine.
    pub fn remove_network(&self, id: &str) -> Result<(), NetworkError> {
        let _ = id;
        todo!()
    }

    /// A subnet that overlaps neither the host's routes and addresses, nor the known networks, nor what is given.
    pub fn choose_subnet(&self, avoid: &[Subnet]) -> Result<Option<Subnet>, NetworkError> {
        let _ = avoid;
        todo!()
    }

    /// Hands out a sandbox.
    pub fn create_sandbox(&self, request: &SandboxRequest) -> Result<Sandbox, NetworkError> {
        let _ = request;
        todo!()
    }

    /// A sandbox that exists, with a new descriptor of its namespace (restart of a container, exec, `--network container:`).
    pub fn sandbox(&self, id: &str) -> Result<Sandbox, NetworkError> {
        let _ = id;
        todo!()
    }

    /// Publishes ports, all or none.
    pub fn publish(&self, sandbox: &str, mappings: &[PortMapping]) -> Result<Vec<PublishedPort>, PublishError> {
        let _ = (sandbox, mappings);
        todo!()
    }

    /// Closes a sandbox's ports at once and removes the rest in the background. One that is not known is fine.
    pub fn remove_sandbox(&self, id: &str) -> Result<(), NetworkError> {
        let _ = id;
        todo!()
    }

    /// After a restart of the daemon: keeps the sandboxes named, and removes everything else that an earlier daemon
    /// left behind: namespaces, interfaces, map elements, records. Returns what was kept; a name that is missing in
    /// the answer has no sandbox any more.
    pub fn restore(&self, live: &[String]) -> Result<Vec<Sandbox>, NetworkError> {
        let _ = live;
        todo!()
    }

    /// Copies of the sockets that reserve host ports, by name, for a process that outlives this one.
    pub fn take_reserved(&self) -> Vec<(String, OwnedFd)> {
        todo!()
    }

    /// What the user should know about this host: foreign firewall rules that stop our traffic, forwarding that is off.
    pub fn warnings(&self) -> Vec<String> {
        todo!()
    }

    /// Waits until what was put off to the background is done: for tests and an orderly end.
    pub fn settle(&self) {
        todo!()
    }

    /// Ends the background thread and removes the namespaces that stood ready; sandboxes and rules stay.
    pub fn shutdown(&self) {
        todo!()
    }
}
