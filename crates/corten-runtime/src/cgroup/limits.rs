//! Which files carry which limit: plain functions from the document to what is written.

use corten_oci::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

/// One file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    /// Controller that owns the file, by its version 1 name (`blkio`) or version 2 name (`io`).
    pub(super) controller: &'static str,
    /// The file's name.
    pub(super) file: String,
    /// What goes in.
    pub(super) value: String,
    /// Passed over where the host has no such file: swap accounting may be off.
    pub(super) optional: bool,
}

fn write(controller: &'static str, file: &str, value: impl ToString) -> Write {
    Write { controller, file: file.to_owned(), value: value.to_string(), optional: false }
}

/// The writes for version 1.
pub(super) fn legacy(limits: &LinuxResources) -> Vec<Write> {
    let mut writes = Vec::new();
    if let Some(memory) = &limits.memory {
        legacy_memory(memory, &mut writes);
    }
    if let Some(cpu) = &limits.cpu {
        legacy_cpu(cpu, &mut writes);
    }
    if let Some(pids) = &limits.pids {
        writes.push(write("pids", "pids.max", unlimited(pids.limit, 1, "max")));
    }
    if let Some(block_io) = &limits.block_io {
        legacy_block_io(block_io, &mut writes);
    }
    writes
}

fn legacy_memory(memory: &LinuxMemory, writes: &mut Vec<Write>) {
    if let Some(limit) = memory.limit {
        writes.push(write("memory", "memory.limit_in_bytes", unlimited(limit, 1, "-1")));
    }
    if let Some(swap) = memory.swap.filter(|swap| *swap != 0) {
        let mut swap = write("memory", "memory.memsw.limit_in_bytes", unlimited(swap, 1, "-1"));
        swap.optional = true;
        writes.push(swap);
    }
    if let Some(reservation) = memory.reservation {
        writes.push(write("memory", "memory.soft_limit_in_bytes", unlimited(reservation, 1, "-1")));
    }
    if let Some(swappiness) = memory.swappiness {
        writes.push(write("memory", "memory.swappiness", swappiness));
    }
    if memory.disable_oom_killer == Some(true) {
        writes.push(write("memory", "memory.oom_control", 1));
    }
}

fn legacy_cpu(cpu: &LinuxCpu, writes: &mut Vec<Write>) {
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        writes.push(write("cpu", "cpu.shares", shares));
    }
    // The period first: a quota is checked against it.
    if let Some(period) = cpu.period.filter(|period| *period != 0) {
        writes.push(write("cpu", "cpu.cfs_period_us", period));
    }
    if let Some(quota) = cpu.quota.filter(|quota| *quota != 0) {
        writes.push(write("cpu", "cpu.cfs_quota_us", quota));
    }
    if let Some(period) = cpu.realtime_period.filter(|period| *period != 0) {
        writes.push(write("cpu", "cpu.rt_period_us", period));
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|runtime| *runtime != 0) {
        writes.push(write("cpu", "cpu.rt_runtime_us", runtime));
    }
    cpuset(cpu, writes);
}

fn cpuset(cpu: &LinuxCpu, writes: &mut Vec<Write>) {
    if let Some(cpus) = cpu.cpus.as_ref().filter(|cpus| !cpus.is_empty()) {
        writes.push(write("cpuset", "cpuset.cpus", cpus));
    }
    if let Some(mems) = cpu.mems.as_ref().filter(|mems| !mems.is_empty()) {
        writes.push(write("cpuset", "cpuset.mems", mems));
    }
}

