//! A container's life: start, stop, restart, exec, logs, attach, copies, names, removal.

use crate::daemon;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

#[test]
fn from_create_to_remove() {
    let Some(daemon) = daemon("life") else { return };
    let id = daemon.ok(&["create", "--name", "one", "-l", "a=b", "busybox", "sh", "-c", "echo hi; exit 3"]);
    assert_eq!(id.len(), 64);
    assert_eq!(daemon.ok(&["inspect", "-f", "{{.State.Status}} {{.Name}}", "one"]), "created /one");
    assert_eq!(daemon.ok(&["start", "one"]), "one");
    assert_eq!(daemon.ok(&["wait", "one"]), "3");
    assert_eq!(daemon.ok(&["logs", "one"]), "hi");
    assert_eq!(
        daemon.ok(&["ps", "-a", "--format", "{{.Names}} {{.Image}} {{.Label \"a\"}}"]),
        "one busybox b"
    );
    assert_eq!(daemon.ok(&["rename", "one", "two"]), "");
    assert_eq!(daemon.corten(&["start", "-a", "two"]).code, 3);
    assert_eq!(daemon.ok(&["logs", "two"]), "hi\nhi");
    assert_eq!(daemon.ok(&["rm", "two"]), "two");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
}

#[test]
fn stop_asks_and_then_kills() {
    let Some(daemon) = daemon("stop") else { return };
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "polite",
        "busybox",
        "sh",
        "-c",
        "trap 'echo bye; exit 5' TERM; while :; do sleep 0.1; done",
    ]);
    daemon.ok(&["stop", "polite"]);
    assert_eq!(daemon.ok(&["inspect", "-f", "{{.State.ExitCode}}", "polite"]), "5");
    assert_eq!(daemon.ok(&["logs", "polite"]), "bye");
    daemon.ok(&["run", "-d", "--name", "deaf", "busybox", "sleep", "1000"]);
    daemon.ok(&["stop", "-t", "1", "deaf"]);
    assert_eq!(daemon.ok(&["inspect", "-f", "{{.State.ExitCode}} {{.State.Running}}", "deaf"]), "137 false");
    daemon.ok(&["restart", "-t", "0", "deaf"]);
    assert_eq!(daemon.ok(&["inspect", "-f", "{{.State.Running}}", "deaf"]), "true");
    daemon.ok(&["kill", "deaf"]);
    assert_eq!(daemon.ok(&["wait", "deaf"]), "137");
}

#[test]
fn exec_runs_beside() {
    let Some(daemon) = daemon("exec") else { return };
    daemon.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    assert_eq!(
        daemon.ok(&[
            "exec",
            "-e",
            "A=1",
            "-w",
            "/tmp",
            "-u",
            "app",
            "box",
            "sh",
            "-c",
            "id -u; pwd; echo $A"
        ]),
        "1000\n/tmp\n1"
    );
    let said = daemon.corten(&["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 4"]);
    assert_eq!((said.out.as_str(), said.err.as_str(), said.code), ("out\n", "err\n", 4));
    assert_eq!(daemon.corten(&["exec", "box", "no-such"]).code, 127);
    assert_eq!(daemon.with_input(&["exec", "-i", "box", "cat"], b"through").out, "through");
    daemon.ok(&["rm", "-f", "box"]);
}

#[test]
fn logs_follow_until_the_end() {
    let Some(daemon) = daemon("logs") else { return };
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "talk",
        "busybox",
        "sh",
        "-c",
        "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done",
    ]);
    assert_eq!(daemon.ok(&["logs", "-f", "talk"]), "1\n2\n3\n4\n5");
    assert_eq!(daemon.ok(&["logs", "--tail", "2", "talk"]), "4\n5");
}

