//! Limits: a host configuration's numbers as the runtime document has them.

use crate::error::{EngineError, Result};
use corten_api::container::{HostConfig, ThrottleDevice, Ulimit, WeightDevice};
use corten_oci::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottle, LinuxWeightDevice,
    PosixRlimit,
};
use rustix::fs::{FileType, major, minor, stat};

/// Length of a period of the CPU scheduler that `NanoCpus` is counted in, in microseconds.
const CPU_PERIOD: u64 = 100_000;

/// `RLIMIT_NOFILE` for `nofile`.
pub(crate) fn rlimit_name(name: &str) -> Option<String> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    NAMES.contains(&name).then(|| format!("RLIMIT_{}", name.to_ascii_uppercase()))
}

/// The process's resource limits. `-1` is "none".
pub(crate) fn rlimits(ulimits: &[Ulimit]) -> Vec<PosixRlimit> {
    let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    ulimits
        .iter()
        .filter_map(|ulimit| {
            rlimit_name(&ulimit.name).map(|kind| PosixRlimit {
                kind,
                hard: number(ulimit.hard),
                soft: number(ulimit.soft),
            })
        })
        .collect()
}

/// The cgroup's limits, without devices.
pub(crate) fn resources(host: &HostConfig) -> Result<LinuxResources> {
    let given = |value: i64| (value != 0).then_some(value);
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value != 0);
    let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    let memory = LinuxMemory {
        limit: given(host.memory),
        reservation: given(host.memory_reservation),
        swap: given(host.memory_swap),
        swappiness: host.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
        disable_oom_killer: host.oom_kill_disable.filter(|on| *on),
    };
    let mut cpu = LinuxCpu {
        shares: positive(host.cpu_shares),
        quota: given(host.cpu_quota),
        period: positive(host.cpu_period),
        realtime_runtime: given(host.cpu_realtime_runtime),
        realtime_period: positive(host.cpu_realtime_period),
        cpus: text(&host.cpuset_cpus),
        mems: text(&host.cpuset_mems),
    };
    if host.nano_cpus > 0 {
        cpu.period = Some(CPU_PERIOD);
        cpu.quota = Some(host.nano_cpus * CPU_PERIOD as i64 / 1_000_000_000);
    }
    let block_io = LinuxBlockIo {
        weight: (host.blkio_weight != 0).then_some(host.blkio_weight),
        weight_device: weights(host.blkio_weight_device.as_deref())?,
        throttle_read_bps_device: throttles(host.blkio_device_read_bps.as_deref())?,
        throttle_write_bps_device: throttles(host.blkio_device_write_bps.as_deref())?,
        throttle_read_iops_device: throttles(host.blkio_device_read_iops.as_deref())?,
        throttle_write_iops_device: throttles(host.blkio_device_write_iops.as_deref())?,
    };
    Ok(LinuxResources {
        devices: Vec::new(),
        memory: (memory != LinuxMemory::default()).then_some(memory),
        cpu: (cpu != LinuxCpu::default()).then_some(cpu),
        // 0 and less take a limit away.
        pids: host.pids_limit.map(|limit| LinuxPids { limit: if limit > 0 { limit } else { -1 } }),
        block_io: (block_io != LinuxBlockIo::default()).then_some(block_io),
        unified: std::collections::BTreeMap::new(),
    })
}

fn throttles(devices: Option<&[ThrottleDevice]>) -> Result<Vec<LinuxThrottle>> {
    devices
        .into_iter()
        .flatten()
        .map(|device| {
            let (major, minor) = number(&device.path)?;
            Ok(LinuxThrottle { major, minor, rate: device.rate })
        })
        .collect()
}

fn weights(devices: Option<&[WeightDevice]>) -> Result<Vec<LinuxWeightDevice>> {
    devices
        .into_iter()
        .flatten()
        .map(|device| {
            let (major, minor) = number(&device.path)?;
            Ok(LinuxWeightDevice { major, minor, weight: Some(device.weight), leaf_weight: None })
        })
        .collect()
}

/// The number of a device.
fn number(path: &str) -> Result<(i64, i64)> {
    let refuse = |why: &str| Err(EngineError::invalid(format!("stat {path}: {why}")));
    let Ok(about) = stat(path) else { return refuse("no such file or directory") };
    match FileType::from_raw_mode(about.st_mode) {
        FileType::BlockDevice | FileType::CharacterDevice => {
            Ok((i64::from(major(about.st_rdev)), i64::from(minor(about.st_rdev))))
        }
        _ => refuse("not a device node"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_resources() {
        assert_eq!(resources(&HostConfig::default()).unwrap(), LinuxResources::default());
        let host = HostConfig {
            memory: 64,
            memory_swap: -1,
            nano_cpus: 500_000_000,
            cpuset_cpus: "0".to_owned(),
            pids_limit: Some(10),
            ..HostConfig::default()
        };
        let resources = resources(&host).unwrap();
        assert_eq!(resources.memory.as_ref().unwrap().swap, Some(-1));
        assert_eq!(resources.cpu.as_ref().unwrap().quota, Some(50_000));
        assert_eq!(resources.pids.unwrap().limit, 10);
        let unlimited =
            super::resources(&HostConfig { pids_limit: Some(0), ..HostConfig::default() }).unwrap();
        assert_eq!(unlimited.pids.unwrap().limit, -1);
    }

    #[test]
    fn devices_are_looked_up() {
        let host = |path: &str| HostConfig {
            blkio_weight_device: Some(vec![WeightDevice { path: path.to_owned(), weight: 200 }]),
            ..HostConfig::default()
        };
        let block_io = resources(&host("/dev/null")).unwrap().block_io.unwrap();
        let device = &block_io.weight_device[0];
        assert_eq!((device.major, device.minor, device.weight), (1, 3, Some(200)));
        let error = resources(&host("/dev/no-such")).unwrap_err();
        assert_eq!(error.to_string(), "stat /dev/no-such: no such file or directory");
        assert!(resources(&host("/etc/passwd")).is_err());
    }

    #[test]
    fn ulimits_become_rlimits() {
        let limits = rlimits(&[Ulimit { name: "nofile".to_owned(), hard: -1, soft: 1024 }]);
        assert_eq!(
            (limits[0].kind.as_str(), limits[0].hard, limits[0].soft),
            ("RLIMIT_NOFILE", u64::MAX, 1024)
        );
        assert_eq!(rlimit_name("odd"), None);
    }
}
