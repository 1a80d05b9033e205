//! Networks that plugins make, and networks whose addresses plugins keep (`-d PLUGIN`, `--ipam-driver PLUGIN`).
//!
//! What a plugin has of a network is written down before the plugin is asked for more, and a network that goes is marked
//! before the plugin is told: a daemon that dies in between leaves a row that the next one works through.

use super::remote::{PluggedNetworks, PluginCall, outward, text};
use super::{NetworkDriver, NetworkRecord, TABLE, check_new, create, surroundings};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use corten_api::network::{CreateRequest, CreateResponse, IpamConfig};
use corten_network::{AddressRange, Driver, NetworkConfig, Subnet, SubnetPool};
use corten_std::{ErrorClass, Timestamp, id};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, MutexGuard};

/// The account of addresses that holds none: a plugin gives its containers addresses itself, or none.
const NOBODY: &str = "null";

/// What tells, in Docker's protocol, that an address is a gateway's.
const GATEWAY: &str = "com.docker.network.gateway";

/// Pools that a plugin offers and the host has in use already are passed over so often.
const OFFERS: usize = 16;

/// What plugins have of a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Plugged {
    /// The plugin that connects containers; empty: we do.
    pub(super) driver: String,
    /// How far it says that its networks reach: `local` or `global`.
    pub(super) scope: String,
    /// The plugin that keeps the account of addresses; empty: we do. `null`: nobody.
    pub(super) ipam: String,
    /// That plugin's options.
    pub(super) ipam_options: BTreeMap<String, String>,
    /// It wants to know an endpoint's hardware address before it gives an address.
    pub(super) needs_mac: bool,
    /// It has to be told again of all that it gave when a daemon starts.
    pub(super) forgets: bool,
    /// What it gave.
    pub(super) pools: Vec<Pool>,
    pub(super) ipv4: bool,
    pub(super) ipv6: bool,
    /// The ranges as they were asked for, where they were.
    pub(super) shown: Option<Vec<IpamConfig>>,
    /// It is not made yet, or not a network any more.
    pub(super) unfinished: bool,
    /// The plugin that connects containers was told of it.
    pub(super) told: bool,
}

/// A range of addresses that a plugin keeps account of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Pool {
    /// The plugin's name for it.
    pub(super) id: String,
    pub(super) space: String,
    pub(super) subnet: Subnet,
    /// The part that was asked for.
    pub(super) part: String,
    /// With the bits of the subnet; one that was not asked of the account is not given back to it.
    pub(super) gateway: Option<(IpAddr, bool)>,
    pub(super) auxiliary: BTreeMap<String, IpAddr>,
}

impl Pool {
    /// The gateway, where it was taken out of the plugin's account.
    pub(super) fn account_gateway(&self) -> Option<IpAddr> {
        self.gateway.filter(|(_, of_account)| *of_account).map(|(gateway, _)| gateway)
    }
}

/// Which plugins a request names.
pub(super) struct Wanted {
    driver: Option<String>,
    ipam: Option<String>,
}

/// What an address is asked for with that is a gateway's.
pub(super) fn gateway_options() -> Value {
    json!({"RequestAddressType": GATEWAY})
}

/// No plugin of that name.
pub(super) fn not_found(name: &str) -> EngineError {
    crate::plugin::not_found(format!("plugin \"{name}\" not found"))
}

/// The plugins that a request names; none where it names none.
pub(super) fn wanted(request: &CreateRequest) -> Result<Option<Wanted>> {
    let ours = ["", "default", "bridge", "macvlan", "ipvlan", "host", "null", "overlay"];
    let driver = Some(&request.driver).filter(|name| !ours.contains(&name.as_str())).cloned();
    let ipam = request.ipam.as_ref().map(|ipam| ipam.driver.clone());
    let ipam = ipam.filter(|name| !matches!(name.as_str(), "" | "default"));
    if driver.is_none() && ipam.is_none() {
        return Ok(None);
    }
    if driver.is_none() || request.scope == "swarm" || request.ingress {
        // Refuses what none of our drivers can be asked for.
        create::driver(&CreateRequest {
            driver: if driver.is_some() { String::new() } else { request.driver.clone() },
            ..request.clone()
        })?;
    }
    if driver.is_none() && ipam.as_deref() == Some(NOBODY) {
        return Err(EngineError::invalid(format!(
            "the ipam driver \"{NOBODY}\" gives no addresses, and the network driver needs some"
        )));
    }
    Ok(Some(Wanted { driver, ipam }))
}

