//! Sealed home, scratch daemon, fixture images, output masks for the tests.

pub mod daemon;
mod digest;
pub mod fixture;
pub mod plugin;
pub mod registry;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Whether this process is root. Where it is not, the test says on stderr that it was left out, and why; under
/// `CI=true` it fails instead, so that nothing is skipped in silence.
pub fn need_root() -> bool {
    need("root", rustix::process::geteuid().is_root())
}

/// Whether a named thing that a test needs (a kernel feature, a program) is there; see [`need_root`].
///
/// # Panics
/// Under `CI=true` where the thing is missing.
#[expect(clippy::print_stderr, reason = "the line is for whoever runs the tests by hand")]
pub fn need(what: &str, there: bool) -> bool {
    if !there {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "this test needs {what}, which is not here");
        eprintln!("left out: this test needs {what}, which is not here");
    }
    there
}

/// How long something may take at most: so many seconds, times `CORTEN_PATIENCE` where the machine is an emulated one.
pub fn patience(seconds: u64) -> Duration {
    let factor = std::env::var("CORTEN_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds * factor)
}

/// Whether a program is on PATH or in the system's folders.
pub fn program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .any(|folder| folder.join(name).is_file())
}

/// A folder of its own for one test, removed at the end (also when the test fails).
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes `TMPDIR/corten-NAME-PID-N`.
    ///
    /// # Panics
    /// Where it cannot be made.
    pub fn new(name: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("corten-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a scratch folder can be made");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
