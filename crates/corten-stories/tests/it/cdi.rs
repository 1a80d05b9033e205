//! Devices by their vendors' names (CDI), and the hooks that they bring: programs of the host at points of a container's
//! life, on the runtime that is built in.

use crate::daemon_with;
use corten_testing::Scratch;
use corten_testing::daemon::ScratchDaemon;
use serde_json::{Value, json};
use std::path::Path;

/// Where each kind runs: those with the host's files in sight, and the one that sees the container's.
const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that writes its kind and the state that it was told to a file, and ends so.
fn hook(kind: &str, log: &str, code: u8) -> Value {
    let script =
        format!("echo \"{kind} $WORD\" >> {log}; cat >> {log}; echo >> {log}; echo said >&2; exit {code}");
    json!({"hookName": kind, "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["WORD=told", "PATH=/bin:/usr/bin"]})
}

/// Files for a device whose hooks all succeed, and for one each whose hook of that kind fails.
fn describe(folder: &Path, log: &Path) {
    let log = log.to_str().expect("a path");
    let place = |kind: &str| if kind == "startContainer" { "/hooks" } else { log };
    let mut devices = vec![json!({
        "name": "all",
        "containerEdits": {
            "env": ["VENDOR=1"],
            "additionalGids": [4711],
            "hooks": KINDS.iter().map(|kind| hook(kind, place(kind), 0)).collect::<Vec<_>>(),
        },
    })];
    for kind in KINDS {
        devices.push(json!({"name": kind, "containerEdits": {"hooks": [hook(kind, place(kind), 3)]}}));
    }
    devices.push(json!({"name": "rdt", "containerEdits": {"intelRdt": {"closID": "x"}}}));
    let file = json!({"cdiVersion": "0.7.0", "kind": "vendor.example/hook", "devices": devices});
    std::fs::write(folder.join("vendor.json"), file.to_string()).expect("a file");
}

fn start(name: &str, more: &[&str]) -> Option<(ScratchDaemon, Scratch)> {
    let scratch = Scratch::new(name);
    describe(scratch.path(), &scratch.path().join("log"));
    let mut flags = vec!["--cdi-spec-dir", scratch.path().to_str().expect("a path")];
    flags.extend(more);
    Some((daemon_with(name, &flags)?, scratch))
}

/// What the hooks wrote: kind and state.
fn told(text: &str) -> Vec<(String, Value)> {
    let mut lines = text.lines();
    let mut all = Vec::new();
    while let (Some(kind), Some(state)) = (lines.next(), lines.next()) {
        all.push((
            kind.strip_suffix(" told").expect("its environment").to_owned(),
            serde_json::from_str(state).expect("a state"),
        ));
    }
    all
}

fn life(daemon: &ScratchDaemon, log: &Path) {
    let device = "vendor.example/hook=all";
    daemon.ok(&["run", "-d", "--name", "one", "--device", device, "busybox", "sleep", "1000"]);
    let id = daemon.ok(&["inspect", "-f", "{{.Id}}", "one"]);
    let pid: i64 = daemon.ok(&["inspect", "-f", "{{.State.Pid}}", "one"]).parse().expect("a number");
    let before = told(&std::fs::read_to_string(log).expect("a log"));
    let kinds: Vec<&str> = before.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["prestart", "createRuntime", "createContainer", "poststart"]);
    for (kind, state) in &before {
        assert_eq!((&state["id"], &state["pid"]), (&json!(id), &json!(pid)), "{kind}");
        let status = if kind == "poststart" { "running" } else { "creating" };
        assert_eq!(state["status"], status, "{kind}");
    }
    // The document lies where the state says, for hooks that read it.
    let bundle = before[0].1["bundle"].as_str().expect("a bundle");
    let document = std::fs::read(Path::new(bundle).join("config.json")).expect("a document");
    let document: Value = serde_json::from_slice(&document).expect("JSON");
    assert!(document["process"]["env"].as_array().is_some_and(|env| env.contains(&json!("VENDOR=1"))));
    let inside = told(&(daemon.ok(&["exec", "one", "cat", "/hooks"]) + "\n"));
    assert_eq!((inside[0].0.as_str(), &inside[0].1["status"]), ("startContainer", &json!("created")));
    let look = daemon.ok(&[
        "exec",
        "one",
        "sh",
        "-c",
        "grep Groups: /proc/1/status; tr '\\0' '\\n' < /proc/1/environ",
    ]);
    assert!(look.contains("4711") && look.contains("VENDOR=1"), "{look}");
    // The daemon dies, and the hook of the end runs all the same.
    daemon.kill(daemon.daemon().expect("a daemon"));
    daemon.ok(&["stop", "-t", "0", "one"]);
    let after = told(&std::fs::read_to_string(log).expect("a log"));
    let (kind, state) = after.last().expect("a hook");
    assert_eq!((after.len(), kind.as_str(), &state["status"]), (5, "poststop", &json!("stopped")));
    daemon.ok(&["rm", "one"]);
}

#[test]
fn hooks_run_at_their_points() {
    let Some((daemon, scratch)) = start("cdi-hooks", &[]) else { return };
    life(&daemon, &scratch.path().join("log"));
    let said = daemon.corten(&["run", "--rm", "--device", "vendor.example/hook=rdt", "busybox", "true"]);
    assert!(said.code == 125 && said.err.contains("intelRdt"), "{said:?}");
    assert!(daemon.ok(&["info"]).contains(scratch.path().to_str().expect("a path")));
}

/// Whoever is left does what the shim would have done: the hooks of the end run, once for each container.
#[test]
fn the_hook_of_the_end_runs_where_the_shim_was_killed() {
    let Some((daemon, scratch)) = start("cdi-killed", &[]) else { return };
    let told = || {
        let all = told(&std::fs::read_to_string(scratch.path().join("log")).expect("a log"));
        all.into_iter().filter(|(kind, _)| kind == "poststop").collect::<Vec<_>>()
    };
    let run = |name: &str| {
        daemon.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--device",
            "vendor.example/hook=all",
            "busybox",
            "sleep",
            "1000",
        ]);
        daemon.ok(&["inspect", "-f", "{{.State.Pid}}", name]).parse::<u32>().expect("a number")
    };
    let check = |name: &str, count: usize| {
        let state =
            daemon.ok(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}", name]);
        assert!(state.starts_with("exited 137 the shim"), "{state}");
        let id = daemon.ok(&["inspect", "-f", "{{.Id}}", name]);
        let ends = told();
        assert_eq!(ends.len(), count, "{ends:?}");
        let state = &ends[count - 1].1;
        assert_eq!((&state["id"], &state["status"]), (&json!(id), &json!("stopped")));
        daemon.ok(&["rm", name]);
    };

    let pid = run("one");
    daemon.kill(crate::deaths::parent_of(pid));
    assert_eq!(daemon.ok(&["wait", "one"]), "137");
    check("one", 1);

    // With everything else: the next daemon finds it.
    run("two");
    let family: Vec<u32> = daemon.family().into_iter().map(|(pid, _)| pid).collect();
    for pid in &family {
        crate::deaths::stop(*pid);
    }
    for pid in &family {
        daemon.kill(*pid);
    }
    daemon.start_again();
    check("two", 2);
}

