//! Containers find each other by name, whatever is renamed, started again or killed.

use crate::daemon;
use corten_testing::daemon::ScratchDaemon;
use std::time::Duration;

/// The addresses that a name has inside a container, or nothing.
fn looked_up(daemon: &ScratchDaemon, from: &str, name: &str) -> String {
    let said = daemon.corten(&["exec", from, "nslookup", name, "127.0.0.11"]);
    let mut found: Vec<&str> = said
        .out
        .lines()
        .skip_while(|line| !line.starts_with("Name:"))
        .filter_map(|line| line.strip_prefix("Address")?.split_once(": ").map(|(_, address)| address.trim()))
        .map(|address| address.split_whitespace().next().unwrap_or_default())
        .collect();
    found.sort_unstable();
    found.dedup();
    found.join(" ")
}

fn address(daemon: &ScratchDaemon, name: &str) -> String {
    daemon.ok(&["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name])
}

#[test]
fn names_follow_containers() {
    let Some(daemon) = daemon("names") else { return };
    daemon.ok(&["network", "create", "front"]);
    daemon.ok(&["network", "create", "back"]);
    for (name, network) in [("one", "front"), ("two", "front"), ("apart", "back")] {
        daemon.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--network",
            network,
            "--network-alias",
            "web",
            "busybox",
            "sleep",
            "1000",
        ]);
    }
    let (one, two) = (address(&daemon, "one"), address(&daemon, "two"));
    let both = if one < two { format!("{one} {two}") } else { format!("{two} {one}") };
    let id = daemon.ok(&["inspect", "-f", "{{.Id}}", "two"]);
    for (name, expected) in
        [("two", &two), ("web", &both), ("web.front", &both), (&id[..12], &two), ("apart", &String::new())]
    {
        assert_eq!(&looked_up(&daemon, "one", name), expected, "{name}");
    }
    assert_eq!(looked_up(&daemon, "apart", "web"), address(&daemon, "apart"));
    assert_eq!(
        daemon.ok(&["exec", "one", "grep", "nameserver", "/etc/resolv.conf"]),
        "nameserver 127.0.0.11"
    );
    daemon.ok(&["rename", "two", "second"]);
    assert_eq!(looked_up(&daemon, "one", "second"), two);
    assert_eq!(looked_up(&daemon, "one", "two"), "");
    daemon.ok(&["stop", "-t", "0", "second"]);
    assert_eq!(looked_up(&daemon, "one", "web"), one);
    daemon.ok(&["start", "second"]);
    assert_eq!(looked_up(&daemon, "one", "second"), address(&daemon, "second"));
}

#[test]
fn names_outlive_the_daemon() {
    let Some(daemon) = daemon("names-kill") else { return };
    daemon.ok(&["network", "create", "front"]);
    for name in ["one", "two"] {
        daemon.ok(&["run", "-d", "--name", name, "--network", "front", "busybox", "sleep", "1000"]);
    }
    let two = address(&daemon, "two");
    for _ in 0..3 {
        if let Some(pid) = daemon.daemon() {
            daemon.kill(pid);
        }
        assert_eq!(looked_up(&daemon, "one", "two"), two);
    }
    daemon.kill(daemon.keeper());
    assert_eq!(looked_up(&daemon, "one", "two"), two);
    std::thread::sleep(Duration::from_millis(1200));
    if let Some(pid) = daemon.daemon() {
        daemon.kill(pid);
    }
    assert_eq!(looked_up(&daemon, "one", "two"), two);
}

#[test]
fn links_of_the_default_bridge() {
    let Some(daemon) = daemon("links") else { return };
    daemon.ok(&["run", "-d", "--name", "srv", "-e", "A=b", "--expose", "80", "busybox", "sleep", "1000"]);
    daemon.ok(&["run", "-d", "--name", "user", "--link", "srv:db", "busybox", "sleep", "1000"]);
    let srv = address(&daemon, "srv");
    let line = daemon.ok(&["exec", "user", "grep", "srv", "/etc/hosts"]);
    assert!(line.starts_with(&format!("{srv}\tdb ")) && line.ends_with(" srv"), "{line}");
    let environment = daemon.ok(&["exec", "user", "env"]);
    for expected in
        [format!("DB_PORT_80_TCP_ADDR={srv}"), "DB_ENV_A=b".to_owned(), "DB_NAME=/user/db".to_owned()]
    {
        assert!(environment.lines().any(|line| line == expected), "{expected} in {environment}");
    }
    assert_eq!(daemon.ok(&["inspect", "-f", "{{json .HostConfig.Links}}", "user"]), "[\"/srv:/user/db\"]");
    // Back with another address.
    daemon.ok(&["stop", "-t", "0", "srv"]);
    daemon.ok(&["run", "-d", "--name", "between", "busybox", "sleep", "1000"]);
    daemon.ok(&["start", "srv"]);
    let line = daemon.ok(&["exec", "user", "grep", "srv", "/etc/hosts"]);
    assert!(line.starts_with(&format!("{}\tdb ", address(&daemon, "srv"))), "{line}");
    daemon.ok(&["stop", "-t", "0", "srv", "user"]);
    let refused = daemon.corten(&["start", "user"]);
    assert!(
        refused.err.contains("Cannot link to a non running container: /srv AS /user/db"),
        "{}",
        refused.err
    );
    daemon.ok(&["rm", "--link", "user/db"]);
    daemon.ok(&["start", "user"]);
}
