//! A network as `inspect` and the list show it.

use super::{NetworkRecord, PREDEFINED};
use corten_api::network::{ConfigReference, EndpointResource, Inspect, Ipam, IpamConfig};
use corten_network::AddressRange;
use std::collections::BTreeMap;

/// How far a network reaches: what its plugin says, else this machine.
pub(super) fn scope(record: &NetworkRecord) -> &str {
    let told = record.plugged.as_ref().map(|plugged| plugged.scope.as_str());
    told.filter(|scope| !scope.is_empty()).unwrap_or("local")
}

/// The whole document, with the running containers given.
pub(super) fn document(record: &NetworkRecord, containers: BTreeMap<String, EndpointResource>) -> Inspect {
    let range = |range: &AddressRange| IpamConfig {
        subnet: range.subnet.to_string(),
        ip_range: range.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: range.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary_addresses: range
            .reserved
            .iter()
            .map(|(name, address)| (name.clone(), address.to_string()))
            .collect(),
    };
    let config = record.config.as_ref();
    let held = record.held.as_deref();
    let predefined = PREDEFINED.contains(&record.name.as_str());
    let plugged = record.plugged.as_deref();
    Inspect {
        name: record.name.clone(),
        id: record.id.clone(),
        created: record.created.to_string(),
        scope: scope(record).to_owned(),
        driver: record.driver_name().to_owned(),
        enable_ipv4: plugged.is_some_and(|plugged| plugged.ipv4)
            || config.is_none_or(|config| !config.ipv4.is_empty())
                && held.is_none_or(|held| held.enable_ipv4 != Some(false)),
        enable_ipv6: plugged.is_some_and(|plugged| plugged.ipv6)
            || config.is_some_and(|config| !config.ipv6.is_empty())
            || held.is_some_and(|held| held.enable_ipv6 == Some(true)),
        ipam: Ipam {
            driver: plugged
                .map(|plugged| plugged.ipam.as_str())
                .filter(|name| !name.is_empty())
                .unwrap_or("default")
                .to_owned(),
            options: (!predefined).then(|| record.ipam_options.clone()),
            config: match held {
                None if plugged.is_some_and(|plugged| plugged.shown.is_some()) => {
                    plugged.and_then(|plugged| plugged.shown.clone())
                }
                Some(held) => held.ipam.as_ref().and_then(|ipam| ipam.config.clone()),
                None => config.map(|config| config.ranges().map(range).collect()),
            },
        },
        internal: config.is_some_and(|config| config.internal),
        attachable: record.attachable,
        config_only: held.is_some(),
        config_from: ConfigReference { network: record.config_from.clone() },
        containers,
        options: record.options.clone(),
        labels: record.labels.clone(),
        ..Inspect::default()
    }
}
