//! config-linux.md: what is special to Linux.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Bundle, bundle, suite};

fn namespace_of(who: &str, name: &str) -> String {
    fs::read_link(format!("/proc/{who}/ns/{name}")).unwrap().to_string_lossy().into_owned()
}

fn without_namespace(bundle: &mut Bundle, kind: &str) {
    let namespaces = bundle.linux()["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != kind);
}

fn set_namespace(bundle: &mut Bundle, kind: &str, path: &str) {
    without_namespace(bundle, kind);
    bundle.linux()["namespaces"].as_array_mut().unwrap().push(json!({ "type": kind, "path": path }));
}

/// "The following devices MUST be supplied by the runtime."
#[test]
fn the_default_devices_are_there() {
    let script = "for d in null zero full random urandom tty; do stat -c '%n %t:%T' /dev/$d; done";
    let Some(bundle) = bundle("devices-default", script) else { return };
    let expected =
        "/dev/null 1:3\n/dev/zero 1:5\n/dev/full 1:7\n/dev/random 1:8\n/dev/urandom 1:9\n/dev/tty 5:0";
    assert_eq!(bundle.prints(), expected);
}

/// "/dev/ptmx: a bind-mount or symlink of the container's /dev/pts/ptmx."
#[test]
fn the_terminal_multiplexer_is_the_containers() {
    let Some(bundle) = bundle("ptmx", "readlink /dev/ptmx || stat -c %t:%T /dev/ptmx") else { return };
    let out = bundle.prints();
    assert!(["pts/ptmx", "/dev/pts/ptmx", "5:2"].contains(&out.as_str()), "{out}");
}

/// "Dev symbolic links: the runtime MUST supply these symlinks."
#[test]
fn the_default_links_are_there() {
    let Some(bundle) = bundle("links", "for l in fd stdin stdout stderr; do readlink /dev/$l; done") else {
        return;
    };
    assert_eq!(bundle.prints(), "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2");
}

/// "path … if not specified, the runtime MUST create a new container namespace of type."
#[test]
fn namespaces_are_new() {
    let Some(mut bundle) = bundle("namespaces", "sleep 100") else { return };
    bundle.linux()["namespaces"].as_array_mut().unwrap().push(json!({ "type": "cgroup" }));
    bundle.create();
    let pid = bundle.pid().to_string();
    for name in ["pid", "net", "ipc", "uts", "mnt", "cgroup"] {
        assert_ne!(namespace_of(&pid, name), namespace_of("self", name), "{name}");
    }
}

/// "If a namespace type is not specified, the container MUST inherit the runtime namespace of that type."
#[test]
fn namespaces_that_are_not_named_are_the_runtimes() {
    let Some(mut bundle) = bundle("inherit", "sleep 100") else { return };
    for kind in ["ipc", "uts", "network"] {
        without_namespace(&mut bundle, kind);
    }
    bundle.config.as_object_mut().unwrap().remove("hostname");
    // In the host's network namespace sysfs is the host's too.
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/sys");
    bundle.create();
    let pid = bundle.pid().to_string();
    for name in ["ipc", "uts", "net"] {
        assert_eq!(namespace_of(&pid, name), namespace_of("self", name), "{name}");
    }
}

/// "The runtime MUST place the container process in the namespace associated with that path."
#[test]
fn namespaces_are_joined_by_path() {
    let (Some(first), Some(mut second)) = (bundle("join-a", "sleep 100"), bundle("join-b", "sleep 100"))
    else {
        return;
    };
    first.create();
    let pid = first.pid().to_string();
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        set_namespace(&mut second, kind, &format!("/proc/{pid}/ns/{name}"));
    }
    second.config.as_object_mut().unwrap().remove("hostname");
    first.start();
    second.create();
    let other = second.pid().to_string();
    for name in ["net", "ipc", "uts", "pid"] {
        assert_eq!(namespace_of(&other, name), namespace_of(&pid, name), "{name}");
    }
    assert_ne!(namespace_of(&other, "mnt"), namespace_of(&pid, "mnt"));
}

