//! Capabilities: their names and numbers, and the five sets of a thread.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// Names in the order of the kernel's numbers, without the prefix `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities, bit N for the kernel's number N.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// None.
    pub const NONE: Self = Self(0);

    /// Every capability this build knows by name.
    pub fn all() -> Self {
        Self((1 << NAMES.len()) - 1)
    }

    /// From the kernel's bits.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The kernel's bits.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether all of `other` is in here.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// In both.
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// In either.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The names, each with the prefix `CAP_`.
    pub fn names(self) -> impl Iterator<Item = String> {
        NAMES
            .iter()
            .enumerate()
            .filter(move |(number, _)| self.0 & (1 << number) != 0)
            .map(|(_, name)| format!("CAP_{name}"))
    }
}

/// The capability of a name, with or without `CAP_`, in any case.
pub fn from_name(name: &str) -> Option<Capabilities> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == bare).map(|number| Capabilities(1 << number))
}

/// Which capabilities this kernel has.
pub fn of_kernel() -> Capabilities {
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok())
        .unwrap_or(40)
        .min(63);
    Capabilities(u64::MAX >> (63 - last))
}

/// Takes everything that is not in `keep` out of the bounding set of the calling thread.
pub fn limit_bounding(keep: Capabilities, kernel: Capabilities) -> io::Result<()> {
    for number in 0..64 {
        let bit = 1_u64 << number;
        if kernel.0 & bit == 0 || keep.0 & bit != 0 {
            continue;
        }
        // SAFETY: plain numbers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Sets the effective, permitted and inheritable sets of the calling thread.
pub fn set(effective: Capabilities, permitted: Capabilities, inheritable: Capabilities) -> io::Result<()> {
    let bits = |set: Capabilities| CapabilitySet::from_bits_retain(set.0);
    Ok(rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: bits(effective),
            permitted: bits(permitted),
            inheritable: bits(inheritable),
        },
    )?)
}

/// Makes exactly these capabilities ambient in the calling thread; they must be permitted and inheritable.
pub fn set_ambient(ambient: Capabilities) -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    for number in 0..64_u32 {
        if ambient.0 & (1 << number) != 0 {
            rustix::thread::configure_capability_in_ambient_set(
                CapabilitySet::from_bits_retain(1 << number),
                true,
            )?;
        }
    }
    Ok(())
}

/// The effective set of this process.
pub fn effective() -> io::Result<Capabilities> {
    Ok(Capabilities(rustix::thread::capabilities(None)?.effective.bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_kernels_numbers() {
        assert_eq!(from_name("CAP_CHOWN").unwrap().bits(), 1);
        assert_eq!(from_name("net_admin").unwrap().bits(), 1 << 12);
        assert_eq!(from_name("CAP_CHECKPOINT_RESTORE").unwrap().bits(), 1 << 40);
        assert!(from_name("CAP_NOTHING").is_none());
        assert_eq!(Capabilities::all().names().count(), 41);
    }
}
