//! A request for a network becomes its configuration: everything is checked here, with Docker's texts, before anything
//! is made.

use crate::container::joined;
use crate::error::{EngineError, Result};
use corten_api::network::{CreateRequest, IpamConfig};
use corten_network::{
    AddressRange, Driver, GatewayMode, IpvlanFlag, IpvlanMode, MacvlanMode, NetworkConfig, NetworkManager,
    Subnet, SubnetPool,
};
use corten_std::{ErrorClass, id};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

/// What a new network must fit in with.
pub(super) struct Surroundings<'a> {
    pub(super) manager: &'a NetworkManager,
    /// The networks that are there.
    pub(super) others: Vec<&'a NetworkConfig>,
    /// Where subnets are chosen from, of IPv4 and of IPv6.
    pub(super) pools: &'a [SubnetPool],
    pub(super) pool6: SubnetPool,
}

impl Surroundings<'_> {
    /// A subnet that nobody has.
    pub(super) fn free_subnet(&self, ipv4: bool) -> Result<Subnet> {
        let taken: Vec<Subnet> =
            self.others.iter().flat_map(|other| other.ranges()).map(|range| range.subnet).collect();
        let pools = if ipv4 { self.pools } else { std::slice::from_ref(&self.pool6) };
        self.manager
            .choose_subnet(pools, &taken)
            .map_err(|error| EngineError::because("looking for a free subnet", error))?
            .ok_or_else(|| {
                EngineError::system("all predefined address pools have been fully subnetted")
                    .with_hint("name a --subnet")
            })
    }
}

