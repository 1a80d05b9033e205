//! From a record to the runtime document: Docker's defaults with what was asked for.

pub(crate) mod devices;
pub(crate) mod limits;
pub(crate) mod logging;
pub(crate) mod ports;
pub(crate) mod security;
pub(crate) mod sysctl;

use crate::container::apparmor;
use crate::container::files::{self, FILES};
use crate::container::record::{MountKind, Mounted, ReadOnlyDepth, Record};
use crate::container::sources::NEIGHBOURS_MEMORY;
use crate::container::validate::normal_capability;
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use corten_oci::runtime::{LinuxCapabilities, Mount, NamespaceKind, Spec};
use corten_runtime::{DEFAULT_CAPABILITIES, DEFAULT_PATH, SpecOptions, default_spec, make_privileged};
use std::path::Path;

/// Who may ping without privileges.
const PING_GROUPS: &str = "net.ipv4.ping_group_range";

/// What the document needs to know of other containers.
#[derive(Clone, Debug, Default)]
pub(super) struct Neighbours {
    /// First process of the container whose pid namespace is shared.
    pub(super) pid: Option<i32>,
    /// First process of the container whose ipc namespace is shared.
    pub(super) ipc: Option<i32>,
    /// Variables of those it is linked to.
    pub(super) links: Vec<String>,
}

/// The environment of a container: Docker's variables, those of links, then the record's, a later one in the place of an
/// earlier.
pub(crate) fn environment(record: &Record, links: &[String]) -> Vec<String> {
    let mut all = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={}", record.hostname)];
    if record.config.tty {
        all.push("TERM=xterm".to_owned());
    }
    all.extend_from_slice(links);
    replace_variables(&mut all, record.config.env.as_deref().unwrap_or_default());
    all
}

/// Sets variables: in place where they are there, else at the end. An entry without `=` removes one.
pub(crate) fn replace_variables(all: &mut Vec<String>, more: &[String]) {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    for entry in more {
        let wanted = name(entry);
        let place = all.iter().position(|have| name(have) == wanted);
        match (place, entry.contains('=')) {
            (Some(place), true) => entry.clone_into(&mut all[place]),
            (Some(place), false) => drop(all.remove(place)),
            (None, true) => all.push(entry.clone()),
            (None, false) => {}
        }
    }
}

/// The runtime document. Mounts of the host (binds, volumes, the three files) stand in it with their path as source;
/// who starts the container opens them.
pub(super) fn build(engine: &EngineInner, record: &Record, neighbours: &Neighbours) -> Result<Spec> {
    let host = &record.host_config;
    let config = &record.config;
    let mut spec = default_spec(SpecOptions {
        args: std::iter::once(record.path.clone()).chain(record.arguments.iter().cloned()).collect(),
        env: environment(record, &neighbours.links),
        cwd: config.working_dir.clone(),
        user: config.user.clone(),
        hostname: record.hostname.clone(),
        terminal: config.tty,
        shm_size: host.shm_size.unsigned_abs(),
        readonly_root: host.readonly_rootfs,
        cgroup: engine.cgroups.mode(),
    });
    spec.domainname = (!config.domainname.is_empty()).then(|| config.domainname.clone());
    spec.annotations = host.annotations.clone();
    let (devices, rules) = devices::given(host)?;
    if let Some(linux) = &mut spec.linux {
        linux.masked_paths = host.masked_paths.clone().unwrap_or_default();
        linux.readonly_paths = host.readonly_paths.clone().unwrap_or_default();
        linux.devices = devices;
        let default_rules = linux.resources.take().unwrap_or_default().devices;
        let mut resources = limits::resources(host)?;
        resources.devices = default_rules;
        resources.devices.extend(rules);
        linux.resources = Some(resources);
        linux.sysctl = host.sysctls.clone();
        if super::monitor::owns_sandbox(record) {
            for (name, value) in [("net.ipv4.ip_unprivileged_port_start", "0"), (PING_GROUPS, "0 2147483647")]
            {
                linux.sysctl.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            }
            if crate::users::of(engine, record).is_some() && !host.sysctls.contains_key(PING_GROUPS) {
                // The network has set it for all groups, of which most do not exist inside.
                linux.sysctl.remove(PING_GROUPS);
            }
        }
    }
    let security = security::settle(host.security_opt.as_deref().unwrap_or_default(), host.privileged)?;
    if host.privileged {
        make_privileged(&mut spec);
        if let Some(linux) = &mut spec.linux {
            let mut all = devices::all();
            all.retain(|device| !linux.devices.iter().any(|given| given.path == device.path));
            linux.devices.append(&mut all);
        }
    }
    if security.writable_cgroups {
        for mount in spec.mounts.iter_mut().filter(|mount| mount.kind.as_deref() == Some("cgroup")) {
            mount.options.retain(|option| option != "ro");
        }
    }
    if let Some(process) = &mut spec.process {
        if !host.privileged {
            let names = capabilities(
                host.cap_add.as_deref().unwrap_or_default(),
                host.cap_drop.as_deref().unwrap_or_default(),
            );
            process.capabilities = Some(LinuxCapabilities {
                bounding: names.clone(),
                effective: names.clone(),
                permitted: names,
                ..LinuxCapabilities::default()
            });
        }
        process.no_new_privileges = security.no_new_privileges;
        process.apparmor_profile = apparmor::prepare(security.apparmor_profile());
        process.selinux_label = record.process_label().filter(|_| engine.selinux.is_some());
        process.oom_score_adj = Some(host.oom_score_adj);
        process.rlimits = limits::rlimits(host.ulimits.as_deref().unwrap_or_default());
        let groups = host.group_add.iter().flatten();
        for group in groups {
            match group.parse::<u32>() {
                Ok(number) => process.user.additional_gids.push(number),
                Err(_) => process.user.additional_group_names.push(group.clone()),
            }
        }
        let [height, width] = host.console_size;
        if config.tty && height != 0 && width != 0 {
            process.console_size =
                Some(corten_oci::runtime::ConsoleSize { height: height as u16, width: width as u16 });
        }
    }
    if let (Some(linux), Some(label), Some(_)) = (&mut spec.linux, record.mount_label(), &engine.selinux) {
        linux.mount_label = Some(label.to_owned());
    }
    namespaces(&mut spec, record, neighbours)?;
    super::cdi::inject(&mut spec, host, &engine.settings.defaults.cdi_folders)?;
    add_mounts(engine, &mut spec, record);
    Ok(spec)
}

