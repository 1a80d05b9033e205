//! Between created and started: the gate, and hooks in the container's own process.

use corten_oci::runtime::Hook;
use corten_sys::process;

use super::{Result, report};
use crate::error::{LaunchError, LaunchErrorKind, Stage};
use crate::lifecycle::Gate;

/// Waits until somebody starts the process. Ends it where nobody can any more.
pub(super) fn wait(gate: &Gate) {
    let mut byte = [0; 1];
    loop {
        match rustix::io::read(&gate.wait, &mut byte) {
            Ok(1) => return,
            Err(rustix::io::Errno::INTR) => {}
            _ => process::exit_now(1),
        }
    }
}

/// Tells who started the process why it does not run, and ends it.
pub(super) fn refuse(gate: &Gate, error: &LaunchError) -> ! {
    let text = report::text_of(error).unwrap_or_default();
    let _ = rustix::io::write(&gate.answer, &text);
    process::exit_now(1)
}

/// Runs hooks in this process's namespaces.
pub(super) fn run_hooks(kind: &'static str, hooks: &[Hook], state: &str) -> Result<()> {
    crate::hook::run_hooks(kind, hooks, state.as_bytes())
        .map_err(|error| LaunchError::new(Stage::Execute, LaunchErrorKind::Invalid, error.to_string()))
}