/// The name of a network as users may give it.
pub(super) fn check_name(name: &str) -> Result<()> {
    if super::PREDEFINED.contains(&name) || name == "default" {
        return Err(EngineError::forbidden(format!(
            "operation is not permitted on predefined {name} network "
        )));
    }
    if name.trim().is_empty() {
        return Err(EngineError::invalid("invalid name: name is empty"));
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

/// The driver asked for; those that no container of ours can be connected by are refused.
pub(super) fn driver(request: &CreateRequest) -> Result<&'static str> {
    let swarm = || {
        EngineError::new(
            ErrorClass::Unavailable,
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to \
             swarm and try again.",
        )
    };
    if request.scope == "swarm" || request.ingress {
        return Err(swarm());
    }
    match request.driver.as_str() {
        "" | "bridge" | "default" => Ok("bridge"),
        "macvlan" => Ok("macvlan"),
        "ipvlan" => Ok("ipvlan"),
        "host" | "null" => Err(EngineError::forbidden(format!(
            "only one instance of \"{}\" network is allowed",
            request.driver
        ))),
        "overlay" => Err(swarm()),
        driver => Err(super::plugged::not_found(driver)),
    }
}

/// Turns a request into a network.
pub(super) fn configuration(
    id: &str,
    request: &CreateRequest,
    around: &Surroundings<'_>,
) -> Result<NetworkConfig> {
    let word = driver(request)?;
    let ipv4 = request.enable_ipv4 != Some(false);
    let ipv6 = request.enable_ipv6 == Some(true);
    if !ipv4 && !ipv6 {
        return Err(EngineError::invalid("IPv4 or IPv6 must be enabled"));
    }
    if let Some(ipam) = &request.ipam
        && !matches!(ipam.driver.as_str(), "" | "default")
    {
        return Err(EngineError::not_found(format!("plugin \"{}\" not found", ipam.driver)));
    }
    let mut ranges = ranges(request, ipv4, ipv6)?;
    let options = Options(&request.options);
    let mut network = match word {
        "bridge" => bridge(id, request, options)?,
        _ => on_parent(id, request, word, options, around)?,
    };
    if network.is_bridge() && options.get("com.docker.network.bridge.name").is_some() {
        let found = around.manager.has_interface(&network.interface);
        network.found_bridge = found.map_err(|error| EngineError::because("", error))?;
    }
    network.internal = request.internal;
    options.with("com.docker.network.driver.mtu", |text| {
        network.mtu = text.parse().ok().filter(|mtu| (68..=65535).contains(mtu))?;
        Some(())
    })?;
    for family in [true, false] {
        let enabled = if family { ipv4 } else { ipv6 };
        let given = ranges.iter().filter(|range| range.subnet.is_ipv4() == family).count();
        if given > 1 && network.is_bridge() {
            return Err(EngineError::forbidden("bridge driver doesn't support multiple subnets"));
        }
        if enabled && given == 0 {
            ranges.push(AddressRange::new(around.free_subnet(family)?));
        }
    }
    let taken = |subnet: Subnet| {
        around.others.iter().flat_map(|other| other.ranges()).any(|other| other.subnet.overlaps(subnet))
    };
    for (index, range) in ranges.iter().enumerate() {
        let twice = ranges[..index].iter().any(|other| other.subnet.overlaps(range.subnet));
        if twice || taken(range.subnet) {
            return Err(EngineError::forbidden(
                "invalid pool request: Pool overlaps with other one on this address space",
            ));
        }
    }
    for range in ranges {
        network.ranges_mut(range.subnet.is_ipv4()).push(range);
    }
    Ok(network)
}

/// Whether the ranges that were asked for can be.
pub(super) fn check_ranges(request: &CreateRequest) -> Result<()> {
    ranges(request, request.enable_ipv4 != Some(false), request.enable_ipv6 == Some(true)).map(drop)
}

/// The ranges that were asked for. Those of a family that is switched off are passed over, as Docker does.
pub(super) fn ranges(request: &CreateRequest, ipv4: bool, ipv6: bool) -> Result<Vec<AddressRange>> {
    let mut ranges = Vec::new();
    let mut refused = Vec::new();
    let asked = request.ipam.as_ref().and_then(|ipam| ipam.config.as_ref());
    for asked in asked.into_iter().flatten() {
        if *asked == IpamConfig::default() {
            continue;
        }
        let Some((subnet, exact)) = cidr(&asked.subnet) else {
            refused.push(format!("invalid subnet {}: invalid CIDR block notation", asked.subnet));
            continue;
        };
        if !(if subnet.is_ipv4() { ipv4 } else { ipv6 }) {
            continue;
        }
        if !exact {
            refused.push(format!("invalid subnet {}: it should be {subnet}", asked.subnet));
        }
        let mut range = AddressRange { asked: true, ..AddressRange::new(subnet) };
        match part(&asked.ip_range, subnet) {
            Ok(part) => range.range = part,
            Err(why) => refused.push(format!("invalid ip-range {}: {why}", asked.ip_range)),
        }
        match member(&asked.gateway, subnet) {
            Ok(gateway) => range.gateway = gateway.or(range.gateway),
            Err(why) => refused.push(format!("invalid gateway {}: {why}", asked.gateway)),
        }
        for (name, text) in &asked.auxiliary_addresses {
            match member(text, subnet) {
                Ok(address) => range.reserved.extend(address.map(|address| (name.clone(), address))),
                Err(why) => refused.push(format!("invalid auxiliary address {name}: {why}")),
            }
        }
        if asked.gateway.is_empty() {
            // Docker takes the first address that is not spoken for.
            let spoken_for = |address: &IpAddr| range.reserved.values().any(|other| other == address);
            range.gateway = Some(first_free(subnet, spoken_for));
        } else if range.reserved.values().any(|address| Some(*address) == range.gateway) {
            return Err(EngineError::forbidden("Address already in use"));
        }
        ranges.push(range);
    }
    if refused.is_empty() {
        Ok(ranges)
    } else {
        Err(EngineError::invalid(format!("invalid network config:\n{}", joined(refused))))
    }
}

fn first_free(subnet: Subnet, spoken_for: impl Fn(&IpAddr) -> bool) -> IpAddr {
    let mut address = subnet.first_host();
    while spoken_for(&address) {
        let next = match address {
            IpAddr::V4(address) => IpAddr::V4(u32::from(address).wrapping_add(1).into()),
            IpAddr::V6(address) => IpAddr::V6(u128::from(address).wrapping_add(1).into()),
        };
        if !subnet.contains(next) {
            break;
        }
        address = next;
    }
    address
}

/// A block of addresses, and whether its address is its first.
fn cidr(text: &str) -> Option<(Subnet, bool)> {
    let subnet: Subnet = text.parse().ok()?;
    let address: IpAddr = text.split_once('/')?.0.parse().ok()?;
    Some((subnet, address == subnet.address()))
}

fn part(text: &str, subnet: Subnet) -> std::result::Result<Option<Subnet>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let (part, exact) = cidr(text).ok_or("invalid CIDR block notation")?;
    if part.is_ipv4() != subnet.is_ipv4() {
        return Err(format!("parent subnet is an {} block", family(subnet)));
    }
    if part.prefix() < subnet.prefix() {
        return Err(format!("CIDR block is bigger than its parent subnet {subnet}"));
    }
    if !exact {
        return Err(format!("it should be {part}"));
    }
    if !subnet.overlaps(part) {
        return Err(format!("parent subnet {subnet} doesn't contain ip-range"));
    }
    Ok(Some(part))
}