impl Engine {
    /// Makes a network with the plugins named.
    pub(super) fn make_plugged(
        &self,
        mut request: CreateRequest,
        config_from: String,
        wanted: Wanted,
    ) -> Result<CreateResponse> {
        let networks = &self.inner.networks;
        create::check_name(&request.name)?;
        check_new(&networks.lock(), &request.name)?;
        let (ipv4, ipv6) = (request.enable_ipv4 != Some(false), request.enable_ipv6 == Some(true));
        if !ipv4 && !ipv6 {
            return Err(EngineError::invalid("IPv4 or IPv6 must be enabled"));
        }
        create::check_ranges(&request)?;
        let plugged = self.plugins_of(&request, &wanted, (ipv4, ipv6)).map_err(outward)?;
        let id = id::random_id();
        let mut record = NetworkRecord {
            id: id.clone(),
            name: request.name.clone(),
            created: Timestamp::now(),
            driver: match (&wanted.driver, request.driver.as_str()) {
                (Some(_), _) => NetworkDriver::Remote,
                (None, "macvlan") => NetworkDriver::Macvlan,
                (None, "ipvlan") => NetworkDriver::Ipvlan,
                (None, _) => NetworkDriver::Bridge,
            },
            config: None,
            options: request.options.clone(),
            labels: request.labels.clone(),
            attachable: request.attachable,
            ipam_options: plugged.ipam_options.clone(),
            held: None,
            config_from,
            plugged: Some(Box::new(plugged)),
        };
        let made = self.make_with_plugins(&mut request, &mut record);
        if made.is_err() {
            self.inner.plugged.take_back(&record);
            self.forget_row(&id);
        }
        made.map_err(outward)?;
        Ok(CreateResponse { id, warning: String::new() })
    }

    fn make_with_plugins(&self, request: &mut CreateRequest, record: &mut NetworkRecord) -> Result<()> {
        let networks = &self.inner.networks;
        self.request_pools(request, record)?;
        let config = {
            let map = networks.lock();
            let around = surroundings(&self.inner.network, &map, &networks.pools);
            plugged_config(record, request, &around)?
        };
        record.config = Some(config.clone());
        if record.driver == NetworkDriver::Remote {
            // From here on the plugin has, or may have, heard of it.
            if let Some(plugged) = &mut record.plugged {
                plugged.told = true;
            }
            self.note(record)?;
            self.inner.plugged.create_network(record, &config).inspect_err(|error| {
                if let Some(plugged) = &mut record.plugged {
                    // What it refused is not there; where it did not answer, it may be.
                    plugged.told = error.class() == ErrorClass::Unavailable;
                }
            })?;
        }
        let mut map = networks.lock();
        check_new(&map, &record.name)?;
        self.inner.network.ensure_network(&config).map_err(|error| EngineError::because("", error))?;
        if let Some(plugged) = &mut record.plugged {
            plugged.unfinished = false;
        }
        self.note(record).inspect_err(|_| {
            if let Err(error) = self.inner.network.remove_network(&record.id) {
                tracing::warn!(network = record.name, error = %corten_std::chain(&error), "cannot be undone");
            }
        })?;
        self.network_event("create", record);
        map.insert(record.id.clone(), Arc::new(record.clone()));
        Ok(())
    }

    /// What the plugins can do, as they say themselves.
    fn plugins_of(
        &self,
        request: &CreateRequest,
        wanted: &Wanted,
        families: (bool, bool),
    ) -> Result<Plugged> {
        let mut plugged =
            Plugged { ipv4: families.0, ipv6: families.1, unfinished: true, ..Plugged::default() };
        if let Some(driver) = &wanted.driver {
            let told = self.inner.plugged.capabilities(PluginCall::Network, driver)?;
            plugged.driver.clone_from(driver);
            plugged.scope = match told["Scope"].as_str().unwrap_or_default() {
                scope @ ("local" | "global") => scope.to_owned(),
                scope => {
                    return Err(EngineError::system(format!(
                        "invalid capability: expecting 'local' or 'global', got {scope}"
                    )));
                }
            };
        }
        if let Some(ipam) = &wanted.ipam {
            plugged.ipam.clone_from(ipam);
            let options = request.ipam.as_ref().and_then(|ipam| ipam.options.clone());
            plugged.ipam_options = options.unwrap_or_default();
            if ipam == NOBODY {
                plugged.shown = Some(vec![IpamConfig {
                    subnet: if families.0 { "0.0.0.0/0" } else { "::/0" }.to_owned(),
                    ..IpamConfig::default()
                }]);
            } else {
                let told = self.inner.plugged.capabilities(PluginCall::Ipam, ipam)?;
                plugged.needs_mac = told["RequiresMACAddress"].as_bool() == Some(true);
                plugged.forgets = told["RequiresRequestReplay"].as_bool() == Some(true);
                let asked = request.ipam.as_ref().and_then(|ipam| ipam.config.clone()).unwrap_or_default();
                let asked: Vec<IpamConfig> =
                    asked.into_iter().filter(|one| *one != IpamConfig::default()).collect();
                plugged.shown = Some(asked).filter(|asked| !asked.is_empty());
            }
        }
        Ok(plugged)
    }

