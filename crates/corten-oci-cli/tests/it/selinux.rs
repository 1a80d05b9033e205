//! `process.selinuxLabel` and `linux.mountLabel`; `.ci/vm-selinux` runs this where the kernel has SELinux.

use std::path::Path;

use serde_json::json;

use crate::support::{bundle, is, is_ours};

const PROCESS: &str = "system_u:system_r:container_t:s0:c1,c2";
const FILES: &str = "system_u:object_r:container_file_t:s0:c1,c2";

fn label(path: impl AsRef<Path>) -> String {
    let mut buffer = vec![0; 256];
    let length = rustix::fs::lgetxattr(path.as_ref(), "security.selinux", buffer.as_mut_slice()).unwrap();
    String::from_utf8_lossy(&buffer[..length]).trim_end_matches('\0').to_owned()
}

/// A label is applied or refused, and never passed over.
#[test]
fn labels_are_applied() {
    let Some(mut bundle) = bundle("selinux", "sleep 1000") else { return };
    bundle.process()["selinuxLabel"] = json!(PROCESS);
    bundle.linux()["mountLabel"] = json!(FILES);
    bundle.linux()["maskedPaths"] = json!(["/sys/firmware"]);
    bundle.add_mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]);
    for (name, mode) in [("own", "Z"), ("all", "z")] {
        let source = bundle.folder().join(name);
        std::fs::create_dir_all(source.join("deep")).unwrap();
        bundle.add_mount(&format!("/{name}"), "bind", source.to_str().unwrap(), &["rbind", mode]);
    }
    if !Path::new("/sys/fs/selinux/enforce").exists() {
        let said = bundle.run();
        if !is("crun") {
            assert!(said.err.contains("selinux is disabled or not supported"), "{said:?}");
        }
        return;
    }
    bundle.create();
    bundle.start();
    let pid = bundle.state()["pid"].to_string();
    let current = std::fs::read_to_string(format!("/proc/{pid}/attr/current")).unwrap();
    assert_eq!(current.trim_end_matches(['\0', '\n']), PROCESS);
    for path in ["dev", "dev/pts", "dev/shm", "dev/mqueue", "own", "own/deep"] {
        assert_eq!(label(format!("/proc/{pid}/root/{path}")), FILES, "{path}");
    }
    assert_eq!(label(bundle.folder().join("all/deep")), "system_u:object_r:container_file_t:s0");
    let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let has = |place: &str| table.lines().any(|line| line.contains(place) && line.contains(FILES));
    assert!(has(" /dev ") && has(" /sys/firmware ") && !has(" /proc "), "{table}");
    let said = bundle.call(&["exec", &bundle.id, "cat", "/proc/self/attr/current"]);
    assert_eq!(said.out.trim_end_matches('\0'), PROCESS);
    let other = "other_u:other_r:other_t:s0";
    let said = bundle.call(&["exec", "--process-label", other, &bundle.id, "cat", "/proc/self/attr/current"]);
    assert_eq!(said.out.trim_end_matches('\0'), other, "{said:?}");
    // The session keyring, which this makes, is the container's.
    if is_ours() {
        let keys = std::fs::read_to_string(format!("/proc/{pid}/attr/keycreate")).unwrap();
        assert_eq!(keys.trim_end_matches('\0'), "", "it is for the keyring of the start alone");
    }
    bundle.process()["selinuxLabel"] = json!("system_u:system_r:nosuch_t:s0");
    bundle.call(&["delete", "--force", &bundle.id]);
    bundle.is_refused();
}
