//! What a container is: mounts, devices, rights, names, streams.

use std::fs;
use std::io::{Read, Write};

use corten_oci::runtime::{LinuxDevice, Mount, NamespaceKind, PosixRlimit};
use corten_runtime::{ChildStdio, LaunchErrorKind, make_privileged};
use corten_sys::mount::{self, AttributeChange, Attributes, Propagation};
use corten_sys::terminal;
use corten_testing::Scratch;
use std::os::fd::AsFd;

use crate::Test;
use crate::support::{Trial, bind};

pub(crate) const TESTS: &[Test] = &[
    ("namespaces_are_its_own", namespaces_are_its_own),
    ("rights_are_dockers", rights_are_dockers),
    ("privileged_has_every_right", privileged_has_every_right),
    ("a_filter_stops_new_namespaces", a_filter_stops_new_namespaces),
    ("devices_and_links_are_dockers", devices_and_links_are_dockers),
    ("only_standard_streams_are_open", only_standard_streams_are_open),
    ("users_come_from_the_image", users_come_from_the_image),
    ("unknown_users_are_told", unknown_users_are_told),
    ("commands_that_cannot_run_are_told", commands_that_cannot_run_are_told),
    ("working_folders_are_made", working_folders_are_made),
    ("a_read_only_root_is_read_only", a_read_only_root_is_read_only),
    ("binds_are_shown", binds_are_shown),
    ("what_is_mounted_below_a_bind_stays_inside", what_is_mounted_below_a_bind_stays_inside),
    ("settings_reach_the_kernel", settings_reach_the_kernel),
    ("masked_paths_are_empty", masked_paths_are_empty),
    ("a_terminal_is_controlling", a_terminal_is_controlling),
    ("init_reaps_and_passes_on", init_reaps_and_passes_on),
    ("asked_devices_are_made", asked_devices_are_made),
];

fn namespaces_are_its_own() {
    let outcome =
        Trial::new("link /proc/self/ns/mnt; link /proc/self/ns/pid; link /proc/self/ns/net; link /proc/self/ns/ipc; link /proc/self/ns/uts; pid; host; list /")
            .run();
    for name in ["mnt", "pid", "net", "ipc", "uts"] {
        let own = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(outcome.get(&format!("/proc/self/ns/{name}")), own.to_str().unwrap());
    }
    assert_eq!((outcome.get("pid"), outcome.get("host"), outcome.code), ("1", "trial", 0));
    assert_eq!(outcome.get("/"), "bin dev etc proc root sbin sys tmp");
}

fn status(outcome: &crate::support::Outcome, field: &str) -> String {
    let line = outcome.stdout.lines().find(|line| line.starts_with(&format!("{field}:")));
    line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or_default().to_owned()
}

fn rights_are_dockers() {
    let outcome = Trial::new("cat /proc/self/status").run();
    // The fourteen of Docker's default.
    for field in ["CapBnd", "CapEff", "CapPrm"] {
        assert_eq!(status(&outcome, field), "00000000a80425fb", "{field}");
    }
    assert_eq!(status(&outcome, "CapInh"), "0000000000000000");
    assert_eq!(status(&outcome, "CapAmb"), "0000000000000000");
    assert_eq!((status(&outcome, "Seccomp").as_str(), status(&outcome, "NoNewPrivs").as_str()), ("2", "0"));
    let outcome = Trial::new("cat /proc/self/status")
        .process(|process| {
            process.user.username = Some("bob".into());
            process.no_new_privileges = true;
        })
        .run();
    assert_eq!(status(&outcome, "CapEff"), "0000000000000000");
    assert_eq!(status(&outcome, "CapBnd"), "00000000a80425fb");
    assert_eq!((status(&outcome, "Seccomp").as_str(), status(&outcome, "NoNewPrivs").as_str()), ("2", "1"));
}

