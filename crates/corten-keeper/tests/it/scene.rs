//! One keeper in folders of its own.

use corten_keeper::{BeginError, Listener, Settings};
use corten_std::Paths;
use corten_testing::Scratch;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Waiting longer than this is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Scene {
    scratch: Scratch,
    arguments: Vec<String>,
    keeper: Mutex<Child>,
}

/// The role `keeper FOLDER [DAEMON ARGUMENT]…`.
pub(crate) fn keeper_role(mut arguments: impl Iterator<Item = String>) -> Result<i32, BeginError> {
    let folder = PathBuf::from(arguments.next().unwrap());
    let paths = Paths::new(folder.join("data"), folder.join("run"));
    std::fs::create_dir_all(&paths.exec_root).unwrap();
    let mut listeners = Vec::new();
    // As a second keeper would: nobody takes a socket that answers.
    if let Ok(descriptor) = corten_keeper::listen_unix(&paths.socket(), None) {
        listeners.push(Listener { name: "api".to_owned(), descriptor, passed: false });
    }
    corten_keeper::run(Settings {
        pid_file: Some(paths.pid_file()),
        paths,
        listeners,
        daemon_arguments: arguments.map(OsString::from).collect(),
        private_namespace: true,
        notify_socket: None,
    })
    .map(|never| match never {})
}

impl Scene {
    /// Starts a keeper and waits until its daemon answers.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let scene = Self::begin(name, arguments);
        Self::until("the daemon answers", || scene.try_ask("pid").ok());
        scene
    }

    /// Starts a keeper.
    pub(crate) fn begin(name: &str, arguments: &[&str]) -> Self {
        let scratch = Scratch::new(name);
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let keeper = Mutex::new(spawn(&scratch, &arguments));
        Self { scratch, arguments, keeper }
    }

    /// Starts it anew after both were killed.
    pub(crate) fn restart(&self) {
        let mut keeper = self.keeper.lock().unwrap();
        keeper.wait().unwrap();
        *keeper = spawn(&self.scratch, &self.arguments);
        drop(keeper);
        Self::until("the new daemon answers", || self.try_ask("pid").ok());
    }

    /// A second keeper in the same folders.
    pub(crate) fn second(&self) -> Child {
        spawn(&self.scratch, &self.arguments)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.scratch.path().join("run/corten.sock")
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.scratch.path().join("run/corten.pid")
    }

    /// Asks once; a refused connection is an error.
    pub(crate) fn try_ask(&self, line: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        writeln!(stream, "{line}")?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        match answer.pop() {
            Some(_) => Ok(answer),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Asks until there is an answer: a connection may be cut (its daemon was killed), but never refused.
    pub(crate) fn ask(&self, line: &str) -> String {
        Self::until(line, || match self.try_ask(line) {
            Ok(answer) => Some(answer),
            Err(error) => {
                assert_ne!(error.kind(), io::ErrorKind::ConnectionRefused);
                assert_ne!(error.kind(), io::ErrorKind::NotFound);
                None
            }
        })
    }

    pub(crate) fn daemon(&self) -> i32 {
        self.ask("pid").parse().unwrap()
    }

    pub(crate) fn keeper(&self) -> i32 {
        std::fs::read_to_string(self.pid_file()).unwrap().trim().parse().unwrap()
    }

    /// Waits for the keeper that follows one that was killed.
    pub(crate) fn other_keeper(&self, old: i32) -> i32 {
        Self::until("another keeper", || Some(self.keeper()).filter(|keeper| *keeper != old))
    }

    /// A file in the run folder of the container.
    pub(crate) fn container_file(&self, name: &str) -> PathBuf {
        self.scratch.path().join("run/containers/c1").join(name)
    }

    /// Waits until a process is gone, or a zombie that nobody reaps.
    pub(crate) fn gone(pid: i32) {
        Self::until("the process is gone", || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            (status.is_empty() || status.contains("State:\tZ")).then_some(())
        });
    }

    /// The keeper's exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.keeper.get_mut().unwrap().wait().unwrap().code()
    }

    pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = condition() {
                return value;
            }
            assert!(Instant::now() < end, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Keeper and daemon start each other again: they are asked to end until nobody answers any more.
        for _ in 0..50 {
            let keeper =
                std::fs::read_to_string(self.pid_file()).ok().and_then(|text| text.trim().parse().ok());
            if keeper.is_none() && self.try_ask("pid").is_err() {
                break;
            }
            kill(keeper.unwrap_or(0), 15);
            std::thread::sleep(Duration::from_millis(50));
        }
        let keeper = self.keeper.get_mut().unwrap();
        let _ = keeper.kill();
        let _ = keeper.wait();
    }
}

fn spawn(scratch: &Scratch, arguments: &[String]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .arg("keeper")
        .arg(scratch.path())
        .args(arguments)
        .env("EXEC_ROOT", scratch.path().join("run"))
        .spawn()
        .unwrap()
}

/// Sends a signal by number; 0 is nobody.
pub(crate) fn kill(pid: i32, signal: i32) {
    if pid > 0 {
        let _ = corten_sys::process::kill(pid, signal);
    }
}
