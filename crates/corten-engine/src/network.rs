//! Networks: the three that every engine has (`bridge`, `host`, `none`) and those that users make.
//!
//! A network is a row in the database; its bridge is made again from the row at every start. The subnet of the default
//! bridge is chosen once and kept, so that addresses stay what they were.

mod configuration;
mod create;
mod document;
mod places;
mod plugged;
mod remote;
mod unfinished;

pub(crate) use configuration::configuration_only;
pub use create::parse_pool;
pub(crate) use places::endpoint_options;
pub(crate) use remote::PluggedNetworks;

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_api::filter::{FilterError, Filters};
use corten_api::network::{CreateRequest, CreateResponse, EndpointResource, Inspect, PruneReport};
use corten_network::{AddressRange, NetworkConfig, NetworkManager, Subnet, SubnetPool};
use corten_std::{Timestamp, id};
use corten_store::Store;
use create::Surroundings;
use document::{document, scope};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
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
    /// The part of its subnet that containers' addresses are drawn from; none: the whole.
    pub range: Option<Subnet>,
    /// Whether it has IPv6.
    pub ipv6: bool,
    /// Its IPv6 subnet; none: chosen once out of this installation's private range.
    pub subnet6: Option<Subnet>,
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
            range: None,
            ipv6: false,
            subnet6: None,
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
    /// An interface with an address of its own on one of the host's.
    Macvlan,
    /// The same with the host interface's hardware address.
    Ipvlan,
    /// By a plugin.
    Remote,
    /// Not at all: it holds what other networks are made by.
    Configuration,
}

impl NetworkDriver {
    /// As the API names it: `none`'s driver is `null`.
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Remote => "remote",
            Self::None | Self::Configuration => "null",
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
    /// As the API names it: the plugin, where it is one.
    pub(crate) driver_name: String,
}

/// What is saved of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct NetworkRecord {
    id: String,
    name: String,
    created: Timestamp,
    driver: NetworkDriver,
    /// How it is made; of `host` and `none` nothing.
    #[serde(alias = "bridge")]
    config: Option<NetworkConfig>,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    /// Shown only: every network can be attached to.
    #[serde(default)]
    attachable: bool,
    /// Options of the address management, shown only.
    #[serde(default)]
    ipam_options: BTreeMap<String, String>,
    /// The configuration that it only holds, as it was asked for.
    #[serde(default)]
    held: Option<Box<CreateRequest>>,
    /// The network that its configuration was taken from; empty: none.
    #[serde(default)]
    config_from: String,
    /// What plugins have of it.
    #[serde(default)]
    plugged: Option<Box<plugged::Plugged>>,
}

impl NetworkRecord {
    /// The driver as the API names it.
    fn driver_name(&self) -> &str {
        let plugin = self.plugged.as_ref().map(|plugged| plugged.driver.as_str());
        plugin.filter(|name| !name.is_empty()).unwrap_or(self.driver.wire())
    }

    fn is_unfinished(&self) -> bool {
        self.plugged.as_ref().is_some_and(|plugged| plugged.unfinished)
    }
}

/// The networks; the map is the truth while the engine is open. Its lock is held while a bridge is made or removed.
pub(crate) struct Networks {
    map: Mutex<BTreeMap<String, Arc<NetworkRecord>>>,
    /// Where subnets are chosen from.
    pools: Vec<SubnetPool>,
}

