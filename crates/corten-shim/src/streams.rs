//! The shim's ends of one process's standard streams, and the clients attached to them.

use crate::attached::{Attached, LAST_OUTPUT_TIME, Typed};
use crate::mux::Stream;
use crate::packet::retry;
use crate::protocol::AttachRequest;
use corten_runtime::ChildStdio;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How much input is kept for a process that does not read, in bytes; then its clients have to wait.
const LONGEST_INPUT: usize = 64 * 1024;

/// How often a terminal that nobody inside has open is looked at again.
const TERMINAL_PAUSE: Duration = Duration::from_millis(100);

/// How the streams of a process are made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StreamOptions {
    /// A terminal instead of pipes.
    pub(crate) terminal: bool,
    /// Standard input is a pipe and not `/dev/null`.
    pub(crate) open_stdin: bool,
    /// It is closed when the first client that was attached to it is gone.
    pub(crate) stdin_once: bool,
}

/// What goes to the process.
#[derive(Debug)]
struct Input {
    descriptor: OwnedFd,
    /// Typed and not yet taken by the process; `written` of it are gone.
    pending: Vec<u8>,
    written: usize,
    /// To be closed when all is written.
    closing: bool,
}

/// What comes from the process.
#[derive(Debug)]
struct Output {
    stream: Stream,
    descriptor: OwnedFd,
    /// A terminal that nobody inside has open: not watched before this time.
    paused_until: Option<Instant>,
}

/// Which descriptor of a process something happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// Its input can be written.
    Input,
    /// Its output number can be read.
    Output(usize),
    /// Client number.
    Client(usize),
}

/// What reading an output gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Bytes of a stream; they have been given to the clients.
    Bytes(Stream, usize),
    /// Nothing now.
    Nothing,
    /// The stream has ended.
    Ended(Stream),
}

/// The streams.
#[derive(Debug)]
pub(crate) struct Streams {
    input: Option<Input>,
    outputs: Vec<Output>,
    /// The terminal, for its size.
    terminal: Option<OwnedFd>,
    options: StreamOptions,
    clients: Vec<Attached>,
    /// The process has ended: outputs are read without regard to slow clients, and a quiet terminal is at its end.
    draining: bool,
}

