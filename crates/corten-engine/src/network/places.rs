//! Places of containers in networks that plugins make, and their addresses where plugins keep those: Docker's protocol.
//!
//! Each place has a row while plugins have something of it, written before they are asked. At a daemon's start the rows
//! whose containers run no more are worked through.

use super::plugged::{Plugged, cidr, gateway_options};
use super::remote::{PluggedNetworks, PluginCall, is_answer, outward, text};
use super::{NetworkRecord, TABLE};
use crate::container::record::Record;
use crate::container::spec::ports;
use crate::error::{EngineError, Result};
use base64::Engine as _;
use corten_api::network::EndpointSettings;
use corten_network::{
    EndpointRequest, MacAddress, NetworkConfig, Protocol, RemoteDrivers, RemoteEndpoint, RemoteError,
    RemoteInterface, Sandbox,
};
use corten_std::{ErrorClass, id};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::Path;

/// The database's table of places.
const PLACES: &str = "plugged-endpoints";
const EXPOSED: &str = "com.docker.network.endpoint.exposedports";
const PORT_MAP: &str = "com.docker.network.portmap";
const MAC: &str = "com.docker.network.endpoint.macaddress";
/// What plugins have of a container's place in a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Place {
    network: String,
    /// The plugin that connects; empty: we do.
    driver: String,
    /// The plugin that keeps the addresses; empty: we do.
    ipam: String,
    /// Addresses of that plugin's, with the pool they are of.
    addresses: Vec<(String, IpAddr)>,
    /// Ports, as the plugin was told.
    ports: Map<String, Value>,
    /// The plugin made it, or may have.
    made: bool,
    /// It is in a sandbox, or may be.
    joined: bool,
    /// It is no place any more, which plugins that were away have not heard.
    ended: bool,
}

impl PluggedNetworks {
    fn place(&self, endpoint: &str) -> Result<Place> {
        let row = self.store.records::<Place>(PLACES).get(endpoint);
        Ok(row.map_err(|error| EngineError::because("reading an endpoint", error))?.unwrap_or_default())
    }

    fn note(&self, endpoint: &str, place: &Place) -> Result<()> {
        let put = self.store.records(PLACES).put(endpoint, place);
        put.map_err(|error| EngineError::because("saving an endpoint", error))
    }

    fn forget(&self, endpoint: &str) {
        if let Err(error) = self.store.records::<Place>(PLACES).delete(endpoint) {
            tracing::warn!(error = %corten_std::chain(&error), "the row of an endpoint is left");
        }
    }

    /// Tells a plugin something on the way down; whether it can be reached at all.
    fn tell(&self, plugin: &str, method: &str, network: &str, endpoint: &str) -> bool {
        let request = json!({"NetworkID": network, "EndpointID": endpoint});
        match self.call(PluginCall::Network, plugin, method, &request) {
            Ok(_) => true,
            Err(error) if error.class() == ErrorClass::NotImplemented => true,
            Err(error) => {
                tracing::warn!(endpoint = id::short(endpoint), %error, "a plugin did not do its part");
                is_answer(&error)
            }
        }
    }

