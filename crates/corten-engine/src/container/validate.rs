//! Is the request one that can be done? Checked whole, with Docker's texts, before anything changes; and the defaults
//! that a request leaves open.

use crate::container::signal;
use crate::defaults::{Defaults, Reloadable};
use crate::error::{EngineError, Result};
use corten_api::container::{ContainerConfig, HostConfig, RestartPolicy};
use corten_api::null::Set;
use corten_runtime::cgroup::Mode;
use corten_sys::capability;

/// Docker's parts of `/proc` and `/sys` that a container sees empty.
pub(super) const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Docker's parts of `/proc` that a container may read only.
pub(super) const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Docker's rule for names: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`. A leading slash is taken off first.
pub(super) fn name(text: &str) -> Result<&str> {
    let plain = text.strip_prefix('/').unwrap_or(text);
    let bytes = plain.as_bytes();
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if bytes.len() >= 2 && bytes[0].is_ascii_alphanumeric() && bytes.iter().all(allowed) {
        return Ok(plain);
    }
    Err(EngineError::invalid(format!(
        "Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

/// What the program is given.
pub(super) fn config(config: &ContainerConfig) -> Result<()> {
    let directory = &config.working_dir;
    if !directory.is_empty() && !directory.starts_with('/') {
        return Err(EngineError::invalid(format!(
            "the working directory '{directory}' is invalid, it needs to be an absolute path"
        )));
    }
    if let Some(entry) = config.env.iter().flatten().find(|entry| entry.is_empty() || entry.starts_with('='))
    {
        return Err(EngineError::invalid(format!("invalid environment variable: {entry}")));
    }
    if !config.stop_signal.is_empty() {
        signal::check(&config.stop_signal)?;
    }
    // As lenient as Docker: what the kernel does not take the start tells. A line of its own would be one in `/etc/hosts`.
    if config.hostname.bytes().any(|byte| byte == 0 || byte == b'\n') {
        return Err(EngineError::invalid(format!("invalid hostname format: {}", config.hostname)));
    }
    if let Some(check) = &config.healthcheck {
        for (word, value) in [
            ("Interval", check.interval),
            ("Timeout", check.timeout),
            ("StartPeriod", check.start_period),
            ("StartInterval", check.start_interval),
        ] {
            if value != 0 && value < 1_000_000 {
                return Err(EngineError::invalid(format!("{word} in Healthcheck cannot be less than 1ms")));
            }
        }
        if check.retries < 0 {
            return Err(EngineError::invalid("Retries in Healthcheck cannot be negative"));
        }
    }
    Ok(())
}

/// What of a host's configuration contradicts the rest of the request.
pub(super) fn together(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        return Err(EngineError::invalid("conflicting options: hostname and the UTS mode"));
    }
    if host.uts_mode == "host" && !config.domainname.is_empty() {
        return Err(EngineError::invalid("conflicting options: domainname and the UTS mode"));
    }
    Ok(())
}

/// What a container in a user namespace cannot have.
pub(super) fn in_user_namespace(host: &HostConfig) -> Result<()> {
    let refused = |text: &str| Err(EngineError::invalid(text));
    if host.privileged {
        return refused(
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace \
             when running privileged mode",
        );
    }
    if host.network_mode == "host" {
        return refused("cannot share the host's network namespace when user namespaces are enabled");
    }
    if host.pid_mode == "host" {
        return refused("cannot share the host PID namespace when user namespaces are enabled");
    }
    Ok(())
}

/// How it runs on this host.
pub(super) fn host_config(host: &HostConfig) -> Result<()> {
    restart_policy(&host.restart_policy)?;
    if host.auto_remove && !matches!(host.restart_policy.name.as_str(), "" | "no") {
        return Err(EngineError::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    for entry in host.extra_hosts.iter().flatten() {
        super::files::parse_extra_host(entry)?;
    }
    super::spec::ports::mappings(&Set::new(), host)?;
    for (list, word) in [(&host.cap_add, "CapAdd"), (&host.cap_drop, "CapDrop")] {
        for capability in list.iter().flatten() {
            if !capability.eq_ignore_ascii_case("ALL") && capability::from_name(capability).is_none() {
                return Err(EngineError::invalid(format!(
                    "invalid {word}: unknown capability: {:?}",
                    normal_capability(capability)
                )));
            }
        }
    }
    if host.annotations.contains_key("") {
        let text = "invalid Annotations: the empty string is not permitted as an annotation key";
        return Err(EngineError::invalid(text));
    }
    super::spec::logging::check(&host.log_config)?;
    super::spec::sysctl::check(host)?;
    for option in host.security_opt.iter().flatten() {
        super::spec::security::parse(option)?;
    }
    if host.shm_size < 0 {
        return Err(EngineError::invalid("SHM size can not be less than 0"));
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(EngineError::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    if let Some(unknown) = host.storage_opt.keys().find(|name| *name != "size") {
        return Err(EngineError::invalid(format!("Unknown option {unknown}")));
    }
    if !host.storage_opt.is_empty() {
        return Err(EngineError::invalid(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
        ));
    }
    if !matches!(host.userns_mode.as_str(), "" | "host") {
        return Err(EngineError::invalid(format!("invalid user namespace mode: {}", host.userns_mode)));
    }
    if !host.cgroup_parent.is_empty() {
        corten_runtime::cgroup::check_parent(&host.cgroup_parent)
            .map_err(|error| EngineError::because("invalid CgroupParent", error))?;
    }
    if !matches!(host.isolation.as_str(), "" | "default") {
        return Err(EngineError::invalid(format!(
            "invalid isolation ({}): linux only supports 'default'",
            host.isolation
        )));
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "host" | "private") {
        return Err(EngineError::invalid(format!("invalid cgroup namespace mode: {}", host.cgroupns_mode)));
    }
    if !matches!(host.uts_mode.as_str(), "" | "host") {
        return Err(EngineError::invalid(format!("invalid UTS mode: {}", host.uts_mode)));
    }
    if !(matches!(host.pid_mode.as_str(), "" | "host") || named(&host.pid_mode)) {
        return Err(EngineError::invalid(format!("invalid PID mode: {}", host.pid_mode)));
    }
    if !(matches!(host.ipc_mode.as_str(), "" | "none" | "private" | "shareable" | "host")
        || named(&host.ipc_mode))
    {
        return Err(EngineError::invalid(format!("invalid IPC mode: {}", host.ipc_mode)));
    }
    super::limits::check(host, false)
}

fn named(mode: &str) -> bool {
    mode.strip_prefix("container:").is_some_and(|name| !name.is_empty())
}

/// The restart policy; also used by update.
pub(super) fn restart_policy(policy: &RestartPolicy) -> Result<()> {
    let refuse = |text: String| Err(EngineError::invalid(format!("invalid restart policy: {text}")));
    match policy.name.as_str() {
        "" | "no" | "always" | "unless-stopped" if policy.maximum_retry_count != 0 => {
            let negative = if policy.maximum_retry_count < 0 { " and cannot be negative" } else { "" };
            refuse(format!("maximum retry count can only be used with 'on-failure'{negative}"))
        }
        "on-failure" if policy.maximum_retry_count < 0 => {
            refuse("maximum retry count cannot be negative".to_owned())
        }
        "" | "no" | "always" | "unless-stopped" | "on-failure" => Ok(()),
        other => refuse(format!(
            "unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )),
    }
}

/// `CAP_NET_ADMIN` for `net_admin`; `ALL` stays.
pub(crate) fn normal_capability(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
}

/// Fills in what a request leaves open, as Docker's inspect shows it.
pub(super) fn fill_defaults(
    config: &mut ContainerConfig,
    host: &mut HostConfig,
    defaults: &Defaults,
    reloadable: &Reloadable,
    cgroups: Mode,
) {
    // Every list is told as it was asked for; only what has a default of its own is filled.
    let or = |text: &mut String, default: &str| {
        if text.is_empty() {
            default.clone_into(text);
        }
    };
    if matches!(host.network_mode.as_str(), "" | "default") {
        "bridge".clone_into(&mut host.network_mode);
    }
    or(&mut host.restart_policy.name, "no");
    defaults.fill(host);
    reloadable.fill(host, cgroups);
    if host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory.saturating_mul(2);
    }
    if host.memory_swappiness == Some(-1) {
        host.memory_swappiness = None;
    }
    if host.pids_limit.is_some_and(|limit| limit <= 0) {
        host.pids_limit = None;
    }
    let strings = |list: &[&str]| list.iter().map(|&path| path.to_owned()).collect::<Vec<_>>();
    if host.privileged {
        host.masked_paths = None;
        host.readonly_paths = None;
    } else {
        host.masked_paths.get_or_insert_with(|| strings(&MASKED_PATHS));
        host.readonly_paths.get_or_insert_with(|| strings(&READONLY_PATHS));
    }
    if config.attach_stdin && !config.open_stdin {
        // Docker leaves it so: nothing is read, and a client that is attached sees the end at once.
        config.stdin_once = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["ab", "ok_name.1-2", "/slash", "A0"] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in ["x", "has space", "-dash", "", "é1", "_a"] {
            assert_eq!(
                name(bad).unwrap_err().to_string(),
                format!("Invalid container name ({bad}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
            );
        }
    }

    #[track_caller]
    fn check_refused(change: impl FnOnce(&mut HostConfig), text: &str) {
        let mut host = HostConfig::default();
        change(&mut host);
        let error = host_config(&host).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }

    #[test]
    fn host_configurations_that_cannot_be() {
        host_config(&HostConfig::default()).unwrap();
        check_refused(
            |host| host.cap_add = Some(vec!["NOSUCH".to_owned()]),
            "unknown capability: \"CAP_NOSUCH\"",
        );
        check_refused(|host| host.restart_policy.name = "often".to_owned(), "unknown policy 'often'");
        check_refused(
            |host| {
                host.auto_remove = true;
                host.restart_policy.name = "always".to_owned();
            },
            "can't create 'AutoRemove' container with restart policy",
        );
        check_refused(
            |host| host.restart_policy.maximum_retry_count = 3,
            "can only be used with 'on-failure'",
        );
        check_refused(
            |host| host.extra_hosts = Some(vec!["nocolon".to_owned()]),
            "bad format for add-host: \"nocolon\"",
        );
        check_refused(|host| host.cgroup_parent = "../a".to_owned(), "invalid CgroupParent: `../a`");
        check_refused(|host| host.isolation = "hyperv".to_owned(), "invalid isolation (hyperv)");
    }

    #[test]
    fn defaults_are_dockers() {
        let (defaults, reloadable) = (Defaults::default(), Reloadable::default());
        let mut host =
            HostConfig { memory: 64, cap_drop: Some(vec!["chown".to_owned()]), ..HostConfig::default() };
        fill_defaults(&mut ContainerConfig::default(), &mut host, &defaults, &reloadable, Mode::V2);
        assert_eq!(host.network_mode, "bridge");
        assert_eq!((host.shm_size, host.memory_swap), (crate::defaults::SHM_SIZE, 128));
        assert_eq!(host.cap_drop.unwrap(), ["chown"]);
        assert_eq!(host.log_config.driver, "json-file");
        assert_eq!(host.readonly_paths.unwrap(), READONLY_PATHS);
    }
}
