//! One success per command with most of what it can do, and the failures that scripts look for.

use crate::daemon::{Daemon, Request, frame, json};
use crate::{Output, command, output, run};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A daemon in which one container runs: it prints what `output` gives, echoes its input, and ends with `code`.
fn container(frames: Vec<u8>, code: i32) -> Daemon {
    let started = Arc::new((Mutex::new(false), Condvar::new()));
    Daemon::start(move |request, stream| {
        let path = request.target.split('?').next().unwrap_or_default();
        let wait = |started: &(Mutex<bool>, Condvar)| {
            let mut is_started = started.0.lock().unwrap();
            while !*is_started {
                is_started = started.1.wait(is_started).unwrap();
            }
        };
        match (request.method.as_str(), path) {
            ("POST", "/containers/create") => {
                json(stream, "201 Created", &format!("{{\"Id\":\"{ID}\",\"Warnings\":[\"careful\"]}}"))
            }
            ("POST", path) if path.ends_with("/attach") => {
                stream
                    .write_all(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
                    .unwrap();
                wait(&started);
                stream.write_all(&frames).unwrap();
                if request.target.contains("stdin=1") {
                    let mut input = String::new();
                    stream.read_to_string(&mut input).unwrap();
                    stream.write_all(&frame(1, &input)).unwrap();
                }
                false
            }
            ("POST", path) if path.ends_with("/wait") => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
                wait(&started);
                let body = format!("{{\"StatusCode\":{code}}}");
                stream.write_all(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes()).is_ok()
            }
            ("POST", path) if path.ends_with("/start") => {
                *started.0.lock().unwrap() = true;
                started.1.notify_all();
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_ok()
            }
            _ => json(stream, "404 Not Found", "{\"message\":\"page not found\"}"),
        }
    })
}

/// A daemon that gives the same answer to everything.
fn answering(status: &'static str, body: &'static str) -> Daemon {
    Daemon::start(move |_: &Request, stream: &mut UnixStream| json(stream, status, body))
}

