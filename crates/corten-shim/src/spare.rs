//! A shim that is forked before there is a container: it takes its seat in a cgroup, which may take the kernel ten
//! milliseconds, and then waits for what to start.

use crate::control::{Connection, failure};
use crate::packet::{self, Packet, retry};
use crate::protocol::{DescriptorRole, FailureCode, OLDEST_VERSION, ServerPacket, SpareRequest, VERSION};
use crate::start;
use corten_runtime::Seat;
use corten_runtime::cgroup::CgroupHandle;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::os::fd::{AsFd, OwnedFd};

/// How long the end of a seat is awaited, in milliseconds: one in a frozen cgroup ends later, and alone.
const SEAT_TIME: i64 = 200;

/// A seat and the duty to reap it: dropped, it ends the seat and waits for that.
#[derive(Debug)]
pub(crate) struct HeldSeat {
    /// None: it was let go already.
    seat: Option<Seat>,
    pid: i32,
}

impl HeldSeat {
    fn new(seat: Seat) -> Self {
        Self { pid: seat.pid(), seat: Some(seat) }
    }

    /// The seat, while it is there: somebody who kills all of a cgroup kills it too.
    pub(crate) fn get(&mut self) -> Option<&Seat> {
        if self.seat.is_some() && self.reap() {
            self.seat = None;
        }
        self.seat.as_ref()
    }

    /// Lets the seat end, without waiting for it yet.
    pub(crate) fn let_go(&mut self) {
        self.seat = None;
    }

    /// Whether it has ended.
    fn reap(&self) -> bool {
        let ended = |pid| !matches!(retry(|| waitpid(Some(pid), WaitOptions::NOHANG)), Ok(None));
        Pid::from_raw(self.pid).is_none_or(ended)
    }
}

impl Drop for HeldSeat {
    fn drop(&mut self) {
        self.let_go();
        if self.reap() {
            return;
        }
        // Not reaped, so the number is its own.
        if let Ok(handle) = corten_sys::process::pidfd_open(self.pid) {
            let timeout = Timespec { tv_sec: 0, tv_nsec: SEAT_TIME * 1_000_000 };
            let _ = retry(|| poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout)));
        }
        self.reap();
    }
}

/// Whether the first document asks for a spare.
pub(crate) fn read(document: &[u8]) -> Option<SpareRequest> {
    (document.len() <= SpareRequest::LONGEST).then(|| serde_json::from_slice(document).ok()).flatten()
}

/// Takes the seat, waits, and becomes the shim that is asked for then. Ends when nobody can ask any more.
pub(crate) fn run(request: &SpareRequest, mut descriptors: Vec<OwnedFd>) -> i32 {
    // The keeper's witness, which lasts as long as we do.
    let witness = descriptors.split_off(descriptors.len().min(request.descriptors.len()));
    let mut control = None;
    let mut cgroup = Vec::new();
    for (role, descriptor) in request.descriptors.iter().zip(descriptors) {
        match role {
            DescriptorRole::Control => control = Some(descriptor),
            DescriptorRole::Cgroup => cgroup.push(descriptor),
            _ => {}
        }
    }
    let Some(control) = control else { return 1 };
    let seat = if request.spare < OLDEST_VERSION || request.spare > VERSION {
        let text = format!("the shim speaks versions {OLDEST_VERSION} to {VERSION}, not {}", request.spare);
        Err(failure(FailureCode::Unsupported, text))
    } else {
        match CgroupHandle::from_parts(&request.cgroup, cgroup) {
            Some(handle) => take_seat(&handle).map_err(|error| start::launch_failure(&error)),
            None => Err(failure(FailureCode::Invalid, "the cgroup's descriptors are not those announced")),
        }
    };
    let (seat, told) = match seat {
        Ok(seat) => (Some(seat), Ok(())),
        Err(failure) => (None, Err(failure)),
    };
    let mut connection = Connection::new(control, false);
    connection.send(&ServerPacket::Spare(told), Vec::new());
    let Some(seat) = seat else { return 1 };
    let control = connection.into_socket();
    // The daemon has ended, or does not want us.
    let Ok(Packet { document, descriptors }) = packet::receive(control.as_fd()) else { return 0 };
    let mut start = start::read(&document, descriptors);
    drop(document);
    match &mut start {
        Ok(start) => {
            start.control = Some(control);
            start.keep.extend(witness.into_iter().map(|descriptor| (String::new(), descriptor)));
        }
        Err(refused) => refused.control = Some(control),
    }
    crate::obey(start, Some(seat))
}

fn take_seat(handle: &CgroupHandle) -> Result<HeldSeat, corten_runtime::LaunchError> {
    let seat = HeldSeat::new(Seat::take(handle)?);
    if let Some(seat) = &seat.seat {
        seat.wait_until_ready()?;
    }
    Ok(seat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_request_is_no_spare() {
        let spare = SpareRequest {
            spare: VERSION,
            cgroup: corten_runtime::cgroup::CgroupShape::default(),
            descriptors: vec![DescriptorRole::Control],
        };
        assert!(read(&serde_json::to_vec(&spare).unwrap()).is_some());
        assert!(read(br#"{"version":1,"id":"x"}"#).is_none());
        assert!(read(b"").is_none());
    }
}
