//! Bridges and sandboxes: made, given out, removed, taken over by the next daemon.

use crate::world::*;
use corten_network::{Attachment, EndpointRequest, NetworkError, NetworkManager, SandboxKind};
use corten_std::chain;
use std::net::Ipv4Addr;

#[test]
fn a_sandbox_is_what_docker_makes() {
    with_world(|world| {
        let manager = world.manager();
        manager.settle();
        let sandbox = sandbox(&manager, "web");
        let endpoint = endpoint(&sandbox);
        assert_eq!(endpoint.address, Some(Ipv4Addr::new(172, 17, 0, 2)));
        assert_eq!((endpoint.prefix, endpoint.gateway), (16, Some(Ipv4Addr::new(172, 17, 0, 1))));
        assert_eq!(endpoint.mac.to_string(), "02:42:ac:11:00:02");
        let (addresses, routes) = inside(&sandbox.namespace, || (ip("-o addr"), ip("route")));
        assert!(addresses.contains("eth0    inet 172.17.0.2/16 brd 172.17.255.255"), "{addresses}");
        assert!(!addresses.contains("eth0    inet6"), "{addresses}");
        assert!(addresses.contains("lo    inet 127.0.0.1/8"), "{addresses}");
        assert!(routes.contains("default via 172.17.0.1 dev eth0"), "{routes}");
        assert!(
            inside(&sandbox.namespace, || ip("-o link show eth0")).contains("link/ether 02:42:ac:11:00:02")
        );
        let bridge = ip("-o -d link show corten0");
        assert!(bridge.contains("state UP") && bridge.contains("bridge"), "{bridge}");
        assert!(ip("-o addr show corten0").contains("172.17.0.1/16"));
        let ports = run("bridge", "link");
        assert!(ports.contains(&endpoint.host_interface), "{ports}");
    });
}

#[test]
fn the_pool_is_full_again_and_addresses_come_back() {
    with_world(|world| {
        let manager = world.manager();
        for round in 0..3 {
            manager.settle();
            let sandboxes: Vec<_> = (0..10).map(|number| sandbox(&manager, &format!("c{number}"))).collect();
            let mut addresses: Vec<_> = sandboxes.iter().map(address).collect();
            addresses.sort_unstable();
            addresses.dedup();
            assert_eq!(addresses.len(), 10, "round {round}");
            for sandbox in &sandboxes {
                manager.remove_sandbox(&sandbox.id).unwrap();
            }
        }
        manager.settle();
        // Ten sandboxes and a pool of six never needed more than sixteen addresses at a time, two rounds of them.
        let last = endpoint(&sandbox(&manager, "last")).address.unwrap().octets();
        assert!(last[2] == 0 && last[3] < 40, "{last:?}");
    });
}

#[test]
fn addresses_and_macs_can_be_asked_for() {
    with_world(|world| {
        let manager = world.manager();
        manager.settle();
        let with = |address: &str, mac: Option<&str>| {
            let network = Attachment::Networks(vec![EndpointRequest {
                address: Some(address.parse().unwrap()),
                mac: mac.map(|mac| mac.parse().unwrap()),
                ..place("a")
            }]);
            manager.create_sandbox(&request("fixed", network))
        };
        // One that stands ready, one far away, one with a hardware address of its own.
        for (wanted, mac, has) in [
            ("172.17.0.4", None, "02:42:ac:11:00:04"),
            ("172.17.9.9", None, "02:42:ac:11:09:09"),
            ("172.17.9.10", Some("02:00:00:00:00:07"), "02:00:00:00:00:07"),
        ] {
            let sandbox = with(wanted, mac).unwrap();
            let (addresses, link, routes) = inside(&sandbox.namespace, || {
                (ip("-o addr show eth0"), ip("-o link show eth0"), ip("route"))
            });
            assert!(addresses.contains(&format!("inet {wanted}/16")), "{addresses}");
            assert_eq!(addresses.lines().count(), 1, "{addresses}");
            assert!(link.contains(has), "{link}");
            assert!(routes.contains("default via 172.17.0.1"), "{routes}");
            assert_eq!(endpoint(&sandbox).mac.to_string(), has);
        }
        assert!(matches!(with("172.17.9.9", None), Err(NetworkError::AddressTaken(_))));
        assert!(matches!(with("172.17.0.1", None), Err(NetworkError::AddressTaken(_))));
        assert!(matches!(with("10.0.0.1", None), Err(NetworkError::AddressOutside(_))));
        let mut seen = Vec::new();
        for number in 0..12 {
            seen.push(address(&sandbox(&manager, &format!("c{number}"))));
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 12);
        assert!(!seen.contains(&"172.17.0.4".to_owned()));
    });
}