/// "The runtime MUST generate an error if path is not associated with a namespace of type type."
#[test]
fn a_path_of_another_kind_is_refused() {
    let Some(mut bundle) = bundle("kind", "true") else { return };
    set_namespace(&mut bundle, "network", "/proc/self/ns/ipc");
    bundle.is_refused();
}

/// A path that is not there is none.
#[test]
fn a_namespace_that_is_not_there_is_refused() {
    let Some(mut bundle) = bundle("no-namespace", "true") else { return };
    set_namespace(&mut bundle, "network", "/no/such/namespace");
    bundle.is_refused();
}

/// "If a namespaces field contains duplicated namespaces with same type, the runtime MUST generate an error."
#[test]
fn a_namespace_given_twice_is_refused() {
    let Some(mut bundle) = bundle("twice", "true") else { return };
    bundle.linux()["namespaces"].as_array_mut().unwrap().push(json!({ "type": "uts" }));
    bundle.is_refused();
}

/// The container's first process is the first of its pid namespace.
#[test]
fn the_first_process_has_the_number_one() {
    let Some(bundle) = bundle("one", "echo $$") else { return };
    assert_eq!(bundle.prints(), "1");
}

/// "timeOffsets … offset of the clock in the time namespace."
#[test]
fn clocks_are_ahead() {
    let Some(mut bundle) = bundle("clocks", "sed 's/[. ].*//' /proc/uptime") else { return };
    bundle.linux()["namespaces"].as_array_mut().unwrap().push(json!({ "type": "time" }));
    bundle.linux()["timeOffsets"] = json!({ "boottime": { "secs": 10_000_000, "nanosecs": 0 } });
    let uptime: u64 = bundle.prints().parse().expect("seconds");
    assert!(uptime > 10_000_000, "{uptime}");
}

/// "devices … the runtime MAY supply them however it likes": kind, numbers, mode and owner are the document's.
#[test]
fn devices_are_made() {
    let script = "stat -c '%n %F %t:%T %a %u:%g' /dev/mine /dev/deep/block /dev/pipe";
    let Some(mut bundle) = bundle("devices", script) else { return };
    bundle.linux()["devices"] = json!([
        { "path": "/dev/mine", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 5, "gid": 6 },
        { "path": "/dev/deep/block", "type": "b", "major": 7, "minor": 250, "fileMode": 0o600, "uid": 0, "gid": 0 },
        { "path": "/dev/pipe", "type": "p", "fileMode": 0o666, "uid": 0, "gid": 0 },
    ]);
    let out = bundle.prints();
    assert!(out.contains("/dev/mine character special file a:e5 640 5:6"), "{out}");
    assert!(out.contains("/dev/deep/block block special file 7:fa 600 0:0"), "{out}");
    assert!(out.contains("/dev/pipe fifo 0:0 666 0:0"), "{out}");
}

/// "cgroupsPath … if absolute, the runtime MUST take the path relative to the cgroups mount point."
#[test]
fn the_cgroup_is_at_its_path() {
    let Some(bundle) = bundle("cgroup", "sleep 100") else { return };
    bundle.create();
    let own = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    assert!(own.contains(&format!(":/{}/{}", suite(), bundle.id)), "{own}");
}

/// "resources.memory.limit".
#[test]
fn a_memory_limit_is_set() {
    let Some(mut bundle) = bundle("memory", "sleep 100") else { return };
    bundle.linux()["resources"] = json!({ "memory": { "limit": 64 << 20 } });
    bundle.create();
    assert_eq!(bundle.cgroup_file(("memory", "memory.limit_in_bytes"), "memory.max"), "67108864");
}

/// "resources.pids.limit".
#[test]
fn a_limit_of_processes_is_set() {
    let Some(mut bundle) = bundle("pids", "sleep 100") else { return };
    bundle.linux()["resources"] = json!({ "pids": { "limit": 23 } });
    bundle.create();
    assert_eq!(bundle.cgroup_file(("pids", "pids.max"), "pids.max"), "23");
}

