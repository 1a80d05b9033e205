//! `network create`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::flags::key_value;
use corten_api::network::{ConfigReference, CreateRequest, Ipam, IpamConfig};
use std::net::IpAddr;

pub(crate) const ENTRY: Entry = Entry {
    name: "network create",
    aliases: &[],
    usage: "[OPTIONS] NETWORK",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Create a network
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Enable manual container attachment
    #[arg(long)]
    attachable: bool,
    /// Auxiliary IPv4 or IPv6 addresses used by Network driver
    #[arg(long, value_name = "map")]
    aux_address: Vec<String>,
    /// The network from which to copy the configuration
    #[arg(long, value_name = "string")]
    config_from: Option<String>,
    /// Create a configuration only network
    #[arg(long)]
    config_only: bool,
    /// Driver to manage the Network
    #[arg(short, long, value_name = "string", default_value = "bridge")]
    driver: String,
    /// IPv4 or IPv6 Gateway for the master subnet
    #[arg(long, value_name = "strings")]
    gateway: Vec<String>,
    /// Create swarm routing-mesh network
    #[arg(long)]
    ingress: bool,
    /// Restrict external access to the network
    #[arg(long)]
    internal: bool,
    /// Allocate container ip from a sub-range
    #[arg(long, value_name = "strings")]
    ip_range: Vec<String>,
    /// IP Address Management Driver
    #[arg(long, value_name = "string", default_value = "default")]
    ipam_driver: String,
    /// Set IPAM driver specific options
    #[arg(long, value_name = "map")]
    ipam_opt: Vec<String>,
    /// Enable or disable IPv4 address assignment
    #[arg(long, value_name = "bool", num_args = 0..=1, default_missing_value = "true")]
    ipv4: Option<bool>,
    /// Enable or disable IPv6 address assignment
    #[arg(long, value_name = "bool", num_args = 0..=1, default_missing_value = "true")]
    ipv6: Option<bool>,
    /// Set metadata on a network
    #[arg(long, value_parser = crate::flags::key_value::label)]
    label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long, value_name = "map")]
    opt: Vec<String>,
    /// Control the network's scope
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    scope: String,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long, value_name = "strings")]
    subnet: Vec<String>,
    /// Name
    network: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let request = CreateRequest {
        driver: arguments.driver.clone(),
        scope: arguments.scope.clone(),
        enable_ipv4: arguments.ipv4,
        enable_ipv6: arguments.ipv6,
        ipam: Some(Ipam {
            driver: arguments.ipam_driver.clone(),
            options: Some(key_value::map(&arguments.ipam_opt)),
            config: Some(pools(&arguments).map_err(CliError::said)?),
        }),
        internal: arguments.internal,
        attachable: arguments.attachable,
        ingress: arguments.ingress,
        config_only: arguments.config_only,
        config_from: arguments.config_from.clone().map(|network| ConfigReference { network }),
        options: key_value::map(&arguments.opt),
        labels: key_value::map(&arguments.label),
        name: arguments.network,
        ..CreateRequest::default()
    };
    let answer = context.client()?.network_create(&request)?;
    if !answer.warning.is_empty() {
        context.ui.note(format!("WARNING: {}", answer.warning));
    }
    context.ui.line(answer.id)?;
    Ok(0)
}

/// One pool for each subnet; ranges, gateways and reserved addresses go to the subnet that holds them.
fn pools(arguments: &Arguments) -> Result<Vec<IpamConfig>, String> {
    let split = |list: &[String]| -> Vec<String> {
        list.iter().flat_map(|entry| entry.split(',')).map(str::to_owned).collect()
    };
    let (subnets, ranges, gateways) =
        (split(&arguments.subnet), split(&arguments.ip_range), split(&arguments.gateway));
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".to_owned());
    }
    let mut pools: Vec<(Subnet, IpamConfig)> = Vec::new();
    for text in subnets {
        // What is no subnet is for the daemon to refuse, in its own words.
        let subnet = Subnet::parse(&text).unwrap_or(Subnet(IpAddr::from([0; 4]), 32));
        if pools.iter().any(|(other, _)| other.overlaps(&subnet)) {
            return Err("multiple overlapping subnet configuration is not supported".to_owned());
        }
        pools.push((subnet, IpamConfig { subnet: text, ..IpamConfig::default() }));
    }
    let find = |address: &str| -> Result<usize, String> {
        let ip = address
            .split('/')
            .next()
            .and_then(|ip| ip.parse().ok())
            .ok_or_else(|| format!("invalid address: {address}"))?;
        pools
            .iter()
            .position(|(subnet, _)| subnet.holds(ip))
            .ok_or_else(|| format!("no matching subnet for {address}"))
    };
    let mut changes = Vec::new();
    for range in ranges {
        changes.push((
            find(&range).map_err(|why| why.replace("subnet for", "subnet for range"))?,
            "range",
            range,
        ));
    }
    for gateway in gateways {
        changes.push((
            find(&gateway).map_err(|why| why.replace("subnet for", "subnet for gateway"))?,
            "gateway",
            gateway,
        ));
    }
    for (name, address) in key_value::map(&arguments.aux_address) {
        let at = find(&address).map_err(|why| why.replace("subnet for", "subnet for aux-address"))?;
        changes.push((at, "aux", format!("{name}={address}")));
    }
    for (at, what, value) in changes {
        let pool = &mut pools[at].1;
        match what {
            "range" if pool.ip_range.is_empty() => pool.ip_range = value,
            "range" => return Err("cannot configure multiple ranges".to_owned()),
            "gateway" if pool.gateway.is_empty() => pool.gateway = value,
            "gateway" => return Err("cannot configure multiple gateways".to_owned()),
            _ => {
                let (name, address) = value.split_once('=').unwrap_or((&value, ""));
                pool.auxiliary_addresses.insert(name.to_owned(), address.to_owned());
            }
        }
    }
    Ok(pools.into_iter().map(|(_, pool)| pool).collect())
}

/// An address with its prefix length.
#[derive(Debug, Clone, Copy)]
struct Subnet(IpAddr, u32);

impl Subnet {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let (address, length) = (address.parse().ok()?, length.parse().ok()?);
        (length <= if matches!(address, IpAddr::V4(_)) { 32 } else { 128 }).then_some(Self(address, length))
    }

    fn holds(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 4),
            IpAddr::V6(address) => (u128::from(address), 6),
        };
        let ((mine, family), (other, other_family)) = (bits(self.0), bits(address));
        family == other_family && (self.1 == 0 || (mine ^ other) >> (128 - self.1.min(128)) == 0)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.holds(other.0) || other.holds(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_hold_their_addresses() {
        let subnet = Subnet::parse("10.1.0.0/16").unwrap();
        assert!(subnet.holds("10.1.255.1".parse().unwrap()));
        assert!(!subnet.holds("10.2.0.1".parse().unwrap()));
        assert!(!subnet.holds("::1".parse().unwrap()));
        assert!(subnet.overlaps(&Subnet::parse("10.0.0.0/8").unwrap()));
        assert!(Subnet::parse("10.1.0.0/33").is_none());
    }
}
