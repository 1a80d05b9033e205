//! A time namespace: made for the caller's children, with its clocks set before one is born.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use corten_oci::runtime::LinuxTimeOffset;
use corten_sys::process::{self, Namespaces};

use crate::error::{Context, LaunchError, LaunchErrorKind, Stage};

/// While it lives, the caller's new children have clocks of their own.
pub(crate) struct ChildrenWithClocks {
    own: OwnedFd,
}

impl ChildrenWithClocks {
    pub(crate) fn enter(offsets: &BTreeMap<String, LinuxTimeOffset>) -> Result<Self, LaunchError> {
        let own = File::open("/proc/self/ns/time").at(Stage::Prepare, "open our own time namespace")?.into();
        let mut lines = String::new();
        for (clock, offset) in offsets {
            if !matches!(clock.as_str(), "monotonic" | "boottime") {
                return Err(LaunchError::new(
                    Stage::Prepare,
                    LaunchErrorKind::Invalid,
                    format!("{clock} is no clock that can be set in a time namespace"),
                ));
            }
            let _ = writeln!(lines, "{clock} {} {}", offset.secs, offset.nanosecs);
        }
        process::unshare(Namespaces::TIME).at(Stage::Namespaces, "make a time namespace")?;
        let guard = Self { own };
        if !lines.is_empty() {
            std::fs::write("/proc/self/timens_offsets", lines)
                .at(Stage::Namespaces, "set the clocks of the time namespace")?;
        }
        Ok(guard)
    }
}

impl Drop for ChildrenWithClocks {
    fn drop(&mut self) {
        // Our own namespace can always be chosen again.
        let _ = process::enter_namespace(self.own.as_fd(), Namespaces::TIME);
    }
}
