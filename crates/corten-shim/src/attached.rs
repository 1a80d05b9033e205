//! One client attached to a process: what is still to be written to it, and what it types.
//!
//! ```text
//!            output ends, or detach keys            all is written            it closes, or 10 s
//! Streaming ───────────────────────────▶ Flushing ─────────────────▶ Leaving ───────────────────▶ gone
//!     └──────────────────────────────────── its socket breaks ─────────────────────────────────────▲
//! ```
//!
//! The socket's write side is closed on the way into `Leaving`; the rest of its input is read and dropped there,
//! because closing a socket with unread input would reset the connection and lose output on its way.

use crate::detach::Matcher;
use crate::mux::{self, Stream};
use crate::packet::retry;
use crate::protocol::AttachRequest;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How much output is kept for a client that does not read, in bytes; then the process has to wait, as with Docker.
const LONGEST_PENDING: usize = 1024 * 1024;

/// How long the process waits for a client that takes nothing at all; then the client is let go. What it missed is in
/// the log.
const STALL_TIME: Duration = Duration::from_mins(1);

/// How long the first output waits for the client to read the answer's head. Clients that read heads through a buffer of
/// their own and streams past it (all on Python's `http.client`: docker-py, Ansible) lose what comes in one piece with the
/// head; with an engine that needs many times longer to start a process this never shows.
const HEAD_TIME: Duration = Duration::from_millis(20);

/// How long a process's end is kept back for clients that have not read its last output. Programs that ask for the end on one
/// connection and read the output from another close their side when the end is known; a wait's answer that comes at the same
/// time as the last output loses it there (dockerode's `run`).
pub(crate) const LAST_OUTPUT_TIME: Duration = Duration::from_millis(4);

/// How long a client whose output has ended may keep its connection open.
const LEAVING_TIME: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Streaming,
    Flushing,
    Leaving(Instant),
    Gone,
}

/// What a client's input brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Bytes for the process, or none; more may come.
    Going,
    /// Its input has ended (half close).
    Ended,
    /// It typed the detach keys.
    Detached,
}

/// An attached client.
#[derive(Debug)]
pub(crate) struct Attached {
    socket: OwnedFd,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    framed: bool,
    detach: Option<Matcher>,
    /// What the daemon had read already.
    leftover: Vec<u8>,
    /// Output that the socket did not take yet; `written` of it are gone.
    pending: Vec<u8>,
    written: usize,
    /// Since when the process waits for it, and it took nothing.
    stalled: Option<Instant>,
    /// It had the time to read the answer's head.
    greeted: bool,
    /// Its input has ended.
    input_ended: bool,
    /// Both directions are closed at the other end.
    hung_up: bool,
    phase: Phase,
}

