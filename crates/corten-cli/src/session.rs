//! A person (or a pipe) and a container, connected: one loop over the taken-over socket, standard input and signals,
//! without a thread.

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::terminal::{self, DetachKeys};
use crate::ui::Ui;
use corten_client::stream::{Channel, Deframer, Raw};
use corten_client::{Client, Waiting};
use corten_sys::process as signal;
use rustix::event::{PollFd, PollFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Signals that are passed on to the container, with the names that the daemon takes.
const PASSED_ON: &[(i32, &str)] = &[
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (20, "TSTP"),
];
/// The terminal has another size.
const WINDOW_CHANGED: i32 = 28;

/// Whose terminal is resized and who gets signals.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    /// A container.
    Container(String),
    /// An exec; it gets no signals.
    Exec(String),
}

impl Subject {
    /// Tells the size of the person's terminal; where there is none, or the process has ended, nothing happens.
    pub(crate) fn resize(&self, client: &Client) {
        if let Some((rows, columns)) = terminal::size() {
            let _ = match self {
                Self::Container(id) => client.container_resize(id, rows, columns),
                Self::Exec(id) => client.exec_resize(id, rows, columns),
            };
        }
    }

    fn pass_on(&self, client: &Client, name: &str) {
        if let Self::Container(id) = self {
            // A container that has just ended takes no signal, and that is as well.
            let _ = client.container_kill(id, Some(name));
        }
    }
}

/// What is connected.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) subject: Subject,
    /// Whether the process has a terminal: no frames, and the person's terminal follows.
    pub(crate) terminal: bool,
    /// Whether standard input is passed on.
    pub(crate) input: bool,
    /// Keys that detach, where they are looked for.
    pub(crate) detach_keys: Option<DetachKeys>,
    /// Blocked signals, read here.
    pub(crate) signals: Option<OwnedFd>,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The output ended, and with it the wait that was given along.
    Finished,
    /// The person typed the detach keys.
    Detached,
}

/// Blocks the signals that a session handles, from now on, and gives the descriptor to read them from. What only
/// concerns a terminal is left alone where there is none.
pub(crate) fn catch_signals(pass_on: bool, terminal: bool) -> Option<OwnedFd> {
    let mut numbers: Vec<i32> = Vec::new();
    if pass_on {
        numbers.extend(PASSED_ON.iter().map(|(number, _)| *number));
    }
    if terminal {
        numbers.push(WINDOW_CHANGED);
    }
    if numbers.is_empty() {
        return None;
    }
    signal::set_signal_mask(&numbers).ok()?;
    signal::signal_descriptor(&numbers).ok()
}

impl Session {
    /// Passes everything on until the output ends and, where a wait is given, the container's end is known.
    pub(crate) fn run(
        mut self,
        context: &mut Context,
        mut raw: Raw,
        waiting: Option<&Waiting>,
    ) -> Result<End> {
        let client = context.client()?;
        let ui = &mut context.ui;
        let mut deframer = Deframer::default();
        let mut buffer = vec![0_u8; 64 << 10];
        let mut pending: Vec<u8> = Vec::new();
        let mut input_open = self.input;
        let mut output_open = true;
        let early = raw.take_early();
        self.output(ui, &mut deframer, &early)?;
        ui.flush()?;
        loop {
            if !output_open && waiting.is_none_or(Waiting::is_decided) {
                return Ok(End::Finished);
            }
            let ready =
                self.wait(&raw, waiting, output_open, input_open && pending.is_empty(), !pending.is_empty())?;
            if ready.signal {
                self.take_signals(&client);
            }
            if ready.output {
                match raw.receive(&mut buffer).map_err(CliError::Output)? {
                    0 => output_open = false,
                    count => {
                        self.output(ui, &mut deframer, &buffer[..count])?;
                        ui.flush()?;
                    }
                }
            }
            if ready.input {
                let count = read_input(&mut buffer)?;
                match &mut self.detach_keys {
                    Some(keys) => {
                        let (passed, detached) = keys.filter(&buffer[..count]);
                        pending = passed;
                        if detached {
                            return Ok(End::Detached);
                        }
                    }
                    None => pending.extend_from_slice(&buffer[..count]),
                }
                if count == 0 {
                    input_open = false;
                    raw.finish_input();
                }
            }
            if !pending.is_empty() {
                match raw.send_some(&pending) {
                    Ok(Some(count)) => drop(pending.drain(..count)),
                    Ok(None) => {}
                    // Nobody reads any more; output may still come.
                    Err(_) => {
                        pending.clear();
                        input_open = false;
                    }
                }
            }
        }
    }

