//! Sandboxes with several endpoints: made, changed while they run, taken over by the next daemon.

use crate::world::*;
use corten_network::{
    AddressRange, Attachment, Driver, EndpointRequest, GatewayMode, MacvlanMode, NetworkConfig, NetworkError,
    NetworkManager, Sandbox,
};
use std::net::TcpListener;
use std::os::fd::OwnedFd;

/// A manager with the networks a, b (dual) and c.
fn three_networks(world: &World) -> NetworkManager {
    let manager = world.manager();
    let mut dual = network("b", "br-b", "10.8.0.0/24");
    dual.ipv6.push(AddressRange::new("fd00:8::/64".parse().unwrap()));
    manager.ensure_network(&dual).unwrap();
    manager.ensure_network(&network("c", "br-c", "10.9.0.0/24")).unwrap();
    manager
}

/// `ip` inside a sandbox.
fn look(sandbox: &Sandbox, what: &str) -> String {
    let what = what.to_owned();
    inside(&sandbox.namespace, move || ip(&what))
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    sandbox.endpoints.iter().map(|endpoint| endpoint.interface.clone()).collect()
}

#[test]
fn several_networks_from_the_start() {
    with_world(|world| {
        let manager = three_networks(world);
        let all = Attachment::Networks(vec![place("c"), place("b"), place("a")]);
        let sandbox = sandbox_on(&manager, "web", all);
        assert_eq!(names(&sandbox), ["eth0", "eth1", "eth2"]);
        let addresses = look(&sandbox, "-o addr");
        for wanted in [
            "eth0    inet 10.9.0.2/24",
            "eth1    inet 10.8.0.2/24",
            "eth1    inet6 fd00:8::2/64",
            "eth2    inet 172.17.",
        ] {
            assert!(addresses.contains(wanted), "{wanted} in {addresses}");
        }
        assert!(!addresses.contains("eth0    inet6"), "{addresses}");
        // The one with both families has both default routes.
        assert!(look(&sandbox, "route").contains("default via 10.8.0.1 dev eth1"));
        assert!(look(&sandbox, "-6 route").contains("default via fd00:8::1 dev eth1"));
        for (index, bridge) in [(0, "br-c"), (1, "br-b"), (2, BRIDGE)] {
            let link = ip(&format!("-o link show {}", sandbox.endpoints[index].host_interface));
            assert!(link.contains(&format!("master {bridge}")), "{link}");
        }
        manager.remove_sandbox(&sandbox.id).unwrap();
        manager.settle();
        assert!(!ip("-o link").contains(&sandbox.endpoints[1].host_interface));
        // Its addresses are free again.
        let again = EndpointRequest { address: Some([10, 9, 0, 2].into()), ..place("c") };
        let next = sandbox_on(&manager, "next", Attachment::Networks(vec![again]));
        assert_eq!(address(&next), "10.9.0.2");
    });
}

#[test]
fn a_network_that_is_not_there_leaves_nothing() {
    with_world(|world| {
        let manager = three_networks(world);
        manager.settle();
        let before = ip("-o link").lines().count();
        let wanted = Attachment::Networks(vec![place("b"), place("c"), place("f")]);
        let error = manager.create_sandbox(&request("web", wanted)).unwrap_err();
        assert!(matches!(error, NetworkError::NoSuchNetwork(_)), "{error}");
        for letter in ["b", "c"] {
            manager.settle();
            manager.remove_network(&letter.repeat(64)).unwrap();
        }
        assert!(ip("-o link").lines().count() <= before);
    });
}

