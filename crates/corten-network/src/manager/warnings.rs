//! What the user should know about this host.

use super::{NetworkManager, Shared, lock};
use crate::firewall;
use crate::policy;
use corten_sys::netlink::nftables::{self as nft, BaseChain};
use corten_sys::netlink::{Protocol as Family, Socket, iptables};

/// Number of the forward hook in the kernel.
const FORWARD: usize = 2;

impl NetworkManager {
    /// Foreign firewall rules that stop our traffic, forwarding that is off. Each with what to do about it.
    pub fn warnings(&self) -> Vec<String> {
        let shared = &*self.shared;
        let mut warnings = shared.warnings.clone();
        if let Some(firewall) = &shared.firewall {
            let drops = lock(firewall).foreign_drops().unwrap_or_default();
            warnings.extend(drops.iter().map(|chain| shared.foreign_drop(chain)));
            if matches!(iptables::read_filter(false), Ok(Some(table)) if policy::drops(&table, FORWARD)) {
                let bridge = &shared.settings.default_bridge;
                warnings.push(stopped(
                    "FORWARD of iptables-legacy",
                    &format!(
                        "iptables-legacy -I FORWARD -i {bridge} -j ACCEPT; iptables-legacy -I FORWARD -o {bridge} -j ACCEPT"
                    ),
                ));
            }
        }
        warnings
    }
}

/// A chain that stops containers, and what helps.
fn stopped(place: &str, remedy: &str) -> String {
    format!(
        "the firewall chain `{place}` stops what it does not know, so that containers may reach nothing outside and \
         published ports stay closed to other hosts; let the bridge pass there: {remedy}"
    )
}

impl Shared {
    fn foreign_drop(&self, chain: &BaseChain) -> String {
        let bridge = &self.settings.default_bridge;
        let family = if chain.family == nft::INET { "inet" } else { "ip" };
        let place = format!("{family} {} {}", chain.table, chain.name);
        let chains: Vec<String> = Socket::open(Family::Netfilter)
            .and_then(|mut socket| nft::rules(&mut socket, chain.family, &chain.table))
            .map(|rules| rules.into_iter().map(|rule| rule.chain).collect())
            .unwrap_or_default();
        let has = |name: &str| chains.iter().any(|chain| chain == name);
        let remedy = if chain.table == firewall::FIREWALLD {
            format!("firewall-cmd --permanent --zone=trusted --add-interface={bridge}; firewall-cmd --reload")
        } else if has("ufw-before-forward") {
            format!("ufw route allow in on {bridge}; ufw route allow out on {bridge}")
        } else if has("DOCKER-USER") || has("DOCKER-FORWARD") {
            format!(
                "iptables -I DOCKER-USER -i {bridge} -j ACCEPT; iptables -I DOCKER-USER -o {bridge} -j ACCEPT"
            )
        } else {
            format!(
                "nft insert rule {place} iifname {bridge} accept; nft insert rule {place} oifname {bridge} accept"
            )
        };
        stopped(&place, &remedy)
    }
}
