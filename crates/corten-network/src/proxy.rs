//! The proxy: one thread that accepts what no rule redirects, and passes it on to the container.
//!
//! That is IPv6 to a container without IPv6, `::1` (which cannot be redirected out of the loopback interface), and
//! everything where rules are switched off or were removed by someone. The container sees the bridge's address as
//! source. Bytes go from socket to socket through a pipe, without passing this process's memory (splice(2)).
//!
//! Life of a connection: `connecting → open → one direction ended → both ended`. An end of input on one side is passed
//! on as a half close; an error ends both.

use rustix::event::{EventfdFlags, epoll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, Shutdown, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Bytes moved in one call.
const CHUNK: usize = 64 * 1024;
/// The most connections at a time; more wait in the listener's queue.
const MOST: usize = 4096;
const WAKE: u64 = 0;

/// The proxy's thread. Dropping this ends it, and all connections with it.
#[derive(Debug)]
pub(crate) struct Proxy {
    registry: Arc<Registry>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// What callers and the thread share, so that a listener is let go of before [`Proxy::remove`] returns: its port can
/// be bound again at once.
#[derive(Debug)]
struct Registry {
    poll: OwnedFd,
    /// By the even number that epoll reports.
    listeners: Mutex<HashMap<u64, Listener>>,
    /// The number given last, of a listener or, one less, of a connection.
    last: AtomicU64,
}

impl Registry {
    fn listeners(&self) -> MutexGuard<'_, HashMap<u64, Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> u64 {
        self.last.fetch_add(2, Ordering::Relaxed) + 2
    }
}

impl Proxy {
    /// Starts the thread, in the calling thread's network namespace.
    pub(crate) fn start() -> io::Result<Self> {
        let wake = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&poll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        let registry = Arc::new(Registry { poll, listeners: Mutex::default(), last: AtomicU64::new(0) });
        let state = State { registry: Arc::clone(&registry), links: HashMap::new() };
        let thread = std::thread::Builder::new()
            .name("port-proxy".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || state.run())?;
        Ok(Self { registry, wake, thread: Some(thread) })
    }

    /// Accepts on a listener from now on.
    pub(crate) fn add(&self, name: String, socket: Arc<OwnedFd>, target: SocketAddr) {
        let number = self.registry.number();
        let mut listeners = self.registry.listeners();
        let data = epoll::EventData::new_u64(number);
        match epoll::add(&self.registry.poll, &*socket, data, epoll::EventFlags::IN) {
            Ok(()) => drop(listeners.insert(number, Listener { name, socket, target, paused: false })),
            Err(error) => tracing::warn!(%name, %error, "the proxy cannot serve a port"),
        }
    }

    /// Stops accepting, and lets go of the listener. Open connections go on until an end of them is gone.
    pub(crate) fn remove(&self, name: &str) {
        self.registry.listeners().retain(|_, listener| {
            let keep = listener.name != name;
            if !keep {
                let _ = epoll::delete(&self.registry.poll, &*listener.socket);
            }
            keep
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Listener {
    name: String,
    socket: Arc<OwnedFd>,
    target: SocketAddr,
    /// Taken out of the poll set while there are too many connections.
    paused: bool,
}

/// One direction: what was read and not yet written lies in the pipe.
struct Direction {
    reader: OwnedFd,
    writer: OwnedFd,
    held: usize,
    /// The source has no more.
    ended: bool,
    /// The end was passed on.
    closed: bool,
}

impl Direction {
    fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self { reader, writer, held: 0, ended: false, closed: false })
    }

    /// Moves what can be moved without waiting.
    fn pump(&mut self, from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        loop {
            let mut moved = false;
            if !self.ended && self.held < CHUNK {
                match splice(from, None, &self.writer, None, CHUNK - self.held, flags) {
                    Ok(0) => self.ended = true,
                    Ok(count) => (self.held, moved) = (self.held + count, true),
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            if self.held > 0 {
                match splice(&self.reader, None, to, None, self.held, flags) {
                    Ok(count) => (self.held, moved) = (self.held - count, count > 0),
                    Err(Errno::AGAIN | Errno::INTR) => moved = false,
                    Err(errno) => return Err(errno.into()),
                }
            }
            if self.ended && self.held == 0 && !self.closed {
                self.closed = true;
                let _ = net::shutdown(to, Shutdown::Write);
            }
            if !moved {
                return Ok(());
            }
        }
    }
}

/// A client and the container's answer to it.
struct Link {
    client: OwnedFd,
    server: OwnedFd,
    connected: bool,
    inward: Direction,
    outward: Direction,
}

impl Link {
    /// Whether it goes on.
    fn step(&mut self) -> bool {
        if !self.connected {
            match net::sockopt::socket_error(&self.server) {
                Ok(Ok(())) => {}
                _ => return false,
            }
            if net::getpeername(&self.server).is_err() {
                return true;
            }
            self.connected = true;
        }
        self.inward.pump(&self.client, &self.server).is_ok()
            && self.outward.pump(&self.server, &self.client).is_ok()
            && !(self.inward.closed && self.outward.closed)
    }
}

struct State {
    registry: Arc<Registry>,
    /// By the odd number that epoll reports for both sockets.
    links: HashMap<u64, Link>,
}

impl State {
    fn run(mut self) {
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            match epoll::wait(&self.registry.poll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            for event in &events {
                let number = event.data.u64();
                if number == WAKE {
                    return;
                } else if number.is_multiple_of(2) {
                    self.accept(number);
                } else if self.links.get_mut(&number).is_some_and(|link| !link.step()) {
                    self.links.remove(&number);
                    self.resume();
                }
            }
        }
    }

    fn accept(&mut self, number: u64) {
        let mut listeners = self.registry.listeners();
        let Some(listener) = listeners.get_mut(&number) else { return };
        if self.links.len() >= MOST {
            listener.paused = epoll::delete(&self.registry.poll, &*listener.socket).is_ok();
            return;
        }
        let target = listener.target;
        let accepted = net::accept_with(&*listener.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        drop(listeners);
        let Ok(client) = accepted else { return };
        // A connection that cannot be passed on is closed, as that of a container that does not listen.
        let Ok(link) = connect(client, target) else { return };
        let number = self.registry.number() - 1;
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        let add = |socket: &OwnedFd| {
            epoll::add(&self.registry.poll, socket.as_fd(), epoll::EventData::new_u64(number), flags)
        };
        if add(&link.client).and_then(|()| add(&link.server)).is_ok() {
            self.links.insert(number, link);
        }
    }

    fn resume(&self) {
        for (number, listener) in self.registry.listeners().iter_mut().filter(|(_, listener)| listener.paused)
        {
            let data = epoll::EventData::new_u64(*number);
            listener.paused =
                epoll::add(&self.registry.poll, &*listener.socket, data, epoll::EventFlags::IN).is_err();
        }
    }
}

fn connect(client: OwnedFd, target: SocketAddr) -> io::Result<Link> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let server = net::socket_with(family, SocketType::STREAM, flags, None)?;
    let connected = match net::connect(&server, &target) {
        Ok(()) => true,
        Err(Errno::INPROGRESS) => false,
        Err(errno) => return Err(errno.into()),
    };
    let _ = net::sockopt::set_tcp_nodelay(&client, true);
    let _ = net::sockopt::set_tcp_nodelay(&server, true);
    Ok(Link { client, server, connected, inward: Direction::new()?, outward: Direction::new()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// A proxy in front of a listener; the proxy's own port.
    fn proxied(target: SocketAddr) -> (Proxy, u16) {
        let proxy = Proxy::start().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        proxy.add("test".to_owned(), Arc::new(listener.into()), target);
        (proxy, port)
    }

    #[test]
    fn bytes_and_half_closes_pass_both_ways() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let (_proxy, port) = proxied(server.local_addr().unwrap());
        let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            stream.write_all(&received).unwrap();
        });
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.write_all(&sent).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        echo.join().unwrap();
        assert!(received == sent);
    }

    #[test]
    fn a_target_that_refuses_closes_the_connection() {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (_proxy, port) = proxied(gone);
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
}