impl Networks {
    /// Reads the rows, makes the predefined networks where they are missing, and every bridge.
    pub(crate) fn open(
        store: &Store,
        manager: &NetworkManager,
        bridge: &DefaultBridge,
        pools: &[SubnetPool],
        unfinished: &Path,
    ) -> Result<Self> {
        let failed = |error| EngineError::because("reading the networks", error);
        let rows = store.records::<NetworkRecord>(TABLE);
        let pools = if pools.is_empty() { SubnetPool::defaults() } else { pools.to_vec() };
        let mut map: BTreeMap<String, Arc<NetworkRecord>> =
            rows.list().map_err(failed)?.into_iter().map(|(id, record)| (id, Arc::new(record))).collect();
        // Of those plugins have something that is taken back later.
        map.retain(|_, record| !record.is_unfinished());
        for (name, driver) in
            [("bridge", NetworkDriver::Bridge), ("host", NetworkDriver::Host), ("none", NetworkDriver::None)]
        {
            let known = map.values().find(|record| record.name == name).cloned();
            let mut record = known.as_deref().cloned().unwrap_or_else(|| NetworkRecord {
                id: id::random_id(),
                name: name.to_owned(),
                created: Timestamp::now(),
                driver,
                config: None,
                options: BTreeMap::new(),
                labels: BTreeMap::new(),
                attachable: false,
                ipam_options: BTreeMap::new(),
                held: None,
                config_from: String::new(),
                plugged: None,
            });
            if driver == NetworkDriver::Bridge {
                let mut around = surroundings(manager, &map, &pools);
                around.pool6 = SubnetPool::private_ipv6(&record.id);
                let (made, options) = default_bridge(&around, bridge, &record)?;
                record.config = Some(made);
                record.options = options;
            }
            if known.as_deref() != Some(&record) {
                rows.put(&record.id, &record).map_err(failed)?;
                map.insert(record.id.clone(), Arc::new(record));
            }
        }
        unfinished::sweep(unfinished, manager, |left| {
            let interface = |record: &NetworkRecord| {
                record.config.as_ref().is_some_and(|config| config.interface == left.interface)
            };
            map.contains_key(&left.id) || map.values().any(|record| interface(record))
        });
        for record in map.values() {
            let Some(config) = &record.config else { continue };
            match manager.ensure_network(config) {
                Ok(()) => {}
                // An interface of the host may be gone, or come later; containers of the network are told.
                Err(error) if !config.is_bridge() => {
                    tracing::warn!(network = record.name, error = %corten_std::chain(&error), "a network cannot be used");
                }
                Err(error) => {
                    return Err(EngineError::because(&format!("making network {}", record.name), error));
                }
            }
        }
        Ok(Self { map: Mutex::new(map), pools })
    }

