//! `corten daemon`: checks, binds the sockets, becomes the keeper.
//!
//! One thread and little memory: every shim begins as a copy of this process.

use crate::activation;
use crate::settings::{Host, Settings};
use corten_http::tls::ServerTls;
use corten_keeper::{Listener, listen_unix};
use corten_std::file;
use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// Docker's own socket, taken too where nothing else answers there.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// How often a socket that somebody listens on is tried before that is taken to stay so; on a busy machine a killed daemon's threads,
/// and what it forked last, take their time to end.
const LISTEN_TRIES: u32 = 100;

/// Becomes the keeper; returns only where it cannot.
pub(crate) fn run(settings: &Settings, arguments: &[OsString]) -> Result<Infallible, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("root is needed for now: run it with sudo".to_owned());
    }
    check_tls(settings)?;
    file::create_dir_all(&settings.paths.exec_root).map_err(|error| corten_std::chain(&error))?;
    let listeners = bind(settings)?;
    let keeper = corten_keeper::Settings {
        paths: settings.paths.clone(),
        listeners,
        daemon_arguments: arguments.to_vec(),
        pid_file: Some(settings.pid_file.clone()),
        private_namespace: true,
        notify_socket: std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()),
    };
    corten_keeper::run(keeper).map_err(|error| crate::told(&error))
}

/// What is wrong with TLS is told before anything is bound; plain TCP has to be asked for.
fn check_tls(settings: &Settings) -> Result<(), String> {
    let Some(address) = settings.hosts.iter().find_map(|host| match host {
        Host::Tcp(address) => Some(address),
        _ => None,
    }) else {
        return Ok(());
    };
    match settings.tls.wanted() {
        Some(files) => {
            ServerTls::load(&files).map(drop).map_err(|error| format!("TLS: {}", corten_std::chain(&error)))
        }
        None if settings.tls.is_refused() => Ok(()),
        None => Err(format!(
            "tcp://{address} without TLS gives root on this machine to whoever reaches it: add --tlsverify with \
             --tlscacert, --tlscert and --tlskey, or --tls=false if this is meant"
        )),
    }
}

fn bind(settings: &Settings) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    let mut add =
        |name: String, descriptor: OwnedFd| listeners.push(Listener { name, descriptor, passed: false });
    if settings.hosts.is_empty() {
        let path = settings.paths.socket();
        add(name_of(&path), unix(&path, settings.group)?);
        if settings.paths.is_default()
            && let Ok(socket) = listen_unix(Path::new(DOCKER_SOCKET), settings.group)
        {
            add(DOCKER_SOCKET.to_owned(), socket);
        }
    }
    let passed = settings.hosts.iter().filter_map(|host| match host {
        Host::Passed(which) => Some(which.as_str()),
        _ => None,
    });
    let mut passed = activation::choose(passed, activation::passed)?;
    for host in &settings.hosts {
        match host {
            Host::Unix(path) => add(name_of(path), unix(path, settings.group)?),
            Host::Tcp(address) => {
                let listener = std::net::TcpListener::bind(address)
                    .map_err(|error| format!("cannot listen on tcp://{address}: {error}"))?;
                add(format!("tcp://{address}"), listener.into());
            }
            Host::Passed(_) => {}
        }
    }
    listeners.append(&mut passed);
    Ok(listeners)
}

fn name_of(path: &Path) -> String {
    path.display().to_string()
}

fn unix(path: &Path, group: Option<u32>) -> Result<OwnedFd, String> {
    if let Some(folder) = path.parent() {
        file::create_dir_all(folder).map_err(|error| corten_std::chain(&error))?;
    }
    // A daemon that was killed just now, or a shim that it forked last, lets go of the socket a moment later.
    let mut listening = listen_unix(path, group);
    for _ in 0..LISTEN_TRIES {
        match &listening {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            _ => break,
        }
        std::thread::sleep(Duration::from_millis(20));
        listening = listen_unix(path, group);
    }
    listening.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another daemon listens on {}: end it, or name another -H and --exec-root",
            path.display()
        ),
        _ => format!("cannot listen on {}: {error}", path.display()),
    })
}
