//! Published ports, with traffic from everywhere.

use crate::lifecycle::wait_until;
use crate::world::*;
use corten_network::{AddressRange, EndpointRequest, GatewayMode, NetworkManager, PublishError};
use corten_std::Classified;
use std::net::{TcpListener, UdpSocket};

fn refused(result: Result<Vec<corten_network::PublishedPort>, PublishError>) -> PublishError {
    result.expect_err("a refusal")
}

/// What an address is asked for, and what its server must see as the source.
fn reach(manager: &NetworkManager, world: &World, bridge_netfilter: bool) {
    let server = sandbox(manager, "server");
    let neighbour = sandbox(manager, "neighbour");
    let _listening = [Server::tcp(&server.namespace, 80), Server::tcp(&server.namespace, 81)];
    manager.publish(&server.id, &[mapping("8080:80"), mapping("127.0.0.1:8081:80")]).unwrap();
    let (own, other) = (address(&server), address(&neighbour));

    // The host: by loopback as the bridge, by its own address as itself.
    assert_eq!(ask("127.0.0.1", 8080), "172.17.0.1");
    assert_eq!(ask("127.0.0.1", 8081), "172.17.0.1");
    assert_eq!(ask(MACHINE, 8080), MACHINE);
    assert_eq!(ask("::1", 8080), "172.17.0.1");
    assert_eq!(ask(&own, 80), "172.17.0.1");
    // Another host: its true address; what is published on the loopback is not for it.
    assert_eq!(ask_from(&world.lan, MACHINE, 8080), LAN_HOST);
    assert_eq!(ask_from(&world.far, "203.0.113.1", 8080), FAR_HOST);
    assert_ne!(ask_from(&world.lan, MACHINE, 8081), LAN_HOST);
    // Unpublished ports, and the container's own address, are closed to a host that routes to them.
    assert_eq!(ask_from(&world.lan, &own, 81), "TimedOut");
    assert_eq!(ask_from(&world.lan, &own, 80), "TimedOut");
    assert_eq!(ask_from(&world.lan, MACHINE, 81), "ConnectionRefused");
    // A neighbour: directly, and by the host's address.
    assert_eq!(ask_from(&neighbour.namespace, &own, 81), other);
    let seen = ask_from(&neighbour.namespace, MACHINE, 8080);
    assert_eq!(seen, if bridge_netfilter { other.as_str() } else { "172.17.0.1" });
    assert_eq!(ask_from(&neighbour.namespace, "172.17.0.1", 8080), seen);
    // The container itself.
    assert_eq!(ask_from(&server.namespace, MACHINE, 8080), "172.17.0.1");
    assert_eq!(ask_from(&server.namespace, &own, 80), own);
    assert_eq!(ask_from(&server.namespace, "127.0.0.1", 80), "127.0.0.1");
    assert_eq!(ask_from(&server.namespace, "127.0.0.1", 8080), "ConnectionRefused");
    // Gone.
    manager.remove_sandbox(&server.id).unwrap();
    for host in ["127.0.0.1", MACHINE, "::1"] {
        assert_eq!(ask(host, 8080), "ConnectionRefused", "{host}");
    }
    manager.remove_sandbox(&neighbour.id).unwrap();
}

const CALL_IPTABLES: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

#[test]
fn a_published_port_is_reached_from_everywhere() {
    with_world(|world| {
        let manager = world.manager();
        let bridge_netfilter = std::path::Path::new(CALL_IPTABLES).exists();
        reach(&manager, world, bridge_netfilter);
    });
}

#[test]
fn a_published_port_is_reached_without_bridge_netfilter() {
    with_world(|world| {
        let manager = world.manager();
        // As on a host where the module is not loaded: neither the bridge's own setting nor the global one.
        if std::path::Path::new(CALL_IPTABLES).exists() {
            std::fs::write(CALL_IPTABLES, "0").unwrap();
            ip("link set corten0 type bridge nf_call_iptables 0");
        }
        reach(&manager, world, false);
    });
}

