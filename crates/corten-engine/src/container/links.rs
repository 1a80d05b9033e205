//! Links on the default bridge (`--link db:store`), which has no names: a line in `/etc/hosts` for the other container,
//! and variables that tell its ports and its environment. The other one has to run; when it comes back with another
//! address, the lines follow.
//!
//! A link is saved as `ID:ALIAS`, so that a rename of the other container does not matter, and shown as Docker shows it:
//! `/NAME:/PARENT/ALIAS`. On networks of users a link is an alias for the resolver (see `names.rs`).

use crate::container::files;
use crate::container::handle::View;
use crate::container::record::Record;
use crate::container::spec::ports;
use crate::engine::{Engine, EngineInner};
use crate::error::{EngineError, Result};
use corten_api::container::HostConfig;
use corten_network::{HostEntry, Protocol};
use corten_std::file;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

/// The network whose containers are linked.
const BRIDGE: &str = "bridge";

/// Whether any container has links: looked at before all are asked.
#[derive(Debug, Default)]
pub(crate) struct Used(AtomicBool);

/// What a container is told of one that it is linked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Linked {
    alias: String,
    /// Of the container with the link.
    parent: String,
    name: String,
    hostname: String,
    address: IpAddr,
    ports: Vec<(u16, Protocol)>,
    environment: Vec<String>,
}

/// `NAME:ALIAS`, `NAME` or, as inspect shows it, `/NAME:/PARENT/ALIAS`: name and alias.
pub(super) fn parse(link: &str) -> Result<(String, String)> {
    if link.is_empty() {
        return Err(EngineError::invalid("empty string specified for links"));
    }
    let (name, alias) = link.split_once(':').unwrap_or((link, link));
    if alias.contains(':') {
        return Err(EngineError::invalid(format!("bad format for links: {link}")));
    }
    match name.strip_prefix('/') {
        Some(name) => Ok((name.to_owned(), alias.rsplit('/').next().unwrap_or_default().to_owned())),
        None => Ok((name.to_owned(), alias.to_owned())),
    }
}

fn is_default(mode: &str) -> bool {
    matches!(mode, "" | "default" | BRIDGE)
}

impl Engine {
    /// Checks the links of a container that is to be created, and writes them as they are saved.
    pub(super) fn take_links(&self, host: &mut HostConfig) -> Result<()> {
        let Some(links) = host.links.take().filter(|links| !links.is_empty()) else { return Ok(()) };
        let refuse = |what: &str| {
            Err(EngineError::invalid(format!(
                "conflicting options: {what} can't be used with links. This would result in undefined behavior"
            )))
        };
        match host.network_mode.as_str() {
            "host" => return refuse("host type networking"),
            mode if mode.starts_with("container:") => return refuse("container type network"),
            // There they stand in the endpoint.
            mode if !is_default(mode) => return Ok(()),
            _ => {}
        }
        let mut saved = Vec::with_capacity(links.len());
        for link in links {
            let (name, alias) = parse(&link)?;
            let unknown = |error: EngineError| {
                // "Not found" would mean the image to a client.
                EngineError::invalid(format!("could not get container for {name}: {error}"))
            };
            let mut other = self.find(&name).map_err(unknown)?.view();
            while let Some(id) = other.record.host_config.network_mode.strip_prefix("container:") {
                other = self.find(id).map_err(unknown)?.view();
            }
            if other.record.host_config.network_mode == "host" {
                return refuse("host type networking");
            }
            let entry = format!("{}:{alias}", other.record.id);
            if !saved.contains(&entry) {
                saved.push(entry);
            }
        }
        host.links = Some(saved);
        self.inner.links.note(host);
        Ok(())
    }

    /// Takes a link away: `PARENT/ALIAS`. What runs keeps what it was told.
    pub(super) async fn remove_link(&self, reference: &str) -> Result<()> {
        let plain = reference.trim_start_matches('/');
        let Some((parent, alias)) = plain.rsplit_once('/') else {
            return Err(EngineError::invalid(
                "Conflict, cannot remove the default link name of the container",
            ));
        };
        let handle = self.find(parent)?;
        let (alias, parent) = (alias.to_owned(), parent.to_owned());
        handle
            .ask(|reply| crate::container::handle::Request::Unlink { alias: alias.clone(), reply })
            .await
            .map_err(|error| match error.class() {
                corten_std::ErrorClass::NotFound => {
                    EngineError::not_found(format!("Could not get link {parent}/{alias}"))
                }
                _ => error,
            })
    }
}

