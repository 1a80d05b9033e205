//! Which networks a container is to join, decided when it is created, and by connect and disconnect later.

use crate::Engine;
use crate::container::endpoints::{self, INTERFACE_SETTINGS};
use crate::container::handle::{NetworkView, Request};
use crate::container::owner::Owner;
use crate::container::state::Phase;
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use crate::network::{NetworkDriver, NetworkFound};
use crate::volume::blocking;
use corten_api::container::{ContainerConfig, HostConfig, NetworkingConfig};
use corten_api::network::{ConnectRequest, DisconnectRequest, EndpointSettings};
use corten_network::{AddressRange, MacAddress, NetworkConfig};
use corten_std::ErrorClass;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

const SHARED: &str = "container sharing network namespace with another container or host cannot be connected to any other network";
const NONE: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";

/// Whether a network is one that a user made, going by its name.
pub(crate) fn is_user_defined(name: &str) -> bool {
    !matches!(name, "default" | "bridge" | "host" | "none") && !name.starts_with("container:")
}

impl Engine {
    /// Checks the network mode and gives the endpoints by network name.
    pub(super) fn networks_for(
        &self,
        config: &ContainerConfig,
        host: &mut HostConfig,
        networking: NetworkingConfig,
        warnings: &mut Vec<String>,
    ) -> Result<BTreeMap<String, EndpointSettings>> {
        let mode = host.network_mode.clone();
        let publishes =
            host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty()) || host.publish_all_ports;
        if let Some(other) = mode.strip_prefix("container:") {
            self.check_shared(other, config, host, publishes)?;
        }
        for mode in [&mut host.pid_mode, &mut host.ipc_mode] {
            if let Some(other) = mode.strip_prefix("container:").and_then(|other| self.find(other).ok()) {
                *mode = format!("container:{}", other.id);
            }
        }
        let mut given = networking.endpoints_config;
        if mode.starts_with("container:") {
            if given.keys().any(|name| is_user_defined(name)) {
                return Err(EngineError::invalid(SHARED));
            }
            return Ok(BTreeMap::new());
        }
        let mode = if config.network_disabled { "none".to_owned() } else { mode };
        if mode == "bridge"
            && let Some(settings) = given.remove("default")
        {
            given.entry("bridge".to_owned()).or_insert(settings);
        }
        let mut refused = Vec::new();
        for (name, settings) in &given {
            let network = self.inner.networks.config(name);
            if let Err(error) = check(network.as_ref(), name, settings) {
                refused.push(format!("invalid config for network {name}: {error}"));
            }
        }
        if !config.mac_address.is_empty() && config.mac_address.parse::<MacAddress>().is_err() {
            refused.push(format!(
                "invalid config for network {mode}: invalid MAC address {}",
                config.mac_address
            ));
        }
        if !refused.is_empty() {
            return Err(EngineError::invalid(joined(refused)));
        }
        // A network that is not there is told at the start, as by Docker: to a client "not found" at a create means the
        // image.
        let resolve = |name: &str| self.inner.networks.resolve(name).ok();
        let known = |name: String| resolve(&name).map_or(name, |network| network.name);
        let mode_network = known(mode.clone());
        let mut networks: BTreeMap<String, EndpointSettings> =
            given.into_iter().map(|(name, settings)| (known(name), settings)).collect();
        let first = networks.entry(mode_network.clone()).or_default();
        if first.mac_address.is_empty() {
            first.mac_address.clone_from(&config.mac_address);
        }
        let drivers: Vec<_> =
            networks.keys().filter_map(|name| resolve(name)).map(|network| network.driver).collect();
        if drivers.contains(&NetworkDriver::Host) && publishes {
            warnings.push("Published ports are discarded when using host network mode".to_owned());
        }
        if networks.len() > 1 {
            check_together(&drivers)?;
        }
        for (name, settings) in &mut networks {
            settings.dns_names = None;
            settings.network_id = resolve(name).map(|network| network.id).unwrap_or_default();
        }
        Ok(networks)
    }

    /// `--network container:NAME`.
    fn check_shared(
        &self,
        other: &str,
        config: &ContainerConfig,
        host: &mut HostConfig,
        publishes: bool,
    ) -> Result<()> {
        if other.is_empty() {
            return Err(EngineError::invalid("Container mode: invalid container format container:<name|id>"));
        }
        let refuse = |what: &str| {
            Err(EngineError::invalid(format!(
                "conflicting options: {what} and the container type network mode"
            )))
        };
        if !config.hostname.is_empty() {
            return Err(EngineError::invalid("conflicting options: hostname and the network mode"));
        }
        if publishes {
            return refuse("port publishing");
        }
        if !config.exposed_ports.is_empty() {
            return refuse("port exposing");
        }
        if host.extra_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty()) {
            return refuse("custom host-to-IP mapping");
        }
        // The id is kept, so that a rename of the other container does not matter; and the one that has the network
        // itself, where the other has it from a third. One that is not there is told at the start, as by Docker.
        if let Ok(other) = self.find(other) {
            let mode = other.view().record.host_config.network_mode.clone();
            host.network_mode =
                if mode.starts_with("container:") { mode } else { format!("container:{}", other.id) };
        }
        Ok(())
    }

    /// `POST /networks/{id}/connect`.
    pub async fn network_connect(&self, reference: &str, request: ConnectRequest) -> Result<()> {
        let handle = self.find(&request.container)?;
        let network = self.inner.networks.resolve(reference)?;
        let settings = Box::new(request.endpoint_config.unwrap_or_default());
        handle.ask(|reply| Request::Connect { network, settings, reply }).await
    }

    /// `POST /networks/{id}/disconnect`.
    pub async fn network_disconnect(&self, reference: &str, request: DisconnectRequest) -> Result<()> {
        let handle = self.find(&request.container)?;
        let network = match self.inner.networks.resolve(reference) {
            Ok(network) => network.name,
            // A network that is gone can still be in a record.
            Err(_) if request.force => reference.to_owned(),
            Err(error) => return Err(error),
        };
        handle.ask(|reply| Request::Disconnect { network, reply }).await
    }
}