    /// Gets the pools of a network whose addresses a plugin keeps, and has the request ask for them.
    fn request_pools(&self, request: &mut CreateRequest, record: &mut NetworkRecord) -> Result<()> {
        let Some(plugged) = record.plugged.as_deref().cloned() else { return Ok(()) };
        if matches!(plugged.ipam.as_str(), "" | NOBODY) {
            return Ok(());
        }
        let asked = request.ipam.as_ref().and_then(|ipam| ipam.config.clone()).unwrap_or_default();
        for (wanted, ipv4) in [(plugged.ipv4, true), (plugged.ipv6, false)] {
            if !wanted {
                continue;
            }
            let space = self.inner.plugged.address_space(&plugged.ipam)?;
            let of_family =
                |one: &&IpamConfig| one.subnet.parse::<Subnet>().is_ok_and(|subnet| subnet.is_ipv4() == ipv4);
            let mut ranges: Vec<IpamConfig> = asked.iter().filter(of_family).cloned().collect();
            if ranges.is_empty() {
                ranges.push(IpamConfig::default());
            }
            for range in ranges {
                self.request_pool(record, &space, &range, ipv4)?;
            }
        }
        let pools = record.plugged.iter().flat_map(|plugged| &plugged.pools);
        let config = pools.map(|pool| IpamConfig {
            subnet: pool.subnet.to_string(),
            ip_range: pool.part.clone(),
            gateway: pool.gateway.map(|(gateway, _)| gateway.to_string()).unwrap_or_default(),
            auxiliary_addresses: pool
                .auxiliary
                .iter()
                .map(|(name, address)| (name.clone(), address.to_string()))
                .collect(),
        });
        if let Some(ipam) = &mut request.ipam {
            ipam.config = Some(config.collect());
        }
        Ok(())
    }

    /// One pool with its gateway and the addresses that are set aside. The row follows every step.
    fn request_pool(
        &self,
        record: &mut NetworkRecord,
        space: &str,
        range: &IpamConfig,
        ipv4: bool,
    ) -> Result<()> {
        let (pool, told) = self.offer(record, space, range, ipv4)?;
        let index = record.plugged.as_ref().map_or(0, |plugged| plugged.pools.len());
        let Some(plugged) = &mut record.plugged else { return Ok(()) };
        plugged.pools.push(pool);
        self.note(record)?;
        let gateway = match told[GATEWAY].as_str() {
            Some(text) if range.gateway.is_empty() => (cidr(text)?.0, false),
            _ => {
                let given = self.account_address(record, index, &range.gateway, &gateway_options());
                let text = format!("failed to allocate gateway ({})", range.gateway);
                (given.map_err(|error| EngineError::because(&text, error))?, true)
            }
        };
        if let Some(pool) = pool_of(record, index) {
            pool.gateway = Some(gateway);
        }
        self.note(record)?;
        for (name, address) in &range.auxiliary_addresses {
            let given = self.account_address(record, index, address, &Value::Null)?;
            if let Some(pool) = pool_of(record, index) {
                pool.auxiliary.insert(name.clone(), given);
            }
            self.note(record)?;
        }
        Ok(())
    }

    fn account_address(
        &self,
        record: &NetworkRecord,
        index: usize,
        asked: &str,
        options: &Value,
    ) -> Result<IpAddr> {
        let Some(plugged) = &record.plugged else { return Err(EngineError::system("no pool")) };
        let (address, _) =
            self.inner.plugged.request_address(&plugged.ipam, &plugged.pools[index].id, asked, options)?;
        Ok(address)
    }

