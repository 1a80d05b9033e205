//! `--userns-remap`: root in a container is nobody on the host.
//!
//! Said with the kernel's eyes: the maps of processes in `/proc`, the owners of files on the disk and of processes.

use corten_testing::daemon::ScratchDaemon;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, Instant};

/// Whose ids `default` has here.
const FIRST: u32 = 700_000;

/// A daemon with the image `busybox` whose containers are in user namespaces.
pub(crate) fn remapped(name: &str) -> Option<ScratchDaemon> {
    let daemon = remapped_as(name, &["--userns-remap", "default"])?;
    daemon.load_busybox().then_some(daemon)
}

pub(crate) fn remapped_as(name: &str, extra: &[&str]) -> Option<ScratchDaemon> {
    use corten_testing::{need, need_root, program};
    let files = Path::new("/etc/subuid").exists() && Path::new("/etc/subgid").exists();
    if !need_root() || !need("unshare", program("unshare")) || !need("/etc/subuid and /etc/subgid", files) {
        return None;
    }
    let ids = format!("someone:100000:65536\ndockremap:{FIRST}:65536\n");
    Some(ScratchDaemon::start_with_subordinate_ids(name, extra, &ids))
}

fn pid(daemon: &ScratchDaemon, name: &str) -> u32 {
    daemon.ok(&["inspect", "-f", "{{.State.Pid}}", name]).parse().expect("a process id")
}

fn map(pid: u32, file: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a map");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn users(pid: u32) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/{pid}/ns/user")).expect("a namespace")
}

fn owner(path: &Path) -> (u32, u32) {
    let about = std::fs::symlink_metadata(path).expect("a file");
    (about.uid(), about.gid())
}

fn volume(daemon: &ScratchDaemon, name: &str) -> std::path::PathBuf {
    daemon.data_root().join("volumes").join(name).join("_data")
}

/// A shell line in a new container.
fn says(daemon: &ScratchDaemon, options: &[&str], script: &str) -> String {
    let words = [&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat();
    daemon.ok(&words).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn root_inside_is_nobody_outside() {
    let Some(daemon) = remapped("users") else { return };
    let options = daemon.ok(&["info", "-f", "{{json .SecurityOptions}}"]);
    assert!(options.contains("\"name=userns\""), "{options}");
    daemon.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "1000"]);
    let one = pid(&daemon, "one");
    let whole = format!("0 {FIRST} 65536");
    assert_eq!((map(one, "uid_map"), map(one, "gid_map")), (whole.clone(), whole.clone()));
    let status = std::fs::read_to_string(format!("/proc/{one}/status")).expect("a status");
    for key in ["Uid:", "Gid:"] {
        let line = status.lines().find(|line| line.starts_with(key)).expect("a line");
        assert!(line.split_whitespace().skip(1).all(|id| id == FIRST.to_string()), "{line}");
    }
    // As root with its capabilities, but of its own namespaces alone.
    let script = "id -u; id -g; stat -c %u / /etc/passwd /etc/hosts /dev /dev/shm /dev/mqueue; touch /mine; stat -c %u /mine; \
                  chown 7:8 /mine; stat -c %u:%g /mine; echo x > /dev/null && echo null; test -d /sys/class/net/eth0 \
                  && echo sys; echo out > /dev/stdout; echo hosts >> /etc/hosts && echo written; \
                  ping -c1 -W1 127.0.0.1 >/dev/null && echo raw; mount -t tmpfs x /mnt 2>/dev/null || echo no-mount";
    let said = says(&daemon, &[], script);
    assert_eq!(said, "0 0 0 0 0 0 0 0 0 7:8 null sys out written raw no-mount");
    // A further process is where the first is.
    assert_eq!(daemon.ok(&["exec", "one", "sh", "-c", "id -u; echo to > /dev/stdout"]), "0\nto");
    assert_eq!(daemon.ok(&["exec", "-u", "9:9", "one", "sh", "-c", "id -u; echo to > /dev/stdout"]), "9\nto");
    assert_eq!(daemon.ok(&["exec", "one", "readlink", "/proc/self/ns/user"]), users(one).to_string_lossy());
    // Every container has its own.
    daemon.ok(&["run", "-d", "--name", "two", "busybox", "sleep", "1000"]);
    assert_ne!(users(pid(&daemon, "two")), users(one));
    let top = daemon.ok(&["top", "one", "-o", "pid,uid,args"]);
    assert!(top.contains(&FIRST.to_string()), "{top}");
}

