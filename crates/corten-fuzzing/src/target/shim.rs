//! What shim, keeper and daemon tell each other, and the log.

use std::io::Write;

use corten_shim::log::{LogEntry, LogReader, ReadOptions};
use corten_shim::protocol::{ClientPacket, ExitRecord, ServerPacket, SpareRequest, StartRequest};
use corten_shim::{detach, mux, packet};
use rustix::net::SendFlags;

use super::texts;
use crate::Target;

pub(super) const PACKETS: Target = Target {
    name: "shim_packets",
    run: packets,
    seeds: || {
        texts(&[
            "\0{\"id\":1,\"request\":{\"type\":\"status\"}}",
            "\0{\"serial\":1,\"request\":\"status\"}",
            "\u{1}",
            "\u{2}",
            "\0{\"version\":1,\"code\":0,\"signal\":null,\"time\":\"2026-01-01T00:00:00Z\"}",
        ])
    },
    words: &["\0", "\u{1}", "\u{2}", "{", "}", "\"", "null", "\"request\":", "\"type\":", "1"],
};

/// A message as it comes over the socket, and a document as it comes out of a packet.
fn packets(bytes: &[u8]) {
    let Ok((ours, theirs)) = packet::pair() else { return };
    let message = &bytes[..bytes.len().min(60_000)];
    if !message.is_empty() && rustix::net::send(&ours, message, SendFlags::NOSIGNAL).is_ok() {
        drop(ours);
        let _ = packet::receive(std::os::fd::AsFd::as_fd(&theirs));
    }
    let document = bytes.get(1..).unwrap_or_default();
    let _ = serde_json::from_slice::<StartRequest>(document);
    let _ = serde_json::from_slice::<SpareRequest>(document);
    let _ = serde_json::from_slice::<ClientPacket>(document);
    let _ = serde_json::from_slice::<ServerPacket>(document);
    let _ = serde_json::from_slice::<ExitRecord>(document);
    if let Some(head) = bytes.first_chunk()
        && let Some((stream, length)) = mux::parse(*head)
    {
        assert_eq!(mux::head(stream, length), *head);
    }
}

pub(super) const LOG: Target = Target {
    name: "log_reader",
    run: log,
    seeds: || {
        texts(&[
            "{\"log\":\"hello\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00.000000001Z\"}\n",
            "{\"log\":\"part\",\"stream\":\"stderr\",\"attrs\":{\"a\":\"b\"},\"time\":\"2026-01-01T00:00:00Z\"}\nrubbish\n\n{",
        ])
    },
    words: &["\n", "{\"log\":\"", "\"}", "\\u0000", "\"stream\":\"stdout\"", "\"time\":\"", "\\n"],
};

/// A log file with anything in it: every read comes to an end, and the last entries are the last of all.
fn log(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Some(entry) = LogEntry::parse(line) {
            let _ = entry.is_partial();
        }
    }
    let thread = format!("{:?}", std::thread::current().id());
    let path = std::env::temp_dir().join(format!("corten-fuzz-log-{}-{thread}", std::process::id()));
    let written = std::fs::File::create(&path).and_then(|mut file| file.write_all(bytes));
    if written.is_ok() {
        let read = |tail| {
            let options = ReadOptions { tail, ..ReadOptions::default() };
            let mut entries = Vec::new();
            if let Ok(mut reader) = LogReader::open(&path, options) {
                while let Ok(Some(entry)) = reader.next() {
                    entries.push(entry);
                    assert!(entries.len() <= bytes.len());
                }
            }
            entries
        };
        let all = read(None);
        for count in [0, 1, 3] {
            let last = read(Some(count));
            assert!(last.len() <= all.len());
            assert!(all.ends_with(&last));
        }
    }
    let _ = std::fs::remove_file(&path);
}

pub(super) const DETACH: Target = Target {
    name: "detach_keys",
    run: keys,
    seeds: || texts(&["ctrl-p,ctrl-q\0abc\u{10}\u{11}d", "a,b,c\0abab", "ctrl-@,ctrl-[\0\0\u{1b}"]),
    words: &["ctrl-", ",", "\0", "\u{10}", "\u{11}", "a"],
};

/// Keys and what is typed, separated by a zero byte: what goes on is a part of what was typed, in order.
fn keys(bytes: &[u8]) {
    let (keys, typed) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[][..]),
    };
    let Ok(keys) = std::str::from_utf8(keys) else { return };
    let Ok(sequence) = detach::parse(keys) else { return };
    let mut matcher = detach::Matcher::new(sequence.clone());
    let mut onward = Vec::new();
    let mut found = false;
    for piece in typed.chunks(3) {
        if matcher.feed(piece, &mut onward) {
            found = true;
            break;
        }
    }
    if !found {
        onward.extend_from_slice(matcher.finish());
        assert_eq!(onward, typed, "nothing is lost");
    }
    assert!(onward.len() <= typed.len());
}

pub(super) const KEEPER: Target = Target {
    name: "keeper_packets",
    run: keeper,
    seeds: || {
        texts(&[
            "{\"type\":\"fork_shim\"}",
            "{\"data_root\":\"/d\",\"exec_root\":\"/e\",\"daemon_arguments\":[[45]],\"pid_file\":null,\"program\":\"/p\",\"private_namespace\":true}",
            "\"hold\"",
        ])
    },
    words: &["{", "}", "[", "]", "\"", "null", "1", "\"type\":", "\"name\":"],
};

fn keeper(bytes: &[u8]) {
    use corten_keeper::protocol::{HandOver, Reply, Request, Setup};
    let _ = serde_json::from_slice::<Request>(bytes);
    let _ = serde_json::from_slice::<Reply>(bytes);
    let _ = serde_json::from_slice::<HandOver>(bytes);
    let _ = serde_json::from_slice::<Setup>(bytes);
}
