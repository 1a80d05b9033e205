//! Which proxy a request goes through, and how a connection is opened through one.

use crate::resolve;
use crate::url::{Url, split_host};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_http::tls::{WorldStream, WorldTls};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Proxies, as the variables `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` give them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// For plain requests.
    pub http: String,
    /// For those with TLS.
    pub https: String,
    /// Where the one for the scheme is not set.
    pub all: String,
    /// Hosts that are reached directly: names with what is below them, addresses, networks, `*`; with or without port.
    pub except: String,
}

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Proxy {
    kind: Kind,
    host: String,
    port: u16,
    /// User and password.
    user: Option<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Http,
    /// As [`Kind::Http`], but TLS is spoken with the proxy itself.
    Https,
    Socks5,
}

/// An open connection of whatever kind.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl ProxySettings {
    /// The proxy for an address. Hosts of this machine are always reached directly.
    pub(crate) fn of(&self, url: &Url) -> io::Result<Option<Proxy>> {
        let own = if url.secure { &self.https } else { &self.http };
        let text = if own.is_empty() { &self.all } else { own };
        if text.is_empty() || is_local(&url.host) || self.excepts(&url.host, url.port) {
            return Ok(None);
        }
        Proxy::parse(text).map(Some).ok_or_else(|| {
            // Its password is nobody's business: whoever pulls reads this.
            io::Error::new(io::ErrorKind::InvalidInput, format!("invalid proxy address `{}`", masked(text)))
        })
    }

    /// As they may be shown to whoever asks: without names and passwords, in Docker's form.
    pub fn shown(&self) -> Self {
        Self {
            http: masked(&self.http),
            https: masked(&self.https),
            all: masked(&self.all),
            except: self.except.clone(),
        }
    }

    fn excepts(&self, host: &str, port: u16) -> bool {
        let host = host.to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        self.except.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
            if entry == "*" {
                return true;
            }
            if let (Some(address), Some((network, bits))) = (address, entry.split_once('/')) {
                return network
                    .parse()
                    .is_ok_and(|network| bits.parse().is_ok_and(|bits| in_network(address, network, bits)));
            }
            let (name, wanted) = match entry.parse::<IpAddr>() {
                Ok(address) => (address.to_string(), 0),
                Err(_) => split_host(entry.trim_start_matches('*').trim_start_matches('.'), 0)
                    .unwrap_or_else(|| (entry.to_owned(), 0)),
            };
            let name = name.to_ascii_lowercase();
            (wanted == 0 || wanted == port) && (host == name || host.ends_with(&format!(".{name}")))
        })
    }
}

/// An address without what stands before the host.
pub(crate) fn masked(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let separator = if scheme.is_empty() { "" } else { "://" };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}{separator}xxxxx:xxxxx@{host}"),
        None => text.to_owned(),
    }
}

pub(crate) fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether an address lies in a network.
pub(crate) fn in_network(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or(0);
            bits <= 32 && (u32::from(address) & mask) == (u32::from(network) & mask)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or(0);
            bits <= 128 && (u128::from(address) & mask) == (u128::from(network) & mask)
        }
        _ => false,
    }
}

