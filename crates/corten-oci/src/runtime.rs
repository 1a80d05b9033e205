//! The runtime document (`config.json` of the OCI runtime specification 1.2): what one container is made of.
//!
//! The part that Linux containers of Docker use, typed; names on the wire are the specification's. A list or
//! map that is absent is read as empty and not written.

mod linux;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::null_as_default;

pub use linux::*;

/// The version of the specification that [`Spec::default`] names.
pub const VERSION: &str = "1.2.0";

/// A whole runtime document.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Version of the specification.
    pub oci_version: String,
    /// The container's first process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The root filesystem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// Host name inside; needs a UTS namespace of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// NIS domain name inside; needs a UTS namespace of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// Mounts in the order in which they are made.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Programs of the host and of the container, run at points of its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Free notes.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What is special to Linux.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            oci_version: VERSION.to_owned(),
            process: None,
            root: None,
            hostname: None,
            domainname: None,
            mounts: Vec::new(),
            hooks: None,
            annotations: BTreeMap::new(),
            linux: None,
        }
    }
}

/// One process: the container's first, or one executed later.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// It gets a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// The terminal's first size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    /// Who it runs as.
    pub user: User,
    /// The command and its arguments; the first is looked up in the `PATH` of `env` inside the root.
    #[serde(default, deserialize_with = "null_as_default")]
    pub args: Vec<String>,
    /// `NAME=value`.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Working folder, absolute.
    pub cwd: String,
    /// Capability sets; none leaves no capability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<LinuxCapabilities>,
    /// Resource limits.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<PosixRlimit>,
    /// No exec gives more rights.
    #[serde(default)]
    pub no_new_privileges: bool,
    /// AppArmor profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apparmor_profile: Option<String>,
    /// -1000 to 1000; how likely the kernel chooses it when memory is out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// SELinux label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selinux_label: Option<String>,
    /// Class and level by which the disk serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<LinuxIoPriority>,
    /// How the processor is given to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<LinuxScheduler>,
    /// Which processors an exec's process runs on, before and after it has joined the container's cgroup.
    #[serde(default, rename = "execCPUAffinity", skip_serializing_if = "Option::is_none")]
    pub exec_cpu_affinity: Option<ExecCpuAffinity>,
}

/// Disk priority of a process.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct LinuxIoPriority {
    /// `IOPRIO_CLASS_RT`, `IOPRIO_CLASS_BE` or `IOPRIO_CLASS_IDLE`.
    pub class: String,
    /// 0 (first served) to 7.
    #[serde(default)]
    pub priority: i32,
}

/// Scheduling of a process.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct LinuxScheduler {
    /// `SCHED_OTHER`, `SCHED_FIFO` and so on.
    pub policy: String,
    /// -20 to 19.
    #[serde(default)]
    pub nice: i32,
    /// 1 to 99 for the realtime policies.
    #[serde(default)]
    pub priority: i32,
    /// `SCHED_FLAG_…`.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Nanoseconds of each period, for `SCHED_DEADLINE`.
    #[serde(default)]
    pub runtime: u64,
    /// Nanoseconds from the beginning of a period, for `SCHED_DEADLINE`.
    #[serde(default)]
    pub deadline: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    #[serde(default)]
    pub period: u64,
}

/// Processors of an exec's process, as lists (`0-3,7`).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct ExecCpuAffinity {
    /// Before it joins the cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<String>,
    /// From then on.
    #[serde(default, rename = "final", skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// Programs run at points of a container's life, in this order.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    /// Old name for [`Self::create_runtime`]; run before it.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub prestart: Vec<Hook>,
    /// In the runtime's namespaces, when the container's are there and before its root is the root.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, with a program of the host, before its root is the root.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub create_container: Vec<Hook>,
    /// In the container, when it is started and before its command runs.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub start_container: Vec<Hook>,
    /// In the runtime's namespaces, when the command runs.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// In the runtime's namespaces, when the container is deleted.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
}

/// One program. It reads the container's state from its standard input.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// Absolute path.
    pub path: String,
    /// All arguments, the program's own name first; none: the path alone.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// `NAME=value`; nothing else is in its environment.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Seconds after which it is killed, which counts as a failure; above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsoleSize {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// Who a process runs as.
///
/// `uid` and `gid` are numbers, resolved before the document is made – or `username` holds the text a user
/// gave (`name`, `uid`, `name:group`, …), to be looked up in the container's own `/etc/passwd` and
/// `/etc/group` at the start, as Corten's own runtime does. Other runtimes ignore `username` on Linux.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// User id inside the container.
    #[serde(default)]
    pub uid: u32,
    /// Group id inside the container.
    #[serde(default)]
    pub gid: u32,
    /// File mode creation mask; 0022 where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Further groups.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
    /// As given by the user, unresolved; wins over the numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Names or numbers of further groups as given by the user (`--group-add`), unresolved; an extension of
    /// ours.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub additional_group_names: Vec<String>,
}

/// Capability sets by name (`CAP_…`).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxCapabilities {
    /// What can ever be had.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub bounding: Vec<String>,
    /// What is checked.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub effective: Vec<String>,
    /// What a file with inheritable capabilities may add.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub inheritable: Vec<String>,
    /// What can be made effective.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub permitted: Vec<String>,
    /// What stays over an exec without being root.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub ambient: Vec<String>,
}

/// One resource limit.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct PosixRlimit {
    /// `RLIMIT_NOFILE` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// Upper bound of the soft limit.
    pub hard: u64,
    /// What applies.
    pub soft: u64,
}

/// The root filesystem.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Root {
    /// Where it is on the host; unused where the root comes as a descriptor.
    pub path: String,
    /// Nothing can be written to it.
    #[serde(default)]
    pub readonly: bool,
}

/// One mount.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Absolute path inside the container.
    pub destination: String,
    /// Kind of filesystem (`proc`, `tmpfs`, `bind` …).
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Path on the host for binds, else a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// As `mount -o`.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// User ids of the source as the container shows them; empty: unchanged.
    #[serde(
        default,
        rename = "uidMappings",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub uid_mappings: Vec<LinuxIdMapping>,
    /// The same of group ids.
    #[serde(
        default,
        rename = "gidMappings",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub gid_mappings: Vec<LinuxIdMapping>,
}

impl Spec {
    /// The namespace of a kind, where the document has one.
    pub fn namespace(&self, kind: NamespaceKind) -> Option<&LinuxNamespace> {
        self.linux.as_ref()?.namespaces.iter().find(|namespace| namespace.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_another_runtime_is_read_and_written_again() {
        let text = r#"{"ociVersion":"1.0.2","process":{"terminal":true,"user":{"uid":1000,"gid":5},"args":["sh"],
            "env":["PATH=/bin"],"cwd":"/","noNewPrivileges":true,"capabilities":{"bounding":["CAP_CHOWN"]}},
            "root":{"path":"rootfs","readonly":true},"mounts":[{"destination":"/proc","type":"proc","source":"proc"}],
            "linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/run/netns/x"}],"maskedPaths":null,
            "resources":{"pids":{"limit":32},"blockIO":{"weight":10}}}}"#;
        let spec: Spec = serde_json::from_str(text).unwrap();
        assert!(spec.root.as_ref().unwrap().readonly);
        assert_eq!(spec.namespace(NamespaceKind::Network).unwrap().path.as_deref(), Some("/run/netns/x"));
        let again: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
    }
}
