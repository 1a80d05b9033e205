//! Containers of people who are not root: the program becomes root of the container's user namespace first, and then does
//! everything as always.
//!
//! ```text
//! program (user 1000) ── fork ──▶ writer: waits
//!    leaves for a new user and mount namespace
//!    maps, please ─────────────▶ writer: writes them, or has newuidmap and newgidmap write them
//!    executes itself again from a read-only mount: root in there, and still user 1000 for everybody else
//! ```
//!
//! A further process of a container is made by a program that enters the container's user namespace in the same way.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use corten_oci::runtime::{LinuxIdMapping, NamespaceKind, Spec};
use corten_runtime::map_text;
use corten_sys::process::{self, Fork, Namespaces};
use corten_sys::socket;

use crate::failure::{Failure, Result};
use crate::protect;
use crate::state::State;

/// Tells the program that was executed again which user namespace it has entered.
const ENTERED: &str = "CORTEN_OCI_USERS";

/// Our own user namespace, as the kernel numbers it.
const OWN: &str = "/proc/self/ns/user";

/// Bytes of what a writer says about a failure.
const LONGEST: usize = 4096;

/// Whether this process entered the user namespace of its container, and is root nowhere else.
pub(crate) fn entered() -> bool {
    std::env::var(ENTERED).is_ok_and(|told| own_number().is_ok_and(|own| told == own.to_string()))
}

/// Whether limits that cannot be set are left alone where nothing was asked for: what `--rootless` says, else whether we
/// are somebody other than the machine's root.
pub(crate) fn leaves_cgroups(flag: Option<&str>) -> Result<bool> {
    match flag {
        Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        None | Some("auto" | "") => {
            Ok(!rustix::process::geteuid().is_root() || corten_runtime::in_user_namespace())
        }
        Some(other) => Err(Failure::new(format!("invalid --rootless {other:?}: auto, true or false"))),
    }
}

/// Who we are for the caller: outside of a namespace that we entered ourselves.
pub(crate) fn owner() -> u32 {
    let own = rustix::process::geteuid().as_raw();
    if !entered() {
        return own;
    }
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    corten_runtime::host_id(&map, own).unwrap_or(own)
}

/// Enters the user namespace that a document asks for, where we are not root. Does not return then: the program is
/// executed again.
pub(crate) fn enter(spec: &Spec) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let users = spec
        .namespace(NamespaceKind::User)
        .ok_or_else(|| Failure::new("rootless container requires user namespaces"))?;
    if let Some(path) = &users.path {
        let fail = |error: &io::Error| Failure::of(format_args!("cannot enter the namespace {path}"), error);
        let namespace = File::open(path).map_err(|error| fail(&error))?;
        process::enter_namespace(namespace.as_fd(), Namespaces::USER).map_err(|error| fail(&error))?;
        return go_on();
    }
    let linux = spec.linux.as_ref().ok_or_else(|| Failure::new("the document has no linux part"))?;
    let own = rustix::process::geteuid().as_raw();
    if !linux.uid_mappings.iter().any(|range| range.container_id == 0 && range.host_id == own) {
        return Err(Failure::new(format!(
            "without root, root in the container has to be you: linux.uidMappings must map 0 to {own}"
        )));
    }
    let (ours, theirs) =
        socket::seqpacket_pair().map_err(|error| Failure::of("cannot open a socket", &error))?;
    let parent = std::process::id();
    let fork = process::fork().map_err(|error| Failure::of("cannot make a process", &error))?;
    let writer = match fork {
        Fork::Child => {
            drop(ours);
            write_when_asked(&theirs, parent, &linux.uid_mappings, &linux.gid_mappings);
            process::exit_now(0)
        }
        Fork::Parent(writer) => writer,
    };
    drop(theirs);
    let made = process::unshare(Namespaces::USER.with(Namespaces::MOUNT)).map_err(|error| {
        Failure::of("cannot make a user namespace; the machine may not let others than root", &error)
    });
    let mapped = made.and_then(|()| ask(&ours));
    drop(ours);
    let _ = process::wait(writer.pid);
    mapped?;
    go_on()
}

/// Enters the user namespace of a running container, where we are not root; as [`enter`].
pub(crate) fn enter_of(state: &State) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let handle = state.handle()?;
    process::enter_process_namespaces(handle.as_fd(), Namespaces::USER)
        .map_err(|error| Failure::of("cannot enter the container's user namespace", &error))?;
    go_on()
}

