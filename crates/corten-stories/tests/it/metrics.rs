//! Numbers for Prometheus, under Docker's names.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

#[test]
fn what_is_done_is_counted() {
    if !corten_testing::need_root() {
        return;
    }
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let Some(daemon) = super::daemon_with("metrics", &["--metrics-addr", &address]) else { return };
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let count = |action: &str| {
        let begin = format!("engine_daemon_container_actions_seconds_count{{action=\"{action}\"}} ");
        let answer = ask("/metrics");
        answer.lines().find_map(|line| line.strip_prefix(&begin)).map(|number| number.parse::<u64>().unwrap())
    };
    assert_eq!((count("create"), count("start"), count("delete")), (Some(0), Some(0), Some(0)));
    daemon.corten(&["run", "-d", "--name", "counted", "busybox", "sleep", "60"]);
    assert_eq!((count("create"), count("start")), (Some(1), Some(1)));
    let answer = ask("/metrics");
    assert!(answer.contains("engine_daemon_container_states_containers{state=\"running\"} 1\n"), "{answer}");
    assert!(answer.contains("Content-Type: text/plain; version=0.0.4"), "{answer}");
    daemon.corten(&["rm", "-f", "counted"]);
    assert_eq!(count("delete"), Some(1));
    // What fails is not counted, and the API is not there.
    assert_ne!(daemon.corten(&["rm", "counted"]).code, 0);
    assert_eq!(count("delete"), Some(1));
    assert!(ask("/info").starts_with("HTTP/1.1 404 "));
}
