//! config.md: what every document can say.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::{bundle, is, is_ours};

/// "MUST generate an error when invalid or unsupported values are encountered."
#[test]
fn invalid_values_are_refused() {
    let Some(mut bundle) = bundle("invalid", "true") else { return };
    bundle.linux()["namespaces"].as_array_mut().unwrap().push(json!({ "type": "no-such-kind" }));
    bundle.is_refused();
}

/// "MUST ignore unknown properties."
#[test]
fn unknown_properties_are_ignored() {
    let Some(mut bundle) = bundle("unknown", "echo ran") else { return };
    bundle.config["someday"] = json!({ "x": 1 });
    bundle.process()["someday"] = json!([1]);
    bundle.config["annotations"] = json!({ "org.example.unknown": "value" });
    assert_eq!(bundle.prints(), "ran");
}

/// "ociVersion MUST be in SemVer v2.0.0 format." Ours alone: others take any text.
#[test]
fn a_version_that_is_none_is_refused() {
    if !is_ours() {
        return;
    }
    let Some(mut bundle) = bundle("version", "true") else { return };
    bundle.config["ociVersion"] = json!("newest");
    bundle.is_refused();
}

/// "A directory MUST exist at the path declared by the field."
#[test]
fn a_missing_root_is_refused() {
    let Some(mut bundle) = bundle("no-root", "true") else { return };
    bundle.config["root"]["path"] = json!("no-such-folder");
    bundle.is_refused();
}

/// "root.path … absolute path or a relative path to the bundle."
#[test]
fn a_root_may_be_absolute() {
    let Some(mut bundle) = bundle("absolute", "echo ran") else { return };
    bundle.config["root"]["path"] = json!(bundle.rootfs());
    assert_eq!(bundle.prints(), "ran");
}

/// "If readonly is true then the root filesystem MUST be read-only inside the container."
#[test]
fn a_read_only_root_cannot_be_written() {
    let Some(mut bundle) = bundle("readonly", "touch /x 2>/dev/null && echo written || echo refused") else {
        return;
    };
    assert_eq!(bundle.prints(), "written");
    bundle.config["root"]["readonly"] = json!(true);
    assert_eq!(bundle.prints(), "refused");
}

/// "The runtime MUST mount entries in the listed order."
#[test]
fn mounts_are_made_in_their_order() {
    let Some(mut bundle) = bundle("order", "ls /a; ls /a/b") else { return };
    fs::create_dir_all(bundle.folder().join("first/b")).unwrap();
    fs::create_dir_all(bundle.folder().join("second/inner")).unwrap();
    let (first, second) = (bundle.folder().join("first"), bundle.folder().join("second"));
    bundle.add_mount("/a", "bind", first.to_str().unwrap(), &["rbind"]);
    bundle.add_mount("/a/b", "bind", second.to_str().unwrap(), &["rbind"]);
    assert_eq!(bundle.prints(), "b\ninner");
}

/// "Bind mounts are only supported on … 'bind' or 'rbind' in options"; the type does not matter then.
#[test]
fn options_make_a_bind() {
    let Some(mut bundle) = bundle("bind", "cat /m/file") else { return };
    fs::create_dir(bundle.folder().join("source")).unwrap();
    fs::write(bundle.folder().join("source/file"), "bound\n").unwrap();
    let source = bundle.folder().join("source");
    bundle.add_mount("/m", "none", source.to_str().unwrap(), &["bind"]);
    assert_eq!(bundle.prints(), "bound");
}

/// A file may be bound, its destination is made.
#[test]
fn a_file_can_be_bound() {
    let Some(mut bundle) = bundle("bind-file", "cat /new/folder/file") else { return };
    fs::write(bundle.folder().join("file"), "bound\n").unwrap();
    let source = bundle.folder().join("file");
    bundle.add_mount("/new/folder/file", "bind", source.to_str().unwrap(), &["bind", "ro"]);
    assert_eq!(bundle.prints(), "bound");
}

/// "Runtimes MUST implement the following options": ro, nosuid, nodev, noexec.
#[test]
fn mount_flags_are_the_kernels() {
    let Some(mut bundle) = bundle("flags", "grep ' /m ' /proc/self/mountinfo | sed 's/.* \\/m //; s/ .*//'")
    else {
        return;
    };
    bundle.add_mount("/m", "tmpfs", "tmpfs", &["ro", "nosuid", "nodev", "noexec", "noatime"]);
    let flags = bundle.prints();
    for flag in ["ro", "nosuid", "nodev", "noexec", "noatime"] {
        assert!(flags.split(',').any(|one| one == flag), "{flag}: {flags}");
    }
}

