//! Hooks: when, where and with what they are run.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Bundle, bundle, is, is_ours};

/// A hook of the host's shell.
fn hook(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] })
}

/// The file that hooks write to.
fn log(bundle: &Bundle) -> String {
    fs::read_to_string(bundle.folder().join("log")).unwrap_or_default()
}

fn noting(bundle: &Bundle, word: &str) -> Value {
    hook(&format!("echo {word} >> {}", bundle.folder().join("log").display()))
}

/// "The hooks MUST be called in the listed order", and the lists in that of the lifecycle. runc calls poststart when
/// it has created.
#[test]
fn hooks_run_in_their_order() {
    let Some(mut bundle) = bundle("hook-order", "sleep 100") else { return };
    let hooks = json!({
        "prestart": [noting(&bundle, "prestart-1"), noting(&bundle, "prestart-2")],
        "createRuntime": [noting(&bundle, "createRuntime")],
        "createContainer": [noting(&bundle, "createContainer")],
        "poststart": [noting(&bundle, "poststart")],
        "poststop": [noting(&bundle, "poststop")],
    });
    bundle.config["hooks"] = hooks;
    bundle.create();
    let created = "prestart-1\nprestart-2\ncreateRuntime\ncreateContainer\n";
    if !is("runc") {
        assert_eq!(log(&bundle), created);
    }
    bundle.start();
    assert_eq!(log(&bundle), format!("{created}poststart\n"));
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    bundle.wait_for("stopped");
    bundle.ok(&["delete", &bundle.id]);
    assert_eq!(log(&bundle), format!("{created}poststart\npoststop\n"));
}

/// "The state of the container MUST be passed to hooks over stdin."
#[test]
fn hooks_read_the_state() {
    let Some(mut bundle) = bundle("hook-state", "true") else { return };
    let file = bundle.folder().join("state.json");
    bundle.config["annotations"] = json!({ "org.example.key": "value" });
    bundle.config["hooks"] = json!({ "createRuntime": [hook(&format!("cat > {}", file.display()))] });
    bundle.create();
    let state: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(state["id"], bundle.id.as_str(), "{state}");
    assert_eq!(state["pid"], bundle.pid(), "{state}");
    assert_eq!(state["bundle"], bundle.path().to_str().unwrap(), "{state}");
    assert_eq!(state["annotations"]["org.example.key"], "value", "{state}");
    assert!(state["ociVersion"].is_string() && state["status"].is_string(), "{state}");
}

/// "createRuntime … in the runtime namespace", "createContainer … in the container namespace".
#[test]
fn hooks_run_where_they_belong() {
    let Some(mut bundle) = bundle("hook-place", "readlink /proc/self/ns/uts") else { return };
    let note =
        |name: &str| hook(&format!("readlink /proc/self/ns/uts > {}", bundle.folder().join(name).display()));
    let hooks = json!({ "createRuntime": [note("runtime")], "createContainer": [note("container")] });
    bundle.config["hooks"] = hooks;
    let inside = bundle.prints();
    let read = |name: &str| fs::read_to_string(bundle.folder().join(name)).unwrap().trim().to_owned();
    assert_eq!(read("container"), inside);
    assert_eq!(read("runtime"), fs::read_link("/proc/self/ns/uts").unwrap().to_string_lossy());
}

/// "createContainer … before the pivot_root": the host's files are there.
#[test]
fn a_hook_of_the_creation_sees_the_host() {
    let Some(mut bundle) = bundle("hook-host", "ls /made-by-hook") else { return };
    // By the root's own path, as hooks for devices and drivers do it.
    let script = format!("mkdir {}/made-by-hook && touch {0}/made-by-hook/file", bundle.rootfs().display());
    bundle.config["hooks"] = json!({ "createContainer": [hook(&script)] });
    assert_eq!(bundle.prints(), "file");
}

/// "startContainer … before the user-specified program; path resolves in the container namespace."
#[test]
fn a_hook_of_the_start_runs_inside() {
    let Some(mut bundle) = bundle("hook-inside", "cat /tmp/hook") else { return };
    bundle.config["hooks"] = json!({ "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", "/bin/hostname > /tmp/hook"] }] });
    bundle.create();
    assert!(!bundle.rootfs().join("tmp/hook").exists(), "it ran before the start");
    bundle.start();
    bundle.wait_for("stopped");
    assert_eq!(bundle.output().trim(), "suite");
}

/// "env": the hook's own environment and nothing else.
#[test]
fn a_hook_has_its_own_environment() {
    let Some(mut bundle) = bundle("hook-env", "true") else { return };
    let file = bundle.folder().join("env");
    let script = format!("echo $WORD-$HOME > {}", file.display());
    let mut one = hook(&script);
    one["env"] = json!(["WORD=given"]);
    bundle.config["hooks"] = json!({ "createRuntime": [one] });
    bundle.create();
    assert_eq!(fs::read_to_string(file).unwrap(), "given-\n");
}