#[test]
fn nothing_of_the_hosts_root_can_be_touched() {
    let Some(daemon) = remapped("users-host") else { return };
    let host = daemon.folder().join("host");
    std::fs::create_dir(&host).expect("a folder");
    std::fs::write(host.join("secret"), "for root alone").expect("a file");
    std::fs::set_permissions(host.join("secret"), std::fs::Permissions::from_mode(0o600)).expect("a mode");
    std::fs::write(host.join("given"), "").expect("a file");
    chown(host.join("given"), Some(FIRST + 5), Some(FIRST + 6)).expect("an owner");
    let bind = format!("{}:/host", host.display());
    // A bind has the host's own ids, as in Docker: what has none inside is nobody's.
    let script = "stat -c %u:%g /host/secret /host/given; cat /host/secret 2>/dev/null || echo unread; \
                  touch /host/new 2>/dev/null || echo unwritten; chown 0 /host/secret 2>/dev/null || echo unowned; \
                  chmod 777 /host/secret 2>/dev/null || echo unchanged; rm /host/secret 2>/dev/null || echo there";
    let all = ["--cap-add", "ALL", "--security-opt", "seccomp=unconfined", "-v", &bind];
    assert_eq!(says(&daemon, &all, script), "65534:65534 5:6 unread unwritten unowned unchanged there");
    // Nor with every capability: devices, the clock, modules and the host's settings are none of its namespaces'.
    let script = "mknod /tmp/disk b 8 0 2>/dev/null || echo no-disk; date -s 2000-01-01 2>&1 | grep -o 'not permitted'; \
                  echo 1 2>/dev/null > /proc/sys/kernel/panic || echo no-panic; \
                  echo b 2>/dev/null > /proc/sysrq-trigger || echo no-sysrq";
    assert_eq!(says(&daemon, &all, script), "no-disk not permitted no-panic no-sysrq");
    // A folder that is made for a bind is the container's.
    let made = host.join("made/deep");
    let bind = format!("{}:/made", made.display());
    assert_eq!(says(&daemon, &["-v", &bind], "touch /made/f; stat -c %u /made /made/f"), "0 0");
    assert_eq!(owner(&made), (FIRST, FIRST));
    assert_eq!(owner(&made.join("f")), (FIRST, FIRST));
    assert_eq!(owner(&host), (0, 0));
}

#[test]
fn what_needs_the_hosts_namespaces_is_refused_as_docker_does() {
    let Some(daemon) = remapped("users-refused") else { return };
    for (option, text) in [
        (
            &["--privileged"][..],
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace \
             when running privileged mode",
        ),
        (
            &["--network", "host"],
            "cannot share the host's network namespace when user namespaces are enabled",
        ),
        (&["--pid", "host"], "cannot share the host PID namespace when user namespaces are enabled"),
    ] {
        let said = daemon.corten(&[&["run", "--rm"], option, &["busybox", "true"]].concat());
        assert!(said.code == 125 && said.err.contains(text), "{said:?}");
        // The same without, where it is asked for.
        let whole = says(&daemon, &[option, &["--userns", "host"]].concat(), "cat /proc/self/uid_map");
        assert_eq!(whole, "0 0 4294967295");
    }
    let said = daemon.corten(&["run", "--rm", "--userns", "private", "busybox", "true"]);
    assert!(said.code == 125 && said.err.contains("invalid user namespace mode: private"), "{said:?}");
    // The host's other namespaces are shared as ever.
    let script = "hostname; stat -c %u /dev/shm; test -d /dev/mqueue && echo queues";
    let said = says(&daemon, &["--uts", "host", "--ipc", "host", "--cgroupns", "host"], script);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    assert_eq!(said, format!("{host} 65534 queues"));
}