/// Flags of a bind.
#[test]
fn a_bind_can_be_read_only() {
    let Some(mut bundle) = bundle("bind-ro", "touch /m/x 2>/dev/null && echo written || echo refused") else {
        return;
    };
    fs::create_dir(bundle.folder().join("source")).unwrap();
    let source = bundle.folder().join("source");
    bundle.add_mount("/m", "bind", source.to_str().unwrap(), &["bind", "ro"]);
    assert_eq!(bundle.prints(), "refused");
}

/// Options of the filesystem itself.
#[test]
fn a_filesystem_gets_its_options() {
    let Some(mut bundle) = bundle("options", "grep ' /m ' /proc/mounts; stat -c %a /m") else { return };
    bundle.add_mount("/m", "tmpfs", "tmpfs", &["size=64k", "mode=751"]);
    let out = bundle.prints();
    assert!(out.contains("size=64k") && out.ends_with("751"), "{out}");
}

/// "rro … recursively read-only."
#[test]
fn a_tree_can_be_read_only() {
    let Some(mut bundle) = bundle("rro", "touch /m/x /m/below/x 2>/dev/null; ls /m /m/below") else { return };
    let tree = bundle.folder().join("tree");
    fs::create_dir_all(tree.join("below")).unwrap();
    // The document's own mounts make the tree: a tmpfs in the bind.
    bundle.add_mount("/m", "bind", tree.to_str().unwrap(), &["rbind", "rro"]);
    let out = bundle.prints();
    assert!(!out.contains('x'), "{out}");
}

/// "cwd (string, REQUIRED) … This value MUST be an absolute path." crun takes any.
#[test]
fn a_relative_working_folder_is_refused() {
    if is("crun") {
        return;
    }
    let Some(mut bundle) = bundle("cwd-relative", "true") else { return };
    bundle.process()["cwd"] = json!("tmp");
    bundle.is_refused();
}

/// "cwd is the working directory that will be set for the executable."
#[test]
fn the_working_folder_is_set() {
    let Some(mut bundle) = bundle("cwd", "pwd") else { return };
    bundle.process()["cwd"] = json!("/tmp");
    assert_eq!(bundle.prints(), "/tmp");
}

/// "env … same semantics as IEEE Std 1003.1-2008's environ."
#[test]
fn the_environment_is_the_documents() {
    let Some(mut bundle) = bundle("env", "env | sort | grep -v -E '^(HOME|PWD|SHLVL|OLDPWD)='") else {
        return;
    };
    bundle.process()["env"] = json!(["PATH=/bin", "A=1", "B=x=y"]);
    assert_eq!(bundle.prints(), "A=1\nB=x=y\nPATH=/bin");
}

/// "args … at least one entry is REQUIRED."
#[test]
fn a_process_without_arguments_is_refused() {
    let Some(mut bundle) = bundle("no-args", "true") else { return };
    bundle.process()["args"] = json!([]);
    bundle.is_refused();
}

/// "args … same semantics as execvp's argv."
#[test]
fn arguments_arrive_and_the_path_is_searched() {
    let Some(mut bundle) = bundle("args", "") else { return };
    bundle.process()["args"] = json!(["echo", "a b", "", "c"]);
    assert_eq!(bundle.prints(), "a b  c");
}

/// A command that is not there is an error of the start or of the create.
#[test]
fn a_missing_command_is_an_error() {
    let Some(mut bundle) = bundle("no-command", "") else { return };
    bundle.process()["args"] = json!(["/no/such/command"]);
    let said = bundle.run();
    assert!(said.code != 0 && !said.err.is_empty(), "{said:?}");
}

