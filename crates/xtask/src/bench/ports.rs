//! What a published port costs: bytes a second, the way there and back, and a connection; from this host and from another.
//!
//! The server runs in a container's network namespace, the client in the engine's own or in one that is joined to it by a
//! cable (a pair of virtual interfaces), which stands for another host.

use super::engine::Engine;
use super::{Bench, Result};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long each measurement takes.
const TIME: Duration = Duration::from_secs(2);
/// The namespace that is the other host, its cable's ends and their addresses.
const OUTSIDE: &str = "corten-bench-outside";
const CABLE: [&str; 2] = ["ctbcable0", "ctbcable1"];
const ADDRESSES: [&str; 2] = ["198.18.77.1", "198.18.77.2"];
/// Host port on Corten, and on the other engine.
const PORTS: [u16; 2] = [28_080, 28_081];

fn told(error: std::io::Error) -> String {
    format!("the published port: {error}")
}

/// Serves until it is killed: greets with a byte, then counts (`S`) or sends back (`E`) what comes.
pub(crate) fn serve() -> Result<()> {
    let listener = TcpListener::bind("0.0.0.0:80").map_err(told)?;
    for stream in listener.incoming() {
        let mut stream = stream.map_err(told)?;
        // A client that has gone already is no reason to end.
        if stream.set_nodelay(true).and_then(|()| stream.write_all(b"K")).is_err() {
            continue;
        }
        std::thread::spawn(move || -> std::io::Result<()> {
            let (mut mode, mut buffer) = ([0], vec![0; 256 << 10]);
            stream.read_exact(&mut mode)?;
            let mut count = 0_u64;
            loop {
                let length = stream.read(&mut buffer)?;
                count += length as u64;
                match (length, mode[0]) {
                    (0, b'S') => return stream.write_all(&count.to_be_bytes()),
                    (0, _) => return Ok(()),
                    (_, b'E') => stream.write_all(&buffer[..length])?,
                    _ => {}
                }
            }
        });
    }
    Ok(())
}

/// Asks the server at `arguments[0]` in the way `arguments[1]`, and prints MB/s or microseconds.
pub(crate) fn ask(arguments: &[String]) -> Result<()> {
    let [address, way] = arguments else { return Err("ask-port ADDRESS bytes|echo|connect".to_owned()) };
    let connect = || -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.read_exact(&mut [0])?;
        Ok(stream)
    };
    let begun = Instant::now();
    let value = match way.as_str() {
        "bytes" => {
            let mut stream = connect().map_err(told)?;
            stream.write_all(b"S").map_err(told)?;
            let chunk = vec![7; 256 << 10];
            while begun.elapsed() < TIME {
                stream.write_all(&chunk).map_err(told)?;
            }
            stream.shutdown(std::net::Shutdown::Write).map_err(told)?;
            let mut count = [0; 8];
            stream.read_exact(&mut count).map_err(told)?;
            u64::from_be_bytes(count) as f64 / 1e6 / begun.elapsed().as_secs_f64()
        }
        "echo" => {
            let mut stream = connect().map_err(told)?;
            stream.write_all(b"E").map_err(told)?;
            let mut rounds = 0_u32;
            while begun.elapsed() < TIME {
                stream.write_all(b"x").map_err(told)?;
                stream.read_exact(&mut [0]).map_err(told)?;
                rounds += 1;
            }
            begun.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
        }
        _ => {
            let mut times = Vec::new();
            while begun.elapsed() < TIME {
                let start = Instant::now();
                drop(connect().map_err(told)?);
                times.push(start.elapsed().as_secs_f64() * 1e6);
            }
            super::median(&mut times)
        }
    };
    println!("{value:.3}");
    Ok(())
}

/// A process in the network namespace of another one, or of a name.
fn inside(namespace: &[&str], words: &[&str]) -> Result<Command> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(namespace[0]);
    command.args(&namespace[1..]).arg(program).args(words);
    Ok(command)
}