#[test]
fn networks_come_and_go_while_it_runs() {
    with_world(|world| {
        let manager = three_networks(world);
        let sandbox = sandbox_on(&manager, "web", on("a"));
        assert!(look(&sandbox, "route").contains("default via 172.17.0.1 dev eth0"));
        let connect = |wanted: EndpointRequest| manager.connect(&sandbox.id, &wanted).unwrap();

        // By name: net-a comes first, so that a further network changes nothing.
        let changed = connect(place("c"));
        assert_eq!(names(&changed), ["eth0", "eth1"]);
        assert!(look(&sandbox, "route").contains("default via 172.17.0.1 dev eth0"));
        let error = manager.connect(&sandbox.id, &place("c")).unwrap_err();
        assert_eq!(error.to_string(), "endpoint with name web already exists in network net-c");

        // By priority, with addresses, a name and a setting of its own.
        let changed = connect(EndpointRequest {
            address: Some([10, 8, 0, 77].into()),
            address6: Some("fd00:8::77".parse().unwrap()),
            link_local: vec!["169.254.7.7".parse().unwrap()],
            mac: Some("02:00:00:00:00:77".parse().unwrap()),
            priority: 1,
            interface: Some("front".to_owned()),
            sysctls: vec!["net.ipv4.conf.IFNAME.log_martians=1".to_owned()],
            ..place("b")
        });
        assert_eq!(names(&changed), ["eth0", "eth1", "front"]);
        let shown = look(&sandbox, "addr show front");
        for wanted in ["inet 10.8.0.77/24", "inet6 fd00:8::77/64", "inet 169.254.7.7/16", "02:00:00:00:00:77"]
        {
            assert!(shown.contains(wanted), "{wanted} in {shown}");
        }
        let setting = inside(&sandbox.namespace, || {
            std::fs::read_to_string("/proc/sys/net/ipv4/conf/front/log_martians").unwrap()
        });
        assert_eq!(setting.trim(), "1");
        assert!(look(&sandbox, "route").contains("default via 10.8.0.1 dev front"));
        assert!(look(&sandbox, "-6 route").contains("default via fd00:8::1 dev front"));

        // What goes gives the default route back.
        let changed = manager.disconnect(&sandbox.id, &"b".repeat(64)).unwrap();
        assert_eq!(names(&changed), ["eth0", "eth1"]);
        assert!(look(&sandbox, "route").contains("default via 172.17.0.1 dev eth0"));
        assert!(!look(&sandbox, "-6 route").contains("default"));
        manager.disconnect(&sandbox.id, &"a".repeat(64)).unwrap();
        assert!(look(&sandbox, "route").contains("default via 10.9.0.1 dev eth1"));
        let changed = manager.disconnect(&sandbox.id, &"c".repeat(64)).unwrap();
        assert_eq!(names(&changed), Vec::<String>::new());
        assert_eq!(look(&sandbox, "-o link").lines().count(), 1);
        // One that is not connected is fine; addresses and networks are free, numbers go on.
        manager.disconnect(&sandbox.id, &"c".repeat(64)).unwrap();
        manager.settle();
        manager.remove_network(&"c".repeat(64)).unwrap();
        assert_eq!(names(&connect(place("b"))), ["eth2"]);
    });
}

#[test]
fn what_cannot_be_connected_changes_nothing() {
    with_world(|world| {
        let manager = three_networks(world);
        let sandbox = sandbox_on(&manager, "web", on("a"));
        let other = sandbox_on(&manager, "other", on("b"));
        let before = (look(&sandbox, "-o addr"), look(&sandbox, "route"));
        let refused = |wanted: EndpointRequest| manager.connect(&sandbox.id, &wanted).unwrap_err();
        let taken = EndpointRequest { address: other.endpoints[0].address, ..place("b") };
        assert!(matches!(refused(taken), NetworkError::AddressTaken(_)));
        let outside = EndpointRequest { address: Some([10, 1, 1, 1].into()), ..place("b") };
        assert!(matches!(refused(outside), NetworkError::AddressOutside(_)));
        for name in ["eth0", "lo", "a name", "far-too-long-for-it"] {
            let named = EndpointRequest { interface: Some(name.to_owned()), ..place("b") };
            assert!(matches!(refused(named), NetworkError::InterfaceTaken(_)), "{name}");
        }
        for setting in [
            "net.ipv4.conf.IFNAME.no_such=1",
            "net.ipv4.conf.all.forwarding=1",
            "net.ipv4.conf.IFNAME.../../x=1",
        ] {
            let set = EndpointRequest { sysctls: vec![setting.to_owned()], ..place("b") };
            assert!(matches!(refused(set), NetworkError::Setting { .. }), "{setting}");
        }
        assert!(matches!(manager.connect(&"0".repeat(64), &place("b")), Err(NetworkError::NoSuchSandbox(_))));
        assert!(matches!(refused(place("f")), NetworkError::NoSuchNetwork(_)));
        let host = sandbox_on(&manager, "host", Attachment::Host);
        assert!(manager.connect(&host.id, &place("b")).is_err());
        assert_eq!((look(&sandbox, "-o addr"), look(&sandbox, "route")), before);
        manager.remove_sandbox(&other.id).unwrap();
        manager.settle();
        manager.remove_network(&"b".repeat(64)).unwrap();
    });
}