    /// Takes addresses and has the plugin make the place; the row follows every step.
    fn make(
        &self,
        config: &NetworkConfig,
        (endpoint, name): (&str, &str),
        wanted: &EndpointRequest,
        own: &[(IpAddr, u8)],
        place: &mut Place,
    ) -> Result<RemoteEndpoint> {
        let record = self.network(&config.id)?;
        let plugged = record.plugged.as_deref().cloned().unwrap_or_default();
        place.network.clone_from(&config.id);
        place.driver.clone_from(&plugged.driver);
        let mut mac = wanted.mac;
        if plugged.needs_mac && mac.is_none() {
            let mut bytes: [u8; 6] = id::random_bytes();
            // One of nobody's in particular.
            bytes[0] = 0x02;
            mac = Some(MacAddress(bytes));
        }
        let mut addresses = own.to_vec();
        if !plugged.pools.is_empty() {
            place.ipam.clone_from(&plugged.ipam);
            addresses = self.take_addresses(&plugged, endpoint, wanted, mac, place)?;
        }
        if plugged.driver.is_empty() {
            return Ok(RemoteEndpoint { addresses, mac });
        }
        let mut options = wanted.options.clone();
        place.ports =
            options.iter().filter(|(key, _)| [EXPOSED, PORT_MAP].contains(&key.as_str())).map(pair).collect();
        if config.internal {
            options.retain(|key, _| ![EXPOSED, PORT_MAP].contains(&key.as_str()));
        }
        if let Some(mac) = wanted.mac {
            options.insert(MAC.to_owned(), base64::prelude::BASE64_STANDARD.encode(mac.0).into());
        }
        place.made = true;
        self.note(endpoint, place)?;
        let of = |ipv4| {
            let found = addresses.iter().find(|(address, _)| address.is_ipv4() == ipv4);
            found.map(|(address, bits)| format!("{address}/{bits}")).unwrap_or_default()
        };
        let request = json!({
            "NetworkID": config.id, "EndpointID": endpoint, "Options": options,
            "Interface": {
                "Address": of(true), "AddressIPv6": of(false),
                "MacAddress": mac.map(|mac| mac.to_string()).unwrap_or_default(),
            },
        });
        let answer = self.call(PluginCall::Network, &plugged.driver, "CreateEndpoint", &request);
        let answer = answer.inspect_err(|error| {
            // What it refused is not there; where it cannot be told, it may be.
            place.made = error.class() == ErrorClass::Unavailable;
        });
        let answer = answer.map_err(|error| {
            let text = format!("failed to create endpoint {name} on network {}", config.name);
            EngineError::because(&text, error)
        })?;
        let told = &answer["Interface"];
        for key in ["Address", "AddressIPv6"] {
            let given = text(&told[key]);
            if given.is_empty() {
                continue;
            }
            let (address, bits) = cidr(&given)?;
            if let Some((known, _)) = addresses.iter().find(|(known, _)| known.is_ipv4() == address.is_ipv4())
            {
                return Err(EngineError::forbidden(format!(
                    "endpoint interface IP present ({known}). Cannot be modified with {address}."
                )));
            }
            addresses.push((address, bits));
        }
        match text(&told["MacAddress"]).as_str() {
            "" => {}
            given if mac.is_some() => {
                return Err(EngineError::forbidden(format!(
                    "endpoint interface MAC address present ({}). Cannot be modified with {given}.",
                    mac.unwrap_or_default()
                )));
            }
            given => mac = Some(given.parse().map_err(|text: String| EngineError::system(text))?),
        }
        Ok(RemoteEndpoint { addresses, mac })
    }

    fn take_addresses(
        &self,
        plugged: &Plugged,
        endpoint: &str,
        wanted: &EndpointRequest,
        mac: Option<MacAddress>,
        place: &mut Place,
    ) -> Result<Vec<(IpAddr, u8)>> {
        let options = match mac.filter(|_| plugged.needs_mac) {
            Some(mac) => json!({ MAC: mac.to_string() }),
            None => Value::Null,
        };
        let mut addresses = Vec::new();
        let asked = [wanted.address.map(IpAddr::V4), wanted.address6.map(IpAddr::V6)];
        for (asked, ipv4) in asked.into_iter().zip([true, false]) {
            let pools = plugged.pools.iter().filter(|pool| pool.subnet.is_ipv4() == ipv4);
            let fits = |pool: &&super::plugged::Pool| asked.is_none_or(|asked| pool.subnet.contains(asked));
            let asked = asked.map(|asked| asked.to_string()).unwrap_or_default();
            let mut found = None;
            // The first that has one; what the last says is told.
            for pool in pools.filter(fits) {
                let given = self.request_address(&plugged.ipam, &pool.id, &asked, &options);
                let given = given.map(|(address, _)| (address, pool.subnet.prefix(), pool.id.clone()));
                let done = given.is_ok();
                found = Some(given);
                if done {
                    break;
                }
            }
            if let Some(given) = found {
                let (address, bits, pool) = given?;
                addresses.push((address, bits));
                place.addresses.push((pool, address));
                self.note(endpoint, place)?;
            }
        }
        Ok(addresses)
    }