fn privileged_has_every_right() {
    let outcome = Trial::new(
        "cat /proc/self/status; write /proc/sys/kernel/msgmax 8192; mknod /tmp/disk; cat /proc/mounts",
    )
    .with(|trial| {
        make_privileged(&mut trial.spec);
        trial.filter = false;
    })
    .run();
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let permitted = own.lines().find(|line| line.starts_with("CapPrm")).unwrap();
    assert_eq!(status(&outcome, "CapEff"), permitted.split_whitespace().nth(1).unwrap());
    assert_eq!(
        (status(&outcome, "Seccomp").as_str(), outcome.get("/proc/sys/kernel/msgmax")),
        ("0", "written")
    );
    assert!(
        outcome.stdout.lines().any(|line| line.starts_with("sysfs /sys sysfs rw,")),
        "{}",
        outcome.stdout
    );
}

fn a_filter_stops_new_namespaces() {
    let outcome = Trial::new("unshare").run();
    assert_eq!(outcome.get("unshare"), "error permission denied");
    let outcome = Trial::new("unshare").with(|trial| trial.filter = false).run();
    assert_eq!(outcome.get("unshare"), "done");
}

fn devices_and_links_are_dockers() {
    let outcome = Trial::new(
        "list /dev; stat /dev/null; stat /dev/tty; link /dev/ptmx; link /dev/stdin; write /dev/null x; mknod /tmp/disk; cat /tmp/disk",
    )
    .run();
    // Where the kernel shows its memory there is a link to it, which is masked.
    let core = if fs::metadata("/proc/kcore").is_ok() { "core " } else { "" };
    assert_eq!(
        outcome.get("/dev"),
        format!("{core}fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero")
    );
    assert_eq!(outcome.get("/dev/null"), "c 666 1:3 0:0");
    assert_eq!(outcome.get("/dev/tty"), "c 666 5:0 0:0");
    assert_eq!((outcome.get("/dev/ptmx"), outcome.get("/dev/stdin")), ("pts/ptmx", "/proc/self/fd/0"));
    // Nodes may be made, but the device cgroup keeps them shut.
    assert_eq!((outcome.get("mknod"), outcome.get("/tmp/disk")), ("made", "error permission denied"));
}

fn only_standard_streams_are_open() {
    let _left_open = fs::File::open("/").unwrap();
    let kept = rustix::io::dup(rustix::stdio::stdin()).unwrap();
    let outcome = Trial::new("list /proc/self/fd").run();
    // The fourth is the listing itself.
    assert_eq!(outcome.get("/proc/self/fd"), "0 1 2 3");
    drop(kept);
}

fn users_come_from_the_image() {
    let outcome = Trial::new("id; env HOME; umask; stat /proc/self/fd/1; write /proc/self/fd/1 again")
        .process(|process| {
            process.user.username = Some("bob".into());
            process.user.additional_group_names = vec!["77".into()];
        })
        .run();
    assert_eq!(outcome.get("uid"), "1000 gid=100 groups=[10, 77, 100]");
    assert_eq!((outcome.get("HOME"), outcome.get("umask")), ("/home/bob", "22"));
    assert!(outcome.stdout.contains("again"), "{}", outcome.stdout);
    let outcome = Trial::new("id; env HOME").run();
    assert_eq!((outcome.get("uid"), outcome.get("HOME")), ("0 gid=0 groups=[0]", "/root"));
}

fn unknown_users_are_told() {
    let error = Trial::new("id").process(|process| process.user.username = Some("ghost".into())).refused();
    assert_eq!(error.kind, LaunchErrorKind::UnknownUser);
    assert_eq!(error.message, "unable to find user ghost: no matching entries in passwd file");
}