#[test]
fn published_ports_follow_the_default_route() {
    with_world(|world| {
        let manager = three_networks(world);
        let mut inner = network("d", "br-d", "10.10.0.0/24");
        inner.internal = true;
        manager.ensure_network(&inner).unwrap();
        // On an internal network alone nothing is published yet.
        let sandbox = sandbox_on(&manager, "web", on("d"));
        assert_eq!(manager.publish(&sandbox.id, &[mapping("8080:80"), mapping("81")]).unwrap(), []);
        assert_eq!(ask("127.0.0.1", 8080), "ConnectionRefused");
        let _servers = [Server::tcp(&sandbox.namespace, 80)];
        let with_c = manager.connect(&sandbox.id, &place("c")).unwrap();
        assert_eq!(with_c.ports.len(), 4);
        assert_eq!(ask_from(&world.lan, MACHINE, 8080), LAN_HOST);
        assert_eq!(ask("127.0.0.1", 8080), "10.9.0.1");
        // The network that takes the default route takes the ports, and the port that was chosen stays.
        let with_b = manager.connect(&sandbox.id, &place("b")).unwrap();
        assert_eq!(with_b.ports, with_c.ports);
        assert_eq!(ask("127.0.0.1", 8080), "10.8.0.1");
        assert_eq!(ask_from(&world.lan, MACHINE, 8080), LAN_HOST);
        let back = manager.disconnect(&sandbox.id, &"b".repeat(64)).unwrap();
        assert_eq!(back.ports, with_c.ports);
        assert_eq!(ask("127.0.0.1", 8080), "10.9.0.1");
        assert_eq!(ask("::1", 8080), "10.9.0.1");
        let alone = manager.disconnect(&sandbox.id, &"c".repeat(64)).unwrap();
        assert_eq!(alone.ports, []);
        assert_eq!(ask("127.0.0.1", 8080), "ConnectionRefused");
        // A port that somebody took meanwhile: the connection is refused whole.
        let taken = TcpListener::bind("0.0.0.0:8080").unwrap();
        let error = manager.connect(&sandbox.id, &place("c")).unwrap_err();
        assert!(error.to_string().contains("address already in use"), "{error}");
        assert_eq!(manager.sandbox(&sandbox.id).unwrap().endpoints.len(), 1);
        drop(taken);
        assert_eq!(manager.connect(&sandbox.id, &place("c")).unwrap().ports.len(), 4);
        manager.remove_sandbox(&sandbox.id).unwrap();
        assert!(!run("nft", "list ruleset").contains("10.9.0.2"));
    });
}

#[test]
fn udp_follows_a_port_to_another_network() {
    with_world(|world| {
        let manager = three_networks(world);
        let sandbox = sandbox_on(&manager, "dns", on("c"));
        let _server = Server::udp(&sandbox.namespace, 53);
        manager.publish(&sandbox.id, &[mapping("5300:53/udp")]).unwrap();
        manager.settle();
        let lan = || inside(&world.lan, || ask_udp(MACHINE, 5300, 40000));
        assert_eq!(lan(), LAN_HOST);
        manager.connect(&sandbox.id, &EndpointRequest { priority: 1, ..place("a") }).unwrap();
        manager.disconnect(&sandbox.id, &"c".repeat(64)).unwrap();
        manager.settle();
        assert_eq!(lan(), LAN_HOST);
    });
}