#[test]
fn a_small_subnet_is_used_up_to_its_last_address() {
    with_world(|world| {
        let manager = NetworkManager::open(world.settings()).unwrap();
        manager.ensure_network(&network("a", BRIDGE, "10.7.0.0/29")).unwrap();
        manager.settle();
        let request = request("c", on("a"));
        let all: Vec<_> = std::iter::from_fn(|| manager.create_sandbox(&request).ok()).collect();
        let mut addresses: Vec<_> = all.iter().map(address).collect();
        addresses.sort_unstable();
        assert_eq!(addresses, ["10.7.0.2", "10.7.0.3", "10.7.0.4", "10.7.0.5", "10.7.0.6"]);
        let error = manager.create_sandbox(&request).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("no available IPv4 addresses on this network's address pools: net-a")
        );
        manager.remove_sandbox(&all[2].id).unwrap();
        manager.settle();
        assert_eq!(address(&manager.create_sandbox(&request).unwrap()), address(&all[2]));
    });
}

#[test]
fn none_and_host() {
    with_world(|world| {
        let manager = world.manager();
        let none = sandbox_on(&manager, "n", Attachment::None);
        assert_eq!(none.kind, SandboxKind::None);
        let links = inside(&none.namespace, || ip("-o link"));
        assert_eq!(links.lines().count(), 1, "{links}");
        assert!(links.contains("LOOPBACK,UP"), "{links}");
        let host = sandbox_on(&manager, "h", Attachment::Host);
        assert!(inside(&host.namespace, || ip("-o link")).contains("corten0"));
        manager.remove_sandbox(&none.id).unwrap();
        manager.remove_sandbox(&host.id).unwrap();
        manager.settle();
        assert!(!none.path.exists());
        assert!(manager.sandbox(&none.id).is_err());
    });
}

#[test]
fn networks_are_checked_and_removed() {
    with_world(|world| {
        let manager = world.manager();
        let refused = |network| chain(&manager.ensure_network(&network).unwrap_err());
        assert!(refused(network("b", "br-b", "172.17.5.0/24")).contains("Pool overlaps with other one"));
        assert!(refused(network("b", "a/b", "10.8.0.0/24")).contains("cannot be the name of an interface"));
        assert!(refused(network("b", "lan0", "10.8.0.0/24")).contains("is not a bridge"));
        assert!(manager.create_sandbox(&request("c", on("b"))).is_err());

        manager.ensure_network(&network("b", "br-b", "10.8.0.0/24")).unwrap();
        manager.ensure_network(&network("b", "br-b", "10.8.0.0/24")).unwrap();
        let sandbox = sandbox_on(&manager, "c", on("b"));
        assert_eq!(address(&sandbox), "10.8.0.2");
        let error = manager.remove_network(&"b".repeat(64)).unwrap_err();
        assert_eq!(error.to_string(), "error while removing network: network net-b has active endpoints");
        manager.remove_sandbox(&sandbox.id).unwrap();
        manager.settle();
        manager.remove_network(&"b".repeat(64)).unwrap();
        manager.remove_network(&"b".repeat(64)).unwrap();
        manager.settle();
        assert!(!ip("-o link").contains("br-b"));
        assert!(!run("nft", "list table inet corten").contains("br-b"));
    });
}

