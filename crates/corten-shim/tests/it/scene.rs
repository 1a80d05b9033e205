//! A forker of shims as the keeper is one, and containers made of this program.

use corten_oci::runtime::{Mount, Spec};
use corten_runtime::cgroup::{CgroupHandle, Mode};
use corten_runtime::{Hardening, SpecOptions, default_spec};
use corten_shim::client::{Events, Shim, Spare, StartDescriptors, prepare, prepare_spare};
use corten_shim::log::{LogReader, ReadOptions};
use corten_shim::mux::{self, Stream};
use corten_shim::packet::{self, Packet};
use corten_shim::protocol::{AttachRequest, Event, Exit, LogSettings, StartRequest};
use corten_sys::process::{self, Fork};
use corten_testing::Scratch;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Waiting longer than this is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The role that forks: reads packets from standard input, as a keeper does from its daemon.
pub(crate) fn forker_role() -> ExitCode {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).unwrap();
    let _ = process::ignore_signal(17, true);
    loop {
        let Ok(Packet { document, descriptors }) = packet::receive(socket.as_fd()) else {
            return ExitCode::SUCCESS;
        };
        match process::fork().unwrap() {
            Fork::Child => {
                let _ = process::ignore_signal(17, false);
                drop(socket);
                corten_shim::run(document, descriptors)
            }
            Fork::Parent(child) => {
                let pid = child.pid.to_string().into_bytes();
                packet::send(socket.as_fd(), pid, Vec::new()).unwrap();
            }
        }
    }
}

/// The forker's handle.
pub(crate) struct Forker {
    socket: Mutex<OwnedFd>,
    child: Child,
    pub(crate) runtime: Runtime,
    /// The containers' root: this program and the folders that mounts need.
    root: Scratch,
}

impl Forker {
    pub(crate) fn start() -> Self {
        let (ours, theirs) = packet::pair().unwrap();
        let program = std::env::current_exe().unwrap();
        let child = Command::new(&program).arg("forker").stdin(Stdio::from(theirs)).spawn().unwrap();
        let root = Scratch::new("root");
        for folder in ["proc", "sys", "dev", "tmp", "etc"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        std::fs::copy(program, root.path().join("it")).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { socket: Mutex::new(ours), child, runtime, root }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    fn fork(&self, request: Vec<u8>, descriptors: Vec<OwnedFd>) -> i32 {
        let socket = self.socket.lock().unwrap();
        packet::send(socket.as_fd(), request, descriptors).unwrap();
        let pid = packet::receive(socket.as_fd()).unwrap().document;
        String::from_utf8(pid).unwrap().parse().unwrap()
    }

    /// A shim that waits, in no cgroup of its own.
    pub(crate) fn spare(&self) -> (i32, Spare) {
        let (prepared, spare) = prepare_spare(CgroupHandle::default()).unwrap();
        let pid = self.fork(prepared.bytes, prepared.descriptors);
        spare.wait_until_ready(PATIENCE).unwrap();
        assert!(spare.is_there());
        (pid, spare)
    }

    /// Waits for a future, but not for ever.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("waited in vain") })
    }
}

impl Drop for Forker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a container is made of.
pub(crate) struct Options {
    pub(crate) steps: Vec<String>,
    pub(crate) program: String,
    pub(crate) terminal: bool,
    pub(crate) open_stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) attach: Vec<(AttachRequest, OwnedFd)>,
    pub(crate) max_size: Option<u64>,
    pub(crate) max_file: u32,
    pub(crate) log: Option<PathBuf>,
    pub(crate) cgroup: CgroupHandle,
    pub(crate) keep: Vec<(String, OwnedFd)>,
    /// Its shim is forked ahead and waits.
    pub(crate) spare: bool,
}

impl Options {
    pub(crate) fn new(steps: &[&str]) -> Self {
        Self {
            steps: steps.iter().map(|&step| step.to_owned()).collect(),
            program: "/it".to_owned(),
            terminal: false,
            open_stdin: false,
            stdin_once: false,
            attach: Vec::new(),
            max_size: None,
            max_file: 1,
            log: None,
            cgroup: CgroupHandle::default(),
            keep: Vec::new(),
            spare: false,
        }
    }

    /// Attaches a client before the start.
    pub(crate) fn attach(&mut self, request: AttachRequest) -> Client {
        let (client, theirs) = Client::new(request.framed);
        self.attach.push((request, theirs));
        client
    }
}

/// All streams, framed.
pub(crate) fn everything() -> AttachRequest {
    AttachRequest { stdin: true, stdout: true, stderr: true, framed: true, ..AttachRequest::default() }
}

/// A container with its shim.
pub(crate) struct Container<'forker> {
    pub(crate) forker: &'forker Forker,
    pub(crate) scratch: Scratch,
    pub(crate) log: PathBuf,
    pub(crate) shim_pid: i32,
    pub(crate) shim: Shim,
    pub(crate) events: Events,
}

pub(crate) fn spec(options: &Options) -> Spec {
    let mut args = vec![options.program.clone(), "inside".to_owned()];
    args.extend(options.steps.iter().cloned());
    let mut spec = default_spec(SpecOptions {
        args,
        terminal: options.terminal,
        cgroup: Mode::V2,
        ..SpecOptions::default()
    });
    // Without a cgroup of its own there is nothing to mount.
    spec.mounts.retain(|mount: &Mount| mount.kind.as_deref().is_none_or(|kind| !kind.starts_with("cgroup")));
    spec
}

