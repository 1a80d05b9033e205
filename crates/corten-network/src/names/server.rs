//! One thread that answers the queries of all sandboxes.
//!
//! ```text
//! station      a sandbox's two sockets, with what it was told
//! connection   a program inside that asks by TCP: several queries, one after the other or at once
//! exchange     a query that another server is asked (exchange.rs): server 1 → server 2 → server 3 → failure
//! ```
//!
//! Everything waits in one poll set. What a program inside can have at a time is bounded, and so are the packets that
//! are taken from it before the others have their turn.

use super::answer::{self, Dice, Outcome};
use super::exchange::{self, Asker, Exchange, Step, ipv4, would_wait};
use super::message::{self, Code, LONGEST, Refusal};
use super::place::NameSockets;
use super::settings::ResolverSettings;
use super::{Command, Shared, read};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags, SocketFlags};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a server may take: Docker's.
const SERVER_TIME: Duration = Duration::from_secs(4);
/// How long a connection may say nothing.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// Queries of one sandbox that other servers are asked at a time: Docker's.
const MOST_EXCHANGES: usize = 1024;
/// Connections of one sandbox.
const MOST_CONNECTIONS: usize = 128;
/// Bytes of replies that a program may leave unread on its connection before it is closed.
const MOST_UNREAD: usize = 4 * LONGEST;
/// Packets of one sandbox before others have their turn.
const TURN: usize = 64;
const WAKE: u64 = 0;
/// What is told of connections: each time that they can be read or written again.
const CONVERSATION: epoll::EventFlags =
    epoll::EventFlags::IN.union(epoll::EventFlags::OUT).union(epoll::EventFlags::ET);

/// A sandbox that is served.
#[derive(Debug)]
struct Station {
    sandbox: String,
    sockets: NameSockets,
    namespace: OwnedFd,
    settings: ResolverSettings,
    exchanges: usize,
    connections: usize,
}

#[derive(Debug)]
struct Connection {
    station: u64,
    socket: OwnedFd,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Queries that are not answered yet.
    open: usize,
    /// Nothing more is asked: the program has shut its side, and waits for what is open.
    asked_all: bool,
    last: Instant,
}

/// What a number of the poll set stands for.
#[derive(Debug)]
enum Source {
    Packets(u64),
    Listener(u64),
    Connection(Connection),
    Exchange(Exchange),
}

pub(super) struct Server {
    shared: Arc<Shared>,
    poll: OwnedFd,
    stations: HashMap<u64, Station>,
    by_sandbox: HashMap<String, u64>,
    sources: HashMap<u64, Source>,
    /// The number given last, to a station or a source.
    last: u64,
    /// When exchanges are given up, and connections looked at, in this order. Those that are gone are passed over.
    deadlines: VecDeque<(Instant, u64)>,
    idle: VecDeque<(Instant, u64)>,
    dice: Dice,
    buffer: Vec<u8>,
}

