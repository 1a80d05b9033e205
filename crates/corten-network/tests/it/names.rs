//! The resolver at 127.0.0.11, asked from inside sandboxes and handing on to servers on other hosts.

use super::world::{World, inside, network, on, run, sandbox_on, with_world};
use corten_network::names::{Membership, NameSockets, ResolverSettings, Upstream};
use corten_network::{NetworkManager, Sandbox};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::time::Duration;

const A: u16 = 1;
const PTR: u16 = 12;
const AAAA: u16 = 28;

fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, (kind >> 8) as u8, kind as u8, 0, 1]);
    message
}

/// `CODE: ANSWER…` of a reply to [`query`], addresses sorted.
fn told(reply: &[u8]) -> String {
    assert_eq!(reply[..2], [0x12, 0x34]);
    let mut at = 12;
    while reply[at] != 0 {
        at += 1 + usize::from(reply[at]);
    }
    at += 5;
    let mut answers = Vec::new();
    for _ in 0..reply[7] {
        let length = usize::from(reply[at + 11]);
        let data = &reply[at + 12..at + 12 + length];
        answers.push(match data.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(data).unwrap()).to_string(),
            16 => IpAddr::from(<[u8; 16]>::try_from(data).unwrap()).to_string(),
            _ => String::from_utf8_lossy(data).escape_debug().to_string(),
        });
        at += 12 + length;
    }
    answers.sort();
    answers.insert(0, format!("{}:", reply[3] & 15));
    answers.join(" ")
}

