//! Staying beside a process until it ends: signals are passed on, and a terminal is joined with our own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use corten_runtime::Launched;
use corten_sys::process::{self, Exit};
use corten_sys::terminal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::termios::{OptionalActions, Termios};

use crate::failure::{Failure, Result};

/// Signals from outside that are the container's. SIGCHLD tells us that it may have ended.
fn watched() -> Vec<i32> {
    (1..=64)
        .filter(|signal| ![4, 5, 7, 8, 9, 11, 19].contains(signal) && !(32..=33).contains(signal))
        .collect()
}

/// Holds signals back from here on, so that none is lost before somebody is there to take it.
pub(crate) fn hold_signals() -> Result<OwnedFd> {
    let watched = watched();
    process::set_signal_mask(&watched)
        .and_then(|()| process::signal_descriptor(&watched))
        .map_err(|error| Failure::of("cannot watch for signals", &error))
}

/// Waits until the process has ended; its code as shells tell it.
pub(crate) fn stay(launched: Launched, signals: &OwnedFd) -> Result<i32> {
    let mut relay = launched.terminal.map(Relay::new).transpose().map_err(failed)?;
    loop {
        let wants_output = relay.is_some();
        let stdin = rustix::stdio::stdin();
        let mut descriptors = vec![PollFd::new(signals, PollFlags::IN)];
        if let Some(relay) = &relay {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, !relay.typed.is_empty());
            descriptors.push(PollFd::new(&relay.master, flags));
            if relay.reads && relay.typed.len() < 4096 {
                descriptors.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
            }
        }
        match poll(&mut descriptors, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let events: Vec<PollFlags> = descriptors.iter().map(PollFd::revents).collect();
        drop(descriptors);
        if let (true, Some(joined)) = (wants_output, &mut relay) {
            joined.work(&events[1..]);
        }
        while let Some((signal, _)) = process::read_signal(signals.as_fd()).map_err(failed)? {
            if signal == Signal::CHILD.as_raw() {
                while let Some((pid, exit)) = process::reap_any().map_err(failed)? {
                    if pid == launched.pid {
                        if let Some(joined) = &mut relay {
                            joined.finish();
                        }
                        return Ok(code(exit));
                    }
                }
            } else if signal == Signal::WINCH.as_raw() && relay.is_some() {
                if let Some(joined) = &relay {
                    joined.resize();
                }
            } else {
                // It may be gone this moment; then its end comes next.
                let _ = process::pidfd_send_signal(launched.pidfd.as_fd(), signal);
            }
        }
    }
}

fn code(exit: Exit) -> i32 {
    exit.shell_code()
}

fn failed(error: io::Error) -> Failure {
    Failure::of("cannot stay beside the container", &error)
}

/// Our own terminal (or whatever our streams are) and the container's.
struct Relay {
    master: OwnedFd,
    /// Typed, and not yet taken by the container's terminal.
    typed: Vec<u8>,
    /// Our standard input has not ended.
    reads: bool,
    before: Option<Termios>,
}

impl Relay {
    fn new(master: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&master, true)?;
        let stdin = rustix::stdio::stdin();
        let before = rustix::termios::tcgetattr(stdin).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw)?;
        }
        let relay = Self { master, typed: Vec::new(), reads: true, before };
        relay.resize();
        Ok(relay)
    }

    fn resize(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdout()) {
            let size = terminal::Size { rows: size.ws_row, columns: size.ws_col };
            let _ = terminal::set_size(self.master.as_fd(), size);
        }
    }

    /// Moves what there is: events of the master, and of our standard input where it was watched.
    fn work(&mut self, events: &[PollFlags]) {
        if events.first().is_some_and(|flags| flags.intersects(PollFlags::IN | PollFlags::HUP)) {
            self.read();
        }
        if events.get(1).is_some_and(|flags| !flags.is_empty()) {
            let mut buffer = [0; 4096];
            match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
                Ok(0) => {
                    self.reads = false;
                    // The end of the input as a terminal tells it.
                    self.typed.push(4);
                }
                Ok(count) => self.typed.extend(&buffer[..count]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => self.reads = false,
            }
        }
        if !self.typed.is_empty()
            && let Ok(count) = rustix::io::write(&self.master, &self.typed)
        {
            self.typed.drain(..count);
        }
    }

    /// One read; `false` where there is nothing now.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 8192];
        match rustix::io::read(&self.master, &mut buffer) {
            Ok(count) if count > 0 => {
                let mut rest = &buffer[..count];
                while !rest.is_empty() {
                    match rustix::io::write(rustix::stdio::stdout(), rest) {
                        Ok(count) => rest = &rest[count..],
                        Err(Errno::INTR) => {}
                        Err(_) => break,
                    }
                }
                true
            }
            _ => false,
        }
    }

    /// What the container wrote before its end.
    fn finish(&mut self) {
        while self.read() {}
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}
