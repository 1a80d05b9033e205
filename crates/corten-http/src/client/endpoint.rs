//! Where a server is, and the socket to it.

use super::{HttpError, secure};
use crate::tls::TlsFiles;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// Plain TCP: host (address or name from /etc/hosts) and port.
    Tcp(String, u16),
    /// TCP with TLS: host, port, and the files to prove and check with.
    Secure(String, u16, TlsFiles),
    /// A program that carries the connection over its standard streams, as `ssh HOST docker system dial-stdio`.
    Program(Vec<String>),
}

impl Endpoint {
    /// Opens a connection.
    pub fn connect(&self) -> Result<Stream, HttpError> {
        let wrap = |source| HttpError::Connect { endpoint: self.to_string(), source };
        match self {
            Self::Unix(path) => UnixStream::connect(path).map(Stream::Unix).map_err(wrap),
            Self::Tcp(host, port) | Self::Secure(host, port, _) => {
                let address =
                    address_of(host).ok_or_else(|| HttpError::UnknownHost { host: host.clone() })?;
                let stream = TcpStream::connect(SocketAddr::new(address, *port)).map_err(wrap)?;
                // Frames of a terminal session are small and must not wait for each other.
                let _ = stream.set_nodelay(true);
                match self {
                    Self::Secure(_, _, files) => {
                        let config = crate::tls::client(files)?;
                        secure::carry(stream, host, config)
                            .map(Stream::Unix)
                            .map_err(|source| HttpError::Handshake { endpoint: self.to_string(), source })
                    }
                    _ => Ok(Stream::Tcp(stream)),
                }
            }
            Self::Program(words) => through_program(words).map(Stream::Unix).map_err(wrap),
        }
    }

    /// What goes into the `Host` header.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Tcp(host, port) | Self::Secure(host, port, _) => format!("{host}:{port}"),
            // What the Go client sends for sockets that have no host.
            Self::Unix(_) | Self::Program(_) => "api.moby.localhost".to_owned(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
            Self::Tcp(host, port) | Self::Secure(host, port, _) if host.contains(':') => {
                write!(formatter, "tcp://[{host}]:{port}")
            }
            Self::Tcp(host, port) | Self::Secure(host, port, _) => write!(formatter, "tcp://{host}:{port}"),
            Self::Program(words) => write!(formatter, "`{}`", words.join(" ")),
        }
    }
}

/// The address a host name stands for: an IP literal, `localhost`, or a line of /etc/hosts. The system's resolver
/// is not asked, because a static program must not load it.
fn address_of(host: &str) -> Option<IpAddr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let listed = hosts.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(host)).then_some(address)
    });
    listed.or_else(|| (host == "localhost").then(|| IpAddr::from([127, 0, 0, 1])))
}

/// Starts a program with one end of a socket pair as its input and output; it ends when the other end closes.
fn through_program(words: &[String]) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let (program, arguments) =
        words.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let input: OwnedFd = theirs.try_clone()?.into();
    let output: OwnedFd = theirs.into();
    Command::new(program).args(arguments).stdin(Stdio::from(input)).stdout(Stdio::from(output)).spawn()?;
    Ok(ours)
}

/// An open socket.
#[derive(Debug)]
pub enum Stream {
    /// A unix socket, also the one to a program.
    Unix(UnixStream),
    /// A TCP socket.
    Tcp(TcpStream),
}

impl Stream {
    /// A second handle of the same socket.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
        }
    }

    /// Tells the server that nothing more comes, while its answer may still come.
    pub fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Whether the other side has closed or sent something unasked: such a connection is not used again.
    pub(super) fn is_stale(&self) -> bool {
        let mut poll = [rustix::event::PollFd::new(self, rustix::event::PollFlags::IN)];
        !matches!(rustix::event::poll(&mut poll, Some(&rustix::event::Timespec::default())), Ok(0))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(buffer),
            Self::Tcp(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }
}

impl From<Stream> for OwnedFd {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Unix(stream) => stream.into(),
            Stream::Tcp(stream) => stream.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_localhost_need_no_resolver() {
        assert_eq!(address_of("127.0.0.5"), Some(IpAddr::from([127, 0, 0, 5])));
        assert_eq!(address_of("::1"), Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])));
        assert!(address_of("localhost").is_some());
        assert_eq!(address_of("no.such.host.invalid"), None);
    }
}