#[test]
fn the_subnet_avoids_the_hosts_routes() {
    with_world(|world| {
        let manager = NetworkManager::open(world.settings()).unwrap();
        let choose = || {
            manager.choose_subnet(&corten_network::SubnetPool::defaults(), &[]).unwrap().unwrap().to_string()
        };
        assert_eq!(choose(), "172.17.0.0/16");
        ip("route add 172.17.0.0/24 dev lan0");
        ip("addr add 172.18.255.1/32 dev lan0");
        ip("route add default via 198.51.100.9");
        assert_eq!(choose(), "172.19.0.0/16");
    });
}

#[test]
fn nothing_is_left() {
    with_world(|world| {
        let before = (ip("-o link").lines().count(), run("nft", "list ruleset"));
        let manager = world.manager();
        let sandboxes: Vec<_> = (0..5).map(|number| sandbox(&manager, &format!("c{number}"))).collect();
        manager.publish(&sandboxes[0].id, &[mapping("8080:80"), mapping("53:53/udp")]).unwrap();
        for sandbox in &sandboxes {
            manager.remove_sandbox(&sandbox.id).unwrap();
        }
        manager.settle();
        let rules = run("nft", "list table inet corten");
        assert!(!rules.contains("8080") && !rules.contains("172.17.0.2"), "{rules}");
        manager.erase().unwrap();
        manager.settle();
        assert_eq!(pinned(world.scratch.path()), Vec::<String>::new());
        for folder in ["run/netns", "run/sandboxes"] {
            assert_eq!(std::fs::read_dir(world.scratch.path().join(folder)).unwrap().count(), 0, "{folder}");
        }
        wait_until("interfaces are gone", || {
            (ip("-o link").lines().count(), run("nft", "list ruleset")) == before
        });
    });
}

#[test]
fn a_killed_daemon_leaves_its_sandboxes_to_the_next() {
    with_world(|world| {
        let first = world.manager();
        first.settle();
        let live = sandbox(&first, "live");
        let dead = sandbox(&first, "dead");
        first.publish(&live.id, &[mapping("8080:80")]).unwrap();
        first.publish(&dead.id, &[mapping("8081:80")]).unwrap();
        let _server = Server::tcp(&live.namespace, 80);
        assert_eq!(ask("127.0.0.1", 8080), "172.17.0.1");
        let reserved = first.take_reserved();
        assert_eq!(reserved.len(), 4);
        kill(first);

        // Before the next daemon knows what is live, everything goes on.
        let second = world.manager();
        assert_eq!(ask_from(&world.lan, MACHINE, 8080), LAN_HOST);
        let kept = second.restore(std::slice::from_ref(&live.id), reserved).unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].endpoints, live.endpoints);
        assert_eq!(kept[0].ports.len(), 2);
        second.settle();
        assert_eq!(ask_from(&world.lan, MACHINE, 8080), LAN_HOST);
        assert_eq!(ask("127.0.0.1", 8080), "172.17.0.1");
        assert_eq!(ask("::1", 8080), "172.17.0.1");
        let rules = run("nft", "list table inet corten");
        assert!(rules.contains("8080") && !rules.contains("8081"), "{rules}");
        let links = ip("-o link");
        assert!(links.contains(&endpoint(&live).host_interface), "{links}");
        assert!(!links.contains(&endpoint(&dead).host_interface), "{links}");
        assert!(!dead.path.exists());
        let pins = std::fs::read_dir(world.scratch.path().join("run/netns")).unwrap().count();
        assert_eq!(pins, 1 + 6 + 2, "one sandbox and the new pools");
        let fresh = sandbox(&second, "fresh");
        assert_ne!(endpoint(&fresh).address, endpoint(&live).address);
        let error = second.publish(&fresh.id, &[mapping("8080:80")]).unwrap_err();
        assert!(
            error.to_string().ends_with("Bind for 0.0.0.0:8080 failed: port is already allocated"),
            "{error}"
        );
        second.publish(&fresh.id, &[mapping("8081:80")]).unwrap();
        second.remove_sandbox(&live.id).unwrap();
        second.settle();
        assert!(!live.path.exists());
    });
}