impl Owner {
    /// Connects the container to a further network, at once where it runs, else at its next start.
    pub(super) async fn connect(&mut self, network: &NetworkFound, settings: EndpointSettings) -> Result<()> {
        self.check_changeable()?;
        let record = &self.record;
        if network.driver == NetworkDriver::Configuration {
            return Err(crate::network::configuration_only());
        }
        let connected = record.networks.contains_key(&network.name);
        if connected && self.running.is_some() {
            return Err(EngineError::forbidden(format!(
                "endpoint with name {} already exists in network {}",
                record.name, network.name
            )));
        }
        if record.host_config.network_mode.starts_with("container:") {
            return Err(EngineError::invalid(SHARED));
        }
        check(self.engine.inner.networks.config(&network.name).as_ref(), &network.name, &settings)
            .map_err(EngineError::invalid)?;
        if network.driver == NetworkDriver::Host && record.host_config.network_mode != "host" {
            return Err(EngineError::invalid(
                "cannot connect container to host network - container must be created in host network mode",
            ));
        }
        if connected {
            return Ok(());
        }
        let mut drivers = vec![network.driver];
        let others = record.networks.keys().filter_map(|name| self.engine.inner.networks.resolve(name).ok());
        drivers.extend(others.map(|other| other.driver));
        if drivers.len() > 1 {
            check_together(&drivers)?;
        }
        let mut new = (**record).clone();
        let asked = EndpointSettings {
            ipam_config: settings.ipam_config,
            links: settings.links,
            aliases: settings.aliases.filter(|aliases| !aliases.is_empty()),
            mac_address: settings.mac_address,
            driver_opts: settings.driver_opts.filter(|options| !options.is_empty()),
            gw_priority: settings.gw_priority,
            network_id: network.id.clone(),
            ..EndpointSettings::default()
        };
        new.networks.insert(network.name.clone(), asked);
        if self.running.is_none() {
            self.save_record(new).await?;
            self.publish();
            return Ok(());
        }
        let made = self.change_network({
            let (new, name) = (new.clone(), network.name.clone());
            move |engine, old| endpoints::add(engine, &new, old, &name)
        });
        made.await?;
        if let Err(error) = self.save_record(new).await {
            let (record, id) = (Arc::clone(&self.record), network.id.clone());
            let undone =
                self.change_network(move |engine, old| endpoints::remove(engine, &record, old, &id)).await;
            if let Err(error) = undone {
                tracing::warn!(container = self.record.id, %error, "cannot undo a connection to a network");
            }
            return Err(error);
        }
        self.publish();
        super::monitor::tell_network(&self.engine.inner, &self.record, network, "connect");
        Ok(())
    }