/// "resources.cpu": shares, quota, period.
#[test]
fn limits_of_the_processor_are_set() {
    let Some(mut bundle) = bundle("cpu", "sleep 100") else { return };
    bundle.linux()["resources"] = json!({ "cpu": { "quota": 30_000, "period": 100_000 } });
    bundle.create();
    let value = bundle.cgroup_file(("cpu", "cpu.cfs_quota_us"), "cpu.max");
    assert!(value.starts_with("30000"), "{value}");
}

/// "resources.cpu.cpus".
#[test]
fn processors_are_chosen() {
    let Some(mut bundle) = bundle("cpuset", "grep Cpus_allowed_list /proc/self/status") else { return };
    bundle.linux()["resources"] = json!({ "cpu": { "cpus": "0" } });
    assert!(bundle.prints().ends_with("\t0"));
}

/// "resources.devices … the runtime MUST apply entries in the listed order."
#[test]
fn device_rules_are_applied_in_order() {
    let script =
        "for d in fuse full; do head -c0 /dev/$d 2>/dev/null && echo $d opens || echo $d is refused; done";
    let Some(mut bundle) = bundle("rules", script) else { return };
    let device = json!({ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666, "uid": 0, "gid": 0 });
    bundle.linux()["devices"] = json!([device]);
    let deny = json!({ "allow": false, "access": "rwm" });
    bundle.linux()["resources"] = json!({ "devices": [deny] });
    assert_eq!(bundle.prints(), "fuse is refused\nfull opens");
    let allow = json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" });
    bundle.linux()["resources"] = json!({ "devices": [deny, allow] });
    assert_eq!(bundle.prints(), "fuse opens\nfull opens");
}

/// "sysctl … kernel parameters to be modified at runtime for the container."
#[test]
fn kernel_parameters_are_set() {
    let Some(mut bundle) = bundle("sysctl", "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni")
    else {
        return;
    };
    bundle.linux()["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "kernel.shmmni": "1234" });
    assert_eq!(bundle.prints(), "1\n1234");
}

/// One that would be the host's is refused.
#[test]
fn a_parameter_of_the_host_is_refused() {
    let Some(mut bundle) = bundle("sysctl-host", "true") else { return };
    without_namespace(&mut bundle, "network");
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/sys");
    bundle.linux()["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    bundle.is_refused();
}

fn filter(default: &str, rules: Value) -> Value {
    json!({
        "defaultAction": default,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": rules,
    })
}

/// "seccomp": an action with its error number.
#[test]
fn a_call_can_be_refused() {
    let Some(mut bundle) = bundle("seccomp", "mkdir /tmp/x 2>&1; chmod 700 /tmp && echo allowed") else {
        return;
    };
    bundle.linux()["seccomp"] = filter(
        "SCMP_ACT_ALLOW",
        json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }]),
    );
    let out = bundle.prints();
    assert!(out.contains("No space left") && out.ends_with("allowed"), "{out}");
}

/// "seccomp.syscalls.args": a rule with a condition.
#[test]
fn a_call_can_be_refused_by_its_argument() {
    let script = "chmod 700 /tmp 2>/dev/null && echo allowed || echo refused; chmod 711 /tmp && echo allowed";
    let Some(mut bundle) = bundle("seccomp-args", script) else { return };
    bundle.linux()["seccomp"] = filter(
        "SCMP_ACT_ALLOW",
        json!([
            { "names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
              "args": [{ "index": 1, "value": 0o700, "op": "SCMP_CMP_EQ" }] },
            { "names": ["fchmodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
              "args": [{ "index": 2, "value": 0o700, "op": "SCMP_CMP_EQ" }] },
        ]),
    );
    assert_eq!(bundle.prints(), "refused\nallowed");
}

/// A filter also holds with no-new-privileges.
#[test]
fn a_filter_holds_without_new_privileges() {
    let Some(mut bundle) = bundle("seccomp-nnp", "mkdir /tmp/x 2>/dev/null && echo made || echo refused")
    else {
        return;
    };
    bundle.process()["noNewPrivileges"] = json!(true);
    bundle.linux()["seccomp"] =
        filter("SCMP_ACT_ALLOW", json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }]));
    assert_eq!(bundle.prints(), "refused");
}