#[test]
fn the_next_daemon_finds_all_endpoints() {
    with_world(|world| {
        let manager = three_networks(world);
        let sandbox = sandbox_on(&manager, "web", Attachment::Networks(vec![place("c"), place("a")]));
        manager.connect(&sandbox.id, &place("b")).unwrap();
        manager.publish(&sandbox.id, &[mapping("8080:80")]).unwrap();
        let _server = Server::tcp(&sandbox.namespace, 80);
        manager.settle();
        let known = manager.sandbox(&sandbox.id).unwrap();
        manager.hand_over();
        // A cable that was laid and not recorded, as by a daemon that was killed in between.
        ip("link add veth0123456789a type veth peer name stray0");
        ip("link set veth0123456789a master br-b");

        let manager = three_networks(world);
        let kept =
            manager.restore(std::slice::from_ref(&sandbox.id), Vec::<(String, OwnedFd)>::new()).unwrap();
        manager.settle();
        assert_eq!(
            (kept[0].endpoints.as_slice(), &kept[0].ports),
            (known.endpoints.as_slice(), &known.ports)
        );
        assert!(!ip("-o link").contains("veth0123456789a"));
        assert_eq!(ask("127.0.0.1", 8080), "10.8.0.1");
        // No address is given twice, and what was there before can be changed.
        for (letter, has) in [("b", "10.8.0.3"), ("c", "10.9.0.3")] {
            assert_eq!(address(&sandbox_on(&manager, "other", on(letter))), has);
        }
        manager.disconnect(&sandbox.id, &"b".repeat(64)).unwrap();
        assert!(look(&sandbox, "route").contains("default via 172.17.0.1 dev eth1"));
        assert_eq!(ask("127.0.0.1", 8080), "172.17.0.1");
        assert_eq!(names(&manager.connect(&sandbox.id, &place("b")).unwrap()), ["eth0", "eth1", "eth3"]);
    });
}

#[test]
fn a_network_of_ipv6_alone() {
    with_world(|world| {
        let manager = world.manager();
        let id = "b".repeat(64);
        let mut only6 = NetworkConfig::without_addresses(&id, "net-b", Driver::Bridge, "br-b");
        only6.ipv6.push(AddressRange::new("fd00:8::/64".parse().unwrap()));
        manager.ensure_network(&only6).unwrap();
        let sandbox = sandbox_on(&manager, "web", on("b"));
        let endpoint = endpoint(&sandbox);
        assert_eq!((endpoint.address, endpoint.address6), (None, Some("fd00:8::2".parse().unwrap())));
        assert!(!look(&sandbox, "-o -4 addr show eth0").contains("inet "));
        let listener = inside(&sandbox.namespace, || TcpListener::bind("[::]:80").unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let peer = stream.peer_addr().unwrap().ip().to_canonical().to_string();
                let _ = std::io::Write::write_all(&mut stream, peer.as_bytes());
            }
        });
        let ports = manager.publish(&sandbox.id, &[mapping("8080:80")]).unwrap();
        // IPv4 of the host does not lead to IPv6.
        assert_eq!(ports.len(), 1);
        assert!(ports[0].host_address.is_ipv6());
        crate::lifecycle::wait_until("the address can be used", || ask("::1", 8080) == "fd00:8::1");
        assert_eq!(ask("127.0.0.1", 8080), "ConnectionRefused");
        // Connected to IPv4 it is reached by that too.
        manager.connect(&sandbox.id, &place("a")).unwrap();
        assert_eq!(manager.sandbox(&sandbox.id).unwrap().ports.len(), 2);
        assert_eq!(ask("127.0.0.1", 8080), "172.17.0.1");
    });
}

#[test]
fn an_isolated_gateway_has_no_address() {
    with_world(|world| {
        let manager = world.manager();
        let mut lonely = network("b", "br-b", "10.8.0.0/24");
        lonely.internal = true;
        lonely.gateway_mode4 = GatewayMode::Isolated;
        manager.ensure_network(&lonely).unwrap();
        let sandboxes = ["one", "two"].map(|name| sandbox_on(&manager, name, on("b")));
        assert!(!ip("-o -4 addr show br-b").contains("inet "));
        assert!(!look(&sandboxes[0], "route").contains("default"));
        let _server = Server::tcp(&sandboxes[0].namespace, 80);
        assert_eq!(ask_from(&sandboxes[1].namespace, &address(&sandboxes[0]), 80), address(&sandboxes[1]));
    });
}