fn shell(words: &[&str]) -> Result<()> {
    let output = Command::new(words[0])
        .args(&words[1..])
        .output()
        .map_err(|error| format!("{}: {error}", words[0]))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// The other host, cabled to an engine's namespace; taken down when dropped.
struct Outside;

impl Outside {
    fn new(engine: u32) -> Result<Self> {
        let pid = engine.to_string();
        shell(&["ip", "netns", "add", OUTSIDE])?;
        let outside = Self;
        shell(&["ip", "link", "add", CABLE[0], "type", "veth", "peer", "name", CABLE[1], "netns", OUTSIDE])?;
        shell(&["ip", "link", "set", CABLE[0], "netns", &pid])?;
        let here = ["nsenter", "-t", &pid, "-n", "ip"];
        shell(&[&here[..], &["addr", "add", &format!("{}/24", ADDRESSES[0]), "dev", CABLE[0]]].concat())?;
        shell(&[&here[..], &["link", "set", CABLE[0], "up"]].concat())?;
        let there = ["ip", "-n", OUTSIDE];
        shell(&[&there[..], &["addr", "add", &format!("{}/24", ADDRESSES[1]), "dev", CABLE[1]]].concat())?;
        shell(&[&there[..], &["link", "set", CABLE[1], "up"]].concat())?;
        Ok(outside)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // The cable goes with the namespace that holds its end.
        let _ = shell(&["ip", "netns", "del", OUTSIDE]);
    }
}

/// A server in the network namespace of the container `bench-port`.
struct Server(Child);

impl Server {
    fn new(engine: &Engine) -> Result<Self> {
        let pid = engine.output(&["inspect", "-f", "{{.State.Pid}}", "bench-port"])?;
        let mut command = inside(&["nsenter", "-t", &pid, "-n", "--"], &["serve-port"])?;
        command.stdin(Stdio::null()).spawn().map(Self).map_err(told)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bench<'_> {
    pub(super) fn ports(&mut self, image: &str) -> Result<()> {
        let rows = [
            ("published port, this host: bytes", "MB/s", true, ">= 1x", false, "bytes"),
            ("published port, this host: way there and back", "us", false, ">= 1x", false, "echo"),
            ("published port, this host: connection", "us", false, ">= 3x", false, "connect"),
            ("published port, other host: bytes", "MB/s", true, ">= 1x", true, "bytes"),
            ("published port, other host: way there and back", "us", false, ">= 1x", true, "echo"),
            ("published port, other host: connection", "us", false, ">= 3x", true, "connect"),
        ];
        if !rows.iter().any(|row| self.settings.wants(row.0)) {
            return Ok(());
        }
        let mut servers = Vec::new();
        for (own, engine) in self.both() {
            let port = format!("{}:80", PORTS[usize::from(!own)]);
            let run = [
                "run",
                "-d",
                "--label",
                "bench",
                "--name",
                "bench-port",
                "-p",
                &port,
                image,
                "sleep",
                "3600",
            ];
            engine.output(&run)?;
            servers.push(Server::new(&engine)?);
        }
        std::thread::sleep(Duration::from_millis(300));
        for (name, unit, rate, wanted, outside, way) in rows {
            if !self.settings.wants(name) {
                continue;
            }
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..3 {
                for (own, _) in self.both() {
                    let engine = self.daemon_of(own)?;
                    let port = PORTS[usize::from(!own)];
                    let value = if outside {
                        let cable = Outside::new(engine)?;
                        let value = measure(
                            &["ip", "netns", "exec", OUTSIDE],
                            &format!("{}:{port}", ADDRESSES[0]),
                            way,
                        )?;
                        drop(cable);
                        value
                    } else {
                        let pid = engine.to_string();
                        measure(&["nsenter", "-t", &pid, "-n", "--"], &format!("127.0.0.1:{port}"), way)?
                    };
                    if own { ours.push(value) } else { theirs.push(value) }
                }
            }
            let other = (!theirs.is_empty()).then(|| super::median(&mut theirs));
            self.push_both((name, unit, rate, wanted), [Some(super::median(&mut ours)), other]);
        }
        drop(servers);
        for (_, engine) in self.both() {
            engine.output(&["rm", "-f", "bench-port"])?;
        }
        Ok(())
    }
}

fn measure(namespace: &[&str], address: &str, way: &str) -> Result<f64> {
    let output = inside(namespace, &["ask-port", address, way])?.output().map_err(told)?;
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim().parse().map_err(|_| format!("{address}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
