//! Networks and the endpoints of containers in them.

use std::collections::BTreeMap;

use crate::document::document;

document! {
/// A container's place in a network: what was asked for, then what it got.
pub struct EndpointSettings {
    /// Addresses asked for.
    ipam_config: Option<EndpointIpamConfig> = "IPAMConfig",
    /// Legacy links.
    links: Option<Vec<String>> = "Links",
    /// Further names in this network.
    aliases: Option<Vec<String>> = "Aliases",
    /// Asked for or got.
    mac_address: String = "MacAddress",
    /// Options of the driver.
    driver_opts: Option<BTreeMap<String, String>> = "DriverOpts",
    /// The network with the highest number is the default route.
    gw_priority: i64 = "GwPriority",
    /// Full ID of the network.
    network_id: String = "NetworkID",
    /// Full ID of the endpoint; empty while stopped.
    endpoint_id: String = "EndpointID",
    /// IPv4 gateway.
    gateway: String = "Gateway",
    /// IPv4 address.
    ip_address: String = "IPAddress",
    /// Length of the IPv4 prefix.
    ip_prefix_len: i64 = "IPPrefixLen",
    /// IPv6 gateway.
    ipv6_gateway: String = "IPv6Gateway",
    /// IPv6 address.
    global_ipv6_address: String = "GlobalIPv6Address",
    /// Length of the IPv6 prefix.
    global_ipv6_prefix_len: i64 = "GlobalIPv6PrefixLen",
    /// Names it answers to in this network.
    dns_names: Option<Vec<String>> = "DNSNames",
}
}

document! {
/// Addresses asked for.
pub struct EndpointIpamConfig {
    /// A fixed one.
    ipv4_address: String = omitempty "IPv4Address",
    /// A fixed one.
    ipv6_address: String = omitempty "IPv6Address",
    /// Further ones.
    link_local_ips: Vec<String> = omitempty "LinkLocalIPs",
}
}

document! {
/// An address with its prefix length.
pub struct Address {
    /// The address.
    addr: String = "Addr",
    /// Its prefix length.
    prefix_len: i64 = "PrefixLen",
}
}

document! {
/// Everything about one network; a list holds the same documents with no containers.
pub struct Inspect {
    /// Name.
    name: String = "Name",
    /// Full ID.
    id: String = "Id",
    /// RFC 3339 with nanoseconds.
    created: String = "Created",
    /// `local`.
    scope: String = "Scope",
    /// `bridge`, `host`, `null`, …
    driver: String = "Driver",
    /// Whether it has IPv4.
    enable_ipv4: bool = "EnableIPv4",
    /// Whether it has IPv6.
    enable_ipv6: bool = "EnableIPv6",
    /// Its address ranges.
    ipam: Ipam = "IPAM",
    /// Whether it leads nowhere else.
    internal: bool = "Internal",
    /// Swarm only.
    attachable: bool = "Attachable",
    /// Swarm only.
    ingress: bool = "Ingress",
    /// The network whose configuration it takes.
    config_from: ConfigReference = "ConfigFrom",
    /// Whether it only holds a configuration for others.
    config_only: bool = "ConfigOnly",
    /// Running containers in it, by full ID.
    containers: BTreeMap<String, EndpointResource> = "Containers",
    /// Options of the driver.
    options: BTreeMap<String, String> = "Options",
    /// Labels.
    labels: BTreeMap<String, String> = "Labels",
}
}

document! {
/// Address ranges of a network.
pub struct Ipam {
    /// `default` or `null`.
    driver: String = "Driver",
    /// Options of the driver.
    options: Option<BTreeMap<String, String>> = "Options",
    /// The ranges.
    config: Option<Vec<IpamConfig>> = "Config",
}
}

document! {
/// One address range.
pub struct IpamConfig {
    /// In CIDR form.
    subnet: String = omitempty "Subnet",
    /// Where containers' addresses come from, in CIDR form.
    ip_range: String = omitempty "IPRange",
    /// Address of the host in it.
    gateway: String = omitempty "Gateway",
    /// Addresses that are taken, by name.
    auxiliary_addresses: BTreeMap<String, String> = omitempty "AuxiliaryAddresses",
}
}

document! {
/// The network a configuration comes from.
pub struct ConfigReference {
    /// Its name.
    network: String = "Network",
}
}

document! {
/// A running container in a network.
pub struct EndpointResource {
    /// Name of the container.
    name: String = "Name",
    /// Full ID of the endpoint.
    endpoint_id: String = "EndpointID",
    /// MAC address.
    mac_address: String = "MacAddress",
    /// In CIDR form.
    ipv4_address: String = "IPv4Address",
    /// In CIDR form.
    ipv6_address: String = "IPv6Address",
}
}

document! {
/// The body of `POST /networks/create`.
pub struct CreateRequest {
    /// Empty: `bridge`.
    driver: String = "Driver",
    /// Swarm only.
    scope: String = "Scope",
    /// None: the default, true.
    enable_ipv4: Option<bool> = omitempty "EnableIPv4",
    /// None: the default, false.
    enable_ipv6: Option<bool> = omitempty "EnableIPv6",
    /// None: ranges are chosen.
    ipam: Option<Ipam> = "IPAM",
    /// Whether it leads nowhere else.
    internal: bool = "Internal",
    /// Swarm only.
    attachable: bool = "Attachable",
    /// Swarm only.
    ingress: bool = "Ingress",
    /// Whether it only holds a configuration for others.
    config_only: bool = "ConfigOnly",
    /// The network whose configuration it takes.
    config_from: Option<ConfigReference> = "ConfigFrom",
    /// Options of the driver.
    options: BTreeMap<String, String> = "Options",
    /// Labels.
    labels: BTreeMap<String, String> = "Labels",
    /// Name.
    name: String = "Name",
    /// Obsolete; names are always checked.
    check_duplicate: Option<bool> = omitempty "CheckDuplicate",
}
}

document! {
/// The answer to a create.
pub struct CreateResponse {
    /// Full ID.
    id: String = "Id",
    /// What was accepted but will not be as asked.
    warning: String = "Warning",
}
}

document! {
/// The body of `POST /networks/{id}/connect`.
pub struct ConnectRequest {
    /// Name or ID.
    container: String = "Container",
    /// What is asked for.
    endpoint_config: Option<EndpointSettings> = omitempty "EndpointConfig",
}
}

document! {
/// The body of `POST /networks/{id}/disconnect`.
pub struct DisconnectRequest {
    /// Name or ID.
    container: String = "Container",
    /// Whether failures are passed over.
    force: bool = "Force",
}
}

document! {
/// The answer to `POST /networks/prune`.
pub struct PruneReport {
    /// Names of removed networks; none at all is `null`.
    networks_deleted: Option<Vec<String>> = "NetworksDeleted",
}
}