    /// Takes the container off a network, at once where it runs.
    pub(super) async fn disconnect(&mut self, network: &str) -> Result<()> {
        self.check_changeable()?;
        let id = self.record.id.clone();
        let Some(known) = self.record.networks.get(network) else {
            let the = if self.running.is_some() { "" } else { "the " };
            let text = format!("container {id} is not connected to {the}network {network}");
            return Err(EngineError::new(ErrorClass::System, text));
        };
        let mut new = (*self.record).clone();
        let known_id = known.network_id.clone();
        new.networks.remove(network);
        let Some(running) = &self.running else {
            self.save_record(new).await?;
            self.publish();
            return Ok(());
        };
        if self.record.host_config.network_mode == "host" {
            return Err(EngineError::invalid(
                "cannot disconnect container from host network - container was created in host network mode",
            ));
        }
        let found = self.engine.inner.networks.resolve(network).ok();
        let connected = running.network.endpoints.get(network).map(|endpoint| endpoint.network_id.clone());
        self.save_record(new).await?;
        let network_id = connected.unwrap_or(known_id);
        let record = Arc::clone(&self.record);
        let left = self
            .change_network(move |engine, old| endpoints::remove(engine, &record, old, &network_id))
            .await;
        self.publish();
        if let Some(found) = found {
            super::monitor::tell_network(&self.engine.inner, &self.record, &found, "disconnect");
        }
        left
    }

    fn check_changeable(&self) -> Result<()> {
        match self.life.phase {
            Phase::Removing | Phase::Removed | Phase::Dead => Err(EngineError::system(format!(
                "Container {} is marked for removal and cannot be connected or disconnected to the network",
                self.record.id
            ))),
            _ => Ok(()),
        }
    }

    /// Changes how the running container is connected.
    async fn change_network(
        &mut self,
        change: impl FnOnce(&EngineInner, &NetworkView) -> Result<NetworkView> + Send + 'static,
    ) -> Result<()> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let (engine, old) = (Arc::clone(&self.engine.inner), Arc::clone(&running.network));
        let view = blocking(move || change(&engine, &old)).await?;
        running.network = Arc::new(view);
        Ok(())
    }
}

/// What cannot be joined together.
fn check_together(drivers: &[NetworkDriver]) -> Result<()> {
    if drivers.contains(&NetworkDriver::Host) {
        return Err(EngineError::invalid(SHARED));
    }
    if drivers.contains(&NetworkDriver::None) {
        return Err(EngineError::invalid(NONE));
    }
    Ok(())
}

/// Whether what is asked of an endpoint can be, with Docker's texts.
fn check(
    network: Option<&NetworkConfig>,
    name: &str,
    settings: &EndpointSettings,
) -> std::result::Result<(), String> {
    let mut refused = Vec::new();
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    if !is_user_defined(name) {
        if !(ipam.ipv4_address.is_empty() && ipam.ipv6_address.is_empty()) {
            refused.push("user specified IP address is supported on user defined networks only".to_owned());
        }
        if settings.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty()) {
            refused.push(
                "network-scoped alias is supported only for containers in user defined networks".to_owned(),
            );
        }
    }
    let ipv4 = check_address(&ipam.ipv4_address, "IPv4 address", IpAddr::is_ipv4, &mut refused);
    let ipv6 = check_address(&ipam.ipv6_address, "IPv6 address", IpAddr::is_ipv6, &mut refused);
    for text in &ipam.link_local_ips {
        check_address(text, "link-local IP address", |_| true, &mut refused);
    }
    if let Some(network) = network {
        refused.extend(ipv4.and_then(|address| check_in_range(address, &network.ipv4).err()));
        refused.extend(ipv6.and_then(|address| check_in_range(address, &network.ipv6).err()));
    }
    if !settings.mac_address.is_empty() && settings.mac_address.parse::<MacAddress>().is_err() {
        return Err(format!("invalid MAC address {}", settings.mac_address));
    }
    let settings_of_interface =
        settings.driver_opts.as_ref().and_then(|options| options.get(INTERFACE_SETTINGS));
    for setting in settings_of_interface.iter().flat_map(|text| text.split(',')) {
        let parts: Vec<&str> = setting.splitn(5, '.').collect();
        let known = matches!(parts[..], ["net", "ipv4" | "ipv6" | "mpls", _, "IFNAME" | "ifname", _]);
        if !known {
            refused.push(format!(
                "unrecognised network interface sysctl '{setting}'; represent 'net.X.Y.ethN.Z=V' as \
                 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
            ));
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(format!("invalid endpoint settings:\n{}", joined(refused))) }
}

