//! The program, run so that no container can write to it.
//!
//! Between the clone and the command's exec our program is what runs in the container, and a command may be a
//! script of `/proc/self/exe`: either way the file is found behind `/proc/PID/exe` (CVE-2019-5736). So the calls
//! that make processes run from a read-only mount of the file, attached nowhere.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
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
    let _ = execute(&program, None);
}

/// Executes the program again with one more variable, from a read-only mount where one can be had in the mount namespace
/// that we are in now. Returns why it could not.
pub(crate) fn execute_again(variable: (&str, &str)) -> io::Error {
    match read_only_by_path() {
        Ok(program) => execute(&program, Some(variable)),
        Err(_) => match rustix::fs::open(OWN, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(program) => execute(&program, Some(variable)),
            Err(error) => error.into(),
        },
    }
}

fn execute(program: &OwnedFd, variable: Option<(&str, &str)>) -> io::Error {
    let strings = |list: Vec<Vec<u8>>| {
        list.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>().map(StringVector::new)
    };
    let arguments = std::env::args_os().map(OsStringExt::into_vec).collect();
    let mut environment: Vec<Vec<u8>> = std::env::vars_os()
        .filter(|(name, _)| variable.is_none_or(|(own, _)| name != own))
        .map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='))
        .collect();
    environment.extend(variable.map(|(name, value)| format!("{name}={value}").into_bytes()));
    match (strings(arguments), strings(environment)) {
        (Ok(arguments), Ok(environment)) => {
            process::execute_descriptor(program.as_fd(), &arguments, &environment)
        }
        (Err(error), _) | (_, Err(error)) => io::Error::other(error),
    }
}

/// As [`read_only`], in a mount namespace that is not the one where the program was started: the link leads into that
/// one, and its text is good only where it names the same file.
fn read_only_by_path() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let own = rustix::fs::open(OWN, flags, Mode::empty())?;
    let path = std::fs::read_link(OWN)?;
    let named = rustix::fs::open(&path, flags, Mode::empty())?;
    if !crate::rootless::is_same_file(own.as_fd(), named.as_fd()) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let tree = mount::clone_tree_at(named.as_fd(), "".as_ref(), false).map_err(|error| error.source)?;
    mount::set_attributes(tree.as_fd(), &mount::AttributeChange::read_only())?;
    Ok(tree)
}

fn read_only() -> Result<OwnedFd, mount::MountError> {
    // The link is followed by its descriptor: its text may name a file that is not ours any more.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let own = rustix::fs::open(OWN, flags, Mode::empty())
        .map_err(|error| mount::MountError::new("open", OWN, error))?;
    let tree = mount::clone_tree_at(own.as_fd(), "".as_ref(), false)?;
    mount::set_attributes(tree.as_fd(), &mount::AttributeChange::read_only())
        .map_err(|error| mount::MountError::new("make read-only the mount at", OWN, error))?;
    Ok(tree)
}
