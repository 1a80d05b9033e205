//! The user namespace of a container, and what depends on it: who owns its network namespace, and what it can neither
//! make nor mount itself.
//!
//! A container's user namespace is the one that its network namespace belongs to: each that stands ready has its own.
//! Who shares a namespace with another container is in that one's user namespace, as in Docker.

use crate::container::record::Record;
use crate::container::spec::Neighbours;
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use crate::users;
use corten_oci::runtime::{LinuxNamespace, NamespaceKind, Spec};
use corten_runtime::{device_nodes, device_tree};
use corten_sys::mount::{self, Attributes};
use corten_sys::netlink::namespace;
use corten_sys::user_namespace;
use rustix::fs::FileType;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// What a start in a user namespace has beside the others.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// To be entered; none is the host's.
    pub(super) users: Option<OwnedFd>,
    /// Nodes of the host by their place inside, where nobody can make them.
    pub(super) devices: Vec<(String, OwnedFd)>,
}

/// The user namespace of the containers whose processes or memory this one shares.
pub(super) fn of_neighbours(
    engine: &EngineInner,
    record: &Record,
    neighbours: &Neighbours,
) -> Result<Option<Arc<OwnedFd>>> {
    if users::of(engine, record).is_none() {
        return Ok(None);
    }
    let mut found: Option<OwnedFd> = None;
    for (pid, what) in [(neighbours.pid, "PID"), (neighbours.ipc, "IPC")] {
        let Some(pid) = pid else { continue };
        let users = users::of_process(pid).map_err(|error| looking(what, error))?;
        found = Some(same(found, users.ok_or_else(|| in_hosts(what))?)?);
    }
    Ok(found.map(Arc::new))
}

fn looking(what: &str, error: std::io::Error) -> EngineError {
    EngineError::from_error(&format!("failed to join {what} namespace: looking up its user namespace"), error)
}

fn in_hosts(what: &str) -> EngineError {
    EngineError::conflict(format!(
        "failed to join {what} namespace: that container is in the host's user namespace, and this one is not: start \
         both with --userns=host, or none"
    ))
}

/// One user namespace, however often it is asked for.
fn same(one: Option<OwnedFd>, other: OwnedFd) -> Result<OwnedFd> {
    if let Some(one) = one
        && !user_namespace::is_same(one.as_fd(), other.as_fd()).map_err(|error| looking("user", error))?
    {
        return Err(EngineError::conflict(
            "cannot share namespaces with several containers that do not share a user namespace themselves",
        ));
    }
    Ok(other)
}

/// Completes the document and the mounts of a container in a user namespace.
pub(super) fn settle(
    engine: &EngineInner,
    record: &Record,
    spec: &mut Spec,
    network: Option<&OwnedFd>,
    neighbours: Option<Arc<OwnedFd>>,
    trees: &mut Vec<(usize, OwnedFd)>,
) -> Result<Namespaces> {
    let (Some(users), Some(network)) = (users::of(engine, record), network) else {
        return Ok(Namespaces::default());
    };
    let unified = !engine.cgroups.hierarchies().is_legacy();
    let owner = users::of_network(network.as_fd()).map_err(|error| looking("network", error))?;
    let owner = owner.ok_or_else(|| in_hosts("network"))?;
    let owner = match neighbours {
        Some(neighbours) => {
            let neighbours = neighbours.try_clone().map_err(|error| looking("user", error))?;
            same(Some(neighbours), owner)?
        }
        None => owner,
    };
    for (index, mount) in spec.mounts.iter().enumerate() {
        match mount.kind.as_deref() {
            Some("sysfs") => trees.push((index, sysfs(network, &mount.destination)?)),
            // Queues of an IPC namespace that is not its user namespace's are the host's to mount.
            Some("mqueue") if record.host_config.ipc_mode == "host" => {
                trees.push((index, filesystem("mqueue", &mount.destination)?));
            }
            // And so is the whole tree of cgroups, of which version 2 shows what its cgroup namespace does.
            Some("cgroup") if record.host_config.cgroupns_mode == "host" && unified => {
                trees.push((index, filesystem("cgroup2", &mount.destination)?));
            }
            _ => {}
        }
    }
    let Some(linux) = &mut spec.linux else { return Ok(Namespaces::default()) };
    linux.namespaces.push(LinuxNamespace { kind: NamespaceKind::User, path: None });
    linux.uid_mappings.clone_from(&users.remap().uids);
    linux.gid_mappings.clone_from(&users.remap().gids);
    let refused = |error| EngineError::because("failed to create task for container", error);
    let mut devices = Vec::new();
    for (path, kind, number) in device_nodes(linux).map_err(refused)? {
        let source = source_of(record, &path, kind, number);
        let tree = device_tree(&source, &path, kind, number).map_err(refused)?;
        devices.push((path, tree));
    }
    Ok(Namespaces { users: Some(owner), devices })
}

/// The `/sys` of a network namespace. Its container may mount it only where it sees one already.
fn sysfs(network: &OwnedFd, destination: &str) -> Result<OwnedFd> {
    let failed = |error| EngineError::from_error(&format!("mounting {destination}"), error);
    let work = || {
        namespace::enter(network.as_fd()).map_err(failed)?;
        filesystem("sysfs", destination)
    };
    // The thread ends inside.
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| Err(failed(std::io::Error::other("the thread broke off"))))
}

fn filesystem(kind: &str, destination: &str) -> Result<OwnedFd> {
    mount::filesystem(kind, &[("source", Some(kind))], Attributes::empty())
        .map_err(|error| EngineError::from_error(&format!("mounting {destination}"), error))
}

/// Where the host has a device: at the same place, where the request says, or by its number.
fn source_of(record: &Record, path: &str, kind: FileType, number: u64) -> String {
    let is_it = |source: &str| {
        rustix::fs::stat(source)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == number)
    };
    let asked = record.host_config.devices.iter().flatten().filter_map(|device| {
        let below = Path::new(path).strip_prefix(&device.path_in_container).ok()?;
        let source = Path::new(&device.path_on_host);
        let source = if below.as_os_str().is_empty() { source.to_owned() } else { source.join(below) };
        Some(source.to_string_lossy().into_owned())
    });
    let folder = if kind == FileType::BlockDevice { "block" } else { "char" };
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let by_number = format!("/dev/{folder}/{major}:{minor}");
    let mut candidates = std::iter::once(path.to_owned()).chain(asked).chain([by_number]);
    candidates.find(|source| is_it(source)).unwrap_or_else(|| path.to_owned())
}
