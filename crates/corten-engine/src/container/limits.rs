//! Limits: which a request can ask for, and which of them this machine can set. What it cannot is left out with Docker's
//! warning, or refused where leaving it out would be worse.

use crate::error::{EngineError, Result};
use corten_api::container::{HostConfig, WeightDevice};
use corten_runtime::cgroup::Abilities;

/// The processors that can be used, as in `0-3`.
const CPUS: &str = "/sys/devices/system/cpu/online";

/// The same of memory nodes.
const NODES: &str = "/sys/devices/system/node/online";

/// The least memory that Docker lets a container have, in bytes.
const LEAST_MEMORY: i64 = 6 * 1024 * 1024;

/// What version 1 takes as a share of the processors.
const SHARES: std::ops::RangeInclusive<i64> = 2..=262_144;

/// Limits as a request names them. `update`: they come upon those that a container has.
pub(super) fn check(host: &HostConfig, update: bool) -> Result<()> {
    let refuse = |text: String| Err(EngineError::invalid(text));
    let HostConfig { memory, memory_swap, memory_reservation, .. } = *host;
    if memory != 0 && memory < LEAST_MEMORY {
        return refuse("Minimum memory limit allowed is 6MB".to_owned());
    }
    if memory > 0 && memory_swap > 0 && memory_swap < memory {
        return refuse("Minimum memoryswap limit should be larger than memory limit, see usage".to_owned());
    }
    if memory == 0 && memory_swap > 0 && !update {
        return refuse(
            "You should always set the Memory limit when using Memoryswap limit, see usage".to_owned(),
        );
    }
    if let Some(swappiness) = host.memory_swappiness
        && !(-1..=100).contains(&swappiness)
    {
        return refuse(format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100"));
    }
    if memory_reservation != 0 && memory_reservation < LEAST_MEMORY {
        return refuse("Minimum memory reservation allowed is 6MB".to_owned());
    }
    if memory > 0 && memory_reservation > 0 && memory < memory_reservation {
        return refuse(
            "Minimum memory limit can not be less than memory reservation limit, see usage".to_owned(),
        );
    }
    if host.cpu_shares < 0 {
        return refuse(format!("invalid CPU shares ({}): value must be a positive integer", host.cpu_shares));
    }
    if host.cpu_realtime_period > 0 && host.cpu_realtime_runtime > host.cpu_realtime_period {
        return refuse("cpu real-time runtime cannot be higher than cpu real-time period".to_owned());
    }
    if host.nano_cpus != 0 {
        if host.cpu_period > 0 {
            return refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set".to_owned());
        }
        if host.cpu_quota > 0 {
            return refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set".to_owned());
        }
        let count = std::thread::available_parallelism().map_or(1, usize::from) as i64;
        if host.nano_cpus < 0 || host.nano_cpus > count * 1_000_000_000 {
            return refuse(format!(
                "range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"
            ));
        }
    }
    if host.cpu_period != 0 && !(1000..=1_000_000).contains(&host.cpu_period) {
        return refuse(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".to_owned(),
        );
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1000 {
        return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)".to_owned());
    }
    for (list, word) in [(&host.cpuset_cpus, "cpus"), (&host.cpuset_mems, "mems")] {
        if !list.is_empty() && !is_cpu_list(list) {
            return refuse(format!("Invalid value {list} for cpuset {word}: invalid format: {list}"));
        }
        let online = if word == "cpus" { CPUS } else { NODES };
        if let Ok(online) = std::fs::read_to_string(online)
            && !list.is_empty()
            && !numbers(list).is_subset(&numbers(online.trim()))
        {
            let what = if word == "cpus" { "CPUs" } else { "memory nodes" };
            return refuse(format!(
                "Requested {what} are not available - requested {list}, available: {}",
                online.trim()
            ));
        }
    }
    if host.blkio_weight != 0 && !(10..=1000).contains(&host.blkio_weight) {
        return refuse("Range of blkio weight is from 10 to 1000".to_owned());
    }
    for ulimit in host.ulimits.iter().flatten() {
        if ulimit.soft > ulimit.hard && ulimit.hard >= 0 {
            return refuse(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                ulimit.soft, ulimit.hard
            ));
        }
        if super::spec::limits::rlimit_name(&ulimit.name).is_none() {
            return refuse(format!("invalid ulimit type: {}", ulimit.name));
        }
    }
    Ok(())
}

/// `0-2,5`.
fn is_cpu_list(text: &str) -> bool {
    // As many as the kernel can have at most, so that a list stays a short one.
    let is_number = |text: &str| text.parse::<u32>().is_ok_and(|number| number < 8192);
    text.split(',').all(|part| part.split('-').all(is_number)) && is_ordered(text)
}