#[test]
fn two_managers_stand_side_by_side() {
    with_world(|world| {
        let first = world.manager();
        let root = world.scratch.path().join("other");
        let paths = corten_std::Paths::new(root.join("data"), root.join("run"));
        let second = NetworkManager::open(corten_network::NetworkSettings::new(paths, "other0")).unwrap();
        second.ensure_network(&network("b", "other0", "172.30.0.0/16")).unwrap();
        let (one, other) = (sandbox(&first, "one"), sandbox_on(&second, "other", on("b")));
        first.publish(&one.id, &[mapping("8080:80")]).unwrap();
        second.publish(&other.id, &[mapping("8081:80")]).unwrap();
        let _servers = [Server::tcp(&one.namespace, 80), Server::tcp(&other.namespace, 80)];
        assert_eq!(ask_from(&world.lan, MACHINE, 8080), LAN_HOST);
        assert_eq!(ask_from(&world.lan, MACHINE, 8081), LAN_HOST);
        let error = second.publish(&other.id, &[mapping("8080:80")]).unwrap_err();
        assert!(error.to_string().contains("address already in use"), "{error}");
        second.restore(&[], Vec::new()).unwrap();
        second.settle();
        assert_eq!(ask_from(&world.lan, MACHINE, 8080), LAN_HOST);
    });
}

/// What /proc says of namespaces that are pinned.
fn pinned(root: &std::path::Path) -> Vec<String> {
    let folder = format!("{}/run/netns/", root.display());
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.contains(&folder)).map(str::to_owned).collect()
}

/// The ids of the sandboxes that have a record.
fn recorded(root: &std::path::Path) -> Vec<String> {
    let folder = std::fs::read_dir(root.join("run/sandboxes")).into_iter().flatten().flatten();
    folder.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned())).collect()
}

const VICTIM: &str = "CORTEN_TEST_VICTIM";

/// Not a test of its own: what [`killed_at_random_nothing_is_left_and_nothing_lost`] runs in processes that it kills.
#[test]
fn victim() {
    let Some(root) = std::env::var_os(VICTIM).map(std::path::PathBuf::from) else { return };
    let paths = corten_std::Paths::new(root.join("data"), root.join("run"));
    let manager = NetworkManager::open(corten_network::NetworkSettings::new(paths, BRIDGE)).unwrap();
    manager.ensure_network(&network("a", BRIDGE, "172.17.0.0/16")).unwrap();
    let mut live = recorded(&root);
    live.truncate(3);
    manager.restore(&live, Vec::new()).unwrap();
    for number in 0.. {
        let made: Vec<_> = (0..3).map(|index| sandbox(&manager, &format!("c{number}-{index}"))).collect();
        for sandbox in &made {
            manager.publish(&sandbox.id, &[mapping("80"), mapping("53/udp")]).unwrap();
        }
        made[1..].iter().for_each(|sandbox| manager.remove_sandbox(&sandbox.id).unwrap());
    }
}

#[test]
fn killed_at_random_nothing_is_left_and_nothing_lost() {
    with_world(|world| {
        let before = (ip("-o link").lines().count(), run("nft", "list ruleset"));
        let root = world.scratch.path();
        let mut kept_once = 0;
        // On a slow machine the victim needs longer until it has done anything.
        let mut pace = 1;
        for round in 0..25_u64 {
            let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "lifecycle::victim"])
                .env(VICTIM, root)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(std::time::Duration::from_millis(pace * (3 + round * 37 % 90)));
            assert!(victim.try_wait().unwrap().is_none(), "the victim lives until it is killed");
            victim.kill().unwrap();
            victim.wait().unwrap();
            kept_once = kept_once.max(recorded(root).len());
            pace = if kept_once == 0 { (pace + 1).min(40) } else { pace };
        }
        assert!(kept_once > 0);
        let manager = world.manager();
        let live = recorded(root);
        let kept = manager.restore(&live[..live.len().min(2)], Vec::new()).unwrap();
        manager.settle();
        for sandbox in &kept {
            let _server = Server::tcp(&sandbox.namespace, 80);
            let port = sandbox.ports.iter().find(|port| port.container_port == 80);
            if let Some(port) = port {
                assert_eq!(ask_from(&world.lan, MACHINE, port.host_port), LAN_HOST);
            }
            manager.remove_sandbox(&sandbox.id).unwrap();
        }
        manager.settle();
        assert_eq!(recorded(root), Vec::<String>::new());
        manager.erase().unwrap();
        assert_eq!(pinned(root), Vec::<String>::new());
        for folder in ["run/netns", "run/sandboxes"] {
            assert_eq!(std::fs::read_dir(root.join(folder)).unwrap().count(), 0, "{folder}");
        }
        wait_until("interfaces are gone", || {
            (ip("-o link").lines().count(), run("nft", "list ruleset")) == before
        });
    });
}

