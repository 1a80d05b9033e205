//! runtime.md: operations and how a container stands.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{bundle, is, is_ours, suite, wait};

/// "ociVersion, id, status, pid, bundle" of the state, as they have to be.
#[test]
fn the_state_has_what_it_must() {
    let Some(bundle) = bundle("state", "sleep 100") else { return };
    bundle.create();
    let state = bundle.state();
    assert_eq!(state["id"], bundle.id.as_str(), "{state}");
    assert_eq!(state["status"], "created", "{state}");
    assert_eq!(state["bundle"], bundle.path().to_str().unwrap(), "{state}");
    let version = state["ociVersion"].as_str().unwrap();
    assert_eq!(version.split('.').count(), 3, "{version}");
    assert!(Path::new("/proc").join(bundle.pid().to_string()).exists(), "{state}");
}

/// "The value MAY be one of: creating, created, running, stopped."
#[test]
fn the_status_follows_the_life() {
    let Some(bundle) = bundle("status", "sleep 100") else { return };
    bundle.create();
    assert_eq!(bundle.status(), "created");
    bundle.start();
    assert_eq!(bundle.status(), "running");
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    bundle.wait_for("stopped");
}

/// "query state … MUST generate an error if it is not provided the ID of an existing container."
#[test]
fn the_state_of_nothing_is_an_error() {
    let Some(bundle) = bundle("state-none", "true") else { return };
    bundle.fails(&["state", "no-such-container"]);
}

/// "create … the ID MUST be unique across all containers."
#[test]
fn a_name_is_taken_once() {
    let Some(bundle) = bundle("unique", "sleep 100") else { return };
    bundle.create();
    bundle.fails(&["create", &bundle.id]);
    // The first is as it was.
    assert_eq!(bundle.status(), "created");
}

/// A name that leads elsewhere is none.
#[test]
fn a_name_is_no_path() {
    let Some(bundle) = bundle("name", "true") else { return };
    bundle.write();
    for name in ["../x", "a/b", "..", ""] {
        bundle.fails(&["create", name]);
    }
}

/// "create": without a document there is nothing.
#[test]
fn a_bundle_needs_its_document() {
    let Some(bundle) = bundle("no-document", "true") else { return };
    bundle.fails(&["create", &bundle.id]);
    fs::write(bundle.path().join("config.json"), "{").unwrap();
    bundle.fails(&["create", &bundle.id]);
}

/// "The user-specified program MUST NOT be run" by create.
#[test]
fn create_runs_nothing() {
    let Some(bundle) = bundle("not-yet", "touch /tmp/ran") else { return };
    bundle.create();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!bundle.rootfs().join("tmp/ran").exists());
    bundle.start();
    bundle.wait_for("stopped");
    assert!(bundle.rootfs().join("tmp/ran").exists());
}

/// "Any changes made to the config.json file after this operation will not have an effect on the container."
#[test]
fn later_changes_of_the_document_do_not_matter() {
    let Some(mut bundle) = bundle("later", "echo first") else { return };
    bundle.create();
    bundle.process()["args"] = json!(["/bin/echo", "second"]);
    bundle.write();
    bundle.start();
    bundle.wait_for("stopped");
    assert_eq!(bundle.output(), "first\n");
}

