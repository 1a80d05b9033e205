//! Tables of iptables-legacy, read as its own program reads them (linux/netfilter_ipv4/ip_tables.h). Nothing is changed,
//! and no module of the kernel is loaded: only a table that is there already is asked for.

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// `IPT_SO_GET_INFO`, the same number for IPv6.
const GET_INFO: libc::c_int = 64;
/// `IPT_SO_GET_ENTRIES`.
const GET_ENTRIES: libc::c_int = 65;
/// `struct ipt_getinfo`: a name, which hooks, their entries and underflows, and two sizes.
const INFO: usize = 32 + 4 + 20 + 20 + 4 + 4;
/// What stands before the entries of `struct ipt_get_entries`.
const FRONT: usize = 40;
/// A table that is larger than this is not read.
const LARGEST: usize = 64 << 20;

/// A table with its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyTable {
    /// Offsets of the first entries by hook (`NF_INET_LOCAL_IN` is 1, `NF_INET_FORWARD` 2); none where it has no chain there.
    pub entries: [Option<u32>; 5],
    /// Offsets of the entries with the policies.
    pub underflows: [u32; 5],
    /// The entries, one after the other.
    pub bytes: Vec<u8>,
}

/// Reads the table `filter`, where the kernel has one in the calling thread's network namespace.
pub fn read_filter(ipv6: bool) -> io::Result<Option<LegacyTable>> {
    let names =
        if ipv6 { "/proc/thread-self/net/ip6_tables_names" } else { "/proc/thread-self/net/ip_tables_names" };
    match std::fs::read_to_string(names) {
        Ok(text) if text.lines().any(|name| name == "filter") => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let (family, level) = if ipv6 {
        (AddressFamily::INET6, libc::IPPROTO_IPV6)
    } else {
        (AddressFamily::INET, libc::IPPROTO_IP)
    };
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW))?;
    // The table may change between the two calls; the kernel then says so.
    for _ in 0..8 {
        let mut info = vec![0; INFO];
        info[..6].copy_from_slice(b"filter");
        get(&socket, level, GET_INFO, &mut info)?;
        let number = |at: usize| {
            info.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
        };
        let size = number(INFO - 4) as usize;
        if size > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut entries = vec![0; FRONT + size];
        entries[..6].copy_from_slice(b"filter");
        entries[32..36].copy_from_slice(&(size as u32).to_ne_bytes());
        match get(&socket, level, GET_ENTRIES, &mut entries) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            Err(error) => return Err(error),
            Ok(()) => {
                let hooks = number(32);
                let entry = |hook: usize| (hooks & (1 << hook) != 0).then(|| number(36 + 4 * hook));
                entries.drain(..FRONT);
                return Ok(Some(LegacyTable {
                    entries: std::array::from_fn(entry),
                    underflows: std::array::from_fn(|hook| number(56 + 4 * hook)),
                    bytes: entries,
                }));
            }
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

fn get(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, buffer: &mut [u8]) -> io::Result<()> {
    let mut length = buffer.len() as libc::socklen_t;
    // SAFETY: buffer and length are valid for the call, and the kernel writes at most `length` bytes.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, buffer.as_mut_ptr().cast(), &raw mut length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