fn member(text: &str, subnet: Subnet) -> std::result::Result<Option<IpAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: IpAddr = text.parse().map_err(|_| "invalid address")?;
    if address.is_ipv4() != subnet.is_ipv4() {
        return Err(format!("parent subnet is an {} block", family(subnet)));
    }
    if !subnet.contains(address) {
        return Err(format!("parent subnet {subnet} doesn't contain this address"));
    }
    Ok(Some(address))
}

fn family(subnet: Subnet) -> &'static str {
    if subnet.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Options of a driver.
#[derive(Clone, Copy)]
struct Options<'a>(&'a BTreeMap<String, String>);

impl<'a> Options<'a> {
    fn get(self, key: &str) -> Option<&'a str> {
        self.0.get(key).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// Takes an option over; `read` gives nothing where it cannot be.
    fn with(self, key: &str, read: impl FnOnce(&str) -> Option<()>) -> Result<()> {
        match self.get(key) {
            Some(text) if read(text).is_none() => {
                Err(EngineError::invalid(format!("failed to parse {key} value: {text}")))
            }
            _ => Ok(()),
        }
    }

    fn flag(self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(text) => Err(EngineError::invalid(format!(
                "failed to parse {key} value: {text} (strconv.ParseBool: parsing \"{text}\": invalid syntax)"
            ))),
        }
    }
}

fn bridge(id: &str, request: &CreateRequest, options: Options<'_>) -> Result<NetworkConfig> {
    const KEY: &str = "com.docker.network.bridge.";
    let key = |name: &str| format!("{KEY}{name}");
    let name = options.get(&key("name")).map_or_else(|| format!("br-{}", id::short(id)), str::to_owned);
    if name.len() > 15 || name.contains(['/', ':']) || name.contains(char::is_whitespace) {
        return Err(EngineError::invalid(format!(
            "invalid bridge name `{name}`: 1 to 15 characters, none of them /, : or blank"
        )));
    }
    let mut network = NetworkConfig::without_addresses(id, &request.name, Driver::Bridge, &name);
    network.masquerade = options.flag(&key("enable_ip_masquerade"), true)? && !request.internal;
    network.icc = options.flag(&key("enable_icc"), true)?;
    network.inhibit_ipv4 = options.flag(&key("inhibit_ipv4"), false)?;
    for name in ["host_binding_ipv4", "host_binding_ipv6"] {
        options.with(&key(name), |text| {
            network.default_host_address = Some(text.parse().ok()?);
            Some(())
        })?;
    }
    network.gateway_mode4 = gateway_mode(options, &key("gateway_mode_ipv4"), request.internal)?;
    network.gateway_mode6 = gateway_mode(options, &key("gateway_mode_ipv6"), request.internal)?;
    Ok(network)
}

fn gateway_mode(options: Options<'_>, key: &str, internal: bool) -> Result<GatewayMode> {
    match options.get(key) {
        None | Some("nat") => Ok(GatewayMode::Nat),
        Some("nat-unprotected") => Ok(GatewayMode::NatUnprotected),
        Some("routed") => Ok(GatewayMode::Routed),
        Some("isolated") if internal => Ok(GatewayMode::Isolated),
        Some("isolated") => {
            Err(EngineError::invalid("gateway mode 'isolated' can only be used for an internal network"))
        }
        Some(other) => Err(EngineError::invalid(format!("unknown gateway mode {other}"))),
    }
}

