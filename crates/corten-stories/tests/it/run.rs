//! `run`: what the program inside sees, and what comes back.

use crate::daemon;
use corten_testing::daemon::ScratchDaemon;

#[test]
fn the_first_command_of_the_readme() {
    if !corten_testing::need_root() {
        return;
    }
    let daemon = ScratchDaemon::start("hello", &[]);
    let said = daemon.corten(&["run", "--rm", "hello-world"]);
    assert_eq!(said.code, 0, "{said:?}\n{}", daemon.log());
    assert!(said.out.contains("Hello from Corten"), "{said:?}");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
}

#[test]
fn output_errors_and_exit_codes_come_back() {
    let Some(daemon) = daemon("codes") else { return };
    let said = daemon.corten(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((said.out.as_str(), said.err.as_str(), said.code), ("out\n", "err\n", 7));
    assert_eq!(
        daemon.corten(&["run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).code,
        137
    );
    assert_eq!(daemon.corten(&["run", "--rm", "busybox", "no-such-command"]).code, 127);
    assert_eq!(daemon.corten(&["run", "--rm", "busybox", "/etc/passwd"]).code, 126);
    assert_eq!(daemon.corten(&["run", "--rm", "no-such-image", "true"]).code, 125);
    let said = daemon.with_input(&["run", "-i", "--rm", "busybox", "cat"], b"one\ntwo\n");
    assert_eq!((said.out.as_str(), said.code), ("one\ntwo\n", 0), "{said:?}");
}

#[test]
fn the_container_is_dockers_shape() {
    let Some(daemon) = daemon("shape") else { return };
    let script = "id -u; hostname; pwd; echo $HOME $FOO; ls /proc/1/ns | wc -l; cat /proc/self/status | grep -E 'CapEff|Seccomp:|NoNewPrivs'; ls -A /proc/acpi 2>/dev/null | wc -l; ls /proc/self/fd | wc -l";
    let out = daemon
        .ok(&["run", "--rm", "-h", "box", "-w", "/tmp", "-e", "FOO=bar", "busybox", "sh", "-c", script]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(&lines[..4], ["0", "box", "/tmp", "/root bar"], "{out}");
    // Docker's fourteen capabilities, its filter on, no_new_privs off.
    assert!(out.contains("CapEff:\t00000000a80425fb"), "{out}");
    assert!(out.contains("Seccomp:\t2") && out.contains("NoNewPrivs:\t0"), "{out}");
    let descriptors: u32 = lines[lines.len() - 1].trim().parse().expect("a number");
    assert!(descriptors <= 4, "0, 1, 2 and the folder itself: {out}");
}

#[test]
fn user_group_and_privilege() {
    let Some(daemon) = daemon("users") else { return };
    assert_eq!(
        daemon.ok(&["run", "--rm", "-u", "app", "busybox", "id"]),
        "uid=1000(app) gid=1000(app) groups=10(wheel),1000(app)"
    );
    assert_eq!(daemon.ok(&["run", "--rm", "-u", "12:34", "busybox", "id", "-u"]), "12");
    let caps =
        daemon.ok(&["run", "--rm", "--cap-drop", "ALL", "busybox", "grep", "CapEff", "/proc/self/status"]);
    assert!(caps.ends_with("0000000000000000"), "{caps}");
    let seccomp =
        daemon.ok(&["run", "--rm", "--privileged", "busybox", "grep", "Seccomp:", "/proc/self/status"]);
    assert!(seccomp.ends_with('0'), "{seccomp}");
    let said = daemon.corten(&["run", "--rm", "--read-only", "busybox", "touch", "/x"]);
    assert!(said.code != 0 && said.err.contains("Read-only"), "{said:?}");
}

#[test]
fn limits_are_the_kernels() {
    let Some(daemon) = daemon("limits") else { return };
    let id = daemon.ok(&[
        "run",
        "-d",
        "-m",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "20",
        "busybox",
        "sleep",
        "60",
    ]);
    let pid = daemon.ok(&["inspect", "-f", "{{.State.Pid}}", &id]);
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups");
    let file = |v1: (&str, &str), v2: &str| {
        let line = cgroups.lines().find(|line| {
            line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == v1.0))
        });
        let path = if let Some(line) = line {
            format!("/sys/fs/cgroup/{}{}/{}", v1.0, line.rsplit(':').next().unwrap_or_default(), v1.1)
        } else {
            let line = cgroups.lines().find(|line| line.starts_with("0::")).expect("a cgroup");
            format!("/sys/fs/cgroup{}/{v2}", &line[3..])
        };
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
    };
    assert_eq!(file(("memory", "memory.limit_in_bytes"), "memory.max"), "67108864");
    assert_eq!(file(("pids", "pids.max"), "pids.max"), "20");
    let quota = file(("cpu", "cpu.cfs_quota_us"), "cpu.max");
    assert!(quota.starts_with("50000"), "{quota}");
    daemon.ok(&["rm", "-f", &id]);
}

#[test]
fn memory_beyond_the_limit_is_told() {
    let Some(daemon) = daemon("oom") else { return };
    let said = daemon.corten(&[
        "run",
        "--name",
        "greedy",
        "-m",
        "16m",
        "--memory-swap",
        "16m",
        "busybox",
        "sh",
        "-c",
        "head -c 200m /dev/zero | tail -c 190m | wc -c; sleep 0.1; exec tail /dev/zero",
    ]);
    assert_eq!(said.code, 137, "{said:?}");
    assert_eq!(daemon.ok(&["inspect", "-f", "{{.State.OOMKilled}}", "greedy"]), "true");
}

#[test]
fn a_folder_runs_copy_on_write() {
    let Some(daemon) = daemon("rootfs") else { return };
    let mark = format!("/corten-mark-{}", std::process::id());
    let script = format!("echo x > {mark} && cat {mark}");
    assert_eq!(daemon.ok(&["run", "--rm", "--rootfs", "/", "sh", "-c", &script]), "x");
    assert!(!std::path::Path::new(&mark).exists(), "the machine is as it was");
}

#[test]
fn a_terminal_is_a_terminal() {
    let Some(daemon) = daemon("tty") else { return };
    let out = daemon.ok(&["run", "--rm", "-t", "busybox", "sh", "-c", "tty; test -t 1 && echo yes"]);
    assert_eq!(out.replace('\r', ""), "/dev/pts/0\nyes");
}

#[test]
fn init_reaps_and_forwards() {
    let Some(daemon) = daemon("init") else { return };
    let out = daemon.ok(&["run", "--rm", "--init", "busybox", "sh", "-c", "echo $$; cat /proc/1/comm"]);
    assert!(out.starts_with(|digit: char| digit.is_ascii_digit() && digit != '1'), "{out}");
    let said = daemon.corten(&["run", "--rm", "--init", "busybox", "sh", "-c", "exit 9"]);
    assert_eq!(said.code, 9, "{said:?}");
}