impl Streams {
    /// Makes the streams, and the ends for the process.
    ///
    /// # Errors
    /// Where the kernel refuses a pipe.
    pub(crate) fn new(options: StreamOptions) -> io::Result<(Self, ChildStdio)> {
        let mut streams = Self {
            input: None,
            outputs: Vec::new(),
            terminal: None,
            options,
            clients: Vec::new(),
            draining: false,
        };
        if options.terminal {
            return Ok((streams, ChildStdio::Terminal));
        }
        let stdin = if options.open_stdin {
            let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&ours, true)?;
            streams.input = Some(Input::new(ours));
            theirs
        } else {
            empty_input()?
        };
        let mut output = |stream| -> io::Result<OwnedFd> {
            let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&ours, true)?;
            streams.outputs.push(Output { stream, descriptor: ours, paused_until: None });
            Ok(theirs)
        };
        let stdout = output(Stream::Stdout)?;
        let stderr = output(Stream::Stderr)?;
        Ok((streams, ChildStdio::Pipes { stdin, stdout, stderr }))
    }

    /// Takes the terminal that was made for the process.
    ///
    /// # Errors
    /// Where its descriptor cannot be copied.
    pub(crate) fn set_terminal(&mut self, terminal: OwnedFd) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&terminal, true)?;
        if self.options.open_stdin {
            self.input = Some(Input::new(terminal.try_clone()?));
        }
        let descriptor = terminal.try_clone()?;
        self.outputs.push(Output { stream: Stream::Stdout, descriptor, paused_until: None });
        self.terminal = Some(terminal);
        Ok(())
    }

    pub(crate) fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.terminal.as_ref().map(AsFd::as_fd)
    }

    /// Attaches a client. What the daemon had read of its input is used by [`Streams::settle`].
    pub(crate) fn attach(&mut self, request: AttachRequest, socket: OwnedFd) {
        self.clients.push(Attached::new(request, socket));
    }

    pub(crate) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Whether all output has been read.
    pub(crate) fn are_drained(&self) -> bool {
        self.outputs.is_empty()
    }

    /// The process has ended.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        self.input = None;
        for output in &mut self.outputs {
            output.paused_until = None;
        }
    }

    /// Gives the clients a moment to read the last output, before the end is told to anybody.
    pub(crate) fn await_reading(&self) {
        let deadline = Instant::now() + LAST_OUTPUT_TIME;
        for client in &self.clients {
            client.await_reading(deadline);
        }
    }

    /// No more output will be read: clients are flushed and let go.
    pub(crate) fn finish(&mut self) {
        self.outputs.clear();
        self.input = None;
        self.terminal = None;
        for client in &mut self.clients {
            client.finish();
        }
        self.sweep();
    }

    /// Lets clients go without a word: the process never ran.
    pub(crate) fn abandon(&mut self) {
        self.clients.clear();
    }

    /// Closes standard input behind what is pending.
    pub(crate) fn close_input(&mut self) {
        if let Some(input) = &mut self.input {
            input.closing = true;
        }
        self.write_input();
    }

    /// What to watch: `add(port, descriptor, readable, writable)`.
    pub(crate) fn watch<'streams>(
        &'streams self,
        mut add: impl FnMut(Port, BorrowedFd<'streams>, bool, bool),
    ) {
        if let Some(input) = &self.input
            && input.is_pending()
        {
            add(Port::Input, input.descriptor.as_fd(), false, true);
        }
        if self.draining || !self.clients.iter().any(Attached::is_full) {
            for (index, output) in self.outputs.iter().enumerate() {
                if output.paused_until.is_none() {
                    add(Port::Output(index), output.descriptor.as_fd(), true, false);
                }
            }
        }
        let room = self.has_room();
        for (index, client) in self.clients.iter().enumerate() {
            if client.is_watched(room) {
                add(
                    Port::Client(index),
                    client.socket().as_fd(),
                    client.wants_input(room),
                    client.wants_output(),
                );
            }
        }
    }

    /// When to look again although nothing happened.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let pauses = self.outputs.iter().filter_map(|output| output.paused_until);
        pauses.chain(self.clients.iter().filter_map(Attached::deadline)).min()
    }

    /// Ends pauses and clients whose time has come.
    pub(crate) fn expire(&mut self, now: Instant) {
        for output in &mut self.outputs {
            output.paused_until = output.paused_until.filter(|until| now < *until);
        }
        let mut fed = false;
        for client in &mut self.clients {
            fed |= client.expire(now);
        }
        if fed && self.options.stdin_once && !self.options.terminal {
            self.close_input();
        }
    }

    /// Reads one output into `buffer` and gives it to the clients.
    pub(crate) fn read(&mut self, index: usize, buffer: &mut [u8]) -> Read {
        let Some(output) = self.outputs.get_mut(index) else { return Read::Nothing };
        let stream = output.stream;
        match retry(|| rustix::io::read(&output.descriptor, &mut *buffer)) {
            Ok(0) => {}
            Ok(count) => {
                for client in &mut self.clients {
                    client.output(stream, &buffer[..count]);
                }
                return Read::Bytes(stream, count);
            }
            Err(Errno::AGAIN) => return Read::Nothing,
            // A terminal that no process inside has open. One may open it again as long as somebody lives.
            Err(Errno::IO) if self.options.terminal && !self.draining => {
                output.paused_until = Some(Instant::now() + TERMINAL_PAUSE);
                return Read::Nothing;
            }
            Err(_) => {}
        }
        self.outputs.remove(index);
        Read::Ended(stream)
    }

    /// Something happened to a client's socket; how many detached by their keys.
    pub(crate) fn client_ready(
        &mut self,
        index: usize,
        readable: bool,
        writable: bool,
        hung_up: bool,
    ) -> usize {
        let mut detached = 0;
        if writable && let Some(client) = self.clients.get_mut(index) {
            client.flush();
        }
        if hung_up && let Some(client) = self.clients.get_mut(index) {
            client.hang_up();
        }
        if readable || hung_up {
            detached += usize::from(self.read_client(index));
        }
        detached
    }

    /// Uses up what daemons had read of clients' input; how many detached by their keys. Call in every round.
    pub(crate) fn settle(&mut self) -> usize {
        let mut detached = 0;
        for index in 0..self.clients.len() {
            if self.clients[index].has_leftover() && self.has_room() {
                detached += usize::from(self.read_client(index));
            }
        }
        detached
    }

    /// Drops clients that are gone. Call between rounds: numbers of clients change.
    pub(crate) fn sweep(&mut self) {
        self.clients.retain(|client| !client.is_gone());
        if self.clients.is_empty() {
            self.clients = Vec::new();
        }
    }

    /// Writes pending input, as far as the process takes it.
    pub(crate) fn write_input(&mut self) {
        let Some(input) = &mut self.input else { return };
        if input.write() {
            self.input = None;
        }
    }

    fn has_room(&self) -> bool {
        self.input.as_ref().is_none_or(|input| input.pending.len() - input.written < LONGEST_INPUT)
    }

    /// Reads a client's input; true where it typed the detach keys.
    fn read_client(&mut self, index: usize) -> bool {
        let room = self.has_room();
        let Some(client) = self.clients.get_mut(index) else { return false };
        if !client.wants_input(room) {
            return false;
        }
        let mut dropped = Vec::new();
        let onward = match &mut self.input {
            Some(input) if !input.closing => &mut input.pending,
            _ => &mut dropped,
        };
        let typed = client.input(onward);
        if typed != Typed::Going && self.options.stdin_once && !self.options.terminal {
            self.close_input();
        } else {
            self.write_input();
        }
        typed == Typed::Detached
    }
}

impl Input {
    fn new(descriptor: OwnedFd) -> Self {
        Self { descriptor, pending: Vec::new(), written: 0, closing: false }
    }

    fn is_pending(&self) -> bool {
        self.written < self.pending.len()
    }

    /// Writes what the process takes; true when it is to be closed (it was asked, or nobody reads any more).
    fn write(&mut self) -> bool {
        while self.is_pending() {
            match retry(|| rustix::io::write(&self.descriptor, &self.pending[self.written..])) {
                Ok(count) => self.written += count,
                Err(Errno::AGAIN) => return false,
                Err(_) => return true,
            }
        }
        self.pending = Vec::new();
        self.written = 0;
        self.closing
    }
}

/// What a process without input reads: `/dev/null`, or a pipe that has ended where there is none.
fn empty_input() -> io::Result<OwnedFd> {
    match rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(null) => Ok(null),
        Err(_) => Ok(pipe_with(PipeFlags::CLOEXEC)?.0),
    }
}