#[test]
fn run_streams_both_channels_and_ends_with_the_code() {
    let mut frames = frame(1, "out\n");
    frames.extend(frame(2, "err\n"));
    frames.extend(frame(1, "more\n"));
    let daemon = container(frames, 7);
    let got = run(&daemon.socket(), &["run", "--rm", "-e", "A=1", "busybox", "sh", "-c", "exit 7"]);
    assert_eq!(got, Output { out: "out\nmore\n".into(), err: "WARNING: careful\nerr\n".into(), code: 7 });
    let asked = daemon.asked();
    let names: Vec<&str> =
        asked.iter().map(|line| line.split('?').next().unwrap().rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["create", "attach", "wait", "start"]);
    assert!(asked[2].ends_with("condition=removed"), "{asked:?}");
    assert_eq!(daemon.body("/containers/create")["Cmd"].to_string(), r#"["sh","-c","exit 7"]"#);
}

#[test]
fn run_passes_input_and_its_end() {
    let daemon = container(Vec::new(), 0);
    let mut child = command(&daemon.socket(), &["run", "-i", "busybox", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = "a line that is longer than one\n".repeat(20_000);
    let mut stdin = child.stdin.take().unwrap();
    let sent = text.clone();
    let writer = std::thread::spawn(move || stdin.write_all(sent.as_bytes()).unwrap());
    let got = output(child.wait_with_output().unwrap());
    writer.join().unwrap();
    assert_eq!((got.code, got.out.len()), (0, text.len()));
    assert!(got.out == text);
}

#[test]
fn run_detached_prints_the_id() {
    let daemon = container(Vec::new(), 0);
    let cidfile = daemon.folder().join("cid");
    let got = run(&daemon.socket(), &["run", "-d", "--cidfile", cidfile.to_str().unwrap(), "busybox"]);
    assert_eq!((got.out.trim(), got.code), (ID, 0));
    assert_eq!(std::fs::read_to_string(cidfile).unwrap(), ID);
    let names: Vec<String> = daemon.asked();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_missing_image_is_pulled_unless_never() {
    let daemon = answering("404 Not Found", "{\"message\":\"No such image: nosuch:latest\"}");
    let got = run(&daemon.socket(), &["run", "nosuch"]);
    assert_eq!((got.out.as_str(), got.code), ("", 125));
    assert!(
        got.err.starts_with(
            "Unable to find image 'nosuch:latest' locally\ndocker: Error response from daemon: No such image: nosuch:latest\n"
        ),
        "{}",
        got.err
    );
    assert_eq!(daemon.asked().len(), 2, "create, pull");
    assert!(got.err.ends_with("Run 'docker run --help' for more information\n"), "{}", got.err);
    let got = run(&daemon.socket(), &["run", "--pull", "never", "nosuch"]);
    assert!(
        got.err.starts_with("docker: Error response from daemon: No such image: nosuch:latest\n"),
        "{}",
        got.err
    );
    assert_eq!(daemon.asked().len(), 3, "nothing is pulled");
}

#[test]
fn ps_prints_a_table_ids_and_templates() {
    let daemon = answering(
        "200 OK",
        r#"[{"Id":"0123456789abcdef","Names":["/web"],"Image":"busybox","Command":"sleep 60","Created":1,"Labels":{"a":"b"},
            "Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}],"State":"running","Status":"Up 1 second"}]"#,
    );
    let socket = daemon.socket();
    let print = |words: &[&str]| run(&socket, words).out;
    assert_eq!(
        print(&["ps", "--format", "table {{.ID}}\\t{{.Names}}\\t{{.Ports}}"]),
        "CONTAINER ID   NAMES     PORTS\n0123456789ab   web       0.0.0.0:8080->80/tcp\n"
    );
    assert_eq!(print(&["ps", "-q"]), "0123456789ab\n");
    assert_eq!(print(&["container", "ls", "--no-trunc", "-q"]), "0123456789abcdef\n");
    assert_eq!(print(&["ps", "--format", "{{.Label \"a\"}} {{upper .State}}"]), "b RUNNING\n");
    std::fs::create_dir_all(daemon.folder().join(".docker")).unwrap();
    std::fs::write(daemon.folder().join(".docker/config.json"), r#"{"psFormat":"{{.Names}}!","unknown":{}}"#)
        .unwrap();
    assert_eq!(print(&["ps"]), "web!\n");
    assert_eq!(daemon.asked()[0], "GET /containers/json", "a list without options asks for nothing special");
}

#[test]
fn inspect_keeps_the_order_of_keys() {
    let daemon = answering("200 OK", r#"{"Zeta":1,"Alpha":{"b":[],"a":{}},"Id":"x"}"#);
    let got = run(&daemon.socket(), &["inspect", "x"]);
    let expected = "[\n    {\n        \"Zeta\": 1,\n        \"Alpha\": {\n            \"b\": [],\n            \"a\": {}\n        },\n        \"Id\": \"x\"\n    }\n]\n";
    assert_eq!(got, Output { out: expected.into(), err: String::new(), code: 0 });
    let got = run(&daemon.socket(), &["inspect", "-f", "{{.Zeta}} {{json .Alpha}}", "x"]);
    assert_eq!(got.out, "1 {\"a\":{},\"b\":[]}\n");
}

#[test]
fn what_is_not_there_is_told_and_the_code_is_one() {
    let daemon = answering("404 Not Found", "{\"message\":\"No such container: ghost\"}");
    let said = Output {
        out: String::new(),
        err: "Error response from daemon: No such container: ghost\n".into(),
        code: 1,
    };
    for words in
        [&["stop", "ghost"][..], &["kill", "ghost"], &["logs", "ghost"], &["rm", "ghost"], &["wait", "ghost"]]
    {
        assert_eq!(run(&daemon.socket(), words), said, "{words:?}");
    }
    assert_eq!(run(&daemon.socket(), &["rm", "-f", "ghost"]).code, 0);
    let got = run(&daemon.socket(), &["inspect", "ghost"]);
    assert_eq!(got, Output { out: "[]\n".into(), err: "Error: No such object: ghost\n".into(), code: 1 });
}

#[test]
fn logs_are_taken_apart() {
    let daemon = Daemon::start(|_, stream| {
        let mut body = frame(1, "one\n");
        body.extend(frame(2, "two\n"));
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n";
        stream.write_all(format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes()).unwrap();
        stream.write_all(&body).is_ok()
    });
    let got = run(&daemon.socket(), &["logs", "--tail", "5", "-t", "c1"]);
    assert_eq!(got, Output { out: "one\n".into(), err: "two\n".into(), code: 0 });
    assert_eq!(daemon.asked(), ["GET /containers/c1/logs?stderr=1&stdout=1&tail=5&timestamps=1"]);
}

#[test]
fn usage_mistakes_need_no_daemon() {
    let socket = std::path::Path::new("/no/such/folder/docker.sock");
    for (words, err, code) in [
        (&["run"][..], "docker: 'docker run' requires at least 1 argument\n", 1),
        (&["ps", "--nosuch"], "unknown flag: --nosuch\n", 125),
        (&["nosuch"], "docker: unknown command: docker nosuch\n", 1),
        (&["container", "nosuch"], "docker: unknown command: docker container nosuch\n", 1),
        (&["run", "UPPER"], "docker: ", 125),
        (
            &["ps"],
            "Cannot connect to the Docker daemon at unix:///no/such/folder/docker.sock. Is the docker daemon running?\n",
            1,
        ),
        (&["build", "x"], "docker: 'build' is not built yet", 1),
        (&["cp", "a", "b"], "must specify at least one container source\n", 1),
    ] {
        let got = run(socket, words);
        assert!(got.err.starts_with(err), "{words:?}: {}", got.err);
        assert_eq!(got.code, code, "{words:?}");
    }
    let got = run(socket, &["run", "--help"]);
    assert_eq!(got.code, 0);
    assert!(got.out.starts_with("Usage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n"), "{}", got.out);
    assert!(run(socket, &["--help"]).out.contains("Management Commands:"));
}
