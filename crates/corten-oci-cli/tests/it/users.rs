//! config-linux.md, user namespaces; config.md, mounts that show their files under other ids.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Bundle, bundle, is, is_ours};

const FIRST: u32 = 100_000;

fn map() -> Value {
    json!([{ "containerID": 0, "hostID": FIRST, "size": 65_536 }])
}

fn give(tree: &Path) {
    lchown(tree, Some(FIRST), Some(FIRST)).unwrap();
    if fs::symlink_metadata(tree).unwrap().is_dir() {
        for entry in fs::read_dir(tree).unwrap() {
            give(&entry.unwrap().path());
        }
    }
}

/// A bundle with a user namespace of its own, whose root is the namespace's.
fn users(name: &str, script: &str) -> Option<Bundle> {
    let mut bundle = bundle(name, script)?;
    let linux = bundle.linux();
    linux["uidMappings"] = map();
    linux["gidMappings"] = map();
    linux["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    give(&bundle.rootfs());
    // Other runtimes walk the path to the root as somebody of the namespace.
    for folder in [bundle.folder(), &bundle.path()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    Some(bundle)
}

fn without_maps(linux: &mut Value) {
    for key in ["uidMappings", "gidMappings"] {
        linux.as_object_mut().unwrap().remove(key);
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// "uidMappings (array of objects, OPTIONAL) describes the user namespace uid mappings from the host to the container."
#[test]
fn the_maps_are_those_of_the_document() {
    let Some(bundle) = users("users-maps", "sleep 100") else { return };
    bundle.create();
    let pid = bundle.pid();
    for file in ["uid_map", "gid_map"] {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        assert_eq!(words(&text), ["0", "100000", "65536"], "{file}");
    }
    assert_ne!(
        fs::read_link(format!("/proc/{pid}/ns/user")).unwrap(),
        fs::read_link("/proc/self/ns/user").unwrap()
    );
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for key in ["Uid:", "Gid:"] {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        assert!(words(line)[1..].iter().all(|id| *id == "100000"), "{line}");
    }
}

/// Root inside is root of its files, devices, proc and sysfs; and not of the host's.
#[test]
fn root_inside_is_not_root_outside() {
    let script = "id -u; id -g; stat -c %u /bin /proc/1 /dev /dev/mqueue; echo x > /dev/null && echo null; \
                  stat -c %t:%T /dev/full; test -d /sys/class && echo sys; touch /mine && stat -c %u /mine; \
                  cat /host/secret 2>/dev/null || echo refused; stat -c %u /host/secret";
    let Some(mut bundle) = users("users-root", script) else { return };
    let host = bundle.folder().join("host");
    fs::create_dir(&host).unwrap();
    fs::set_permissions(&host, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(host.join("secret"), "for root alone").unwrap();
    fs::set_permissions(host.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    bundle.add_mount("/host", "bind", host.to_str().unwrap(), &["bind"]);
    bundle.add_mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]);
    let out = bundle.prints();
    let expected = "0 0 0 0 0 0 null 1:7 sys 0 refused 65534";
    assert_eq!(words(&out).join(" "), expected);
    assert_eq!(fs::metadata(bundle.rootfs().join("mine")).unwrap().uid(), FIRST);
}

/// "user … uid": an id of the namespace, which is the mapped one outside.
#[test]
fn another_user_is_the_namespaces() {
    let Some(mut bundle) = users("users-other", "id -u; id -g; touch /tmp/f; stat -c %u:%g /tmp/f") else {
        return;
    };
    fs::set_permissions(bundle.rootfs().join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    bundle.process()["user"] = json!({ "uid": 33, "gid": 44 });
    assert_eq!(words(&bundle.prints()), ["33", "44", "33:44"]);
    let stat = fs::metadata(bundle.rootfs().join("tmp/f")).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (FIRST + 33, FIRST + 44));
}

/// Limits and score are as the document says, in the namespace too.
#[test]
fn limits_and_score_are_given() {
    let script = "grep '^Max open files' /proc/self/limits; cat /proc/self/oom_score_adj";
    let Some(mut bundle) = users("users-limits", script) else { return };
    bundle.process()["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 512, "hard": 777 }]);
    bundle.process()["oomScoreAdj"] = json!(77);
    assert_eq!(words(&bundle.prints()), ["Max", "open", "files", "512", "777", "files", "77"]);
}

/// "exec": a further process is in the namespace too.
#[test]
fn a_further_process_is_in_the_namespace() {
    let Some(bundle) = users("users-exec", "sleep 100") else { return };
    bundle.create();
    bundle.start();
    let said =
        bundle.call(&["exec", &bundle.id, "sh", "-c", "id -u; cat /proc/self/uid_map; touch /by-exec"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(words(&said.out), ["0", "0", "100000", "65536"]);
    assert_eq!(fs::metadata(bundle.rootfs().join("by-exec")).unwrap().uid(), FIRST);
}

/// "path … namespace file": the container is in the user namespace of another, whose new namespaces belong to it.
#[test]
fn a_user_namespace_is_joined_by_its_path() {
    let Some(first) = users("users-first", "sleep 100") else { return };
    first.create();
    first.start();
    let theirs = format!("/proc/{}/ns/user", first.pid());
    let script = "id -u; cat /proc/self/uid_map; stat -c %u /bin /dev /proc/1; echo x > /dev/null && echo null; \
                  hostname inside && hostname; ulimit -n; cat /proc/self/oom_score_adj; readlink /proc/self/ns/user; \
                  echo out > /proc/self/fd/1; readlink /proc/self";
    let Some(mut bundle) = users("users-joined", script) else { return };
    let linux = bundle.linux();
    without_maps(linux);
    for namespace in linux["namespaces"].as_array_mut().unwrap() {
        if namespace["type"] == "user" {
            namespace["path"] = json!(theirs);
        }
    }
    bundle.process()["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 512, "hard": 777 }]);
    bundle.process()["oomScoreAdj"] = json!(77);
    let capabilities = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    for set in ["bounding", "effective", "permitted"] {
        bundle.process()["capabilities"][set] = capabilities.clone();
    }
    let namespace = fs::read_link(&theirs).unwrap();
    let out = bundle.prints();
    // crun leaves its pipes to whoever called it.
    let written = if is("crun") { "" } else { "out " };
    let last = words(&out).last().unwrap().parse::<u32>().unwrap();
    let expected =
        format!("0 0 100000 65536 0 0 0 null inside 512 77 {} {written}{last}", namespace.to_str().unwrap());
    assert_eq!(words(&out).join(" "), expected);
    // In a pid namespace of its own, in which few processes were.
    assert!(last < 40, "{last}");
}

/// Maps beside the path say the same as the namespace's own, or the document contradicts itself.
#[test]
fn maps_beside_a_path_are_those_of_the_namespace() {
    let Some(first) = users("users-first-maps", "sleep 100") else { return };
    first.create();
    for (name, size, is_same) in [("users-same-maps", 65_536, true), ("users-other-maps", 65_535, false)] {
        let Some(mut bundle) = users(name, "cat /proc/self/uid_map") else { return };
        let linux = bundle.linux();
        linux["uidMappings"][0]["size"] = json!(size);
        linux["namespaces"].as_array_mut().unwrap().last_mut().unwrap()["path"] =
            json!(format!("/proc/{}/ns/user", first.pid()));
        if is_same {
            assert_eq!(words(&bundle.prints()), ["0", "100000", "65536"]);
        } else if !is("crun") {
            bundle.is_refused();
        }
    }
}

/// With the option alone, a bind has the maps of the namespace that is joined; and the caller's own is no other.
#[test]
fn binds_of_a_joined_namespace_and_the_own_namespace_by_its_path() {
    let Some(first) = users("users-first-bind", "sleep 100") else { return };
    first.create();
    for (name, path, ids) in [
        ("users-joined-bind", format!("/proc/{}/ns/user", first.pid()), "0:0"),
        ("users-own", "/proc/self/ns/user".to_owned(), "100000:100000"),
    ] {
        // Others do not enter the namespace that they are in.
        if name == "users-own" && !is_ours() {
            continue;
        }
        let Some(mut bundle) = users(name, "stat -c %u:%g /data/f /bin") else { return };
        let data = bundle.folder().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("f"), "").unwrap();
        let linux = bundle.linux();
        without_maps(linux);
        let namespaces = linux["namespaces"].as_array_mut().unwrap();
        namespaces.last_mut().unwrap()["path"] = json!(path);
        let mapped = if ids == "0:0" { &["bind", "idmap"][..] } else { &["bind"] };
        bundle.add_mount("/data", "bind", data.to_str().unwrap(), mapped);
        assert_eq!(words(&bundle.prints()), ["0:0", ids], "{name}");
    }
}

/// "uidMappings … The mapping to convert UIDs from the source file system to the destination mount point."
#[test]
fn a_bind_shows_its_files_under_other_ids() {
    let Some(mut bundle) = bundle("users-bind", "stat -c %u:%g /data/f; touch /data/new") else { return };
    let data = bundle.folder().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("f"), "").unwrap();
    chown(data.join("f"), Some(7), Some(8)).unwrap();
    // Shown as root, who could not write in it else.
    chown(&data, Some(1000), Some(1000)).unwrap();
    bundle.add_mount("/data", "bind", data.to_str().unwrap(), &["bind"]);
    let map = json!([{ "containerID": 7, "hostID": 1007, "size": 10 }, { "containerID": 1000, "hostID": 0, "size": 1 }]);
    let mount = bundle.config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
    mount["uidMappings"] = map.clone();
    mount["gidMappings"] = map;
    assert_eq!(bundle.prints(), "1007:1008");
    // What root makes there is written to disk as who is shown as root.
    assert_eq!(fs::metadata(data.join("new")).unwrap().uid(), 1000);
}

/// "idmap: Indicates that the mount MUST have an idmapping applied", the container's where it has no own.
#[test]
fn the_option_alone_takes_the_maps_of_the_container() {
    let Some(mut bundle) = users("users-idmap", "stat -c %u:%g /data/f; cat /data/f; touch /data/new") else {
        return;
    };
    let data = bundle.folder().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("f"), "read").unwrap();
    fs::set_permissions(data.join("f"), fs::Permissions::from_mode(0o600)).unwrap();
    bundle.add_mount("/data", "bind", data.to_str().unwrap(), &["bind", "idmap"]);
    assert_eq!(words(&bundle.prints()), ["0:0", "read"]);
    assert_eq!(fs::metadata(data.join("new")).unwrap().uid(), 0);
}

/// "uidMappings … It MUST NOT be specified" without the namespace: the document contradicts itself.
#[test]
fn maps_without_the_namespace_are_refused() {
    // Others take them, and do nothing with them.
    if !is_ours() {
        return;
    }
    let Some(mut bundle) = bundle("users-unmapped", "true") else { return };
    bundle.linux()["uidMappings"] = map();
    bundle.linux()["gidMappings"] = map();
    bundle.is_refused();
}