#[test]
fn restart_policy_starts_it_again() {
    let Some(daemon) = daemon("policy") else { return };
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "again",
        "--restart",
        "on-failure:2",
        "busybox",
        "sh",
        "-c",
        "echo run; exit 1",
    ]);
    daemon.ok(&["wait", "again"]);
    let count = || daemon.ok(&["inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "again"]);
    for _ in 0..100 {
        if count() == "2 exited" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(count(), "2 exited");
    assert_eq!(daemon.ok(&["logs", "again"]), "run\nrun\nrun");
}

#[test]
fn files_are_copied_both_ways() {
    let Some(daemon) = daemon("copy") else { return };
    let file = daemon.folder().join("in.txt");
    std::fs::write(&file, "content").expect("a file");
    daemon.ok(&["create", "--name", "box", "busybox", "cat", "/tmp/in.txt"]);
    let source = file.display().to_string();
    daemon.ok(&["cp", &source, "box:/tmp/in.txt"]);
    assert_eq!(daemon.ok(&["start", "-a", "box"]), "content");
    let back = daemon.folder().join("back.txt").display().to_string();
    daemon.ok(&["cp", "box:/tmp/in.txt", &back]);
    assert_eq!(std::fs::read_to_string(&back).expect("the copy"), "content");
}

#[test]
fn an_archive_comes_in_the_form_that_the_client_takes() {
    let Some(daemon) = daemon("encoded") else { return };
    daemon.ok(&["create", "--name", "box", "busybox", "true"]);
    // HTTP/1.0: the body ends with the connection.
    let get = |accepted: &str| {
        let mut stream = UnixStream::connect(daemon.socket()).expect("it connects");
        let target = "/containers/box/archive?path=/etc";
        write!(stream, "GET {target} HTTP/1.0\r\nAccept-Encoding: {accepted}\r\n\r\n").expect("it is asked");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        (String::from_utf8_lossy(&answer[..end]).into_owned(), answer[end..].to_vec())
    };
    let (head, plain) = get("br");
    assert!(!head.contains("Content-Encoding"), "{head}");
    let (head, zipped) = get("deflate, gzip");
    assert!(head.contains("Content-Encoding: gzip\r\n"), "{head}");
    assert!(zipped.len() < plain.len() / 2, "{} of {} bytes", zipped.len(), plain.len());
    let mut unzipped = Vec::new();
    flate2::read::GzDecoder::new(&zipped[..]).read_to_end(&mut unzipped).expect("it is gzip");
    assert!(unzipped == plain, "gzip");
    let (head, deflated) = get("deflate");
    assert!(head.contains("Content-Encoding: deflate\r\n"), "{head}");
    let mut inflated = Vec::new();
    flate2::read::DeflateDecoder::new(&deflated[..]).read_to_end(&mut inflated).expect("it is deflate");
    assert!(inflated == plain, "deflate");
}

#[test]
fn everything_is_found_again_after_a_restart_of_the_daemon() {
    let Some(daemon) = daemon("restart") else { return };
    let id = daemon.ok(&[
        "run",
        "-d",
        "--name",
        "kept",
        "busybox",
        "sh",
        "-c",
        "echo before; sleep 2; echo after; sleep 1000",
    ]);
    daemon.ok(&["create", "--name", "idle", "busybox", "true"]);
    daemon.ok(&["volume", "create", "data"]);
    let pid = daemon.ok(&["inspect", "-f", "{{.State.Pid}}", "kept"]);
    daemon.restart();
    assert_eq!(
        daemon.ok(&["inspect", "-f", "{{.Id}} {{.State.Pid}} {{.State.Running}}", "kept"]),
        format!("{id} {pid} true")
    );
    assert_eq!(daemon.ok(&["exec", "kept", "echo", "reached"]), "reached");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(daemon.ok(&["logs", "kept"]), "before\nafter");
    assert_eq!(daemon.ok(&["start", "-a", "idle"]), "");
    assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "data");
    daemon.ok(&["rm", "-f", "kept"]);
}

#[test]
fn an_exec_s_code_is_known_when_its_container_is_killed() {
    let Some(daemon) = daemon("exec-killed") else { return };
    for _ in 0..12 {
        daemon.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
        let mut exec = daemon.command(&["exec", "box", "sh", "-c", "echo started; sleep 1000"]);
        let mut exec = exec.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut started = [0; 8];
        std::io::Read::read_exact(exec.stdout.as_mut().unwrap(), &mut started).unwrap();
        // The container's end and the exec's come together; the client asks for the code between them.
        daemon.ok(&["kill", "box"]);
        assert_eq!(exec.wait().unwrap().code(), Some(137));
        daemon.ok(&["rm", "box"]);
    }
}