/// The capabilities that remain of Docker's, by its rules for `ALL`.
pub(crate) fn capabilities(add: &[String], drop: &[String]) -> Vec<String> {
    let normal = |list: &[String]| list.iter().map(|name| normal_capability(name)).collect::<Vec<_>>();
    let (add, drop) = (normal(add), normal(drop));
    let has_all = |list: &[String]| list.iter().any(|name| name == "ALL");
    let kept = |names: &mut dyn Iterator<Item = String>| -> Vec<String> {
        names.filter(|name| !drop.contains(name)).collect()
    };
    if has_all(&add) {
        return kept(&mut corten_sys::capability::of_kernel().names());
    }
    let mut names = if has_all(&drop) {
        Vec::new()
    } else {
        kept(&mut DEFAULT_CAPABILITIES.iter().map(|&name| name.to_owned()))
    };
    for name in add {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn namespaces(spec: &mut Spec, record: &Record, neighbours: &Neighbours) -> Result<()> {
    let host = &record.host_config;
    let Some(linux) = &mut spec.linux else { return Ok(()) };
    let mut drop = |kind: NamespaceKind| linux.namespaces.retain(|namespace| namespace.kind != kind);
    if host.network_mode == "host" {
        drop(NamespaceKind::Network);
    }
    if host.uts_mode == "host" {
        drop(NamespaceKind::Uts);
        spec.hostname = None;
        spec.domainname = None;
    }
    if host.pid_mode == "host" {
        drop(NamespaceKind::Pid);
    }
    if host.ipc_mode == "host" {
        drop(NamespaceKind::Ipc);
        for mount in &mut spec.mounts {
            if mount.destination == "/dev/shm" {
                *mount = bind("/dev/shm", Path::new("/dev/shm"), "rw", "rprivate", true);
            }
        }
    }
    if host.ipc_mode.starts_with("container:") {
        for mount in &mut spec.mounts {
            if mount.destination == "/dev/shm" {
                *mount = bind("/dev/shm", Path::new(NEIGHBOURS_MEMORY), "rw", "rprivate", false);
            }
        }
    }
    if host.ipc_mode == "none" {
        spec.mounts.retain(|mount| mount.destination != "/dev/shm");
    }
    if host.cgroupns_mode == "host" {
        drop(NamespaceKind::Cgroup);
    } else if !linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::Cgroup) {
        linux
            .namespaces
            .push(corten_oci::runtime::LinuxNamespace { kind: NamespaceKind::Cgroup, path: None });
    }
    for (mode, kind, word, pid) in [
        (&host.pid_mode, NamespaceKind::Pid, "pid", neighbours.pid),
        (&host.ipc_mode, NamespaceKind::Ipc, "ipc", neighbours.ipc),
    ] {
        if !mode.starts_with("container:") {
            continue;
        }
        let pid = pid.ok_or_else(|| {
            EngineError::conflict(format!("cannot join the {word} namespace: {mode} is not running"))
        })?;
        for namespace in &mut linux.namespaces {
            if namespace.kind == kind {
                namespace.path = Some(format!("/proc/{pid}/ns/{word}"));
            }
        }
    }
    Ok(())
}

/// Adds what the record mounts and the three files, each in the place of a default mount there.
fn add_mounts(engine: &EngineInner, spec: &mut Spec, record: &Record) {
    let taken = |destination: &str| record.mounts.iter().any(|mounted| mounted.destination == destination);
    // Who brings a `/dev` brings all of it.
    let own_dev = taken("/dev");
    spec.mounts
        .retain(|mount| !(taken(&mount.destination) || own_dev && mount.destination.starts_with("/dev/")));
    let access = if record.host_config.readonly_rootfs { "ro" } else { "rw" };
    let mut own: Vec<Mount> = record.mounts.iter().map(mount).collect();
    for (name, destination) in FILES {
        if !taken(destination) {
            let source = files::path(engine, files::owner(record), name);
            own.push(bind(destination, &source, access, "rprivate", false));
        }
    }
    // One that lies in another comes after it: a volume at `/etc` has the three files in it.
    own.sort_by_key(|mount| mount.destination.matches('/').count());
    spec.mounts.extend(own);
}

fn mount(mounted: &Mounted) -> Mount {
    let access = match (mounted.read_only, mounted.read_only_depth) {
        (false, _) => "rw",
        (true, ReadOnlyDepth::Top) => "ro",
        (true, ReadOnlyDepth::Tree | ReadOnlyDepth::Forced) => "rro",
    };
    match &mounted.kind {
        MountKind::Bind { source, .. } => {
            bind(&mounted.destination, source, access, &mounted.propagation, mounted.recursive)
        }
        MountKind::Volume { source, subpath, .. } => {
            let source = if subpath.is_empty() { source.clone() } else { source.join(subpath) };
            bind(&mounted.destination, &source, access, "rprivate", true)
        }
        MountKind::Image { name, .. } => bind(&mounted.destination, Path::new(name), "ro", "rprivate", false),
        MountKind::Tmpfs { options } => Mount {
            destination: mounted.destination.clone(),
            kind: Some("tmpfs".to_owned()),
            source: Some("tmpfs".to_owned()),
            options: tmpfs_options(options, mounted.read_only),
            ..Mount::default()
        },
    }
}

fn bind(destination: &str, source: &Path, access: &str, propagation: &str, recursive: bool) -> Mount {
    let mut options = vec![if recursive { "rbind" } else { "bind" }.to_owned()];
    if !propagation.is_empty() {
        options.push(propagation.to_owned());
    }
    options.push(access.to_owned());
    Mount {
        destination: destination.to_owned(),
        kind: Some("bind".to_owned()),
        source: Some(source.to_string_lossy().into_owned()),
        options,
        ..Mount::default()
    }
}

/// Docker's defaults, unless their opposite was asked for, and what was asked for.
fn tmpfs_options(given: &str, read_only: bool) -> Vec<String> {
    let given: Vec<&str> = given.split(',').filter(|option| !option.is_empty()).collect();
    let mut options: Vec<String> = ["noexec", "nosuid", "nodev"]
        .into_iter()
        .filter(|default| !given.contains(default) && !given.contains(&&default[2..]))
        .map(str::to_owned)
        .collect();
    options.extend(given.into_iter().map(str::to_owned));
    if read_only {
        options.push("ro".to_owned());
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn capabilities_are_added_and_dropped() {
        assert_eq!(capabilities(&[], &[]), DEFAULT_CAPABILITIES);
        assert_eq!(
            capabilities(&strings(&["CAP_NET_BIND_SERVICE"]), &strings(&["ALL"])),
            ["CAP_NET_BIND_SERVICE"]
        );
        assert!(!capabilities(&[], &strings(&["CAP_MKNOD"])).contains(&"CAP_MKNOD".to_owned()));
        assert_eq!(capabilities(&strings(&["net_admin"]), &strings(&["all"])), ["CAP_NET_ADMIN"]);
        assert_eq!(
            capabilities(&strings(&["chown"]), &strings(&["CAP_CHOWN"])).len(),
            DEFAULT_CAPABILITIES.len()
        );
        let most = capabilities(&strings(&["ALL"]), &strings(&["CAP_SYS_ADMIN"]));
        assert!(most.contains(&"CAP_SYS_TIME".to_owned()) && !most.contains(&"CAP_SYS_ADMIN".to_owned()));
    }

    #[test]
    fn variables_are_replaced_in_place() {
        let mut all = strings(&["PATH=/bin", "A=1"]);
        replace_variables(&mut all, &strings(&["A=2", "B=3", "PATH"]));
        assert_eq!(all, ["A=2", "B=3"]);
    }

    #[test]
    fn memory_mounts_have_dockers_defaults() {
        assert_eq!(tmpfs_options("", false), ["noexec", "nosuid", "nodev"]);
        assert_eq!(tmpfs_options("size=1m,exec", true), ["nosuid", "nodev", "size=1m", "exec", "ro"]);
    }
}
