//! A TLS connection as a plain one: a task carries the bytes between it and one end of a socket pair, the other end of
//! which is served, taken over and handed on like any other.

use std::io;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::stream::Stream;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Shakes hands, and gives the plain end.
pub(crate) async fn carry(client: TcpStream, acceptor: TlsAcceptor) -> io::Result<Stream> {
    let mut secure = timeout(HANDSHAKE, acceptor.accept(client)).await??;
    let (ours, mut theirs) = UnixStream::pair()?;
    tokio::spawn(async move {
        if let Err(error) = copy_bidirectional(&mut secure, &mut theirs).await {
            tracing::debug!(%error, "a TLS connection broke");
        }
    });
    Ok(Stream::Unix(ours))
}