/// A hook that runs in the container's namespaces is a program of its root there, for whom the file has to be open.
#[test]
fn hooks_run_beside_containers_in_user_namespaces() {
    let scratch = Scratch::new("cdi-users");
    let log = scratch.path().join("log");
    describe(scratch.path(), &log);
    std::fs::write(&log, "").expect("a file");
    for (path, mode) in [(scratch.path(), 0o755), (&log, 0o666)] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("a mode");
    }
    let folder = scratch.path().to_str().expect("a path");
    let flags = ["--userns-remap", "default", "--cdi-spec-dir", folder];
    let Some(daemon) = crate::users::remapped_as("cdi-users", &flags) else { return };
    if daemon.load_busybox() {
        life(&daemon, &log);
    }
}

#[test]
fn a_hook_that_fails_ends_the_start() {
    let Some((daemon, scratch)) = start("cdi-fails", &[]) else { return };
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        let device = format!("vendor.example/hook={kind}");
        let said = daemon.corten(&["run", "--name", "bad", "--device", &device, "busybox", "true"]);
        let expected = format!("error running {kind} hook #0: exit status 3");
        assert!(said.code == 125 && said.err.contains(&expected) && said.err.contains("said"), "{said:?}");
        assert_eq!(daemon.ok(&["inspect", "-f", "{{.State.Status}} {{.State.Pid}}", "bad"]), "created 0");
        daemon.ok(&["rm", "bad"]);
    }
    // One of the end changes nothing.
    let said =
        daemon.corten(&["run", "--rm", "--device", "vendor.example/hook=poststop", "busybox", "echo", "ran"]);
    assert_eq!((said.code, said.out.as_str()), (0, "ran\n"), "{said:?}");
    let log = std::fs::read_to_string(scratch.path().join("log")).expect("a log");
    assert!(log.contains("poststart told") && log.contains("poststop told"), "{log}");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    let left: Vec<_> = std::fs::read_dir(daemon.exec_root().join("containers"))
        .map(|entries| entries.flatten().map(|entry| entry.file_name()).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");
}
