//! The role that stays beside one container: streams, terminal, log, exit code, across daemon restarts.
//!
//! A shim is a forked child of the keeper ([`run`]); it never executes a program of its own, has one thread and one
//! loop. It is the parent of the container's first process and of its execs, holds their pipes or terminals, writes
//! the log and the exit record, and serves attached clients by their own sockets. Daemons come and go: each talks
//! to it by the socket `shim.sock` in the container's run folder ([`client`], [`protocol`]).
//!
//! What a shim knows nothing of: images, networks, names, restarts, HTTP.
//!
//! | module | |
//! | --- | --- |
//! | [`protocol`] | the documents on the wire, with their version |
//! | [`packet`] | documents of any length with descriptors over a SEQPACKET socket |
//! | [`client`] | the daemon's side |
//! | [`log`] | writing and reading the log |
//! | [`exit`] | the exit record |
//! | [`mux`], [`detach`] | output frames; detach keys |
//! | `role`, `streams`, `attached`, `control`, `start`, `spare` | the shim itself |
//! | `foreign` | another OCI runtime's program in the place of our own runtime |

mod attached;
pub mod client;
mod control;
pub mod detach;
pub mod exit;
mod foreign;
pub mod log;
pub mod mux;
pub mod packet;
pub mod protocol;
mod role;
mod spare;
mod start;
mod streams;

use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::AssertUnwindSafe;

/// The shim: starts the container that `request` (a [`protocol::StartRequest`] as JSON) and its descriptors
/// describe, and stays until its end is recorded and told; with a [`protocol::SpareRequest`] it waits for that one
/// first. To be called in a forked child with one thread, which
/// owns nothing else any more; ends the process.
pub fn run(request: Vec<u8>, descriptors: Vec<OwnedFd>) -> ! {
    // A panic must not unwind into the keeper's code, of which this process is a copy.
    let code = std::panic::catch_unwind(AssertUnwindSafe(|| begin(request, descriptors))).unwrap_or(70);
    corten_sys::process::exit_now(code)
}

fn begin(request: Vec<u8>, descriptors: Vec<OwnedFd>) -> i32 {
    // A session of its own: signals of the keeper's terminal or service do not reach it.
    let _ = rustix::process::setsid();
    let _ = corten_sys::process::set_name(c"corten-shim");
    detach_standard_streams();
    if let Some(spare) = spare::read(&request) {
        return spare::run(&spare, descriptors);
    }
    let start = start::read(&request, descriptors);
    drop(request);
    obey(start, None)
}

/// Does what was asked, from a seat where there is one.
fn obey(start: Result<start::Start, start::Refused>, seat: Option<spare::HeldSeat>) -> i32 {
    match start {
        Ok(start) => role::run(start, seat),
        Err(start::Refused { control, failure }) => {
            if let Some(control) = control {
                let mut connection = control::Connection::new(control, true);
                connection.send(&protocol::ServerPacket::Started(Err(failure)), Vec::new());
            }
            1
        }
    }
}

/// The keeper's terminal, or the pipe that somebody reads to its end, is not ours.
fn detach_standard_streams() {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, Mode::empty())
        .or_else(|_| rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map(|(reader, _)| reader));
    if let Ok(null) = null {
        for number in 0..=2 {
            let _ = corten_sys::descriptor::place_stdio(null.as_fd(), number);
        }
    }
}
