//! A person (or a pipe) and a container, connected: one loop over the taken-over socket, standard input and signals,
//! without a thread.

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::terminal::{self, DetachKeys};
use crate::ui::Ui;
use corten_api::container::WaitResponse;
use corten_client::stream::{Channel, Deframer, Raw};
use corten_client::{Client, Waiting};
use corten_sys::process as signal;
use rustix::event::{PollFd, PollFlags};
use rustix::net::RecvFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

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
/// So many times a person asks for the end of a program that takes no notice, until the client leaves it alone.
const PATIENCE: u32 = 3;
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
        mut ending: Option<&mut Ending>,
    ) -> Result<End> {
        let client = context.client()?;
        let ui = &mut context.ui;
        let mut deframer = Deframer::default();
        let mut buffer = vec![0_u8; 64 << 10];
        let mut pending: Vec<u8> = Vec::new();
        let mut input_open = self.input;
        let mut output_open = true;
        let mut ends_asked = 0;
        let early = raw.take_early();
        self.output(ui, &mut deframer, &early)?;
        ui.flush()?;
        loop {
            let ended = ending.as_deref_mut().is_none_or(Ending::is_known);
            if !output_open && ended {
                return Ok(End::Finished);
            }
            let watched = ending.as_deref().and_then(Ending::socket);
            let input = input_open && pending.is_empty();
            let ready = self.wait(&raw, watched, output_open, input, !pending.is_empty())?;
            if ready.signal {
                ends_asked += self.take_signals(&client);
                if ends_asked >= PATIENCE {
                    let text = "\ngot 3 SIGTERM/SIGINTs, forcefully exiting".to_owned();
                    return Err(CliError::Said { text, code: 1 });
                }
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
        deframer.feed(bytes, &mut |channel, _, bytes| match channel {
            Channel::Output => ui.data(bytes),
            Channel::Error | Channel::System => ui.raw_error(bytes),
        })
    }

    /// Passes signals on; how many of them asked for the end.
    fn take_signals(&self, client: &Client) -> u32 {
        let Some(signals) = &self.signals else { return 0 };
        let mut ends = 0;
        while let Ok(Some((number, _))) = signal::read_signal(signals.as_fd()) {
            if number == WINDOW_CHANGED {
                self.subject.resize(client);
            } else if let Some((_, name)) = PASSED_ON.iter().find(|(other, _)| *other == number) {
                self.subject.pass_on(client, name);
                ends += u32::from(matches!(*name, "INT" | "TERM"));
            }
        }
        ends
    }

    /// Waits until something can be done.
    fn wait(
        &self,
        raw: &Raw,
        ending: Option<BorrowedFd<'_>>,
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
        if let Some(ending) = ending.as_ref() {
            polls.push(PollFd::new(ending, PollFlags::IN));
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

/// Whether the other side of a connection has gone and left nothing to read.
fn is_gone(socket: impl AsFd) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match rustix::net::recv(socket, &mut [0_u8; 1][..], flags) {
        Ok((_, count)) => count == 0,
        Err(error) => error == rustix::io::Errno::CONNRESET,
    }
}

/// The end of a container, waited for beside everything else. It is followed through a daemon that dies and comes back.
pub(crate) struct Ending {
    client: Arc<Client>,
    id: String,
    auto_remove: bool,
    state: State,
}

enum State {
    Waiting(Waiting),
    Known(Result<i64>),
}

/// So often a wait is begun again; together about ten seconds.
const ATTEMPTS: u64 = 40;

impl Ending {
    /// Begins to wait: for the removal of one that is removed at its end, for the next end of one that is to be
    /// started, or for a state that is not running.
    pub(crate) fn begin(client: &Arc<Client>, id: &str, condition: &str) -> Result<Self> {
        let waiting = client.container_wait(id, condition)?;
        Ok(Self {
            client: Arc::clone(client),
            id: id.to_owned(),
            auto_remove: condition == "removed",
            state: State::Waiting(waiting),
        })
    }

    /// Between attaching and starting: a daemon that has died meanwhile took the connection with it, and the output
    /// would go nowhere.
    pub(crate) fn check_attached(&self, raw: &Raw) -> Result<()> {
        if is_gone(raw) {
            Err(self.lost("the daemon was restarted before container", "was started"))
        } else {
            Ok(())
        }
    }

    /// After the start: the daemon that had the connection may have died, and the next one have done the start. A
    /// connection that a shim has ends only with the container.
    pub(crate) fn check_started(&self, raw: &Raw) -> Result<()> {
        let wait_broke = self.socket().is_some_and(is_gone);
        if wait_broke && is_gone(raw) {
            return Err(
                self.lost("the daemon was restarted while container", "was started: its output is not known")
            );
        }
        Ok(())
    }

    fn lost(&self, before: &str, after: &str) -> CliError {
        let text = format!("{before} {} {after}", corten_std::id::short(&self.id));
        CliError::Said { text, code: 125 }
    }

    /// The socket to watch while the end is not known.
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Waiting(waiting) => Some(waiting.as_fd()),
            State::Known(_) => None,
        }
    }

    /// Whether the end is known; takes what has come.
    fn is_known(&mut self) -> bool {
        match &self.state {
            State::Known(_) => true,
            State::Waiting(waiting) if waiting.is_decided() => {
                self.take();
                matches!(self.state, State::Known(_))
            }
            State::Waiting(_) => false,
        }
    }

    /// Takes the result, or begins again where the connection broke.
    fn take(&mut self) {
        let before = std::mem::replace(&mut self.state, State::Known(Ok(0)));
        let State::Waiting(waiting) = before else {
            self.state = before;
            return;
        };
        self.state = match waiting.result() {
            Ok(answer) => State::Known(code_of(answer)),
            Err(error) if error.is_broken() => self.again(),
            Err(error) => State::Known(Err(error.into())),
        };
    }

    fn again(&self) -> State {
        // By now it may have ended: "next" would wait for ever.
        let condition = if self.auto_remove { "removed" } else { "not-running" };
        for attempt in 0..ATTEMPTS {
            match self.client.container_wait(&self.id, condition) {
                Ok(waiting) => return State::Waiting(waiting),
                Err(error) if error.is_broken() => {
                    std::thread::sleep(std::time::Duration::from_millis(5 + attempt * 10));
                }
                Err(error) if error.is_not_found() => {
                    let text = format!(
                        "the daemon was restarted while container {} ended: its exit code is not known",
                        corten_std::id::short(&self.id)
                    );
                    return State::Known(Err(CliError::Said { text, code: 125 }));
                }
                Err(error) => return State::Known(Err(error.into())),
            }
        }
        State::Known(Err(CliError::said("the daemon went away and did not come back")))
    }

    /// The exit code; waits for it.
    pub(crate) fn code(mut self) -> Result<i64> {
        loop {
            match self.state {
                State::Known(result) => return result,
                State::Waiting(_) => self.take(),
            }
        }
    }
}

fn code_of(answer: WaitResponse) -> Result<i64> {
    match answer.error.filter(|error| !error.message.is_empty()) {
        Some(error) => Err(CliError::Said { text: error.message, code: 125 }),
        None => Ok(answer.status_code),
    }
}