fn commands_that_cannot_run_are_told() {
    let error = Trial::new("").process(|process| process.args = vec!["nothing".into()]).refused();
    assert_eq!(error.message, "exec: \"nothing\": executable file not found in $PATH");
    assert_eq!(error.exit_code(), 127);
    let error = Trial::new("").process(|process| process.args = vec!["/dev/null".into()]).refused();
    assert_eq!(error.message, "exec: \"/dev/null\": permission denied");
    assert_eq!(error.exit_code(), 126);
    let outcome = Trial::new("")
        .with(|trial| crate::support::write_file(&trial.root, "bin/junk", b"\x01\x02"))
        .process(|process| process.args = vec!["junk".into()])
        .run();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (255, "exec /bin/junk: exec format error\n"));
}

fn working_folders_are_made() {
    let outcome = Trial::new("cwd").process(|process| process.cwd = "/made/here".into()).run();
    assert_eq!(outcome.get("cwd"), "/made/here");
    let error = Trial::new("cwd").process(|process| process.cwd = "/etc/passwd".into()).refused();
    assert_eq!(error.kind, LaunchErrorKind::WorkingDirectory);
}

fn a_read_only_root_is_read_only() {
    let outcome = Trial::new("write /tmp/x y; write /dev/shm/x y")
        .with(|trial| trial.spec.root.as_mut().unwrap().readonly = true)
        .run();
    assert_eq!(outcome.get("/tmp/x"), "error read-only filesystem or storage medium");
    assert_eq!(outcome.get("/dev/shm/x"), "written");
}

fn binds_are_shown() {
    let scratch = corten_testing::Scratch::new("runtime-bind");
    fs::write(scratch.path().join("file"), "content").unwrap();
    let outcome = Trial::new(
        "cat /data/file; write /data/new x; cat /etc/one; write /etc/one x; cat /proc/self/mountinfo",
    )
    .with(|trial| {
        bind(trial, scratch.path(), "/data", &["rbind", "rprivate"]);
        bind(trial, &scratch.path().join("file"), "/etc/one", &["rbind", "ro", "rprivate"]);
    })
    .run();
    assert_eq!((outcome.get("/data/file"), outcome.get("/etc/one")), ("content", "content"));
    assert!(scratch.path().join("new").exists());
    assert!(outcome.stdout.contains("/etc/one: error read-only filesystem"), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("shared:"), "{}", outcome.stdout);
    let error =
        Trial::new("").with(|trial| bind(trial, &scratch.path().join("file"), "/etc", &["rbind"])).refused();
    assert!(error.message.contains("Are you trying to mount a directory onto a file"), "{error}");
}

fn settings_reach_the_kernel() {
    let outcome = Trial::new("cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /proc/self/oom_score_adj; cat /proc/self/limits; cat /proc/sys/kernel/domainname")
        .with(|trial| {
            let linux = trial.spec.linux.as_mut().unwrap();
            linux.sysctl.insert("net.ipv4.ip_unprivileged_port_start".into(), "7".into());
            trial.spec.domainname = Some("example".into());
        })
        .process(|process| {
            process.oom_score_adj = Some(123);
            process.rlimits =
                vec![PosixRlimit { kind: "RLIMIT_NOFILE".into(), soft: 100, hard: 200 }];
        })
        .run();
    assert_eq!(outcome.get("/proc/sys/net/ipv4/ip_unprivileged_port_start"), "7");
    assert_eq!(outcome.get("/proc/self/oom_score_adj"), "123");
    assert_eq!(outcome.get("/proc/sys/kernel/domainname"), "example");
    let files = outcome.stdout.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert!(files.split_whitespace().skip(3).take(2).eq(["100", "200"]), "{files}");
}

fn masked_paths_are_empty() {
    let outcome = Trial::new(
        "cat /proc/timer_list; list /sys/firmware; write /proc/sys/kernel/hostname x; stat /proc/interrupts",
    )
    .run();
    assert_eq!((outcome.get("/proc/timer_list"), outcome.get("/sys/firmware")), ("", ""));
    assert_eq!(outcome.get("/proc/sys/kernel/hostname"), "error read-only filesystem or storage medium");
    assert_eq!(outcome.get("/proc/interrupts"), "c 666 1:3 0:0");
}

