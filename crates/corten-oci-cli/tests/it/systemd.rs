//! runtime-spec's config-linux.md leaves `cgroupsPath` to the runtime; `slice:prefix:name` with `--systemd-cgroup` is runc's
//! (docs/systemd.md), and Podman and the kubelet use it.
//!
//! Where systemd does not run, the refusal is tested alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::{Bundle, bundle, is_ours, wait};

fn systemd_runs() -> bool {
    Path::new("/run/systemd/private").exists()
}

fn scope(name: &str, script: &str) -> Option<Bundle> {
    let mut bundle = bundle(name, script)?;
    bundle.flags = vec!["--systemd-cgroup"];
    let id = bundle.id.clone();
    bundle.linux()["cgroupsPath"] = json!(format!("corten-suite.slice:suite:{id}"));
    Some(bundle)
}

/// Where systemd puts the slice `corten-suite.slice`.
fn folder(bundle: &Bundle) -> PathBuf {
    let scope = format!("corten.slice/corten-suite.slice/suite-{}.scope", bundle.id);
    let top = Path::new("/sys/fs/cgroup");
    let top = if top.join("memory").is_dir() { top.join("memory") } else { top.to_owned() };
    top.join(scope)
}

fn shown(bundle: &Bundle, property: &str) -> String {
    let unit = format!("suite-{}.scope", bundle.id);
    let output = Command::new("systemctl").args(["show", "-P", property, &unit]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn without_systemd_it_is_refused() {
    if systemd_runs() {
        return;
    }
    let Some(bundle) = scope("systemd-none", "true") else { return };
    bundle.write();
    let said = bundle.fails(&["run", &bundle.id]);
    if is_ours() {
        assert!(said.err.contains("cannot reach systemd at `/run/systemd/private`"), "{said:?}");
    }
    bundle.fails(&["state", &bundle.id]);
}

#[test]
fn other_paths_are_refused() {
    let Some(mut bundle) = scope("systemd-path", "true") else { return };
    for path in ["/plain", "a:b", "a.slice:b:c/d"] {
        bundle.linux()["cgroupsPath"] = json!(path);
        bundle.is_refused();
    }
}

#[test]
fn a_scope_holds_the_container_and_its_limits() {
    let Some(mut bundle) = scope("systemd-scope", "exec sleep 100") else { return };
    if !systemd_runs() {
        return;
    }
    bundle.linux()["resources"] = json!({
        "memory": { "limit": 64 << 20 },
        "pids": { "limit": 50 },
        "cpu": { "quota": 50_000, "period": 100_000 },
    });
    bundle.config["annotations"] = json!({ "org.systemd.property.TimeoutStopUSec": "uint64 7000000" });
    bundle.create();
    bundle.start();
    let processes = fs::read_to_string(folder(&bundle).join("cgroup.procs")).unwrap();
    assert_eq!(processes.trim(), bundle.pid().to_string(), "the seat is gone");
    assert_eq!(shown(&bundle, "ActiveState"), "active");
    assert_eq!(shown(&bundle, "TimeoutStopUSec"), "7s");
    assert_eq!(shown(&bundle, "TasksMax"), "50");
    let max = |file: &str| fs::read_to_string(folder(&bundle).join(file)).unwrap().trim().to_owned();
    let unified = folder(&bundle).join("memory.max").exists();
    if unified {
        assert_eq!(shown(&bundle, "MemoryMax"), (64 << 20).to_string());
        assert_eq!((max("memory.max"), max("cpu.max")), ("67108864".to_owned(), "50000 100000".to_owned()));
    }
    bundle.ok(&["update", "--memory", "32M", "--pids-limit", "40", &bundle.id]);
    assert_eq!(shown(&bundle, "TasksMax"), "40");
    // What systemd does when it reads its configuration again does not take the limits away.
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    if unified {
        assert_eq!((max("memory.max"), max("pids.max")), ((32 << 20).to_string(), "40".to_owned()));
        // Further processes are of the scope too.
        bundle.ok(&["exec", "--detach", &bundle.id, "sh", "-c", "exec sleep 50 >/dev/null 2>&1"]);
        wait("the second process", || max("cgroup.procs").lines().count() == 2);
        bundle.ok(&["pause", &bundle.id]);
        assert_eq!(max("cgroup.freeze"), "1");
        bundle.ok(&["resume", &bundle.id]);
    }
    bundle.ok(&["delete", "--force", &bundle.id]);
    assert!(!folder(&bundle).exists());
    wait("the unit's end", || shown(&bundle, "LoadState") == "not-found");
}

#[test]
fn a_scope_ends_with_its_container_and_its_name_is_free() {
    let Some(bundle) = scope("systemd-again", "cat /proc/self/cgroup") else { return };
    if !systemd_runs() {
        return;
    }
    for _ in 0..2 {
        assert!(bundle.prints().contains(&format!("/suite-{}.scope", bundle.id)));
        assert!(!folder(&bundle).exists());
    }
    // A start that fails leaves no unit.
    let mut broken = scope("systemd-broken", "true").unwrap();
    broken.process()["args"] = json!(["/no/such/program"]);
    broken.is_refused();
    wait("the unit's end", || shown(&broken, "LoadState") == "not-found");
}
