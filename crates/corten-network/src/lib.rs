//! Bridges, addresses, published ports, names.
//!
//! The [`NetworkManager`] is the whole of it. It makes networks ([`NetworkConfig`]), keeps a few network namespaces
//! ready on bridges, hands one out as a [`Sandbox`] in some microseconds, connects it to further networks, publishes ports by adding elements to the maps
//! of a constant nftables rule set, and undoes all of it. Everything is done by netlink from this process: no `ip`,
//! `nft` or `iptables` program runs.
//!
//! ```text
//! EXEC_ROOT
//! ├── netns/SHORT           a pinned namespace: a sandbox's, or one that is ready in the pool
//! └── sandboxes/ID.json     what is known of one sandbox (record.rs); a namespace without one is nobody's
//! ```
//!
//! This crate knows nothing of containers, images or the API; it prints nothing and runs no async code. Calls block
//! for as long as the kernel takes, which is microseconds except where a namespace has to be made on the spot.
//! A manager belongs to the network namespace of the thread that opened it; call it from threads in that namespace.

mod address;
mod background;
mod bridge;
mod config;
mod endpoint;
mod error;
pub mod files;
mod firewall;
mod flows;
mod forwarding;
mod gateway;
mod manager;
pub mod names;
mod namespace;
mod owner;
mod parent;
mod policy;
mod pool;
mod port;
mod proxy;
mod record;
mod remote;
mod settings;

pub use address::{Subnet, SubnetError, SubnetPool, choose_subnet, mac_of};
pub use config::{AddressRange, Driver, GatewayMode, IpvlanFlag, IpvlanMode, MacvlanMode, NetworkConfig};
pub use endpoint::{
    Attachment, Endpoint, EndpointRequest, NamespaceOwner, Sandbox, SandboxKind, SandboxRequest,
};
pub use error::{NetworkError, PublishError, PublishFailure};
pub use files::{
    HostEntry, ResolvConf, ResolvSettings, hostname, hosts, own_names, resolv_conf, resolv_conf_source,
};
pub use manager::NetworkManager;
pub use policy::AllowedPorts;
pub use remote::{RemoteDrivers, RemoteEndpoint, RemoteError, RemoteInterface};
pub use settings::{
    FirewallMode, MacAddress, NamespaceMaker, NetworkSettings, PortMapping, Protocol, PublishedPort,
};
