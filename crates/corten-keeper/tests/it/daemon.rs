//! A daemon that answers one line per connection.

use corten_keeper::Keeper;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

pub(crate) fn role(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    if arguments.next().as_deref() == Some("refuse") {
        return ExitCode::from(5);
    }
    let keeper = Keeper::from_environment().unwrap();
    let listener = keeper.listeners().unwrap().pop().unwrap();
    assert_eq!(listener.name, "api");
    let listener = UnixListener::from(listener.descriptor);
    keeper.ready().unwrap();
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let answer = match word {
            "pid" => std::process::id().to_string(),
            "hold" => {
                let file = corten_shim::packet::memory_file(b"kept").unwrap();
                keeper.hold(rest, vec![file]).unwrap();
                String::new()
            }
            "held" => keeper.held().unwrap().into_iter().map(held).collect::<Vec<_>>().join(","),
            "release" => {
                keeper.release(rest).unwrap();
                String::new()
            }
            // The request is none: the shim ends at once. What counts is that it was forked, and once.
            "fork" => {
                let (ours, theirs) = corten_shim::packet::pair().unwrap();
                keeper.fork_shim(b"{}", &[theirs.as_fd()]).unwrap();
                drop(theirs);
                let told = corten_shim::packet::receive(ours.as_fd());
                if told.is_ok() { "forked".to_owned() } else { format!("{told:?}") }
            }
            "shutdown" => {
                keeper.shutdown().unwrap();
                let _ = stream.write_all(b"\n");
                return ExitCode::SUCCESS;
            }
            _ => format!("unknown: {word}"),
        };
        let _ = writeln!(stream, "{answer}");
    }
}

fn held((name, mut descriptors): (String, Vec<OwnedFd>)) -> String {
    let bytes = corten_shim::packet::read_memory_file(descriptors.pop().unwrap()).unwrap();
    format!("{name}={}", String::from_utf8(bytes).unwrap())
}
