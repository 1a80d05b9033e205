//! How the kernel serves a process: processor, disk, execution domain.

use std::io;
use std::ptr;

use super::check;

/// Scheduling of a process, as the kernel's `struct sched_attr` takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// `SCHED_*` by number.
    pub policy: u32,
    /// `SCHED_FLAG_*` as bits.
    pub flags: u64,
    /// -20 to 19.
    pub nice: i32,
    /// 1 to 99 for the realtime policies, else 0.
    pub priority: u32,
    /// Nanoseconds, for the deadline policy.
    pub runtime: u64,
    /// Nanoseconds, for the deadline policy.
    pub deadline: u64,
    /// Nanoseconds, for the deadline policy.
    pub period: u64,
}

/// `struct sched_attr` of the kernel, first version (48 bytes).
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets how the processor is given to the calling process.
pub fn set_scheduling(scheduling: &Scheduling) -> io::Result<()> {
    let attributes = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: scheduling.policy,
        flags: scheduling.flags,
        nice: scheduling.nice,
        priority: scheduling.priority,
        runtime: scheduling.runtime,
        deadline: scheduling.deadline,
        period: scheduling.period,
    };
    // SAFETY: the structure is the kernel's, names its own size and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, ptr::from_ref(&attributes), 0) })
}

/// Sets the class (1 realtime, 2 best effort, 3 idle) and level (0 to 7) by which disks serve the calling
/// process.
pub fn set_io_priority(class: u32, level: u32) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_long = 1;
    const IOPRIO_CLASS_SHIFT: u32 = 13;
    let value = libc::c_long::from((class << IOPRIO_CLASS_SHIFT) | (level & 7));
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) })
}

/// Sets the execution domain of the calling process: 0 for Linux, 8 for a 32-bit one.
pub fn set_personality(domain: u32) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(domain)) })
}

/// Sets which processors the calling process may run on.
///
/// # Errors
/// `InvalidInput` for a processor above 1023; else what the kernel says.
pub fn set_affinity(processors: &[usize]) -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    for processor in processors {
        if *processor >= rustix::thread::CpuSet::MAX_CPU {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        set.set(*processor);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}
