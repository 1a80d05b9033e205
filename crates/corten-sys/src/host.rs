//! What this kernel and this process can do, asked once and passed around as a value.

use std::path::Path;

use crate::capability::{self, Capabilities};

/// How the host arranges cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupMode {
    /// Controllers in hierarchies of version 1, no version 2 tree in use.
    V1,
    /// One tree of version 2 with all controllers.
    V2,
    /// Controllers in version 1, with a version 2 tree beside them.
    Hybrid,
    /// No cgroup filesystem is mounted.
    None,
}

/// What the host can do.
#[derive(Clone, Debug)]
pub struct HostCapabilities {
    /// First two numbers of the kernel's release.
    pub kernel: (u32, u32),
    /// The kernel's release as `uname -r` tells it.
    pub kernel_release: String,
    /// Arrangement of the cgroups.
    pub cgroup: CgroupMode,
    /// Capabilities that this process has.
    pub effective: Capabilities,
    /// Capabilities that this kernel knows.
    pub known: Capabilities,
    /// Seccomp filters can be loaded.
    pub seccomp: bool,
    /// The overlay filesystem is there.
    pub overlay: bool,
    /// AppArmor confines this host.
    pub apparmor: bool,
    /// SELinux confines this host.
    pub selinux: bool,
    /// A process may be born into a cgroup v2 folder (Linux 5.7, version 2 tree).
    pub clone_into_cgroup: bool,
    /// The exit code of a foreign process can be read from its handle (Linux 6.15).
    pub pidfd_exit: bool,
    /// systemd is the first process.
    pub systemd: bool,
}

impl HostCapabilities {
    /// Asks the kernel. Takes some microseconds; nothing is changed.
    pub fn probe() -> Self {
        let uname = rustix::system::uname();
        let kernel_release = uname.release().to_string_lossy().into_owned();
        let kernel = parse_release(&kernel_release);
        let cgroup = cgroup_mode();
        let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        Self {
            kernel,
            kernel_release,
            cgroup,
            effective: capability::effective().unwrap_or_default(),
            known: capability::of_kernel(),
            seccomp: crate::seccomp::available(),
            overlay: filesystems.lines().any(|line| line.trim_end().ends_with("\toverlay")),
            apparmor: std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
                .is_ok_and(|text| text.starts_with('Y')),
            selinux: crate::selinux::is_enabled(),
            clone_into_cgroup: kernel >= (5, 7) && cgroup == CgroupMode::V2,
            pidfd_exit: kernel >= (6, 15),
            systemd: Path::new("/run/systemd/system").is_dir(),
        }
    }
}

fn cgroup_mode() -> CgroupMode {
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else { return CgroupMode::None };
    let has = |kind: &str| mounts.lines().any(|line| line.contains(&format!(" - {kind} ")));
    match (has("cgroup"), has("cgroup2")) {
        (true, true) => CgroupMode::Hybrid,
        (true, false) => CgroupMode::V1,
        (false, true) => CgroupMode::V2,
        (false, false) => CgroupMode::None,
    }
}

fn parse_release(release: &str) -> (u32, u32) {
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_are_read() {
        assert_eq!(parse_release("6.18.44-fc-v669"), (6, 18));
        assert_eq!(parse_release("5.15-rc1"), (5, 15));
        assert_eq!(parse_release(""), (0, 0));
    }
}
