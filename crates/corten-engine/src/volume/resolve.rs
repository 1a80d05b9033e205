//! Addresses of hosts by name, for mounts over the network: `/etc/hosts`, then the name servers of `/etc/resolv.conf`.
//!
//! The C library's own look-up is not used: the program is static, and that one loads code at run time.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

/// How long one name server is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Bytes of an answer over UDP.
const LARGEST: usize = 512;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// The address of a host: an address as it is, a name by the host's files, else by its name servers, IPv4 first.
pub(super) fn address_of(host: &str) -> io::Result<IpAddr> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    if let Some(address) = in_hosts(&std::fs::read_to_string("/etc/hosts").unwrap_or_default(), host) {
        return Ok(address);
    }
    let settings = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let (servers, domains) = settings_of(&settings);
    let mut names = vec![host.trim_end_matches('.').to_owned()];
    if !host.contains('.') {
        names.splice(0..0, domains.iter().map(|domain| format!("{host}.{domain}")));
    }
    let mut reason = io::Error::new(io::ErrorKind::NotFound, format!("lookup {host}: no such host"));
    for name in &names {
        for kind in [TYPE_A, TYPE_AAAA] {
            for server in &servers {
                match ask(*server, name, kind) {
                    Ok(Some(address)) => return Ok(address),
                    // This server knows that there is none; another one would say the same.
                    Ok(None) => break,
                    Err(error) => {
                        reason = io::Error::new(error.kind(), format!("lookup {host} on {server}: {error}"));
                    }
                }
            }
        }
    }
    Err(reason)
}

fn in_hosts(text: &str, host: &str) -> Option<IpAddr> {
    text.lines().find_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
    })
}

/// Name servers and search domains.
fn settings_of(text: &str) -> (Vec<IpAddr>, Vec<String>) {
    let (mut servers, mut domains) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => {
                servers.extend(words.next().and_then(|address| address.parse::<IpAddr>().ok()));
            }
            Some("search" | "domain") => {
                domains = words.map(|word| word.trim_end_matches('.').to_owned()).collect();
            }
            _ => {}
        }
    }
    (servers, domains)
}

fn ask(server: IpAddr, name: &str, kind: u16) -> io::Result<Option<IpAddr>> {
    let local: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(local)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect((server, 53))?;
    let number = u16::from_be_bytes(corten_std::id::random_bytes::<2>());
    socket.send(&question(number, name, kind)?)?;
    let mut answer = [0; LARGEST];
    let length = socket.recv(&mut answer)?;
    read_answer(&answer[..length], number, kind)
}

/// A query for one name (RFC 1035, section 4).
fn question(number: u16, name: &str, kind: u16) -> io::Result<Vec<u8>> {
    let mut message = Vec::with_capacity(32 + name.len());
    message.extend_from_slice(&number.to_be_bytes());
    // Recursion is wanted; one question.
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length =
            u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length)).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}` is not a host name"))
            })?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    Ok(message)
}

/// The first address of an answer; none where the name has none.
fn read_answer(message: &[u8], number: u16, kind: u16) -> io::Result<Option<IpAddr>> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the name server's answer cannot be read");
    let word = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    if word(0) != Some(number) || message.get(2).is_none_or(|flags| flags & 0x80 == 0) {
        return Err(wrong());
    }
    match message.get(3).map(|flags| flags & 0x0f) {
        Some(0) => {}
        Some(3) => return Ok(None),
        _ => return Err(io::Error::other("the name server refuses the question")),
    }
    let (questions, answers) = word(4).zip(word(6)).ok_or_else(wrong)?;
    let mut at = 12;
    for _ in 0..questions {
        at = after_name(message, at).ok_or_else(wrong)? + 4;
    }
    for _ in 0..answers {
        at = after_name(message, at).ok_or_else(wrong)?;
        let (found, length) = word(at).zip(word(at + 8)).ok_or_else(wrong)?;
        let data = message.get(at + 10..at + 10 + usize::from(length)).ok_or_else(wrong)?;
        if found == kind {
            if let Ok(bytes) = <[u8; 4]>::try_from(data) {
                return Ok(Some(bytes.into()));
            }
            if let Ok(bytes) = <[u8; 16]>::try_from(data) {
                return Ok(Some(bytes.into()));
            }
        }
        at += 10 + usize::from(length);
    }
    Ok(None)
}

/// Where a name ends that begins at `at`; it is not followed.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_host() {
        let text = "127.0.0.1 localhost\n# 1.1.1.1 no\n10.0.0.2 Server server.lan # here\n";
        assert_eq!(in_hosts(text, "server"), Some([10, 0, 0, 2].into()));
        assert_eq!(in_hosts(text, "no"), None);
        let (servers, domains) = settings_of("search a.b c.\nnameserver 9.9.9.9\nnameserver x\n");
        assert_eq!((servers.len(), domains), (1, vec!["a.b".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn answers_are_read_and_broken_ones_refused() {
        let mut message = question(7, "a.lan", TYPE_A).unwrap();
        message[2] |= 0x80;
        message[7] = 2;
        // An alias first, then the address; both names point to the question's.
        message.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 1, 0, 2, 0xc0, 12]);
        message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 10, 0, 0, 9]);
        assert_eq!(read_answer(&message, 7, TYPE_A).unwrap(), Some([10, 0, 0, 9].into()));
        assert_eq!(read_answer(&message, 7, TYPE_AAAA).unwrap(), None);
        assert!(read_answer(&message, 8, TYPE_A).is_err());
        for length in 0..message.len() {
            assert!(read_answer(&message[..length], 7, TYPE_A).is_err(), "{length}");
        }
        for at in 2..message.len() {
            let mut broken = message.clone();
            broken[at] ^= 0xff;
            let _ = read_answer(&broken, 7, TYPE_A);
        }
        assert!(question(1, "a..b", TYPE_A).is_err());
        assert!(question(1, &"x".repeat(64), TYPE_A).is_err());
    }
}
