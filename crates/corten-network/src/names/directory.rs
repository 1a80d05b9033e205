//! Who is called what on which network, and what a name means to whom.
//!
//! A sandbox asks, and only the networks that it is on answer: `web` is looked for on all of them, `web.front` as this
//! very name and then as `web` on the network `front`. A name that several sandboxes have means all of them. A link
//! (`--link db:store`) is a name that only the sandbox with the link knows, for what has another name on that network.
//!
//! Plain data: nothing here waits, and nothing knows of sockets.

use std::collections::HashMap;
use std::net::IpAddr;

/// What a sandbox is on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The network's id.
    pub network_id: String,
    /// Its name, which may stand behind a container's: `web.front`.
    pub network_name: String,
    /// The sandbox's addresses on it.
    pub addresses: Vec<IpAddr>,
    /// What it is called there. The first is the name of its addresses.
    pub names: Vec<String>,
    /// Names that only this sandbox knows, with what they stand for on this network.
    pub links: Vec<(String, String)>,
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing: others may know it.
    Unknown,
    /// It is one of ours, and this is all of the kind asked for; perhaps nothing.
    Known(Vec<IpAddr>),
}

/// Names in lower case to the sandboxes that have them.
#[derive(Debug, Default)]
struct Zone {
    name: String,
    names: HashMap<String, Vec<Holder>>,
    reverse: HashMap<IpAddr, Reverse>,
}

#[derive(Debug)]
struct Holder {
    sandbox: String,
    addresses: Vec<IpAddr>,
}

#[derive(Debug)]
struct Reverse {
    sandbox: String,
    name: String,
}

/// All networks and all sandboxes that are on them.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    zones: HashMap<String, Zone>,
    /// In the order in which each sandbox came to its networks.
    sandboxes: HashMap<String, Vec<Membership>>,
}

