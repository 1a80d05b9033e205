//! A small internet for one test: the machine that the manager runs on, another host beside it, and a server far away.
//!
//! ```text
//! lan host 198.51.100.9 ──── 198.51.100.1 "machine" 203.0.113.1 ──── 203.0.113.9 far host
//!                                         └─ bridges and sandboxes
//! ```
//!
//! Everything is in network namespaces of its own, and the test thread in its own mount namespace, so that nothing is
//! left on the machine whatever happens.

use corten_network::{
    Attachment, Endpoint, EndpointRequest, NetworkConfig, NetworkManager, NetworkSettings, PortMapping,
    Protocol, Sandbox, SandboxRequest,
};
use corten_std::Paths;
use corten_sys::netlink::namespace;
use corten_testing::Scratch;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

pub(crate) const LAN_HOST: &str = "198.51.100.9";
pub(crate) const MACHINE: &str = "198.51.100.1";
pub(crate) const FAR_HOST: &str = "203.0.113.9";
pub(crate) const BRIDGE: &str = "corten0";

/// Where a test takes place.
pub(crate) struct World {
    pub(crate) scratch: Scratch,
    pub(crate) lan: OwnedFd,
    pub(crate) far: OwnedFd,
}

/// Runs a test on a thread in namespaces of its own, as root, or says why not.
pub(crate) fn with_world(test: impl FnOnce(&World) + Send + 'static) {
    if !corten_testing::need_root()
        || !["ip", "nft", "bridge"]
            .iter()
            .all(|name| corten_testing::need(name, corten_testing::program(name)))
    {
        return;
    }
    let run = move || {
        namespace::isolate().expect("namespaces of one's own");
        ip("link set lo up");
        // A new namespace begins with the machine's settings, whatever they are.
        for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{family}"), "0").unwrap();
        }
        let lan = neighbour("lan", &format!("{MACHINE}/24"), &format!("{LAN_HOST}/24"), "198.51.100.1");
        let far = neighbour("far", "203.0.113.1/24", &format!("{FAR_HOST}/24"), "");
        let scratch = Scratch::new("network");
        // As /run is.
        run("mount", &format!("-t tmpfs none {}", scratch.path().display()));
        test(&World { scratch, lan, far });
    };
    std::thread::Builder::new()
        .spawn(run)
        .unwrap()
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// A host on a cable of its own.
fn neighbour(name: &str, here: &str, there: &str, gateway: &str) -> OwnedFd {
    let space = std::thread::spawn(|| {
        namespace::unshare().unwrap();
        namespace::current().unwrap()
    })
    .join()
    .unwrap();
    let path = std::env::temp_dir().join(format!(
        "corten-{name}-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    namespace::pin(space.as_fd(), &path).unwrap();
    ip(&format!("link add {name}0 type veth peer name eth0 netns {}", path.display()));
    ip(&format!("addr add {here} dev {name}0"));
    ip(&format!("link set {name}0 up"));
    let (there, gateway) = (there.to_owned(), gateway.to_owned());
    inside(&space, move || {
        ip("link set lo up");
        ip(&format!("addr add {there} dev eth0"));
        ip("link set eth0 up");
        if !gateway.is_empty() {
            ip(&format!("route add default via {gateway}"));
        }
    });
    namespace::unpin(&path).unwrap();
    // The kernel notices by and by that both ends are up.
    for _ in 0..400 {
        if ip(&format!("-o link show {name}0")).contains("state UP") {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    space
}

impl Drop for World {
    fn drop(&mut self) {
        // The folder can be removed when nothing is mounted on it.
        let _ = Command::new("umount").arg("-l").arg(self.scratch.path()).status();
    }
}

impl World {
    pub(crate) fn settings(&self) -> NetworkSettings {
        let root = self.scratch.path();
        NetworkSettings::new(Paths::new(root.join("data"), root.join("run")), BRIDGE)
    }

    /// A manager with the default network.
    pub(crate) fn manager(&self) -> NetworkManager {
        let manager = NetworkManager::open(self.settings()).unwrap();
        manager.ensure_network(&network("a", BRIDGE, "172.17.0.0/16")).unwrap();
        manager
    }
}

/// A network whose id is one letter, 64 times.
pub(crate) fn network(letter: &str, bridge: &str, subnet: &str) -> NetworkConfig {
    NetworkConfig::bridge(&letter.repeat(64), &format!("net-{letter}"), bridge, subnet.parse().unwrap())
}

pub(crate) fn on(letter: &str) -> Attachment {
    Attachment::Networks(vec![place(letter)])
}

/// A place in the network of this letter.
pub(crate) fn place(letter: &str) -> EndpointRequest {
    EndpointRequest::on(&letter.repeat(64))
}

pub(crate) fn sandbox(manager: &NetworkManager, name: &str) -> Sandbox {
    sandbox_on(manager, name, on("a"))
}

pub(crate) fn sandbox_on(manager: &NetworkManager, name: &str, network: Attachment) -> Sandbox {
    manager.create_sandbox(&request(name, network)).unwrap()
}

pub(crate) fn request(name: &str, network: Attachment) -> SandboxRequest {
    SandboxRequest {
        container_id: String::new(),
        name: name.to_owned(),
        network,
        owner: corten_network::NamespaceOwner::Host,
    }
}

/// The first endpoint.
pub(crate) fn endpoint(sandbox: &Sandbox) -> Endpoint {
    sandbox.endpoints[0].clone()
}

pub(crate) fn address(sandbox: &Sandbox) -> String {
    endpoint(sandbox).address.unwrap().to_string()
}

/// `HOST:PORT:PORT/PROTOCOL` or `PORT:PORT` or `PORT`, in the way of the command line.
pub(crate) fn mapping(text: &str) -> PortMapping {
    let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (front, container) = text.rsplit_once(':').unwrap_or(("", text));
    let (host, port) = front.rsplit_once(':').unwrap_or(("", front));
    let range = (!port.is_empty()).then(|| {
        let (first, last) = port.split_once('-').unwrap_or((port, port));
        first.parse().unwrap()..=last.parse().unwrap()
    });
    PortMapping {
        container_port: container.parse().unwrap(),
        protocol: protocol.parse::<Protocol>().unwrap(),
        host_address: (!host.is_empty()).then(|| host.trim_matches(['[', ']']).parse().unwrap()),
        host_ports: range,
    }
}

pub(crate) fn ip(arguments: &str) -> String {
    run("ip", arguments)
}

/// Runs a program in the thread's namespaces; its output.
pub(crate) fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs code in a network namespace.
pub(crate) fn inside<T: Send + 'static>(space: impl AsFd, code: impl FnOnce() -> T + Send + 'static) -> T {
    let space = space.as_fd().try_clone_to_owned().unwrap();
    std::thread::spawn(move || {
        namespace::enter(space.as_fd()).unwrap();
        code()
    })
    .join()
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A TCP server in a namespace that answers each connection with the address it comes from.
pub(crate) struct Server {
    stop: mpsc::Sender<()>,
}

impl Server {
    pub(crate) fn tcp(space: impl AsFd, port: u16) -> Self {
        Self::tcp_on(space, "0.0.0.0", port)
    }

    /// The same on one address: `::` is IPv6 and IPv4.
    pub(crate) fn tcp_on(space: impl AsFd, address: &'static str, port: u16) -> Self {
        let listener = inside(space, move || TcpListener::bind((address, port)).unwrap());
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = mpsc::channel();
        std::thread::spawn(move || {
            while matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Empty)) {
                match listener.accept() {
                    Ok((mut stream, peer)) => {
                        let _ = stream.write_all(peer.ip().to_canonical().to_string().as_bytes());
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        Self { stop }
    }

    /// The same by UDP: each packet is answered.
    pub(crate) fn udp(space: impl AsFd, port: u16) -> Self {
        let socket = inside(space, move || UdpSocket::bind(("0.0.0.0", port)).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let (stop, stopped) = mpsc::channel();
        std::thread::spawn(move || {
            while matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Empty)) {
                if let Ok((_, peer)) = socket.recv_from(&mut [0; 16]) {
                    let _ = socket.send_to(peer.ip().to_string().as_bytes(), peer);
                }
            }
        });
        Self { stop }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.send(());
    }
}

/// What a server says, or why there is no answer.
pub(crate) fn ask(host: &str, port: u16) -> String {
    let address = SocketAddr::new(host.parse::<IpAddr>().unwrap(), port);
    let mut stream = match TcpStream::connect_timeout(&address, Duration::from_millis(400)) {
        Ok(stream) => stream,
        Err(error) => return format!("{:?}", error.kind()),
    };
    stream.set_read_timeout(Some(Duration::from_millis(800))).unwrap();
    let mut text = String::new();
    match stream.read_to_string(&mut text) {
        Ok(0) => "closed".to_owned(),
        Ok(_) => text,
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// The same, from inside a namespace.
pub(crate) fn ask_from(space: impl AsFd, host: &str, port: u16) -> String {
    let host = host.to_owned();
    inside(space, move || ask(&host, port))
}

/// What a UDP server answers to a packet from this port.
pub(crate) fn ask_udp(host: &str, port: u16, from: u16) -> String {
    let socket = UdpSocket::bind(("0.0.0.0", from)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket.send_to(b"?", (host, port)).unwrap();
    let mut buffer = [0; 64];
    match socket.recv(&mut buffer) {
        Ok(count) => String::from_utf8_lossy(&buffer[..count]).into_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}
