//! The program, run so that no container can write to it.
//!
//! Between the clone and the command's exec our program is what runs in the container, and a command may be a
//! script of `/proc/self/exe`: either way the file is found behind `/proc/PID/exe` (CVE-2019-5736). So the calls
//! that make processes run from a read-only mount of the file, attached nowhere.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

use corten_sys::process::StringVector;
use corten_sys::{mount, process};
use rustix::fs::{Mode, OFlags, StatVfsMountFlags};

const OWN: &str = "/proc/self/exe";

/// Executes the program again from a read-only mount, unless it runs from one already. Returns also where that
/// cannot be had: without the privilege to mount there is no container of other users either.
pub(crate) fn protect_program() {
    if rustix::fs::statvfs(OWN).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        return;
    }
    let Ok(program) = read_only() else { return };
    let strings = |list: Vec<Vec<u8>>| {
        list.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>().map(StringVector::new)
    };
    let arguments = std::env::args_os().map(OsStringExt::into_vec).collect();
    let environment =
        std::env::vars_os().map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'=')).collect();
    let (Ok(arguments), Ok(environment)) = (strings(arguments), strings(environment)) else { return };
    let _ = process::execute_descriptor(std::os::fd::AsFd::as_fd(&program), &arguments, &environment);
}

fn read_only() -> Result<OwnedFd, mount::MountError> {
    // The link is followed by its descriptor: its text may name a file that is not ours any more.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let own = rustix::fs::open(OWN, flags, Mode::empty())
        .map_err(|error| mount::MountError::new("open", OWN, error))?;
    let tree = mount::clone_tree_at(std::os::fd::AsFd::as_fd(&own), "".as_ref(), false)?;
    mount::set_attributes(std::os::fd::AsFd::as_fd(&tree), &mount::AttributeChange::read_only())
        .map_err(|error| mount::MountError::new("make read-only the mount at", OWN, error))?;
    Ok(tree)
}
