//! Names to addresses: `/etc/hosts`, then the servers of `/etc/resolv.conf` by UDP, by TCP where an answer does not fit.
//!
//! The C library's resolver loads shared libraries, which a static program must not do.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// How long one server is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// So often every server is asked.
const ROUNDS: usize = 2;
const A: u16 = 1;
const AAAA: u16 = 28;

/// The addresses of a name, IPv4 first.
pub(crate) async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let hosts = tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default();
    let listed = listed(&hosts, host);
    if !listed.is_empty() {
        return Ok(listed);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let settings = tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default();
    let (servers, searched) = servers(&settings);
    let mut names = vec![host.trim_end_matches('.').to_owned()];
    if !host.contains('.') {
        let searched = searched.iter().map(|domain| format!("{host}.{domain}"));
        names.splice(0..0, searched);
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for name in names {
        match ask_all(&servers, &name).await {
            Ok(found) if !found.is_empty() => return Ok(found),
            Ok(_) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn listed(hosts: &str, host: &str) -> Vec<IpAddr> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(host)).then_some(address)
        })
        .collect()
}

/// Servers and search domains.
fn servers(settings: &str) -> (Vec<SocketAddr>, Vec<String>) {
    let (mut servers, mut searched) = (Vec::new(), Vec::new());
    for line in settings.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                servers.extend(
                    words.next().and_then(|word| word.parse().ok()).map(|ip| SocketAddr::new(ip, 53)),
                );
            }
            Some("search" | "domain") => {
                searched = words.map(|word| word.trim_end_matches('.').to_owned()).collect();
            }
            _ => {}
        }
    }
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, 53).into());
    }
    (servers, searched)
}

async fn ask_all(servers: &[SocketAddr], name: &str) -> io::Result<Vec<IpAddr>> {
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for server in std::iter::repeat_n(servers, ROUNDS).flatten() {
        match tokio::join!(ask_in_time(*server, name, A), ask_in_time(*server, name, AAAA)) {
            (Ok(mut found), Ok(others)) => {
                found.extend(others);
                return Ok(found);
            }
            // Servers that know nothing of the other kind fail there, or say nothing at all.
            (Ok(found), Err(_)) | (Err(_), Ok(found)) if !found.is_empty() => return Ok(found),
            (Err(error), _) | (_, Err(error)) => last = error,
        }
    }
    Err(last)
}

async fn ask_in_time(server: SocketAddr, name: &str, kind: u16) -> io::Result<Vec<IpAddr>> {
    tokio::time::timeout(PATIENCE, ask(server, name, kind)).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("lookup {name} on {server}: timeout")))
    })
}

async fn ask(server: SocketAddr, name: &str, kind: u16) -> io::Result<Vec<IpAddr>> {
    let mut id = [0; 2];
    tokio::io::AsyncReadExt::read_exact(&mut tokio::fs::File::open("/dev/urandom").await?, &mut id).await?;
    let id = u16::from_be_bytes(id);
    let query = question(id, name, kind)?;
    let local: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(&query).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match answer(&buffer[..length], id, kind) {
            Some(Answer::Addresses(found)) => return Ok(found),
            Some(Answer::Cut) => break,
            Some(Answer::Failed) => {
                return Err(io::Error::other(format!("lookup {name} on {server}: server misbehaving")));
            }
            // Not the answer to this question.
            None => {}
        }
    }
    let mut stream = TcpStream::connect(server).await?;
    let mut framed = (query.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(&query);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    buffer.resize(usize::from(length), 0);
    stream.read_exact(&mut buffer).await?;
    match answer(&buffer, id, kind) {
        Some(Answer::Addresses(found)) => Ok(found),
        _ => Err(io::Error::other(format!("lookup {name} on {server}: server misbehaving"))),
    }
}

fn question(id: u16, name: &str, kind: u16) -> io::Result<Vec<u8>> {
    let mut query = Vec::with_capacity(18 + name.len());
    query.extend_from_slice(&id.to_be_bytes());
    // Recursion is wanted; one question.
    query.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such host"));
        }
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.push(0);
    query.extend_from_slice(&kind.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    Ok(query)
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Addresses(Vec<IpAddr>),
    /// It did not fit.
    Cut,
    Failed,
}

/// Reads an answer; none for one that is not to this question.
fn answer(bytes: &[u8], id: u16, kind: u16) -> Option<Answer> {
    let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    if word(0)? != id || word(2)? & 0x8000 == 0 {
        return None;
    }
    let flags = word(2)?;
    match flags & 0xf {
        0 => {}
        // No such name: no addresses.
        3 => return Some(Answer::Addresses(Vec::new())),
        _ => return Some(Answer::Failed),
    }
    if flags & 0x0200 != 0 {
        return Some(Answer::Cut);
    }
    let mut at = 12;
    for _ in 0..word(4)? {
        at = past_name(bytes, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..word(6)? {
        at = past_name(bytes, at)?;
        let (record, length) = (word(at)?, usize::from(word(at + 8)?));
        let data = bytes.get(at + 10..at + 10 + length)?;
        if record == kind {
            if let Ok(four) = <[u8; 4]>::try_from(data) {
                found.push(IpAddr::from(four));
            } else if let Ok(sixteen) = <[u8; 16]>::try_from(data) {
                found.push(IpAddr::from(sixteen));
            }
        }
        at += 10 + length;
    }
    Some(Answer::Addresses(found))
}

fn past_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            // A pointer ends a name.
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length if length & 0xc0 == 0 => at += usize::from(length) + 1,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files() {
        let hosts = "127.0.0.1 localhost # me\n10.0.0.1 a b\n::1 a";
        assert_eq!(listed(hosts, "A").len(), 2);
        assert!(listed(hosts, "me").is_empty());
        let (servers, searched) = servers("search x. y\nnameserver 1.2.3.4\nnameserver ::1\n");
        assert_eq!((servers.len(), searched), (2, vec!["x".to_owned(), "y".to_owned()]));
    }

    #[test]
    fn an_answer_is_read() {
        let mut bytes = question(7, "a.example", A).unwrap();
        assert_eq!(answer(&bytes, 7, A), None, "a question is no answer");
        bytes[2] |= 0x80;
        bytes[7] = 1;
        bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 7]);
        assert_eq!(answer(&bytes, 7, A), Some(Answer::Addresses(vec![[10, 0, 0, 7].into()])));
        assert_eq!(answer(&bytes, 8, A), None);
        bytes[3] = 3;
        assert_eq!(answer(&bytes, 7, A), Some(Answer::Addresses(Vec::new())));
    }

    /// A server that answers questions for IPv4 and does something else with the others.
    #[tokio::test]
    async fn a_server_that_does_not_know_ipv6_is_believed() {
        for says_so in [true, false] {
            let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = server.local_addr().unwrap();
            let answering = tokio::spawn(async move {
                let mut buffer = [0; 512];
                loop {
                    let (length, asker) = server.recv_from(&mut buffer).await.unwrap();
                    let mut bytes = buffer[..length].to_vec();
                    bytes[2] |= 0x80;
                    if bytes[length - 4..length - 2] == A.to_be_bytes() {
                        bytes[7] = 1;
                        bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 7]);
                    } else if says_so {
                        // Not implemented.
                        bytes[3] |= 4;
                    } else {
                        continue;
                    }
                    server.send_to(&bytes, asker).await.unwrap();
                }
            });
            let found = ask_all(&[address], "a.example").await;
            assert_eq!(found.unwrap(), vec![IpAddr::from([10, 0, 0, 7])], "{says_so}");
            answering.abort();
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = answer(&bytes, 0, A);
        }
    }
}
