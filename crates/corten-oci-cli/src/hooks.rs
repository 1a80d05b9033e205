//! Hooks that run beside the container, in this process's namespaces.

use corten_oci::runtime::Hook;

use crate::failure::{Failure, Result};
use crate::log::Log;
use crate::state::{State, Status};

/// Runs hooks that must not fail.
pub(crate) fn run(kind: &'static str, hooks: &[Hook], state: &State, status: Status) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let document = state.document(status).to_string();
    corten_runtime::run_hooks(kind, hooks, document.as_bytes())
        .map_err(|error| Failure::new(error.to_string()))
}

/// Runs hooks whose failure is told and changes nothing.
pub(crate) fn run_all(kind: &'static str, hooks: &[Hook], state: &State, status: Status, log: &Log) {
    for hook in hooks {
        if let Err(failure) = run(kind, std::slice::from_ref(hook), state, status) {
            log.warn(&failure.to_string());
        }
    }
}
