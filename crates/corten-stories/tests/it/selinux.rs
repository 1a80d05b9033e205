//! SELinux where the kernel has it: the labels of processes, mounts and files, as `inspect` tells them and as the kernel
//! does. `.ci/vm-selinux` runs this in a virtual machine with a small policy.

use crate::daemon_with;
use corten_testing::daemon::ScratchDaemon;
use std::path::Path;

/// The label of a file, by the kernel.
fn label(path: impl AsRef<Path>) -> String {
    let mut buffer = vec![0; 256];
    let length = rustix::fs::lgetxattr(path.as_ref(), "security.selinux", buffer.as_mut_slice())
        .unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()));
    String::from_utf8_lossy(&buffer[..length]).trim_end_matches('\0').to_owned()
}

fn told(daemon: &ScratchDaemon, name: &str) -> (String, String) {
    let of = |field: &str| daemon.ok(&["inspect", "-f", &format!("{{{{.{field}}}}}"), name]);
    (of("ProcessLabel"), of("MountLabel"))
}

fn pid(daemon: &ScratchDaemon, name: &str) -> String {
    daemon.ok(&["inspect", "-f", "{{.State.Pid}}", name])
}

fn of_process(pid: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/attr/current")).expect("it runs");
    text.trim_end_matches(['\0', '\n']).to_owned()
}

/// Without SELinux, labels that are asked for change nothing and are told to be so.
#[test]
fn without_selinux_labels_are_passed_over() {
    if Path::new("/sys/fs/selinux/enforce").exists() {
        return;
    }
    let Some(daemon) = daemon_with("selinux-none", &["--selinux-enabled"]) else { return };
    let said =
        daemon.corten(&["run", "--name", "one", "--security-opt", "label=type:x_t", "busybox", "true"]);
    assert!(said.code == 0 && said.err.contains("label=type:x_t is not applied"), "{said:?}");
    assert_eq!(told(&daemon, "one"), (String::new(), String::new()));
    assert!(!daemon.ok(&["info", "-f", "{{.SecurityOptions}}"]).contains("selinux"));
    // As Docker writes it, SELinux or not.
    daemon.ok(&["create", "--name", "two", "--privileged", "busybox"]);
    assert_eq!(daemon.ok(&["inspect", "-f", "{{.HostConfig.SecurityOpt}}", "two"]), "[label=disable]");
}