/// "If any prestart/createRuntime/createContainer hook fails, the runtime MUST generate an error, stop the container …"
#[test]
fn a_failed_hook_of_the_creation_ends_it() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let Some(mut bundle) = bundle("hook-fails", "true") else { return };
        bundle.config["hooks"] = json!({ kind: [hook("exit 3"), noting(&bundle, "after")] });
        bundle.is_refused();
        assert_eq!(log(&bundle), "", "{kind}: the rest of the list ran");
    }
}

/// The same for startContainer: the program is not run.
#[test]
fn a_failed_hook_of_the_start_ends_it() {
    let Some(mut bundle) = bundle("hook-start-fails", "touch /tmp/ran") else { return };
    bundle.config["hooks"] = json!({ "startContainer": [{ "path": "/bin/false", "args": ["false"] }] });
    bundle.create();
    // Whether `start` itself can tell it is the runtime's affair: the process is on its own by then.
    let said = bundle.call(&["start", &bundle.id]);
    if is_ours() {
        assert!(said.code != 0 && said.err.contains("startContainer"), "{said:?}");
    }
    bundle.wait_for("stopped");
    assert!(!bundle.rootfs().join("tmp/ran").exists());
}

/// "If any poststart hook fails, the runtime MUST generate an error, stop the container …"
#[test]
fn a_failed_hook_after_the_start_ends_it() {
    let Some(mut bundle) = bundle("hook-poststart-fails", "sleep 1000") else { return };
    bundle.config["hooks"] = json!({
        "poststart": [hook("exit 3"), noting(&bundle, "after")],
        "poststop": [noting(&bundle, "poststop")],
    });
    if is("runc") {
        // It calls them when it has created, so that it is the creation that fails.
        bundle.is_refused();
        assert!(bundle.output().contains("poststart"), "{}", bundle.output());
        assert_eq!(log(&bundle), "poststop\n");
        return;
    }
    bundle.create();
    let said = bundle.call(&["start", &bundle.id]);
    if is("crun") {
        // It tells it and goes on.
        return;
    }
    assert!(said.code != 0 && said.err.contains("poststart"), "{said:?}");
    bundle.wait_for("stopped");
    bundle.call(&["delete", &bundle.id]);
    assert_eq!(log(&bundle), "poststop\n");
    if is_ours() {
        let said = bundle.call(&["run", "--detach", &bundle.id]);
        assert!(said.code != 0 && said.err.contains("poststart"), "{said:?}");
        bundle.fails(&["state", &bundle.id]);
    }
}

/// "If any poststop hook fails, the runtime MUST log a warning, but the remaining hooks and lifecycle continue."
#[test]
fn a_failed_hook_of_the_end_changes_nothing() {
    let Some(mut bundle) = bundle("hook-poststop", "true") else { return };
    bundle.config["hooks"] = json!({ "poststop": [hook("exit 3"), noting(&bundle, "second")] });
    bundle.create();
    bundle.start();
    bundle.wait_for("stopped");
    bundle.call(&["delete", &bundle.id]);
    if !is("crun") {
        bundle.fails(&["state", &bundle.id]);
    }
    if is_ours() {
        // Others stop at the first that fails.
        assert_eq!(log(&bundle), "second\n");
    }
}

/// "timeout … seconds before aborting the hook."
#[test]
fn a_hook_that_takes_too_long_fails() {
    let Some(mut bundle) = bundle("hook-timeout", "true") else { return };
    let mut one = hook("exec sleep 60");
    one["timeout"] = json!(1);
    bundle.config["hooks"] = json!({ "createRuntime": [one] });
    bundle.is_refused();
}

/// "path … MUST be an absolute path", "timeout … MUST be greater than zero". Ours alone: others look later or not.
#[test]
fn hooks_that_cannot_be_are_refused() {
    if !is_ours() {
        return;
    }
    for bad in [json!({ "path": "sh" }), json!({ "path": "/bin/true", "timeout": 0 })] {
        let Some(mut bundle) = bundle("hook-bad", "true") else { return };
        bundle.config["hooks"] = json!({ "poststop": [bad] });
        bundle.is_refused();
    }
}

/// A hook that is not there fails like one that ends badly.
#[test]
fn a_missing_hook_fails() {
    let Some(mut bundle) = bundle("hook-missing", "true") else { return };
    bundle.config["hooks"] = json!({ "createRuntime": [{ "path": "/no/such/hook" }] });
    bundle.is_refused();
}
