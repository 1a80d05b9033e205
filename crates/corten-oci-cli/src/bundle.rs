//! The runtime document of a bundle: read, made independent of the bundle's place, and checked before anything is
//! made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use corten_oci::runtime::{Hooks, LinuxCapabilities, NamespaceKind, Process, Spec};
use corten_std::file;
use corten_sys::capability;

use crate::failure::{Failure, Result};
use crate::log::Log;

/// A bundle.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Absolute, without links.
    pub(crate) path: PathBuf,
    /// Absolute, without links.
    pub(crate) rootfs: PathBuf,
    pub(crate) spec: Spec,
}

impl Bundle {
    /// Reads and checks the document of the bundle at `path` (the working folder where none is given).
    pub(crate) fn read(path: Option<&str>, log: &Log) -> Result<Self> {
        let path = path.filter(|path| !path.is_empty()).unwrap_or(".");
        let path = std::fs::canonicalize(path)
            .map_err(|error| Failure::of(format_args!("cannot open the bundle {path}"), &error))?;
        let config = path.join("config.json");
        let Some(bytes) = file::read_optional(&config)? else {
            return Err(Failure::new("JSON specification file config.json not found"));
        };
        let mut spec = parse(&bytes)?;
        check(&spec)?;
        let process =
            spec.process.as_mut().ok_or_else(|| Failure::new("process property must not be empty"))?;
        prepare_process(process, log);
        let root = spec.root.as_ref().ok_or_else(|| Failure::new("root must be specified"))?;
        let rootfs = path.join(&root.path);
        let rootfs = std::fs::canonicalize(&rootfs)
            .map_err(|error| Failure::of(format_args!("invalid rootfs {}", rootfs.display()), &error))?;
        if !rootfs.is_dir() {
            return Err(Failure::new(format!("invalid rootfs {}: not a directory", rootfs.display())));
        }
        if rootfs == Path::new("/") {
            return Err(Failure::new("the rootfs must not be the root of the host"));
        }
        Ok(Self { path, rootfs, spec })
    }
}

fn parse(bytes: &[u8]) -> Result<Spec> {
    serde_json::from_slice(bytes).map_err(|error| Failure::of("cannot read config.json", &error))
}

/// A process document (`exec --process`).
pub(crate) fn read_process(path: &str, log: &Log) -> Result<Process> {
    let bytes = file::read(path)?;
    let mut process: Process = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::of(format_args!("cannot read {path}"), &error))?;
    check_process(&process)?;
    prepare_process(&mut process, log);
    Ok(process)
}

/// Takes out what counts for nobody on Linux, and capabilities that nobody can give.
pub(crate) fn prepare_process(process: &mut Process, log: &Log) {
    // Only our own engine gives names to be looked up inside.
    process.user.username = None;
    process.user.additional_group_names.clear();
    if !rustix::process::geteuid().is_root() {
        // Ours are those of a user namespace that is still to be entered.
        return;
    }
    if let Some(LinuxCapabilities { bounding, effective, inheritable, permitted, ambient }) =
        &mut process.capabilities
    {
        let own = capability::effective().unwrap_or_else(|_| capability::of_kernel());
        let mut strange = BTreeSet::new();
        for set in [bounding, effective, inheritable, permitted, ambient] {
            set.retain(|name| match capability::from_name(name) {
                Some(one) if own.contains(one) => true,
                _ => {
                    strange.insert(name.clone());
                    false
                }
            });
        }
        if !strange.is_empty() {
            let names: Vec<&str> = strange.iter().map(String::as_str).collect();
            log.warn(&format!("ignoring unknown or unavailable capabilities: {}", names.join(", ")));
        }
    }
}

