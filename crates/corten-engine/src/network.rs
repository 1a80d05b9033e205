//! Networks: the three that every engine has (`bridge`, `host`, `none`) and bridges that users make.
//!
//! A network is a row in the database; its bridge is made again from the row at every start. The subnet of the default
//! bridge is chosen once and kept, so that addresses stay what they were.

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_api::filter::Filters;
use corten_api::network::{
    ConnectRequest, CreateRequest, CreateResponse, DisconnectRequest, EndpointResource, Inspect, Ipam,
    IpamConfig, PruneReport,
};
use corten_network::{BridgeNetwork, NetworkManager, Subnet};
use corten_std::{Timestamp, id};
use corten_store::Store;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The database's table.
const TABLE: &str = "networks";

/// Names that belong to the engine.
pub(crate) const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

/// How the default bridge shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultBridge {
    /// Interface name, at most 15 bytes.
    pub name: String,
    /// Its address with prefix length; none: chosen once, free of the host's routes.
    pub address: Option<(Ipv4Addr, u8)>,
    /// Bytes.
    pub mtu: u32,
    /// Whether what leaves for elsewhere takes the host's address.
    pub masquerade: bool,
    /// Whether containers on it reach each other.
    pub inter_container: bool,
    /// Where ports without a host address are published; none: on every address.
    pub default_binding: Option<IpAddr>,
}

impl Default for DefaultBridge {
    fn default() -> Self {
        Self {
            name: "corten0".to_owned(),
            address: None,
            mtu: 1500,
            masquerade: true,
            inter_container: true,
            default_binding: None,
        }
    }
}

/// How a network is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NetworkDriver {
    /// A bridge of ours.
    Bridge,
    /// The host's own namespace.
    Host,
    /// Loopback only.
    None,
}

impl NetworkDriver {
    /// As the API names it: `none`'s driver is `null`.
    fn wire(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::None => "null",
        }
    }
}

/// A network that is there.
#[derive(Debug, Clone)]
pub(crate) struct NetworkFound {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// How it is made.
    pub(crate) driver: NetworkDriver,
}

/// What is saved of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct NetworkRecord {
    id: String,
    name: String,
    created: Timestamp,
    driver: NetworkDriver,
    /// Of a bridge: how it is made.
    bridge: Option<BridgeNetwork>,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

/// The networks; the map is the truth while the engine is open. Its lock is held while a bridge is made or removed.
pub(crate) struct Networks {
    map: Mutex<BTreeMap<String, Arc<NetworkRecord>>>,
}