/// What SIGKILL does to a manager: its descriptors are closed, nothing is undone.
fn kill(manager: NetworkManager) {
    manager.hand_over();
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..400 {
        if done() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("never: {what}");
}

#[test]
fn a_bridge_that_was_there_before_stays() {
    with_world(|world| {
        let manager = world.manager();
        for (letter, found) in [("b", false), ("c", true)] {
            let bridge = format!("br-{letter}");
            if found {
                ip(&format!("link add {bridge} type bridge"));
            }
            let mut config = network(letter, &bridge, "10.8.0.0/24");
            config.found_bridge = found;
            manager.ensure_network(&config).unwrap();
            manager.remove_network(&config.id).unwrap();
            assert_eq!(manager.has_interface(&bridge).unwrap(), found, "{bridge}");
        }
    });
}

/// The kernel takes ranges that touch only each for itself, its beginning followed by its end.
#[test]
fn rules_of_networks_that_touch_are_mended_and_removed() {
    with_world(|world| {
        let subnets = ["10.8.0.0/24", "10.8.1.0/24", "10.8.2.0/24", "10.9.0.0/24"];
        let networks = || subnets.iter().zip(["b", "c", "d", "e"]);
        let manager = world.manager();
        for (subnet, letter) in networks() {
            manager.ensure_network(&network(letter, &format!("br-{letter}"), subnet)).unwrap();
        }
        let rules = || run("nft", "list ruleset");
        let before = rules();
        assert!(subnets.iter().all(|subnet| before.contains(subnet)), "{before}");
        // A foreign flush, and a new daemon.
        kill(manager);
        run("nft", "flush set inet corten masquerade4");
        assert!(!rules().contains("10.8.1.0/24"));
        let manager = world.manager();
        for (subnet, letter) in networks() {
            manager.ensure_network(&network(letter, &format!("br-{letter}"), subnet)).unwrap();
        }
        manager.restore(&[], Vec::new()).unwrap();
        assert!(subnets.iter().all(|subnet| rules().contains(subnet)), "{}", rules());
        kill(manager);
        // The networks are gone for this one.
        let manager = world.manager();
        manager.restore(&[], Vec::new()).unwrap();
        assert!(!subnets.iter().any(|subnet| rules().contains(subnet)), "{}", rules());
        manager.erase().unwrap();
        for (_, letter) in networks() {
            ip(&format!("link del br-{letter}"));
        }
    });
}

#[test]
fn a_refused_hardware_address_costs_no_address() {
    with_world(|world| {
        let manager = world.manager();
        manager.ensure_network(&network("b", "br-b", "10.8.0.0/28")).unwrap();
        for number in 0..20 {
            let mut place = place("b");
            if number < 19 {
                // Of a group, which no interface can have.
                place.mac = Some("01:00:5e:00:00:01".parse().unwrap());
            }
            let made = manager.create_sandbox(&request("c", Attachment::Networks(vec![place])));
            match made {
                Err(NetworkError::Kernel { .. }) => assert!(number < 19),
                Ok(_) => assert_eq!(number, 19),
                Err(error) => panic!("{number}: {error}"),
            }
            manager.settle();
        }
    });
}
