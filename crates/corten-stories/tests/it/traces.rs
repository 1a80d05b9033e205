//! Traces for OpenTelemetry: a collector of a few lines is told of what was asked.

use crate::daemon;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

/// Gives each document that was sent to it, with its request line.
fn collector() -> (u16, Receiver<(String, serde_json::Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            loop {
                let mut lines = Vec::new();
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                        break;
                    }
                    lines.push(line.trim().to_owned());
                }
                let Some(length) = lines.iter().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
                }) else {
                    break;
                };
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let answer =
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
                reader.get_mut().write_all(answer).unwrap();
                if sender.send((lines[0].clone(), serde_json::from_slice(&body).unwrap())).is_err() {
                    return;
                }
            }
        }
    });
    (port, receiver)
}

#[test]
fn requests_are_told_to_a_collector_when_asked() {
    let Some(daemon) = daemon("traces") else { return };
    assert!(!threads(&daemon).contains("traces"), "nobody asked for traces");
    daemon.end();
    let (port, documents) = collector();
    let endpoint = format!("http://127.0.0.1:{port}");
    daemon
        .start_again_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "100")]);
    daemon.ok(&["run", "--rm", "busybox", "true"]);
    assert_ne!(daemon.corten(&["inspect", "--type", "container", "nothing"]).code, 0);

    let mut spans = Vec::new();
    let told = |spans: &[serde_json::Value], name: &str, status: &str| {
        spans.iter().any(|span| {
            let attributes = span["attributes"].as_array().unwrap();
            span["name"] == name && attributes.iter().any(|one| one["value"]["intValue"] == status)
        })
    };
    while !told(&spans, "GET /containers/{}/json", "404") {
        let (line, document) = documents.recv_timeout(corten_testing::patience(20)).expect("spans come");
        assert_eq!(line, "POST /v1/traces HTTP/1.1");
        let resource = &document["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "corten");
        spans.extend(resource["scopeSpans"][0]["spans"].as_array().unwrap().iter().cloned());
    }
    assert!(told(&spans, "POST /containers/create", "201"));
    assert!(told(&spans, "POST /containers/{}/start", "204"));
    assert!(told(&spans, "POST /containers/{}/attach", "101"));
    for span in &spans {
        assert_eq!(span["traceId"].as_str().unwrap().len(), 32, "{span}");
        assert_eq!(span["spanId"].as_str().unwrap().len(), 16, "{span}");
        let time = |name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"), "{span}");
    }
    // A collector that is gone harms nobody.
    drop(documents);
    daemon.ok(&["run", "--rm", "busybox", "true"]);
}

fn threads(daemon: &corten_testing::daemon::ScratchDaemon) -> String {
    let pid = daemon.daemon().expect("a daemon");
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    tasks.map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default()).collect()
}