/// "rlimits": soft and hard.
#[test]
fn resource_limits_are_set() {
    let Some(mut bundle) = bundle("rlimits", "ulimit -Sn; ulimit -Hn; ulimit -Sc") else { return };
    bundle.process()["rlimits"] = json!([
        { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
        { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
    ]);
    assert_eq!(bundle.prints(), "100\n200\n0");
}

/// "The runtime MUST generate an error for any values which cannot be mapped to a relevant kernel interface."
#[test]
fn an_unknown_resource_limit_is_refused() {
    let Some(mut bundle) = bundle("rlimit-unknown", "true") else { return };
    bundle.process()["rlimits"] = json!([{ "type": "RLIMIT_NOPE", "soft": 1, "hard": 1 }]);
    bundle.is_refused();
}

/// "If rlimits contains duplicated entries with same type, the runtime MUST generate an error." Ours
/// alone: others take the last.
#[test]
fn a_resource_limit_given_twice_is_refused() {
    if !is_ours() {
        return;
    }
    let Some(mut bundle) = bundle("rlimit-twice", "true") else { return };
    let one = json!({ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 });
    bundle.process()["rlimits"] = json!([one, one]);
    bundle.is_refused();
}

/// "capabilities": each set as it is written.
#[test]
fn capability_sets_are_the_documents() {
    let Some(mut bundle) = bundle("capabilities", "grep Cap /proc/self/status") else { return };
    let (kill, chown) = (json!(["CAP_KILL"]), json!(["CAP_KILL", "CAP_CHOWN"]));
    bundle.process()["capabilities"] = json!({ "bounding": chown, "permitted": chown, "effective": chown, "inheritable": kill, "ambient": kill });
    let out = bundle.prints();
    for (set, bits) in [("CapBnd", 0x21), ("CapInh", 0x20), ("CapAmb", 0x20)] {
        assert!(out.contains(&format!("{set}:\t{bits:016x}")), "{set}: {out}");
    }
}

/// A user other than root keeps the ambient ones alone.
#[test]
fn another_user_has_ambient_capabilities() {
    let Some(mut bundle) = bundle("ambient", "grep -E 'CapEff|CapPrm' /proc/self/status") else { return };
    let kill = json!(["CAP_KILL"]);
    bundle.process()["capabilities"] = json!({ "bounding": kill, "permitted": kill, "effective": kill, "inheritable": kill, "ambient": kill });
    bundle.process()["user"] = json!({ "uid": 1000, "gid": 1000 });
    assert_eq!(bundle.prints(), "CapPrm:\t0000000000000020\nCapEff:\t0000000000000020");
}

/// "Any value which cannot be mapped to a relevant kernel interface … MUST be logged as a warning": not refused.
#[test]
fn an_unknown_capability_is_no_error() {
    let Some(mut bundle) = bundle("capability-unknown", "echo ran") else { return };
    let sets = json!(["CAP_NO_SUCH"]);
    bundle.process()["capabilities"] = json!({ "bounding": sets, "permitted": sets, "effective": sets });
    assert_eq!(bundle.prints(), "ran");
}

/// "noNewPrivileges": setting it true prevents the process from gaining more.
#[test]
fn no_new_privileges_is_set() {
    let Some(mut bundle) = bundle("no-new", "grep NoNewPrivs /proc/self/status") else { return };
    assert!(bundle.prints().ends_with('0'));
    bundle.process()["noNewPrivileges"] = json!(true);
    assert!(bundle.prints().ends_with('1'));
}

/// "If oomScoreAdj is set, the runtime MUST set oom_score_adj to the given value."
#[test]
fn the_oom_score_is_set() {
    let Some(mut bundle) = bundle("oom", "cat /proc/self/oom_score_adj") else { return };
    bundle.process()["oomScoreAdj"] = json!(321);
    assert_eq!(bundle.prints(), "321");
}

/// "If oomScoreAdj is not set, the runtime MUST NOT change the value of oom_score_adj."
#[test]
fn the_oom_score_is_left_alone() {
    let Some(bundle) = bundle("oom-same", "cat /proc/self/oom_score_adj") else { return };
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(bundle.prints(), own.trim());
}

/// "user": uid, gid, additionalGids.
#[test]
fn the_user_is_the_documents() {
    let Some(mut bundle) = bundle("user", "id -u; id -g; grep Groups /proc/self/status") else { return };
    bundle.process()["user"] = json!({ "uid": 1234, "gid": 2345, "additionalGids": [5, 77] });
    let out = bundle.prints();
    assert!(out.starts_with("1234\n2345\n"), "{out}");
    let groups: Vec<&str> = out.lines().last().unwrap().split_ascii_whitespace().skip(1).collect();
    assert!(groups.contains(&"5") && groups.contains(&"77"), "{out}");
}

/// "umask (int, OPTIONAL)".
#[test]
fn the_umask_is_the_documents() {
    let Some(mut bundle) = bundle("umask", "umask") else { return };
    bundle.process()["user"]["umask"] = json!(0o027);
    assert_eq!(bundle.prints(), "0027");
}

/// "hostname … as seen by processes running inside."
#[test]
fn the_host_name_is_set() {
    let Some(mut bundle) = bundle("hostname", "hostname") else { return };
    bundle.config["hostname"] = json!("another");
    assert_eq!(bundle.prints(), "another");
}

/// "domainname".
#[test]
fn the_domain_name_is_set() {
    let Some(mut bundle) = bundle("domainname", "cat /proc/sys/kernel/domainname") else { return };
    bundle.config["domainname"] = json!("example.org");
    assert_eq!(bundle.prints(), "example.org");
}

/// A host name without a UTS namespace of one's own would be the host's.
#[test]
fn a_host_name_needs_a_namespace() {
    let Some(mut bundle) = bundle("hostname-host", "true") else { return };
    let namespaces = bundle.linux()["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "uts");
    bundle.is_refused();
}

/// "scheduler" of the process.
#[test]
fn the_scheduler_is_set() {
    let Some(mut bundle) = bundle("scheduler", "sed 's/.*) //' /proc/self/stat | cut -d' ' -f17,39") else {
        return;
    };
    std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin/cut")).unwrap();
    // SCHED_BATCH is 3; field 19 is nice, field 41 the policy.
    bundle.process()["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 7 });
    assert_eq!(bundle.prints(), "7 3");
}

/// "ioPriority" of the process. Checked from outside, by the kernel's own call.
#[test]
fn the_disk_priority_is_set() {
    let Some(mut bundle) = bundle("ionice", "ionice") else { return };
    std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin/ionice")).unwrap();
    bundle.process()["ioPriority"] = json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 });
    assert!(bundle.prints().starts_with("idle"));
}

/// "terminal … if true a pseudoterminal pair is created"; its watcher's side goes to `--console-socket`.
#[test]
fn a_terminal_is_sent() {
    let Some(mut bundle) = bundle("terminal", "tty; stat -c %t:%T /dev/console") else { return };
    bundle.process()["terminal"] = json!(true);
    let socket = bundle.folder().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    bundle.write();
    bundle.ok(&["create", "--console-socket", socket.to_str().unwrap(), &bundle.id]);
    let (connection, _) = listener.accept().unwrap();
    let (_, descriptors) = corten_sys::socket::receive_with_fds(&connection, &mut [0; 4096]).unwrap();
    let terminal = descriptors.into_iter().next().expect("the terminal");
    bundle.start();
    let mut out = Vec::new();
    let mut buffer = [0; 512];
    // The end of a terminal is an error.
    while let Ok(count) = rustix::io::read(&terminal, &mut buffer) {
        out.extend(&buffer[..count]);
    }
    let out = String::from_utf8_lossy(&out).into_owned();
    assert!(out.contains("/dev/pts/") || out.contains("/dev/console"), "{out}");
    // A device of the kind of pseudo-terminals, 136. crun binds a file there.
    assert!(is("crun") || out.contains("88:"), "{out}");
}

/// A terminal that nobody could see is refused.
#[test]
fn a_created_terminal_needs_its_socket() {
    let Some(mut bundle) = bundle("terminal-none", "true") else { return };
    bundle.process()["terminal"] = json!(true);
    bundle.is_refused();
}

/// "annotations … MUST be in the state."
#[test]
fn annotations_are_in_the_state() {
    let Some(mut bundle) = bundle("annotations", "true") else { return };
    bundle.config["annotations"] = json!({ "org.example.one": "1", "two": "" });
    bundle.create();
    let state = bundle.state();
    assert_eq!(state["annotations"]["org.example.one"], "1", "{state}");
    assert_eq!(state["annotations"]["two"], "", "{state}");
}

/// The process cannot reach what the runtime had open.
#[test]
fn no_descriptor_of_the_runtime_is_left() {
    let Some(bundle) = bundle("descriptors", "ls /proc/self/fd | wc -l") else { return };
    // 0, 1, 2 and the folder that is read.
    assert_eq!(bundle.prints(), "4");
}

/// A set-user-id bit is not lost on the way, and no file of the root is changed.
#[test]
fn the_root_is_left_as_it_was() {
    let Some(bundle) = bundle("untouched", "true") else { return };
    let file = bundle.rootfs().join("tmp/file");
    fs::write(&file, "x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4711)).unwrap();
    bundle.prints();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o4711);
}