    /// The configuration of a network, where it is there and has one.
    pub(crate) fn config(&self, reference: &str) -> Option<NetworkConfig> {
        self.find(if reference == "default" { "bridge" } else { reference }).ok()?.config.clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<NetworkRecord>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds a network by id, name or id prefix (`default` is `bridge`); else 404 `network NAME not found`.
    pub(crate) fn resolve(&self, name: &str) -> Result<NetworkFound> {
        let name = if name == "default" { "bridge" } else { name };
        let record = self.find(name)?;
        Ok(NetworkFound {
            id: record.id.clone(),
            name: record.name.clone(),
            driver: record.driver,
            driver_name: record.driver_name().to_owned(),
        })
    }

    /// The address of the default bridge: what `host-gateway` means.
    pub(crate) fn default_gateway(&self) -> Option<IpAddr> {
        let map = self.lock();
        let record = map.values().find(|record| record.name == "bridge")?;
        record.config.as_ref()?.ipv4.first()?.gateway
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

/// What a new network must fit in with.
fn surroundings<'a>(
    manager: &'a NetworkManager,
    map: &'a BTreeMap<String, Arc<NetworkRecord>>,
    pools: &'a [SubnetPool],
) -> Surroundings<'a> {
    // The id of the default bridge never changes, and is random: the private IPv6 range of this installation.
    let digits = map.values().find(|record| record.name == "bridge").map_or("", |record| record.id.as_str());
    Surroundings {
        manager,
        others: map.values().filter_map(|record| record.config.as_ref()).collect(),
        pools,
        pool6: SubnetPool::private_ipv6(digits),
    }
}

/// The default bridge's network: what is saved where nothing new is asked for, else what the settings say.
fn default_bridge(
    around: &Surroundings<'_>,
    wanted: &DefaultBridge,
    record: &NetworkRecord,
) -> Result<(NetworkConfig, BTreeMap<String, String>)> {
    let saved = record.config.as_ref().and_then(|saved| saved.ipv4.first());
    let subnet = match (wanted.address, saved) {
        (Some((address, prefix)), _) => {
            Subnet::new(address, prefix).map_err(|error| EngineError::invalid(error.to_string()))?
        }
        (None, Some(saved)) => saved.subnet,
        (None, None) => around.free_subnet(true)?,
    };
    let mut config = NetworkConfig::bridge(&record.id, "bridge", &wanted.name, subnet);
    if let (Some((address, _)), Some(range)) = (wanted.address, config.ipv4.first_mut()) {
        range.gateway = Some(address.into());
    }
    if let Some(part) = wanted.range {
        if !subnet.contains(part.address()) || part.prefix() < subnet.prefix() {
            return Err(EngineError::invalid(format!(
                "the range {part} for containers is not inside the default bridge's subnet {subnet}"
            )));
        }
        config.ipv4.iter_mut().for_each(|range| range.range = Some(part));
    }
    if wanted.ipv6 {
        let saved = record.config.as_ref().and_then(|saved| saved.ipv6.first());
        let subnet = match (wanted.subnet6, saved) {
            (Some(asked), _) => asked,
            (None, Some(saved)) => saved.subnet,
            (None, None) => around.free_subnet(false)?,
        };
        config.ipv6.push(AddressRange::new(subnet));
    }
    config.mtu = wanted.mtu;
    config.masquerade = wanted.masquerade;
    config.icc = wanted.inter_container;
    config.default_host_address = wanted.default_binding;
    let binding = wanted.default_binding.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let options = [
        ("com.docker.network.bridge.default_bridge", "true".to_owned()),
        ("com.docker.network.bridge.enable_icc", wanted.inter_container.to_string()),
        ("com.docker.network.bridge.enable_ip_masquerade", wanted.masquerade.to_string()),
        ("com.docker.network.bridge.host_binding_ipv4", binding.to_string()),
        ("com.docker.network.bridge.name", wanted.name.clone()),
        ("com.docker.network.driver.mtu", wanted.mtu.to_string()),
    ];
    Ok((config, options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()))
}

impl Engine {
    /// `GET /networks`. Filters: `dangling`, `driver`, `id`, `label`, `name`, `scope`, `type`.
    pub async fn network_list(&self, filters: &Filters) -> Result<Vec<Inspect>> {
        let of = |error| EngineError::because("", error);
        filters
            .validate(&["dangling", "driver", "id", "label", "label!", "name", "scope", "type"])
            .map_err(of)?;
        let dangling =
            filters.flag("dangling").map_err(|_| of(FilterError::NotBoolean("dangling".to_owned())))?;
        for kind in filters.get("type") {
            if !matches!(kind, "custom" | "builtin") {
                return Err(EngineError::invalid(format!("invalid filter: 'type'='{kind}'")));
            }
        }
        let records: Vec<_> = self.inner.networks.lock().values().cloned().collect();
        let mut found = Vec::new();
        for record in records {
            let predefined = PREDEFINED.contains(&record.name.as_str());
            let passes = filters.matches_exactly("driver", record.driver_name())
                && filters.matches_pattern("id", &record.id)
                && filters.matches_pattern("name", &record.name)
                && filters.matches_exactly("scope", scope(&record))
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

    /// `POST /networks/create`.
    pub async fn network_create(&self, request: CreateRequest) -> Result<CreateResponse> {
        let engine = self.clone();
        blocking(move || engine.make_network(request)).await
    }

    fn make_network(&self, mut request: CreateRequest) -> Result<CreateResponse> {
        create::check_name(&request.name)?;
        if request.config_only {
            return self.hold_configuration(request);
        }
        let config_from = configuration::source(&request).unwrap_or_default().to_owned();
        if !config_from.is_empty() {
            let missing =
                || EngineError::not_found(format!("configuration network {config_from:?} does not exist"));
            let source = self.inner.networks.find(&config_from).map_err(|_| missing())?;
            request = configuration::take(request, source.held.as_deref().ok_or_else(missing)?)?;
        }
        if let Some(wanted) = plugged::wanted(&request)? {
            return self.make_plugged(request, config_from, wanted);
        }
        let word = create::driver(&request)?;
        self.inner.settings.defaults.fill_network(word, &mut request.options);
        let driver = match word {
            "macvlan" => NetworkDriver::Macvlan,
            "ipvlan" => NetworkDriver::Ipvlan,
            _ => NetworkDriver::Bridge,
        };
        let networks = &self.inner.networks;
        let mut map = networks.lock();
        check_new(&map, &request.name)?;
        if !config_from.is_empty()
            && !map.values().any(|other| other.held.is_some() && other.name == config_from)
        {
            return Err(EngineError::not_found(format!(
                "configuration network {config_from:?} does not exist"
            )));
        }
        let id = id::random_id();
        let around = surroundings(&self.inner.network, &map, &networks.pools);
        let config = create::configuration(&id, &request, &around)?;
        if let Some(other) = map.values().find(|other| {
            config.is_bridge()
                && other.config.as_ref().is_some_and(|other| other.interface == config.interface)
        }) {
            return Err(EngineError::forbidden(format!(
                "cannot create network {id} ({}): conflicts with network {} ({}): networks have same bridge name",
                config.interface, other.id, config.interface
            )));
        }
        let record = NetworkRecord {
            id: id.clone(),
            name: request.name,
            created: Timestamp::now(),
            driver,
            config: Some(config.clone()),
            options: request.options,
            labels: request.labels,
            attachable: request.attachable,
            ipam_options: request.ipam.and_then(|ipam| ipam.options).unwrap_or_default(),
            held: None,
            config_from,
            plugged: None,
        };
        let _unfinished =
            unfinished::Unfinished::begin(&self.inner.settings.paths.unfinished_networks(), &config)?;
        self.inner.network.ensure_network(&config).map_err(|error| EngineError::because("", error))?;
        if let Err(error) = self.inner.store.records(TABLE).put(&id, &record) {
            if let Err(error) = self.inner.network.remove_network(&id) {
                tracing::warn!(network = record.name, error = %corten_std::chain(&error), "cannot be undone");
            }
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
            if !map.contains_key(&record.id) {
                return Err(EngineError::not_found(format!("network {} not found", record.name)));
            }
            if record.held.is_some() && map.values().any(|other| other.config_from == record.name) {
                return Err(EngineError::forbidden(format!(
                    "error while removing network: configuration network {:?} is in use",
                    record.name
                )));
            }
            if record.plugged.is_some() {
                return engine.remove_plugged(map, &record);
            }
            // The kernel's part first: a daemon that dies in between makes it again.
            engine.inner.network.remove_network(&record.id).map_err(|error| EngineError::because("", error))?;
            if let Err(error) = engine.inner.store.records::<NetworkRecord>(TABLE).delete(&record.id) {
                if let Some(config) = &record.config
                    && let Err(error) = engine.inner.network.ensure_network(config)
                {
                    tracing::warn!(network = record.name, error = %corten_std::chain(&error), "cannot be undone");
                }
                return Err(EngineError::because("removing the network", error));
            }
            map.remove(&record.id);
            drop(map);
            engine.network_event("destroy", &record);
            Ok(())
        })
        .await
    }

    /// `POST /networks/prune`: those without a running container.
    pub async fn network_prune(&self, filters: &Filters) -> Result<PruneReport> {
        let of = |error| EngineError::because("", error);
        filters.validate(&["label", "label!", "until"]).map_err(of)?;
        let until = self.until(filters)?;
        let records: Vec<_> = self.inner.networks.lock().values().cloned().collect();
        let mut report = PruneReport::default();
        for record in records {
            let wanted = !PREDEFINED.contains(&record.name.as_str())
                && record.held.is_none()
                && filters.matches_label_keys(&record.labels)
                && until.is_none_or(|until| record.created <= until);
            if !wanted || !self.endpoints_of(&record.name).is_empty() {
                continue;
            }
            match self.network_remove(&record.id).await {
                Ok(()) => report.networks_deleted.get_or_insert_default().push(record.name.clone()),
                // Somebody came, or removed it.
                Err(error) => tracing::warn!(network = record.name, %error, "could not be pruned"),
            }
        }
        self.tell_pruned("network", 0);
        Ok(report)
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
            ("type".to_owned(), record.driver_name().to_owned()),
        ]);
        self.inner.events.publish("network", action, &record.id, attributes);
    }
}

/// Whether a network can have that name.
fn check_new(map: &BTreeMap<String, Arc<NetworkRecord>>, name: &str) -> Result<()> {
    if map.values().any(|record| record.name == name) {
        return Err(EngineError::conflict(format!("network with name {name} already exists")));
    }
    Ok(())
}
