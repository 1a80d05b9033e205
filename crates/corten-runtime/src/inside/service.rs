//! How the kernel serves the process: processor, disk, execution domain.

use corten_oci::runtime::{LinuxPersonality, Process};
use corten_sys::process::{self, Scheduling};

use super::{Result, invalid};
use crate::error::{Context, Stage};

/// The kernel's numbers by the document's names.
const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];
const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];
const IO_CLASSES: [(&str, u32); 3] =
    [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
const DOMAINS: [(&str, u32); 2] = [("LINUX", 0), ("LINUX32", 8)];

fn number<T: Copy>(table: &[(&str, T)], what: &str, name: &str) -> Result<T> {
    table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
        .ok_or_else(|| invalid(format!("unknown {what}: {name}")))
}

/// Scheduling and disk priority.
pub(super) fn set_priorities(process: &Process) -> Result<()> {
    if let Some(scheduler) = &process.scheduler {
        let mut flags = 0;
        for flag in &scheduler.flags {
            flags |= number(&FLAGS, "scheduler flag", flag)?;
        }
        let scheduling = Scheduling {
            policy: number(&POLICIES, "scheduler policy", &scheduler.policy)?,
            flags,
            nice: scheduler.nice,
            priority: scheduler.priority.max(0) as u32,
            runtime: scheduler.runtime,
            deadline: scheduler.deadline,
            period: scheduler.period,
        };
        process::set_scheduling(&scheduling)
            .at(Stage::Identity, format_args!("set the scheduler to {}", scheduler.policy))?;
    }
    if let Some(priority) = &process.io_priority {
        let class = number(&IO_CLASSES, "disk priority class", &priority.class)?;
        if !(0..=7).contains(&priority.priority) {
            return Err(invalid(format!("disk priority {} is not in 0 to 7", priority.priority)));
        }
        process::set_io_priority(class, priority.priority as u32)
            .at(Stage::Identity, format_args!("set the disk priority to {}", priority.class))?;
    }
    Ok(())
}

/// The execution domain.
pub(super) fn set_personality(personality: &LinuxPersonality) -> Result<()> {
    if let Some(flag) = personality.flags.first() {
        return Err(invalid(format!("unknown personality flag: {flag}")));
    }
    let domain = number(&DOMAINS, "personality domain", &personality.domain)?;
    process::set_personality(domain).at(Stage::Identity, "set the personality")
}

/// Processors of an exec before it joins the cgroup.
pub(super) fn set_first_affinity(process: &Process) -> Result<()> {
    set_affinity(process.exec_cpu_affinity.as_ref().and_then(|affinity| affinity.initial.as_deref()))
}

/// And after it has.
pub(super) fn set_last_affinity(process: &Process) -> Result<()> {
    set_affinity(process.exec_cpu_affinity.as_ref().and_then(|affinity| affinity.last.as_deref()))
}

fn set_affinity(list: Option<&str>) -> Result<()> {
    let Some(list) = list.filter(|list| !list.is_empty()) else { return Ok(()) };
    let processors = numbers(list).ok_or_else(|| invalid(format!("`{list}` is no list of processors")))?;
    process::set_affinity(&processors).at(Stage::Prepare, format_args!("run on the processors {list}"))
}

/// `0-3,7` as numbers.
fn numbers(list: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= 1 << 16 {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(numbers("0-2,7"), Some(vec![0, 1, 2, 7]));
        for bad in ["", "a", "3-1", "0-99999999"] {
            assert_eq!(numbers(bad), None, "{bad}");
        }
    }
}
