//! Who the process is and what it may do: user, groups, limits, capabilities.

use std::os::fd::BorrowedFd;

use corten_oci::runtime::{LinuxCapabilities, Process, User};
use corten_sys::capability::{self, Capabilities};
use corten_sys::process;
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};

use super::{Result, invalid};
use crate::error::{Context, LaunchError, Stage};
use crate::hardening::{Hardening, HardeningStep};
use crate::user::{self, ResolvedUser};
use crate::user_namespace;

/// Finds out who the process is to be, by the container's own files.
pub(super) fn resolve(root: BorrowedFd<'_>, wanted: &User) -> Result<ResolvedUser> {
    user::resolve_in(root, wanted)
        .map_err(|error| LaunchError::new(Stage::Identity, error.launch_kind(), error.to_string()))
}

/// How likely the kernel chooses the process when memory is out. Written while the caller's `/proc` is in
/// sight.
pub(super) fn set_oom_score(process: &Process) -> Result<()> {
    let Some(score) = process.oom_score_adj else { return Ok(()) };
    match write_own("oom_score_adj", &score.to_string(), "set oom_score_adj") {
        // Only the machine's root makes it less likely.
        Err(_) if user_namespace::in_user_namespace() => Ok(()),
        done => done,
    }
}

/// What AppArmor and SELinux apply at the exec.
pub(super) fn set_security_labels(process: &Process) -> Result<()> {
    if let Some(profile) = process.apparmor_profile.as_deref().filter(|profile| !profile.is_empty()) {
        let context = format!("apply apparmor profile {profile}");
        write_own("attr/apparmor/exec", &format!("exec {profile}"), &context)
            .or_else(|_| write_own("attr/exec", &format!("exec {profile}"), &context))?;
    }
    if let Some(label) = process.selinux_label.as_deref().filter(|label| !label.is_empty()) {
        let context = format!("apply the SELinux label {label}");
        write_own("attr/exec", label, &context)?;
        // The session keyring is made before the exec, and is the command's; the exec clears this one.
        write_own("attr/keycreate", label, &context)?;
    }
    Ok(())
}

fn write_own(file: &str, value: &str, context: &str) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file =
        rustix::fs::open(format!("/proc/self/{file}"), flags, Mode::empty()).at(Stage::Identity, context)?;
    rustix::io::write(&file, value.as_bytes()).at(Stage::Identity, context).map(drop)
}

/// Gives the standard streams to the user, so that it can open `/dev/stdout` again.
pub(super) fn own_streams(uid: u32) {
    if uid == 0 {
        return;
    }
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        // The null device is everybody's.
        let null = rustix::fs::makedev(1, 3);
        if stat.st_uid == uid
            || (stat.st_rdev == null && FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice)
        {
            continue;
        }
        // Best effort: a read-only filesystem or a socket of somebody else stays as it is.
        let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None::<Gid>);
    }
}

/// Resource limits.
pub(super) fn set_limits(process: &Process) -> Result<()> {
    set_limits_of(0, process)
}

fn set_limits_of(pid: i32, process: &Process) -> Result<()> {
    for limit in &process.rlimits {
        let number = limit_number(&limit.kind)
            .ok_or_else(|| invalid(format!("invalid rlimit type: {}", limit.kind)))?;
        process::set_resource_limit_of(pid, number, limit.soft, limit.hard)
            .at(Stage::Identity, format_args!("error setting rlimit type {}", limit.kind))?;
    }
    Ok(())
}

/// Score and limits of a process in a new user namespace, from outside: there it may only make them stricter.
pub(crate) fn set_outer_limits(pid: i32, process: &Process) -> Result<()> {
    if let Some(score) = process.oom_score_adj {
        let context = "set oom_score_adj";
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(format!("/proc/{pid}/oom_score_adj"), flags, Mode::empty())
            .at(Stage::Identity, context)?;
        rustix::io::write(&file, score.to_string().as_bytes()).at(Stage::Identity, context)?;
    }
    set_limits_of(pid, process)
}