#[test]
fn containers_have_labels_of_their_own() {
    if !Path::new("/sys/fs/selinux/enforce").exists() {
        return;
    }
    let Some(daemon) = daemon_with("selinux", &["--selinux-enabled"]) else { return };
    assert!(daemon.ok(&["info", "-f", "{{.SecurityOptions}}"]).contains("name=selinux"));
    let run = |name: &str, options: &[&str]| {
        daemon.ok(&[&["run", "-d", "--name", name], options, &["busybox", "sleep", "1000"]].concat());
        told(&daemon, name)
    };
    let folder = daemon.folder().join("host");
    let (own, shared) = (folder.join("own"), folder.join("shared"));
    for one in [&own, &shared] {
        std::fs::create_dir_all(one.join("deep")).expect("a folder");
        std::fs::write(one.join("deep/file"), "").expect("a file");
    }
    let plain = folder.join("plain");
    std::fs::create_dir(&plain).expect("a folder");
    let bind = |path: &Path, mode: &str| format!("{}:/{}{mode}", path.display(), mode.trim_matches(':'));
    let (own_bind, shared_bind, plain_bind) =
        (bind(&own, ":Z"), bind(&shared, ":z"), format!("{}:/p", plain.display()));
    let before = label(&plain);
    let binds = ["-v", &own_bind, "-v", &shared_bind, "-v", &plain_bind, "-v", "kept:/v", "--tmpfs", "/t"];
    let (process, mount) = run("one", &binds);
    let level = process.strip_prefix("system_u:system_r:container_t:").expect("the policy's type").to_owned();
    assert!(level.starts_with("s0:c"), "{level}");
    assert_eq!(mount, format!("system_u:object_r:container_file_t:{level}"));
    // The kernel says the same, of the process, of an exec's, and of what it sees.
    let one = pid(&daemon, "one");
    assert_eq!(of_process(&one), process);
    assert_eq!(daemon.ok(&["exec", "one", "cat", "/proc/self/attr/current"]).trim_end_matches('\0'), process);
    let inside = |path: &str| label(format!("/proc/{one}/root/{path}"));
    for path in ["bin", "dev", "dev/shm", "dev/mqueue", "dev/pts", "t", "Z", "etc/hosts", "etc/resolv.conf"] {
        assert_eq!(inside(path), mount, "{path}");
    }
    let table = std::fs::read_to_string(format!("/proc/{one}/mountinfo")).expect("a table");
    for place in [" / / ", " /dev ", " /dev/shm ", " /t ", " /sys/firmware "] {
        let line =
            table.lines().find(|line| line.contains(place)).unwrap_or_else(|| panic!("{place}: {table}"));
        assert!(line.contains(&level), "{line}");
    }
    // `Z` is for this one, `z` and named volumes for all; what says nothing stays as it is.
    let everybody = "system_u:object_r:container_file_t:s0";
    for path in ["", "deep", "deep/file"] {
        assert_eq!(label(own.join(path)), mount, "{path}");
        assert_eq!(label(shared.join(path)), everybody, "{path}");
    }
    assert_eq!(label(&plain), before);
    assert_eq!(inside("v"), everybody);
    daemon.ok(&["exec", "one", "sh", "-c", "echo x > /written"]);
    daemon.ok(&["cp", "one:/written", folder.join("copied").to_str().expect("a path")]);

    // Another has another level; it stays the same over restarts of the container and of the daemon.
    let (other, _) = run("two", &[]);
    assert_ne!(other, process);
    daemon.ok(&["restart", "-t", "0", "two"]);
    assert_eq!((told(&daemon, "two").0, of_process(&pid(&daemon, "two"))), (other.clone(), other.clone()));
    daemon.kill(daemon.daemon().expect("a daemon"));
    assert_eq!(told(&daemon, "two").0, other);
    assert_eq!(daemon.ok(&["exec", "two", "cat", "/proc/self/attr/current"]).trim_end_matches('\0'), other);

    // What is another's alone cannot be read, where the kernel enforces it; what is shared can.
    daemon.ok(&["exec", "one", "cat", "/Z/deep/file"]);
    let other_bind = format!("{}:/other", own.display());
    let shared_bind = format!("{}:/shared", shared.display());
    let read = |path: &str| {
        daemon.corten(&["run", "--rm", "-v", &other_bind, "-v", &shared_bind, "busybox", "cat", path])
    };
    assert_eq!(read("/shared/deep/file").code, 0);
    if std::fs::read_to_string("/sys/fs/selinux/enforce").is_ok_and(|text| text == "1") {
        let said = read("/other/deep/file");
        assert!(said.code != 0 && said.err.contains("Permission denied"), "{said:?}");
    }

    // What is asked for is had.
    let options = ["user:other_u", "role:other_r", "type:other_t", "level:s0:c1,c2", "filetype:super_t"];
    let options: Vec<String> = options.iter().map(|one| format!("label={one}")).collect();
    let options: Vec<&str> = options.iter().flat_map(|one| ["--security-opt", one.as_str()]).collect();
    let asked =
        ("other_u:other_r:other_t:s0:c1,c2".to_owned(), "other_u:object_r:super_t:s0:c1,c2".to_owned());
    assert_eq!(run("asked", &options), asked);
    assert_eq!(of_process(&pid(&daemon, "asked")), asked.0);
    let files = "system_u:object_r:container_file_t:s0:c1022,c1023".to_owned();
    for (name, options) in [
        ("disabled", &["--security-opt", "label=disable"][..]),
        ("privileged", &["--privileged"]),
        ("host", &["--pid", "host"]),
    ] {
        assert_eq!(run(name, options), (String::new(), files.clone()), "{name}");
        assert!(!of_process(&pid(&daemon, name)).contains("container_t"), "{name}");
    }
    // Who shares another's processes has its label.
    assert_eq!(run("joined", &["--pid", "container:two"]).0, other);

    // What cannot be is refused.
    for (option, said) in [
        ("label=odd", "bad label option"),
        ("label=kind:x", "bad label option"),
        ("label=type:nosuch_t", "apply the SELinux label"),
    ] {
        let got = daemon.corten(&["run", "--rm", "--security-opt", option, "busybox", "true"]);
        assert!(got.code != 0 && got.err.contains(said), "{option}: {got:?}");
    }
    let got = daemon.corten(&["run", "--rm", "-v", "/etc:/x:Z", "busybox", "true"]);
    assert!(got.code != 0 && got.err.contains("SELinux relabeling of /etc is not allowed"), "{got:?}");
    let all = daemon.ok(&["ps", "-q"]);
    daemon.ok(&[&["rm", "-f"], &all.split_whitespace().collect::<Vec<_>>()[..]].concat());
}
