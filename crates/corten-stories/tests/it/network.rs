//! The default bridge, none and host; published ports with real connections.

use crate::daemon;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Connects until the server inside is up, sends nothing, reads all.
fn fetch(address: &str) -> String {
    for _ in 0..100 {
        if let Ok(mut stream) = TcpStream::connect(address) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
            let _ = stream.write_all(b"\n");
            let mut text = String::new();
            if stream.read_to_string(&mut text).is_ok() && !text.is_empty() {
                return text;
            }
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    String::new()
}

#[test]
fn a_published_port_answers() {
    let Some(daemon) = daemon("ports") else { return };
    let server = "while :; do echo hello | nc -l -p 80; done";
    daemon.ok(&["run", "-d", "--name", "web", "-p", "127.0.0.1:18080:80", "busybox", "sh", "-c", server]);
    assert_eq!(fetch("127.0.0.1:18080"), "hello\n");
    assert_eq!(daemon.ok(&["port", "web"]), "80/tcp -> 127.0.0.1:18080");
    let gateway =
        daemon.ok(&["network", "inspect", "-f", "{{range .IPAM.Config}}{{.Gateway}}{{end}}", "bridge"]);
    let address = daemon.ok(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]);
    assert_ne!(address, "");
    let neighbour =
        format!("ping -c 1 -W 2 {address} >/dev/null && ping -c 1 -W 2 {gateway} >/dev/null && echo reached");
    assert_eq!(daemon.ok(&["run", "--rm", "busybox", "sh", "-c", &neighbour]), "reached");
    daemon.ok(&["rm", "-f", "web"]);
    assert!(TcpStream::connect("127.0.0.1:18080").is_err(), "the port is closed with its container");
}

#[test]
fn none_and_host() {
    let Some(daemon) = daemon("modes") else { return };
    assert_eq!(daemon.ok(&["run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net"]), "lo");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    assert_eq!(daemon.ok(&["run", "--rm", "--network", "host", "busybox", "hostname"]), host.trim());
    let hosts = daemon.ok(&[
        "run",
        "--rm",
        "-h",
        "box",
        "--add-host",
        "other:10.1.2.3",
        "busybox",
        "cat",
        "/etc/hosts",
    ]);
    assert!(
        hosts.contains("127.0.0.1\tlocalhost")
            && hosts.contains("10.1.2.3\tother")
            && hosts.contains("\tbox"),
        "{hosts}"
    );
}

#[test]
fn a_network_is_made_by_the_configuration_that_another_holds() {
    let Some(daemon) = daemon("config-only") else { return };
    let held = [
        "network",
        "create",
        "--config-only",
        "--subnet",
        "10.243.7.0/24",
        "-o",
        "com.docker.network.driver.mtu=1300",
    ];
    daemon.ok(&[&held[..], &["--label", "x=y", "held"]].concat());
    let shown = "{{.Driver}} {{.ConfigOnly}} {{.ConfigFrom.Network}} {{(index .IPAM.Config 0).Subnet}} {{json .Labels}}";
    let look = |name: &str| daemon.ok(&["network", "inspect", "-f", shown, name]);
    assert_eq!(look("held"), r#"null true  10.243.7.0/24 {"x":"y"}"#);
    daemon.ok(&["network", "create", "--config-from", "held", "made"]);
    assert_eq!(look("made"), r#"bridge false held 10.243.7.0/24 {"x":"y"}"#);
    let inside = [
        "run",
        "--rm",
        "--network",
        "made",
        "busybox",
        "sh",
        "-c",
        "cat /sys/class/net/eth0/mtu; hostname -i",
    ];
    assert_eq!(daemon.ok(&inside), "1300\n10.243.7.2");
    daemon.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "1000"]);
    for (words, text) in [
        (&["network", "rm", "held"][..], "configuration network \"held\" is in use"),
        (&["network", "connect", "held", "one"], "cannot create endpoint on configuration-only network"),
        (
            &["run", "--rm", "--network", "held", "busybox"],
            "cannot create endpoint on configuration-only network",
        ),
        (
            &["network", "create", "--config-from", "nowhere", "x"],
            "configuration network \"nowhere\" does not exist",
        ),
        (
            &["network", "create", "--config-from", "held", "-o", "a=b", "x"],
            "network driver options are not supported",
        ),
        (
            &["network", "create", "--config-only", "--internal", "x"],
            "can only contain network specific fields",
        ),
    ] {
        let said = daemon.corten(words);
        assert!(said.code != 0 && said.err.contains(text), "{words:?}: {said:?}");
    }
    // What it holds is there after another daemon's start, too, and a prune leaves it.
    daemon.kill(daemon.daemon().unwrap());
    assert_eq!(look("held"), r#"null true  10.243.7.0/24 {"x":"y"}"#);
    daemon.ok(&["network", "prune", "-f"]);
    assert_eq!(daemon.ok(&["network", "ls", "-q", "-f", "type=custom", "--format", "{{.Name}}"]), "held");
    daemon.ok(&["network", "rm", "held"]);
    daemon.ok(&["rm", "-f", "one"]);
}