fn legacy_block_io(block_io: &LinuxBlockIo, writes: &mut Vec<Write>) {
    if let Some(weight) = block_io.weight.filter(|weight| *weight != 0) {
        // The name depends on the scheduler that the kernel has.
        for file in ["blkio.weight", "blkio.bfq.weight"] {
            writes.push(Write { optional: true, ..write("blkio", file, weight) });
        }
    }
    for device in &block_io.weight_device {
        let place = format!("{}:{}", device.major, device.minor);
        for (weight, files) in [
            (device.weight, &["blkio.weight_device", "blkio.bfq.weight_device"][..]),
            (device.leaf_weight, &["blkio.leaf_weight_device"][..]),
        ] {
            for (weight, file) in
                weight.iter().flat_map(|weight| files.iter().map(move |file| (weight, file)))
            {
                writes.push(Write { optional: true, ..write("blkio", file, format!("{place} {weight}")) });
            }
        }
    }
    for (file, list) in [
        ("blkio.throttle.read_bps_device", &block_io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", &block_io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", &block_io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", &block_io.throttle_write_iops_device),
    ] {
        for one in list {
            writes.push(write("blkio", file, format!("{}:{} {}", one.major, one.minor, one.rate)));
        }
    }
}

/// The writes for version 2.
pub(super) fn unified(limits: &LinuxResources) -> Vec<Write> {
    let mut writes = Vec::new();
    if let Some(memory) = &limits.memory {
        if let Some(limit) = memory.limit {
            writes.push(write("memory", "memory.max", unlimited(limit, 1, "max")));
        }
        if let Some(swap) = memory.swap.filter(|swap| *swap != 0) {
            let alone = unlimited(swap_alone(memory.limit, swap), 0, "max");
            writes.push(Write { optional: true, ..write("memory", "memory.swap.max", alone) });
        }
        if let Some(reservation) = memory.reservation {
            writes.push(write("memory", "memory.low", unlimited(reservation, 0, "max")));
        }
    }
    if let Some(cpu) = &limits.cpu {
        if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
            writes.push(write("cpu", "cpu.weight", weight(shares)));
        }
        if cpu.quota.is_some_and(|quota| quota != 0) || cpu.period.is_some_and(|period| period != 0) {
            let quota = unlimited(cpu.quota.unwrap_or(-1), 1, "max");
            let period = cpu.period.filter(|period| *period != 0).unwrap_or(100_000);
            writes.push(write("cpu", "cpu.max", format!("{quota} {period}")));
        }
        cpuset(cpu, &mut writes);
    }
    if let Some(pids) = &limits.pids {
        writes.push(write("pids", "pids.max", unlimited(pids.limit, 1, "max")));
    }
    if let Some(block_io) = &limits.block_io {
        if let Some(weight) = block_io.weight.filter(|weight| *weight != 0) {
            // Which of the two is there depends on what the kernel shares a disk by.
            writes.push(Write { optional: true, ..write("io", "io.bfq.weight", weight) });
            let weight = io_weight(weight);
            writes.push(Write { optional: true, ..write("io", "io.weight", format!("default {weight}")) });
        }
        for device in &block_io.weight_device {
            let Some(weight) = device.weight.filter(|weight| *weight != 0) else { continue };
            let place = format!("{}:{}", device.major, device.minor);
            let bfq = write("io", "io.bfq.weight", format!("{place} {weight}"));
            writes.push(Write { optional: true, ..bfq });
            let plain = write("io", "io.weight", format!("{place} {}", io_weight(weight)));
            writes.push(Write { optional: true, ..plain });
        }
        for (key, list) in [
            ("rbps", &block_io.throttle_read_bps_device),
            ("wbps", &block_io.throttle_write_bps_device),
            ("riops", &block_io.throttle_read_iops_device),
            ("wiops", &block_io.throttle_write_iops_device),
        ] {
            for one in list {
                let value = format!("{}:{} {key}={}", one.major, one.minor, one.rate);
                writes.push(write("io", "io.max", value));
            }
        }
    }
    for (file, value) in &limits.unified {
        // A controller's files begin with its name.
        let controller = match file.split('.').next().unwrap_or("") {
            "memory" => "memory",
            "cpu" => "cpu",
            "cpuset" => "cpuset",
            "pids" => "pids",
            "io" => "io",
            "hugetlb" => "hugetlb",
            _ => "cgroup",
        };
        writes.push(write(controller, file, value));
    }
    writes
}

/// The document counts memory and swap together, version 2 swap alone; below 0: no limit.
pub(super) fn swap_alone(limit: Option<i64>, swap: i64) -> i64 {
    match limit {
        Some(limit) if swap > 0 && limit > 0 => (swap - limit).max(0),
        _ => swap,
    }
}

/// A weight of version 1 (10 to 1000) as one of version 2 (1 to 10000).
fn io_weight(weight: u16) -> u32 {
    1 + u32::from(weight.clamp(10, 1000) - 10) * 9999 / 990
}

/// A number, or the word for "no limit" where it is below `least`.
fn unlimited(value: i64, least: i64, word: &str) -> String {
    if value < least { word.to_owned() } else { value.to_string() }
}

/// Shares (2 to 262144, usually 1024) as a weight (1 to 10000, usually 100): the curve through (2, 1), (1024,
/// 100) and (262144, 10000) that runc uses since 1.4.
pub(super) fn weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let level = (shares as f64).log2();
    let exponent = (level * level + 125.0 * level) / 612.0 - 7.0 / 34.0;
    (10_f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use corten_oci::runtime::LinuxPids;

    use super::*;

    fn lines(writes: &[Write]) -> Vec<String> {
        writes.iter().map(|write| format!("{}={}", write.file, write.value)).collect()
    }

    #[test]
    fn dockers_limits_reach_the_right_files() {
        let limits = LinuxResources {
            memory: Some(LinuxMemory {
                limit: Some(64 << 20),
                swap: Some(128 << 20),
                ..LinuxMemory::default()
            }),
            cpu: Some(LinuxCpu {
                quota: Some(50_000),
                period: Some(100_000),
                shares: Some(1024),
                ..LinuxCpu::default()
            }),
            pids: Some(LinuxPids { limit: -1 }),
            ..LinuxResources::default()
        };
        assert_eq!(
            lines(&legacy(&limits)),
            [
                "memory.limit_in_bytes=67108864",
                "memory.memsw.limit_in_bytes=134217728",
                "cpu.shares=1024",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "pids.max=max"
            ]
        );
        assert_eq!(
            lines(&unified(&limits)),
            [
                "memory.max=67108864",
                "memory.swap.max=67108864",
                "cpu.weight=100",
                "cpu.max=50000 100000",
                "pids.max=max"
            ]
        );
    }

    #[test]
    fn weights_meet_at_the_ends() {
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 100, 10_000));
    }
}
