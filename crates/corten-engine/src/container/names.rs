//! What containers are called on networks that users made, and the resolver that each of them has there.
//!
//! The default bridge has no names, as in Docker, and a container that is only there has no resolver: its programs ask
//! the host's servers. The resolver comes with the first network that has names, also while the container runs.

use crate::container::files;
use crate::container::handle::NetworkView;
use crate::container::links;
use crate::container::record::Record;
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use crate::network::PREDEFINED;
use corten_network::ResolvConf;
use corten_network::names::{Membership, NameSockets, ResolverSettings, Upstream};
use corten_std::{file, id};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// The port of name servers.
const PORT: u16 = 53;
/// What the sockets of a sandbox are kept under while no daemon lives: this and the sandbox's id.
const HELD: &str = "names/";

/// Whether containers have names on a network.
pub(super) fn has_names(network: &str) -> bool {
    !PREDEFINED.contains(&network)
}

/// Whether a container that is connected like this has a resolver of its own.
pub(super) fn has_resolver(network: &NetworkView) -> bool {
    network.endpoints.keys().any(|name| has_names(name))
}

/// Writes into each endpoint what the container is called there: its name, its aliases, its short id, its host name.
pub(super) fn label(record: &Record, network: &mut NetworkView) {
    for (name, endpoint) in &mut network.endpoints {
        if !has_names(name) {
            continue;
        }
        let aliases = endpoint.aliases.iter().flatten().map(String::as_str);
        let all = std::iter::once(record.name.as_str())
            .chain(aliases)
            .chain([id::short(&record.id), record.config.hostname.as_str()]);
        let mut names: Vec<String> = Vec::new();
        for name in all {
            if !name.is_empty() && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        endpoint.dns_names = Some(names);
    }
}

/// Makes names and resolver what the container's networks ask for. To be called when it is connected, for the first time
/// or to more, when it was disconnected, and when it got another name. `conf` is what was just written as its
/// `resolv.conf`; without it the file is written where the resolver is new. Blocking.
pub(super) fn settle(
    engine: &EngineInner,
    record: &Record,
    network: &NetworkView,
    conf: Option<ResolvConf>,
) -> Result<()> {
    let names = engine.network.names();
    let sandbox = &network.sandbox_id;
    let served = names.is_served(sandbox);
    if !served && !has_resolver(network) {
        return Ok(());
    }
    let written = conf.is_some();
    let conf = match conf {
        Some(conf) => conf,
        None => files::resolver(engine, record, network)?,
    };
    let settings = settings(&conf, network);
    if served {
        names.set(sandbox, settings);
    } else {
        let failed = |error| EngineError::because("failed to set up name resolution", error);
        let namespace = engine.network.sandbox(sandbox).map_err(failed)?.namespace;
        let sockets = names.serve(sandbox, namespace, settings).map_err(failed)?;
        keep(engine, sandbox, sockets);
        if !written {
            file::write(files::path(engine, &record.id, "resolv.conf"), &conf.text)?;
        }
    }
    names.settle(sandbox, memberships(record, network));
    Ok(())
}

/// After a start of the daemon: goes on answering on the sockets that were kept meanwhile, or on new ones. Blocking.
pub(super) fn resume(
    engine: &EngineInner,
    record: &Record,
    network: &NetworkView,
    kept: Vec<OwnedFd>,
) -> Result<()> {
    if let Some(sockets) = NameSockets::from_kept(kept) {
        let failed = |error| EngineError::because("failed to go on with name resolution", error);
        let conf = files::resolver(engine, record, network)?;
        let namespace = engine.network.sandbox(&network.sandbox_id).map_err(failed)?.namespace;
        let names = engine.network.names();
        // First who is called what: queries wait in the sockets.
        names.settle(&network.sandbox_id, memberships(record, network));
        return names
            .resume(&network.sandbox_id, sockets, namespace, settings(&conf, network))
            .map_err(failed);
    }
    settle(engine, record, network, None)
}

/// Stops answering a sandbox, so that nothing of ours holds its namespace.
pub(super) fn remove(engine: &EngineInner, sandbox: &str) {
    let names = engine.network.names();
    if names.is_served(sandbox) {
        names.remove(sandbox);
        super::monitor::release_port(engine, &held_name(sandbox));
    }
}

/// What the sockets of a sandbox are kept under.
pub(super) fn held_name(sandbox: &str) -> String {
    format!("{HELD}{sandbox}")
}

/// The sandbox that a kept socket belongs to, by what it is kept under.
pub(super) fn sandbox_of(held: &str) -> Option<&str> {
    held.strip_prefix(HELD)
}

fn keep(engine: &EngineInner, sandbox: &str, sockets: Vec<OwnedFd>) {
    let name = held_name(sandbox);
    if let Err(error) = engine.spawner.hold(&name, sockets) {
        tracing::warn!(name, %error, "names are not answered while no daemon lives");
    }
}

fn settings(conf: &ResolvConf, network: &NetworkView) -> ResolverSettings {
    let upstream = |address: &std::net::IpAddr| Upstream {
        address: SocketAddr::new(*address, PORT),
        from_host: conf.from_host,
    };
    let leads_out = |endpoint: &corten_api::network::EndpointSettings| {
        !(endpoint.gateway.is_empty() && endpoint.ipv6_gateway.is_empty())
    };
    ResolverSettings {
        upstreams: conf.servers.iter().map(upstream).collect(),
        reaches_out: network.endpoints.values().any(leads_out),
        own_dots: conf.own_dots,
    }
}

fn memberships(record: &Record, network: &NetworkView) -> Vec<Membership> {
    let named = network.endpoints.iter().filter(|(name, _)| has_names(name));
    named
        .map(|(name, endpoint)| Membership {
            network_id: endpoint.network_id.clone(),
            network_name: name.clone(),
            addresses: [&endpoint.ip_address, &endpoint.global_ipv6_address]
                .into_iter()
                .filter_map(|address| address.parse().ok())
                .collect(),
            names: endpoint.dns_names.clone().unwrap_or_else(|| vec![record.name.clone()]),
            links: endpoint
                .links
                .iter()
                .flatten()
                .filter_map(|link| links::parse(link).ok())
                .map(|(name, alias)| (alias, name))
                .collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::record::tests_support::record;
    use corten_api::network::EndpointSettings;

    fn connected(network: &str) -> NetworkView {
        let endpoint = EndpointSettings {
            network_id: "n".to_owned(),
            aliases: Some(vec!["web".to_owned(), "shop".to_owned()]),
            links: Some(vec!["db:store".to_owned(), "cache".to_owned()]),
            ip_address: "10.0.0.2".to_owned(),
            ..EndpointSettings::default()
        };
        NetworkView { endpoints: [(network.to_owned(), endpoint)].into(), ..NetworkView::default() }
    }

    #[test]
    fn a_container_has_its_names_on_networks_of_users() {
        let mut record = record("0123456789abcdef", "shop");
        record.config.hostname = "host".to_owned();
        let mut network = connected("front");
        label(&record, &mut network);
        let names = ["shop", "web", "0123456789ab", "host"].map(str::to_owned);
        assert_eq!(network.endpoints["front"].dns_names.as_deref(), Some(&names[..]));
        let membership = &memberships(&record, &network)[0];
        assert_eq!(membership.names, names);
        assert_eq!(
            membership.links,
            [("store".to_owned(), "db".to_owned()), ("cache".to_owned(), "cache".to_owned())]
        );
        assert!(has_resolver(&network));
    }

    #[test]
    fn the_default_bridge_has_no_names() {
        let mut network = connected("bridge");
        label(&record("aa", "shop"), &mut network);
        assert_eq!(network.endpoints["bridge"].dns_names, None);
        assert!(!has_resolver(&network) && memberships(&record("aa", "shop"), &network).is_empty());
    }
}