/// A call may end the process.
#[test]
fn a_call_can_be_deadly() {
    let Some(mut bundle) = bundle("seccomp-kill", "mkdir /tmp/x; echo lived on with $?") else { return };
    bundle.linux()["seccomp"] = filter(
        "SCMP_ACT_ALLOW",
        json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS" }]),
    );
    // 128 + SIGSYS.
    assert!(bundle.prints().ends_with("lived on with 159"));
}

fn propagation_of_root(bundle: &Bundle) -> String {
    let pid = bundle.pid();
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let line = table.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap().to_owned();
    line.split(" - ").next().unwrap().split(' ').skip(6).collect::<Vec<_>>().join(" ")
}

/// "rootfsPropagation": private.
#[test]
fn the_root_can_be_private() {
    let Some(mut bundle) = bundle("private", "sleep 100") else { return };
    bundle.linux()["rootfsPropagation"] = json!("private");
    bundle.create();
    assert!(!propagation_of_root(&bundle).contains("shared:"));
}

/// "rootfsPropagation": shared.
#[test]
fn the_root_can_be_shared() {
    let Some(mut bundle) = bundle("shared", "sleep 100") else { return };
    bundle.linux()["rootfsPropagation"] = json!("shared");
    bundle.create();
    assert!(propagation_of_root(&bundle).contains("shared:"));
}

/// "rootfsPropagation": unbindable.
#[test]
fn the_root_can_be_unbindable() {
    let Some(mut bundle) = bundle("unbindable", "sleep 100") else { return };
    bundle.linux()["rootfsPropagation"] = json!("unbindable");
    bundle.create();
    assert!(propagation_of_root(&bundle).contains("unbindable"));
}

/// "maskedPaths … so that they cannot be read."
#[test]
fn masked_paths_are_hidden() {
    let Some(mut bundle) = bundle("masked", "cat /etc/secret; ls /etc/folder; wc -c < /proc/keys") else {
        return;
    };
    fs::write(bundle.rootfs().join("etc/secret"), "secret").unwrap();
    fs::create_dir(bundle.rootfs().join("etc/folder")).unwrap();
    fs::write(bundle.rootfs().join("etc/folder/secret"), "secret").unwrap();
    bundle.linux()["maskedPaths"] = json!(["/etc/secret", "/etc/folder", "/proc/keys", "/no/such/path"]);
    assert_eq!(bundle.prints(), "0");
}

/// "readonlyPaths … set as readonly inside the container."
#[test]
fn read_only_paths_cannot_be_written() {
    let script = "touch /etc/x 2>/dev/null && echo written || echo refused; touch /tmp/x && echo written";
    let Some(mut bundle) = bundle("readonly-paths", script) else { return };
    bundle.linux()["readonlyPaths"] = json!(["/etc", "/proc/sys", "/no/such/path"]);
    assert_eq!(bundle.prints(), "refused\nwritten");
}

/// "personality.domain".
#[test]
fn the_personality_is_set() {
    let Some(mut bundle) = bundle("personality", "uname -m") else { return };
    bundle.linux()["personality"] = json!({ "domain": "LINUX32" });
    let machine = bundle.prints();
    assert!(["i686", "armv8l", "armv7l"].contains(&machine.as_str()), "{machine}");
}

/// A cgroup filesystem shows the container's own.
#[test]
fn cgroups_can_be_mounted() {
    let Some(mut bundle) =
        bundle("cgroup-mount", "ls -d /sys/fs/cgroup/*/ | head -1; ls /sys/fs/cgroup | wc -l")
    else {
        return;
    };
    bundle.add_mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]);
    let out = bundle.prints();
    assert!(out.lines().last().unwrap().parse::<u32>().unwrap() > 2, "{out}");
}
