//! SIGINT and SIGTERM as a wish to end in order: what was started is taken away before the process ends.

use corten_sys::process::{read_signal, set_signal_mask, signal_descriptor};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on the signals only set what [`asked`] tells; a second one ends the process at once. To be called before other
/// threads are started. Programs started later have the signals blocked too, so that they finish what they do.
pub(crate) fn watch() -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot watch signals: {error}");
    set_signal_mask(&[SIGINT, SIGTERM]).map_err(failed)?;
    let signals = signal_descriptor(&[SIGINT, SIGTERM]).map_err(failed)?;
    std::thread::spawn(move || {
        loop {
            match read_signal(signals.as_fd()) {
                Ok(Some(_)) if ASKED.swap(true, Ordering::Relaxed) => std::process::exit(130),
                Ok(Some(_)) => eprintln!("broken off: what was made is removed; once more ends at once"),
                Ok(None) => std::thread::sleep(Duration::from_millis(50)),
                Err(_) => return,
            }
        }
    });
    Ok(())
}

/// Whether we were asked to end.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Waits so long, or until we are asked to end.
pub(crate) fn pause(time: Duration) {
    let start = std::time::Instant::now();
    while !asked() && start.elapsed() < time {
        std::thread::sleep(Duration::from_millis(50).min(time));
    }
}

/// An error where we were asked to end.
pub(crate) fn check() -> Result<(), String> {
    if asked() { Err("broken off by a signal".to_owned()) } else { Ok(()) }
}