#[test]
fn a_routed_network_is_open_at_its_published_ports() {
    with_world(|world| {
        let manager = world.manager();
        let mut routed = network("b", "br-b", "10.8.0.0/24");
        routed.gateway_mode4 = GatewayMode::Routed;
        manager.ensure_network(&routed).unwrap();
        let mut open = network("c", "br-c", "10.9.0.0/24");
        open.gateway_mode4 = GatewayMode::NatUnprotected;
        manager.ensure_network(&open).unwrap();
        inside(&world.far, || ip("route add 10.8.0.0/24 via 203.0.113.1"));
        let web = sandbox_on(&manager, "web", on("b"));
        let own = address(&web);
        let _servers = [Server::tcp(&web.namespace, 80), Server::tcp(&web.namespace, 81)];
        let _far = Server::tcp(&world.far, 7000);
        let ports = manager.publish(&web.id, &[mapping("8080:80")]).unwrap();
        assert_eq!((ports.len(), ports[0].host_port), (1, 0));
        // At its own address, with true addresses both ways; the host has no such port.
        assert_eq!(ask_from(&world.far, &own, 80), FAR_HOST);
        assert_eq!(ask_from(&world.lan, &own, 80), LAN_HOST);
        assert_eq!(ask_from(&world.far, &own, 81), "TimedOut");
        assert_eq!(ask_from(&web.namespace, FAR_HOST, 7000), own);
        assert_eq!(ask("127.0.0.1", 8080), "ConnectionRefused");
        assert_eq!(ask_from(&world.lan, MACHINE, 8080), "ConnectionRefused");
        assert!(inside(&world.far, || ip("route get 10.8.0.2")).contains("203.0.113.1"));
        // To another network, where it is translated, and back.
        manager.connect(&web.id, &EndpointRequest { priority: 1, ..place("c") }).unwrap();
        assert_eq!(ask_from(&world.lan, MACHINE, 8080), LAN_HOST);
        assert_eq!(ask_from(&world.far, &own, 80), "TimedOut");
        let open = manager.sandbox(&web.id).unwrap().endpoints[1].address.unwrap().to_string();
        assert_eq!(ask_from(&world.lan, &open, 81), LAN_HOST, "all ports are open");
        manager.disconnect(&web.id, &"c".repeat(64)).unwrap();
        assert_eq!(ask_from(&world.far, &own, 80), FAR_HOST);
        // The next daemon knows.
        manager.hand_over();
        let manager = world.manager();
        manager.ensure_network(&routed).unwrap();
        manager.restore(std::slice::from_ref(&web.id), Vec::new()).unwrap();
        assert_eq!(ask_from(&world.far, &own, 80), FAR_HOST);
        manager.remove_sandbox(&web.id).unwrap();
        assert!(!run("nft", "list set inet corten open4").contains("10.8.0.2"));
    });
}

/// A network on an interface of the machine.
fn on_parent(letter: &str, driver: Driver, parent: &str, subnet: &str) -> NetworkConfig {
    let mut config =
        NetworkConfig::without_addresses(&letter.repeat(64), &format!("net-{letter}"), driver, parent);
    config.ipv4.push(AddressRange::new(subnet.parse().unwrap()));
    config
}

#[test]
fn macvlan_is_on_the_hosts_own_network() {
    with_world(|world| {
        let manager = world.manager();
        // The far host is the router of this network, and its only other machine.
        let mut lan = on_parent("b", Driver::Macvlan(MacvlanMode::Bridge), "far0", "203.0.113.0/24");
        lan.ipv4[0].gateway = Some([203, 0, 113, 9].into());
        lan.ipv4[0].range = Some("203.0.113.64/28".parse().unwrap());
        manager.ensure_network(&lan).unwrap();
        let one = sandbox_on(&manager, "one", on("b"));
        let two = sandbox_on(&manager, "two", Attachment::Networks(vec![place("a"), place("b")]));
        assert_eq!(address(&one), "203.0.113.64");
        assert_eq!(names(&two), ["eth0", "eth1"]);
        let link = look(&one, "-o -d link show eth0");
        assert!(link.contains("macvlan mode bridge") && link.contains("02:42:cb:00:71:40"), "{link}");
        assert!(look(&one, "route").contains("default via 203.0.113.9 dev eth0"));
        let _servers = [Server::tcp(&one.namespace, 80), Server::tcp(&world.far, 81)];
        crate::lifecycle::wait_until("the network carries", || {
            ask_from(&world.far, "203.0.113.64", 80) == FAR_HOST
        });
        // Nothing is translated, and nothing is published.
        assert_eq!(ask_from(&one.namespace, FAR_HOST, 81), "203.0.113.64");
        assert_eq!(ask_from(&two.namespace, "203.0.113.64", 80), "203.0.113.65");
        assert_eq!(manager.publish(&one.id, &[mapping("8080:80")]).unwrap(), []);
        // Taken over, and taken down.
        manager.hand_over();
        let manager = world.manager();
        manager.ensure_network(&lan).unwrap();
        let kept = manager.restore(&[one.id.clone(), two.id.clone()], Vec::new()).unwrap();
        assert_eq!(kept.len(), 2);
        manager.disconnect(&two.id, &"b".repeat(64)).unwrap();
        assert!(look(&two, "route").contains("default via 172.17.0.1"));
        assert_eq!(address(&sandbox_on(&manager, "three", on("b"))), "203.0.113.65");
        manager.remove_sandbox(&one.id).unwrap();
        manager.settle();
        assert!(ip("-o link").contains("far0"), "the parent is the host's");
    });
}