    fn output(&self, ui: &mut Ui, deframer: &mut Deframer, bytes: &[u8]) -> Result<()> {
        if self.terminal {
            return ui.data(bytes);
        }
        deframer.feed(bytes, &mut |channel, bytes| match channel {
            Channel::Output => ui.data(bytes),
            Channel::Error | Channel::System => ui.raw_error(bytes),
        })
    }

    fn take_signals(&self, client: &Client) {
        let Some(signals) = &self.signals else { return };
        while let Ok(Some((number, _))) = signal::read_signal(signals.as_fd()) {
            if number == WINDOW_CHANGED {
                self.subject.resize(client);
            } else if let Some((_, name)) = PASSED_ON.iter().find(|(other, _)| *other == number) {
                self.subject.pass_on(client, name);
            }
        }
    }

    /// Waits until something can be done.
    fn wait(
        &self,
        raw: &Raw,
        waiting: Option<&Waiting>,
        output: bool,
        input: bool,
        send: bool,
    ) -> Result<Ready> {
        let stdin = io::stdin();
        let mut polls = Vec::with_capacity(4);
        let mut socket = PollFlags::empty();
        socket.set(PollFlags::IN, output);
        socket.set(PollFlags::OUT, send);
        let at_socket = (!socket.is_empty()).then(|| {
            polls.push(PollFd::new(raw, socket));
            polls.len() - 1
        });
        let at_input = input.then(|| {
            polls.push(PollFd::new(&stdin, PollFlags::IN));
            polls.len() - 1
        });
        let at_signal = self.signals.as_ref().map(|signals| {
            polls.push(PollFd::new(signals, PollFlags::IN));
            polls.len() - 1
        });
        if let Some(waiting) = waiting.filter(|_| !output) {
            polls.push(PollFd::new(waiting, PollFlags::IN));
        }
        loop {
            match rustix::event::poll(&mut polls, None) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(CliError::Output(error.into())),
            }
        }
        let is_ready = |at: Option<usize>, flags: PollFlags| {
            at.is_some_and(|at| {
                polls[at].revents().intersects(flags | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
            })
        };
        Ok(Ready {
            output: output && is_ready(at_socket, PollFlags::IN),
            input: is_ready(at_input, PollFlags::IN),
            signal: is_ready(at_signal, PollFlags::IN),
        })
    }
}

#[derive(Debug)]
struct Ready {
    output: bool,
    input: bool,
    signal: bool,
}

/// Reads standard input; one that is closed or not to be read counts as ended.
fn read_input(buffer: &mut [u8]) -> Result<usize> {
    loop {
        match rustix::io::read(io::stdin(), &mut *buffer) {
            Ok(count) => return Ok(count),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(rustix::io::Errno::BADF | rustix::io::Errno::IO) => return Ok(0),
            Err(error) => return Err(CliError::Output(error.into())),
        }
    }
}

/// Waits for the container's end; follows it through a daemon that dies and comes back.
pub(crate) fn exit_code(client: &Client, id: &str, auto_remove: bool, waiting: Waiting) -> Result<i64> {
    let mut result = waiting.result();
    for attempt in 0..40_u64 {
        match result {
            Err(error) if error.is_broken() => {
                std::thread::sleep(std::time::Duration::from_millis(5 + attempt * 10));
                // By now it may have ended: "next" would wait for ever.
                let condition = if auto_remove { "removed" } else { "not-running" };
                result = client.container_wait(id, condition).and_then(Waiting::result);
            }
            other => {
                let answer = other?;
                if let Some(error) = answer.error.filter(|error| !error.message.is_empty()) {
                    return Err(CliError::Said { text: error.message, code: 125 });
                }
                return Ok(answer.status_code);
            }
        }
    }
    Ok(result?.status_code)
}