impl Networks {
    /// Reads the rows, makes the predefined networks where they are missing, and every bridge.
    pub(crate) fn open(store: &Store, manager: &NetworkManager, bridge: &DefaultBridge) -> Result<Self> {
        let failed = |error| EngineError::because("reading the networks", error);
        let rows = store.records::<NetworkRecord>(TABLE);
        let mut map: BTreeMap<String, Arc<NetworkRecord>> =
            rows.list().map_err(failed)?.into_iter().map(|(id, record)| (id, Arc::new(record))).collect();
        for (name, driver) in
            [("bridge", NetworkDriver::Bridge), ("host", NetworkDriver::Host), ("none", NetworkDriver::None)]
        {
            let known = map.values().find(|record| record.name == name).cloned();
            let mut record = known.as_deref().cloned().unwrap_or_else(|| NetworkRecord {
                id: id::random_id(),
                name: name.to_owned(),
                created: Timestamp::now(),
                driver,
                bridge: None,
                options: BTreeMap::new(),
                labels: BTreeMap::new(),
            });
            if driver == NetworkDriver::Bridge {
                let taken: Vec<Subnet> =
                    map.values().filter_map(|other| Some(other.bridge.as_ref()?.subnet)).collect();
                let (made, options) = default_bridge(manager, bridge, &record, &taken)?;
                record.bridge = Some(made);
                record.options = options;
            }
            if known.as_deref() != Some(&record) {
                rows.put(&record.id, &record).map_err(failed)?;
                map.insert(record.id.clone(), Arc::new(record));
            }
        }
        for record in map.values() {
            if let Some(bridge) = &record.bridge {
                manager.ensure_network(bridge).map_err(|error| {
                    EngineError::because(&format!("making network {}", record.name), error)
                })?;
            }
        }
        Ok(Self { map: Mutex::new(map) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<NetworkRecord>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds a network by id, name or id prefix (`default` is `bridge`); else 404 `network NAME not found`.
    pub(crate) fn resolve(&self, name: &str) -> Result<NetworkFound> {
        let name = if name == "default" { "bridge" } else { name };
        let record = self.find(name)?;
        Ok(NetworkFound { id: record.id.clone(), name: record.name.clone(), driver: record.driver })
    }

    /// The address of the default bridge: what `host-gateway` means.
    pub(crate) fn default_gateway(&self) -> Option<IpAddr> {
        let map = self.lock();
        let record = map.values().find(|record| record.name == "bridge")?;
        record.bridge.as_ref().map(|bridge| IpAddr::V4(bridge.gateway))
    }

    fn find(&self, reference: &str) -> Result<Arc<NetworkRecord>> {
        let map = self.lock();
        if let Some(record) = map.get(reference) {
            return Ok(Arc::clone(record));
        }
        if let Some(record) = map.values().find(|record| record.name == reference) {
            return Ok(Arc::clone(record));
        }
        let mut matching =
            map.values().filter(|record| !reference.is_empty() && record.id.starts_with(reference));
        match (matching.next(), matching.next()) {
            (Some(only), None) => Ok(Arc::clone(only)),
            (Some(_), Some(_)) => Err(EngineError::invalid(format!(
                "network {reference} is ambiguous (several matches found based on ID prefix)"
            ))),
            (None, _) => Err(EngineError::not_found(format!("network {reference} not found"))),
        }
    }
}

/// The default bridge's network: what is saved where nothing new is asked for, else what the settings say.
fn default_bridge(
    manager: &NetworkManager,
    wanted: &DefaultBridge,
    record: &NetworkRecord,
    taken: &[Subnet],
) -> Result<(BridgeNetwork, BTreeMap<String, String>)> {
    let subnet = match (wanted.address, &record.bridge) {
        (Some((address, prefix)), _) => {
            Subnet::new(address, prefix).map_err(|error| EngineError::invalid(error.to_string()))?
        }
        (None, Some(saved)) => saved.subnet,
        (None, None) => free_subnet(manager, taken)?,
    };
    let mut bridge = BridgeNetwork::new(&record.id, "bridge", &wanted.name, subnet);
    if let Some((address, _)) = wanted.address {
        bridge.gateway = address;
    }
    bridge.mtu = wanted.mtu;
    bridge.masquerade = wanted.masquerade;
    bridge.icc = wanted.inter_container;
    bridge.default_host_address = wanted.default_binding;
    let binding = wanted.default_binding.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let options = [
        ("com.docker.network.bridge.default_bridge", "true".to_owned()),
        ("com.docker.network.bridge.enable_icc", wanted.inter_container.to_string()),
        ("com.docker.network.bridge.enable_ip_masquerade", wanted.masquerade.to_string()),
        ("com.docker.network.bridge.host_binding_ipv4", binding.to_string()),
        ("com.docker.network.bridge.name", wanted.name.clone()),
        ("com.docker.network.driver.mtu", wanted.mtu.to_string()),
    ];
    Ok((bridge, options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()))
}

fn free_subnet(manager: &NetworkManager, taken: &[Subnet]) -> Result<Subnet> {
    manager
        .choose_subnet(taken)
        .map_err(|error| EngineError::because("looking for a free subnet", error))?
        .ok_or_else(|| {
            EngineError::system("all predefined address pools have been fully subnetted")
                .with_hint("name a --subnet")
        })
}

impl Engine {
    /// `GET /networks`. Filters: `dangling`, `driver`, `id`, `label`, `name`, `scope`, `type`.
    pub async fn network_list(&self, filters: &Filters) -> Result<Vec<Inspect>> {
        let of = |error| EngineError::because("", error);
        filters
            .validate(&["dangling", "driver", "id", "label", "label!", "name", "scope", "type"])
            .map_err(of)?;
        let dangling = filters.flag("dangling").map_err(of)?;
        for kind in filters.get("type") {
            if !matches!(kind, "custom" | "builtin") {
                return Err(EngineError::invalid(format!("invalid filter: 'type'='{kind}'")));
            }
        }
        let records: Vec<_> = self.inner.networks.lock().values().cloned().collect();
        let mut found = Vec::new();
        for record in records {
            let predefined = PREDEFINED.contains(&record.name.as_str());
            let passes = filters.matches_exactly("driver", record.driver.wire())
                && filters.matches_pattern("id", &record.id)
                && filters.matches_pattern("name", &record.name)
                && filters.matches_exactly("scope", "local")
                && filters.matches_exactly("type", if predefined { "builtin" } else { "custom" })
                && filters.matches_label_keys(&record.labels)
                && dangling.is_none_or(|dangling| {
                    dangling == (!predefined && self.endpoints_of(&record.name).is_empty())
                });
            if passes {
                found.push(document(&record, BTreeMap::new()));
            }
        }
        Ok(found)
    }

    /// `GET /networks/{id}`.
    pub async fn network_inspect(&self, reference: &str) -> Result<Inspect> {
        let record = self.inner.networks.find(reference)?;
        Ok(document(&record, self.endpoints_of(&record.name)))
    }

    /// `POST /networks/create`: a bridge.
    pub async fn network_create(&self, request: CreateRequest) -> Result<CreateResponse> {
        let engine = self.clone();
        blocking(move || engine.make_network(request)).await
    }

    fn make_network(&self, request: CreateRequest) -> Result<CreateResponse> {
        check_name(&request.name)?;
        match request.driver.as_str() {
            "" | "bridge" | "default" => {}
            "host" | "null" => {
                return Err(EngineError::forbidden(format!(
                    "only one instance of \"{}\" network is allowed",
                    request.driver
                )));
            }
            "overlay" => {
                return Err(EngineError::new(
                    corten_std::ErrorClass::Unavailable,
                    "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to \
                     swarm and try again.",
                ));
            }
            driver @ ("macvlan" | "ipvlan") => {
                return Err(EngineError::not_implemented(format!(
                    "networks of driver {driver} are not built yet"
                )));
            }
            driver => {
                return Err(EngineError::not_found(format!(
                    "could not resolve driver {driver} in registry: plugin \"{driver}\" not found"
                )));
            }
        }
        if request.enable_ipv6 == Some(true) {
            return Err(EngineError::not_implemented("networks with IPv6 are not built yet"));
        }
        let mut map = self.inner.networks.lock();
        if map.values().any(|record| record.name == request.name) {
            return Err(EngineError::conflict(format!("network with name {} already exists", request.name)));
        }
        let id = id::random_id();
        let taken: Vec<Subnet> =
            map.values().filter_map(|record| Some(record.bridge.as_ref()?.subnet)).collect();
        let asked =
            request.ipam.as_ref().and_then(|ipam| ipam.config.as_ref()?.first()).cloned().unwrap_or_default();
        let bridge = bridge_of(&self.inner.network, &id, &request, &asked, &taken)?;
        let record = NetworkRecord {
            id: id.clone(),
            name: request.name,
            created: Timestamp::now(),
            driver: NetworkDriver::Bridge,
            bridge: Some(bridge.clone()),
            options: request.options,
            labels: request.labels,
        };
        let failed = |error| EngineError::because("making the network", error);
        self.inner.network.ensure_network(&bridge).map_err(failed)?;
        if let Err(error) = self.inner.store.records(TABLE).put(&id, &record) {
            self.inner.network.remove_network(&id).map_err(failed)?;
            return Err(EngineError::because("saving the network", error));
        }
        self.network_event("create", &record);
        map.insert(id.clone(), Arc::new(record));
        Ok(CreateResponse { id, warning: String::new() })
    }

    /// `DELETE /networks/{id}`; refused while a container runs in it.
    pub async fn network_remove(&self, reference: &str) -> Result<()> {
        let record = self.inner.networks.find(reference)?;
        if PREDEFINED.contains(&record.name.as_str()) {
            return Err(EngineError::forbidden(format!(
                "{} is a pre-defined network and cannot be removed",
                record.name
            )));
        }
        let endpoints = self.endpoints_of(&record.name);
        if !endpoints.is_empty() {
            let users: Vec<String> = endpoints
                .iter()
                .map(|(id, endpoint)| format!("name:\"{}\" id:\"{}\"", endpoint.name, id::short(id)))
                .collect();
            return Err(EngineError::forbidden(format!(
                "error while removing network: network {} has active endpoints ({})",
                record.name,
                users.join(", ")
            )));
        }
        let engine = self.clone();
        blocking(move || {
            let mut map = engine.inner.networks.lock();
            if map.remove(&record.id).is_none() {
                return Err(EngineError::not_found(format!("network {} not found", record.name)));
            }
            let undo = |map: &mut BTreeMap<_, _>| map.insert(record.id.clone(), Arc::clone(&record));
            if let Err(error) = engine.inner.store.records::<NetworkRecord>(TABLE).delete(&record.id) {
                undo(&mut map);
                return Err(EngineError::because("removing the network", error));
            }
            drop(map);
            engine.network_event("destroy", &record);
            engine
                .inner
                .network
                .remove_network(&record.id)
                .map_err(|error| EngineError::because("removing the network's bridge", error))
        })
        .await
    }

    /// `POST /networks/{id}/connect`.
    pub async fn network_connect(&self, reference: &str, request: ConnectRequest) -> Result<()> {
        self.inner.networks.find(reference)?;
        self.inner.containers.find(&request.container)?;
        Err(EngineError::not_implemented("connecting a container to a further network is not built yet")
            .with_hint("name the network when the container is created: --network"))
    }

    /// `POST /networks/{id}/disconnect`.
    pub async fn network_disconnect(&self, reference: &str, request: DisconnectRequest) -> Result<()> {
        self.inner.networks.find(reference)?;
        self.inner.containers.find(&request.container)?;
        Err(EngineError::not_implemented("disconnecting a container from its network is not built yet"))
    }

    /// `POST /networks/prune`: those that no container uses.
    pub async fn network_prune(&self, filters: &Filters) -> Result<PruneReport> {
        let of = |error| EngineError::because("", error);
        filters.validate(&["label", "label!", "until"]).map_err(of)?;
        let records: Vec<_> = self.inner.networks.lock().values().cloned().collect();
        let mut report = PruneReport::default();
        for record in records {
            let wanted =
                !PREDEFINED.contains(&record.name.as_str()) && filters.matches_label_keys(&record.labels);
            if !wanted || self.network_has_containers(&record.name) {
                continue;
            }
            self.network_remove(&record.id).await?;
            report.networks_deleted.get_or_insert_default().push(record.name.clone());
        }
        Ok(report)
    }

    /// Whether a container, running or not, is to join this network.
    fn network_has_containers(&self, name: &str) -> bool {
        self.inner
            .containers
            .all()
            .iter()
            .any(|container| container.view().record.networks.contains_key(name))
    }

    /// Running containers of a network by full id.
    fn endpoints_of(&self, name: &str) -> BTreeMap<String, EndpointResource> {
        let mut endpoints = BTreeMap::new();
        for container in self.inner.containers.all() {
            let view = container.view();
            let Some(endpoint) = view.network.as_ref().and_then(|network| network.endpoints.get(name)) else {
                continue;
            };
            let cidr = |address: &str, prefix: i64| {
                if address.is_empty() { String::new() } else { format!("{address}/{prefix}") }
            };
            let resource = EndpointResource {
                name: view.record.name.clone(),
                endpoint_id: endpoint.endpoint_id.clone(),
                mac_address: endpoint.mac_address.clone(),
                ipv4_address: cidr(&endpoint.ip_address, endpoint.ip_prefix_len),
                ipv6_address: cidr(&endpoint.global_ipv6_address, endpoint.global_ipv6_prefix_len),
            };
            endpoints.insert(view.record.id.clone(), resource);
        }
        endpoints
    }

    fn network_event(&self, action: &str, record: &NetworkRecord) {
        let attributes = BTreeMap::from([
            ("name".to_owned(), record.name.clone()),
            ("type".to_owned(), record.driver.wire().to_owned()),
        ]);
        self.inner.events.publish("network", action, &record.id, attributes);
    }
}

/// Turns a request into a bridge network; everything is checked before anything is made.
fn bridge_of(
    manager: &NetworkManager,
    id: &str,
    request: &CreateRequest,
    asked: &IpamConfig,
    taken: &[Subnet],
) -> Result<BridgeNetwork> {
    let parse = |text: &str, what: &str| -> Result<Subnet> {
        text.parse().map_err(|_| {
            EngineError::invalid(format!(
                "invalid network config:\ninvalid {what} {text}: invalid CIDR block notation"
            ))
        })
    };
    let subnet = if asked.subnet.is_empty() {
        free_subnet(manager, taken)?
    } else {
        let subnet = parse(&asked.subnet, "subnet")?;
        if taken.iter().any(|other| other.overlaps(subnet)) {
            return Err(EngineError::forbidden(
                "invalid pool request: Pool overlaps with other one on this address space",
            ));
        }
        subnet
    };
    let options = &request.options;
    let bridge_name = options
        .get("com.docker.network.bridge.name")
        .cloned()
        .unwrap_or_else(|| format!("br-{}", id::short(id)));
    if bridge_name.is_empty() || bridge_name.len() > 15 || bridge_name.contains(['/', ' ']) {
        return Err(EngineError::invalid(format!(
            "invalid bridge name `{bridge_name}`: 1 to 15 characters, none of them / or space"
        )));
    }
    let mut bridge = BridgeNetwork::new(id, &request.name, &bridge_name, subnet);
    if !asked.gateway.is_empty() {
        bridge.gateway =
            asked.gateway.parse().ok().filter(|gateway| subnet.contains(*gateway)).ok_or_else(|| {
                EngineError::invalid(format!(
                    "invalid network config:\ninvalid gateway {}: parent subnet doesn't contain this address",
                    asked.gateway
                ))
            })?;
    }
    if !asked.ip_range.is_empty() {
        bridge.range = Some(parse(&asked.ip_range, "ip-range")?);
    }
    bridge.internal = request.internal;
    let flag = |key: &str, default: bool| match options.get(key).map(String::as_str) {
        None | Some("") => default,
        Some(text) => matches!(text, "true" | "1" | "t" | "T" | "TRUE" | "True"),
    };
    bridge.masquerade = flag("com.docker.network.bridge.enable_ip_masquerade", true) && !request.internal;
    bridge.icc = flag("com.docker.network.bridge.enable_icc", true);
    if let Some(text) = options.get("com.docker.network.driver.mtu") {
        bridge.mtu = text.parse().map_err(|_| EngineError::invalid(format!("invalid MTU `{text}`")))?;
    }
    if let Some(text) = options.get("com.docker.network.bridge.host_binding_ipv4") {
        bridge.default_host_address =
            Some(text.parse().map_err(|_| EngineError::invalid(format!("invalid host binding `{text}`")))?);
    }
    Ok(bridge)
}

fn check_name(name: &str) -> Result<()> {
    if PREDEFINED.contains(&name) || name == "default" {
        return Err(EngineError::forbidden(format!(
            "operation is not permitted on predefined {name} network"
        )));
    }
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if first && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')) {
        return Ok(());
    }
    Err(EngineError::invalid(format!(
        "invalid network name: \"{name}\" must begin with a letter or digit and hold only [a-zA-Z0-9_.-]"
    )))
}

fn document(record: &NetworkRecord, containers: BTreeMap<String, EndpointResource>) -> Inspect {
    let config = record.bridge.as_ref().map(|bridge| {
        vec![IpamConfig {
            subnet: bridge.subnet.to_string(),
            ip_range: bridge.range.map(|range| range.to_string()).unwrap_or_default(),
            gateway: bridge.gateway.to_string(),
            ..IpamConfig::default()
        }]
    });
    let predefined = PREDEFINED.contains(&record.name.as_str());
    Inspect {
        name: record.name.clone(),
        id: record.id.clone(),
        created: record.created.to_string(),
        scope: "local".to_owned(),
        driver: record.driver.wire().to_owned(),
        enable_ipv4: true,
        ipam: Ipam { driver: "default".to_owned(), options: (!predefined).then(BTreeMap::new), config },
        internal: record.bridge.as_ref().is_some_and(|bridge| bridge.internal),
        containers,
        options: record.options.clone(),
        labels: record.labels.clone(),
        ..Inspect::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_std::ErrorClass;

    #[test]
    fn predefined_names_are_the_engines() {
        assert_eq!(check_name("bridge").unwrap_err().class(), ErrorClass::Forbidden);
        assert_eq!(check_name("a/b").unwrap_err().class(), ErrorClass::InvalidParameter);
        assert!(check_name("net-1").is_ok());
    }
}
