//! A netlink socket: send a batch, read what the kernel says.

use super::message::{ACK, Batch, Message, attributes, messages, u16_at, u32_at};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// `NLMSG_ERROR`: an answer with a code, zero where all is well.
const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
const DONE: u16 = 3;
/// `NLM_F_CAPPED`: the answer repeats only the request's head.
const CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: attributes follow the code.
const ACK_ATTRIBUTES: u16 = 0x200;
/// `NLM_F_DUMP_INTR`: the objects changed while they were listed.
const DUMP_INTERRUPTED: u16 = 0x10;

/// Which part of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Interfaces, addresses, routes.
    Route,
    /// nftables and conntrack.
    Netfilter,
}

/// The kernel refused a request, or the socket failed.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refused to {operation}{}", detail.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
pub struct NetlinkError {
    /// What the refused message was to do.
    pub operation: &'static str,
    /// The kernel's own words, where it has some.
    pub detail: Option<String>,
    /// The code.
    pub source: io::Error,
}

impl NetlinkError {
    fn new(operation: &'static str, errno: Errno) -> Self {
        Self { operation, detail: None, source: errno.into() }
    }

    /// The code as a number (`libc::EEXIST` and so on).
    pub fn code(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(0)
    }

    /// Whether the object to be made is there already.
    pub fn is_exists(&self) -> bool {
        self.code() == libc::EEXIST
    }

    /// Whether the object does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self.code(), libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL)
    }

    /// Whether the kernel does not know such objects.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.code(), libc::EOPNOTSUPP | libc::EAFNOSUPPORT)
    }

    /// Whether rights are missing.
    pub fn is_permission(&self) -> bool {
        matches!(self.code(), libc::EPERM | libc::EACCES)
    }
}

