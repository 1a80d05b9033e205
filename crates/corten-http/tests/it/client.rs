//! A test client that sends bytes and reads answers without any leniency.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}

/// A connection.
pub(crate) struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The same connection, for a thread that only sends.
    pub(crate) fn sender(&self) -> UnixStream {
        self.stream.try_clone().unwrap()
    }

    pub(crate) fn close_writing(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads up to and with the blank line.
    pub(crate) fn head(&mut self) -> (u16, String) {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(
                self.fill(),
                "the connection ended in a head: {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head)
    }

    /// Reads a whole answer by its own framing.
    pub(crate) fn answer(&mut self) -> Answer {
        let (status, head) = self.head();
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let body = if let Some(length) = length {
            self.exactly(length)
        } else if lower.contains("transfer-encoding: chunked") {
            let mut body = Vec::new();
            loop {
                let line = self.line();
                let length = usize::from_str_radix(line.trim(), 16).unwrap();
                let chunk = self.exactly(length + 2);
                if length == 0 {
                    break body;
                }
                body.extend_from_slice(&chunk[..length]);
            }
        } else if matches!(status, 204 | 304) {
            Vec::new()
        } else {
            self.rest()
        };
        Answer { status, head, body }
    }

    pub(crate) fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.fill(), "the connection ended in a body");
        }
        self.buffer.drain(..length).collect()
    }

    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.buffer)
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(at) = self.buffer.iter().position(|&byte| byte == b'\n') {
                return String::from_utf8(self.buffer.drain(..=at).collect()).unwrap();
            }
            assert!(self.fill(), "the connection ended in a line");
        }
    }

    fn fill(&mut self) -> bool {
        let mut piece = [0; 4096];
        let length = self.stream.read(&mut piece).unwrap();
        self.buffer.extend_from_slice(&piece[..length]);
        length > 0
    }
}
