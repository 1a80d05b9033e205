//! AppArmor: the default profile of containers, loaded when the first container needs it.
//!
//! The kernel takes compiled profiles only, so this is the one place where another program is run: AppArmor's own
//! parser, and only on hosts that have AppArmor switched on.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Name of the default profile, Docker's, so that what names it goes on working.
pub(crate) const DEFAULT: &str = "docker-default";

/// Where the parser may be; not looked up by PATH.
const PARSERS: [&str; 4] = [
    "/usr/sbin/apparmor_parser",
    "/sbin/apparmor_parser",
    "/usr/bin/apparmor_parser",
    "/bin/apparmor_parser",
];

/// The profiles that the kernel has.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";

/// Whether this host confines programs by AppArmor.
pub(crate) fn is_enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| {
        std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|text| text.starts_with('Y'))
            && Path::new(LOADED).exists()
    })
}

/// The profile to apply, of the one wanted: the default is loaded where it is not there yet. None where the host has no
/// AppArmor, and, with a warning in the log, where the default cannot be loaded.
pub(crate) fn prepare(wanted: Option<&str>) -> Option<String> {
    static LOADING: Mutex<()> = Mutex::new(());
    let wanted = wanted.filter(|_| is_enabled())?;
    if wanted == DEFAULT {
        let _guard = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_loaded(DEFAULT)
            && let Err(error) = load_default()
        {
            tracing::warn!(
                %error,
                "cannot load the AppArmor profile {DEFAULT}: containers run without; install apparmor_parser"
            );
            return None;
        }
    }
    Some(wanted.to_owned())
}

/// Whether the kernel has the profile.
pub(crate) fn is_loaded(name: &str) -> bool {
    std::fs::read_to_string(LOADED).is_ok_and(|list| lists(&list, name))
}

/// Whether a profile is in the kernel's list: `NAME (MODE)` on each line.
fn lists(list: &str, name: &str) -> bool {
    list.lines().any(|line| line.rsplit_once(" (").is_some_and(|(listed, _)| listed == name))
}

fn load_default() -> std::io::Result<()> {
    let parser = PARSERS
        .iter()
        .find(|parser| Path::new(parser).exists())
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, "there is no apparmor_parser"))?;
    let mut child = Command::new(parser)
        .args(["-K", "-r"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .env_clear()
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(profile().as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(std::io::Error::other(format!("{parser} ended with {}: {}", output.status, said.trim())))
}

/// What programs in a container may do, beyond what namespaces, capabilities and the filter leave them: no mounts, no
/// writes to the kernel's own files, no tracing of what is outside.
fn profile() -> String {
    let mut text = format!(
        "profile {DEFAULT} flags=(attach_disconnected,mediate_deleted) {{
  network,
  capability,
  file,
  umount,

  signal (receive) peer=unconfined,
  signal (receive) peer=corten,
  signal (send,receive) peer={DEFAULT},
  ptrace (trace,read,tracedby,readby) peer={DEFAULT},

"
    );
    for rule in [
        // Files directly below /proc and in folders that belong to no process: all but sys, whose own rules follow.
        "/proc/* w",
        "/proc/{[^1-9s],[^1-9s][^1-9]*,s[^yu]*,sy[^s]*}*/** w",
        "/proc/sys/[^kn]** w",
        "/proc/sys/kernel/{?,??,[^s][^h][^m]**} w",
        "/proc/sysrq-trigger rwklx",
        "/proc/kcore rwklx",
        "/sys/[^f]*/** wklx",
        "/sys/f[^s]*/** wklx",
        "/sys/fs/[^c]*/** wklx",
        "/sys/fs/c[^g]*/** wklx",
        "/sys/fs/cg[^r]*/** wklx",
        "/sys/firmware/** rwklx",
        "/sys/devices/virtual/powercap/** rwklx",
        "/sys/kernel/security/** rwklx",
    ] {
        text.push_str("  deny ");
        text.push_str(rule);
        text.push_str(",\n");
    }
    text.push_str("  deny mount,\n}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_read() {
        let list = "docker-default (enforce)\nwith space (complain)\nlsb_release (enforce)\n";
        assert!(lists(list, "docker-default") && lists(list, "with space"));
        assert!(!lists(list, "docker") && !lists(list, "(enforce)"));
    }

    #[test]
    fn the_profile_is_whole() {
        let text = profile();
        assert!(text.starts_with("profile docker-default flags="));
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        assert!(text.lines().filter(|line| line.starts_with("  ")).all(|line| line.ends_with(',')), "{text}");
    }
}
