//! Starting our own daemon when none answers.
//!
//! Two clients at once start one: the first holds the start lock until the socket answers, the second waits for
//! the lock and then finds the socket.

use crate::StartError;
use corten_http::client::Endpoint;
use corten_std::{PathError, Paths, file};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take to answer. It takes milliseconds; a store that must be checked after a power cut
/// takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts the daemon with `program daemon`, detached, unless one answers by now; returns when its socket does.
/// `announce` is called once, before this client starts one itself.
pub fn start_daemon(program: &Path, paths: &Paths, announce: &mut dyn FnMut()) -> Result<(), StartError> {
    let endpoint = Endpoint::Unix(paths.socket());
    if !rustix::process::geteuid().is_root() {
        return Err(StartError::NotRoot { endpoint: endpoint.to_string() });
    }
    file::create_dir_all(&paths.exec_root)?;
    let lock_path = paths.start_lock();
    let lock = File::create(&lock_path).map_err(|source| PathError::new("create", &lock_path, source))?;
    lock.lock().map_err(|source| PathError::new("lock", &lock_path, source))?;
    if answers(&paths.socket(), PATIENCE) {
        return Ok(());
    }
    announce();
    let log_path = paths.daemon_log();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .map_err(|source| PathError::new("open", &log_path, source))?;
    let log_start = log.metadata().map_or(0, |metadata| metadata.len());
    let errors = log.try_clone().map_err(|source| PathError::new("open", &log_path, source))?;
    let mut child = Command::new(program)
        .arg0("corten")
        .arg("daemon")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(errors))
        .spawn()
        .map_err(StartError::Spawn)?;
    let begun = Instant::now();
    loop {
        if answers(&paths.socket(), PATIENCE.saturating_sub(begun.elapsed())) {
            return Ok(());
        }
        // The first process may hand over to another and end well; only a failure is the end.
        if let Ok(Some(status)) = child.try_wait()
            && !status.success()
        {
            let last_line = last_line(&log_path, log_start).unwrap_or_else(|| status.to_string());
            return Err(StartError::Ended { last_line, log: log_path });
        }
        if begun.elapsed() > PATIENCE {
            let last_line = last_line(&log_path, log_start).unwrap_or_else(|| "it wrote nothing".to_owned());
            return Err(StartError::Silent { seconds: PATIENCE.as_secs(), last_line, log: log_path });
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Whether a daemon answers a greeting. The keeper listens before the daemon serves, so that being connected means
/// little; one that is starting is waited for.
fn answers(socket: &Path, patience: Duration) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let greeting = b"HEAD /_ping HTTP/1.1\r\nHost: corten\r\nConnection: close\r\n\r\n";
    // A timeout of nothing would mean none at all.
    let patience = patience.max(Duration::from_millis(1));
    stream.set_read_timeout(Some(patience)).is_ok()
        && stream.write_all(greeting).is_ok()
        && matches!(stream.read(&mut [0; 64]), Ok(count) if count > 0)
}

/// The last line that was written to the log since `from`; what the keeper says of the daemon's end only where there is
/// nothing else, because the daemon itself knows better.
fn last_line(log: &Path, from: u64) -> Option<String> {
    let bytes = std::fs::read(log).ok()?;
    let new = bytes.get(usize::try_from(from).ok()?..)?;
    let text = String::from_utf8_lossy(new);
    let lines = || text.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let own = lines().find(|line| !line.starts_with("corten keeper:"));
    own.or_else(|| lines().next()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_of_this_start() {
        let path = std::env::temp_dir().join(format!("corten-client-log-{}", std::process::id()));
        std::fs::write(&path, "old trouble\n").unwrap();
        assert_eq!(last_line(&path, 12), None);
        std::fs::write(&path, "old trouble\ncorten keeper: gone\n").unwrap();
        assert_eq!(last_line(&path, 12).as_deref(), Some("corten keeper: gone"));
        std::fs::write(&path, "old trouble\nfirst\nsecond\ncorten keeper: gone\n\n").unwrap();
        assert_eq!(last_line(&path, 12).as_deref(), Some("second"));
        std::fs::remove_file(path).unwrap();
    }
}