    /// Works through what an earlier daemon did not finish. `kept` are the sandboxes of containers that run.
    pub(crate) fn recover(&self, kept: &[Sandbox]) {
        *self.silent() = Some(HashSet::new());
        self.recover_each(kept);
        *self.silent() = None;
    }

    fn recover_each(&self, kept: &[Sandbox]) {
        let live: HashSet<&str> =
            kept.iter().flat_map(|sandbox| &sandbox.endpoints).map(|endpoint| endpoint.id.as_str()).collect();
        let (running, gone): (Vec<_>, Vec<_>) = self
            .store
            .records::<Place>(PLACES)
            .list()
            .unwrap_or_default()
            .into_iter()
            .partition(|(endpoint, _)| live.contains(endpoint.as_str()));
        self.work_through(gone.into_iter(), &running);
        for (id, record) in self.store.records::<NetworkRecord>(TABLE).list().unwrap_or_default() {
            if record.is_unfinished() {
                self.take_back(&record);
                if let Err(error) = self.store.records::<NetworkRecord>(TABLE).delete(&id) {
                    tracing::warn!(network = record.name, error = %corten_std::chain(&error), "its row is left");
                }
            } else if let Some(plugged) = record.plugged.as_deref().filter(|plugged| plugged.forgets) {
                self.remind(&id, plugged);
            }
        }
    }

    /// Tells a plugin that keeps its account in memory what it gave.
    fn remind(&self, network: &str, plugged: &Plugged) {
        let told = |what: Result<()>| {
            if let Err(error) = what {
                tracing::warn!(network, %error, "a plugin cannot be reminded of what it gave");
            }
        };
        for pool in &plugged.pools {
            let request = json!({
                "AddressSpace": pool.space, "Pool": pool.subnet.to_string(), "SubPool": pool.part,
                "Options": plugged.ipam_options, "V6": !pool.subnet.is_ipv4(),
            });
            told(self.call(PluginCall::Ipam, &plugged.ipam, "RequestPool", &request).map(drop));
            let gateway = pool.account_gateway().map(|address| (address, gateway_options()));
            let auxiliary = pool.auxiliary.values().map(|address| (*address, Value::Null));
            for (address, options) in gateway.into_iter().chain(auxiliary) {
                let asked = self.request_address(&plugged.ipam, &pool.id, &address.to_string(), &options);
                told(asked.map(drop));
            }
        }
        let places = self.store.records::<Place>(PLACES).list().unwrap_or_default();
        for (_, place) in places.into_iter().filter(|(_, place)| place.network == network) {
            for (pool, address) in &place.addresses {
                let asked = self.request_address(&plugged.ipam, pool, &address.to_string(), &Value::Null);
                told(asked.map(drop));
            }
        }
    }
}

impl RemoteDrivers for PluggedNetworks {
    fn create(
        &self,
        network: &NetworkConfig,
        endpoint: &str,
        name: &str,
        wanted: &EndpointRequest,
        own: &[(IpAddr, u8)],
    ) -> Result<RemoteEndpoint, RemoteError> {
        let mut place = Place::default();
        let made = self.make(network, (endpoint, name), wanted, own, &mut place);
        match made {
            Ok(_) => self.catch_up(&place),
            Err(_) => self.undo(endpoint, &place),
        }
        made.map_err(remote)
    }

    fn join(&self, network: &str, endpoint: &str, sandbox: &Path) -> Result<RemoteInterface, RemoteError> {
        let join = || {
            let mut place = self.place(endpoint)?;
            place.joined = true;
            self.note(endpoint, &place)?;
            let request = json!({
                "NetworkID": network, "EndpointID": endpoint, "SandboxKey": sandbox.to_string_lossy(),
                "Options": place.ports,
            });
            let answer = self.call(PluginCall::Network, &place.driver, "Join", &request)?;
            // It has joined, whatever its answer is worth: who does not use that has it leave.
            interface(&answer).inspect_err(|_| self.leave(network, endpoint))
        };
        join().map_err(remote)
    }

