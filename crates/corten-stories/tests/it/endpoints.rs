//! Containers on several networks: connected and disconnected while they run, stopped, and while daemons are killed.

use crate::daemon;
use corten_testing::daemon::ScratchDaemon;
use std::time::Duration;

/// The networks of a container, as inspect tells.
fn networks(daemon: &ScratchDaemon, name: &str) -> String {
    daemon.ok(&["inspect", "-f", "{{range $n, $_ := .NetworkSettings.Networks}}{{$n}} {{end}}", name])
}

/// What inspect tells of one place.
fn told(daemon: &ScratchDaemon, name: &str, network: &str, field: &str) -> String {
    daemon.ok(&[
        "inspect",
        "-f",
        &format!("{{{{with index .NetworkSettings.Networks {network:?}}}}}{{{{.{field}}}}}{{{{end}}}}"),
        name,
    ])
}

/// The interfaces inside.
fn interfaces(daemon: &ScratchDaemon, name: &str) -> String {
    daemon.ok(&["exec", name, "sh", "-c", "echo $(ls /sys/class/net)"])
}

fn refused(daemon: &ScratchDaemon, arguments: &[&str]) -> String {
    let said = daemon.corten(arguments);
    assert_ne!(said.code, 0, "{arguments:?} is refused");
    said.err
}