#[test]
fn the_disk_keeps_the_ids_of_containers() {
    let Some(daemon) = remapped("users-disk") else { return };
    let script = "touch /v/root /v/app; chown 5:6 /v/app; stat -c %u:%g /v /v/root /v/app";
    assert_eq!(says(&daemon, &["-v", "data:/v"], script), "0:0 0:0 5:6");
    let data = volume(&daemon, "data");
    assert_eq!((owner(&data), owner(&data.join("root")), owner(&data.join("app"))), ((0, 0), (0, 0), (5, 6)));
    // So a container without sees the same, and what it writes is seen the same.
    let script = "stat -c %u:%g /v/app; touch /v/whole; chown 7:7 /v/whole";
    assert_eq!(says(&daemon, &["--userns", "host", "-v", "data:/v"], script), "5:6");
    assert_eq!(says(&daemon, &["-v", "data:/v"], "stat -c %u:%g /v/whole"), "7:7");
    // A volume that is filled from the image has the image's owners.
    assert_eq!(says(&daemon, &["-v", "etc:/etc"], "stat -c %u /etc/passwd"), "0");
    // One that is mounted from elsewhere has the host's ids, as a bind has.
    let host = daemon.folder().join("elsewhere");
    std::fs::create_dir(&host).expect("a folder");
    chown(&host, Some(FIRST), Some(FIRST)).expect("an owner");
    let device = format!("device={}", host.display());
    daemon.ok(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "bound"]);
    assert_eq!(says(&daemon, &["-v", "bound:/etc"], "stat -c %u /etc /etc/passwd; touch /etc/f"), "0 0");
    assert_eq!((owner(&host.join("passwd")), owner(&host.join("f"))), ((FIRST, FIRST), (FIRST, FIRST)));
    // Part of a volume, and another container's.
    says(&daemon, &["-v", "data:/v"], "mkdir -p /v/sub; touch /v/sub/part; chown 3:3 /v/sub/part");
    let part = ["--mount", "type=volume,source=data,target=/p,volume-subpath=sub"];
    assert_eq!(says(&daemon, &part, "stat -c %u /p/part"), "3");
    let image = ["--mount", "type=image,source=busybox,target=/image"];
    assert_eq!(says(&daemon, &image, "stat -c %u /image /image/bin"), "0 0");
    let tmpfs = ["--tmpfs", "/t:uid=4"];
    assert_eq!(says(&daemon, &tmpfs, "touch /t/f; stat -c %u /t /t/f"), "4 0");

    daemon.ok(&[
        "run",
        "--name",
        "one",
        "-v",
        "data:/v",
        "busybox",
        "sh",
        "-c",
        "mkdir /w; touch /w/f; chown 8:9 /w/f",
    ]);
    assert_eq!(daemon.ok(&["diff", "one"]), "A /w\nA /w/f");
    daemon.ok(&["commit", "one", "made"]);
    for users in ["", "host"] {
        let words = [
            "run",
            "--rm",
            "--userns",
            users,
            "--volumes-from",
            "one",
            "made",
            "stat",
            "-c",
            "%u:%g",
            "/w",
            "/w/f",
            "/v/app",
        ];
        assert_eq!(daemon.ok(&words), "0:0\n8:9\n5:6", "{users}");
    }
    let tar = daemon.folder().join("one.tar");
    daemon.ok(&["export", "-o", &tar.to_string_lossy(), "one"]);
    daemon.ok(&["import", &tar.to_string_lossy(), "imported"]);
    let words = ["run", "--rm", "--userns", "host", "imported", "/bin/stat", "-c", "%u:%g", "/w/f"];
    assert_eq!(daemon.ok(&words), "8:9");
}

/// The owner of the first entry.
fn owner_in_archive(tar: &str) -> (u32, u32) {
    let number = |at: usize| {
        let field = tar.get(at..at + 7).expect("a header");
        u32::from_str_radix(field.trim_matches([' ', '\0']), 8).expect("a number")
    };
    (number(108), number(116))
}