impl Directory {
    /// Puts a sandbox on a network, or replaces what it is there.
    pub(crate) fn join(&mut self, sandbox: &str, membership: Membership) {
        self.erase(sandbox, &membership.network_id);
        let zone = self.zones.entry(membership.network_id.clone()).or_default();
        zone.name.clone_from(&membership.network_name);
        let mut names: Vec<_> = membership.names.iter().map(|name| name.to_lowercase()).collect();
        names.retain(|name| !name.is_empty());
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                continue;
            }
            let holder = Holder { sandbox: sandbox.to_owned(), addresses: membership.addresses.clone() };
            zone.names.entry(name.clone()).or_default().push(holder);
        }
        if let Some(name) = membership.names.first() {
            for address in &membership.addresses {
                let reverse = Reverse { sandbox: sandbox.to_owned(), name: name.clone() };
                zone.reverse.insert(*address, reverse);
            }
        }
        let memberships = self.sandboxes.entry(sandbox.to_owned()).or_default();
        match memberships.iter_mut().find(|known| known.network_id == membership.network_id) {
            Some(known) => *known = membership,
            None => memberships.push(membership),
        }
    }

    /// Puts a sandbox on exactly these networks.
    pub(crate) fn settle(&mut self, sandbox: &str, memberships: Vec<Membership>) {
        let known = self.sandboxes.get(sandbox).cloned().unwrap_or_default();
        for old in known {
            if !memberships.iter().any(|membership| membership.network_id == old.network_id) {
                self.leave(sandbox, &old.network_id);
            }
        }
        for membership in memberships {
            self.join(sandbox, membership);
        }
    }

    /// Takes a sandbox off a network.
    pub(crate) fn leave(&mut self, sandbox: &str, network_id: &str) {
        self.erase(sandbox, network_id);
        if let Some(memberships) = self.sandboxes.get_mut(sandbox) {
            memberships.retain(|membership| membership.network_id != network_id);
            if memberships.is_empty() {
                self.sandboxes.remove(sandbox);
            }
        }
    }

    /// Forgets a sandbox.
    pub(crate) fn remove(&mut self, sandbox: &str) {
        for membership in self.sandboxes.remove(sandbox).unwrap_or_default() {
            self.erase_names(sandbox, &membership);
        }
    }

    fn erase(&mut self, sandbox: &str, network_id: &str) {
        let known = self.sandboxes.get(sandbox).and_then(|memberships| {
            memberships.iter().find(|membership| membership.network_id == network_id).cloned()
        });
        if let Some(known) = known {
            self.erase_names(sandbox, &known);
        }
    }

    fn erase_names(&mut self, sandbox: &str, membership: &Membership) {
        let Some(zone) = self.zones.get_mut(&membership.network_id) else { return };
        for name in &membership.names {
            let name = name.to_lowercase();
            if let Some(holders) = zone.names.get_mut(&name) {
                holders.retain(|holder| holder.sandbox != sandbox);
                if holders.is_empty() {
                    zone.names.remove(&name);
                }
            }
        }
        for address in &membership.addresses {
            if zone.reverse.get(address).is_some_and(|reverse| reverse.sandbox == sandbox) {
                zone.reverse.remove(address);
            }
        }
        if zone.names.is_empty() && zone.reverse.is_empty() {
            self.zones.remove(&membership.network_id);
        }
    }

    /// What a name, in lower case, means to a sandbox.
    pub(crate) fn find(&self, sandbox: &str, name: &str, ipv6: bool) -> Found {
        let Some(memberships) = self.sandboxes.get(sandbox) else { return Found::Unknown };
        // The whole name on every network, then its front on the network that its back names.
        let splits = name.rmatch_indices('.').map(|(dot, _)| (&name[..dot], Some(&name[dot + 1..])));
        for (front, network) in std::iter::once((name, None)).chain(splits) {
            for by_link in [true, false] {
                if let Some(found) = self.find_on(memberships, front, network, by_link, ipv6) {
                    return Found::Known(found);
                }
            }
        }
        Found::Unknown
    }

    fn find_on(
        &self,
        memberships: &[Membership],
        name: &str,
        network: Option<&str>,
        by_link: bool,
        ipv6: bool,
    ) -> Option<Vec<IpAddr>> {
        let mut known = false;
        for membership in memberships {
            if network.is_some_and(|network| !membership.network_name.eq_ignore_ascii_case(network)) {
                continue;
            }
            let link = membership.links.iter().find(|(link, _)| link.eq_ignore_ascii_case(name));
            let target = match (link, by_link) {
                (Some((_, target)), true) => target.to_lowercase(),
                (None, false) => name.to_owned(),
                _ => continue,
            };
            let Some(zone) = self.zones.get(&membership.network_id) else { continue };
            let Some(holders) = zone.names.get(&target) else { continue };
            known = true;
            let mut addresses: Vec<IpAddr> = Vec::with_capacity(holders.len());
            for address in holders.iter().flat_map(|holder| &holder.addresses) {
                if address.is_ipv6() == ipv6 && !addresses.contains(address) {
                    addresses.push(*address);
                }
            }
            if !addresses.is_empty() {
                return Some(addresses);
            }
        }
        known.then(Vec::new)
    }

    /// What an address is called, with its network's name behind it.
    pub(crate) fn name_of(&self, sandbox: &str, address: IpAddr) -> Option<String> {
        self.sandboxes.get(sandbox)?.iter().find_map(|membership| {
            let zone = self.zones.get(&membership.network_id)?;
            Some(format!("{}.{}", zone.reverse.get(&address)?.name, zone.name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(network: &str, address: &str, names: &[&str], links: &[(&str, &str)]) -> Membership {
        Membership {
            network_id: format!("id-{network}"),
            network_name: network.to_owned(),
            addresses: address.split(' ').map(|address| address.parse().unwrap()).collect(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            links: links.iter().map(|(link, to)| ((*link).to_owned(), (*to).to_owned())).collect(),
        }
    }

    fn town() -> Directory {
        let mut directory = Directory::default();
        directory.join("s1", membership("front", "10.0.0.2 fd00::2", &["Web1", "web", "c1"], &[]));
        directory.join("s2", membership("front", "10.0.0.3", &["web2", "web", "web"], &[("own", "WEB1")]));
        directory.join("s2", membership("back", "10.1.0.2", &["web2", "a.b"], &[]));
        directory.join("s3", membership("back", "10.1.0.3", &["db"], &[]));
        directory
    }

    fn find(directory: &Directory, sandbox: &str, name: &str) -> String {
        match directory.find(sandbox, name, false) {
            Found::Unknown => "unknown".to_owned(),
            Found::Known(addresses) => {
                let mut addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                addresses.sort();
                addresses.join(" ")
            }
        }
    }

    #[test]
    fn names_are_seen_on_the_own_networks() {
        let town = town();
        for (sandbox, name, expected) in [
            ("s1", "web1", "10.0.0.2"),
            ("s1", "c1", "10.0.0.2"),
            ("s1", "web", "10.0.0.2 10.0.0.3"),
            ("s1", "web.front", "10.0.0.2 10.0.0.3"),
            ("s1", "web2", "10.0.0.3"),
            ("s1", "db", "unknown"),
            ("s1", "db.back", "unknown"),
            ("s2", "db", "10.1.0.3"),
            ("s2", "web2.back", "10.1.0.2"),
            ("s2", "a.b", "10.1.0.2"),
            ("s2", "a.b.back", "10.1.0.2"),
            ("s2", "b.back", "unknown"),
            ("s2", "own", "10.0.0.2"),
            ("s1", "own", "unknown"),
            ("s1", "example.test", "unknown"),
            ("s1", "", "unknown"),
            ("nobody", "web", "unknown"),
        ] {
            assert_eq!(find(&town, sandbox, name), expected, "{sandbox} {name}");
        }
    }

    #[test]
    fn a_name_without_an_address_of_the_family_is_known_nevertheless() {
        let town = town();
        assert_eq!(town.find("s1", "web", true), Found::Known(vec!["fd00::2".parse().unwrap()]));
        assert_eq!(town.find("s1", "web2", true), Found::Known(Vec::new()));
        assert_eq!(town.find("s1", "nobody", true), Found::Unknown);
    }

    #[test]
    fn addresses_have_names() {
        let town = town();
        let name = |sandbox: &str, address: &str| town.name_of(sandbox, address.parse().unwrap());
        assert_eq!(name("s2", "10.0.0.2").as_deref(), Some("Web1.front"));
        assert_eq!(name("s2", "fd00::2").as_deref(), Some("Web1.front"));
        assert_eq!(name("s1", "10.1.0.3"), None);
    }

    #[test]
    fn who_goes_is_forgotten() {
        let mut town = town();
        town.leave("s2", "id-front");
        assert_eq!(find(&town, "s1", "web"), "10.0.0.2");
        assert_eq!(find(&town, "s2", "web"), "unknown");
        assert_eq!(find(&town, "s2", "db"), "10.1.0.3");
        town.join("s1", membership("front", "10.0.0.9", &["new"], &[]));
        assert_eq!(find(&town, "s1", "web1"), "unknown");
        assert_eq!(find(&town, "s1", "new"), "10.0.0.9");
        assert_eq!(town.name_of("s1", "10.0.0.2".parse().unwrap()), None);
        town.settle("s2", vec![membership("front", "10.0.0.3", &["web2"], &[])]);
        assert_eq!(find(&town, "s2", "db"), "unknown");
        assert_eq!(find(&town, "s2", "new"), "10.0.0.9");
        for sandbox in ["s1", "s2", "s3", "s4"] {
            town.remove(sandbox);
        }
        assert!(town.zones.is_empty() && town.sandboxes.is_empty());
    }
}