/// The document for who is in its user namespace already.
pub(crate) fn settle(spec: &mut Spec) {
    if !entered() {
        return;
    }
    let Some(linux) = &mut spec.linux else { return };
    for namespace in linux.namespaces.iter_mut().filter(|one| one.kind == NamespaceKind::User) {
        namespace.path = Some(OWN.to_owned());
    }
    linux.uid_mappings.clear();
    linux.gid_mappings.clear();
}

fn own_number() -> io::Result<u64> {
    Ok(std::fs::metadata(OWN)?.ino())
}

/// Root of the user namespace that we are in: the program again, with mounts of its own.
fn go_on() -> Result<()> {
    let fail = |error: io::Error| Failure::of("cannot become root of the user namespace", &error);
    process::set_user(0, 0, &[]).map_err(fail)?;
    process::unshare(Namespaces::MOUNT).map_err(fail)?;
    let number = own_number().map_err(fail)?;
    Err(Failure::of(
        "cannot execute the program again",
        &protect::execute_again((ENTERED, &number.to_string())),
    ))
}

/// Has the maps written; returns when they are.
fn ask(writer: &OwnedFd) -> Result<()> {
    let fail = |error: rustix::io::Errno| {
        Failure::of("cannot have the maps of the user namespace written", &io::Error::from(error))
    };
    rustix::io::write(writer, b"m").map_err(fail)?;
    let mut said = vec![0; LONGEST];
    let length = rustix::io::read(writer, said.as_mut_slice()).map_err(fail)?;
    match &said[..length] {
        b"ok" => Ok(()),
        said => Err(Failure::new(format!(
            "cannot write the maps of the user namespace: {}",
            String::from_utf8_lossy(said)
        ))),
    }
}

/// In a process that is still outside.
fn write_when_asked(asker: &OwnedFd, pid: u32, uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) {
    if rustix::io::read(asker, &mut [0; 1]) != Ok(1) {
        return;
    }
    let answer = write_maps(pid, uids, gids).err().unwrap_or_else(|| "ok".to_owned());
    let bytes = answer.as_bytes();
    let _ = rustix::io::write(asker, &bytes[..bytes.len().min(LONGEST)]);
}

/// What is our own id alone anybody may map; for more there are the programs that look into `/etc/subuid` and
/// `/etc/subgid`.
fn write_maps(pid: u32, uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> std::result::Result<(), String> {
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let is_alone = |map: &[LinuxIdMapping], own: u32| matches!(map, [LinuxIdMapping { host_id, size: 1, .. }] if *host_id == own);
    let write = |file: &str, text: &str| {
        let path = format!("/proc/{pid}/{file}");
        std::fs::write(&path, text).map_err(|error| format!("write {path}: {error}"))
    };
    if is_alone(uids, own.0) {
        write("uid_map", &map_text(uids))?;
    } else {
        run("newuidmap", pid, uids)?;
    }
    if is_alone(gids, own.1) {
        // Who may not give away groups may not take them off either.
        write("setgroups", "deny")?;
        write("gid_map", &map_text(gids))
    } else {
        run("newgidmap", pid, gids)
    }
}

fn run(program: &str, pid: u32, map: &[LinuxIdMapping]) -> std::result::Result<(), String> {
    let words = map.iter().flat_map(|range| [range.container_id, range.host_id, range.size]);
    let output = Command::new(program)
        .arg(pid.to_string())
        .args(words.map(|number| number.to_string()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("several ids are mapped, which takes the program {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

/// Whether a descriptor is of the file that a path names.
pub(crate) fn is_same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let number = |file| rustix::fs::fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
    matches!((number(one), number(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rootless_says() {
        assert!(leaves_cgroups(Some("true")).unwrap());
        assert!(!leaves_cgroups(Some("false")).unwrap());
        assert!(leaves_cgroups(Some("perhaps")).is_err());
    }

    #[test]
    fn the_document_names_the_namespace_that_we_are_in_only_when_we_entered_it() {
        let mut spec = corten_runtime::default_spec(corten_runtime::SpecOptions::default());
        let before = spec.clone();
        settle(&mut spec);
        assert_eq!(spec, before);
    }
}