#[test]
fn copies_in_and_out_have_the_owners_that_the_container_sees() {
    let Some(daemon) = remapped("users-copy") else { return };
    let host = daemon.folder().join("host");
    std::fs::create_dir(&host).expect("a folder");
    chown(&host, Some(FIRST), Some(FIRST)).expect("an owner");
    let bind = format!("{}:/b", host.display());
    let options = ["-v", "data:/v", "-v", &bind, "--tmpfs", "/t"];
    daemon.ok(&[&["run", "-d", "--name", "one"], &options[..], &["busybox", "sleep", "1000"]].concat());
    let file = daemon.folder().join("file");
    std::fs::write(&file, "content").expect("a file");
    chown(&file, Some(3), Some(4)).expect("an owner");
    let file = file.to_string_lossy().into_owned();
    for state in ["running", "stopped"] {
        for place in ["/v", "/etc", "/b"] {
            daemon.ok(&["cp", "-a", &file, &format!("one:{place}/{state}")]);
        }
        // The owners in the archive are those of the container.
        for place in ["/v", "/etc", "/b"] {
            let tar = daemon.ok(&["cp", &format!("one:{place}/{state}"), "-"]);
            assert_eq!(owner_in_archive(&tar), (3, 4), "{place} {state}");
        }
        daemon.ok(&["stop", "-t", "0", "one"]);
    }
    daemon.ok(&["start", "one"]);
    let said = daemon.ok(&[
        "exec",
        "one",
        "stat",
        "-c",
        "%u:%g",
        "/v/running",
        "/v/stopped",
        "/etc/running",
        "/etc/stopped",
    ]);
    assert_eq!(said, ["3:4"; 4].join("\n"));
    assert_eq!(owner(&host.join("running")), (FIRST + 3, FIRST + 4));
    assert_eq!(owner(&host.join("stopped")), (FIRST + 3, FIRST + 4));
    // To memory too, which is the container's own.
    daemon.ok(&["cp", "-a", &file, "one:/t/f"]);
    assert_eq!(daemon.ok(&["exec", "one", "stat", "-c", "%u:%g", "/t/f"]), "3:4");
    assert_eq!(owner(&volume(&daemon, "data").join("running")), (3, 4));
}

#[test]
fn who_shares_a_namespace_shares_the_users_too() {
    let Some(daemon) = remapped("users-shared") else { return };
    daemon.ok(&["run", "-d", "--name", "one", "--ipc", "shareable", "busybox", "sleep", "1000"]);
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "whole",
        "--ipc",
        "shareable",
        "--userns",
        "host",
        "busybox",
        "sleep",
        "1000",
    ]);
    let one = users(pid(&daemon, "one"));
    for option in ["--network", "--pid", "--ipc"] {
        let said = says(&daemon, &[option, "container:one"], "readlink /proc/self/ns/user; id -u");
        assert_eq!(said, format!("{} 0", one.display()), "{option}");
        let said = daemon.corten(&["run", "--rm", option, "container:whole", "busybox", "true"]);
        let text = "that container is in the host's user namespace, and this one is not";
        assert!(said.code == 125 && said.err.contains(text), "{option}: {said:?}");
        // The other way round there is nothing against it.
        let whole = says(&daemon, &["--userns", "host", option, "container:one"], "cat /proc/self/uid_map");
        assert_eq!(whole, "0 0 4294967295", "{option}");
    }
    // Its own network belongs to the shared namespace as well.
    let said = says(
        &daemon,
        &["--pid", "container:one", "--cap-add", "NET_ADMIN"],
        "ip link set lo down && echo net; test -d /sys/class/net/eth0 && echo sys",
    );
    assert_eq!(said, "net sys");
    let all = ["--pid", "container:one", "--ipc", "container:one", "--network", "container:one"];
    assert_eq!(says(&daemon, &all, "readlink /proc/self/ns/user"), one.to_string_lossy());
    daemon.ok(&["run", "-d", "--name", "two", "busybox", "sleep", "1000"]);
    let said = daemon.corten(&[
        "run",
        "--rm",
        "--pid",
        "container:one",
        "--network",
        "container:two",
        "busybox",
        "true",
    ]);
    assert!(said.err.contains("that do not share a user namespace themselves"), "{said:?}");
}