/// `--bundle` and `--pid-file`, as drivers of runtimes use them.
#[test]
fn the_process_is_told_by_a_file() {
    let Some(bundle) = bundle("pid-file", "sleep 100") else { return };
    bundle.write();
    let file = bundle.folder().join("pid");
    let mut command = bundle.command(&["create", "--bundle"]);
    command.arg(bundle.path()).arg("--pid-file").arg(&file).arg(&bundle.id).current_dir("/");
    assert!(
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(fs::read_to_string(file).unwrap(), bundle.pid().to_string());
}

/// `--pidfd-socket`: a handle of the process.
#[test]
fn a_handle_is_sent() {
    if is("crun") {
        return;
    }
    let Some(bundle) = bundle("pidfd", "sleep 100") else { return };
    let path = bundle.folder().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    bundle.write();
    let mut command = bundle.command(&["create", "--pidfd-socket", path.to_str().unwrap(), &bundle.id]);
    let null = std::process::Stdio::null;
    assert!(command.stdout(null()).stderr(null()).status().unwrap().success());
    let (connection, _) = listener.accept().unwrap();
    let (_, descriptors) = corten_sys::socket::receive_with_fds(&connection, &mut [0; 64]).unwrap();
    let handle = descriptors.into_iter().next().expect("a handle");
    corten_sys::process::pidfd_send_signal(std::os::fd::AsFd::as_fd(&handle), 9).unwrap();
    bundle.wait_for("stopped");
}

/// "start … MUST generate an error if it is not provided the container ID" of one that exists.
#[test]
fn a_start_of_nothing_is_an_error() {
    let Some(bundle) = bundle("start-none", "true") else { return };
    bundle.fails(&["start", "no-such-container"]);
}

/// "Attempting to start a container that is not created MUST have no effect on the container and MUST generate an error."
#[test]
fn a_container_is_started_once() {
    let Some(bundle) = bundle("start-twice", "echo ran >> /tmp/log; exec sleep 100") else { return };
    bundle.create();
    bundle.start();
    bundle.fails(&["start", &bundle.id]);
    assert_eq!(bundle.status(), "running");
    wait("the line", || bundle.rootfs().join("tmp/log").exists());
    assert_eq!(fs::read_to_string(bundle.rootfs().join("tmp/log")).unwrap(), "ran\n");
}

/// A stopped one is not started again.
#[test]
fn a_stopped_container_is_not_started() {
    let Some(bundle) = bundle("start-stopped", "true") else { return };
    bundle.create();
    bundle.start();
    bundle.wait_for("stopped");
    bundle.fails(&["start", &bundle.id]);
    assert_eq!(bundle.status(), "stopped");
}

/// "kill … MUST generate an error if it is not provided the container ID."
#[test]
fn a_signal_to_nothing_is_an_error() {
    let Some(bundle) = bundle("kill-none", "true") else { return };
    bundle.fails(&["kill", "no-such-container", "TERM"]);
}

/// "kill … MUST send the specified signal to the container process."
#[test]
fn a_signal_arrives() {
    let Some(bundle) =
        bundle("signal", "trap 'echo caught; exit 0' USR1; touch /tmp/ready; while :; do sleep 0.05; done")
    else {
        return;
    };
    bundle.create();
    bundle.start();
    wait("the trap", || bundle.rootfs().join("tmp/ready").exists());
    bundle.ok(&["kill", &bundle.id, "USR1"]);
    bundle.wait_for("stopped");
    assert_eq!(bundle.output(), "caught\n");
}

/// "Attempting to send a signal to a container that is neither created nor running MUST have no effect and MUST
/// generate an error."
#[test]
fn a_stopped_container_takes_no_signal() {
    let Some(bundle) = bundle("kill-stopped", "true") else { return };
    bundle.create();
    bundle.start();
    bundle.wait_for("stopped");
    bundle.fails(&["kill", &bundle.id, "TERM"]);
}

/// A created one can be killed.
#[test]
fn a_created_container_can_be_killed() {
    let Some(bundle) = bundle("kill-created", "true") else { return };
    bundle.create();
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    bundle.wait_for("stopped");
}

/// "delete … MUST generate an error if it is not provided the container ID."
#[test]
fn a_deletion_of_nothing_is_an_error() {
    let Some(bundle) = bundle("delete-none", "true") else { return };
    bundle.fails(&["delete", "no-such-container"]);
}

/// "Attempting to delete a container that is not stopped MUST have no effect on the container and MUST generate an error."
#[test]
fn a_running_container_is_not_deleted() {
    let Some(bundle) = bundle("delete-running", "sleep 100") else { return };
    bundle.create();
    bundle.start();
    bundle.fails(&["delete", &bundle.id]);
    assert_eq!(bundle.status(), "running");
}

/// "Deleting a container MUST delete the resources that were created during the create step."
#[test]
fn a_deletion_leaves_nothing() {
    let Some(bundle) = bundle("delete", "true") else { return };
    bundle.create();
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    assert!(cgroups.contains(&bundle.id));
    bundle.start();
    bundle.wait_for("stopped");
    bundle.ok(&["delete", &bundle.id]);
    bundle.fails(&["state", &bundle.id]);
    for controller in ["pids", "memory", ""] {
        let folder = Path::new("/sys/fs/cgroup").join(controller).join(suite()).join(&bundle.id);
        assert!(!folder.exists(), "{}", folder.display());
    }
    // "Note that resources associated with the container, but not created by this container, MUST NOT be deleted."
    assert!(bundle.rootfs().join("bin/sh").exists());
    assert!(bundle.path().join("config.json").exists());
}

/// "Once a container is deleted its ID MAY be used by a subsequent container."
#[test]
fn a_name_can_be_used_again() {
    let Some(bundle) = bundle("again", "echo ran") else { return };
    assert_eq!(bundle.prints(), "ran");
    assert_eq!(bundle.prints(), "ran");
}

/// `delete --force` ends what runs, and is content with what is not there.
#[test]
fn a_deletion_can_be_forced() {
    let Some(bundle) = bundle("force", "sleep 100") else { return };
    bundle.create();
    bundle.start();
    bundle.ok(&["delete", "--force", &bundle.id]);
    bundle.fails(&["state", &bundle.id]);
    bundle.ok(&["delete", "--force", &bundle.id]);
}

/// `run` ends with the process's code.
#[test]
fn the_exit_code_comes_back() {
    let Some(mut bundle) = bundle("code", "exit 7") else { return };
    assert_eq!(bundle.run().code, 7);
    bundle.process()["args"] = json!(["/bin/sh", "-c", "kill -9 $$; sleep 1"]);
    // The first process of a namespace cannot kill itself.
    assert_eq!(bundle.run().code, 0);
}

/// `exec`: a further process, in the container and with its code.
#[test]
fn a_further_process_runs_inside() {
    let Some(bundle) = bundle("exec", "exec sleep 100") else { return };
    bundle.create();
    bundle.start();
    let said = bundle.call(&["exec", &bundle.id, "/bin/sh", "-c", "hostname; readlink /proc/1/exe; exit 5"]);
    assert_eq!((said.out.as_str(), said.code), ("suite\n/bin/busybox\n", 5), "{said:?}");
    let said = bundle.call(&[
        "exec",
        "--env",
        "A=b",
        "--cwd",
        "/tmp",
        "--user",
        "12:34",
        &bundle.id,
        "/bin/sh",
        "-c",
        "echo $A; pwd; id -u; id -g",
    ]);
    assert_eq!(said.out, "b\n/tmp\n12\n34\n", "{said:?}");
}

/// `exec --process`: all of it from a document.
#[test]
fn a_further_process_can_be_a_document() {
    let Some(mut bundle) = bundle("exec-process", "exec sleep 100") else { return };
    bundle.create();
    bundle.start();
    let mut process = bundle.process().clone();
    process["args"] = json!(["/bin/sh", "-c", "id -u; pwd"]);
    process["user"] = json!({ "uid": 77, "gid": 0 });
    process["cwd"] = json!("/tmp");
    let file = bundle.folder().join("process.json");
    fs::write(&file, process.to_string()).unwrap();
    assert_eq!(bundle.ok(&["exec", "--process", file.to_str().unwrap(), &bundle.id]), "77\n/tmp\n");
}

/// `exec` in a container that does not run.
#[test]
fn a_stopped_container_runs_nothing_further() {
    let Some(bundle) = bundle("exec-stopped", "true") else { return };
    bundle.create();
    bundle.start();
    bundle.wait_for("stopped");
    bundle.fails(&["exec", &bundle.id, "/bin/true"]);
}

/// `pause` and `resume`.
#[test]
fn a_container_can_stand_still() {
    let Some(bundle) = bundle("pause", "while :; do echo x; sleep 0.02; done") else { return };
    bundle.create();
    bundle.start();
    wait("output", || !bundle.output().is_empty());
    bundle.ok(&["pause", &bundle.id]);
    assert_eq!(bundle.status(), "paused");
    let before = bundle.output().len();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(bundle.output().len(), before);
    bundle.ok(&["resume", &bundle.id]);
    assert_eq!(bundle.status(), "running");
    wait("more output", || bundle.output().len() > before);
}

/// `update` of a limit.
#[test]
fn limits_can_change() {
    let Some(bundle) = bundle("update", "sleep 100") else { return };
    bundle.create();
    bundle.start();
    bundle.ok(&["update", "--pids-limit", "77", &bundle.id]);
    assert_eq!(bundle.cgroup_file(("pids", "pids.max"), "pids.max"), "77");
}

/// `ps` and `list`.
#[test]
fn processes_and_containers_are_listed() {
    let Some(bundle) = bundle("list", "sleep 100") else { return };
    bundle.create();
    let processes: Vec<i64> =
        serde_json::from_str(&bundle.ok(&["ps", "--format", "json", &bundle.id])).unwrap();
    assert_eq!(processes, [bundle.pid()]);
    assert!(bundle.ok(&["list"]).contains(&bundle.id));
    let all: serde_json::Value = serde_json::from_str(&bundle.ok(&["list", "--format", "json"])).unwrap();
    assert_eq!(all[0]["id"], bundle.id.as_str(), "{all}");
}

/// "Errors … MUST be generated": in the log file as JSON, which drivers read.
#[test]
fn errors_are_in_the_log() {
    let Some(mut bundle) = bundle("log", "true") else { return };
    bundle.process()["args"] = json!(["no-such-command"]);
    bundle.write();
    let log = bundle.folder().join("log.json");
    let mut command =
        bundle.command(&["--log", log.to_str().unwrap(), "--log-format", "json", "create", &bundle.id]);
    assert!(!command.output().unwrap().status.success());
    let text = fs::read_to_string(log).unwrap();
    assert!(text.contains("\"error\"") && text.contains("not found in $PATH"), "{text}");
}

/// `features` is a document with the versions it must have.
#[test]
fn features_are_a_document() {
    let Some(bundle) = bundle("features", "true") else { return };
    let features: serde_json::Value = serde_json::from_str(&bundle.ok(&["features"])).unwrap();
    assert!(features["ociVersionMin"].is_string() && features["ociVersionMax"].is_string(), "{features}");
    assert!(features["hooks"].as_array().unwrap().iter().any(|hook| hook == "startContainer"), "{features}");
}

/// Descriptors are passed on when they are asked for, and only then.
#[test]
fn descriptors_can_be_preserved() {
    let Some(bundle) = bundle("preserve", "cat <&3") else { return };
    bundle.write();
    let file = bundle.folder().join("passed");
    fs::write(&file, "passed on\n").unwrap();
    // A shell opens number 3 for the runtime.
    let runtime = bundle.command(&["run", "--preserve-fds", "1", &bundle.id]);
    let words: Vec<String> = std::iter::once(runtime.get_program())
        .chain(runtime.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", &format!("exec {} 3<{}", words.join(" "), file.display())])
        .current_dir(bundle.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "passed on\n", "{output:?}");
}

/// Many at once do not hinder each other.
#[test]
fn many_at_once() {
    let bundles: Vec<_> = (0..6).filter_map(|_| bundle("many", "echo $HOSTNAME; hostname")).collect();
    std::thread::scope(|scope| {
        for bundle in &bundles {
            scope.spawn(|| assert!(bundle.prints().ends_with("suite")));
        }
    });
    if is_ours() {
        for bundle in &bundles {
            assert_eq!(bundle.ok(&["list", "--quiet"]), "");
        }
    }
}
