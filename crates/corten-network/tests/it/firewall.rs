//! The rules beside those of others.

use crate::world::*;
use corten_network::NetworkManager;

#[test]
fn a_foreign_drop_stays_a_drop_and_is_told() {
    with_world(|world| {
        let manager = world.manager();
        assert_eq!(manager.warnings(), Vec::<String>::new());
        let container = sandbox(&manager, "c");
        let _server = Server::tcp(&container.namespace, 80);
        manager.publish(&container.id, &[mapping("8080:80")]).unwrap();
        assert_eq!(ask_from(&world.lan, MACHINE, 8080), LAN_HOST);
        run("nft", "add table ip filter");
        run("nft", "add chain ip filter FORWARD { type filter hook forward priority 10 ; policy drop ; }");
        assert_eq!(ask_from(&world.lan, MACHINE, 8080), "TimedOut");
        let warnings = manager.warnings();
        assert_eq!(warnings.len(), 1);
        // What the warning says helps.
        for command in warnings[0].split(": nft ").nth(1).unwrap().split("; nft ") {
            run("nft", command);
        }
        assert_eq!(ask_from(&world.lan, MACHINE, 8080), LAN_HOST);
    });
}

#[test]
fn a_foreign_drop_is_told_in_the_words_of_its_program() {
    with_world(|world| {
        let manager = world.manager();
        for (program, expected) in [
            ("iptables-legacy", "iptables-legacy -I FORWARD -i corten0 -j ACCEPT"),
            ("iptables-nft", "ufw route allow in on corten0"),
        ] {
            if !corten_testing::need(program, corten_testing::program(program)) {
                continue;
            }
            run(program, "-P FORWARD DROP");
            run(program, "-N ufw-before-forward");
            run(program, "-A ufw-before-forward -j RETURN");
            let warnings = manager.warnings();
            assert!(warnings.len() == 1 && warnings[0].contains(expected), "{warnings:?}");
            run(program, "-P FORWARD ACCEPT");
        }
    });
}

#[test]
fn a_foreign_flush_takes_nothing() {
    with_world(|world| {
        let manager = world.manager();
        let container = sandbox(&manager, "c");
        let _server = Server::tcp(&container.namespace, 80);
        manager.publish(&container.id, &[mapping("8080:80")]).unwrap();
        run("nft", "flush ruleset");
        let rules = run("nft", "list ruleset");
        if corten_testing::need(
            "nftables tables with owner and persist (Linux 6.9)",
            rules.contains("table inet corten"),
        ) {
            assert_eq!(ask_from(&world.lan, MACHINE, 8080), LAN_HOST);
        }
        assert_eq!(ask("127.0.0.1", 8080), "172.17.0.1", "at least the proxy serves");
    });
}

#[test]
fn forwarding_for_containers_makes_no_router() {
    with_world(|world| {
        let forward = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim().to_owned();
        assert_eq!(forward(), "0");
        let _far = Server::tcp(&world.far, 7000);
        inside(&world.far, || ip("route add default via 203.0.113.1"));
        let manager = world.manager();
        assert_eq!(forward(), "1");
        assert_eq!(ask_from(&world.lan, FAR_HOST, 7000), "TimedOut");
        let container = sandbox(&manager, "c");
        assert_eq!(ask_from(&container.namespace, FAR_HOST, 7000), "203.0.113.1");
        // The next daemon remembers that it was us.
        manager.hand_over();
        let manager = world.manager();
        assert_eq!(ask_from(&world.lan, FAR_HOST, 7000), "TimedOut");
        // A network that another program makes later is its own affair.
        ip("link add virbr9 type bridge");
        ip("addr add 10.77.0.1/24 dev virbr9");
        ip("link set virbr9 up");
        ip("link set lan0 master virbr9");
        drop(manager);
        inside(&world.lan, || {
            ip("addr flush dev eth0");
            ip("addr add 10.77.0.9/24 dev eth0");
            ip("route add default via 10.77.0.1")
        });
        assert_eq!(ask_from(&world.lan, FAR_HOST, 7000), "10.77.0.9");
    });
}

#[test]
fn a_host_that_forwards_already_goes_on() {
    with_world(|world| {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        inside(&world.far, || ip("route add default via 203.0.113.1"));
        let _far = Server::tcp(&world.far, 7000);
        let _manager = world.manager();
        assert_eq!(ask_from(&world.lan, FAR_HOST, 7000), LAN_HOST);
    });
}

#[test]
fn forwarding_is_left_off_where_that_is_wanted() {
    with_world(|world| {
        let mut settings = world.settings();
        settings.ip_forward = false;
        let manager = NetworkManager::open(settings).unwrap();
        assert!(manager.warnings()[0].starts_with("IPv4 forwarding is disabled"));
    });
}

#[test]
fn the_loopback_is_not_reached_from_a_container() {
    with_world(|world| {
        let manager = world.manager();
        let container = sandbox(&manager, "c");
        let _private = Server::tcp(corten_sys::netlink::namespace::current().unwrap(), 6000);
        assert_eq!(ask("127.0.0.1", 6000), "127.0.0.1");
        // route_localnet would let it in.
        let own = address(&container);
        let asked = inside(&container.namespace, move || {
            ip("addr del 127.0.0.1/8 dev lo");
            ip(&format!("route add 127.0.0.0/8 via 172.17.0.1 src {own}"));
            std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
            ask("127.0.0.1", 6000)
        });
        assert_eq!(asked, "TimedOut");
    });
}