#[test]
fn containers_reach_the_world_as_the_host() {
    with_world(|world| {
        let manager = world.manager();
        let container = sandbox(&manager, "c");
        let _far = Server::tcp(&world.far, 7000);
        assert_eq!(ask_from(&container.namespace, FAR_HOST, 7000), "203.0.113.1");

        let mut plain = network("b", "br-b", "10.8.0.0/24");
        plain.masquerade = false;
        manager.ensure_network(&plain).unwrap();
        let container = sandbox_on(&manager, "plain", on("b"));
        assert_eq!(ask_from(&container.namespace, FAR_HOST, 7000), "TimedOut", "there is no way back");
        inside(&world.far, || ip("route add 10.8.0.0/24 via 203.0.113.1"));
        assert_eq!(ask_from(&container.namespace, FAR_HOST, 7000), "10.8.0.2");
    });
}

#[test]
fn networks_are_apart_and_internal_ones_closed() {
    with_world(|world| {
        let manager = world.manager();
        manager.ensure_network(&network("b", "br-b", "10.8.0.0/24")).unwrap();
        let mut inner = network("c", "br-c", "10.9.0.0/24");
        inner.internal = true;
        manager.ensure_network(&inner).unwrap();
        let mut shy = network("d", "br-d", "10.10.0.0/24");
        shy.icc = false;
        manager.ensure_network(&shy).unwrap();
        let on_net = |letter: &str| {
            let made = [1, 2].map(|number| sandbox_on(&manager, &format!("{letter}{number}"), on(letter)));
            let servers = Server::tcp(&made[0].namespace, 80);
            (made, servers)
        };
        let ((a, _a), (b, _b), (c, _c), (d, _d)) = (on_net("a"), on_net("b"), on_net("c"), on_net("d"));
        let _far = Server::tcp(&world.far, 7000);
        // Within.
        for pair in [&a, &b, &c] {
            assert_eq!(ask_from(&pair[1].namespace, &address(&pair[0]), 80), address(&pair[1]));
        }
        assert_ne!(
            ask_from(&d[1].namespace, &address(&d[0]), 80),
            address(&d[1]),
            "no talk among containers"
        );
        // Between.
        assert_eq!(ask_from(&a[1].namespace, &address(&b[0]), 80), "TimedOut");
        assert_eq!(ask_from(&b[1].namespace, &address(&a[0]), 80), "TimedOut");
        assert_eq!(ask_from(&a[1].namespace, &address(&c[0]), 80), "TimedOut");
        // By a published port they do meet, with their true addresses.
        manager.publish(&b[0].id, &[mapping("8090:80")]).unwrap();
        assert_eq!(ask_from(&a[1].namespace, MACHINE, 8090), address(&a[1]));
        manager.publish(&d[0].id, &[mapping("8091:80")]).unwrap();
        assert_eq!(ask_from(&world.lan, MACHINE, 8091), LAN_HOST);
        // Not from an internal network: neither by the host's address there, nor into a network that is open.
        let mut open = network("e", "br-e", "10.11.0.0/24");
        open.gateway_mode4 = GatewayMode::NatUnprotected;
        manager.ensure_network(&open).unwrap();
        let (opened, _opened) = on_net("e");
        assert_eq!(ask_from(&a[1].namespace, &address(&opened[0]), 80), address(&a[1]));
        assert_eq!(ask_from(&c[1].namespace, "10.9.0.1", 8090), "TimedOut");
        inside(&c[1].namespace, || ip("route add default via 10.9.0.1"));
        assert_eq!(ask_from(&c[1].namespace, MACHINE, 8090), "TimedOut");
        assert_eq!(ask_from(&c[1].namespace, &address(&opened[0]), 80), "TimedOut");
        // Internal: no default route, and no way even with one.
        assert!(!inside(&c[0].namespace, || ip("route")).contains("default"));
        inside(&c[0].namespace, || ip("route add default via 10.9.0.1"));
        assert_eq!(ask_from(&c[0].namespace, FAR_HOST, 7000), "TimedOut");
        assert_eq!(ask_from(&b[0].namespace, FAR_HOST, 7000), "203.0.113.1");
    });
}