#[test]
fn networks_are_the_containers_own() {
    let Some(daemon) = remapped("users-network") else { return };
    let script = "mkdir /w; echo here > /w/index.html; httpd -p 80 -h /w; exec sleep 1000";
    daemon.ok(&["network", "create", "inner"]);
    daemon.ok(&["run", "-d", "--name", "server", "--network", "inner", "busybox", "sh", "-c", script]);
    let ask = "for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://server/ && break; sleep 0.2; done";
    assert_eq!(says(&daemon, &["--network", "inner"], ask), "here");
    // Both kinds on one network.
    assert_eq!(says(&daemon, &["--network", "inner", "--userns", "host"], ask), "here");
    let sysctl = ["--sysctl", "net.ipv4.ip_forward=1", "--network", "inner"];
    assert_eq!(says(&daemon, &sysctl, "cat /proc/sys/net/ipv4/ip_forward"), "1");
    daemon.ok(&["run", "-d", "--name", "late", "--network", "none", "busybox", "sleep", "1000"]);
    assert_eq!(daemon.ok(&["exec", "late", "ls", "/sys/class/net"]), "lo");
    daemon.ok(&["run", "-d", "--name", "more", "busybox", "sleep", "1000"]);
    daemon.ok(&["network", "connect", "inner", "more"]);
    assert_eq!(daemon.ok(&["exec", "more", "ls", "/sys/class/net"]), "eth0\neth1\nlo");
    daemon.ok(&["network", "disconnect", "inner", "more"]);
    assert_eq!(daemon.ok(&["exec", "more", "ls", "/sys/class/net"]), "eth0\nlo");
    // One that cannot come from what stands ready, for both kinds.
    daemon.ok(&["network", "create", "--subnet", "10.251.7.0/29", "small"]);
    for users in ["", "host"] {
        let words = ["--userns", users, "--network", "small", "--ip", "10.251.7.5"];
        assert_eq!(says(&daemon, &words, "ip -o -4 a show eth0 | grep -c 10.251.7.5/29"), "1");
    }
}