impl Proxy {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let (kind, default) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Kind::Http, 80),
            "https" => (Kind::Https, 443),
            "socks5" | "socks5h" => (Kind::Socks5, 1080),
            _ => return None,
        };
        let authority = rest.split('/').next()?;
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                (Some((decode(name), decode(password))), authority)
            }
            None => (None, authority),
        };
        let (host, port) = split_host(authority, default)?;
        Some(Self { kind, host, port, user })
    }

    /// Whether plain requests are given to it whole, instead of through a tunnel.
    pub(crate) fn takes_requests(&self) -> bool {
        matches!(self.kind, Kind::Http | Kind::Https)
    }

    /// Its address where TLS is spoken with it.
    pub(crate) fn secured(&self) -> Option<Url> {
        (self.kind == Kind::Https).then(|| Url {
            secure: true,
            host: self.host.clone(),
            port: self.port,
            path: "/".to_owned(),
        })
    }

    /// What shows who asks, for a header.
    pub(crate) fn authorization(&self) -> Option<String> {
        self.user
            .as_ref()
            .map(|(name, password)| format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))))
    }

    /// Opens a connection to it, with TLS where `tls` is given, and, with `tunnel`, through it to the host.
    pub(crate) async fn connect(
        &self,
        tls: Option<&WorldTls>,
        tunnel: Option<(&str, u16)>,
    ) -> io::Result<Box<dyn Connection>> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("proxyconnect tcp: {}", corten_std::chain(&error)))
        };
        let stream = dial(&self.host, self.port).await.map_err(named)?;
        let mut stream: Box<dyn Connection> = match tls {
            Some(tls) => Box::new(shake_hands(tls, &self.host, stream).await.map_err(named)?),
            None => Box::new(stream),
        };
        if let Some((host, port)) = tunnel {
            match self.kind {
                Kind::Http | Kind::Https => {
                    self.through_http(&mut stream, host, port).await.map_err(named)?;
                }
                Kind::Socks5 => self.through_socks(&mut stream, host, port).await.map_err(named)?,
            }
        }
        Ok(stream)
    }

    async fn through_http(&self, stream: &mut dyn Connection, host: &str, port: u16) -> io::Result<()> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let shown =
            self.authorization().map_or(String::new(), |value| format!("Proxy-Authorization: {value}\r\n"));
        let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{shown}\r\n");
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut head = Vec::new();
        // Byte by byte: what follows the head belongs to the tunnel.
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > 16 << 10 {
                return Err(io::Error::other("the proxy's answer is too long"));
            }
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head);
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status.starts_with('2') {
            return Ok(());
        }
        let line = head.lines().next().unwrap_or_default();
        Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("the proxy answers `{line}`")))
    }

    async fn through_socks(&self, stream: &mut dyn Connection, host: &str, port: u16) -> io::Result<()> {
        let refused =
            |what: &str| io::Error::new(io::ErrorKind::ConnectionRefused, format!("socks5: {what}"));
        let short = |text: &str| u8::try_from(text.len()).map_err(|_| refused("a name is too long"));
        stream.write_all(if self.user.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] }).await?;
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen).await?;
        match (chosen, &self.user) {
            ([5, 0], _) => {}
            ([5, 2], Some((name, password))) => {
                let mut shown = vec![1, short(name)?];
                shown.extend_from_slice(name.as_bytes());
                shown.push(short(password)?);
                shown.extend_from_slice(password.as_bytes());
                stream.write_all(&shown).await?;
                stream.read_exact(&mut chosen).await?;
                if chosen[1] != 0 {
                    return Err(refused("user name or password is refused"));
                }
            }
            _ => return Err(refused("no way to authenticate in common")),
        }
        let mut request = vec![5, 1, 0];
        match host.parse() {
            Ok(IpAddr::V4(address)) => {
                request.push(1);
                request.extend_from_slice(&address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                request.push(4);
                request.extend_from_slice(&address.octets());
            }
            // The proxy knows names that we may not.
            Err(_) => {
                request.extend_from_slice(&[3, short(host)?]);
                request.extend_from_slice(host.as_bytes());
            }
        }
        request.extend_from_slice(&port.to_be_bytes());
        stream.write_all(&request).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        if answer[1] != 0 {
            return Err(refused(&format!("the proxy cannot connect (code {})", answer[1])));
        }
        let rest = match answer[3] {
            1 => 4,
            4 => 16,
            3 => usize::from(stream.read_u8().await?),
            _ => return Err(refused("the answer is not understood")),
        };
        stream.read_exact(&mut vec![0; rest + 2]).await?;
        Ok(())
    }
}

/// Speaks TLS with the host of that name over an open connection.
pub(crate) async fn shake_hands<S: Connection>(
    tls: &WorldTls,
    host: &str,
    stream: S,
) -> io::Result<WorldStream<S>> {
    tls.connect(host, stream).await.map_err(|error| {
        let said = error.to_string();
        // Who speaks no TLS at all is told in Go's words.
        let said = if said.contains("InvalidContentType") {
            "first record does not look like a TLS handshake"
        } else {
            &said
        };
        io::Error::new(error.kind(), format!("tls: {said}"))
    })
}

/// Opens a connection; every address of the name is tried.
pub(crate) async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = resolve::addresses(host)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("dial tcp: lookup {host}: {error}")))?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("dial tcp: lookup {host}: no such host"));
    for address in addresses {
        let address = SocketAddr::new(address, port);
        match TcpStream::connect(address).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => {
                let text = format!("dial tcp {address}: connect: {}", corten_std::kernel_words(&error));
                last = io::Error::new(error.kind(), text);
            }
        }
    }
    Err(last)
}

pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        if let (b'%', Some(code)) = (first, code) {
            bytes.push(code);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_through_a_proxy() {
        let settings = ProxySettings {
            http: "http://u:p%40@proxy:3128".to_owned(),
            https: "socks5://proxy".to_owned(),
            all: String::new(),
            except: "inner.example, .other.example,10.0.0.0/8,b.example:81".to_owned(),
        };
        let of = |text: &str| settings.of(&Url::parse(text).unwrap()).unwrap();
        let plain = of("http://a.example/").unwrap();
        assert_eq!((plain.port, plain.user), (3128, Some(("u".to_owned(), "p@".to_owned()))));
        assert_eq!(of("https://a.example/").unwrap().port, 1080);
        for direct in [
            "http://localhost/",
            "http://127.3.0.1:5000/",
            "http://inner.example/",
            "https://x.other.example/",
            "http://10.1.2.3/",
            "http://b.example:81/",
        ] {
            assert_eq!(of(direct), None, "{direct}");
        }
        assert!(of("http://b.example:82/").is_some());
        assert!(of("http://notinner.example/").is_some());
    }

    #[test]
    fn a_password_is_not_told() {
        let url = Url::parse("https://a.example/").unwrap();
        for wrong in ["ftp://u:secret@proxy:1", "u:sec/secret@pro xy", "ftp://u:se@secret@proxy"] {
            let settings = ProxySettings { all: wrong.to_owned(), ..ProxySettings::default() };
            let error = settings.of(&url).unwrap_err().to_string();
            assert!(error.contains("xxxxx@pro") && !error.contains("secret"), "{error}");
        }
        assert_eq!(masked("ftp://proxy:1/"), "ftp://proxy:1/");
    }

    /// A proxy that answers what a test says and gives what came.
    async fn through(
        text: &str,
        says: &'static [&'static [u8]],
        ends: usize,
    ) -> (Vec<u8>, io::Result<Vec<u8>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut came = Vec::new();
            for answer in says {
                let mut piece = vec![0; 1024];
                let length = stream.read(&mut piece).await.unwrap();
                came.extend_from_slice(&piece[..length]);
                stream.write_all(answer).await.unwrap();
            }
            came
        });
        let proxy = Proxy::parse(&text.replace("PORT", &port.to_string())).unwrap();
        let tunnel = async {
            let mut stream = proxy.connect(None, Some(("registry.example", 443))).await?;
            let mut rest = vec![0; ends];
            stream.read_exact(&mut rest).await?;
            Ok(rest)
        };
        let outcome = tunnel.await;
        (served.await.unwrap(), outcome)
    }

    #[tokio::test]
    async fn tunnels_are_opened_and_begin_where_the_answer_ends() {
        let (came, rest) = through(
            "http://u:p@127.0.0.1:PORT",
            &[b"HTTP/1.1 200 Connection established\r\nA: b\r\n\r\nfirst"],
            5,
        )
        .await;
        let came = String::from_utf8(came).unwrap();
        assert!(came.starts_with("CONNECT registry.example:443 HTTP/1.1\r\n"), "{came}");
        assert!(came.contains("Proxy-Authorization: Basic dTpw\r\n"), "{came}");
        assert_eq!(rest.unwrap(), b"first");
        let (_, refused) = through("http://127.0.0.1:PORT", &[b"HTTP/1.1 403 Forbidden\r\n\r\n"], 0).await;
        assert!(refused.unwrap_err().to_string().contains("403 Forbidden"));

        let socks: &[&[u8]] = &[&[5, 0], b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00second"];
        let (came, rest) = through("socks5://127.0.0.1:PORT", socks, 6).await;
        assert_eq!(came, b"\x05\x01\x00\x05\x01\x00\x03\x10registry.example\x01\xbb");
        assert_eq!(rest.unwrap(), b"second");
        let refusing: &[&[u8]] = &[&[5, 2], &[1, 0], &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]];
        let (_, refused) = through("socks5://u:p@127.0.0.1:PORT", refusing, 0).await;
        assert!(refused.unwrap_err().to_string().contains("code 5"));
    }
}
