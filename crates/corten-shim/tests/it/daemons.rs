//! Daemons that come and go.

use crate::scene::{Container, Forker, Options, alive, everything, until};
use corten_oci::runtime::{LinuxMemory, LinuxResources};
use corten_runtime::LaunchErrorKind;
use corten_shim::client::{Shim, ShimError};
use corten_shim::mux::Stream;
use corten_shim::protocol::{ClientPacket, Event, FailureCode, Reply, Request, ServerPacket};
use corten_shim::{exit, packet};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

pub(crate) fn failed_start(forker: &Forker) {
    let mut options = Options::new(&[]);
    "missing".clone_into(&mut options.program);
    let mut client = options.attach(everything());
    let container = Container::begin(forker, options);
    let error = forker.wait(container.shim.started()).unwrap_err();
    assert_eq!(error.launch().unwrap().kind, LaunchErrorKind::CommandNotFound);
    container.shim_gone();
    assert_eq!(client.rest().0, "");
    let left: Vec<_> = std::fs::read_dir(container.scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

pub(crate) fn spares(forker: &Forker) {
    // Nobody wants it: it ends, and its seat with it.
    let (pid, spare) = forker.spare();
    drop(spare);
    until("a spare nobody wants has ended", || !alive(pid));
    let mut options = Options::new(&["out:hello", "sleep:300", "exit:3"]);
    options.spare = true;
    let mut container = Container::start(forker, options);
    let children =
        std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", container.shim_pid)).unwrap();
    assert_eq!(children.split_ascii_whitespace().count(), 2, "a seat and the container: {children}");
    let exec = corten_shim::protocol::ExecRequest {
        exec_id: "one".to_owned(),
        process: crate::scene::spec(&Options::new(&["exit:5"])).process.unwrap(),
        open_stdin: false,
        privileged: false,
        attach: None,
    };
    forker.wait(container.shim.exec(exec, None)).unwrap();
    let event = container.event();
    assert!(matches!(&event, Event::ExecExited { exit, .. } if exit.code == 5), "{event:?}");
    assert_eq!(container.exited().code, 3);
    assert_eq!(container.log(Stream::Stdout), "hello\n");
    container.events.acknowledge();
    container.shim_gone();
    // What cannot be started is told as always.
    let mut options = Options::new(&[]);
    options.spare = true;
    "missing".clone_into(&mut options.program);
    let container = Container::begin(forker, options);
    let error = forker.wait(container.shim.started()).unwrap_err();
    assert_eq!(error.launch().unwrap().kind, LaunchErrorKind::CommandNotFound);
    container.shim_gone();
}

pub(crate) fn events_wait(forker: &Forker) {
    // Longer than two further processes take, which are slow to begin on an emulated machine.
    let sleep = format!("sleep:{}", corten_testing::patience(400).as_secs());
    let mut container = Container::start(forker, Options::new(&[&sleep, "out:done", "exit:3"]));
    let exec = |id: &str| corten_shim::protocol::ExecRequest {
        exec_id: id.to_owned(),
        process: crate::scene::spec(&Options::new(&["exit:1"])).process.unwrap(),
        open_stdin: false,
        privileged: false,
        attach: None,
    };
    forker.wait(container.shim.exec(exec("heard"), None)).unwrap();
    assert!(matches!(container.event(), Event::ExecExited { .. }));
    container.events.acknowledge();
    forker.wait(container.shim.exec(exec("unheard"), None)).unwrap();
    until("the exec has ended", || forker.wait(container.shim.status()).unwrap().execs.is_empty());
    container.reconnect();
    // It comes again to whoever connects next, and only it.
    assert!(matches!(container.event(), Event::ExecExited { exec_id, .. } if exec_id == "unheard"));
    // The daemon dies without acknowledging it, and is away at the end.
    let path = container.scratch.path().to_owned();
    let (idle, ..) = forker.wait(Shim::connect(&path)).unwrap();
    container.shim = idle;
    let id = container.shim_pid;
    until("the record is there", || exit::read(&path).unwrap().is_some());
    until("the shim has ended without a daemon", || !alive(id));
    let record = exit::read(&path).unwrap().unwrap();
    assert_eq!((record.exit.code, record.execs.len()), (3, 1));
    assert!(matches!(forker.wait(Shim::connect(&path)), Err(ShimError::Connect { .. })));
}

pub(crate) fn rubbish(forker: &Forker) {
    let mut container = Container::start(forker, Options::new(&["sleep:600"]));
    let folder = container.scratch.path().to_owned();
    let raw = || {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        connect(&socket, &SocketAddrUnix::new(folder.join("shim.sock")).unwrap()).unwrap();
        socket
    };
    for document in [&b"\0\0\0"[..], b"{}", b"[]", b"", &[0xff; 5000]] {
        let socket = raw();
        packet::send(socket.as_fd(), document.to_vec(), vec![socket.try_clone().unwrap()]).unwrap();
        assert!(packet::receive(socket.as_fd()).is_err());
    }
    let socket = raw();
    rustix::net::send(&socket, b"\x07", rustix::net::SendFlags::empty()).unwrap();
    // A request of a later version is answered on a connection that goes on.
    let socket = raw();
    let ask = |document: Vec<u8>| {
        packet::send(socket.as_fd(), document, Vec::new()).unwrap();
        let answer = packet::receive(socket.as_fd()).unwrap();
        serde_json::from_slice::<ServerPacket>(&answer.document).unwrap()
    };
    let answer = ask(br#"{"sequence":5,"request":{"checkpoint":{}}}"#.to_vec());
    let ServerPacket::Reply { sequence: 5, result: Err(failure) } = answer else { panic!("{answer:?}") };
    assert_eq!(failure.code, FailureCode::Unsupported);
    let hello =
        ClientPacket { sequence: 6, request: Request::Hello { version: 99 }, descriptors: Vec::new() };
    let answer = ask(serde_json::to_vec(&hello).unwrap());
    assert!(matches!(
        answer,
        ServerPacket::Reply { sequence: 6, result: Ok(Reply::Welcome { version: 1, .. }) }
    ));
    assert_eq!(container.exited().code, 0);
}

pub(crate) fn kept_descriptors(forker: &Forker) {
    let mut options = Options::new(&["forever"]);
    options.keep.push(("dns".to_owned(), packet::memory_file(b"kept").unwrap()));
    let mut container = Container::start(forker, options);
    container.reconnect();
    let descriptor = forker.wait(container.shim.descriptor("dns")).unwrap();
    assert_eq!(packet::read_memory_file(descriptor).unwrap(), b"kept");
    assert!(forker.wait(container.shim.descriptor("other")).is_err());
}

/// Containers log, execs run, and the daemon's connection breaks at random: every line and every code is there.
pub(crate) fn random_deaths(forker: &Forker) {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for round in 0..25_u64 {
        let code = (round % 5).to_string();
        let exit_step = format!("exit:{code}");
        let mut options = Options::new(&["lines:300", "sleep:40", "lines:300", "err:last", &exit_step]);
        let mut client = options.attach(everything());
        let mut container = Container::begin(forker, options);
        if next(3) > 0 {
            forker.wait(container.shim.started()).unwrap();
        }
        let mut exit = None;
        let begin = Instant::now();
        while exit.is_none() {
            assert!(begin.elapsed() < corten_testing::patience(10));
            std::thread::sleep(Duration::from_micros(next(12_000)));
            // The daemon dies here, with whatever it had heard and not acknowledged.
            match forker.wait(Shim::connect(container.scratch.path())) {
                Ok((shim, events, status)) => {
                    assert_eq!(status.id, "c0ffee");
                    (container.shim, container.events) = (shim, events);
                }
                Err(_) => {
                    // No shim: there is a record, or there will be in a moment (the socket goes after it is written;
                    // before it is bound the container is not started).
                    exit = exit::read(container.scratch.path()).unwrap().map(|record| record.exit);
                }
            }
        }
        assert_eq!(exit.unwrap().code.to_string(), code, "round {round}");
        assert_eq!(container.log(Stream::Stdout).lines().count(), 600);
        assert_eq!(container.log(Stream::Stderr), "last\n");
        // The client's stream never noticed.
        assert_eq!(client.rest().0.lines().count(), 600);
        drop(client);
        container.shim_gone();
    }
}

pub(crate) fn out_of_memory(forker: &Forker) {
    let manager = corten_runtime::cgroup::Manager::new("/corten-shim-test").unwrap();
    let limits = LinuxResources {
        memory: Some(LinuxMemory { limit: Some(16 << 20), swap: Some(16 << 20), ..LinuxMemory::default() }),
        ..LinuxResources::default()
    };
    if !corten_testing::need("the memory controller", manager.hierarchies().has_controller("memory")) {
        return;
    }
    let name = format!("oom-{}", std::process::id());
    let cgroup = manager.create(&name, &limits).unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut options = Options::new(&["eat:64"]);
        options.cgroup = cgroup.handle().unwrap();
        let mut container = Container::start(forker, options);
        let exit = container.exited();
        assert_eq!((exit.code, exit.oom_killed), (137, true));
        container.shim_gone();
    }));
    until("the cgroup is removed", || cgroup.remove().is_ok());
    result.unwrap();
}