#[test]
fn networks_come_and_go() {
    let Some(daemon) = daemon("endpoints") else { return };
    daemon.ok(&["network", "create", "--subnet", "10.211.0.0/24", "front"]);
    daemon.ok(&[
        "network",
        "create",
        "--subnet",
        "10.212.0.0/24",
        "--subnet",
        "fd00:212::/64",
        "--ipv6",
        "back",
    ]);
    daemon.ok(&["run", "-d", "--name", "web", "--network", "front", "busybox", "sleep", "1000"]);
    daemon.ok(&[
        "network",
        "connect",
        "--ip",
        "10.212.0.7",
        "--ip6",
        "fd00:212::7",
        "--alias",
        "shop",
        "back",
        "web",
    ]);
    assert_eq!(networks(&daemon, "web"), "back front ");
    assert_eq!(interfaces(&daemon, "web"), "eth0 eth1 lo");
    let addresses = daemon.ok(&["exec", "web", "ip", "-o", "addr", "show", "eth1"]);
    assert!(addresses.contains("10.212.0.7/24") && addresses.contains("fd00:212::7/64"), "{addresses}");
    assert!(daemon.ok(&["exec", "web", "ip", "route"]).contains("default via 10.212.0.1 dev eth1"));
    assert_eq!(told(&daemon, "web", "back", "GlobalIPv6Address"), "fd00:212::7");
    assert!(told(&daemon, "web", "back", "DNSNames").starts_with("[web shop "));
    assert!(daemon.ok(&["exec", "web", "cat", "/etc/hosts"]).contains("10.212.0.7\t"));
    let listed = daemon.ok(&[
        "network",
        "inspect",
        "-f",
        "{{range .Containers}}{{.Name}} {{.IPv4Address}} {{.IPv6Address}}{{end}}",
        "back",
    ]);
    assert_eq!(listed, "web 10.212.0.7/24 fd00:212::7/64");

    // What Docker refuses, in its words.
    for (arguments, words) in [
        (["network", "connect", "back", "web"], "endpoint with name web already exists in network back"),
        (["network", "connect", "ghost", "web"], "network ghost not found"),
        (["network", "connect", "back", "ghost"], "No such container: ghost"),
        (
            ["network", "connect", "host", "web"],
            "cannot connect container to host network - container must be created in host network mode",
        ),
        (
            ["network", "connect", "none", "web"],
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ),
        (["network", "disconnect", "bridge", "web"], "is not connected to network bridge"),
    ] {
        let error = refused(&daemon, &arguments);
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
    let outside = refused(&daemon, &["network", "connect", "--ip", "10.9.9.9", "bridge", "web"]);
    assert!(
        outside.contains("user specified IP address is supported on user defined networks only"),
        "{outside}"
    );
    daemon.ok(&["run", "-d", "--name", "other", "--network", "front", "busybox", "sleep", "1000"]);
    let taken = refused(&daemon, &["network", "connect", "--ip", "10.212.0.7", "back", "other"]);
    assert!(taken.contains("Address already in use"), "{taken}");
    assert_eq!(interfaces(&daemon, "other"), "eth0 lo");
    assert!(refused(&daemon, &["network", "rm", "back"]).contains("has active endpoints"));

    daemon.ok(&["network", "disconnect", "front", "web"]);
    assert_eq!((networks(&daemon, "web"), interfaces(&daemon, "web")), ("back ".into(), "eth1 lo".into()));
    daemon.ok(&["network", "disconnect", "back", "web"]);
    assert_eq!((networks(&daemon, "web"), interfaces(&daemon, "web")), (String::new(), "lo".into()));
    daemon.ok(&["network", "connect", "bridge", "web"]);
    assert!(daemon.ok(&["exec", "web", "ip", "route"]).contains("default via"));

    // While it does not run, for its next start.
    daemon.ok(&["stop", "-t", "0", "web"]);
    daemon.ok(&["network", "connect", "front", "web"]);
    daemon.ok(&["network", "connect", "--ip", "10.212.0.9", "--gw-priority", "1", "back", "web"]);
    daemon.ok(&["network", "disconnect", "bridge", "web"]);
    assert_eq!(networks(&daemon, "web"), "back front ");
    assert_eq!(told(&daemon, "web", "back", "IPAddress"), "");
    daemon.ok(&["start", "web"]);
    assert_eq!(told(&daemon, "web", "back", "IPAddress"), "10.212.0.9");
    assert_eq!(told(&daemon, "web", "back", "GwPriority"), "1");
    assert!(daemon.ok(&["exec", "web", "ip", "route"]).contains("default via 10.212.0.1"));
}

#[test]
fn several_networks_at_once_and_their_order() {
    let Some(daemon) = daemon("order") else { return };
    for name in ["na", "nb", "nc"] {
        daemon.ok(&["network", "create", name]);
    }
    let on = ["run", "-d", "--name", "web", "-p", "127.0.0.1::80", "--network", "nc"];
    daemon.ok(&[
        &on[..],
        &["--network", "name=nb,gw-priority=7", "--network", "na", "busybox", "sleep", "1000"],
    ]
    .concat());
    assert_eq!(interfaces(&daemon, "web"), "eth0 eth1 eth2 lo");
    let inside = daemon.ok(&["exec", "web", "ip", "-o", "-4", "addr", "show", "eth0"]);
    assert!(inside.contains(&told(&daemon, "web", "nc", "IPAddress")), "the first named is eth0: {inside}");
    let gateway = told(&daemon, "web", "nb", "Gateway");
    assert!(daemon.ok(&["exec", "web", "ip", "route"]).contains(&format!("default via {gateway}")));
    let port = daemon.ok(&["port", "web", "80"]);
    daemon.ok(&["network", "disconnect", "nb", "web"]);
    assert_eq!(daemon.ok(&["port", "web", "80"]), port, "the port stays what it was");
    let both = refused(&daemon, &["run", "--rm", "--network", "na", "--network", "host", "busybox", "true"]);
    assert!(both.contains("cannot attach both user-defined and non-user-defined network-modes"), "{both}");
}

#[test]
fn connections_survive_the_daemon() {
    let Some(daemon) = daemon("endpoints-kill") else { return };
    for name in ["na", "nb", "nc"] {
        daemon.ok(&["network", "create", name]);
    }
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "na",
        "--network",
        "nb",
        "busybox",
        "sleep",
        "1000",
    ]);
    daemon.ok(&["run", "-d", "--rm", "--name", "gone", "--network", "nb", "busybox", "sleep", "1000"]);
    for round in 0..20_u64 {
        let network = if round % 2 == 0 { "nc" } else { "nb" };
        let verb = if networks(&daemon, "web").contains(network) { "disconnect" } else { "connect" };
        let client = std::thread::scope(|scope| {
            let client = scope.spawn(|| daemon.corten(&["network", verb, network, "web"]));
            std::thread::sleep(Duration::from_millis(5 + round * 3));
            if let Some(pid) = daemon.daemon() {
                daemon.kill(pid);
            }
            client.join().expect("the client ends")
        });
        // What was acknowledged holds; what was not is whole or has not happened.
        let now = networks(&daemon, "web");
        if client.code == 0 {
            assert_eq!(
                now.contains(network),
                verb == "connect",
                "round {round}: {verb} {network}, then {now}"
            );
        }
        let inside = interfaces(&daemon, "web");
        let expected = now.split_whitespace().count() + 1;
        assert_eq!(inside.split_whitespace().count(), expected, "round {round}: {now} and {inside}");
        for name in now.split_whitespace() {
            let address = told(&daemon, "web", name, "IPAddress");
            let shown = daemon.ok(&["exec", "web", "ip", "-o", "-4", "addr"]);
            assert!(!address.is_empty() && shown.contains(&address), "round {round}: {address} in {shown}");
        }
        assert_eq!(networks(&daemon, "gone"), "nb ");
    }
    daemon.ok(&["rm", "-f", "web", "gone"]);
    for name in ["na", "nb", "nc"] {
        daemon.ok(&["network", "rm", name]);
    }
}