impl<'forker> Container<'forker> {
    pub(crate) fn start(forker: &'forker Forker, options: Options) -> Self {
        let container = Self::begin(forker, options);
        forker.wait(container.shim.started()).unwrap();
        container
    }

    /// Forks the shim; whether the container starts is not awaited.
    pub(crate) fn begin(forker: &'forker Forker, options: Options) -> Self {
        let scratch = Scratch::new("shim");
        let log = options.log.clone().unwrap_or_else(|| scratch.path().join("c.log"));
        let request = StartRequest {
            version: 0,
            id: "c0ffee".to_owned(),
            spec: spec(&options),
            log: LogSettings {
                max_size: options.max_size,
                max_file: options.max_file,
                ..LogSettings::json_file(log.clone())
            },
            run_dir: scratch.path().to_owned(),
            open_stdin: options.open_stdin,
            stdin_once: options.stdin_once,
            cgroup: corten_runtime::cgroup::CgroupShape::default(),
            hardening: Hardening::all(),
            attach: Vec::new(),
            sandbox: None,
            runtime: None,
            descriptors: Vec::new(),
        };
        let descriptors = StartDescriptors {
            root: corten_sys::mount::clone_tree(forker.root.path(), false).unwrap(),
            mount_trees: Vec::new(),
            network_namespace: None,
            user_namespace: None,
            devices: Vec::new(),
            cgroup: options.cgroup,
            seccomp: None,
            init: None,
            host: None,
            attach: options.attach,
            keep: options.keep,
        };
        let _inside = forker.runtime.enter();
        if options.spare {
            assert!(Spare::takes(&request, 0));
            let (shim_pid, spare) = forker.spare();
            let (shim, events) = spare.start(request, descriptors).unwrap();
            return Self { forker, scratch, log, shim_pid, shim, events };
        }
        let (prepared, shim, events) = prepare(request, descriptors).unwrap();
        let shim_pid = forker.fork(prepared.bytes, prepared.descriptors);
        Self { forker, scratch, log, shim_pid, shim, events }
    }

    /// The end of the container, by its event.
    pub(crate) fn exited(&mut self) -> Exit {
        loop {
            if let Event::Exited(exit) = self.event() {
                return exit;
            }
        }
    }

    pub(crate) fn event(&mut self) -> Event {
        self.forker.wait(self.events.next()).expect("the shim is there")
    }

    /// The log's text of one stream.
    pub(crate) fn log(&self, stream: Stream) -> String {
        let mut reader = LogReader::open(&self.log, ReadOptions::default()).unwrap();
        let mut text = String::new();
        while let Some(entry) = reader.next().unwrap() {
            if entry.stream == stream {
                text.push_str(&entry.line);
            }
        }
        text
    }

    /// Waits until the shim's process is gone.
    pub(crate) fn shim_gone(&self) {
        until("the shim is gone", || !alive(self.shim_pid));
    }

    /// Forgets the connection as a dying daemon does, and finds the shim again.
    pub(crate) fn reconnect(&mut self) {
        let (shim, events, _) = self.forker.wait(Shim::connect(self.scratch.path())).unwrap();
        self.shim = shim;
        self.events = events;
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // The container is the shim's child, and ends here where a test failed half-way.
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.shim_pid))
            .unwrap_or_default();
        for child in children.split_ascii_whitespace() {
            let _ = process::kill(child.parse().unwrap(), 9);
        }
        if alive(self.shim_pid) {
            std::thread::sleep(Duration::from_millis(50));
            let _ = process::kill(self.shim_pid, 9);
        }
    }
}

/// Whether a process is there and not a zombie.
pub(crate) fn alive(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(std::time::Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A client's end of an attached connection.
pub(crate) struct Client {
    pub(crate) socket: UnixStream,
    framed: bool,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn new(framed: bool) -> (Self, OwnedFd) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        (Self { socket: ours, framed, buffer: Vec::new() }, theirs.into())
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    pub(crate) fn half_close(&self) {
        self.socket.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Everything until the end: standard output (or the raw bytes) and standard error.
    pub(crate) fn rest(&mut self) -> (String, String) {
        self.socket.read_to_end(&mut self.buffer).unwrap();
        let bytes = std::mem::take(&mut self.buffer);
        if !self.framed {
            return (String::from_utf8(bytes).unwrap(), String::new());
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < bytes.len() {
            let (stream, length) = mux::parse(bytes[at..at + mux::HEAD].try_into().unwrap()).unwrap();
            let piece = &bytes[at + mux::HEAD..at + mux::HEAD + length];
            if stream == Stream::Stderr { &mut err } else { &mut out }.extend_from_slice(piece);
            at += mux::HEAD + length;
        }
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    /// Reads raw bytes until they contain a text; gives them.
    pub(crate) fn until(&mut self, text: &str) -> String {
        loop {
            let read = String::from_utf8_lossy(&self.buffer).into_owned();
            if read.contains(text) {
                self.buffer.clear();
                return read;
            }
            let mut piece = [0; 4096];
            let count = self.socket.read(&mut piece).unwrap();
            assert!(count > 0, "the end came before `{text}`: `{read}`");
            self.buffer.extend_from_slice(&piece[..count]);
        }
    }
}