fn a_terminal_is_controlling() {
    let trial = Trial::new("ttyname; stat /dev/console; write /dev/console hello; read").process(|process| {
        process.terminal = true;
        process.console_size = Some(corten_oci::runtime::ConsoleSize { height: 40, width: 100 });
    });
    let mut running = trial.start_with(ChildStdio::Terminal).unwrap();
    let mut master = fs::File::from(running.launched.terminal.take().expect("the terminal comes back"));
    let size = rustix::termios::tcgetwinsize(&master).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (40, 100));
    terminal::set_size(master.as_fd(), terminal::Size { rows: 10, columns: 20 }).unwrap();
    master.write_all(b"typed\n").unwrap();
    let mut output = Vec::new();
    // The end of a terminal is an error.
    let _ = master.read_to_end(&mut output);
    let output = String::from_utf8_lossy(&output);
    assert!(output.contains("tty: /dev/pts/0"), "{output}");
    assert!(output.contains("/dev/console: c ") && output.contains("hello"), "{output}");
    assert!(output.contains("read: typed"), "{output}");
    assert_eq!(running.finish().code, 0);
}

fn init_reaps_and_passes_on() {
    let outcome = Trial::new("pid; orphan; exit 7").with(|trial| trial.init = true).run();
    assert_eq!((outcome.code, outcome.get("zombies")), (7, "0"), "{outcome:?}");
    assert_ne!(outcome.get("pid"), "1");
    let mut running = Trial::new("wait-term; exit 3").with(|trial| trial.init = true).start().unwrap();
    let mut ready = [0; 6];
    running.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    corten_sys::process::pidfd_send_signal(running.launched.pidfd.as_fd(), 15).unwrap();
    let outcome = running.finish();
    assert_eq!((outcome.code, outcome.get("signal")), (3, "15"));
    let outcome = Trial::new("")
        .with(|trial| trial.init = true)
        .process(|process| process.args = vec!["nothing".into()])
        .run();
    assert_eq!(outcome.code, 127);
}

fn asked_devices_are_made() {
    let outcome = Trial::new("stat /dev/mine/zero; cat /proc/self/ns/none")
        .with(|trial| {
            let linux = trial.spec.linux.as_mut().unwrap();
            linux.devices.push(LinuxDevice {
                kind: "c".into(),
                path: "/dev/mine/zero".into(),
                major: 1,
                minor: 5,
                file_mode: Some(0o640),
                uid: Some(5),
                gid: Some(6),
            });
            linux.namespaces.retain(|namespace| namespace.kind != NamespaceKind::Network);
        })
        .run();
    assert_eq!(outcome.get("/dev/mine/zero"), "c 640 1:5 5:6");
}

/// The host's mounts are shared under systemd.
fn what_is_mounted_below_a_bind_stays_inside() {
    let scratch = Scratch::new("runtime-shared");
    let host = mount::tmpfs(&[], Attributes::empty()).unwrap();
    mount::attach(host.as_fd(), scratch.path()).unwrap();
    let shared = AttributeChange { propagation: Some(Propagation::Shared), ..AttributeChange::default() };
    mount::set_attributes(host.as_fd(), &shared).unwrap();
    let appears = |options: &[&str]| {
        let running = Trial::new("mounted /data/sub; sleep 1000")
            .with(|trial| {
                bind(trial, scratch.path(), "/data", options);
                trial.spec.mounts.push(Mount {
                    destination: "/data/sub".into(),
                    kind: Some("tmpfs".into()),
                    source: Some("tmpfs".into()),
                    ..Mount::default()
                });
            })
            .start()
            .unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        running.finish();
        mounts.contains(&format!(" {}/sub ", scratch.path().display()))
    };
    let (unsaid, private, asked) =
        (appears(&["rbind"]), appears(&["rbind", "rprivate"]), appears(&["rbind", "rshared"]));
    rustix::mount::unmount(scratch.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    assert!(!unsaid && !private);
    assert!(asked, "who asks for it has it");
}
