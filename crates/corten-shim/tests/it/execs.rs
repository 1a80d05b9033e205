//! Further processes.

use crate::scene::{Client, Container, Forker, Options, everything, spec};
use corten_runtime::LaunchErrorKind;
use corten_shim::client::ShimError;
use corten_shim::exit;
use corten_shim::protocol::{AttachRequest, Event, ExecRequest, FailureCode};
use std::io::Write;
use std::time::{Duration, Instant};

fn request(exec_id: &str, steps: &[&str], attach: Option<AttachRequest>) -> ExecRequest {
    let process = spec(&Options::new(steps)).process.unwrap();
    let open_stdin = attach.as_ref().is_some_and(|attach| attach.stdin);
    ExecRequest { exec_id: exec_id.to_owned(), process, open_stdin, privileged: false, attach }
}

fn running(forker: &Forker) -> Container<'_> {
    Container::start(forker, Options::new(&["forever"]))
}

pub(crate) fn own_streams_and_code(forker: &Forker) {
    let mut container = running(forker);
    let (mut client, theirs) = Client::new(true);
    let exec = request("e1", &["out:hello", "err:there", "cat", "exit:9"], Some(everything()));
    let started = forker.wait(container.shim.exec(exec, Some(theirs))).unwrap();
    assert_eq!(forker.wait(container.shim.status()).unwrap().execs[0].started, started);
    client.send(b"typed\n");
    client.half_close();
    assert_eq!(client.rest(), ("hello\ntyped\n".to_owned(), "there\n".to_owned()));
    let Event::ExecExited { exec_id, exit } = container.event() else { panic!() };
    assert_eq!((exec_id.as_str(), exit.code), ("e1", 9));
    assert_eq!(
        container.log(corten_shim::mux::Stream::Stdout),
        "",
        "an exec's output is not the container's"
    );
    // Without a client its output goes nowhere, and does not stop it.
    forker.wait(container.shim.exec(request("e2", &["bytes:1000000"], None), None)).unwrap();
    assert!(matches!(container.event(), Event::ExecExited { exit, .. } if exit.code == 0));
}

pub(crate) fn cannot_start(forker: &Forker) {
    let container = running(forker);
    let (mut client, theirs) = Client::new(true);
    let mut exec = request("e1", &[], Some(everything()));
    exec.process.args = vec!["nothing".to_owned()];
    let failure = forker.wait(container.shim.exec(exec, Some(theirs))).unwrap_err();
    let launch = failure.error.launch().unwrap();
    assert_eq!((launch.kind.clone(), launch.exit_code()), (LaunchErrorKind::CommandNotFound, 127));
    // The client can be told.
    let mut socket = std::os::unix::net::UnixStream::from(failure.client.unwrap());
    socket.write_all(&corten_shim::mux::frame(corten_shim::mux::Stream::Stdout, b"told")).unwrap();
    drop(socket);
    assert_eq!(client.rest().0, "told");
    let unknown = forker.wait(container.shim.signal(Some("nobody"), 15)).unwrap_err();
    assert!(matches!(unknown, ShimError::Refused(failure) if failure.code == FailureCode::NotFound));
}

pub(crate) fn descendant(forker: &Forker) {
    let mut container = running(forker);
    let (mut client, theirs) = Client::new(true);
    let begin = Instant::now();
    let exec = request("e1", &["holder:8000", "out:over"], Some(everything()));
    forker.wait(container.shim.exec(exec, Some(theirs))).unwrap();
    assert_eq!(client.rest().0, "over\n");
    assert!(matches!(container.event(), Event::ExecExited { .. }));
    assert!(begin.elapsed() < Duration::from_secs(5));
}

pub(crate) fn signals(forker: &Forker) {
    let mut container = running(forker);
    forker.wait(container.shim.exec(request("e1", &["forever"], None), None)).unwrap();
    forker.wait(container.shim.signal(Some("e1"), 10)).unwrap();
    let Event::ExecExited { exit, .. } = container.event() else { panic!() };
    assert_eq!((exit.code, exit.signal), (138, Some(10)));
    forker.wait(container.shim.signal(None, 9)).unwrap();
    let exit = container.exited();
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
}

pub(crate) fn end_with_container(forker: &Forker) {
    let mut container = running(forker);
    let (mut client, theirs) = Client::new(true);
    forker
        .wait(container.shim.exec(request("e1", &["out:here", "forever"], Some(everything())), Some(theirs)))
        .unwrap();
    let early = forker.wait(container.shim.exec(request("e0", &["exit:3"], None), None)).unwrap();
    assert!(early.pid > 0);
    until_exec_ended(&container, "e0");
    forker.wait(container.shim.signal(None, 9)).unwrap();
    assert_eq!(client.rest().0, "here\n");
    crate::scene::until("the record is there", || exit::read(container.scratch.path()).unwrap().is_some());
    assert!(matches!(container.event(), Event::ExecExited { exec_id, .. } if exec_id == "e0"));
    assert!(
        matches!(container.event(), Event::ExecExited { exec_id, exit } if exec_id == "e1" && exit.code == 137)
    );
    assert_eq!(container.exited().code, 137);
    let record = exit::read(container.scratch.path()).unwrap().unwrap();
    // Nobody had acknowledged them when the record was written.
    let execs: Vec<_> = record.execs.iter().map(|exec| (exec.exec_id.as_str(), exec.exit.code)).collect();
    assert_eq!(execs, [("e0", 3), ("e1", 137)]);
}

fn until_exec_ended(container: &Container<'_>, exec_id: &str) {
    crate::scene::until("the exec has ended", || {
        let status = container.forker.wait(container.shim.status()).unwrap();
        status.execs.iter().all(|exec| exec.exec_id != exec_id)
    });
}