impl Server {
    pub(super) fn new(shared: Arc<Shared>) -> std::io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&poll, &shared.wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        let mut seed = [0; 8];
        rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self {
            shared,
            poll,
            stations: HashMap::new(),
            by_sandbox: HashMap::new(),
            sources: HashMap::new(),
            last: WAKE,
            deadlines: VecDeque::new(),
            idle: VecDeque::new(),
            dice: Dice::new(u64::from_ne_bytes(seed)),
            buffer: vec![0; LONGEST + 1],
        })
    }

    /// Serves until it is told to end.
    pub(super) fn run(mut self) {
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            let timeout = self.next_deadline().map(|left| Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            });
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.poll, spare, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return tracing::error!(%error, "names are not served any more"),
            }
            for event in &events {
                match event.data.u64() {
                    WAKE => {
                        if !self.obey() {
                            return;
                        }
                    }
                    number => self.serve(number),
                }
            }
            self.expire();
        }
    }

    fn next_deadline(&mut self) -> Option<Duration> {
        let sources = &self.sources;
        for queue in [&mut self.deadlines, &mut self.idle] {
            while queue.front().is_some_and(|(_, number)| !sources.contains_key(number)) {
                queue.pop_front();
            }
        }
        let first = self.deadlines.front().into_iter().chain(self.idle.front()).map(|(at, _)| *at).min()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    /// Does what callers asked for; whether it goes on.
    fn obey(&mut self) -> bool {
        let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
        let commands = std::mem::take(&mut *super::lock(&self.shared.commands));
        for command in commands {
            match command {
                Command::Serve { sandbox, sockets, namespace, settings } => {
                    self.stop(&sandbox);
                    if let Err(error) = self.begin(&sandbox, sockets, namespace, settings) {
                        tracing::warn!(sandbox, %error, "names cannot be served");
                    }
                }
                Command::Settings { sandbox, settings } => {
                    let station = self.by_sandbox.get(&sandbox).and_then(|id| self.stations.get_mut(id));
                    if let Some(station) = station {
                        station.settings = settings;
                    }
                }
                Command::Stop { sandbox, done } => {
                    self.stop(&sandbox);
                    let _ = done.send(());
                }
                Command::End => return false,
            }
        }
        true
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn watch(&mut self, socket: &OwnedFd, flags: epoll::EventFlags) -> std::io::Result<u64> {
        let number = self.number();
        epoll::add(&self.poll, socket, epoll::EventData::new_u64(number), flags)?;
        Ok(number)
    }

    fn begin(
        &mut self,
        sandbox: &str,
        sockets: NameSockets,
        namespace: OwnedFd,
        settings: ResolverSettings,
    ) -> std::io::Result<()> {
        let id = self.number();
        let packets = self.watch(&sockets.udp, epoll::EventFlags::IN)?;
        let listener = self.watch(&sockets.tcp, epoll::EventFlags::IN)?;
        self.sources.insert(packets, Source::Packets(id));
        self.sources.insert(listener, Source::Listener(id));
        let sandbox = sandbox.to_owned();
        self.by_sandbox.insert(sandbox.clone(), id);
        let station = Station { sandbox, sockets, namespace, settings, exchanges: 0, connections: 0 };
        self.stations.insert(id, station);
        Ok(())
    }

    /// Forgets a sandbox, and lets go of everything in its namespace.
    fn stop(&mut self, sandbox: &str) {
        let Some(id) = self.by_sandbox.remove(sandbox) else { return };
        if let Some(station) = self.stations.remove(&id) {
            // Copies elsewhere would keep them in the poll set.
            let _ = epoll::delete(&self.poll, &station.sockets.udp);
            let _ = epoll::delete(&self.poll, &station.sockets.tcp);
        }
        self.sources.retain(|_, source| match source {
            Source::Packets(station) | Source::Listener(station) => *station != id,
            Source::Connection(connection) => connection.station != id,
            Source::Exchange(exchange) => exchange.station != id,
        });
    }

    fn serve(&mut self, number: u64) {
        match self.sources.get(&number) {
            Some(Source::Packets(station)) => self.packets(*station),
            Some(Source::Listener(station)) => self.accept(*station),
            Some(Source::Connection(_)) => self.converse(number),
            Some(Source::Exchange(_)) => self.exchange(number),
            None => {}
        }
    }

    /// Answers what came in by UDP.
    fn packets(&mut self, id: u64) {
        let mut forwards = Vec::new();
        {
            let directory = read(&self.shared.directory);
            let Some(station) = self.stations.get(&id) else { return };
            for _ in 0..TURN {
                let udp = station.sockets.udp.as_fd();
                let (length, sender) =
                    match net::recvfrom(udp, self.buffer.as_mut_slice(), RecvFlags::empty()) {
                        Ok((_, length, Some(sender))) => (length, sender),
                        Ok(_) => continue,
                        Err(_) => break,
                    };
                let Some(sender) = SocketAddr::try_from(sender).ok().and_then(ipv4) else { continue };
                let packet = &self.buffer[..length.min(self.buffer.len())];
                let reply = match message::read_query(packet) {
                    Err(Refusal::Ignored) => continue,
                    Err(Refusal::Answered(code)) => message::refuse(packet, code),
                    Ok(query) => {
                        let limit = query.limit(false);
                        let dots = station.settings.own_dots;
                        match answer::answer(
                            &directory,
                            &station.sandbox,
                            &query,
                            dots,
                            limit,
                            &mut self.dice,
                        ) {
                            Outcome::Reply(reply) => reply,
                            Outcome::Forward => {
                                forwards.push((sender, packet.to_vec()));
                                continue;
                            }
                        }
                    }
                };
                // One that does not go out is lost, as packets may be.
                let _ = net::sendto(udp, &reply, SendFlags::NOSIGNAL, &sender);
            }
        }
        for (sender, query) in forwards {
            self.forward(id, Asker::Packet(sender), query);
        }
    }

    /// Hands a query to the first server.
    fn forward(&mut self, station: u64, asker: Asker, query: Vec<u8>) {
        if self.stations.get(&station).is_some_and(|station| station.exchanges >= MOST_EXCHANGES) {
            return self.fail(station, asker, &query, Code::Refused);
        }
        self.try_servers(station, asker, query, 0);
    }

    /// Asks the first server from `next` on that can be asked at all.
    fn try_servers(&mut self, id: u64, asker: Asker, query: Vec<u8>, next: usize) {
        let tcp = matches!(asker, Asker::Connection(_));
        let Some(station) = self.stations.get(&id) else { return };
        let servers: Vec<_> = station.settings.servers().copied().collect();
        for (index, server) in servers.iter().enumerate().skip(next) {
            let home = self.shared.home.as_fd();
            let Some(station) = self.stations.get(&id) else { return };
            let begun = exchange::begin(&query, server, tcp, home, station.namespace.as_fd());
            let Ok((socket, number, stream)) = begun else { continue };
            let flags = if tcp { CONVERSATION } else { epoll::EventFlags::IN };
            let Ok(token) = self.watch(&socket, flags) else { continue };
            let exchange =
                Exchange { asker, station: id, query, next: index + 1, id: number, socket, stream };
            self.sources.insert(token, Source::Exchange(exchange));
            self.deadlines.push_back((Instant::now() + SERVER_TIME, token));
            if let Some(station) = self.stations.get_mut(&id) {
                station.exchanges += 1;
            }
            return;
        }
        self.fail(id, asker, &query, Code::ServerFailure);
    }

    fn fail(&mut self, station: u64, asker: Asker, query: &[u8], code: Code) {
        let reply = match message::read_query(query) {
            Ok(query) => message::reply(&query, code, &[], 0, LONGEST),
            Err(_) => return,
        };
        self.tell(station, asker, &reply);
    }

    /// Sends a reply to whom it is for.
    fn tell(&mut self, station: u64, asker: Asker, reply: &[u8]) {
        match asker {
            Asker::Packet(sender) => {
                if let Some(station) = self.stations.get(&station) {
                    let _ = net::sendto(&station.sockets.udp, reply, SendFlags::NOSIGNAL, &sender);
                }
            }
            Asker::Connection(number) => {
                if let Some(Source::Connection(connection)) = self.sources.get_mut(&number) {
                    connection.outgoing.extend(exchange::framed(reply));
                    connection.open = connection.open.saturating_sub(1);
                    if !connection.flush() || connection.is_done() {
                        self.close(number);
                    }
                }
            }
        }
    }

    /// A server said something.
    fn exchange(&mut self, number: u64) {
        let Some(Source::Exchange(exchange)) = self.sources.get_mut(&number) else { return };
        match exchange.step(&mut self.buffer) {
            Step::Waiting => {}
            Step::Reply(reply) if !message::is_failure(&reply) => {
                let Some(exchange) = self.take_exchange(number) else { return };
                let Ok(query) = message::read_query(&exchange.query) else { return };
                let limit = query.limit(exchange.stream.is_some());
                let reply = message::pass_on(&query, reply, limit);
                self.tell(exchange.station, exchange.asker, &reply);
            }
            Step::Reply(_) | Step::Failed => self.give_up(number),
        }
    }

    /// The present server does not help: the next.
    fn give_up(&mut self, number: u64) {
        if let Some(exchange) = self.take_exchange(number) {
            self.try_servers(exchange.station, exchange.asker, exchange.query, exchange.next);
        }
    }

    fn take_exchange(&mut self, number: u64) -> Option<Exchange> {
        match self.sources.remove(&number)? {
            Source::Exchange(exchange) => {
                if let Some(station) = self.stations.get_mut(&exchange.station) {
                    station.exchanges -= 1;
                }
                Some(exchange)
            }
            other => {
                self.sources.insert(number, other);
                None
            }
        }
    }

    fn accept(&mut self, id: u64) {
        loop {
            let Some(station) = self.stations.get(&id) else { return };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let Ok(socket) = net::accept_with(&station.sockets.tcp, flags) else { return };
            if station.connections >= MOST_CONNECTIONS {
                // Closed at once: the program may come again when others of its kind are done.
                continue;
            }
            let Ok(number) = self.watch(&socket, CONVERSATION) else { continue };
            let last = Instant::now();
            let (incoming, outgoing) = (Vec::new(), Vec::new());
            let connection =
                Connection { station: id, socket, incoming, outgoing, open: 0, asked_all: false, last };
            self.sources.insert(number, Source::Connection(connection));
            self.idle.push_back((last + IDLE_TIME, number));
            if let Some(station) = self.stations.get_mut(&id) {
                station.connections += 1;
            }
        }
    }

    fn close(&mut self, number: u64) {
        if let Some(Source::Connection(connection)) = self.sources.remove(&number)
            && let Some(station) = self.stations.get_mut(&connection.station)
        {
            station.connections -= 1;
        }
    }

    /// Reads and answers what came over a connection.
    fn converse(&mut self, number: u64) {
        for _ in 0..TURN {
            let Some(Source::Connection(connection)) = self.sources.get_mut(&number) else { return };
            let going = connection.flush();
            if going && connection.asked_all {
                // What is told now is that more can be written.
                if connection.is_done() {
                    self.close(number);
                }
                return;
            }
            let read = net::recv(&connection.socket, self.buffer.as_mut_slice(), RecvFlags::empty());
            match read {
                Ok((_, count)) if going && count > 0 => {
                    connection.incoming.extend_from_slice(&self.buffer[..count.min(self.buffer.len())]);
                    connection.last = Instant::now();
                }
                Err(errno) if going && would_wait(errno) => return,
                Ok(_) if going => {
                    connection.asked_all = true;
                    if connection.is_done() {
                        self.close(number);
                    }
                    return;
                }
                _ => return self.close(number),
            }
            loop {
                let Some(Source::Connection(connection)) = self.sources.get_mut(&number) else { return };
                let Some(query) = exchange::take_framed(&mut connection.incoming) else { break };
                let station = connection.station;
                self.answer_on(number, station, query);
            }
        }
        // There may be more: told again when the others had their turn.
        if let Some(Source::Connection(connection)) = self.sources.get(&number) {
            let _ = epoll::modify(
                &self.poll,
                &connection.socket,
                epoll::EventData::new_u64(number),
                CONVERSATION,
            );
        }
    }

    fn answer_on(&mut self, number: u64, station: u64, packet: Vec<u8>) {
        let asker = Asker::Connection(number);
        if let Some(Source::Connection(connection)) = self.sources.get_mut(&number) {
            connection.open += 1;
        }
        let reply = match message::read_query(&packet) {
            Err(Refusal::Ignored) => return self.close(number),
            Err(Refusal::Answered(code)) => message::refuse(&packet, code),
            Ok(query) => {
                let Some(known) = self.stations.get(&station) else { return };
                let directory = read(&self.shared.directory);
                let (sandbox, dots) = (&known.sandbox, known.settings.own_dots);
                match answer::answer(&directory, sandbox, &query, dots, LONGEST, &mut self.dice) {
                    Outcome::Reply(reply) => reply,
                    Outcome::Forward => {
                        drop(directory);
                        return self.forward(station, asker, packet);
                    }
                }
            }
        };
        self.tell(station, asker, &reply);
    }

    /// Gives up what took too long.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some((at, number)) = self.deadlines.front().copied().filter(|(at, _)| *at <= now) {
            let _ = at;
            self.deadlines.pop_front();
            self.give_up(number);
        }
        while let Some((_, number)) = self.idle.front().copied().filter(|(at, _)| *at <= now) {
            self.idle.pop_front();
            let Some(Source::Connection(connection)) = self.sources.get(&number) else { continue };
            let ends = connection.last + IDLE_TIME;
            // Whoever waits for an answer says nothing; each exchange has an end of its own.
            if ends <= now && connection.open == 0 {
                self.close(number);
            } else {
                // Nearly in order: a connection is looked at a little late rather than often.
                self.idle.push_back((ends.max(now + IDLE_TIME / 4), number));
            }
        }
    }
}

impl Connection {
    /// Whether everything that was asked is answered, and nothing more comes.
    fn is_done(&self) -> bool {
        self.asked_all && self.open == 0 && self.outgoing.is_empty()
    }

    /// Writes what can be written; whether the connection goes on.
    fn flush(&mut self) -> bool {
        while !self.outgoing.is_empty() {
            match net::send(&self.socket, &self.outgoing, SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(errno) if would_wait(errno) => return self.outgoing.len() <= MOST_UNREAD,
                Err(_) => return false,
            }
        }
        true
    }
}
