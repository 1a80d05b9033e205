//! Docker's defaults for a container, as a runtime document.

use corten_oci::runtime::{
    Linux, LinuxCapabilities, LinuxDeviceCgroup, LinuxNamespace, LinuxResources, Mount, NamespaceKind,
    Process, Root, Spec, User,
};

use crate::cgroup::Mode;

/// Where commands are looked up when the image says nothing.
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a container may do unless told otherwise.
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Paths that are hidden: they tell about the host or reach its hardware.
pub const DEFAULT_MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that are read-only: what is written there concerns the host.
pub const DEFAULT_READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What differs from container to container in [`default_spec`].
#[derive(Clone, Debug)]
pub struct SpecOptions {
    /// Command and arguments.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Working folder; empty is `/`.
    pub cwd: String,
    /// As given: `name`, `uid`, `name:group` …; empty is root.
    pub user: String,
    /// Host name inside.
    pub hostname: String,
    /// It gets a terminal.
    pub terminal: bool,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Nothing can be written to the root.
    pub readonly_root: bool,
    /// Decides about the cgroup namespace: private with version 2, the host's with version 1, as Docker.
    pub cgroup: Mode,
}

impl Default for SpecOptions {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            env: vec![DEFAULT_PATH.to_owned()],
            cwd: String::new(),
            user: String::new(),
            hostname: String::new(),
            terminal: false,
            shm_size: 64 << 20,
            readonly_root: false,
            cgroup: Mode::V2,
        }
    }
}

/// A container as Docker makes it when nothing is asked for: mounts, namespaces, capabilities, device rules,
/// hidden and read-only paths. The network namespace is new here; a launch with one of its own uses that.
pub fn default_spec(options: SpecOptions) -> Spec {
    let capabilities = names(&DEFAULT_CAPABILITIES);
    let mut namespaces = vec![
        NamespaceKind::Mount,
        NamespaceKind::Network,
        NamespaceKind::Uts,
        NamespaceKind::Pid,
        NamespaceKind::Ipc,
    ];
    if options.cgroup == Mode::V2 {
        namespaces.push(NamespaceKind::Cgroup);
    }
    Spec {
        process: Some(Process {
            terminal: options.terminal,
            // Without a name too: who is root is asked of the image, which may put it into groups.
            user: User { username: Some(options.user), ..User::default() },
            args: options.args,
            env: options.env,
            cwd: if options.cwd.is_empty() { "/".to_owned() } else { options.cwd },
            capabilities: Some(LinuxCapabilities {
                bounding: capabilities.clone(),
                effective: capabilities.clone(),
                permitted: capabilities,
                ..LinuxCapabilities::default()
            }),
            oom_score_adj: Some(0),
            ..Process::default()
        }),
        root: Some(Root { path: "rootfs".to_owned(), readonly: options.readonly_root }),
        hostname: Some(options.hostname).filter(|name| !name.is_empty()),
        mounts: default_mounts(options.shm_size),
        linux: Some(Linux {
            resources: Some(LinuxResources { devices: default_device_rules(), ..LinuxResources::default() }),
            namespaces: namespaces.into_iter().map(|kind| LinuxNamespace { kind, path: None }).collect(),
            masked_paths: names(&DEFAULT_MASKED_PATHS),
            readonly_paths: names(&DEFAULT_READONLY_PATHS),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

/// Changes a document to `--privileged`: every capability, every device, writable `/sys` and cgroups, nothing
/// hidden. The filter is left out by the caller. The host's device nodes are added by whoever sees the host's
/// `/dev`.
pub fn make_privileged(spec: &mut Spec) {
    if let Some(process) = &mut spec.process {
        // What this process has: nobody can give more.
        let own = corten_sys::capability::effective().unwrap_or_else(|_| corten_sys::capability::of_kernel());
        let all: Vec<String> = own.names().collect();
        process.capabilities = Some(LinuxCapabilities {
            bounding: all.clone(),
            effective: all.clone(),
            permitted: all,
            ..LinuxCapabilities::default()
        });
        process.no_new_privileges = false;
        process.apparmor_profile = None;
    }
    for mount in &mut spec.mounts {
        if matches!(mount.kind.as_deref(), Some("sysfs" | "cgroup" | "cgroup2")) {
            for option in &mut mount.options {
                if option == "ro" {
                    "rw".clone_into(option);
                }
            }
        }
    }
    if let Some(linux) = &mut spec.linux {
        linux.masked_paths.clear();
        linux.readonly_paths.clear();
        linux.seccomp = None;
        linux.resources.get_or_insert_default().devices = permissive_device_rules();
    }
}

/// Every device.
pub fn permissive_device_rules() -> Vec<LinuxDeviceCgroup> {
    vec![LinuxDeviceCgroup { allow: true, access: Some("rwm".to_owned()), ..LinuxDeviceCgroup::default() }]
}

fn default_device_rules() -> Vec<LinuxDeviceCgroup> {
    let rule = |kind: &str, major: Option<i64>, minor: Option<i64>, access: &str| LinuxDeviceCgroup {
        allow: true,
        kind: Some(kind.to_owned()),
        major,
        minor,
        access: Some(access.to_owned()),
    };
    let mut rules = vec![LinuxDeviceCgroup {
        allow: false,
        access: Some("rwm".to_owned()),
        ..LinuxDeviceCgroup::default()
    }];
    // Any node may be made; using it is another matter.
    rules.push(rule("c", None, None, "m"));
    rules.push(rule("b", None, None, "m"));
    // null, zero, full, random, urandom, tty, console, ptmx, and all pseudo-terminals.
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(rule("c", Some(major), Some(minor), "rwm"));
    }
    rules.push(rule("c", Some(136), None, "rwm"));
    // Tunnels, of use with CAP_NET_ADMIN only.
    rules.push(rule("c", Some(10), Some(200), "rwm"));
    rules
}

fn default_mounts(shm_size: u64) -> Vec<Mount> {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| Mount {
        destination: destination.to_owned(),
        kind: Some(kind.to_owned()),
        source: Some(source.to_owned()),
        options: names(options),
        ..Mount::default()
    };
    let size = format!("size={shm_size}");
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]),
    ]
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}
