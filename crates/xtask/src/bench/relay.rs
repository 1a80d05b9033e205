//! A way between an engine and the registry: passes bytes on between two addresses, late and with faults where asked.
//!
//! An engine may live in a network namespace of its own and trusts a registry without TLS only on its loopback; so one
//! relay listens on the loopback of each engine's namespace and a Unix socket joins it to the registry's.

use super::Result;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Either kind of stream.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn connect(address: &str) -> std::io::Result<Self> {
        if address.starts_with('/') {
            return UnixStream::connect(address).map(Self::Unix);
        }
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    fn again(&self) -> std::io::Result<Self> {
        match self {
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }

    fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        };
    }
}

/// What goes wrong on the way.
#[derive(Clone, Copy)]
struct Weather {
    /// How much later a request comes to the registry.
    delay: Duration,
    /// Of how many requests one loses its connection in the middle of the answer; 0 for none.
    one_in: u64,
}

/// `relay FROM TO [DELAY_MS ONE_IN]`: listens at FROM (`ADDRESS:PORT` or a path) and passes on to TO until it is killed.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let [from, to, weather @ ..] = arguments else {
        return Err("relay FROM TO [DELAY_MS ONE_IN]".to_owned());
    };
    let number = |index: usize| weather.get(index).and_then(|word| word.parse().ok()).unwrap_or(0);
    let weather = Weather { delay: Duration::from_millis(number(0)), one_in: number(1) };
    let told = |error: std::io::Error| format!("relay {from}: {error}");
    let pass = |near: Stream| {
        let to = to.clone();
        std::thread::spawn(move || pass_on(near, &to, weather));
    };
    if from.starts_with('/') {
        let listener = UnixListener::bind(from).map_err(told)?;
        for stream in listener.incoming() {
            pass(Stream::Unix(stream.map_err(told)?));
        }
    } else {
        let listener = TcpListener::bind(from.as_str()).map_err(told)?;
        for stream in listener.incoming() {
            let stream = stream.map_err(told)?;
            stream.set_nodelay(true).map_err(told)?;
            pass(Stream::Tcp(stream));
        }
    }
    Ok(())
}

/// Requests so far, over all connections: every `one_in`th is unlucky, so that both engines meet as many.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

fn pass_on(mut near: Stream, to: &str, weather: Weather) -> std::io::Result<()> {
    let mut far = Stream::connect(to)?;
    let (mut back_from, mut back_to) = (far.again()?, near.again()?);
    let unlucky = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let marked = std::sync::Arc::clone(&unlucky);
    let back = std::thread::spawn(move || -> std::io::Result<()> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            let length = back_from.read(&mut buffer)?;
            if length == 0 {
                back_to.shutdown(Shutdown::Write);
                return Ok(());
            }
            if unlucky.swap(false, Ordering::Relaxed) {
                // Half of what came, and then nothing any more.
                back_to.write_all(&buffer[..length / 2])?;
                back_to.shutdown(Shutdown::Both);
                back_from.shutdown(Shutdown::Both);
                return Ok(());
            }
            back_to.write_all(&buffer[..length])?;
        }
    });
    let mut buffer = vec![0; 256 << 10];
    loop {
        let length = near.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        // A request's head begins with its method in capitals; the body of an upload is not taken for one.
        let head = [&b"GET "[..], b"HEAD ", b"POST ", b"PUT ", b"PATCH "];
        if head.iter().any(|method| buffer[..length].starts_with(method)) {
            std::thread::sleep(weather.delay);
            let number = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
            if weather.one_in > 0 && number.is_multiple_of(weather.one_in) {
                marked.store(true, Ordering::Relaxed);
            }
        }
        far.write_all(&buffer[..length])?;
    }
    far.shutdown(Shutdown::Write);
    let _ = back.join();
    Ok(())
}