fn ask_packet(name: &str, kind: u16) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.11:53").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send(&query(name, kind)).unwrap();
    let mut reply = [0; 600];
    match socket.recv(&mut reply) {
        Ok(length) => told(&reply[..length]),
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn ask_stream(name: &str, kind: u16) -> String {
    let mut stream = TcpStream::connect("127.0.0.11:53").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let query = query(name, kind);
    stream.write_all(&[&[0, query.len() as u8][..], &query].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply).unwrap();
    told(&reply)
}

/// Two queries, and nothing more is said: both are answered, then the connection ends.
fn ask_and_shut(name: &str, kind: u16) -> String {
    let mut stream = TcpStream::connect("127.0.0.11:53").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let query = query(name, kind);
    let framed = [&[0, query.len() as u8][..], &query].concat();
    stream.write_all(&[&framed[..], &framed].concat()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let mut replies = Vec::new();
    while let [high, low, rest @ ..] = &all[..] {
        let (reply, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        replies.push(told(reply));
        all = rest.to_vec();
    }
    assert!(replies.len() == 2 && replies[0] == replies[1], "{name}: {replies:?}");
    replies.remove(0)
}

fn ask(sandbox: &Sandbox, name: &str, kind: u16) -> String {
    let name = name.to_owned();
    inside(&sandbox.namespace, move || {
        let by_packet = ask_packet(&name, kind);
        assert_eq!(ask_stream(&name, kind), by_packet, "{name}");
        assert_eq!(ask_and_shut(&name, kind), by_packet, "{name}");
        by_packet
    })
}

fn join(manager: &NetworkManager, sandbox: &Sandbox, letter: &str, names: &[&str]) {
    let endpoint = &sandbox.endpoints[0];
    manager.names().join(
        &sandbox.id,
        Membership {
            network_id: endpoint.network_id.clone(),
            network_name: format!("net-{letter}"),
            addresses: endpoint.addresses().collect(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            links: Vec::new(),
        },
    );
}

fn serve(manager: &NetworkManager, sandbox: &Sandbox, settings: ResolverSettings) -> Vec<OwnedFd> {
    let namespace = sandbox.namespace.try_clone().unwrap();
    manager.names().serve(&sandbox.id, namespace, settings).unwrap()
}

fn opened(world: &World) -> NetworkManager {
    let manager = world.manager();
    manager.ensure_network(&network("b", "br-b", "172.18.0.0/16")).unwrap();
    manager.ensure_network(&network("c", "br-c", "172.19.0.0/16")).unwrap();
    manager
}

#[test]
fn names_are_answered_on_the_network_where_they_are() {
    with_world(|world| {
        let manager = opened(world);
        let one = sandbox_on(&manager, "one", on("b"));
        let two = sandbox_on(&manager, "two", on("b"));
        let other = sandbox_on(&manager, "other", on("c"));
        for sandbox in [&one, &two, &other] {
            serve(&manager, sandbox, ResolverSettings::default());
        }
        join(&manager, &one, "b", &["one", "web"]);
        join(&manager, &two, "b", &["two", "web"]);
        join(&manager, &other, "c", &["other"]);
        let (first, second) = (super::world::address(&one), super::world::address(&two));
        assert_eq!(ask(&one, "TWO", A), format!("0: {second}"));
        assert_eq!(ask(&two, "web", A), format!("0: {first} {second}"));
        assert_eq!(ask(&two, "web.net-b", A), format!("0: {first} {second}"));
        assert_eq!(ask(&one, "two", AAAA), "0:");
        // Nobody else can be asked, so that what is not known fails.
        assert_eq!(ask(&one, "other", A), "2:");
        assert_eq!(ask(&other, "web", A), "2:");
        let [a, b, c, d] = second.parse::<std::net::Ipv4Addr>().unwrap().octets();
        assert_eq!(ask(&one, &format!("{d}.{c}.{b}.{a}.in-addr.arpa"), PTR), "0: \\u{3}two\\u{5}net-b\\0");
        manager.remove_sandbox(&two.id).unwrap();
        assert_eq!(ask(&one, "web", A), format!("0: {first}"));
        assert_eq!(ask(&one, "two", A), "2:");
        // Nothing holds the namespace that is gone.
        drop(two);
        manager.settle();
        assert!(!run("ip", "-o link").contains("never"));
    });
}

#[test]
fn a_name_server_inside_is_not_in_the_way() {
    with_world(|world| {
        let manager = opened(world);
        let one = sandbox_on(&manager, "one", on("b"));
        serve(&manager, &one, ResolverSettings::default());
        join(&manager, &one, "b", &["one"]);
        let own = inside(&one.namespace, || {
            (UdpSocket::bind("0.0.0.0:53").unwrap(), TcpListener::bind("0.0.0.0:53").unwrap())
        });
        assert_eq!(ask(&one, "one", A), format!("0: {}", super::world::address(&one)));
        own.0.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        inside(&one.namespace, || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(b"own", "127.0.0.1:53").unwrap();
        });
        let mut buffer = [0; 8];
        assert_eq!(own.0.recv(&mut buffer).unwrap(), 3);
        // Connection tracking, as a firewall inside switches it on, sees one flow.
        inside(&one.namespace, || {
            run("nft", "add table ip t");
            run("nft", "add chain ip t c { type filter hook input priority 0 ; policy drop ; }");
            run("nft", "add rule ip t c ct state established accept");
            run("nft", "add chain ip t o { type filter hook output priority 0 ; }");
            run("nft", "add rule ip t o ct state new ip saddr 127.0.0.11 drop");
            run("nft", "add rule ip t c ip daddr 127.0.0.11 accept");
        });
        assert_eq!(ask(&one, "one", A), format!("0: {}", super::world::address(&one)));
    });
}

#[test]
fn queries_wait_while_nobody_answers() {
    with_world(|world| {
        let manager = opened(world);
        let one = sandbox_on(&manager, "one", on("b"));
        let kept = serve(&manager, &one, ResolverSettings::default());
        join(&manager, &one, "b", &["one"]);
        let expected = format!("0: {}", super::world::address(&one));
        assert_eq!(ask(&one, "one", A), expected);
        manager.hand_over();
        let (sent, is_sent) = mpsc::channel();
        let namespace = one.namespace.try_clone().unwrap();
        let asking = std::thread::spawn(move || {
            inside(namespace, move || {
                let late = std::thread::spawn(|| ask_stream("one", A));
                sent.send(()).unwrap();
                let answer = ask_packet("one", A);
                assert_eq!(late.join().unwrap(), answer);
                answer
            })
        });
        is_sent.recv().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let manager = opened(world);
        manager.restore(std::slice::from_ref(&one.id), Vec::new()).unwrap();
        let sockets = NameSockets::from_kept(kept).unwrap();
        let namespace = one.namespace.try_clone().unwrap();
        join(&manager, &one, "b", &["one"]);
        manager.names().resume(&one.id, sockets, namespace, ResolverSettings::default()).unwrap();
        assert_eq!(asking.join().unwrap(), expected);
        assert_eq!(ask(&one, "one", A), expected);
        // Where nobody kept the sockets they are opened anew, and the rules with them.
        manager.hand_over();
        let manager = opened(world);
        manager.restore(std::slice::from_ref(&one.id), Vec::new()).unwrap();
        join(&manager, &one, "b", &["one"]);
        serve(&manager, &one, ResolverSettings::default());
        assert_eq!(ask(&one, "one", A), expected);
    });
}

/// A server on another host that answers every query with one address, or with a failure.
fn name_server(space: impl AsFd, port: u16, failure: bool) -> mpsc::Sender<()> {
    let space = space.as_fd().try_clone_to_owned().unwrap();
    let (udp, tcp) = inside(space, move || {
        (UdpSocket::bind(("0.0.0.0", port)).unwrap(), TcpListener::bind(("0.0.0.0", port)).unwrap())
    });
    let reply = move |query: &[u8]| {
        let mut reply = query.to_vec();
        reply[2] |= 0x80;
        if failure {
            reply[3] |= 5;
        } else {
            reply[7] = 1;
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 9, 9, 9, port as u8]);
        }
        reply
    };
    udp.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let (stop, stopped) = mpsc::channel();
    std::thread::spawn(move || {
        while matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Empty)) {
            let mut buffer = [0; 600];
            if let Ok((length, peer)) = udp.recv_from(&mut buffer) {
                // What is not the reply comes first, and is passed over.
                let mut guess = reply(&buffer[..length]);
                guess[0] ^= 1;
                let _ = udp.send_to(&guess, peer);
                let _ = udp.send_to(&reply(&buffer[..length]), peer);
            }
            if let Ok((mut stream, _)) = tcp.accept() {
                stream.set_nonblocking(false).unwrap();
                let mut length = [0; 2];
                if stream.read_exact(&mut length).is_ok() {
                    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut query).unwrap();
                    let reply = reply(&query);
                    stream.write_all(&(reply.len() as u16).to_be_bytes()).unwrap();
                    stream.write_all(&reply).unwrap();
                }
            }
        }
    });
    stop
}