/// A netlink socket; it stays in the network namespace in which it was opened, whichever thread uses it.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(protocol: Protocol) -> Result<Self, NetlinkError> {
        let fail = |errno| NetlinkError::new("open a netlink socket", errno);
        let number = match protocol {
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
        };
        let descriptor =
            net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, number)
                .map_err(fail)?;
        // Refused on kernels before 4.12, where errors come without words.
        let _ = set_option(descriptor.as_fd(), libc::NETLINK_EXT_ACK);
        let _ = set_option(descriptor.as_fd(), libc::NETLINK_CAP_ACK);
        net::bind(&descriptor, &netlink::SocketAddrNetlink::new(0, 0)).map_err(fail)?;
        Ok(Self { descriptor, buffer: vec![0; 32 * 1024] })
    }

    /// Sends all messages at once and waits for the kernel's answer, which is there when the call returns. The first
    /// refusal is the error; rtnetlink carries out the messages beside it, nftables none.
    pub fn send(&mut self, mut batch: Batch) -> Result<(), NetlinkError> {
        if batch.is_empty() {
            return Ok(());
        }
        // Only the last message asks for an answer; refusals are told for each.
        let last = batch.operations.len() as u32 - 1;
        set_flags(&mut batch, ACK);
        self.transmit(&batch)?;
        let mut first = None;
        loop {
            let count = match net::recv(&self.descriptor, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((count, _)) => count,
                // The answers are queued before send(2) returns.
                Err(Errno::AGAIN) => return first.map_or(Ok(()), Err),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(first.unwrap_or_else(|| NetlinkError::new("answer", errno))),
            };
            for message in messages(&self.buffer[..count]) {
                if message.kind != ERROR {
                    continue;
                }
                if let Err(error) = answer(&message, &batch.operations)
                    && first.is_none()
                {
                    first = Some(error);
                }
                // A batch of nftables is answered in one go, and its last operation stands before the end marker.
                if message.sequence == last && first.is_none() {
                    return Ok(());
                }
            }
        }
    }

    /// Sends one request that is answered by objects, and hands each to `each`. A list that changed while it was read
    /// is read again by the caller's choice: the result says whether it was whole.
    pub fn dump(&mut self, batch: &Batch, mut each: impl FnMut(Message<'_>)) -> Result<bool, NetlinkError> {
        self.transmit(batch)?;
        let mut whole = true;
        loop {
            let count = match net::recv(&self.descriptor, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((count, _)) => count,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(NetlinkError::new("list", errno)),
            };
            for message in messages(&self.buffer[..count]) {
                whole &= message.flags & DUMP_INTERRUPTED == 0;
                match message.kind {
                    DONE => return Ok(whole),
                    ERROR => return answer(&message, &batch.operations).map(|()| whole),
                    _ => each(message),
                }
            }
        }
    }

    /// Sends one request for one object, which is answered by it.
    pub fn get<T>(
        &mut self,
        batch: Batch,
        read: impl FnOnce(Message<'_>) -> Option<T>,
    ) -> Result<Option<T>, NetlinkError> {
        let mut batch = batch;
        set_flags(&mut batch, ACK);
        let mut read = Some(read);
        let mut result = None;
        self.transmit(&batch)?;
        loop {
            let count = match net::recv(&self.descriptor, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((count, _)) => count,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(NetlinkError::new("get an object", errno)),
            };
            for message in messages(&self.buffer[..count]) {
                if message.kind == ERROR {
                    return answer(&message, &batch.operations).map(|()| result);
                }
                if let Some(read) = read.take() {
                    result = read(message);
                }
            }
        }
    }

    fn transmit(&self, batch: &Batch) -> Result<(), NetlinkError> {
        let operation = batch.operations.first().copied().unwrap_or("send");
        if batch.overflow {
            return Err(NetlinkError::new(operation, Errno::MSGSIZE));
        }
        loop {
            match net::send(&self.descriptor, &batch.bytes, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(NetlinkError::new(operation, errno)),
            }
        }
    }
}

/// Asks for an answer to the last message that is not the end marker of an nftables batch.
fn set_flags(batch: &mut Batch, flags: u16) {
    let offset = batch.last + 6;
    if let Some(old) = u16_at(&batch.bytes, offset) {
        batch.bytes[offset..offset + 2].copy_from_slice(&(old | flags).to_ne_bytes());
    }
}

/// Reads an `NLMSG_ERROR`.
fn answer(message: &Message<'_>, operations: &[&'static str]) -> Result<(), NetlinkError> {
    let code = u32_at(message.payload, 0).map_or(-libc::EBADMSG, |code| code as i32);
    if code == 0 {
        return Ok(());
    }
    let operation = operations.get(message.sequence as usize).copied().unwrap_or("do that");
    let mut detail = None;
    if message.flags & ACK_ATTRIBUTES != 0 {
        let repeated =
            if message.flags & CAPPED != 0 { 16 } else { u32_at(message.payload, 4).unwrap_or(16) as usize };
        let rest = message.payload.get(4 + repeated.next_multiple_of(4)..).unwrap_or_default();
        // NLMSGERR_ATTR_MSG
        detail = attributes(rest).get(1).and_then(|attribute| attribute.text()).map(str::to_owned);
    }
    Err(NetlinkError { operation, detail, source: io::Error::from_raw_os_error(code.wrapping_neg()) })
}

fn set_option(descriptor: std::os::fd::BorrowedFd<'_>, option: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for the call, and the value points to an int of the length given.
    let result = unsafe {
        libc::setsockopt(
            descriptor.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_with_the_kernels_words() {
        let mut payload = (-libc::EINVAL).to_ne_bytes().to_vec();
        payload.extend_from_slice(&[0; 16]);
        payload.extend_from_slice(&[8, 0, 1, 0, b'b', b'a', b'd', 0]);
        let message = Message { kind: ERROR, flags: CAPPED | ACK_ATTRIBUTES, sequence: 1, payload: &payload };
        let error = answer(&message, &["first", "add a thing"]).unwrap_err();
        assert_eq!(error.to_string(), "the kernel refused to add a thing (bad)");
        assert_eq!(error.code(), libc::EINVAL);
        for length in 0..payload.len() {
            let message = Message { payload: &payload[..length], ..message };
            assert!(answer(&message, &[]).is_err());
        }
    }
}