#[test]
fn containers_go_on_while_daemon_and_keeper_die() {
    let Some(daemon) = remapped("users-kill") else { return };
    let health = ["--health-cmd", "test $(id -u) = 0", "--health-interval", "200ms"];
    let script = "while :; do date +%s; sleep 0.1; done";
    let words =
        [&["run", "-d", "--name", "one", "-v", "data:/v"], &health[..], &["busybox", "sh", "-c", script]]
            .concat();
    daemon.ok(&words);
    let before = pid(&daemon, "one");
    let whole = format!("0 {FIRST} 65536");
    for who in ["daemon", "keeper", "both in order"] {
        match who {
            "daemon" => daemon.kill(daemon.daemon().expect("a daemon")),
            "keeper" => daemon.kill(daemon.keeper()),
            _ => daemon.restart(),
        }
        let start = Instant::now();
        while daemon.corten(&["version"]).code != 0 && start.elapsed() < corten_testing::patience(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(pid(&daemon, "one"), before, "{who}");
        assert_eq!(daemon.ok(&["exec", "one", "id", "-u"]), "0", "{who}");
        daemon.ok(&["cp", "one:/etc/passwd", &daemon.folder().join("copy").to_string_lossy()]);
        assert_eq!(says(&daemon, &["-v", "data:/v"], "cat /proc/self/uid_map"), whole, "{who}");
    }
    let start = Instant::now();
    while daemon.ok(&["inspect", "-f", "{{.State.Health.Status}}", "one"]) != "healthy" {
        assert!(start.elapsed() < corten_testing::patience(20), "it is not healthy");
        std::thread::sleep(Duration::from_millis(50));
    }
    daemon.ok(&["restart", "-t", "0", "one"]);
    assert_eq!(map(pid(&daemon, "one"), "uid_map"), whole);
    assert!(!daemon.ok(&["logs", "one"]).is_empty());
}

#[test]
fn the_rest_of_run_works_as_without() {
    let Some(daemon) = remapped("users-run") else { return };
    let options = [
        "-m",
        "64m",
        "--pids-limit",
        "50",
        "--read-only",
        "--tmpfs",
        "/run",
        "--init",
        "--ulimit",
        "nofile=99:99",
    ];
    assert_eq!(
        says(&daemon, &options, "ulimit -n; touch /run/x && echo x; touch /y 2>/dev/null || echo ro"),
        "99 x ro"
    );
    assert_eq!(says(&daemon, &["--oom-score-adj", "300"], "cat /proc/self/oom_score_adj"), "300");
    assert_eq!(
        says(
            &daemon,
            &["-u", "1000:1000"],
            "id -u; touch /tmp/x; stat -c %u /tmp/x; cat /etc/shadow 2>/dev/null || echo no"
        ),
        "1000 1000 no"
    );
    let terminal =
        daemon.ok(&["run", "--rm", "-t", "busybox", "sh", "-c", "tty; stat -c %u:%g /dev/console"]);
    assert_eq!(terminal.split_whitespace().collect::<Vec<_>>(), ["/dev/pts/0", "0:5"]);
    // Devices are the host's own nodes, at whatever place inside.
    assert_eq!(says(&daemon, &["--device", "/dev/full:/dev/mine"], "stat -c %t:%T /dev/mine"), "1:7");
    let said = daemon.with_input(&["run", "--rm", "-i", "busybox", "cat"], b"through\n");
    assert_eq!(said.out, "through\n");
    assert_eq!(says(&daemon, &["-w", "/made/here"], "pwd; stat -c %u /made"), "/made/here 0");
    let said = daemon.corten(&["run", "--rm", "-u", "70000", "busybox", "true"]);
    assert!(said.err.contains("uid 70000") && said.err.contains("mapped in user namespace"), "{said:?}");
    // Any folder of the host as the root: its files are shown as the container's, and stay as they are.
    let root = daemon.folder().join("root");
    for folder in ["bin", "proc", "dev", "sys", "etc", "tmp"] {
        std::fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    let tar = daemon.folder().join("image.tar");
    daemon.ok(&["create", "--name", "image", "busybox"]);
    daemon.ok(&["cp", "image:/bin/busybox", &root.join("bin/busybox").to_string_lossy()]);
    std::fs::write(&tar, "").expect("a file");
    let folder = root.to_string_lossy().into_owned();
    let script =
        "/bin/busybox stat -c %u / /bin/busybox; /bin/busybox touch /new; /bin/busybox stat -c %u /new";
    let said = daemon.ok(&["run", "--rm", "--rootfs", &folder, "/bin/busybox", "sh", "-c", script]);
    assert_eq!(said, "0\n0\n0");
    assert!(!root.join("new").exists());
}

#[test]
fn another_runtime_is_in_the_namespace_too() {
    let links = corten_testing::Scratch::new("users-runtime");
    let alone = links.path().join("corten-oci");
    std::os::unix::fs::symlink(corten_testing::daemon::program(), &alone).expect("a link");
    let mut runtimes = vec![format!("alone={}", alone.display())];
    let more = std::env::var("CORTEN_TEST_RUNTIMES").unwrap_or_default();
    runtimes.extend(more.split(',').filter(|one| !one.is_empty()).map(str::to_owned));
    let mut flags = vec!["--userns-remap", "default"];
    flags.extend(runtimes.iter().flat_map(|one| ["--add-runtime", one.as_str()]));
    let Some(daemon) = remapped_as("users-runtime", &flags) else { return };
    if !daemon.load_busybox() {
        return;
    }
    for runtime in &runtimes {
        let runtime = runtime.split('=').next().unwrap_or_default();
        let script = "cat /proc/self/uid_map; stat -c %u / /v /etc/hosts; touch /v/f && echo written; \
                      test -d /sys/class/net/eth0 && echo sys; echo out > /dev/stdout";
        let said = says(&daemon, &["--runtime", runtime, "-v", "data:/v"], script);
        assert_eq!(said, format!("0 {FIRST} 65536 0 0 0 written sys out"), "{runtime}");
        assert_eq!(owner(&volume(&daemon, "data").join("f")), (0, 0), "{runtime}");
        daemon.ok(&["run", "-d", "--name", runtime, "--runtime", runtime, "busybox", "sleep", "1000"]);
        assert_eq!(daemon.ok(&["exec", runtime, "id", "-u"]), "0", "{runtime}");
        daemon.ok(&["rm", "-f", runtime]);
    }
}

#[test]
fn a_daemon_without_ranges_says_what_to_do() {
    if !corten_testing::need_root() {
        return;
    }
    let scratch = corten_testing::Scratch::new("users-none");
    let folder = |name: &str| scratch.path().join(name).to_string_lossy().into_owned();
    let start = |wanted: &str| {
        let output = std::process::Command::new(corten_testing::daemon::program())
            .args([
                "daemon",
                "--data-root",
                &folder("data"),
                "--exec-root",
                &folder("exec"),
                "-b",
                "ctusers0",
            ])
            .args(["--userns-remap", wanted])
            .output()
            .expect("the program starts");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = start("no-such-user");
    assert!(
        text.contains("there is no user \"no-such-user\" in /etc/passwd") && text.contains("hint: "),
        "{text}"
    );
    let text = start("a:b:c");
    assert!(text.contains("Invalid user/group specification in --userns-remap: \"a:b:c\""), "{text}");
}
