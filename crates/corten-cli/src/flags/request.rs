//! From the flags of `create` and `run` to the document that the daemon gets.

use super::create::CreateFlags;
use super::{device, health, key_value, mount, network, port, security};
use crate::error::{CliError, Result};
use crate::terminal;
use corten_api::container::{ContainerConfig, CreateRequest, HostConfig, LogConfig, RestartPolicy};
use std::path::Path;

/// What stands behind the flags: the image and its command, or a folder and its command.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subject {
    /// The image; empty where a folder is run.
    pub(crate) image: String,
    /// The command and its arguments.
    pub(crate) command: Vec<String>,
}

/// Makes the document. `folder` is the one that relative paths start from; `proxies` are variables that the
/// configuration adds unless given.
pub(crate) fn resolve(
    flags: &CreateFlags,
    subject: &Subject,
    folder: &Path,
    proxies: &[(String, String)],
) -> Result<CreateRequest> {
    let said = |why: String| CliError::said(why);
    let (stdin, stdout, stderr) = attached(flags);
    let mut env = key_value::variables(&flags.env_file, &flags.env)?;
    for (name, value) in proxies {
        if !env.iter().any(|entry| entry.split('=').next() == Some(name)) {
            env.push(format!("{name}={value}"));
        }
    }
    let ports = port::parse(&flags.publish, &flags.expose).map_err(said)?;
    let volumes = mount::volumes(&flags.volume, folder).map_err(said)?;
    let (network_mode, networking_config) = network::parse(flags).map_err(said)?;
    let entrypoint = flags.entrypoint.as_ref().map(|entrypoint| vec![entrypoint.clone()]);
    let config = ContainerConfig {
        hostname: flags.hostname.clone(),
        domainname: flags.domainname.clone(),
        user: flags.user.clone(),
        attach_stdin: stdin,
        attach_stdout: stdout,
        attach_stderr: stderr,
        exposed_ports: ports.exposed,
        tty: flags.tty,
        open_stdin: flags.interactive,
        stdin_once: flags.interactive && stdin,
        env: Some(env).filter(|env| !env.is_empty()),
        cmd: (!subject.command.is_empty()).then(|| subject.command.clone()),
        healthcheck: health::parse(flags).map_err(said)?,
        image: subject.image.clone(),
        volumes: Some(volumes.anonymous),
        working_dir: flags.workdir.clone(),
        entrypoint,
        labels: key_value::labels(&flags.label_file, &flags.label)?,
        stop_signal: flags.stop_signal.clone(),
        stop_timeout: flags.stop_timeout,
        ..ContainerConfig::default()
    };
    let mut host_config = HostConfig {
        binds: Some(volumes.binds).filter(|binds| !binds.is_empty()),
        network_mode,
        port_bindings: Some(ports.bindings),
        ..host_config(flags, folder)?
    };
    mount::tmpfs(&flags.tmpfs, &mut host_config);
    Ok(CreateRequest { config, host_config, networking_config })
}

/// Which streams the client wants.
fn attached(flags: &CreateFlags) -> (bool, bool, bool) {
    let names = |name| flags.attach.iter().any(|other| other == name);
    if flags.attach.is_empty() {
        (flags.interactive, true, true)
    } else {
        // An open stdin is attached whatever else is chosen.
        (flags.interactive || names("stdin"), names("stdout"), names("stderr"))
    }
}

/// A stream's name, in lower case.
pub(crate) fn stream_name(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    if matches!(name.as_str(), "stdin" | "stdout" | "stderr") {
        return Ok(name);
    }
    Err("valid streams are STDIN, STDOUT and STDERR".to_owned())
}