/// The numbers of a list that was found well-formed; what is not is left out.
fn numbers(list: &str) -> std::collections::BTreeSet<u32> {
    let part = |part: &str| -> Option<std::ops::RangeInclusive<u32>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(part).flatten().collect()
}

fn is_ordered(text: &str) -> bool {
    text.split(',').all(|part| match part.split_once('-') {
        Some((first, last)) => match (first.parse::<u32>(), last.parse::<u32>()) {
            (Ok(first), Ok(last)) => first <= last,
            _ => false,
        },
        None => part.parse::<u32>().is_ok(),
    })
}

/// Takes out what this machine cannot do, and tells so in Docker's words. `update`: as in [`check`].
pub(super) fn settle(host: &mut HostConfig, can: &Abilities, update: bool) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let mut warn = |text: &str| warnings.push(text.to_owned());
    if host.memory > 0 && !can.memory {
        warn(
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
        );
        host.memory = 0;
        host.memory_swap = -1;
    }
    if host.memory > 0 && host.memory_swap != -1 && !can.swap {
        warn(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
        );
        host.memory_swap = -1;
    }
    if host.memory_swappiness.is_some_and(|value| value != -1) && !can.swappiness {
        warn(
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
        );
        host.memory_swappiness = None;
    }
    if host.memory_reservation > 0 && !can.reservation {
        warn(
            "Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.",
        );
        host.memory_reservation = 0;
    }
    if host.kernel_memory > 0 {
        warn(
            "Your kernel does not support kernel memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
        );
        host.kernel_memory = 0;
    }
    if host.kernel_memory_tcp > 0 {
        warn(
            "Your kernel does not support kernel memory TCP limit capabilities or the cgroup is not mounted. Limitation discarded.",
        );
        host.kernel_memory_tcp = 0;
    }
    if host.oom_kill_disable == Some(true) && !can.oom_kill_disable {
        warn("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
        host.oom_kill_disable = None;
    }
    if host.oom_kill_disable == Some(true) && host.memory == 0 && !update {
        warn(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.",
        );
    }
    if host.pids_limit.is_some_and(|limit| limit > 0) && !can.pids {
        warn(
            "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
        );
        host.pids_limit = None;
    }
    if host.nano_cpus > 0 && !can.cpu_quota {
        return Err(EngineError::invalid(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
        ));
    }
    if host.cpu_shares > 0 && !can.cpu_shares {
        warn("Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.");
        host.cpu_shares = 0;
    }
    if host.cpu_shares > 0 && can.legacy && !SHARES.contains(&host.cpu_shares) {
        let (word, bound) = if host.cpu_shares < *SHARES.start() {
            ("minimum", SHARES.start())
        } else {
            ("maximum", SHARES.end())
        };
        return Err(EngineError::invalid(format!("the {word} allowed cpu-shares is {bound}")));
    }
    if (host.cpu_period != 0 || host.cpu_quota != 0) && !can.cpu_quota {
        warn("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.");
        (host.cpu_period, host.cpu_quota) = (0, 0);
    }
    if (host.cpu_realtime_period != 0 || host.cpu_realtime_runtime != 0) && !can.realtime {
        return Err(EngineError::invalid("kernel does not support CPU real-time scheduler"));
    }
    let cpuset = !host.cpuset_cpus.is_empty() || !host.cpuset_mems.is_empty();
    if cpuset && !can.cpuset {
        warn("Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.");
        host.cpuset_cpus.clear();
        host.cpuset_mems.clear();
    }
    if host.blkio_weight > 0 && !can.block_weight {
        warn("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.");
        host.blkio_weight = 0;
    }
    let devices = host.blkio_weight_device.as_ref();
    let without_scheduler = |device: &WeightDevice| can.bfq_only && !has_bfq(&device.path);
    if given(devices) && (!can.block_weight || devices.into_iter().flatten().any(without_scheduler)) {
        warn(
            "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
        );
        host.blkio_weight_device = None;
    }
    for (list, text) in [
        (
            &mut host.blkio_device_read_bps,
            "Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.",
        ),
        (
            &mut host.blkio_device_write_bps,
            "Your kernel does not support BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write limit discarded.",
        ),
        (
            &mut host.blkio_device_read_iops,
            "Your kernel does not support IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read limit discarded.",
        ),
        (
            &mut host.blkio_device_write_iops,
            "Your kernel does not support IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write limit discarded.",
        ),
    ] {
        if given(list.as_ref()) && !can.throttle {
            warn(text);
            *list = None;
        }
    }
    Ok(warnings)
}

