//! Networks that a program of somebody else makes, and addresses that it keeps, by Docker's plugin protocol.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use corten_testing::daemon::ScratchDaemon;
use corten_testing::plugin::{NetworkDriver, Plugin};

/// Methods that the plugin refuses, and with what.
type Refused = Arc<Mutex<BTreeMap<String, String>>>;

/// A plugin that makes interfaces, where this machine can have one.
fn plugin(name: &str) -> Option<(Plugin, Refused)> {
    if !corten_testing::need_root() || !corten_testing::need("ip", corten_testing::program("ip")) {
        return None;
    }
    let refused = Refused::default();
    let driver = NetworkDriver::refusing(Arc::clone(&refused));
    Some((Plugin::start(name, driver.answers()), refused))
}

/// Interfaces of this machine whose name begins so.
fn interfaces(prefix: &str) -> Vec<String> {
    let said = Command::new("ip").args(["-o", "link"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let names = said.lines().filter_map(|line| line.split(": ").nth(1)?.split('@').next());
    names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
}

/// What a plugin that refused or died has left.
fn remove_bridge(network: &str) {
    let _ = Command::new("ip").args(["link", "delete", &format!("ct{}", &network[..8])]).status();
}

fn only_driver(calls: Vec<String>) -> Vec<String> {
    calls.into_iter().filter(|call| !call.starts_with("Plugin.")).collect()
}

#[test]
fn a_plugin_connects_containers_and_keeps_their_addresses() {
    let Some((plugin, _)) = plugin("corten-story-net") else { return };
    let Some(daemon) = super::daemon("network-plugin") else { return };
    let name = plugin.name.as_str();
    let create = [
        "network",
        "create",
        "-d",
        name,
        "--ipam-driver",
        name,
        "--opt",
        "a=b",
        "--ipam-opt",
        "c=d",
        "--subnet",
        "10.253.77.0/24",
        "net",
    ];
    let id = daemon.ok(&create);
    let bridge = format!("ct{}", &id[..8]);
    assert_eq!(
        only_driver(plugin.take_calls()),
        [
            "NetworkDriver.GetCapabilities",
            "IpamDriver.GetCapabilities",
            "IpamDriver.GetDefaultAddressSpaces",
            "IpamDriver.RequestPool 10.253.77.0/24",
            "IpamDriver.RequestAddress",
            "NetworkDriver.CreateNetwork",
        ]
    );
    let format = "{{.Driver}} {{.Scope}} {{.IPAM.Driver}} {{json .IPAM.Options}} {{json .IPAM.Config}} {{json .Options}}";
    assert_eq!(
        daemon.ok(&["network", "inspect", "-f", format, "net"]),
        format!(r#"{name} local {name} {{"c":"d"}} [{{"Subnet":"10.253.77.0/24"}}] {{"a":"b"}}"#)
    );
    assert_eq!(daemon.ok(&["network", "ls", "-q", "--no-trunc", "-f", &format!("driver={name}")]), id);

    daemon.ok(&["run", "-d", "--init", "--name", "one", "--network", "net", "busybox", "sleep", "1000"]);
    assert_eq!(
        only_driver(plugin.take_calls()),
        [
            "IpamDriver.RequestAddress",
            "NetworkDriver.CreateEndpoint",
            "NetworkDriver.Join",
            "NetworkDriver.ProgramExternalConnectivity",
            "NetworkDriver.EndpointOperInfo",
        ]
    );
    let fixed = ["run", "-d", "--init", "--name", "two", "--network", "net", "--ip", "10.253.77.9"];
    let mac = ["--mac-address", "02:42:0a:00:00:09", "busybox", "sleep", "1000"];
    daemon.ok(&[&fixed[..], &mac[..]].concat());
    // With the kernel's eyes: the interface is inside with what was asked for, its other end on the plugin's bridge.
    let inside = daemon.ok(&["exec", "two", "ip", "address", "show", "plug0"]);
    assert!(inside.contains("inet 10.253.77.9/24") && inside.contains("02:42:0a:00:00:09"), "{inside}");
    let routes = daemon.ok(&["exec", "one", "ip", "route"]);
    for route in [
        "default via 10.253.77.1 dev plug0",
        "10.254.1.0/24 via 10.253.77.1",
        "10.254.2.0/24 dev plug0 scope link",
    ] {
        assert!(routes.contains(route), "{route} is missing:\n{routes}");
    }
    let ports = Command::new("ip").args(["-o", "link", "show", "master", &bridge]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ports.stdout).lines().count(), 2);
    daemon.ok(&["exec", "one", "ping", "-c1", "-W2", "10.253.77.9"]);
    daemon.ok(&["exec", "two", "ping", "-c1", "-W2", "one"]);
    let format = r#"{{with index .NetworkSettings.Networks "net"}}{{.IPAddress}}/{{.IPPrefixLen}} {{.Gateway}}{{end}}"#;
    assert_eq!(daemon.ok(&["inspect", "-f", format, "one"]), "10.253.77.2/24 10.253.77.1");
    let refused = daemon.corten(&["network", "rm", "net"]);
    assert!(refused.err.contains("has active endpoints"), "{refused:?}");

    // A second network of ours comes and goes while it runs; the plugin hears where the default route is.
    plugin.take_calls();
    daemon.ok(&["network", "disconnect", "net", "two"]);
    daemon.ok(&["network", "connect", "--ip", "10.253.77.20", "net", "two"]);
    assert!(daemon.ok(&["exec", "two", "ip", "address"]).contains("10.253.77.20/24"));
    assert_eq!(
        only_driver(plugin.take_calls()),
        [
            "NetworkDriver.RevokeExternalConnectivity",
            "NetworkDriver.Leave",
            "NetworkDriver.DeleteEndpoint",
            "IpamDriver.ReleaseAddress 10.253.77.9",
            "IpamDriver.RequestAddress 10.253.77.20",
            "NetworkDriver.CreateEndpoint",
            "NetworkDriver.Join",
            "NetworkDriver.ProgramExternalConnectivity",
            "NetworkDriver.EndpointOperInfo",
        ]
    );
    daemon.ok(&["network", "create", "ours"]);
    daemon.ok(&["network", "connect", "--gw-priority", "5", "ours", "two"]);
    assert_eq!(only_driver(plugin.take_calls()), ["NetworkDriver.RevokeExternalConnectivity"]);
    daemon.ok(&["network", "disconnect", "ours", "two"]);
    assert_eq!(only_driver(plugin.take_calls()), ["NetworkDriver.ProgramExternalConnectivity"]);

    daemon.ok(&["rm", "-f", "one", "two"]);
    plugin.take_calls();
    daemon.ok(&["network", "rm", "net", "ours"]);
    assert_eq!(
        only_driver(plugin.take_calls()),
        ["IpamDriver.ReleaseAddress 10.253.77.1", "IpamDriver.ReleasePool", "NetworkDriver.DeleteNetwork"]
    );
    assert_eq!(interfaces(&bridge), Vec::<String>::new());
}

#[test]
fn our_bridge_has_a_plugins_addresses_and_a_plugins_network_has_ours() {
    let Some((plugin, _)) = plugin("corten-story-half") else { return };
    let Some(daemon) = super::daemon("half-plugin") else { return };
    let name = plugin.name.as_str();
    daemon.ok(&["network", "create", "--ipam-driver", name, "--subnet", "10.253.88.0/24", "bridged"]);
    let run = |network: &str| {
        let ask = ["run", "--rm", "--network", network, "busybox", "ip", "route"];
        daemon.ok(&ask)
    };
    plugin.take_calls();
    let routes = run("bridged");
    assert!(
        routes.contains("default via 10.253.88.1 dev eth0") && routes.contains("src 10.253.88.2"),
        "{routes}"
    );
    assert_eq!(
        only_driver(plugin.take_calls()),
        ["IpamDriver.RequestAddress", "IpamDriver.ReleaseAddress 10.253.88.2"]
    );
    daemon.ok(&["network", "create", "-d", name, "--subnet", "10.253.89.0/24", "plugged"]);
    plugin.take_calls();
    let routes = run("plugged");
    assert!(
        routes.contains("default via 10.253.89.1 dev plug0") && routes.contains("src 10.253.89.2"),
        "{routes}"
    );
    assert!(!plugin.take_calls().iter().any(|call| call.starts_with("IpamDriver")));
    daemon.ok(&["network", "rm", "bridged", "plugged"]);
}

#[test]
fn what_a_plugin_refuses_is_passed_on_and_undone() {
    let Some((plugin, refused)) = plugin("corten-story-no") else { return };
    let Some(daemon) = super::daemon("refusing-plugin") else { return };
    let name = plugin.name.as_str();
    let refuse = |method: &str| {
        let mut map = refused.lock().unwrap();
        map.clear();
        if !method.is_empty() {
            map.insert(method.to_owned(), "not today".to_owned());
        }
    };
    let create = ["network", "create", "-d", name, "--ipam-driver", name, "net"];
    refuse("NetworkDriver.CreateNetwork");
    let said = daemon.corten(&create);
    assert!(said.code == 1 && said.err.contains("remote: not today"), "{said:?}");
    let calls = plugin.take_calls();
    assert!(calls.ends_with(&["IpamDriver.ReleasePool".to_owned()]), "{calls:?}");
    let missing = daemon.corten(&["network", "create", "-d", "corten-no-such-plugin", "net"]);
    assert!(missing.err.contains("plugin \"corten-no-such-plugin\" not found"), "{missing:?}");
    refuse("");
    let id = daemon.ok(&create);
    let run = ["run", "-d", "--init", "--name", "box", "--network", "net", "busybox", "sleep", "1000"];
    for (method, text) in [
        ("IpamDriver.RequestAddress", "remote: not today"),
        ("NetworkDriver.CreateEndpoint", "failed to create endpoint box on network net: remote: not today"),
        ("NetworkDriver.Join", "failed to set up container networking: remote: not today"),
        (
            "NetworkDriver.ProgramExternalConnectivity",
            "driver failed programming external connectivity on endpoint box (",
        ),
    ] {
        refuse(method);
        let said = daemon.corten(&run);
        assert!(said.code == 125 && said.err.contains(text), "{method}: {said:?}");
        refuse("");
        daemon.ok(&["rm", "-f", "box"]);
    }
    // Every address came back: the next gets the first again.
    daemon.ok(&run);
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    assert!(daemon.ok(&["inspect", "-f", format, "box"]).ends_with(".2"));
    // What it refuses on the way down holds nobody up.
    for method in ["NetworkDriver.Leave", "NetworkDriver.DeleteEndpoint", "NetworkDriver.DeleteNetwork"] {
        refuse(method);
        let last = method.ends_with("DeleteNetwork");
        daemon.ok(if last { &["network", "rm", "net"][..] } else { &["restart", "-t", "0", "box"] });
        if !last {
            refuse("");
            daemon.ok(if method.ends_with("Leave") {
                &["exec", "box", "true"][..]
            } else {
                &["rm", "-f", "box"]
            });
        }
    }
    refuse("");
    remove_bridge(&id);
}

#[test]
fn a_network_that_a_plugin_made_without_saying_so_is_taken_back() {
    if !corten_testing::need_root() || !corten_testing::need("ip", corten_testing::program("ip")) {
        return;
    }
    let mut driver = NetworkDriver::default().answers();
    let plugin = Plugin::start(
        "corten-story-mute",
        Box::new(move |method, request| {
            let answer = driver(method, request);
            if method == "NetworkDriver.CreateNetwork" { serde_json::Value::Null } else { answer }
        }),
    );
    let Some(daemon) = super::daemon("mute-plugin") else { return };
    let said = daemon.corten(&["network", "create", "-d", &plugin.name, "net"]);
    assert!(said.code == 1 && said.err.contains("NetworkDriver.CreateNetwork"), "{said:?}");
    let calls = only_driver(plugin.take_calls());
    assert!(calls.ends_with(&["NetworkDriver.DeleteNetwork".to_owned()]), "{calls:?}");
    assert_eq!(daemon.ok(&["network", "ls", "-q", "-f", "name=net"]), "");
}

/// Waits until the plugin was called so.
fn wait_for_call(plugin: &Plugin, wanted: &str) {
    let begun = Instant::now();
    while !plugin.calls.lock().unwrap().iter().any(|call| call.starts_with(wanted)) {
        assert!(
            begun.elapsed() < corten_testing::patience(20),
            "{wanted}: {:?}",
            plugin.calls.lock().unwrap()
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn pid_of(daemon: &ScratchDaemon, container: &str) -> u32 {
    daemon.ok(&["inspect", "-f", "{{.State.Pid}}", container]).parse().unwrap()
}

#[test]
fn a_plugins_network_survives_the_daemon_and_the_plugin() {
    let Some((plugin, _)) = plugin("corten-story-kill") else { return };
    let Some(daemon) = super::daemon("killed-plugin") else { return };
    let name = plugin.name.clone();
    let create =
        ["network", "create", "-d", &name, "--ipam-driver", &name, "--subnet", "10.253.91.0/24", "net"];
    let id = daemon.ok(&create);
    for container in ["stays", "dies"] {
        let run = ["run", "-d", "--name", container, "--network", "net", "busybox", "sleep", "1000"];
        daemon.ok(&run);
    }
    let dying = pid_of(&daemon, "dies");
    plugin.take_calls();
    daemon.kill(daemon.daemon().unwrap());
    daemon.kill(dying);
    // The one that runs is as it was; what the other had is given back.
    daemon.ok(&["exec", "stays", "ping", "-c1", "-W2", "10.253.91.1"]);
    wait_for_call(&plugin, "IpamDriver.ReleaseAddress 10.253.91.3");
    let calls = only_driver(plugin.take_calls());
    assert!(calls.contains(&"NetworkDriver.Leave".to_owned()), "{calls:?}");
    assert!(calls.contains(&"NetworkDriver.DeleteEndpoint".to_owned()), "{calls:?}");
    assert!(!calls.contains(&"IpamDriver.ReleaseAddress 10.253.91.2".to_owned()), "{calls:?}");
    daemon.ok(&["start", "dies"]);
    daemon.ok(&["exec", "dies", "ping", "-c1", "-W2", "stays"]);
    daemon.restart();
    daemon.ok(&["exec", "stays", "ping", "-c1", "-W2", "dies"]);

    // Without its plugin a container runs on and can be removed; a start says what is missing.
    drop(plugin);
    daemon.ok(&["exec", "stays", "true"]);
    daemon.ok(&["rm", "-f", "dies"]);
    let run = ["run", "-d", "--name", "late", "--network", "net", "busybox", "true"];
    let said = daemon.corten(&run);
    assert!(said.err.contains(&format!("plugin \"{name}\" not found")), "{said:?}");
    daemon.ok(&["rm", "-f", "stays", "late"]);
    daemon.ok(&["network", "rm", "net"]);
    assert_eq!(daemon.ok(&["network", "ls", "-q", "-f", "name=net"]), "");
    remove_bridge(&id);
}