/// macvlan and ipvlan: an interface for each container on one of the host's.
fn on_parent(
    id: &str,
    request: &CreateRequest,
    word: &str,
    options: Options<'_>,
    around: &Surroundings<'_>,
) -> Result<NetworkConfig> {
    let mut ipvlan_flag = IpvlanFlag::Bridge;
    let driver = if word == "macvlan" {
        Driver::Macvlan(match options.get("macvlan_mode") {
            None | Some("bridge") => MacvlanMode::Bridge,
            Some("private") => MacvlanMode::Private,
            Some("vepa") => MacvlanMode::Vepa,
            Some("passthru") => MacvlanMode::Passthru,
            Some(mode) => {
                return Err(EngineError::invalid(format!(
                    "requested macvlan mode '{mode}' is not valid, 'bridge' mode is the macvlan driver default"
                )));
            }
        })
    } else {
        ipvlan_flag = match options.get("ipvlan_flag") {
            None | Some("bridge") => IpvlanFlag::Bridge,
            Some("private") => IpvlanFlag::Private,
            Some("vepa") => IpvlanFlag::Vepa,
            Some(flag) => {
                return Err(EngineError::invalid(format!(
                    "requested ipvlan flag '{flag}' is not valid, 'bridge' is the ipvlan driver default flag"
                )));
            }
        };
        Driver::Ipvlan(match options.get("ipvlan_mode") {
            None | Some("l2") => IpvlanMode::L2,
            Some("l3") => IpvlanMode::L3,
            Some("l3s") => IpvlanMode::L3s,
            Some(mode) => {
                return Err(EngineError::invalid(format!(
                    "requested ipvlan mode '{mode}' is not valid, 'l2' mode is the ipvlan driver default"
                )));
            }
        })
    };
    let lonely = format!("{}-{}", if word == "macvlan" { "dm" } else { "di" }, &id::short(id)[..11]);
    let parent = options.get("parent").unwrap_or(&lonely);
    let exists = around.manager.has_interface(parent).map_err(|error| EngineError::because("", error))?;
    let mut network = NetworkConfig::without_addresses(id, &request.name, driver, parent);
    network.ipvlan_flag = ipvlan_flag;
    network.masquerade = false;
    network.own_parent = !exists;
    if !exists && parent != lonely && !parent.contains('.') && !request.internal {
        return Err(EngineError::invalid(format!(
            "invalid subinterface vlan name {parent}, example formatting is eth0.10"
        ))
        .with_hint(format!("there is no interface `{parent}` on this host")));
    }
    if let Some(other) = around.others.iter().find(|other| {
        let alone = |driver| matches!(driver, Driver::Macvlan(MacvlanMode::Passthru));
        other.interface == parent && !other.is_bridge() && (alone(driver) || alone(other.driver))
    }) {
        return Err(EngineError::forbidden(format!(
            "cannot use mode passthru, macvlan network {} is already using parent interface {parent}",
            other.name
        )));
    }
    // The kernel keeps both with the parent, and would change them under the containers of the other network.
    if let Some(other) = around.others.iter().find(|other| {
        other.interface == parent
            && matches!((other.driver, driver), (Driver::Ipvlan(theirs), Driver::Ipvlan(ours))
                if theirs != ours || other.ipvlan_flag != ipvlan_flag)
    }) {
        return Err(EngineError::forbidden(format!(
            "ipvlan network {} uses parent interface {parent} with another mode or flag",
            other.name
        )));
    }
    Ok(network)
}

