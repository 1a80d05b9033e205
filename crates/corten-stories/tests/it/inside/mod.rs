//! What a container can see, write, mount, call and reach, item by item, beside what it can in Docker.
//!
//! The program `look_around` (an example of `corten-runtime`) prints all that is possible. `docker.txt` is what it
//! printed under Docker 28.5; a container of ours must not print a line more. `CORTEN_DOCKER=unix:///…` writes that file
//! anew from a running Docker with the image `busybox`.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corten_testing::daemon::{Said, ScratchDaemon};

use crate::daemon;

const DOCKERS: &str = include_str!("docker.txt");

/// Takes the program from standard input and becomes it.
const SCRIPT: &str = "cat > /look_around; chmod 755 /look_around; exec /look_around";

/// Kinds of lines that say what the machine has: a kernel with more files shows more of them to everybody.
const OF_THE_MACHINE: [&str; 13] = [
    "read /sys/",
    "read /proc/bus/",
    "read /proc/driver/",
    "read /proc/fs/",
    "read /proc/irq/",
    "read /proc/pressure/",
    "read /proc/scsi/",
    "read /proc/tty/",
    "write /proc/pressure/",
    "mount /sys/fs/cgroup/",
    "mount /sys/devices/",
    "limit Max locked memory",
    "limit Max core file size",
];

/// What is hidden in every container: not to be read, whatever the machine has.
const HIDDEN: [&str; 13] = [
    "read /proc/acpi",
    "read /proc/asound",
    "read /proc/interrupts",
    "read /proc/kcore",
    "read /proc/keys",
    "read /proc/latency_stats",
    "read /proc/sched_debug",
    "read /proc/scsi",
    "read /proc/timer_list",
    "read /proc/timer_stats",
    "read /sys/devices/virtual/powercap",
    "read /sys/firmware",
    "write /proc/sys",
];

/// Whether a line only shows that nodes are bound from the host, where none can be made.
fn is_bound_node(line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    let node = |place: &str| {
        ["full", "null", "random", "tty", "urandom", "zero"]
            .iter()
            .any(|name| place == format!("/dev/{name}"))
    };
    match words[..] {
        ["mount", place, "devices" | "devtmpfs" | "execute" | "write"] if node(place) => true,
        // What is hidden there is behind the null device.
        ["mount", place, "devtmpfs"] => place.starts_with("/proc/"),
        _ => false,
    }
}

fn look_around() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own program");
    let profile = test.parent().and_then(Path::parent).expect("the profile's folder").to_owned();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", "corten-runtime", "--example", "look_around"]);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo runs").success(), "the example builds");
    profile.join("examples/look_around")
}

/// What it says when it is run by such a command.
fn ask(mut command: Command) -> BTreeSet<String> {
    let program = File::open(look_around()).unwrap();
    let output = command.stdin(program).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let said: Said = output.into();
    assert!(said.code == 0 && said.out.lines().count() > 300, "{said:?}");
    said.out.lines().map(str::to_owned).collect()
}

fn run(daemon: &ScratchDaemon, options: &[&str]) -> BTreeSet<String> {
    let mut words = vec!["run", "--rm", "-i"];
    words.extend(options);
    words.extend(["busybox", "sh", "-c", SCRIPT]);
    ask(daemon.command(&words))
}

/// Lines that Docker's container does not have.
fn more_than_docker(lines: &BTreeSet<String>) -> Vec<&str> {
    let docker: BTreeSet<&str> = DOCKERS.lines().collect();
    let hidden = |line: &str| HIDDEN.iter().any(|hidden| line.starts_with(hidden));
    let of_the_machine =
        |line: &str| OF_THE_MACHINE.iter().any(|kind| line.starts_with(kind)) && !hidden(line);
    lines.iter().map(String::as_str).filter(|line| !docker.contains(line) && !of_the_machine(line)).collect()
}

#[test]
fn never_more_than_docker() {
    if let Ok(address) = std::env::var("CORTEN_DOCKER") {
        let mut docker = Command::new("docker");
        docker.args(["-H", &address, "run", "--rm", "-i", "busybox", "sh", "-c", SCRIPT]);
        let lines: Vec<String> = ask(docker).into_iter().collect();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/inside/docker.txt");
        std::fs::write(path, lines.join("\n") + "\n").unwrap();
        return;
    }
    let Some(daemon) = daemon("inside") else { return };
    let lines = run(&daemon, &[]);
    assert_eq!(more_than_docker(&lines), [""; 0]);
    // And it is a whole container, not one in which nothing works.
    for line in
        ["call read", "do become another user", "mount /proc proc", "write to /", "socket inet stream"]
    {
        assert!(lines.contains(line), "{line}");
    }
    // What options take away is gone.
    let narrow = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none"];
    let lines = run(&daemon, &narrow);
    let rights: Vec<_> = lines.iter().filter(|line| line.starts_with("capability ")).collect();
    assert!(rights.is_empty(), "{rights:?}");
    for line in ["gain privileges at an exec", "interface eth0", "do become another user", "socket packet"] {
        assert!(!lines.contains(line), "{line}");
    }
    // Who cannot gain privileges may narrow itself further.
    let more: Vec<_> = more_than_docker(&lines);
    assert_eq!(more, ["call landlock_restrict_self"]);
    let program = format!("{}:/look_around:ro", look_around().display());
    let lines =
        ask(daemon.command(&["run", "--rm", "-i", "--read-only", "-v", &program, "busybox", "/look_around"]));
    assert_eq!(more_than_docker(&lines), [""; 0]);
    for line in ["write to /", "mount / write", "make a node of a block device"] {
        assert!(!lines.contains(line), "{line}");
    }
}

#[test]
fn a_further_process_can_do_no_more_than_the_first() {
    let Some(daemon) = daemon("inside-exec") else { return };
    let first = run(&daemon, &["--name", "first"]);
    daemon.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "600"]);
    let further = ask(daemon.command(&["exec", "-i", "box", "sh", "-c", SCRIPT]));
    // It is not the first, and so has what the first has for itself.
    let more: Vec<_> = further.difference(&first).filter(|line| *line != "see other processes").collect();
    assert!(more.is_empty(), "{more:?}");
    let further = ask(daemon.command(&["exec", "-i", "-u", "root:root", "box", "sh", "-c", SCRIPT]));
    assert_eq!(more_than_docker(&further), [""; 0]);
}

#[test]
fn in_a_user_namespace_root_can_do_no_more_than_in_the_hosts() {
    let Some(daemon) = crate::users::remapped("inside-users") else { return };
    let whole = run(&daemon, &["--userns", "host"]);
    let mapped = run(&daemon, &[]);
    let more: Vec<_> =
        mapped.difference(&whole).map(String::as_str).filter(|line| !is_bound_node(line)).collect();
    assert_eq!(more, [""; 0]);
    // And it is a whole container too.
    for line in ["call read", "do become another user", "mount /proc proc", "write to /", "socket packet"] {
        assert!(mapped.contains(line), "{line}");
    }
}
