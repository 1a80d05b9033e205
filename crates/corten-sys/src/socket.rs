//! Unix sockets that carry descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// The most descriptors that the kernel lets one message carry (`SCM_MAX_FD`).
pub const MAX_DESCRIPTORS: usize = 253;

/// Two connected sockets that keep message borders, close-on-exec.
pub fn seqpacket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Two connected byte-stream sockets, close-on-exec.
pub fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Bytes that were written to a byte stream and that the other end has not read yet, as the kernel counts them (with what
/// it needs to keep them): 0 says that all is read. Over TCP: not acknowledged yet (tcp(7), `SIOCOUTQ`).
pub fn unread(socket: impl AsFd) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes one integer, which outlives the call.
    if unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut count) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Waits until the other end has read all that was written, at most for `limit`. Blocking.
pub fn wait_until_read(socket: impl AsFd, limit: Duration) {
    let deadline = Instant::now() + limit;
    while unread(&socket).is_ok_and(|count| count > 0) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Sends one message with descriptors; how many bytes went out (all of them on a socket that keeps borders).
/// A peer that is gone is an error (`BrokenPipe`), never a signal.
///
/// # Errors
/// `InvalidInput` with more than [`MAX_DESCRIPTORS`] descriptors, or with descriptors and no bytes.
pub fn send_with_fds(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if descriptors.len() > MAX_DESCRIPTORS || (bytes.is_empty() && !descriptors.is_empty()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        match rustix::net::sendmsg(socket.as_fd(), &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
        {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Receives one message with its descriptors, which are close-on-exec; 0 bytes is the end.
///
/// # Errors
/// `InvalidData` where the message was longer than the buffer or descriptors were dropped by the kernel: a
/// message is taken whole or not at all.
pub fn receive_with_fds(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match rustix::net::recvmsg(
            socket.as_fd(),
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result?,
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    let cut = rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC;
    if received.flags.intersects(cut) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((received.bytes, descriptors))
}

/// Who is at the other end of a unix socket (at the time it connected).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Process id in our pid namespace, 0 where it is not visible.
    pub pid: i32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Asks the kernel who is at the other end.
pub fn peer_credentials(socket: impl AsFd) -> io::Result<PeerCredentials> {
    use std::os::fd::AsRawFd;
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the structure and its length outlive the call; the kernel writes at most `length` bytes.
    // (Called directly because a peer outside our pid namespace has pid 0, which a non-zero type cannot
    // hold.)
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(PeerCredentials { pid: credentials.pid, uid: credentials.uid, gid: credentials.gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_end_has_read_is_known() {
        let (ours, theirs) = stream_pair().unwrap();
        assert_eq!(unread(&ours).unwrap(), 0);
        rustix::io::write(&ours, b"head").unwrap();
        assert!(unread(&ours).unwrap() > 0);
        let begin = Instant::now();
        wait_until_read(&ours, Duration::from_millis(5));
        assert!(begin.elapsed() >= Duration::from_millis(5), "nobody reads");
        rustix::io::read(&theirs, &mut [0; 4]).unwrap();
        assert_eq!(unread(&ours).unwrap(), 0);
    }

    #[test]
    fn descriptors_arrive_with_their_message() {
        let (left, right) = seqpacket_pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        send_with_fds(&left, b"here", &[writer.as_fd(), reader.as_fd()]).unwrap();
        let mut buffer = [0; 16];
        let (count, descriptors) = receive_with_fds(&right, &mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"here");
        assert_eq!(descriptors.len(), 2);
        rustix::io::write(&descriptors[0], b"x").unwrap();
        let mut byte = [0; 1];
        assert_eq!(rustix::io::read(&reader, &mut byte).unwrap(), 1);
        drop(left);
        assert_eq!(receive_with_fds(&right, &mut buffer).unwrap().0, 0);
    }

    #[test]
    fn a_message_is_taken_whole_or_not_at_all() {
        let (left, right) = seqpacket_pair().unwrap();
        send_with_fds(&left, b"longer than that", &[]).unwrap();
        let error = receive_with_fds(&right, &mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_peer_of_a_pair_is_this_process() {
        let (left, _right) = stream_pair().unwrap();
        assert_eq!(peer_credentials(&left).unwrap().pid, std::process::id() as i32);
    }
}
