//! What is within reach of a container, and of the host's other users: CVE-2020-15257, CVE-2021-41091.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::daemon;

/// Numbers of the sockets that a process has open.
fn sockets(pid: u32) -> Vec<String> {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned))
        .collect()
}

#[test]
fn cve_2020_15257_no_socket_of_ours_has_an_abstract_name() {
    let Some(daemon) = daemon("cve-abstract") else { return };
    daemon.ok(&["run", "-d", "--name", "host", "--network", "host", "busybox", "sleep", "600"]);
    daemon.ok(&["run", "-d", "--name", "own", "busybox", "sleep", "600"]);
    // With an exec and an attach on their way.
    let mut exec = daemon.command(&["exec", "own", "sleep", "600"]).spawn().unwrap();
    let family = daemon.family();
    assert!(family.len() >= 4, "keeper, daemon and two shims: {family:?}");
    let ours: Vec<String> = family.iter().flat_map(|(pid, _)| sockets(*pid)).collect();
    assert!(ours.len() > 4, "{ours:?}");
    let table = daemon.ok(&["exec", "host", "cat", "/proc/net/unix"]);
    let abstracts = |table: &str, of: &[String]| -> Vec<String> {
        let name = |line: &str| line.split_whitespace().nth(7).unwrap_or_default().to_owned();
        let ours = |line: &str| {
            line.split_whitespace().nth(6).is_some_and(|number| of.iter().any(|socket| socket == number))
        };
        table.lines().filter(|line| name(line).starts_with('@') && ours(line)).map(name).collect()
    };
    assert_eq!(abstracts(&table, &ours), [""; 0]);
    // One that had such a name would be seen, and reached: by the container on the host's network, not by the other.
    let word = format!("corten-test-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&word).unwrap()).unwrap();
    let of_the_test = sockets(std::process::id());
    let table = daemon.ok(&["exec", "host", "cat", "/proc/net/unix"]);
    assert_eq!(abstracts(&table, &of_the_test), [format!("@{word}")]);
    assert!(!daemon.ok(&["exec", "own", "cat", "/proc/net/unix"]).contains('@'));
    let _ = exec.kill();
    let _ = exec.wait();
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if entry.file_name() == name && path.is_file() {
            return Some(path);
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Some(found) = find(&path, name)
        {
            return Some(found);
        }
    }
    None
}

#[test]
fn cve_2021_41091_other_users_of_the_host_do_not_reach_the_files_of_containers() {
    let Some(daemon) = daemon("cve-traverse") else { return };
    let script = "cp /bin/busybox /tmp/raised; chmod 4755 /tmp/raised; echo done; sleep 600";
    daemon.ok(&["run", "-d", "--name", "box", "-v", "data:/data", "busybox", "sh", "-c", script]);
    while daemon.ok(&["logs", "box"]) != "done" {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let raised = find(&daemon.data_root(), "raised").expect("the container's file");
    let busybox = corten_testing::fixture::busybox().expect("it was loaded");
    // As a user who is nobody to us: may they execute the program, which would make them root?
    let reaches = |path: &Path| {
        let mut test = Command::new(&busybox);
        test.args(["test", "-x"]).arg(path).uid(65534).gid(65534);
        test.status().unwrap().success()
    };
    assert!(!reaches(&raised), "{} can be executed by everybody", raised.display());
    for inside in ["", "volumes", "containers", "blobs", "snapshots", "tmp"] {
        let folder = daemon.data_root().join(inside);
        if folder.exists() {
            let mut list = Command::new(&busybox);
            let listed = list.arg("ls").arg(&folder).uid(65534).gid(65534).output().unwrap();
            assert!(!listed.status.success(), "{} can be listed by everybody", folder.display());
        }
    }
    for inside in ["corten.sock", "containers"] {
        assert!(!reaches(&daemon.exec_root().join(inside)), "{inside}");
    }
    // What keeps them out are the modes of folders: with those of old the program is theirs.
    let mut folder = raised.parent().map(Path::to_path_buf);
    let mut changed = Vec::new();
    while let Some(path) = folder.take_if(|path| path.starts_with(daemon.folder())) {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode | 0o011)).unwrap();
        changed.push((path.clone(), mode));
        folder = path.parent().map(Path::to_path_buf);
    }
    let reached = reaches(&raised);
    for (path, mode) in changed {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }
    assert!(reached, "no attack to be stopped");
}