#[test]
fn modes_of_macvlan() {
    with_world(|world| {
        let manager = world.manager();
        let private = on_parent("b", Driver::Macvlan(MacvlanMode::Private), "lan0", "10.8.0.0/24");
        manager.ensure_network(&private).unwrap();
        let pair = ["one", "two"].map(|name| sandbox_on(&manager, name, on("b")));
        let _server = Server::tcp(&pair[0].namespace, 80);
        assert!(look(&pair[0], "-o -d link show eth0").contains("macvlan mode private"));
        assert_ne!(ask_from(&pair[1].namespace, &address(&pair[0]), 80), address(&pair[1]));
        for sandbox in &pair {
            manager.remove_sandbox(&sandbox.id).unwrap();
        }
        manager.settle();
        manager.remove_network(&"b".repeat(64)).unwrap();
        for (letter, mode, word) in
            [("c", MacvlanMode::Vepa, "vepa"), ("d", MacvlanMode::Passthru, "passthru")]
        {
            let subnet = if letter == "c" { "10.9.0.0/24" } else { "10.10.0.0/24" };
            manager.ensure_network(&on_parent(letter, Driver::Macvlan(mode), "far0", subnet)).unwrap();
            let sandbox = sandbox_on(&manager, word, on(letter));
            let link = look(&sandbox, "-o -d link show eth0");
            assert!(link.contains(&format!("macvlan mode {word}")), "{link}");
            // The next one finds the parent free, although namespaces go by and by.
            manager.remove_sandbox(&sandbox.id).unwrap();
        }
    });
}

#[test]
fn a_parent_of_its_own_leads_nowhere_and_goes() {
    with_world(|world| {
        let manager = world.manager();
        let mut inner = on_parent("b", Driver::Macvlan(MacvlanMode::Bridge), "dm-bbbbbbbbbbb", "10.8.0.0/24");
        inner.own_parent = true;
        manager.ensure_network(&inner).unwrap();
        assert!(manager.has_interface("dm-bbbbbbbbbbb").unwrap());
        let pair = ["one", "two"].map(|name| sandbox_on(&manager, name, on("b")));
        let _server = Server::tcp(&pair[0].namespace, 80);
        crate::lifecycle::wait_until("the network carries", || {
            ask_from(&pair[1].namespace, &address(&pair[0]), 80) == address(&pair[1])
        });
        assert!(!look(&pair[0], "route").contains("default"));
        for sandbox in &pair {
            manager.remove_sandbox(&sandbox.id).unwrap();
        }
        manager.settle();
        manager.remove_network(&"b".repeat(64)).unwrap();
        assert!(!manager.has_interface("dm-bbbbbbbbbbb").unwrap());
        let missing = on_parent("c", Driver::Macvlan(MacvlanMode::Bridge), "nowhere0", "10.9.0.0/24");
        assert!(matches!(manager.ensure_network(&missing), Err(NetworkError::NoParent(_))));
    });
}