/// What the specification forbids, and what this runtime does not have.
fn check(spec: &Spec) -> Result<()> {
    check_version(&spec.oci_version)?;
    if let Some(process) = &spec.process {
        check_process(process)?;
    }
    if let Some(hooks) = &spec.hooks {
        check_hooks(hooks)?;
    }
    for mount in &spec.mounts {
        if mount.destination.is_empty() {
            return Err(Failure::new("a mount has no destination"));
        }
    }
    let own = |kind| spec.namespace(kind).is_some();
    if spec.hostname.as_ref().is_some_and(|name| !name.is_empty()) && !own(NamespaceKind::Uts) {
        return Err(Failure::new("unable to set hostname without a private UTS namespace"));
    }
    if spec.domainname.as_ref().is_some_and(|name| !name.is_empty()) && !own(NamespaceKind::Uts) {
        return Err(Failure::new("unable to set domainname without a private UTS namespace"));
    }
    check_users(spec)?;
    let Some(linux) = &spec.linux else { return Ok(()) };
    for (index, namespace) in linux.namespaces.iter().enumerate() {
        if linux.namespaces[..index].iter().any(|other| other.kind == namespace.kind) {
            return Err(Failure::new(format!("malformed spec file: duplicated ns {:?}", namespace.kind)));
        }
        if let Some(path) = namespace.path.as_ref().filter(|path| !path.starts_with('/')) {
            return Err(Failure::new(format!("namespace path {path:?} is not absolute")));
        }
    }
    if !linux.time_offsets.is_empty() && !own(NamespaceKind::Time) {
        return Err(Failure::new("time namespace offsets need a new time namespace"));
    }
    for path in linux.masked_paths.iter().chain(&linux.readonly_paths) {
        if !path.starts_with('/') {
            return Err(Failure::new(format!("masked or read-only path {path:?} is not absolute")));
        }
    }
    let labels = [
        spec.process.as_ref().and_then(|process| process.selinux_label.as_ref()),
        linux.mount_label.as_ref(),
    ];
    if labels.into_iter().flatten().any(|label| !label.is_empty()) && !corten_sys::selinux::is_enabled() {
        return Err(Failure::new(
            "selinux label is specified in config, but selinux is disabled or not supported",
        ));
    }
    for name in linux.sysctl.keys() {
        check_sysctl(spec, name)?;
    }
    if let Some(seccomp) = &linux.seccomp
        && seccomp.listener_path.as_ref().is_some_and(|path| !path.is_empty())
    {
        return Err(Failure::new("seccomp listeners (linux.seccomp.listenerPath) are not supported"));
    }
    for (name, there) in [
        ("intelRdt", linux.intel_rdt.is_some()),
        (
            "netDevices",
            linux
                .net_devices
                .as_ref()
                .is_some_and(|value| value.as_object().is_none_or(|map| !map.is_empty())),
        ),
        ("memoryPolicy", linux.memory_policy.is_some()),
    ] {
        if there {
            return Err(Failure::new(format!("linux.{name} is not supported by this runtime")));
        }
    }
    Ok(())
}

/// User namespaces, and mounts that show their files under other ids.
fn check_users(spec: &Spec) -> Result<()> {
    let linux = spec.linux.clone().unwrap_or_default();
    let mapped = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
    let joins = spec.namespace(NamespaceKind::User).is_some_and(|namespace| namespace.path.is_some());
    match spec.namespace(NamespaceKind::User) {
        None if mapped => {
            return Err(Failure::new(
                "user namespace mappings specified, but user namespace isn't enabled in the config",
            ));
        }
        None => {}
        Some(namespace) if namespace.path.is_some() => {}
        Some(_) if linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty() => {
            return Err(Failure::new("a new user namespace needs linux.uidMappings and linux.gidMappings"));
        }
        Some(_) => {}
    }
    for mount in &spec.mounts {
        let word = mount.options.iter().any(|option| option == "idmap" || option == "ridmap");
        let refused = |why: &str| Err(Failure::new(format!("mount {:?}: {why}", mount.destination)));
        if mount.uid_mappings.is_empty() != mount.gid_mappings.is_empty() {
            return refused("uidMappings and gidMappings must be given together");
        }
        if word && mount.uid_mappings.is_empty() && !mapped && !joins {
            return refused("idmap needs mappings, of its own or of the container's user namespace");
        }
        let bind = mount.kind.as_deref() == Some("bind")
            || mount.options.iter().any(|option| option == "bind" || option == "rbind");
        if (word || !mount.uid_mappings.is_empty()) && !bind {
            return refused("id-mapped mounts are supported for binds only");
        }
    }
    Ok(())
}

/// `1.x.y` of semantic versioning, with what may follow.
fn check_version(version: &str) -> Result<()> {
    let core = version.split(['-', '+']).next().unwrap_or("");
    let numbers: Vec<Option<u32>> = core.split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_slice() {
        [Some(1), Some(_), Some(_)] => Ok(()),
        [Some(_), Some(_), Some(_)] => {
            Err(Failure::new(format!("ociVersion {version} is not supported: this runtime knows 1.x")))
        }
        _ => Err(Failure::new(format!("ociVersion {version:?} is no version"))),
    }
}

pub(crate) fn check_process(process: &Process) -> Result<()> {
    if process.cwd.is_empty() {
        return Err(Failure::new("Cwd property must not be empty"));
    }
    if !process.cwd.starts_with('/') {
        return Err(Failure::new("Cwd must be an absolute path"));
    }
    if process.args.is_empty() {
        return Err(Failure::new("args must not be empty"));
    }
    for (index, limit) in process.rlimits.iter().enumerate() {
        if process.rlimits[..index].iter().any(|other| other.kind == limit.kind) {
            return Err(Failure::new(format!("rlimit {} is given twice", limit.kind)));
        }
        if limit.soft > limit.hard {
            return Err(Failure::new(format!("rlimit {}: the soft limit is above the hard one", limit.kind)));
        }
    }
    Ok(())
}

