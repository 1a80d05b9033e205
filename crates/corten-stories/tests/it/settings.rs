//! What the daemon is told: defaults for containers by flags and by its file, and SIGHUP.

use crate::daemon_with;
use std::time::{Duration, Instant};

/// Looks until a daemon's answer is the one that is waited for.
#[track_caller]
fn until(what: &str, mut found: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !found() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn containers_get_the_daemons_defaults_and_sighup_reads_them_anew() {
    let scratch = corten_testing::Scratch::new("settings-file");
    let (file, profile) = (scratch.path().join("daemon.json"), scratch.path().join("profile.json"));
    let profile_text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#;
    std::fs::write(&profile, profile_text).unwrap();
    let say = |shm: &str, label: &str| {
        let text = format!(
            r#"{{"default-shm-size": "{shm}", "labels": ["{label}"], "odd": 1, "default-ulimits": {{"nofile": {{"Name": "nofile", "Soft": 100, "Hard": 200}}}},
                "default-network-opts": {{"bridge": {{"com.docker.network.driver.mtu": "1400"}}}}, "log-opts": {{"max-size": "1m"}}}}"#
        );
        std::fs::write(&file, text).unwrap();
    };
    say("8m", "a=b");
    let (config, seccomp) = (file.to_string_lossy(), profile.to_string_lossy());
    let flags = [
        "--config-file",
        &*config,
        "--seccomp-profile",
        &*seccomp,
        "--no-new-privileges",
        "--init",
        "--dns",
        "192.0.2.7",
        "--dns-search",
        "corten.test",
        "--default-ipc-mode",
        "shareable",
        "--host-gateway-ip",
        "192.0.2.1",
        "--host-gateway-ip",
        "2001:db8::1",
    ];
    let Some(daemon) = daemon_with("settings", &flags) else { return };

    let script = "ulimit -n; ulimit -Hn; df /dev/shm | tail -1 | awk '{print $2}'; grep NoNewPrivs /proc/self/status; \
                  cat /proc/1/comm; cat /etc/resolv.conf; grep gw /etc/hosts; mkdir /new 2>&1; true";
    let said = daemon.ok(&["run", "--rm", "--add-host", "gw:host-gateway", "busybox", "sh", "-c", script]);
    for text in [
        "100\n200\n8192\n",
        "NoNewPrivs:\t1",
        "docker-init",
        "nameserver 192.0.2.7",
        "search corten.test",
        "192.0.2.1\tgw",
        "2001:db8::1\tgw",
        "Function not implemented",
    ] {
        assert!(said.contains(text), "{text}: {said}");
    }
    // What a container names for itself wins.
    let own = [
        "run",
        "--rm",
        "--shm-size",
        "4m",
        "--ulimit",
        "nofile=50",
        "--security-opt",
        "seccomp=builtin",
        "busybox",
        "sh",
        "-c",
        "mkdir /new; ulimit -n; df /dev/shm | tail -1 | awk '{print $2}'",
    ];
    assert_eq!(daemon.ok(&own), "50\n4096");
    daemon.ok(&["network", "create", "settings-net"]);
    let mtu = ["run", "--rm", "--network", "settings-net", "busybox", "cat", "/sys/class/net/eth0/mtu"];
    assert_eq!(daemon.ok(&mtu), "1400");
    daemon.ok(&["network", "rm", "settings-net"]);
    let info = daemon.ok(&["info", "--format", "{{json .SecurityOptions}} {{json .Labels}}"]);
    assert!(
        info.contains("name=no-new-privileges") && info.contains(&*seccomp) && info.contains("a=b"),
        "{info}"
    );

    // SIGHUP changes what Docker changes, while the same daemon goes on; a broken file changes nothing.
    let keeper = rustix::process::Pid::from_raw(daemon.keeper() as i32).unwrap();
    let hang_up = || rustix::process::kill_process(keeper, rustix::process::Signal::HUP).unwrap();
    daemon.ok(&["run", "-d", "--name", "stays", "busybox", "sleep", "1000"]);
    let labels = || daemon.ok(&["info", "--format", "{{json .Labels}}"]);
    say("2m", "c=d");
    hang_up();
    let same = daemon.daemon();
    until("the label is read anew", || labels().contains("c=d"));
    let shm =
        || daemon.ok(&["run", "--rm", "busybox", "sh", "-c", "df /dev/shm | tail -1 | awk '{print $2}'"]);
    assert_eq!(shm(), "2048");
    let events = daemon.ok(&["events", "--since", "1m", "--until", "0s", "--filter", "type=daemon"]);
    assert!(events.contains("daemon reload") && events.contains("default-shm-size=2097152"), "{events}");
    std::fs::write(&file, "{").unwrap();
    hang_up();
    std::thread::sleep(Duration::from_millis(200));
    assert!(labels().contains("c=d"));
    assert_eq!(shm(), "2048");
    assert_eq!(daemon.daemon(), same);
    say("8m", "c=d");
    daemon.ok(&["rm", "-f", "stays"]);
}
