//! Connections to receivers: TCP, UDP, unix streams and datagrams behind one face.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};
use tokio::time::timeout;

/// How long connecting or sending may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a receiver is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(String, u16),
    Udp(String, u16),
    Unix(PathBuf),
    UnixDatagram(PathBuf),
}

impl Address {
    /// Reads `scheme://host:port` or `scheme:///path`; the text says what is wrong.
    pub(super) fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("it has no scheme, as in tcp://HOST:PORT")?;
        let network = || -> Result<(String, u16), String> {
            let (host, port) = match rest.rsplit_once(':') {
                Some((host, port)) if !port.contains(']') => {
                    (host, port.parse().map_err(|_| format!("`{port}` is no port"))?)
                }
                _ => (rest, default_port),
            };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            if host.is_empty() {
                return Err("the host is missing".to_owned());
            }
            Ok((host.to_owned(), port))
        };
        match scheme {
            "tcp" => network().map(|(host, port)| Self::Tcp(host, port)),
            "udp" => network().map(|(host, port)| Self::Udp(host, port)),
            "unix" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "unixgram" if rest.starts_with('/') => Ok(Self::UnixDatagram(rest.into())),
            "unix" | "unixgram" => Err("a socket needs a whole path".to_owned()),
            "tls" | "tcp+tls" => Err("TLS to a log receiver is not built into this engine yet".to_owned()),
            other => Err(format!("the scheme `{other}` is not known")),
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) enum Wire {
    Tcp(TcpStream),
    Udp(UdpSocket),
    Unix(UnixStream),
    UnixDatagram(UnixDatagram),
}

impl Wire {
    pub(super) async fn open(address: &Address) -> io::Result<Self> {
        let dialled = |kind: &str, place: &dyn std::fmt::Display, error: io::Error| {
            io::Error::new(error.kind(), format!("dial {kind} {place}: connect: {}", reason(&error)))
        };
        match address {
            Address::Tcp(host, port) => {
                let address = resolve(host, *port)?;
                let stream = timeout(PATIENCE, TcpStream::connect(address)).await?;
                let stream = stream.map_err(|error| dialled("tcp", &address, error))?;
                let _ = stream.set_nodelay(true);
                Ok(Self::Tcp(stream))
            }
            Address::Udp(host, port) => {
                let address = resolve(host, *port)?;
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any).await?;
                socket.connect(address).await.map_err(|error| dialled("udp", &address, error))?;
                Ok(Self::Udp(socket))
            }
            Address::Unix(path) => UnixStream::connect(path)
                .await
                .map(Self::Unix)
                .map_err(|error| dialled("unix", &path.display(), error)),
            Address::UnixDatagram(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path).map_err(|error| dialled("unixgram", &path.display(), error))?;
                Ok(Self::UnixDatagram(socket))
            }
        }
    }

    /// Whether what is sent arrives as one piece or not at all.
    pub(super) fn is_datagram(&self) -> bool {
        matches!(self, Self::Udp(_) | Self::UnixDatagram(_))
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, async {
            match self {
                Self::Tcp(stream) => stream.write_all(bytes).await,
                Self::Unix(stream) => stream.write_all(bytes).await,
                // That nobody is there is told by the next datagram; the last is lost, as datagrams are.
                Self::Udp(socket) => match socket.send(bytes).await {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
                    other => other.map(drop),
                },
                Self::UnixDatagram(socket) => socket.send(bytes).await.map(drop),
            }
        })
        .await?
    }

    /// Reads what the receiver says; 0 at its end.
    pub(super) async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        timeout(PATIENCE, async {
            match self {
                Self::Tcp(stream) => stream.read(buffer).await,
                Self::Unix(stream) => stream.read(buffer).await,
                Self::Udp(_) | Self::UnixDatagram(_) => Ok(0),
            }
        })
        .await?
    }

    /// Whether a stream's receiver has gone: writing to it would seem to work once.
    pub(super) fn is_gone(&self) -> bool {
        let mut piece = [0; 64];
        let read = match self {
            Self::Tcp(stream) => stream.try_read(&mut piece),
            Self::Unix(stream) => stream.try_read(&mut piece),
            Self::Udp(_) | Self::UnixDatagram(_) => return false,
        };
        match read {
            Ok(count) => count == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// The system's words without the number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// An IP address, `localhost`, or a line of /etc/hosts: a static program must not load the system's resolver.
fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let literal = host.parse::<IpAddr>().ok();
    let listed = || {
        let hosts = corten_std::file::read_to_string("/etc/hosts").unwrap_or_default();
        hosts.lines().find_map(|line| {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let address: IpAddr = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(host)).then_some(address)
        })
    };
    let address = literal.or_else(listed).or_else(|| (host == "localhost").then(|| [127, 0, 0, 1].into()));
    address.map(|address| SocketAddr::new(address, port)).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("lookup {host}: no such host: give an IP address, or name it in /etc/hosts"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(Address::parse("tcp://h:1", 9), Ok(Address::Tcp("h".to_owned(), 1)));
        assert_eq!(Address::parse("udp://[::1]:5", 9), Ok(Address::Udp("::1".to_owned(), 5)));
        assert_eq!(Address::parse("udp://h", 9), Ok(Address::Udp("h".to_owned(), 9)));
        assert_eq!(Address::parse("unix:///a/b", 9), Ok(Address::Unix("/a/b".into())));
        for wrong in ["h:1", "tcp://:1", "tcp://h:x", "unix://a", "http://h:1", "tcp+tls://h:1"] {
            assert!(Address::parse(wrong, 9).is_err(), "{wrong}");
        }
    }
}