impl Used {
    /// Remembers that a container has links.
    pub(super) fn note(&self, host: &HostConfig) {
        if host.links.as_ref().is_some_and(|links| !links.is_empty()) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn is_used(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The saved links of a container: id and alias.
fn saved(record: &Record) -> impl Iterator<Item = (&str, &str)> {
    record.host_config.links.iter().flatten().filter_map(|link| link.split_once(':'))
}

/// The links as inspect shows them; those of containers that are gone are not shown.
pub(super) fn shown(engine: &EngineInner, record: &Record) -> Option<Vec<String>> {
    let mut shown: Vec<_> = saved(record)
        .filter_map(|(id, alias)| {
            let other = engine.containers.by_id(id)?.view();
            Some(format!("/{}:/{}/{alias}", other.record.name, record.name))
        })
        .collect();
    shown.sort();
    (!shown.is_empty()).then_some(shown)
}

/// What the links of a container lead to, at its start: all have to run.
pub(super) fn of(engine: &EngineInner, record: &Record) -> Result<Vec<Linked>> {
    if !is_default(&record.host_config.network_mode) {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for (id, alias) in saved(record) {
        let Some(other) = engine.containers.by_id(id) else { continue };
        let other = other.view();
        if !other.life.phase.has_process() {
            return Err(EngineError::system(format!(
                "Cannot link to a non running container: /{} AS /{}/{alias}",
                other.record.name, record.name
            )));
        }
        let linked = linked(&other, alias, &record.name).ok_or_else(|| {
            EngineError::system(format!(
                "Cannot link to /{}, as it does not belong to the default network",
                other.record.name
            ))
        })?;
        all.push(linked);
    }
    Ok(all)
}

/// The same for one more command in a container that runs: what ended meanwhile is left out.
pub(crate) fn environment_of(engine: &EngineInner, record: &Record) -> Vec<String> {
    if record.host_config.links.is_none() || !is_default(&record.host_config.network_mode) {
        return Vec::new();
    }
    let linked = saved(record)
        .filter_map(|(id, alias)| linked(&engine.containers.by_id(id)?.view(), alias, &record.name));
    linked.flat_map(|linked| linked.environment()).collect()
}

fn linked(other: &View, alias: &str, parent: &str) -> Option<Linked> {
    let address = other.network.as_ref()?.endpoints.get(BRIDGE)?.ip_address.parse().ok()?;
    let config = &other.record.config;
    let mut ports: Vec<_> =
        config.exposed_ports.keys().filter_map(|port| ports::parse_container_port(port).ok()).collect();
    ports.sort_by_key(|(port, protocol)| (*port, *protocol != Protocol::Tcp, *protocol));
    Some(Linked {
        alias: alias.to_owned(),
        parent: parent.to_owned(),
        name: other.record.name.clone(),
        hostname: other.record.hostname.clone(),
        address,
        ports,
        environment: config.env.clone().unwrap_or_default(),
    })
}

impl Linked {
    /// Its line in `/etc/hosts`.
    pub(super) fn host_entry(&self) -> HostEntry {
        let mut names = vec![self.alias.as_str()];
        for name in [&self.hostname, &self.name] {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        HostEntry::new(self.address, names.join(" "))
    }

    /// Its variables, as Docker names them: `DB_PORT_5432_TCP_ADDR` and its like.
    pub(super) fn environment(&self) -> Vec<String> {
        let prefix = self.alias.to_uppercase().replace('-', "_");
        let address = self.address;
        let url = |(port, protocol): (u16, Protocol)| format!("{protocol}://{address}:{port}");
        let name = |(port, protocol): (u16, Protocol)| {
            format!("{prefix}_PORT_{port}_{}", protocol.to_string().to_uppercase())
        };
        let mut all = Vec::new();
        let default = self.ports.iter().find(|(_, protocol)| *protocol == Protocol::Tcp);
        if let Some(first) = default.or(self.ports.first()) {
            all.push(format!("{prefix}_PORT={}", url(*first)));
        }
        for range in ranges(&self.ports) {
            let (first, last) = (range[0], range[range.len() - 1]);
            let start = name(first);
            all.push(format!("{start}_START={}", url(first)));
            all.push(format!("{start}_ADDR={address}"));
            all.push(format!("{start}_PROTO={}", first.1));
            all.push(format!("{start}_PORT_START={}", first.0));
            all.push(format!("{start}_END={}", url(last)));
            all.push(format!("{start}_PORT_END={}", last.0));
        }
        for port in &self.ports {
            let name = name(*port);
            all.push(format!("{name}={}", url(*port)));
            all.push(format!("{name}_ADDR={address}"));
            all.push(format!("{name}_PORT={}", port.0));
            all.push(format!("{name}_PROTO={}", port.1));
        }
        all.push(format!("{prefix}_NAME=/{}/{}", self.parent, self.alias));
        for entry in &self.environment {
            match entry.split_once('=') {
                None | Some(("HOME" | "PATH", _)) => {}
                Some((key, value)) => all.push(format!("{prefix}_ENV_{key}={value}")),
            }
        }
        all
    }
}

/// Runs of two and more ports that follow each other.
fn ranges(ports: &[(u16, Protocol)]) -> Vec<&[(u16, Protocol)]> {
    let follows = |left: &(u16, Protocol), right: &(u16, Protocol)| {
        left.1 == right.1 && left.0.checked_add(1) == Some(right.0)
    };
    ports.chunk_by(follows).filter(|run| run.len() > 1).collect()
}

/// A container has a new address: the hosts files of those that are linked to it follow. Blocking.
pub(super) fn tell_parents(engine: &EngineInner, record: &Record, address: &str) {
    if !engine.links.is_used() || address.is_empty() {
        return;
    }
    for handle in engine.containers.all() {
        let view = handle.view();
        let aliases: Vec<_> =
            saved(&view.record).filter(|(id, _)| *id == record.id).map(|(_, alias)| alias).collect();
        if aliases.is_empty() || !view.life.phase.has_process() {
            continue;
        }
        let path = files::path(engine, &view.record.id, "hosts");
        let Some(Ok(text)) = files::read_hosts(&path).map(String::from_utf8) else { continue };
        let changed = follow(&text, &aliases, address);
        if changed != text
            && let Err(error) = file::write(&path, &changed)
        {
            tracing::warn!(container = view.record.id, %error, "a linked container's address is not told");
        }
    }
}

/// The lines of these aliases, with another address.
fn follow(text: &str, aliases: &[&str], address: &str) -> String {
    let mut changed = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.split_once('\t') {
            Some((_, names))
                if names.split_ascii_whitespace().next().is_some_and(|first| aliases.contains(&first)) =>
            {
                changed.push_str(address);
                changed.push('\t');
                changed.push_str(names);
            }
            _ => changed.push_str(line),
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_in_every_form() {
        let of = |link| parse(link).map_err(|error| error.to_string());
        let pair = |name: &str, alias: &str| Ok((name.to_owned(), alias.to_owned()));
        assert_eq!(of("db:store"), pair("db", "store"));
        assert_eq!(of("db"), pair("db", "db"));
        assert_eq!(of("/db:/web/store"), pair("db", "store"));
        assert_eq!(of("a:b:c"), Err("bad format for links: a:b:c".to_owned()));
        assert_eq!(of(""), Err("empty string specified for links".to_owned()));
    }

    #[test]
    fn variables_tell_ports_and_environment() {
        let linked = Linked {
            alias: "my-db".to_owned(),
            parent: "web".to_owned(),
            name: "srv".to_owned(),
            hostname: "0123456789ab".to_owned(),
            address: "172.17.0.2".parse().unwrap(),
            ports: vec![(53, Protocol::Udp), (80, Protocol::Tcp), (81, Protocol::Tcp)],
            environment: vec!["PATH=/bin".to_owned(), "A=b=c".to_owned(), "x".to_owned()],
        };
        let all = linked.environment();
        for expected in [
            "MY_DB_PORT=tcp://172.17.0.2:80",
            "MY_DB_PORT_80_TCP_START=tcp://172.17.0.2:80",
            "MY_DB_PORT_80_TCP_PORT_END=81",
            "MY_DB_PORT_53_UDP=udp://172.17.0.2:53",
            "MY_DB_PORT_81_TCP_ADDR=172.17.0.2",
            "MY_DB_NAME=/web/my-db",
            "MY_DB_ENV_A=b=c",
        ] {
            assert!(all.iter().any(|line| line == expected), "{expected} in {all:?}");
        }
        assert_eq!(all.len(), 1 + 6 + 12 + 2);
        let entry = linked.host_entry();
        assert_eq!(entry.names, "my-db 0123456789ab srv");
    }

    #[test]
    fn lines_follow_an_address() {
        let text = "127.0.0.1\tlocalhost\n172.17.0.2\tdb 0123 srv\n172.17.0.3\tweb\n";
        assert_eq!(
            follow(text, &["db"], "172.17.0.9"),
            "127.0.0.1\tlocalhost\n172.17.0.9\tdb 0123 srv\n172.17.0.3\tweb\n"
        );
    }
}