fn check_address(
    text: &str,
    what: &str,
    is_family: impl Fn(&IpAddr) -> bool,
    refused: &mut Vec<String>,
) -> Option<IpAddr> {
    if text.is_empty() {
        return None;
    }
    let address =
        text.parse().ok().filter(|address: &IpAddr| is_family(address) && !address.is_unspecified());
    if address.is_none() {
        refused.push(format!("invalid {what}: {text}"));
    }
    address
}

fn check_in_range(address: IpAddr, ranges: &[AddressRange]) -> std::result::Result<(), String> {
    let mut asked = ranges.iter().filter(|range| range.asked).peekable();
    if asked.peek().is_none() {
        return Err(
            "user specified IP address is supported only when connecting to networks with user configured subnets"
                .to_owned(),
        );
    }
    if asked.any(|range| range.subnet.contains(address)) {
        return Ok(());
    }
    Err(format!("no configured subnet or ip-range contain the IP address {address}"))
}

/// Several refusals as one, in Docker's form.
pub(crate) fn joined(refused: Vec<String>) -> String {
    match <[String; 1]>::try_from(refused) {
        Ok([only]) => only,
        Err(all) => {
            let lines = all.iter().map(|text| format!("* {}", text.replace('\n', "\n\t")));
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_api::network::EndpointIpamConfig;

    fn settings(ipv4: &str, ipv6: &str) -> EndpointSettings {
        let ipam = EndpointIpamConfig {
            ipv4_address: ipv4.to_owned(),
            ipv6_address: ipv6.to_owned(),
            ..Default::default()
        };
        EndpointSettings { ipam_config: Some(ipam), ..EndpointSettings::default() }
    }

    #[test]
    fn addresses_are_asked_for_where_the_subnet_was() {
        let mut network = NetworkConfig::bridge("aa", "net", "br-aa", "10.1.0.0/24".parse().unwrap());
        let check = |network: &NetworkConfig, settings: &_| check(Some(network), "net", settings);
        let error = check(&network, &settings("10.1.0.9", "")).unwrap_err();
        assert!(error.contains("only when connecting to networks with user configured subnets"), "{error}");
        network.ipv4[0].asked = true;
        assert_eq!(check(&network, &settings("10.1.0.9", "")), Ok(()));
        assert_eq!(
            check(&network, &settings("10.2.0.9", "")).unwrap_err(),
            "invalid endpoint settings:\nno configured subnet or ip-range contain the IP address 10.2.0.9"
        );
        assert_eq!(
            check(&network, &settings("fd00::1", "10.1.0.1")).unwrap_err(),
            "invalid endpoint settings:\n* invalid IPv4 address: fd00::1\n* invalid IPv6 address: 10.1.0.1"
        );
        let error = super::check(None, "bridge", &settings("10.1.0.9", "")).unwrap_err();
        assert!(error.ends_with("user specified IP address is supported on user defined networks only"));
        let mac = EndpointSettings { mac_address: "02:42".to_owned(), ..EndpointSettings::default() };
        assert_eq!(check(&network, &mac).unwrap_err(), "invalid MAC address 02:42");
    }

    #[test]
    fn what_cannot_be_together() {
        use NetworkDriver::{Bridge, Host, Macvlan, None};
        check_together(&[Bridge, Macvlan]).unwrap();
        assert_eq!(check_together(&[Bridge, Host]).unwrap_err().to_string(), SHARED);
        assert_eq!(check_together(&[None, Bridge]).unwrap_err().to_string(), NONE);
    }
}