    /// A pool that the host does not use itself, with what the plugin says beside it.
    fn offer(
        &self,
        record: &NetworkRecord,
        space: &str,
        range: &IpamConfig,
        ipv4: bool,
    ) -> Result<(Pool, Value)> {
        let Some(plugged) = &record.plugged else { return Err(EngineError::system("no plugin")) };
        let mut passed_over = Vec::new();
        let mut found = Err(EngineError::system("the ipam driver offers only pools that the host uses"));
        for _ in 0..OFFERS {
            let request = json!({
                "AddressSpace": space, "Pool": range.subnet, "SubPool": range.ip_range,
                "Options": plugged.ipam_options, "V6": !ipv4,
            });
            let answer =
                match self.inner.plugged.call(PluginCall::Ipam, &plugged.ipam, "RequestPool", &request) {
                    Ok(answer) => answer,
                    Err(error) => {
                        found = Err(error);
                        break;
                    }
                };
            let name = text(&answer["PoolID"]);
            let subnet = text(&answer["Pool"]);
            let Ok(subnet) = subnet.parse::<Subnet>() else {
                passed_over.push(name);
                found = Err(EngineError::system(format!(
                    "the ipam driver gave the pool {subnet:?}, which is none"
                )));
                break;
            };
            let alone = SubnetPool { base: subnet, size: subnet.prefix() };
            let free = !range.subnet.is_empty()
                || self.inner.network.choose_subnet(&[alone], &[]).is_ok_and(|chosen| chosen.is_some());
            if free {
                let pool = Pool {
                    id: name,
                    space: space.to_owned(),
                    subnet,
                    part: range.ip_range.clone(),
                    gateway: None,
                    auxiliary: BTreeMap::new(),
                };
                found = Ok((pool, answer["Data"].clone()));
                break;
            }
            passed_over.push(name);
        }
        for pool in passed_over {
            self.inner.plugged.release_pool(&plugged.ipam, &pool);
        }
        found
    }

    /// Writes a network's row.
    fn note(&self, record: &NetworkRecord) -> Result<()> {
        let put = self.inner.store.records(TABLE).put(&record.id, record);
        put.map_err(|error| EngineError::because("saving the network", error))
    }

    fn forget_row(&self, id: &str) {
        if let Err(error) = self.inner.store.records::<NetworkRecord>(TABLE).delete(id) {
            tracing::warn!(network = id, error = %corten_std::chain(&error), "the row of a network that was not made is left");
        }
    }

    /// Removes a network of which plugins have something. What they say to it is written to the log: they may be gone.
    pub(super) fn remove_plugged(
        &self,
        mut map: MutexGuard<'_, BTreeMap<String, Arc<NetworkRecord>>>,
        record: &NetworkRecord,
    ) -> Result<()> {
        self.inner.network.remove_network(&record.id).map_err(|error| EngineError::because("", error))?;
        let mut going = record.clone();
        if let Some(plugged) = &mut going.plugged {
            plugged.unfinished = true;
        }
        if let Err(error) = self.note(&going) {
            if let Some(config) = &record.config
                && let Err(error) = self.inner.network.ensure_network(config)
            {
                tracing::warn!(network = record.name, error = %corten_std::chain(&error), "cannot be undone");
            }
            return Err(error);
        }
        map.remove(&record.id);
        drop(map);
        self.inner.plugged.take_back(&going);
        self.forget_row(&record.id);
        self.network_event("destroy", record);
        Ok(())
    }
}

impl PluggedNetworks {
    /// Gives back what plugins have of a network, in Docker's order.
    pub(super) fn take_back(&self, record: &NetworkRecord) {
        let Some(plugged) = &record.plugged else { return };
        for pool in &plugged.pools {
            for address in pool.account_gateway().into_iter().chain(pool.auxiliary.values().copied()) {
                self.release_address(&plugged.ipam, &pool.id, address);
            }
            self.release_pool(&plugged.ipam, &pool.id);
        }
        if plugged.told {
            let request = json!({"NetworkID": record.id});
            if let Err(error) = self.call(PluginCall::Network, &plugged.driver, "DeleteNetwork", &request) {
                tracing::warn!(network = record.name, %error, "a plugin did not remove its network");
            }
        }
    }