impl Attached {
    pub(crate) fn new(request: AttachRequest, socket: OwnedFd) -> Self {
        Self {
            socket,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            framed: request.framed,
            detach: request.detach_keys.filter(|keys| !keys.is_empty()).map(Matcher::new),
            leftover: request.leftover,
            pending: Vec::new(),
            written: 0,
            stalled: None,
            greeted: false,
            input_ended: false,
            hung_up: false,
            phase: Phase::Streaming,
        }
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    /// Whether its input still goes to the process.
    pub(crate) fn feeds_process(&self) -> bool {
        self.stdin && !self.input_ended && self.phase == Phase::Streaming
    }

    /// Whether the process has to wait for it.
    pub(crate) fn is_full(&self) -> bool {
        self.phase == Phase::Streaming && self.pending.len() - self.written >= LONGEST_PENDING
    }

    /// Whether it shall be told when the socket can be read. `room`: the process can take input.
    pub(crate) fn wants_input(&self, room: bool) -> bool {
        !self.input_ended && (room || !self.feeds_process())
    }

    /// Whether it shall be told when the socket can be written.
    pub(crate) fn wants_output(&self) -> bool {
        self.written < self.pending.len()
    }

    /// Whether the socket is to be watched at all: one that hung up reports that without end.
    pub(crate) fn is_watched(&self, room: bool) -> bool {
        !self.hung_up || self.wants_input(room)
    }

    /// When it is dropped although it keeps its connection open.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Leaving(deadline) => Some(deadline),
            _ => self.stalled.map(|since| since + STALL_TIME),
        }
    }

    /// Output of the process.
    pub(crate) fn output(&mut self, stream: Stream, bytes: &[u8]) {
        let wanted = if stream == Stream::Stderr { self.stderr } else { self.stdout };
        if !wanted || self.phase != Phase::Streaming {
            return;
        }
        let head = mux::head(stream, bytes.len());
        let head = if self.framed { &head[..] } else { &[] };
        if self.wants_output() {
            self.pending.extend_from_slice(head);
            self.pending.extend_from_slice(bytes);
            self.flush();
            self.note_stall();
            return;
        }
        let Some(sent) = self.send(&[head, bytes]) else { return };
        if sent < head.len() + bytes.len() {
            self.pending.extend_from_slice(&head[sent.min(head.len())..]);
            self.pending.extend_from_slice(&bytes[sent.saturating_sub(head.len())..]);
        }
    }

    /// Writes what is pending, as far as the socket takes it.
    pub(crate) fn flush(&mut self) {
        while self.wants_output() {
            let pending = std::mem::take(&mut self.pending);
            let sent = self.send(&[&pending[self.written..]]);
            self.pending = pending;
            match sent {
                None => return,
                Some(0) => break,
                Some(sent) => {
                    self.written += sent;
                    // It reads, however slowly.
                    self.stalled = None;
                    if self.written >= LONGEST_PENDING / 2 {
                        self.pending.drain(..self.written);
                        self.written = 0;
                    }
                }
            }
        }
        self.note_stall();
        if !self.wants_output() {
            self.pending = Vec::new();
            self.written = 0;
            if self.phase == Phase::Flushing {
                self.leave();
            }
        }
    }

    /// Begins to count the time for which the process waits.
    fn note_stall(&mut self) {
        if self.is_full() {
            self.stalled.get_or_insert_with(Instant::now);
        } else {
            self.stalled = None;
        }
    }

    /// Waits until it has read what the socket holds, at most until the deadline.
    pub(crate) fn await_reading(&self, deadline: Instant) {
        if self.phase == Phase::Streaming && (self.stdout || self.stderr) {
            let left = deadline.saturating_duration_since(Instant::now());
            corten_sys::socket::wait_until_read(&self.socket, left);
        }
    }

    /// Its output has ended: once all is written the connection is closed on our side.
    pub(crate) fn finish(&mut self) {
        if self.phase == Phase::Streaming {
            self.phase = Phase::Flushing;
            self.flush();
        }
    }

    /// Reads from it and appends what is for the process.
    pub(crate) fn input(&mut self, onward: &mut Vec<u8>) -> Typed {
        if !self.leftover.is_empty() {
            let leftover = std::mem::take(&mut self.leftover);
            return self.typed(&leftover, onward);
        }
        let mut buffer = [0_u8; 8192];
        match retry(|| rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT)) {
            Ok((_, 0)) => {
                let fed = self.feeds_process();
                if fed && let Some(detach) = &mut self.detach {
                    onward.extend_from_slice(detach.finish());
                }
                self.end_of_input();
                if fed { Typed::Ended } else { Typed::Going }
            }
            Ok((_, count)) => {
                let (typed, _) = buffer.split_at(count);
                self.typed(typed, onward)
            }
            Err(Errno::AGAIN) => Typed::Going,
            Err(_) => {
                let fed = self.feeds_process();
                self.phase = Phase::Gone;
                if fed { Typed::Ended } else { Typed::Going }
            }
        }
    }

    /// Whether what the daemon had read is still to be given on.
    pub(crate) fn has_leftover(&self) -> bool {
        !self.leftover.is_empty()
    }

    /// The other end closed both directions, or the socket broke.
    pub(crate) fn hang_up(&mut self) {
        self.hung_up = true;
        // Nothing can be written any more; what it sent before may still be read.
        if self.input_ended {
            self.phase = Phase::Gone;
        } else {
            self.pending = Vec::new();
            self.written = 0;
        }
    }

    /// Drops it where its time is over; true where its input went to the process until now.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let fed = self.feeds_process();
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            self.phase = Phase::Gone;
        }
        fed && self.is_gone()
    }

    fn typed(&mut self, typed: &[u8], onward: &mut Vec<u8>) -> Typed {
        if !self.feeds_process() {
            return Typed::Going;
        }
        match &mut self.detach {
            None => onward.extend_from_slice(typed),
            Some(detach) => {
                if detach.feed(typed, onward) {
                    self.finish();
                    return Typed::Detached;
                }
            }
        }
        Typed::Going
    }

    fn end_of_input(&mut self) {
        self.input_ended = true;
        if self.hung_up || matches!(self.phase, Phase::Leaving(_)) {
            self.phase = Phase::Gone;
        }
    }

    fn leave(&mut self) {
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
        self.phase = if self.input_ended || self.hung_up {
            Phase::Gone
        } else {
            Phase::Leaving(Instant::now() + LEAVING_TIME)
        };
    }

    /// Bytes taken by the socket; none: it broke.
    fn send(&mut self, parts: &[&[u8]]) -> Option<usize> {
        if !std::mem::replace(&mut self.greeted, true) {
            corten_sys::socket::wait_until_read(&self.socket, HEAD_TIME);
        }
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent =
            retry(|| rustix::net::sendmsg(&self.socket, &slices, &mut SendAncillaryBuffer::default(), flags));
        match sent {
            Ok(sent) => Some(sent),
            Err(Errno::AGAIN | Errno::NOBUFS) => Some(0),
            Err(_) => {
                // Its input may still hold something: that is read until it ends.
                self.hang_up();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    fn client() -> (Attached, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let request = AttachRequest { stdin: true, stdout: true, ..AttachRequest::default() };
        (Attached::new(request, ours.into()), theirs)
    }

    #[test]
    fn the_first_output_comes_behind_the_head() {
        let (mut client, mut reader) = client();
        rustix::io::write(client.socket(), b"head").unwrap();
        let slow = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(3));
            let mut all = [0; 100];
            let head = reader.read(&mut all).unwrap();
            (head, reader.read(&mut all).unwrap())
        });
        client.output(Stream::Stdout, b"output");
        assert_eq!(slow.join().unwrap(), (4, 6), "not in one piece");
        // One that never reads is not waited for again and again.
        let (mut client, _reader) = self::client();
        rustix::io::write(client.socket(), b"head").unwrap();
        let begin = Instant::now();
        for _ in 0..50 {
            client.output(Stream::Stdout, b"x");
        }
        assert!(begin.elapsed() < 10 * HEAD_TIME);
    }

    #[test]
    fn one_that_takes_nothing_is_let_go_after_a_while() {
        let (mut client, mut reader) = client();
        assert_eq!(client.deadline(), None);
        while !client.is_full() {
            client.output(Stream::Stdout, &vec![b'x'; 32 * 1024]);
        }
        let deadline = client.deadline().expect("the process waits for it");
        assert!(!client.expire(deadline.checked_sub(Duration::from_secs(1)).unwrap()) && !client.is_gone());
        // One that reads a little is waited for anew.
        let mut some = vec![0; 50_000];
        reader.read_exact(&mut some).unwrap();
        client.flush();
        assert!(!client.expire(deadline) && !client.is_gone());
        while !client.is_full() {
            client.output(Stream::Stdout, &vec![b'x'; 32 * 1024]);
        }
        let deadline = client.deadline().unwrap();
        assert!(client.expire(deadline), "it fed the process until now");
        assert!(client.is_gone());
    }

    #[test]
    fn one_that_reads_slowly_misses_nothing_and_costs_no_more() {
        let (mut client, mut reader) = client();
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        let mut buffer = vec![0; 40 * 1024];
        for round in 0..400_u32 {
            let piece: Vec<u8> = (0..16 * 1024_u32).map(|at| (at ^ round) as u8).collect();
            if !client.is_full() {
                client.output(Stream::Stdout, &piece);
                sent.extend_from_slice(&piece);
            }
            if round % 3 == 0 {
                let count = reader.read(&mut buffer).unwrap();
                received.extend_from_slice(&buffer[..count]);
                client.flush();
            }
            assert!(client.pending.len() < 3 * LONGEST_PENDING);
        }
        client.finish();
        reader.set_nonblocking(true).unwrap();
        while received.len() < sent.len() {
            if let Ok(count) = reader.read(&mut buffer) {
                received.extend_from_slice(&buffer[..count]);
            }
            client.flush();
        }
        assert_eq!(received, sent);
    }
}
