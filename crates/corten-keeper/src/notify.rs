//! What a service manager is told (`sd_notify(3)`): one datagram of `NAME=VALUE` lines to the socket that it named.

use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with};
use std::io;

/// Sends `state`; `socket` is a path, or a name in the abstract namespace behind an `@`.
///
/// # Errors
/// What the kernel says; a manager that does not read is not waited for.
pub(crate) fn send(socket: &[u8], state: &str) -> io::Result<()> {
    let address = match socket.split_first() {
        Some((b'@', name)) => SocketAddrUnix::new_abstract_name(name)?,
        _ => SocketAddrUnix::new(socket)?,
    };
    let ours = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sendto(&ours, state.as_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT, &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    #[test]
    fn both_kinds_of_names_are_reached() {
        let scratch = corten_testing::Scratch::new("notify");
        let path = scratch.path().join("notify");
        let name = format!("corten-notify-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        for (receiver, address) in [(by_path, path.display().to_string()), (by_name, format!("@{name}"))] {
            send(address.as_bytes(), "READY=1").unwrap();
            let mut buffer = [0; 64];
            let count = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..count], b"READY=1");
        }
        assert!(send(b"/nowhere/notify", "READY=1").is_err());
    }
}