/// An address of a pool with the size of its pieces, `base=10.1.0.0/16,size=24`, as the daemon's settings name it.
pub fn parse_pool(text: &str) -> std::result::Result<SubnetPool, String> {
    let wrong = || format!("invalid default address pool `{text}`: as in base=10.1.0.0/16,size=24");
    let (mut base, mut size) = (None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("base", value)) => base = Subnet::from_str(value).ok(),
            Some(("size", value)) => size = value.parse::<u8>().ok(),
            _ => return Err(wrong()),
        }
    }
    let (base, size) = base.zip(size).ok_or_else(wrong)?;
    let most = if base.is_ipv4() { 30 } else { 126 };
    if size < base.prefix() || size > most { Err(wrong()) } else { Ok(SubnetPool { base, size }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_api::network::Ipam;

    fn asked(subnet: &str, range: &str, gateway: &str, reserved: &[(&str, &str)]) -> CreateRequest {
        let config = IpamConfig {
            subnet: subnet.to_owned(),
            ip_range: range.to_owned(),
            gateway: gateway.to_owned(),
            auxiliary_addresses: reserved
                .iter()
                .map(|(name, address)| ((*name).to_owned(), (*address).to_owned()))
                .collect(),
        };
        let ipam = Ipam { config: Some(vec![config]), ..Ipam::default() };
        CreateRequest { ipam: Some(ipam), ..CreateRequest::default() }
    }

    #[test]
    fn ranges_are_checked_with_dockers_words() {
        let refused = |request: &CreateRequest| {
            let error = ranges(request, true, true).unwrap_err().to_string();
            error.strip_prefix("invalid network config:\n").map(str::to_owned).unwrap_or(error)
        };
        for (request, text) in [
            (asked("10.1/16", "", "", &[]), "invalid subnet 10.1/16: invalid CIDR block notation"),
            (asked("10.1.2.3/16", "", "", &[]), "invalid subnet 10.1.2.3/16: it should be 10.1.0.0/16"),
            (
                asked("10.1.0.0/16", "10.2.0.0/24", "", &[]),
                "invalid ip-range 10.2.0.0/24: parent subnet 10.1.0.0/16 doesn't contain ip-range",
            ),
            (
                asked("10.1.0.0/16", "10.0.0.0/8", "", &[]),
                "invalid ip-range 10.0.0.0/8: CIDR block is bigger than its parent subnet 10.1.0.0/16",
            ),
            (
                asked("10.1.0.0/16", "", "fd00::1", &[]),
                "invalid gateway fd00::1: parent subnet is an IPv4 block",
            ),
            (
                asked("10.1.0.0/16", "", "10.2.0.1", &[("r", "10.3.0.1")]),
                "* invalid gateway 10.2.0.1: parent subnet 10.1.0.0/16 doesn't contain this address\n\
                 * invalid auxiliary address r: parent subnet 10.1.0.0/16 doesn't contain this address",
            ),
            (asked("10.1.0.0/16", "", "10.1.0.1", &[("r", "10.1.0.1")]), "Address already in use"),
        ] {
            assert_eq!(refused(&request), text);
        }
        let plain = ranges(&asked("10.1.0.0/16", "", "", &[("r", "10.1.0.1")]), true, false).unwrap();
        assert_eq!(plain[0].gateway, Some([10, 1, 0, 2].into()));
        assert!(plain[0].asked);
        assert_eq!(ranges(&asked("fd00::/64", "", "", &[]), true, false).unwrap(), []);
    }

    #[test]
    fn options_of_bridges() {
        let with = |key: &str, value: &str, internal| {
            let options = [(format!("com.docker.network.bridge.{key}"), value.to_owned())].into();
            let request = CreateRequest { options, internal, ..CreateRequest::default() };
            bridge(&"a".repeat(64), &request, Options(&request.options)).map_err(|error| error.to_string())
        };
        assert_eq!(with("name", "br9", false).unwrap().interface, "br9");
        assert_eq!(with("name", "", false).unwrap().interface, "br-aaaaaaaaaaaa");
        assert!(with("name", "a name", false).is_err());
        assert!(!with("enable_icc", "false", false).unwrap().icc);
        assert!(with("enable_icc", "no", false).unwrap_err().contains("invalid syntax"));
        assert_eq!(with("gateway_mode_ipv6", "routed", false).unwrap().gateway_mode6, GatewayMode::Routed);
        assert!(with("gateway_mode_ipv4", "isolated", false).unwrap_err().contains("internal network"));
        assert_eq!(with("gateway_mode_ipv4", "isolated", true).unwrap().gateway_mode4, GatewayMode::Isolated);
        assert_eq!(with("gateway_mode_ipv4", "odd", true).unwrap_err(), "unknown gateway mode odd");
        assert!(with("host_binding_ipv4", "x", false).is_err());
    }

    #[test]
    fn pools_of_the_settings() {
        assert_eq!(parse_pool("base=10.1.0.0/16,size=24").unwrap().size, 24);
        for text in
            ["", "base=10.1.0.0/16", "base=10.1.0.0/16,size=8", "base=10.1.0.0/16,size=31", "size=24,x=1"]
        {
            assert!(parse_pool(text).is_err(), "{text}");
        }
    }

    #[test]
    fn predefined_names_are_the_engines() {
        assert_eq!(check_name("bridge").unwrap_err().class(), ErrorClass::Forbidden);
        assert_eq!(check_name("a/b").unwrap_err().class(), ErrorClass::InvalidParameter);
        assert!(check_name("net-1").is_ok());
    }
}