    /// Has the plugin make the network.
    fn create_network(&self, record: &NetworkRecord, config: &NetworkConfig) -> Result<()> {
        let Some(plugged) = &record.plugged else { return Ok(()) };
        let mut options = Map::new();
        options.insert("com.docker.network.enable_ipv4".to_owned(), plugged.ipv4.into());
        options.insert("com.docker.network.enable_ipv6".to_owned(), plugged.ipv6.into());
        options.insert("com.docker.network.generic".to_owned(), json!(record.options));
        if config.internal {
            options.insert("com.docker.network.internal".to_owned(), true.into());
        }
        let space = |subnet: Subnet| {
            let pool = plugged.pools.iter().find(|pool| pool.subnet == subnet);
            pool.map_or("LocalDefault", |pool| &pool.space).to_owned()
        };
        let data = |ranges: &[AddressRange], ipv4: bool| -> Value {
            if plugged.ipam == NOBODY && (if ipv4 { plugged.ipv4 } else { plugged.ipv6 }) {
                return json!([{"AddressSpace": NOBODY, "Pool": if ipv4 { "0.0.0.0/0" } else { "::/0" }}]);
            }
            let all = ranges.iter().map(|range| {
                let bits = range.subnet.prefix();
                let mut one = json!({
                    "AddressSpace": space(range.subnet), "Pool": range.subnet.to_string(),
                });
                if let Some(gateway) = range.gateway {
                    one["Gateway"] = format!("{gateway}/{bits}").into();
                }
                if !range.reserved.is_empty() {
                    let reserved = range.reserved.iter();
                    let reserved =
                        reserved.map(|(name, address)| (name.clone(), format!("{address}/{bits}")));
                    one["AuxAddresses"] = json!(reserved.collect::<BTreeMap<_, _>>());
                }
                one
            });
            all.collect()
        };
        let request = json!({
            "NetworkID": record.id, "Options": options,
            "IPv4Data": data(&config.ipv4, true), "IPv6Data": data(&config.ipv6, false),
        });
        self.call(PluginCall::Network, &plugged.driver, "CreateNetwork", &request).map(drop)
    }
}

/// What we make of a network ourselves.
fn plugged_config(
    record: &NetworkRecord,
    request: &CreateRequest,
    around: &create::Surroundings<'_>,
) -> Result<NetworkConfig> {
    let Some(plugged) = &record.plugged else { return Err(EngineError::system("no plugin")) };
    let others_keep = !plugged.ipam.is_empty();
    if record.driver != NetworkDriver::Remote {
        let mut request = request.clone();
        if let Some(ipam) = &mut request.ipam {
            ipam.driver.clear();
        }
        let mut config = create::configuration(&record.id, &request, around)?;
        config.remote_addresses = others_keep;
        return Ok(config);
    }
    let mut config = NetworkConfig::without_addresses(&record.id, &record.name, Driver::Remote, "");
    config.internal = request.internal;
    config.remote_addresses = others_keep;
    if plugged.ipam == NOBODY {
        return Ok(config);
    }
    let mut ranges = create::ranges(request, plugged.ipv4, plugged.ipv6)?;
    if !others_keep {
        for (wanted, ipv4) in [(plugged.ipv4, true), (plugged.ipv6, false)] {
            if wanted && !ranges.iter().any(|range| range.subnet.is_ipv4() == ipv4) {
                ranges.push(AddressRange::new(around.free_subnet(ipv4)?));
            }
        }
        let taken = |subnet: Subnet| {
            let ours = around.others.iter().filter(|other| !other.remote_addresses);
            ours.flat_map(|other| other.ranges()).any(|other| other.subnet.overlaps(subnet))
        };
        if ranges.iter().any(|range| taken(range.subnet)) {
            return Err(EngineError::forbidden(
                "invalid pool request: Pool overlaps with other one on this address space",
            ));
        }
    }
    for range in ranges {
        config.ranges_mut(range.subnet.is_ipv4()).push(range);
    }
    Ok(config)
}

fn pool_of(record: &mut NetworkRecord, index: usize) -> Option<&mut Pool> {
    record.plugged.as_mut()?.pools.get_mut(index)
}

/// An address with the bits of its subnet, as plugins write them.
pub(super) fn cidr(text: &str) -> Result<(IpAddr, u8)> {
    let wrong = || EngineError::system(format!("a plugin gave the address {text:?}, which is none"));
    let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?;
    Ok((address, bits))
}