#[test]
fn a_taken_port_is_told_with_its_holder() {
    with_world(|world| {
        let manager = world.manager();
        let (first, second) = (sandbox(&manager, "first"), sandbox(&manager, "second"));
        manager.publish(&first.id, &[mapping("127.0.0.1:18090:80")]).unwrap();
        let error =
            refused(manager.publish(&second.id, &[mapping("18089:80"), mapping("127.0.0.1:18090:80")]));
        let endpoint = endpoint(&second);
        assert_eq!(
            error.to_string(),
            format!(
                "driver failed programming external connectivity on endpoint second ({}): \
                 Bind for 127.0.0.1:18090 failed: port is already allocated",
                endpoint.id
            )
        );
        assert_eq!(
            error.hint().as_deref(),
            Some("port 18090 is published by container `first`; stop it or publish on another port")
        );
        // Nothing of the refused request is left.
        assert_eq!(manager.publish(&first.id, &[mapping("18089:81")]).unwrap().len(), 2);
        manager.remove_sandbox(&first.id).unwrap();
        manager.publish(&second.id, &[mapping("127.0.0.1:18090:80")]).unwrap();

        let _foreign = TcpListener::bind("0.0.0.0:18091").unwrap();
        let error = refused(manager.publish(&second.id, &[mapping("18091:80")]));
        assert!(
            error.to_string().ends_with(&format!(
                "failed to bind host port for 0.0.0.0:18091:{}:80/tcp: address already in use",
                endpoint.address.unwrap()
            )),
            "{error}"
        );
        let hint = error.hint().unwrap();
        assert!(hint.contains(&format!("(pid {})", std::process::id())), "{hint}");
        let error = refused(manager.publish(&second.id, &[mapping("192.0.2.77:18092:80")]));
        assert!(error.to_string().ends_with("cannot assign requested address"), "{error}");
        // A published port is kept from other programs.
        assert!(TcpListener::bind("127.0.0.1:18090").is_err());
    });
}

#[test]
fn free_ports_and_ranges() {
    with_world(|world| {
        let manager = world.manager();
        let container = sandbox(&manager, "c");
        let published = manager.publish(&container.id, &[mapping("80"), mapping("81")]).unwrap();
        let ports: Vec<_> =
            published.iter().map(|port| (port.host_address.to_string(), port.host_port)).collect();
        assert_eq!(ports.len(), 4);
        // The same number for both families, and another for the next.
        assert_eq!((ports[0].0.as_str(), ports[1].0.as_str()), ("0.0.0.0", "::"));
        assert!(ports[0].1 == ports[1].1 && ports[2].1 == ports[3].1 && ports[0].1 != ports[2].1);
        let first =
            |text: &str| manager.publish(&container.id, &[mapping(text)]).map(|ports| ports[0].host_port);
        assert_eq!(first("127.0.0.1:9000-9001:80").unwrap(), 9000);
        assert_eq!(first("127.0.0.1:9000-9001:80").unwrap(), 9001);
        let error = first("127.0.0.1:9000-9001:80").unwrap_err();
        assert!(error.to_string().ends_with("all ports are allocated"), "{error}");
        assert_eq!(first("127.0.0.1:9000-9001:80/udp").unwrap(), 9000);
    });
}

#[test]
fn udp_follows_its_port() {
    with_world(|world| {
        let manager = world.manager();
        let container = sandbox(&manager, "dns");
        let _server = Server::udp(&container.namespace, 53);
        let client = || ask_udp(MACHINE, 5300, 40000);
        let lan = || inside(&world.lan, || ask_udp(MACHINE, 5300, 40000));
        // The kernel remembers these as connections to the host itself.
        assert_ne!(client(), MACHINE);
        assert_ne!(lan(), LAN_HOST);
        manager.publish(&container.id, &[mapping("5300:53/udp")]).unwrap();
        manager.settle();
        assert_eq!(lan(), LAN_HOST);
        assert_eq!(client(), MACHINE);
        assert_eq!(ask_udp("127.0.0.1", 5300, 40001), "172.17.0.1");
        // Another container takes over the port; the same client keeps sending.
        manager.remove_sandbox(&container.id).unwrap();
        manager.settle();
        let next = sandbox(&manager, "dns2");
        let _next = Server::udp(&next.namespace, 53);
        manager.publish(&next.id, &[mapping("5300:53/udp")]).unwrap();
        manager.settle();
        assert_eq!(lan(), LAN_HOST);
        // The port is kept from other programs.
        assert!(UdpSocket::bind("0.0.0.0:5300").is_err());
    });
}

#[test]
fn the_default_binding_can_be_one_address() {
    with_world(|world| {
        let manager = NetworkManager::open(world.settings()).unwrap();
        let mut net = network("a", BRIDGE, "172.17.0.0/16");
        net.default_host_address = Some("127.0.0.1".parse().unwrap());
        manager.ensure_network(&net).unwrap();
        let container = sandbox(&manager, "c");
        let _server = Server::tcp(&container.namespace, 80);
        let ports = manager.publish(&container.id, &[mapping("8080:80")]).unwrap();
        assert_eq!(ports.len(), 1);
        assert_eq!(ask("127.0.0.1", 8080), "172.17.0.1");
        assert_ne!(ask_from(&world.lan, MACHINE, 8080), LAN_HOST);
    });
}