fn check_hooks(hooks: &Hooks) -> Result<()> {
    for (kind, list) in [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ] {
        for hook in list {
            if !hook.path.starts_with('/') {
                return Err(Failure::new(format!("{kind} hook path {:?} is not absolute", hook.path)));
            }
            if hook.timeout.is_some_and(|timeout| timeout <= 0) {
                return Err(Failure::new(format!("{kind} hook {}: timeout must be above 0", hook.path)));
            }
        }
    }
    Ok(())
}

/// Kernel parameters that are the host's unless a namespace is the container's own.
fn check_sysctl(spec: &Spec, name: &str) -> Result<()> {
    let plain = name.replace('/', ".");
    let needs = |kind: NamespaceKind, what: &str| {
        if spec.namespace(kind).is_some() {
            Ok(())
        } else {
            Err(Failure::new(format!("sysctl {name:?} is not allowed in the hosts {what} namespace")))
        }
    };
    if plain.starts_with("net.") {
        return needs(NamespaceKind::Network, "network");
    }
    let of_ipc = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    if of_ipc.contains(&plain.as_str()) || plain.starts_with("fs.mqueue.") {
        return needs(NamespaceKind::Ipc, "ipc");
    }
    if plain == "kernel.domainname" {
        return needs(NamespaceKind::Uts, "uts");
    }
    if plain == "kernel.hostname" {
        return Err(Failure::new(
            "sysctl \"kernel.hostname\" is not allowed as it conflicts with the OCI \"hostname\" field",
        ));
    }
    if plain.starts_with("user.") && spec.namespace(NamespaceKind::User).is_some() {
        return Ok(());
    }
    Err(Failure::new(format!("sysctl {name:?} is not in a separate kernel namespace")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn refused(document: &str, text: &str) {
        let error = parse(document.as_bytes()).and_then(|spec| check(&spec)).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }

    #[test]
    fn what_the_specification_forbids_is_refused() {
        refused(r#"{"ociVersion":"x"}"#, "is no version");
        refused(r#"{"ociVersion":"2.0.0"}"#, "not supported");
        refused(r#"{"ociVersion":"1.0.0","process":{"user":{},"cwd":"x","args":["a"]}}"#, "Cwd must be");
        refused(r#"{"ociVersion":"1.0.0","process":{"user":{},"cwd":"/","args":[]}}"#, "args must not");
        refused(r#"{"ociVersion":"1.0.0","hostname":"x"}"#, "UTS namespace");
        refused(
            r#"{"ociVersion":"1.0.0","linux":{"namespaces":[{"type":"pid"},{"type":"pid"}]}}"#,
            "duplicated ns",
        );
        refused(r#"{"ociVersion":"1.0.0","linux":{"sysctl":{"net.x":"1"}}}"#, "hosts network namespace");
        refused(r#"{"ociVersion":"1.0.0","linux":{"sysctl":{"vm.swappiness":"1"}}}"#, "separate kernel");
        refused(r#"{"ociVersion":"1.0.0","hooks":{"prestart":[{"path":"x"}]}}"#, "not absolute");
        refused(r#"{"ociVersion":"1.0.0","hooks":{"poststop":[{"path":"/x","timeout":0}]}}"#, "above 0");
        refused(
            r#"{"ociVersion":"1.0.0","linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}}}"#,
            "listenerPath",
        );
        refused(r#"{"ociVersion":"1.0.0","linux":{"intelRdt":{}}}"#, "intelRdt");
        let maps = r#""uidMappings":[{"containerID":0,"hostID":1,"size":1}],"gidMappings":[{"containerID":0,"hostID":1,"size":1}]"#;
        let users = |rest: &str| format!(r#"{{"ociVersion":"1.0.0","linux":{{"namespaces":[{rest}]}}}}"#);
        refused(&format!(r#"{{"ociVersion":"1.0.0","linux":{{{maps}}}}}"#), "isn't enabled");
        refused(&users(r#"{"type":"user"}"#), "needs linux.uidMappings");
        let mount =
            |rest: &str| format!(r#"{{"ociVersion":"1.0.0","mounts":[{{"destination":"/m",{rest}}}]}}"#);
        refused(&mount(r#""type":"bind","options":["idmap"]"#), "idmap needs mappings");
        refused(&mount(&format!(r#""type":"tmpfs",{maps}"#)), "for binds only");
        refused(
            &mount(r#""type":"bind","uidMappings":[{"containerID":0,"hostID":1,"size":1}]"#),
            "must be given together",
        );
    }

    proptest! {
        #[test]
        fn rubbish_does_not_crash(text in "[a-z{}\\[\\]\":0-9,]{0,80}") {
            if let Ok(spec) = parse(text.as_bytes()) {
                let _ = check(&spec);
            }
        }
    }
}
