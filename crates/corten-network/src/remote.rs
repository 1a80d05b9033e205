//! What somebody else does for a network: connect its containers, or keep the account of its addresses.
//!
//! The manager tells [`RemoteDrivers`] what it wants and in which order; who that is and how it is asked is the
//! caller's business, and so is keeping in mind what was asked for, should the daemon die.

use crate::config::NetworkConfig;
use crate::endpoint::EndpointRequest;
use crate::settings::MacAddress;
use corten_std::ErrorClass;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

/// Asked for networks that others connect ([`crate::Driver::Remote`]) or whose addresses others keep
/// ([`NetworkConfig::remote_addresses`]). Every call may take as long as that other takes.
pub trait RemoteDrivers: fmt::Debug + Send + Sync {
    /// Takes addresses, where others keep them, and has the endpoint made, where others make it. `own` are addresses out of
    /// our account, `name` is the container's. Nothing is left behind where this fails.
    fn create(
        &self,
        network: &NetworkConfig,
        endpoint: &str,
        name: &str,
        wanted: &EndpointRequest,
        own: &[(IpAddr, u8)],
    ) -> Result<RemoteEndpoint, RemoteError>;

    /// Gets the interface that goes into a sandbox, whose namespace is pinned at `sandbox`.
    fn join(&self, network_id: &str, endpoint: &str, sandbox: &Path) -> Result<RemoteInterface, RemoteError>;

    /// Tells that the endpoint has the sandbox's default route, by which ports are published. `name` is the container's.
    fn open_ports(&self, network_id: &str, endpoint: &str, name: &str) -> Result<(), RemoteError>;

    /// Tells that the sandbox is connected; what fails is of no matter.
    fn finished(&self, network_id: &str, endpoint: &str);

    /// Tells that it has it no more. What fails is not told: the way down goes on.
    fn close_ports(&self, network_id: &str, endpoint: &str);

    /// Takes the endpoint out of its sandbox; the same.
    fn leave(&self, network_id: &str, endpoint: &str);

    /// Gives back all that [`Self::create`] took; the same.
    fn delete(&self, network_id: &str, endpoint: &str);
}

/// A place in a network as others made it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteEndpoint {
    /// Addresses with the bits of their subnets: at most one of each family.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The hardware address that the interface is to have; none: the one that it has.
    pub mac: Option<MacAddress>,
}

/// An interface that others made in the host's namespace, and how it is to be inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteInterface {
    /// Its name on the host; empty: there is none to be moved.
    pub source: String,
    /// Its name inside; empty: `prefix` with a number.
    pub name: String,
    /// What its name inside begins with; empty: `eth`.
    pub prefix: String,
    /// Next hops of the default routes: at most one of each family.
    pub gateways: Vec<IpAddr>,
    /// Further routes: destination, its bits, the next hop, where it is not on the interface itself.
    pub routes: Vec<(IpAddr, u8, Option<IpAddr>)>,
    /// Nobody is to give the sandbox another way out where this one has none.
    pub without_gateway: bool,
}

/// Why others did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct RemoteError {
    /// What kind of failure it was.
    pub class: ErrorClass,
    /// What they said.
    pub text: String,
    /// What can be done about it.
    pub hint: Option<String>,
}
