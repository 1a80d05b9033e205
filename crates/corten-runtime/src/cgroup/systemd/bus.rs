//! The connection to systemd.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::message::{self, Argument, ERROR, Message, SIGNAL, Value};

/// systemd's own socket, on which it speaks to root without the bus in between.
const PRIVATE: &str = "/run/systemd/private";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why systemd did not do it.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// Nobody answers.
    #[error("cannot reach systemd at `{path}`")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The talk broke off.
    #[error("cannot talk to systemd ({doing})")]
    Talk {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It said no.
    #[error("systemd refused `{call}` of unit `{unit}`: {text}")]
    Refused {
        /// The method.
        call: &'static str,
        /// The unit.
        unit: String,
        /// D-Bus's name of the error.
        name: String,
        /// Its text.
        text: String,
    },
    /// The unit did not come up.
    #[error("systemd could not start unit `{unit}`: {result}")]
    Job {
        /// The unit.
        unit: String,
        /// systemd's word.
        result: String,
    },
    /// What the document asks of systemd is no property.
    #[error("`{0}` is not a value of a systemd property")]
    Property(String),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Bus {
    socket: UnixStream,
    serial: u32,
    deadline: Instant,
    /// Jobs that ended before anybody asked: path and result.
    ended: Vec<(String, String)>,
}

impl Bus {
    pub(super) fn connect() -> Result<Self, SystemdError> {
        Self::connect_to(Path::new(PRIVATE))
    }

    pub(super) fn connect_to(path: &Path) -> Result<Self, SystemdError> {
        let connect = |source| SystemdError::Connect { path: path.to_owned(), source };
        let socket = UnixStream::connect(path).map_err(connect)?;
        for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
            set(&socket, Some(PATIENCE)).map_err(connect)?;
        }
        let mut bus = Self { socket, serial: 0, deadline: Instant::now() + PATIENCE, ended: Vec::new() };
        bus.authenticate().map_err(|source| SystemdError::Talk { doing: "say who we are", source })?;
        Ok(bus)
    }

    /// The mechanism EXTERNAL: the kernel tells them who we are, we only repeat the number.
    fn authenticate(&mut self) -> io::Result<()> {
        let user = rustix::process::geteuid().as_raw().to_string();
        // Digits in hexadecimal: 0 is 0x30.
        let hex: String = user.chars().flat_map(|digit| ['3', digit]).collect();
        self.socket.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n") {
            self.socket.read_exact(&mut byte)?;
            answer.push(byte[0]);
            if answer.len() > 256 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer has no end"));
            }
        }
        if !answer.starts_with(b"OK ") {
            let text = String::from_utf8_lossy(&answer).trim().to_owned();
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        self.socket.write_all(b"BEGIN\r\n")
    }

    /// Calls a method of the manager about a unit, and gives the texts of its answer.
    pub(super) fn call(
        &mut self,
        name: &'static str,
        unit: &str,
        arguments: &[Argument<'_>],
    ) -> Result<Vec<String>, SystemdError> {
        let talk = |source| SystemdError::Talk { doing: name, source };
        self.serial += 1;
        self.deadline = Instant::now() + PATIENCE;
        let serial = self.serial;
        self.socket.write_all(&message::call(serial, name, arguments)).map_err(talk)?;
        loop {
            let message = self.receive().map_err(talk)?;
            if message.answers != Some(serial) {
                self.note(&message);
                continue;
            }
            if message.kind == ERROR {
                return Err(SystemdError::Refused {
                    call: name,
                    unit: unit.to_owned(),
                    name: message.error,
                    text: message.texts.into_iter().next().unwrap_or_default(),
                });
            }
            return Ok(message.texts);
        }
    }

    /// Waits until a job has ended, and gives its result.
    pub(super) fn wait_for_job(&mut self, job: &str) -> Result<String, SystemdError> {
        loop {
            if let Some(at) = self.ended.iter().position(|(path, _)| path == job) {
                return Ok(self.ended.swap_remove(at).1);
            }
            let message =
                self.receive().map_err(|source| SystemdError::Talk { doing: "wait for a job", source })?;
            self.note(&message);
        }
    }

    /// `JobRemoved(id, job, unit, result)`.
    fn note(&mut self, message: &Message) {
        if message.kind == SIGNAL
            && message.member == "JobRemoved"
            && let [job, _, result] = message.texts.as_slice()
        {
            self.ended.push((job.clone(), result.clone()));
        }
    }

    fn receive(&mut self) -> io::Result<Message> {
        if Instant::now() > self.deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a message that cannot be read");
        let mut bytes = vec![0; message::HEAD];
        self.socket.read_exact(&mut bytes)?;
        let length = message::length(&bytes).ok_or_else(wrong)?;
        bytes.resize(length, 0);
        self.socket.read_exact(&mut bytes[message::HEAD..])?;
        Message::read(&bytes).ok_or_else(wrong)
    }
}

/// A property's name and value.
pub(super) type Property = (String, Value);
