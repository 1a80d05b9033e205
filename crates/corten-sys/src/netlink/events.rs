//! What the kernel tells of changes in nftables, whoever makes them.

use super::message::{Message, messages};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SocketFlags, SocketType, netlink};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// `NFNLGRP_NFTABLES` as a bit of the groups that a socket is bound to.
const NFTABLES: u32 = 1 << (7 - 1);

/// A socket that is told of every change of nftables in the namespace in which it was opened.
#[derive(Debug)]
pub struct Events {
    descriptor: OwnedFd,
    buffer: Vec<u8>,
}

impl Events {
    /// Listens from now on.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let descriptor =
            net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER))?;
        net::bind(&descriptor, &netlink::SocketAddrNetlink::new(0, NFTABLES))?;
        Ok(Self { descriptor, buffer: vec![0; 32 * 1024] })
    }

    /// Hands on everything that was told; whether some of it was lost because nobody read in time.
    pub fn drain(&mut self, mut each: impl FnMut(Message<'_>)) -> io::Result<bool> {
        let mut lost = false;
        loop {
            match net::recv(&self.descriptor, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((count, length)) => {
                    lost |= length > count;
                    messages(&self.buffer[..count]).for_each(&mut each);
                }
                Err(Errno::AGAIN) => return Ok(lost),
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => lost = true,
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