/// The kernel's number of a limit (the same on all our machines).
fn limit_number(kind: &str) -> Option<u32> {
    const NAMES: [&str; 16] = [
        "CPU",
        "FSIZE",
        "DATA",
        "STACK",
        "CORE",
        "RSS",
        "NPROC",
        "NOFILE",
        "MEMLOCK",
        "AS",
        "LOCKS",
        "SIGPENDING",
        "MSGQUEUE",
        "NICE",
        "RTPRIO",
        "RTTIME",
    ];
    let name = kind.strip_prefix("RLIMIT_")?;
    NAMES.iter().position(|known| *known == name).map(|number| number as u32)
}

/// Changes to the user, with exactly the capabilities asked for.
pub(super) fn become_user(process: &Process, user: &ResolvedUser, hardening: &Hardening) -> Result<()> {
    if !hardening.has(HardeningStep::Capabilities) {
        return change_user(user);
    }
    let kernel = capability::of_kernel();
    // Nobody can give what it does not have: a daemon inside a container may lack some.
    let own = capability::effective().at(Stage::Identity, "read our own capabilities")?;
    let sets = Sets::of(process.capabilities.as_ref(), own)?;
    capability::limit_bounding(sets.bounding, kernel).at(Stage::Identity, "limit the bounding set")?;
    process::set_keep_capabilities(true).at(Stage::Identity, "keep capabilities")?;
    change_user(user)?;
    process::set_keep_capabilities(false).at(Stage::Identity, "keep capabilities")?;
    // A user other than root has none after an exec, save the ambient ones: nor has it before.
    let (effective, permitted) =
        if user.uid == 0 { (sets.effective, sets.permitted) } else { (sets.ambient, sets.ambient) };
    capability::set(effective, permitted, sets.inheritable.union(sets.ambient))
        .at(Stage::Identity, "set capabilities")?;
    if sets.ambient != Capabilities::NONE {
        capability::set_ambient(sets.ambient).at(Stage::Identity, "set ambient capabilities")?;
    }
    Ok(())
}

fn change_user(user: &ResolvedUser) -> Result<()> {
    let changed = process::set_user(user.uid, user.gid, &user.groups);
    if changed.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::InvalidInput) {
        // The kernel's answer where a number is nobody's in this user namespace.
        let ResolvedUser { uid, gid, groups, .. } = user;
        return Err(invalid(format!(
            "unable to setup user: cannot setuid to uid {uid}, gid {gid} and groups {groups:?}: not all of them are mapped in \
             user namespace"
        )));
    }
    if !user.groups.is_empty()
        && changed.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
        && user_namespace::in_user_namespace()
    {
        return Err(invalid("cannot set any additional groups in a rootless container"));
    }
    changed.at(Stage::Identity, "change the user")
}

struct Sets {
    bounding: Capabilities,
    effective: Capabilities,
    permitted: Capabilities,
    inheritable: Capabilities,
    ambient: Capabilities,
}

impl Sets {
    /// What we cannot give, or the kernel does not know, is passed over.
    fn of(document: Option<&LinuxCapabilities>, own: Capabilities) -> Result<Self> {
        let none = LinuxCapabilities::default();
        let document = document.unwrap_or(&none);
        let set = |names: &[String]| -> Result<Capabilities> {
            let mut set = Capabilities::NONE;
            for name in names {
                let one = capability::from_name(name)
                    .ok_or_else(|| invalid(format!("unknown capability: {name}")))?;
                set = set.union(one);
            }
            Ok(set.intersection(own))
        };
        Ok(Self {
            bounding: set(&document.bounding)?,
            effective: set(&document.effective)?,
            permitted: set(&document.permitted)?,
            inheritable: set(&document.inheritable)?,
            ambient: set(&document.ambient)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_the_kernels_numbers() {
        assert_eq!(limit_number("RLIMIT_NOFILE"), Some(7));
        assert_eq!(limit_number("RLIMIT_RTTIME"), Some(15));
        assert_eq!(limit_number("NOFILE"), None);
    }
}
