//! A TLS connection as a plain one: a thread carries the bytes between it and one end of a socket pair.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

/// Bytes carried at a time.
const PIECE: usize = 16 << 10;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Shakes hands with the server under that name, and gives the plain end.
pub(super) fn carry(mut server: TcpStream, name: &str, config: Arc<ClientConfig>) -> io::Result<UnixStream> {
    let invalid = |text: String| io::Error::new(ErrorKind::InvalidInput, text);
    let name = ServerName::try_from(name.to_owned()).map_err(|error| invalid(error.to_string()))?;
    let mut connection = ClientConnection::new(config, name).map_err(|error| invalid(error.to_string()))?;
    server.set_read_timeout(Some(HANDSHAKE))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut server)?;
    }
    server.set_read_timeout(None)?;
    server.set_nonblocking(true)?;
    let (ours, theirs) = UnixStream::pair()?;
    std::thread::Builder::new().name("tls".to_owned()).spawn(move || {
        let mut carrier = Carrier { connection, server, plain: theirs, plain_open: true };
        // What breaks is seen by the other end as the end of the stream.
        let _ = carrier.run();
    })?;
    Ok(ours)
}

struct Carrier {
    connection: ClientConnection,
    server: TcpStream,
    plain: UnixStream,
    /// Whether the plain side may still send.
    plain_open: bool,
}

impl Carrier {
    fn run(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; PIECE];
        loop {
            // Handshake data may carry the first answer with it.
            if self.receive(&mut buffer)? {
                return Ok(());
            }
            let wants_write = self.connection.wants_write();
            let mut server_flags = PollFlags::IN;
            server_flags.set(PollFlags::OUT, wants_write);
            let (server, plain) = (self.server.as_fd(), self.plain.as_fd());
            let mut watched = vec![PollFd::from_borrowed_fd(server, server_flags)];
            // While the server takes nothing, nothing more is taken for it.
            if self.plain_open && !wants_write {
                watched.push(PollFd::from_borrowed_fd(plain, PollFlags::IN));
            }
            match poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let server_ready = watched[0].revents();
            let plain_ready = watched.get(1).is_some_and(|plain| !plain.revents().is_empty());
            if server_ready.contains(PollFlags::OUT) {
                self.send()?;
            }
            if server_ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                match self.connection.read_tls(&mut self.server) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                    Ok(_) => {
                        self.connection.process_new_packets().map_err(io::Error::other)?;
                    }
                }
            }
            if plain_ready {
                match self.plain.read(&mut buffer)? {
                    0 => {
                        self.plain_open = false;
                        self.connection.send_close_notify();
                    }
                    count => self.connection.writer().write_all(&buffer[..count])?,
                }
                self.send()?;
            }
        }
    }

    /// Passes on what has been deciphered; true at the end of the server's side.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            match self.connection.reader().read(buffer) {
                Ok(0) => {
                    let _ = self.plain.shutdown(Shutdown::Write);
                    return Ok(true);
                }
                Ok(count) => self.plain.write_all(&buffer[..count])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                // The server went without a word; what it sent is whole all the same, as HTTP tells its own ends.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut self.server) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                other => drop(other?),
            }
        }
        if !self.plain_open {
            let _ = self.server.shutdown(Shutdown::Write);
        }
        Ok(())
    }
}