#[test]
fn more_networks_than_docker_has_subnets() {
    let Some(daemon) = daemon("many") else { return };
    let names: Vec<String> = (0..40).map(|number| format!("n{number}")).collect();
    for name in &names {
        daemon.ok(&["network", "create", name]);
    }
    let last =
        daemon.ok(&["run", "--rm", "--network", "n39", "busybox", "ip", "-o", "-4", "addr", "show", "eth0"]);
    assert!(last.contains("inet "), "{last}");
    let words: Vec<&str> = ["network", "rm"].into_iter().chain(names.iter().map(String::as_str)).collect();
    daemon.ok(&words);
}

/// Who has looked a container's address up finds it there after a restart, as behind a proxy that asks for a name once.
#[test]
fn a_container_that_starts_again_has_its_addresses_again() {
    let Some(daemon) = super::daemon("same-address") else { return };
    for network in ["front", "back"] {
        daemon.ok(&["network", "create", network]);
    }
    for name in ["one", "two"] {
        let run = ["run", "-d", "--init", "--name", name, "--network", "front", "busybox", "sleep", "1000"];
        daemon.ok(&run);
        daemon.ok(&["network", "connect", "back", name]);
    }
    let addresses = || {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        daemon.ok(&["inspect", "-f", format, "one", "two"])
    };
    let before = addresses();
    for _ in 0..3 {
        daemon.ok(&["restart", "-t", "1", "one"]);
        daemon.ok(&["restart", "-t", "1", "two"]);
        assert_eq!(addresses(), before);
    }
    daemon.ok(&["stop", "-t", "1", "one", "two"]);
    daemon.ok(&["start", "two"]);
    daemon.ok(&["start", "one"]);
    assert_eq!(addresses(), before);
}

/// The cable of before is still there when a container starts again, and the bridge must pass it over; so must a daemon that finds the
/// records of both.
#[test]
fn an_address_that_is_handed_over_leads_to_the_new_sandbox() {
    let Some(daemon) = super::daemon("handed-over") else { return };
    daemon.ok(&["network", "create", "front"]);
    daemon.ok(&["run", "-d", "--name", "peer", "--network", "front", "busybox", "sleep", "1000"]);
    daemon.ok(&["run", "-d", "--name", "web", "--network", "front", "busybox", "sleep", "1000"]);
    let address = || told(&daemon, "web", "front", "IPAddress").trim().to_owned();
    let before = address();
    let reach = || daemon.ok(&["exec", "peer", "ping", "-c", "1", "-W", "2", before.as_str()]);
    for _ in 0..5 {
        daemon.ok(&["restart", "-t", "0", "web"]);
        assert_eq!(address(), before);
        reach();
    }
    for _ in 0..3 {
        daemon.ok(&["restart", "-t", "0", "web"]);
        daemon.kill(daemon.daemon().expect("a daemon"));
        assert_eq!(address(), before);
        reach();
        // The address is the container's, and nobody else's.
        let run = ["run", "--rm", "--network", "front", "busybox", "hostname", "-i"];
        assert_ne!(daemon.ok(&run).trim(), before);
    }
}
