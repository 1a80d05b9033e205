//! Work on `/proc` by the descriptor of the mount that we made ourselves.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

use corten_sys::mount::{self, Attributes};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{Result, invalid};
use crate::error::{Context, Stage};
use crate::hardening::{Hardening, HardeningStep};

const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// Whether a file lies in a proc filesystem.
pub(super) fn is_proc(file: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| stat.f_type as u64 == PROC_SUPER_MAGIC)
}

/// Sets kernel parameters of the container's namespaces. Which may be set was decided before; here only names
/// that leave `/proc/sys` are refused.
pub(super) fn set_sysctls(
    proc: Option<BorrowedFd<'_>>,
    sysctls: &BTreeMap<String, String>,
    hardening: &Hardening,
) -> Result<()> {
    if sysctls.is_empty() {
        return Ok(());
    }
    if !hardening.has(HardeningStep::CheckedProc) {
        // The way of old runtimes, for the test that shows where it leads.
        for (name, value) in sysctls {
            std::fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value)
                .at(Stage::Settings, format_args!("write sysctl key {name}"))?;
        }
        return Ok(());
    }
    let own;
    let proc = if let Some(proc) = proc {
        proc
    } else {
        own = mount::filesystem("proc", &[], Attributes::empty())
            .map_err(|error| error.source)
            .at(Stage::Settings, "open proc")?;
        own.as_fd()
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    for (name, value) in sysctls {
        // Slashes may stand for dots, then dots are part of a name (an interface `eth0.1`).
        let path = if name.contains('/') { name.clone() } else { name.replace('.', "/") };
        if path.split('/').any(|part| part.is_empty() || part == "..") {
            return Err(invalid(format!("`{name}` is no name of a kernel parameter")));
        }
        let context = format!("write sysctl key {name}");
        let file = rustix::fs::openat2(
            proc,
            format!("sys/{path}"),
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
        .at(Stage::Settings, &context)?;
        rustix::io::write(&file, value.as_bytes()).at(Stage::Settings, &context)?;
    }
    Ok(())
}
