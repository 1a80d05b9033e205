//! Which endpoint of a sandbox has the default route, and by it the published ports. Pure.

use crate::endpoint::Endpoint;
use std::cmp::Reverse;

/// The endpoint that has the default route of one family, by its place in the list.
///
/// Docker's order: the highest priority; then networks that lead elsewhere before internal ones; then those with
/// gateways of both families, of IPv6, of IPv4; then the network whose name comes first. Only endpoints that have a way
/// out in this family are looked at.
pub(crate) fn of(endpoints: &[Endpoint], ipv4: bool) -> Option<usize> {
    let families =
        |endpoint: &Endpoint| u8::from(endpoint.leads_out(true)) + 2 * u8::from(endpoint.leads_out(false));
    let candidates = endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.leads_out(ipv4));
    let best = candidates.min_by_key(|(_, endpoint)| {
        let order = (Reverse(endpoint.priority), endpoint.internal, Reverse(families(endpoint)));
        (order, endpoint.network.as_str())
    });
    best.map(|(index, _)| index)
}

/// The endpoints by which published ports reach a sandbox: of IPv4, of IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Targets<'a> {
    pub(crate) ipv4: Option<&'a Endpoint>,
    pub(crate) ipv6: Option<&'a Endpoint>,
    /// The sandbox is on other networks besides.
    pub(crate) several: bool,
}

impl<'a> Targets<'a> {
    /// Those with the default routes, where their networks publish at all.
    pub(crate) fn of(endpoints: &'a [Endpoint]) -> Self {
        let of = |ipv4| {
            let endpoint = &endpoints[of(endpoints, ipv4)?];
            (endpoint.publishes && !endpoint.internal).then_some(endpoint)
        };
        Self { ipv4: of(true), ipv6: of(false), several: endpoints.len() > 1 }
    }

    /// Whether ports of a family are open at the container's own address instead of the host's.
    pub(crate) fn is_routed(self, ipv4: bool) -> bool {
        if ipv4 {
            self.ipv4.is_some_and(|endpoint| endpoint.routed4)
        } else {
            self.ipv6.is_some_and(|endpoint| endpoint.routed6)
        }
    }

    /// Both, each once.
    pub(crate) fn all(self) -> impl Iterator<Item = &'a Endpoint> {
        let other = self.ipv6.filter(|other| self.ipv4.is_none_or(|first| first.id != other.id));
        self.ipv4.into_iter().chain(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::MacAddress;

    fn endpoint(network: &str, priority: i64, ipv4: bool, ipv6: bool) -> Endpoint {
        Endpoint {
            id: network.to_owned(),
            network_id: network.to_owned(),
            network: network.to_owned(),
            interface: "eth0".to_owned(),
            host_interface: String::new(),
            host_index: 0,
            address: ipv4.then(|| [10, 0, 0, 2].into()),
            prefix: 24,
            gateway: ipv4.then(|| [10, 0, 0, 1].into()),
            address6: ipv6.then(|| "fd00::2".parse().unwrap()),
            prefix6: 64,
            gateway6: ipv6.then(|| "fd00::1".parse().unwrap()),
            direct: false,
            link_local: Vec::new(),
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            priority,
            internal: false,
            routed4: false,
            routed6: false,
            publishes: true,
            remote: None,
            without_gateway: false,
        }
    }

    #[test]
    fn the_default_route_follows_dockers_order() {
        let name =
            |endpoints: &[Endpoint], ipv4| of(endpoints, ipv4).map(|index| endpoints[index].network.clone());
        let plain = |name| endpoint(name, 0, true, false);
        // By name, whatever came first.
        assert_eq!(name(&[plain("b"), plain("a")], true).as_deref(), Some("a"));
        // Priority before name; negative ones last.
        assert_eq!(name(&[plain("a"), endpoint("z", 1, true, false)], true).as_deref(), Some("z"));
        assert_eq!(name(&[endpoint("a", -1, true, false), plain("z")], true).as_deref(), Some("z"));
        // More families before name.
        let dual = endpoint("z", 0, true, true);
        assert_eq!(name(&[plain("a"), dual.clone()], true).as_deref(), Some("z"));
        // Each family on its own.
        let only6 = endpoint("m", 5, false, true);
        assert_eq!(name(&[plain("a"), only6.clone()], true).as_deref(), Some("a"));
        assert_eq!(name(&[plain("a"), only6], false).as_deref(), Some("m"));
        assert_eq!(name(&[plain("a")], false), None);
        // What has no gateway has no default route.
        let inner = Endpoint { gateway: None, internal: true, ..plain("a") };
        assert_eq!(name(&[inner.clone(), plain("b")], true).as_deref(), Some("b"));
        assert_eq!(name(&[inner], true), None);
        let direct = Endpoint { gateway: None, direct: true, ..plain("a") };
        assert_eq!(name(&[direct], true).as_deref(), Some("a"));
    }

    #[test]
    fn ports_go_where_the_default_route_goes() {
        let endpoints = [endpoint("a", 0, true, false), endpoint("b", 0, true, true)];
        let targets = Targets::of(&endpoints);
        assert_eq!(targets.ipv4.unwrap().network, "b");
        assert_eq!(targets.all().count(), 1);
        let quiet = [Endpoint { publishes: false, ..endpoints[1].clone() }];
        assert_eq!(Targets::of(&quiet), Targets::default());
    }
}