fn host_config(flags: &CreateFlags, folder: &Path) -> Result<HostConfig> {
    let said = |why: String| CliError::said(why);
    let list = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let restart_policy = restart_policy(&flags.restart)?;
    if flags.rm && !matches!(restart_policy.name.as_str(), "" | "no") {
        return Err(CliError::said("conflicting options: cannot specify both --restart and --rm"));
    }
    if !(-1..=100).contains(&flags.memory_swappiness) {
        let range = "Valid memory swappiness range is 0-100";
        return Err(CliError::said(format!("invalid value: {}. {range}", flags.memory_swappiness)));
    }
    let security = security::parse(&flags.security_opt).map_err(said)?;
    if flags.log_driver == "none" && !flags.log_opt.is_empty() {
        return Err(CliError::said("invalid logging opts for driver none"));
    }
    if !flags.storage_opt.iter().all(|option| key_value::has_value(option)) {
        return Err(CliError::said("invalid storage option"));
    }
    let (cap_add, cap_drop) = security::capabilities(&flags.cap_add, &flags.cap_drop);
    let mut devices = device::parse(&flags.device).map_err(said)?;
    if let Some(gpus) = &flags.gpus {
        devices.requests.push(device::gpus(gpus).map_err(said)?);
    }
    let mounts = flags
        .mount
        .iter()
        .map(|text| {
            mount::parse(text, folder).map_err(|why| {
                CliError::said(format!("invalid argument \"{text}\" for \"--mount\" flag: {why}"))
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let console_size =
        terminal::size().map_or([0, 0], |(rows, columns)| [u32::from(rows), u32::from(columns)]);
    let paths = security.unconfined_paths.then(Vec::new);
    Ok(HostConfig {
        container_id_file: flags.cidfile.clone(),
        log_config: LogConfig {
            driver: flags.log_driver.clone(),
            config: Some(key_value::map(&flags.log_opt)),
        },
        restart_policy,
        auto_remove: flags.rm,
        volume_driver: flags.volume_driver.clone(),
        volumes_from: list(&flags.volumes_from),
        console_size,
        annotations: key_value::map(&flags.annotation),
        cap_add: list(&cap_add),
        cap_drop: list(&cap_drop),
        cgroupns_mode: flags.cgroupns.clone(),
        dns: Some(flags.dns.clone()),
        dns_options: Some(flags.dns_option.clone()),
        dns_search: Some(flags.dns_search.clone()),
        extra_hosts: list(&flags.add_host),
        group_add: list(&flags.group_add),
        ipc_mode: flags.ipc.clone(),
        links: list(&flags.link),
        oom_score_adj: flags.oom_score_adj,
        pid_mode: flags.pid.clone(),
        privileged: flags.privileged,
        publish_all_ports: flags.publish_all,
        readonly_rootfs: flags.read_only,
        security_opt: Some(security.options).filter(|options| !options.is_empty()),
        storage_opt: key_value::map(&flags.storage_opt),
        uts_mode: flags.uts.clone(),
        userns_mode: flags.userns.clone(),
        shm_size: flags.shm_size,
        sysctls: key_value::map(&flags.sysctl),
        runtime: flags.runtime.clone(),
        isolation: flags.isolation.clone(),
        cpu_shares: flags.cpu_shares,
        memory: flags.memory,
        nano_cpus: flags.cpus,
        cgroup_parent: flags.cgroup_parent.clone(),
        blkio_weight: flags.blkio_weight,
        blkio_weight_device: Some(flags.blkio_weight_device.clone()),
        blkio_device_read_bps: Some(flags.device_read_bps.clone()),
        blkio_device_write_bps: Some(flags.device_write_bps.clone()),
        blkio_device_read_iops: Some(flags.device_read_iops.clone()),
        blkio_device_write_iops: Some(flags.device_write_iops.clone()),
        cpu_period: flags.cpu_period,
        cpu_quota: flags.cpu_quota,
        cpu_realtime_period: flags.cpu_rt_period,
        cpu_realtime_runtime: flags.cpu_rt_runtime,
        cpuset_cpus: flags.cpuset_cpus.clone(),
        cpuset_mems: flags.cpuset_mems.clone(),
        devices: Some(devices.mappings),
        device_cgroup_rules: list(&flags.device_cgroup_rule),
        device_requests: Some(devices.requests).filter(|requests| !requests.is_empty()),
        memory_reservation: flags.memory_reservation,
        memory_swap: flags.memory_swap,
        memory_swappiness: Some(flags.memory_swappiness),
        oom_kill_disable: Some(flags.oom_kill_disable),
        pids_limit: Some(flags.pids_limit),
        ulimits: Some(flags.ulimit.clone()),
        mounts,
        masked_paths: paths.clone(),
        readonly_paths: paths,
        init: flags.init.then_some(true),
        rootfs: flags.rootfs.as_ref().map(|path| folder.join(path).to_string_lossy().into_owned()),
        ..HostConfig::default()
    })
}

/// `no`, `always`, `unless-stopped`, `on-failure[:count]`.
pub(crate) fn restart_policy(text: &str) -> Result<RestartPolicy> {
    let (name, count) = text.split_once(':').unwrap_or((text, ""));
    if text.starts_with(':') {
        return Err(CliError::said("invalid restart policy format: no policy provided before colon"));
    }
    let maximum_retry_count = if count.is_empty() {
        0
    } else {
        count.parse().map_err(|_| {
            CliError::said("invalid restart policy format: maximum retry count must be an integer")
        })?
    };
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count })
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