    fn open_ports(&self, network: &str, endpoint: &str, name: &str) -> Result<(), RemoteError> {
        let open = || {
            let place = self.place(endpoint)?;
            let mut options = place.ports;
            options.insert("com.docker.network.driver.private.no_proxy_6to4".to_owned(), false.into());
            let request = json!({"NetworkID": network, "EndpointID": endpoint, "Options": options});
            let asked =
                self.call(PluginCall::Network, &place.driver, "ProgramExternalConnectivity", &request);
            match asked {
                // Older ones have no such method.
                Err(error) if error.class() == ErrorClass::NotImplemented => Ok(()),
                other => other.map(drop),
            }
        };
        let text = format!("driver failed programming external connectivity on endpoint {name} ({endpoint})");
        open().map_err(|error| remote(EngineError::because(&text, error)))
    }

    fn finished(&self, network: &str, endpoint: &str) {
        if let Ok(place) = self.place(endpoint) {
            self.tell(&place.driver, "EndpointOperInfo", network, endpoint);
        }
    }

    fn close_ports(&self, network: &str, endpoint: &str) {
        if let Ok(place) = self.place(endpoint) {
            self.tell(&place.driver, "RevokeExternalConnectivity", network, endpoint);
        }
    }

    fn leave(&self, network: &str, endpoint: &str) {
        let Ok(mut place) = self.place(endpoint) else { return };
        if place.joined && self.tell(&place.driver, "Leave", network, endpoint) {
            place.joined = false;
            if let Err(error) = self.note(endpoint, &place) {
                tracing::warn!(%error, "a plugin will be told once more that an endpoint left");
            }
        }
    }

    fn delete(&self, _: &str, endpoint: &str) {
        if let Ok(place) = self.place(endpoint) {
            self.undo(endpoint, &place);
        }
    }
}

impl PluggedNetworks {
    /// Tells plugins that answer again what they missed while they were away.
    fn catch_up(&self, place: &Place) {
        let back: Vec<&String> =
            [&place.driver, &place.ipam].into_iter().filter(|plugin| self.owed().remove(*plugin)).collect();
        if back.is_empty() {
            return;
        }
        let rows = self.store.records::<Place>(PLACES).list().unwrap_or_default();
        let (ended, live): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, place)| place.ended);
        let missed = |place: &Place| back.iter().any(|back| [&place.driver, &place.ipam].contains(back));
        self.work_through(ended.into_iter().filter(|(_, place)| missed(place)), &live);
    }

    /// Gives back what plugins have of places that are none any more, beside those that are.
    fn work_through(&self, gone: impl Iterator<Item = (String, Place)>, live: &[(String, Place)]) {
        // One that the plugin took back without telling us may be somebody else's by now.
        let in_use = |ipam: &str, address: &(String, IpAddr)| {
            live.iter().any(|(_, other)| other.ipam == ipam && other.addresses.contains(address))
        };
        for (endpoint, mut place) in gone {
            if place.joined && !self.tell(&place.driver, "Leave", &place.network, &endpoint) {
                self.owed().insert(place.driver);
                continue;
            }
            place.addresses.retain(|address| !in_use(&place.ipam, address));
            self.undo(&endpoint, &place);
        }
    }

    /// Gives back what plugins have of a place. The row of one that cannot be reached stays until it answers, or for the next
    /// daemon.
    fn undo(&self, endpoint: &str, place: &Place) {
        let reached = !place.made || self.tell(&place.driver, "DeleteEndpoint", &place.network, endpoint);
        let mut left =
            Place { made: !reached, joined: place.joined && !reached, ended: true, ..place.clone() };
        left.addresses.retain(|(pool, address)| !self.release_address(&place.ipam, pool, *address));
        if reached && left.addresses.is_empty() {
            return self.forget(endpoint);
        }
        let away = [(&place.driver, !reached), (&place.ipam, !left.addresses.is_empty())];
        self.owed().extend(away.into_iter().filter(|(_, away)| *away).map(|(plugin, _)| plugin.clone()));
        if let Err(error) = self.note(endpoint, &left) {
            tracing::warn!(%error, "a plugin keeps an endpoint that is gone");
        }
    }
}

