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
