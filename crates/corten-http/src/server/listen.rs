//! Accepting connections on listeners that are given.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::AddressFamily;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::secure;
use super::stream::Stream;
use super::{Handler, connection};
use crate::tls::ServerTls;

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// On a path.
    Unix(std::os::unix::net::UnixListener),
    /// On an address and port.
    Tcp(std::net::TcpListener),
    /// On an address and port, with TLS.
    Secure(std::net::TcpListener, ServerTls),
}

impl Listener {
    /// With TLS where it is a TCP socket.
    #[must_use]
    pub fn secured(self, tls: &ServerTls) -> Self {
        match self {
            Self::Tcp(listener) => Self::Secure(listener, tls.clone()),
            other => other,
        }
    }

    /// From a descriptor that somebody else opened; of which kind is asked of the kernel.
    pub fn from_descriptor(descriptor: OwnedFd) -> io::Result<Self> {
        match rustix::net::getsockname(&descriptor)?.address_family() {
            AddressFamily::UNIX => Ok(Self::Unix(descriptor.into())),
            AddressFamily::INET | AddressFamily::INET6 => Ok(Self::Tcp(descriptor.into())),
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "neither a unix nor a TCP socket")),
        }
    }
}

/// How patient the server is.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a head may take from its first byte on. A connection on which nothing was asked may wait for ever.
    pub head_timeout: Duration,
    /// How long requests may still take once the server was told to stop.
    pub stop_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { head_timeout: Duration::from_mins(5), stop_timeout: Duration::from_secs(5) }
    }
}

/// Serves until `stop` ends: then accepts no more, ends connections that wait for a request, and gives the others
/// [`Settings::stop_timeout`]. Connections that were taken over are not waited for longer than that either.
pub async fn serve(
    listeners: Vec<Listener>,
    handler: Arc<dyn Handler>,
    settings: Settings,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let (stopping, watching) = watch::channel(false);
    // Every task holds a sender; when the last one is dropped, all have ended.
    let (alive, mut all_ended) = mpsc::channel::<()>(1);
    for listener in listeners {
        let acceptor = Acceptor::new(listener)?;
        let (handler, watching, alive) = (Arc::clone(&handler), watching.clone(), alive.clone());
        tokio::spawn(async move { acceptor.run(handler, settings, watching, alive).await });
    }
    drop((alive, watching));
    stop.await;
    let _ = stopping.send(true);
    let _ = timeout(settings.stop_timeout, all_ended.recv()).await;
    Ok(())
}

enum Acceptor {
    Unix(UnixListener),
    Tcp(TcpListener),
    Secure(TcpListener, TlsAcceptor),
}

/// A connection that was accepted; a handshake is its own task's business.
enum Accepted {
    Plain(Stream),
    Secure(TcpStream, TlsAcceptor),
}

impl Acceptor {
    fn new(listener: Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Self::Unix(UnixListener::from_std(listener)?)
            }
            Listener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Self::Tcp(TcpListener::from_std(listener)?)
            }
            Listener::Secure(listener, tls) => {
                listener.set_nonblocking(true)?;
                Self::Secure(TcpListener::from_std(listener)?, TlsAcceptor::from(tls.0))
            }
        })
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Unix(listener) => Ok(Accepted::Plain(Stream::Unix(listener.accept().await?.0))),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Accepted::Plain(Stream::Tcp(stream)))
            }
            Self::Secure(listener, acceptor) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Accepted::Secure(stream, acceptor.clone()))
            }
        }
    }

    async fn run(
        self,
        handler: Arc<dyn Handler>,
        settings: Settings,
        mut watching: watch::Receiver<bool>,
        alive: mpsc::Sender<()>,
    ) {
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                _ = watching.wait_for(|stopping| *stopping) => return,
            };
            match accepted {
                Ok(accepted) => {
                    let (handler, watching, alive) = (Arc::clone(&handler), watching.clone(), alive.clone());
                    tokio::spawn(async move {
                        let stream = match accepted {
                            Accepted::Plain(stream) => Ok(stream),
                            Accepted::Secure(stream, acceptor) => secure::carry(stream, acceptor).await,
                        };
                        match stream {
                            Ok(stream) => connection::run(stream, handler, settings, watching).await,
                            Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
                        }
                        drop(alive);
                    });
                }
                Err(error) => {
                    // Too many open files, or a client that left before it was accepted: neither ends the server.
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }
}