#[test]
fn ipv6_networks_are_reached_by_ipv6() {
    with_world(|world| {
        let manager = NetworkManager::open(world.settings()).unwrap();
        let mut net = network("a", BRIDGE, "172.17.0.0/16");
        net.ipv6.push(AddressRange::new("fd00:17::/64".parse().unwrap()));
        manager.ensure_network(&net).unwrap();
        ip("addr add fd00:aa::1/64 dev lan0 nodad");
        inside(&world.lan, || {
            ip("addr add fd00:aa::9/64 dev eth0 nodad");
            ip("route add default via fd00:aa::1")
        });
        manager.settle();
        let container = sandbox(&manager, "c");
        let endpoint = endpoint(&container);
        assert_eq!(endpoint.address6.unwrap().to_string(), "fd00:17::2");
        let listener = inside(&container.namespace, || TcpListener::bind("[::]:80").unwrap());
        let server = std::thread::spawn(move || {
            listener.incoming().flatten().take(4).for_each(|mut stream| {
                let peer = stream.peer_addr().unwrap().ip().to_canonical().to_string();
                let _ = std::io::Write::write_all(&mut stream, peer.as_bytes());
            });
        });
        manager.publish(&container.id, &[mapping("8080:80")]).unwrap();
        wait_until("the address can be used", || ask("fd00:17::2", 80) == "fd00:17::1");
        assert_eq!(ask_from(&world.lan, "fd00:aa::1", 8080), "fd00:aa::9");
        assert_eq!(ask_from(&world.lan, "fd00:17::2", 80), "TimedOut");
        assert_eq!(ask("127.0.0.1", 8080), "172.17.0.1");
        assert_eq!(ask("::1", 8080), "172.17.0.1");
        server.join().unwrap();
    });
}

/// A published port of a container that is on the caller's network too, by another way than the port is reached: its answer
/// has to come back the way that the call went, where it is translated.
#[test]
fn a_port_of_somebody_on_two_networks_answers_both() {
    for through_rules in ["0", "1"] {
        with_world(move |world| {
            let manager = world.manager();
            for (letter, bridge, number) in [("b", "br-b", 8), ("c", "br-c", 9)] {
                let mut dual = network(letter, bridge, &format!("10.{number}.0.0/24"));
                dual.ipv6.push(AddressRange::new(format!("fd00:{number}::/64").parse().unwrap()));
                manager.ensure_network(&dual).unwrap();
            }
            // As on a kernel without br_netfilter, and as with it.
            let setting = "/proc/sys/net/bridge/bridge-nf-call-iptables";
            if through_rules == "0" && std::path::Path::new(setting).exists() {
                std::fs::write(setting, "0").unwrap();
                std::fs::write(setting.replace("iptables", "ip6tables"), "0").unwrap();
                for bridge in ["br-b", "br-c"] {
                    ip(&format!("link set {bridge} type bridge nf_call_iptables 0 nf_call_ip6tables 0"));
                }
            }
            let web = sandbox_on(&manager, "web", on("b"));
            let _server = Server::tcp_on(&web.namespace, "::", 80);
            manager.publish(&web.id, &[mapping("8080:80")]).unwrap();
            let caller = sandbox_on(&manager, "caller", on("c"));
            // While it is not on the caller's network the caller keeps its address.
            assert_eq!(ask_from(&caller.namespace, MACHINE, 8080), address(&caller));
            let address6 = endpoint(&caller).address6.unwrap().to_string();
            wait_until("the address can be used", || {
                ask_from(&caller.namespace, "fd00:8::1", 8080) == address6
            });
            manager.connect(&web.id, &EndpointRequest { priority: -1, ..place("c") }).unwrap();
            assert_eq!(ask_from(&caller.namespace, MACHINE, 8080), "10.8.0.1");
            assert_eq!(ask_from(&caller.namespace, "fd00:8::1", 8080), "fd00:8::1");
            assert_eq!(ask_from(&world.lan, MACHINE, 8080), LAN_HOST);
            manager.disconnect(&web.id, &"c".repeat(64)).unwrap();
            assert_eq!(ask_from(&caller.namespace, MACHINE, 8080), address(&caller));
        });
    }
}
