//! Output, input, terminals and the log.

use crate::scene::{Client, Container, Forker, Options, everything, until};
use corten_shim::log::{LogReader, LogWatches, ReadOptions};
use corten_shim::mux::Stream;
use corten_shim::protocol::{AttachRequest, ConsoleSize, Event};
use corten_shim::{detach, exit};
use std::io::Write;

pub(crate) fn first_byte_last_line_and_code(forker: &Forker) {
    let mut options = Options::new(&["out:first", "err:problem", "lines:2000", "raw:no end", "exit:7"]);
    let mut client = options.attach(everything());
    let mut container = Container::start(forker, options);
    let exit = container.exited();
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (7, None, false));
    // The record and the log are there before the event.
    assert_eq!(exit::read(container.scratch.path()).unwrap().unwrap().exit, exit);
    let lines: Vec<String> = (0..2000).map(|line| format!("line {line}\n")).collect();
    let expected = format!("first\n{}no end", lines.concat());
    assert_eq!(container.log(Stream::Stdout), expected);
    assert_eq!(container.log(Stream::Stderr), "problem\n");
    assert_eq!(client.rest(), (expected, "problem\n".to_owned()));
    drop(client);
    container.shim_gone();
    assert!(!container.scratch.path().join("shim.sock").exists());
}

pub(crate) fn half_close(forker: &Forker) {
    let mut options = Options::new(&["cat", "out:end"]);
    (options.open_stdin, options.stdin_once) = (true, true);
    let mut client = options.attach(everything());
    let text = "0123456789".repeat(50_000);
    let mut container = Container::start(forker, options);
    let mut writer = client.socket.try_clone().unwrap();
    let sent = text.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(sent.as_bytes()).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    assert_eq!(client.rest(), (format!("{text}end\n"), String::new()));
    writing.join().unwrap();
    assert_eq!(container.exited().code, 0);
}

pub(crate) fn input_stays_open(forker: &Forker) {
    let mut options = Options::new(&["line", "line", "cat"]);
    options.open_stdin = true;
    let mut first = options.attach(AttachRequest { framed: false, ..everything() });
    let mut container = Container::start(forker, options);
    first.send(b"one\n");
    assert_eq!(first.until("one\n"), "got one\n");
    first.half_close();
    drop(first);
    let (mut second, theirs) = Client::new(false);
    forker
        .wait(container.shim.attach(None, AttachRequest { framed: false, ..everything() }, theirs))
        .unwrap();
    second.send(b"two\n");
    assert_eq!(second.until("two\n"), "got two\n");
    // What is typed goes before the close.
    second.send(b"three\n");
    assert_eq!(second.until("three\n"), "three\n");
    forker.wait(container.shim.close_stdin(None)).unwrap();
    assert_eq!(container.exited().code, 0);
    assert_eq!(second.rest().0, "");
}

pub(crate) fn leftover(forker: &Forker) {
    let mut options = Options::new(&["cat"]);
    (options.open_stdin, options.stdin_once) = (true, true);
    let mut client = options.attach(AttachRequest { leftover: b"left over, ".to_vec(), ..everything() });
    client.send(b"sent");
    client.half_close();
    let mut container = Container::start(forker, options);
    assert_eq!(client.rest().0, "left over, sent");
    assert_eq!(container.exited().code, 0);
}

pub(crate) fn terminal(forker: &Forker) {
    let mut options = Options::new(&["line", "size", "line", "out:done", "exit:4"]);
    (options.terminal, options.open_stdin, options.stdin_once) = (true, true, true);
    let raw = AttachRequest { framed: false, detach_keys: Some(detach::DEFAULT.to_vec()), ..everything() };
    let mut client = options.attach(raw.clone());
    let mut container = Container::start(forker, options);
    forker.wait(container.shim.resize(None, ConsoleSize { height: 33, width: 101 })).unwrap();
    client.send(b"one\n");
    client.until("33x101\r\n");
    // The keys come in two packets.
    client.send(b"\x10");
    std::thread::sleep(std::time::Duration::from_millis(20));
    client.send(b"\x11");
    client.rest();
    assert_eq!(container.event(), Event::Detached { exec_id: None });
    let (mut again, theirs) = Client::new(false);
    forker.wait(container.shim.attach(None, raw, theirs)).unwrap();
    again.send(b"two\n");
    assert!(again.rest().0.ends_with("done\r\n"));
    assert_eq!(container.exited().code, 4);
    assert!(container.log(Stream::Stdout).ends_with("done\r\n"));
}

pub(crate) fn slow_client(forker: &Forker) {
    let mut options = Options::new(&["bytes:3000000", "out:", "exit:0"]);
    let client = options.attach(everything());
    let mut container = Container::start(forker, options);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(exit::read(container.scratch.path()).unwrap().is_none(), "the container waits for its client");
    assert!(container.log(Stream::Stdout).len() < 2_000_000);
    // Others are served meanwhile.
    assert_eq!(forker.wait(container.shim.status()).unwrap().clients, 1);
    drop(client);
    assert_eq!(container.exited().code, 0);
    assert_eq!(container.log(Stream::Stdout).len(), 3_000_001);
}

pub(crate) fn two_clients(forker: &Forker) {
    let mut options = Options::new(&["lines:20000", "sleep:50", "lines:100"]);
    let mut clients = [options.attach(everything()), options.attach(everything())];
    let mut container = Container::start(forker, options);
    let texts = std::thread::scope(|scope| {
        let readers = clients.each_mut().map(|client| scope.spawn(|| client.rest().0));
        readers.map(|reader| reader.join().unwrap())
    });
    assert_eq!(container.exited().code, 0);
    let log = container.log(Stream::Stdout);
    assert_eq!(log.lines().count(), 20_100);
    assert!(texts.iter().all(|text| *text == log));
}

pub(crate) fn rotated_log(forker: &Forker) {
    let mut options = Options::new(&["lines:20000"]);
    (options.max_size, options.max_file) = (Some(100_000), 200);
    let mut container = Container::begin(forker, options);
    let lines = forker.wait(async {
        let mut reader = LogReader::open(&container.log, ReadOptions::default()).unwrap();
        let mut watch = LogWatches::default().watch(&container.log).unwrap();
        let mut lines = Vec::new();
        while lines.len() < 20_000 {
            while let Some(entry) = reader.next().unwrap() {
                lines.push(entry.line);
            }
            if lines.len() < 20_000 {
                watch.changed().await.unwrap();
            }
        }
        lines
    });
    assert_eq!(lines, (0..20_000).map(|line| format!("line {line}\n")).collect::<Vec<_>>());
    assert!(corten_shim::log::rotated(&container.log, 5).exists());
    assert_eq!(container.exited().code, 0);
}

pub(crate) fn log_failure(forker: &Forker) {
    let mut options = Options::new(&["lines:100", "exit:2"]);
    options.log = Some("/dev/full".into());
    let mut client = options.attach(everything());
    let mut container = Container::start(forker, options);
    assert!(matches!(container.event(), Event::LogFailed { .. }));
    assert_eq!(container.exited().code, 2);
    assert_eq!(client.rest().0.lines().count(), 100);
    drop(client);
    until("the shim is gone", || !crate::scene::alive(container.shim_pid));
}