#[test]
fn what_is_not_known_is_handed_on() {
    with_world(|world| {
        let manager = opened(world);
        let one = sandbox_on(&manager, "one", on("b"));
        let _good = name_server(&world.far, 77, false);
        let _bad = name_server(&world.far, 78, true);
        // What listens on the host's own loopback is reached from there.
        let host = corten_sys::netlink::namespace::current().unwrap();
        let _own = name_server(&host, 79, false);
        let upstream = |address: &str, from_host| Upstream { address: address.parse().unwrap(), from_host };
        let far = |port: u16, from_host| upstream(&format!("203.0.113.9:{port}"), from_host);
        let settings = |upstreams: Vec<Upstream>, reaches_out| ResolverSettings {
            upstreams,
            reaches_out,
            own_dots: false,
        };
        serve(&manager, &one, settings(vec![far(77, false)], true));
        join(&manager, &one, "b", &["one"]);
        for (upstreams, reaches_out, expected) in [
            (vec![far(77, false)], true, "0: 9.9.9.77"),
            (vec![far(77, true)], true, "0: 9.9.9.77"),
            // One that fails, and one that is not there.
            (vec![far(78, true), far(80, true), far(77, false)], true, "0: 9.9.9.77"),
            (vec![far(78, true)], true, "2:"),
            (vec![upstream("127.0.0.1:79", true)], true, "0: 9.9.9.79"),
            (vec![upstream("127.0.0.1:79", false)], true, "2:"),
            (vec![upstream("127.0.0.11:53", false)], true, "2:"),
            (Vec::new(), true, "2:"),
            // A network without a way out does not get one through the host.
            (vec![far(77, true)], false, "2:"),
        ] {
            manager.names().set(&one.id, settings(upstreams.clone(), reaches_out));
            assert_eq!(ask(&one, "example.test", A), expected, "{upstreams:?}");
        }
        manager
            .names()
            .set(&one.id, ResolverSettings { own_dots: true, ..settings(vec![far(77, true)], true) });
        assert_eq!(ask(&one, "example", A), "0:");
        assert_eq!(ask(&one, "example.test", A), "0: 9.9.9.77");
        // One that says nothing at all costs four seconds.
        inside(&world.far, || {
            run("nft", "add table ip t");
            run("nft", "add chain ip t c { type filter hook input priority 0 ; }");
            run("nft", "add rule ip t c udp dport 81 drop");
        });
        manager.names().set(&one.id, settings(vec![far(81, true), far(77, true)], true));
        let begun = std::time::Instant::now();
        assert_eq!(inside(&one.namespace, || ask_packet("example.test", A)), "0: 9.9.9.77");
        assert!((3..6).contains(&begun.elapsed().as_secs()));
    });
}