/// The sandbox's interface in the words of `ip`, one blank between two.
fn link(sandbox: &Sandbox) -> String {
    look(sandbox, "-o -d link show eth0").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn ipvlan_modes_and_flags_are_the_kernels() {
    with_world(|world| {
        use corten_network::{IpvlanFlag, IpvlanMode};
        let manager = world.manager();
        for (letter, mode, flag, said) in [
            ("b", IpvlanMode::L2, IpvlanFlag::Bridge, "ipvlan mode l2 bridge"),
            ("c", IpvlanMode::L2, IpvlanFlag::Private, "ipvlan mode l2 private"),
            ("d", IpvlanMode::L3, IpvlanFlag::Vepa, "ipvlan mode l3 vepa"),
            ("e", IpvlanMode::L3s, IpvlanFlag::Bridge, "ipvlan mode l3s bridge"),
        ] {
            let mut network = on_parent(letter, Driver::Ipvlan(mode), "lan0", "10.8.0.0/24");
            network.ipvlan_flag = flag;
            manager.ensure_network(&network).unwrap();
            match manager.create_sandbox(&request("one", on(letter))) {
                Ok(sandbox) => {
                    let shown = link(&sandbox);
                    assert!(shown.contains(said), "{said}: {shown}");
                    manager.remove_sandbox(&sandbox.id).unwrap();
                }
                // Then another test tells how it is refused.
                Err(error) => assert_eq!(error.to_string(), "this kernel has no ipvlan interfaces"),
            }
            manager.settle();
            manager.remove_network(&letter.repeat(64)).unwrap();
        }
    });
}

#[test]
fn what_the_kernel_lacks_is_told_in_one_line() {
    with_world(|world| {
        use corten_std::Classified;
        let manager = world.manager();
        let ipvlan = on_parent("b", Driver::Ipvlan(corten_network::IpvlanMode::L2), "lan0", "10.8.0.0/24");
        manager.ensure_network(&ipvlan).unwrap();
        match manager.create_sandbox(&request("one", on("b"))) {
            Ok(sandbox) => assert!(look(&sandbox, "-o -d link show eth0").contains("mode l2")),
            Err(error) => {
                assert_eq!(error.to_string(), "this kernel has no ipvlan interfaces");
                assert!(error.hint().unwrap().contains("module `ipvlan`"));
            }
        }
        let mut tagged = on_parent("c", Driver::Macvlan(MacvlanMode::Bridge), "lan0.10", "10.9.0.0/24");
        tagged.own_parent = true;
        match manager.ensure_network(&tagged) {
            Ok(()) => assert!(ip("-o -d link show lan0.10").contains("id 10")),
            Err(error) => assert_eq!(error.to_string(), "this kernel has no vlan interfaces"),
        }
    });
}

#[test]
fn an_interface_of_a_connection_that_was_broken_off_is_removed_by_the_next_daemon() {
    with_world(|world| {
        let manager = world.manager();
        let mut lan = on_parent("b", Driver::Macvlan(MacvlanMode::Bridge), "far0", "203.0.113.0/24");
        lan.ipv4[0].gateway = Some([203, 0, 113, 9].into());
        manager.ensure_network(&lan).unwrap();
        let sandbox = sandbox_on(&manager, "web", on("a"));
        manager.connect(&sandbox.id, &place("b")).unwrap();
        assert!(look(&sandbox, "-o link").contains("eth1"));
        manager.hand_over();
        // As it is when the daemon is killed after the interface was made: noted, and no endpoint yet.
        let path = world.scratch.path().join("run/sandboxes").join(format!("{}.json", sandbox.id));
        let read =
            || -> serde_json::Value { serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap() };
        let mut record = read();
        assert!(record.get("unfinished").is_none(), "nothing is noted once it is done: {record}");
        record["endpoints"].as_array_mut().unwrap().pop();
        record["unfinished"] = serde_json::json!(["eth1"]);
        std::fs::write(&path, record.to_string()).unwrap();
        let manager = world.manager();
        manager.ensure_network(&lan).unwrap();
        manager.restore(std::slice::from_ref(&sandbox.id), Vec::new()).unwrap();
        let links = look(&sandbox, "-o link");
        assert!(!links.contains("eth1") && links.contains("eth0"), "{links}");
        assert!(read().get("unfinished").is_none());
        // And it can be connected again.
        assert_eq!(names(&manager.connect(&sandbox.id, &place("b")).unwrap()).len(), 2);
    });
}

#[test]
fn a_network_that_cannot_be_made_leaves_no_interface() {
    with_world(|world| {
        let manager = world.manager();
        manager.settle();
        let look = || (ip("-o link").lines().count(), run("nft", "list ruleset"));
        let before = look();
        // The kernel has no IPv6 on an interface of so small frames: the bridge is there when its address is refused.
        let mut small = network("b", "br-b", "10.8.0.0/24");
        small.ipv6.push(AddressRange::new("fd00:8::/64".parse().unwrap()));
        small.mtu = 1000;
        manager.ensure_network(&small).unwrap_err();
        assert_eq!(look(), before);
        // One that was there before, and is somebody else's, stays.
        ip("link add br-b type bridge");
        let before = look();
        manager.ensure_network(&small).unwrap_err();
        assert_eq!(look().0, before.0);
        ip("link del br-b");
        small.mtu = 1500;
        manager.ensure_network(&small).unwrap();
    });
}