fn remote(error: EngineError) -> RemoteError {
    let error = outward(error);
    RemoteError {
        class: error.class(),
        text: error.message().to_owned(),
        hint: corten_std::Classified::hint(&error),
    }
}

fn pair((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

/// What a plugin answers to `Join`.
fn interface(answer: &Value) -> Result<RemoteInterface> {
    let names = &answer["InterfaceName"];
    let address = |text: &str| -> Result<IpAddr> {
        text.parse()
            .map_err(|_| EngineError::system(format!("a plugin gave the next hop {text:?}, which is none")))
    };
    let mut interface = RemoteInterface {
        source: text(&names["SrcName"]),
        name: text(&names["DstName"]),
        prefix: text(&names["DstPrefix"]),
        without_gateway: answer["DisableGatewayService"].as_bool() == Some(true),
        ..RemoteInterface::default()
    };
    for key in ["Gateway", "GatewayIPv6"] {
        let gateway = text(&answer[key]);
        if !gateway.is_empty() {
            interface.gateways.push(address(&gateway)?);
        }
    }
    for route in answer["StaticRoutes"].as_array().into_iter().flatten() {
        let (destination, bits) = cidr(&text(&route["Destination"]))?;
        // 0 is by a next hop, 1 is what is on the interface itself.
        let hop = match route["RouteType"].as_u64() {
            Some(1) => None,
            _ => Some(address(&text(&route["NextHop"]))?),
        };
        interface.routes.push((destination, bits, hop));
    }
    Ok(interface)
}

/// What a plugin is told of a container's place: its ports and the options of the user.
pub(crate) fn endpoint_options(record: &Record, settings: &EndpointSettings) -> Result<Map<String, Value>> {
    let number = |protocol: Protocol| match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    };
    let mut exposed = BTreeMap::new();
    for port in record.config.exposed_ports.keys() {
        let Ok((port, protocol)) = ports::parse_container_port(port) else { continue };
        exposed.insert((port, number(protocol)), ());
    }
    let mappings = ports::mappings(&record.config.exposed_ports, &record.host_config)?;
    let map: Vec<Value> = mappings
        .iter()
        .map(|mapping| {
            exposed.insert((mapping.container_port, number(mapping.protocol)), ());
            let host = mapping.host_address.map(|address| address.to_string()).unwrap_or_default();
            let (first, last) =
                mapping.host_ports.as_ref().map_or((0, 0), |ports| (*ports.start(), *ports.end()));
            json!({
                "Proto": number(mapping.protocol), "IP": "", "Port": mapping.container_port,
                "HostIP": host, "HostPort": first, "HostPortEnd": last,
            })
        })
        .collect();
    let exposed: Vec<Value> =
        exposed.keys().map(|(port, protocol)| json!({"Proto": protocol, "Port": port})).collect();
    let options = settings.driver_opts.iter().flatten();
    let mut all: Map<String, Value> =
        options.map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect();
    all.insert(EXPOSED.to_owned(), exposed.into());
    all.insert(PORT_MAP.to_owned(), map.into());
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{PluginCaller, PluginError};
    use corten_store::{Store, StoreOptions};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    /// Answers to `Join` with a next hop that is none, and not at all when it is `away`.
    #[derive(Debug, Default)]
    struct Odd(Mutex<Vec<String>>, AtomicBool, AtomicUsize);

    impl PluginCaller for Odd {
        fn call(&self, plugin: &str, method: &str, _: &Value) -> std::result::Result<Value, PluginError> {
            self.2.fetch_add(1, Ordering::Relaxed);
            if self.1.load(Ordering::Relaxed) {
                return Err(PluginError::NotFound(plugin.to_owned()));
            }
            self.0.lock().unwrap().push(method.to_owned());
            Ok(if method == "NetworkDriver.Join" { json!({"Gateway": "odd"}) } else { json!({}) })
        }
    }

    fn odd(scratch: &corten_testing::Scratch) -> (Arc<Odd>, PluggedNetworks) {
        let paths = corten_std::Paths::new(scratch.path().join("root"), scratch.path().join("run"));
        let odd = Arc::new(Odd::default());
        let store = Store::open(&paths, StoreOptions::default()).unwrap();
        (Arc::clone(&odd), PluggedNetworks::new(odd, store))
    }

    #[test]
    fn a_plugin_whose_answer_to_a_join_cannot_be_used_is_told_to_leave() {
        let scratch = corten_testing::Scratch::new("odd-join");
        let (odd, plugged) = odd(&scratch);
        let place = Place { driver: "odd".to_owned(), made: true, ..Place::default() };
        plugged.note("endpoint", &place).unwrap();
        let error = plugged.join("network", "endpoint", Path::new("/sandbox")).unwrap_err();
        assert!(error.text.contains("\"odd\""), "{}", error.text);
        assert_eq!(*odd.0.lock().unwrap(), ["NetworkDriver.Join", "NetworkDriver.Leave"]);
        assert!(!plugged.place("endpoint").unwrap().joined);
    }

    #[test]
    fn addresses_of_a_plugin_that_is_away_are_given_back_later() {
        let scratch = corten_testing::Scratch::new("odd-away");
        let (odd, plugged) = odd(&scratch);
        let addresses = vec![("pool".to_owned(), IpAddr::from([10, 0, 0, 2]))];
        let place = Place { ipam: "odd".to_owned(), addresses, ..Place::default() };
        plugged.note("endpoint", &place).unwrap();
        odd.1.store(true, Ordering::Relaxed);
        plugged.delete("network", "endpoint");
        assert_eq!(plugged.place("endpoint").unwrap(), Place { ended: true, ..place });
        odd.1.store(false, Ordering::Relaxed);
        // As a daemon's start does.
        plugged.recover(&[]);
        assert_eq!(*odd.0.lock().unwrap(), ["IpamDriver.ReleaseAddress"]);
        assert!(plugged.store.records::<Place>(PLACES).list().unwrap().is_empty());
    }

    #[test]
    fn a_plugin_that_was_away_is_told_what_it_missed_at_its_next_use() {
        let scratch = corten_testing::Scratch::new("odd-back");
        let (odd, plugged) = odd(&scratch);
        let place = Place { driver: "odd".to_owned(), made: true, joined: true, ..Place::default() };
        plugged.note("gone", &place).unwrap();
        let next = Place { ended: false, ..place.clone() };
        plugged.note("stays", &next).unwrap();
        odd.1.store(true, Ordering::Relaxed);
        plugged.leave("network", "gone");
        plugged.delete("network", "gone");
        odd.1.store(false, Ordering::Relaxed);
        plugged.catch_up(&next);
        assert_eq!(*odd.0.lock().unwrap(), ["NetworkDriver.Leave", "NetworkDriver.DeleteEndpoint"]);
        plugged.catch_up(&next);
        assert_eq!(odd.0.lock().unwrap().len(), 2, "once");
        assert!(plugged.store.records::<Place>(PLACES).get("gone").unwrap().is_none());
        assert_eq!(plugged.place("stays").unwrap(), next);
    }

    #[test]
    fn a_start_waits_for_a_plugin_that_is_away_once() {
        let scratch = corten_testing::Scratch::new("odd-once");
        let (odd, plugged) = odd(&scratch);
        for endpoint in ["one", "two", "three"] {
            let place = Place { driver: "odd".to_owned(), made: true, joined: true, ..Place::default() };
            plugged.note(endpoint, &place).unwrap();
        }
        odd.1.store(true, Ordering::Relaxed);
        plugged.recover(&[]);
        assert_eq!(odd.2.load(Ordering::Relaxed), 1);
        assert_eq!(plugged.store.records::<Place>(PLACES).list().unwrap().len(), 3, "for a later start");
        odd.1.store(false, Ordering::Relaxed);
        plugged.recover(&[]);
        assert!(plugged.store.records::<Place>(PLACES).list().unwrap().is_empty());
    }
}
