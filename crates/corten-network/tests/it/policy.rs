//! Published ports behind the host's own input rules, as every kind of firewall program makes them.

use crate::world::*;
use corten_network::{FirewallMode, NetworkManager, Sandbox};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A manager with a container that serves 80, published as 8080 (open in every rule set of these tests) and 8081.
fn published(world: &World, mode: FirewallMode) -> (NetworkManager, Sandbox, Server) {
    let mut settings = world.settings();
    settings.firewall = mode;
    let manager = NetworkManager::open(settings).unwrap();
    manager.ensure_network(&network("a", BRIDGE, "172.17.0.0/16")).unwrap();
    let container = sandbox(&manager, "c");
    let server = Server::tcp(&container.namespace, 80);
    manager.publish(&container.id, &[mapping("8080:80"), mapping("8081:80")]).unwrap();
    (manager, container, server)
}

/// Feeds a program.
fn feed(program: &str, arguments: &[&str], text: &str) {
    let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program}");
}

/// What the neighbour gets at a port, once that is what is expected; the rules are followed a little later.
#[track_caller]
fn expect(world: &World, port: u16, expected: &str) {
    let begun = Instant::now();
    loop {
        let answer = ask_from(&world.lan, MACHINE, port);
        if answer == expected {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "{port}: {answer} instead of {expected}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// 8080 is open and 8081 is closed, and the machine itself and its containers reach both.
#[track_caller]
fn half_open(world: &World, container: &Sandbox) {
    expect(world, 8081, "TimedOut");
    expect(world, 8080, LAN_HOST);
    for port in [8080, 8081] {
        assert_ne!(ask("127.0.0.1", port), "TimedOut");
        assert_ne!(ask(MACHINE, port), "TimedOut");
        assert_ne!(ask_from(&container.namespace, MACHINE, port), "TimedOut");
    }
}

/// The rules that `ufw` has after `ufw default deny; ufw allow 8080/tcp`, shortened.
const UFW: &str = "*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-before-input - [0:0]
:ufw-not-local - [0:0]
:ufw-after-input - [0:0]
:ufw-user-input - [0:0]
:ufw-user-limit - [0:0]
:ufw-skip-to-policy-input - [0:0]
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip-to-policy-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j LOG
-A ufw-not-local -j DROP
-A ufw-skip-to-policy-input -j DROP
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
-A ufw-user-input -p tcp -m multiport --dports 8080,9000:9010 -j ACCEPT
-A ufw-user-limit -j REJECT
COMMIT
";

#[test]
fn rules_of_ufw_are_kept_to() {
    with_world(|world| {
        for program in ["iptables-nft-restore", "iptables-legacy-restore"] {
            if !corten_testing::need(program, corten_testing::program(program)) {
                continue;
            }
            let (manager, container, server) = published(world, FirewallMode::Host);
            expect(world, 8081, LAN_HOST);
            assert!(manager.closed_ports(&[mapping("8081:80")]).is_empty());
            feed(program, &[], UFW);
            half_open(world, &container);
            assert!(manager.closed_ports(&[mapping("8080:80"), mapping("127.0.0.1:8082:80")]).is_empty());
            let told = manager.closed_ports(&[mapping("8081:80")]);
            assert!(told.len() == 1 && told[0].starts_with("Port 8081/tcp is published, but"), "{told:?}");
            if program.contains("nft") {
                assert!(told[0].ends_with("ufw allow 8081/tcp"), "{told:?}");
            }
            // What is published now is closed from the first moment.
            manager.publish(&container.id, &[mapping("8083:80")]).unwrap();
            assert_eq!(ask_from(&world.lan, MACHINE, 8083), "TimedOut");
            // The next daemon closes too.
            manager.hand_over();
            let manager = world.manager();
            manager.restore(std::slice::from_ref(&container.id), Vec::new()).unwrap();
            half_open(world, &container);
            let open = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";
            feed(program, &[], open);
            expect(world, 8081, LAN_HOST);
            manager.remove_sandbox(&container.id).unwrap();
            manager.erase().unwrap();
            drop(server);
        }
    });
}

#[test]
fn rules_of_firewalld_are_kept_to() {
    with_world(|world| {
        let (manager, container, _server) = published(world, FirewallMode::Host);
        feed(
            "nft",
            &["-f", "-"],
            "table inet firewalld {
                chain filter_INPUT {
                    type filter hook input priority 10; policy accept;
                    ct state { established, related } accept
                    ct status dnat accept
                    iifname \"lo\" accept
                    ct state invalid drop
                    jump filter_INPUT_ZONES
                    reject with icmpx admin-prohibited
                }
                chain filter_INPUT_ZONES {
                    iifname \"other0\" goto filter_IN_trusted
                    goto filter_IN_public
                }
                chain filter_IN_trusted { accept; }
                chain filter_IN_public {
                    jump filter_IN_public_allow
                    meta l4proto { icmp, ipv6-icmp } accept
                    reject with icmpx admin-prohibited
                }
                chain filter_IN_public_allow {
                    tcp dport 22 accept
                    tcp dport 8080 accept
                }
            }",
        );
        half_open(world, &container);
        assert!(
            manager.closed_ports(&[mapping("8081:80")])[0]
                .contains("firewall-cmd --permanent --add-port=8081/tcp")
        );
        run("nft", "add rule inet firewalld filter_IN_public_allow tcp dport 8081 accept");
        expect(world, 8081, LAN_HOST);
    });
}

#[test]
fn addresses_that_may_come_in_do() {
    with_world(|world| {
        let (_manager, container, _server) = published(world, FirewallMode::Host);
        feed(
            "nft",
            &["-f", "-"],
            "table inet filter {
                set banned { type ipv4_addr; flags interval; elements = { 198.51.100.64/26 } }
                set ports { type inet_service; flags interval; elements = { 22, 8080-8080 } }
                chain input {
                    type filter hook input priority 0; policy drop;
                    ct state vmap { established : accept, related : accept, invalid : drop }
                    iif lo accept
                    ip saddr @banned drop
                    ip saddr 203.0.113.0/24 tcp dport 8081 accept
                    limit rate over 1000/second drop
                    tcp dport vmap { 22 : accept, 8080 : jump web }
                }
                chain web { ip saddr != 192.0.2.0/24 accept; }
            }",
        );
        half_open(world, &container);
        inside(&world.far, || ip("route add default via 203.0.113.1"));
        let far = |port: u16| ask_from(&world.far, "203.0.113.1", port);
        assert_eq!((far(8080).as_str(), far(8081).as_str()), (FAR_HOST, FAR_HOST));
        inside(&world.lan, || {
            ip("addr add 198.51.100.70/24 dev eth0");
            ip("route add 198.51.100.1/32 dev eth0 src 198.51.100.70")
        });
        expect(world, 8080, "TimedOut");
        run("nft", "delete element inet filter banned { 198.51.100.64/26 }");
        expect(world, 8080, "198.51.100.70");
        run("nft", "delete table inet filter");
        expect(world, 8081, "198.51.100.70");
    });
}

#[test]
fn dockers_way_and_allowed_ports_are_settings() {
    with_world(|world| {
        run("nft", "add table inet filter");
        run("nft", "add chain inet filter input { type filter hook input priority 0 ; policy drop ; }");
        let (manager, container, _server) = published(world, FirewallMode::Docker);
        expect(world, 8081, LAN_HOST);
        assert!(manager.closed_ports(&[mapping("8081:80")]).is_empty());
        manager.hand_over();
        let mut settings = world.settings();
        settings.allowed_ports = vec!["8081/tcp".parse().unwrap()];
        let manager = NetworkManager::open(settings).unwrap();
        manager.ensure_network(&network("a", BRIDGE, "172.17.0.0/16")).unwrap();
        manager.restore(std::slice::from_ref(&container.id), Vec::new()).unwrap();
        expect(world, 8081, LAN_HOST);
        expect(world, 8080, "TimedOut");
    });
}

#[test]
fn a_neighbour_reaches_only_what_is_published() {
    with_world(|world| {
        let (_manager, container, _server) = published(world, FirewallMode::Host);
        let _other = Server::tcp(&container.namespace, 81);
        let address = address(&container);
        inside(&world.lan, || ip(&format!("route add 172.17.0.0/16 via {MACHINE}")));
        // Neither what is not published, nor past the published port.
        for port in [80, 81] {
            assert_eq!(ask_from(&world.lan, &address, port), "TimedOut");
        }
        expect(world, 8080, LAN_HOST);
    });
}

#[test]
fn a_table_that_was_removed_is_made_again() {
    with_world(|world| {
        let (_manager, _container, _server) = published(world, FirewallMode::Host);
        run("nft", "add table inet filter");
        run("nft", "add chain inet filter input { type filter hook input priority 0 ; policy drop ; }");
        run("nft", "add rule inet filter input tcp dport 8080 accept");
        expect(world, 8081, "TimedOut");
        // Where nothing keeps it from being removed.
        let removed = Command::new("nft").args(["delete", "table", "inet", "corten"]).status().unwrap();
        if removed.success() {
            expect(world, 8080, LAN_HOST);
            expect(world, 8081, "TimedOut");
        }
    });
}

#[test]
fn keys_of_several_fields_and_what_stands_for_the_rest_are_understood() {
    with_world(|world| {
        let (_manager, _container, _server) = published(world, FirewallMode::Host);
        inside(&world.far, || ip("route add default via 203.0.113.1"));
        feed(
            "nft",
            &["-f", "-"],
            "table inet pairs {
                set services { type inet_proto . inet_service; elements = { tcp . 22, tcp . 8080 } }
                set sources {
                    type inet_service . ipv4_addr; flags interval;
                    elements = { 8000-8090 . 203.0.113.0/24 }
                }
                chain input {
                    type filter hook input priority 0; policy drop;
                    ct state established,related accept
                    iif lo accept
                    meta l4proto . th dport @services accept
                    tcp dport . ip saddr @sources accept
                }
            }",
        );
        expect(world, 8081, "TimedOut");
        expect(world, 8080, LAN_HOST);
        assert_eq!(ask_from(&world.far, "203.0.113.1", 8081), FAR_HOST);
        run("nft", "delete table inet pairs");
        expect(world, 8081, LAN_HOST);
        let rest = "table inet rest {
            map who { type ipv4_addr : verdict; flags interval; elements = { 203.0.113.0/24 : accept, * : drop } }
            chain input {
                type filter hook input priority 0; policy accept;
                iif lo accept
                tcp dport 8080 accept
                ip saddr vmap @who
            }
        }";
        let file = world.scratch.path().join("rest.nft");
        std::fs::write(&file, rest).unwrap();
        // Kernels and programs of before 2021 do not have it.
        if Command::new("nft").arg("-f").arg(&file).status().unwrap().success() {
            expect(world, 8081, "TimedOut");
            expect(world, 8080, LAN_HOST);
            assert_eq!(ask_from(&world.far, "203.0.113.1", 8081), FAR_HOST);
        }
    });
}