/// Whether a disk is shared by the scheduler `bfq`. One that is not there is refused when its number is looked up.
fn has_bfq(path: &str) -> bool {
    let Ok(about) = rustix::fs::stat(path) else { return true };
    let (major, minor) = (rustix::fs::major(about.st_rdev), rustix::fs::minor(about.st_rdev));
    let disk = format!("/sys/dev/block/{major}:{minor}");
    // A partition has its disk's.
    ["queue/scheduler", "../queue/scheduler"].iter().any(|file| {
        std::fs::read_to_string(format!("{disk}/{file}")).is_ok_and(|text| text.contains("[bfq]"))
    })
}

fn given<T>(list: Option<&Vec<T>>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

/// What an update sets, given what the container comes to have: some files carry two numbers, of which the request may
/// name one.
pub(super) fn of_update(changes: &HostConfig, merged: &HostConfig) -> HostConfig {
    let mut asked = changes.clone();
    if asked.memory != 0 || asked.memory_swap != 0 {
        (asked.memory, asked.memory_swap) = (merged.memory, merged.memory_swap);
    }
    if asked.cpu_quota != 0 || asked.cpu_period != 0 {
        (asked.cpu_quota, asked.cpu_period) = (merged.cpu_quota, merged.cpu_period);
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(change: impl FnOnce(&mut HostConfig), text: &str) {
        let mut host = HostConfig::default();
        change(&mut host);
        let error = check(&host, false).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }

    #[test]
    fn limits_that_cannot_be() {
        check(&HostConfig::default(), false).unwrap();
        check_refused(|host| host.memory = 1024 * 1024, "Minimum memory limit allowed is 6MB");
        check_refused(|host| host.memory_swap = 1 << 30, "You should always set the Memory limit");
        check(&HostConfig { memory_swap: 1 << 30, ..HostConfig::default() }, true).unwrap();
        check_refused(
            |host| host.cpuset_cpus = "1-x".to_owned(),
            "Invalid value 1-x for cpuset cpus: invalid format",
        );
        check_refused(|host| host.cpuset_mems = "9000".to_owned(), "Invalid value 9000 for cpuset mems");
        let available = std::fs::read_to_string(CPUS).unwrap();
        let text =
            format!("Requested CPUs are not available - requested 0,8191, available: {}", available.trim());
        check_refused(|host| host.cpuset_cpus = "0,8191".to_owned(), &text);
        check_refused(|host| host.nano_cpus = i64::MAX, "CPUs available");
        check_refused(|host| host.cpu_shares = -1, "invalid CPU shares (-1)");
    }

    #[test]
    fn what_the_machine_cannot_is_told_and_left_out() {
        let all = HostConfig {
            memory: 64 << 20,
            memory_swap: 128 << 20,
            memory_swappiness: Some(5),
            memory_reservation: 32 << 20,
            oom_kill_disable: Some(true),
            pids_limit: Some(9),
            cpu_shares: 100,
            cpu_quota: 5000,
            cpuset_cpus: "0".to_owned(),
            blkio_weight: 50,
            blkio_weight_device: Some(vec![WeightDevice::default()]),
            ..HostConfig::default()
        };
        let mut host = all.clone();
        assert_eq!(settle(&mut host, &Abilities::all(), false).unwrap(), Vec::<String>::new());
        assert_eq!(host, all);
        let warnings = settle(&mut host, &Abilities::default(), false).unwrap();
        assert_eq!(warnings.len(), 10);
        assert!(warnings.iter().all(|text| text.contains("discarded") && text.starts_with("Your kernel")));
        assert_eq!(host, HostConfig { memory_swap: -1, ..HostConfig::default() });
        let mut cpus = HostConfig { nano_cpus: 1, ..HostConfig::default() };
        assert!(settle(&mut cpus, &Abilities::default(), false).is_err());
        let mut realtime = HostConfig { cpu_realtime_runtime: 1, ..HostConfig::default() };
        assert!(settle(&mut realtime, &Abilities::default(), false).is_err());
        let mut few = HostConfig { cpu_shares: 1, ..HostConfig::default() };
        let error = settle(&mut few, &Abilities::all(), false).unwrap_err();
        assert_eq!(error.to_string(), "the minimum allowed cpu-shares is 2");
    }

    #[test]
    fn an_update_brings_the_other_number() {
        let merged =
            HostConfig { memory: 10, memory_swap: 20, cpu_quota: 5, cpu_period: 7, ..HostConfig::default() };
        let asked =
            of_update(&HostConfig { memory_swap: 20, cpu_period: 7, ..HostConfig::default() }, &merged);
        assert_eq!((asked.memory, asked.memory_swap, asked.cpu_quota, asked.cpu_period), (10, 20, 5, 7));
        assert_eq!(of_update(&HostConfig::default(), &merged), HostConfig::default());
    }
}
