//! `SecurityOpt`: no-new-privileges, seccomp, AppArmor, and the words of parts that this host may not have.

use crate::container::apparmor;
use crate::error::{EngineError, Result};
use corten_api::container::HostConfig;
use corten_runtime::seccomp::{self, Profile, ResolveContext};

/// One security option.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SecurityOption {
    /// Whether the process can gain privileges by set-user-id programs.
    NoNewPrivileges(bool),
    /// The filter for system calls.
    Seccomp(Seccomp),
    /// AppArmor's profile by name, or `unconfined`.
    AppArmor(String),
    /// A part of the SELinux label, or `disable`; acted on where the daemon gives labels.
    Label(String),
    /// Whether the container can write to its own cgroups.
    WritableCgroups(bool),
    /// `systempaths`: acted on by clients, which send the lists of paths.
    SystemPaths,
}

/// Which filter.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Seccomp {
    /// Docker's profile.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// The one given, as JSON.
    Profile(Box<Profile>),
}

/// Reads one option.
pub(crate) fn parse(option: &str) -> Result<SecurityOption> {
    if option == "no-new-privileges" {
        return Ok(SecurityOption::NoNewPrivileges(true));
    }
    let (key, value) = option
        .split_once('=')
        .or_else(|| option.split_once(':'))
        .ok_or_else(|| EngineError::invalid(format!("invalid --security-opt 1: {option:?}")))?;
    let switch = || match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(EngineError::invalid(format!("invalid --security-opt 2: {option:?}"))),
    };
    match key {
        "no-new-privileges" => Ok(SecurityOption::NoNewPrivileges(switch()?)),
        "writable-cgroups" => Ok(SecurityOption::WritableCgroups(switch()?)),
        "seccomp" => match value {
            "unconfined" => Ok(SecurityOption::Seccomp(Seccomp::Unconfined)),
            "builtin" | "" => Ok(SecurityOption::Seccomp(Seccomp::Default)),
            json => parse_profile(json).map(SecurityOption::Seccomp),
        },
        "apparmor" => Ok(SecurityOption::AppArmor(value.to_owned())),
        "label" => Ok(SecurityOption::Label(value.to_owned())),
        "systempaths" => Ok(SecurityOption::SystemPaths),
        _ => Err(EngineError::invalid(format!("invalid --security-opt 2: {option:?}"))),
    }
}

/// A profile that can be compiled here, whatever the container's capabilities.
pub(crate) fn parse_profile(json: &str) -> Result<Seccomp> {
    let refuse = |text: &str| Err(EngineError::invalid(text));
    let profile: Profile = serde_json::from_str(json)
        .map_err(|error| EngineError::invalid(format!("Decoding seccomp profile failed: {error}")))?;
    if profile.default_action.is_empty() && profile.syscalls.is_empty() {
        return Ok(Seccomp::Unconfined);
    }
    if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
        return refuse(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'",
        );
    }
    if profile.syscalls.iter().any(|rule| !rule.name.is_empty() && !rule.names.is_empty()) {
        return refuse(
            "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'",
        );
    }
    for capabilities in [&[][..], &corten_sys::capability::of_kernel().names().collect::<Vec<_>>()] {
        seccomp::compile(&profile.resolve(&ResolveContext::of_this_machine(capabilities)))
            .map_err(|error| EngineError::because("loading seccomp profile failed", error))?;
    }
    Ok(Seccomp::Profile(Box::new(profile)))
}

/// What a container's options come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Security {
    pub(crate) no_new_privileges: bool,
    /// None: the daemon's.
    pub(crate) seccomp: Option<Seccomp>,
    /// As asked for; see [`Security::apparmor_profile`].
    apparmor: Option<String>,
    pub(crate) writable_cgroups: bool,
    privileged: bool,
}

impl Security {
    /// The AppArmor profile that is applied where the host has AppArmor; none: not confined.
    pub(crate) fn apparmor_profile(&self) -> Option<&str> {
        match self.apparmor.as_deref() {
            Some("unconfined") => None,
            Some(name) if !name.is_empty() => Some(name),
            _ if self.privileged => None,
            _ => Some(apparmor::DEFAULT),
        }
    }
}

/// Reads all options of a container.
pub(crate) fn settle(options: &[String], privileged: bool) -> Result<Security> {
    let mut security = Security { privileged, ..Security::default() };
    if privileged {
        security.seccomp = Some(Seccomp::Unconfined);
    }
    for option in options {
        match parse(option)? {
            SecurityOption::NoNewPrivileges(on) => security.no_new_privileges = on,
            SecurityOption::Seccomp(which) => security.seccomp = Some(which),
            SecurityOption::AppArmor(name) => security.apparmor = Some(name),
            SecurityOption::WritableCgroups(on) => security.writable_cgroups = on,
            SecurityOption::Label(_) | SecurityOption::SystemPaths => {}
        }
    }
    Ok(security)
}

/// What is told to who asks for a part that this host, or this daemon, does not have.
pub(crate) fn warnings(host: &HostConfig, labels: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    for option in host.security_opt.iter().flatten() {
        match parse(option) {
            Ok(SecurityOption::AppArmor(name)) if name != "unconfined" && !apparmor::is_enabled() => {
                warnings.push(format!(
                    "AppArmor is not enabled on this machine: the profile {name} is not applied"
                ));
            }
            Ok(SecurityOption::Label(part)) if part != "disable" && !labels => {
                warnings
                    .push(format!("SELinux labels are not given to containers: label={part} is not applied"));
            }
            _ => {}
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(options: &[&str], privileged: bool) -> Result<Security> {
        settle(&options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>(), privileged)
    }

    #[test]
    fn options() {
        let plain = settled(&[], false).unwrap();
        assert_eq!((plain.no_new_privileges, &plain.seccomp), (false, &None));
        assert_eq!(settled(&[], true).unwrap().seccomp, Some(Seccomp::Unconfined));
        assert!(settled(&["no-new-privileges"], false).unwrap().no_new_privileges);
        let open = settled(&["no-new-privileges:false", "seccomp=unconfined"], false).unwrap();
        assert_eq!((open.no_new_privileges, open.seccomp), (false, Some(Seccomp::Unconfined)));
        assert!(settled(&["writable-cgroups=true"], false).unwrap().writable_cgroups);
        let profile = r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW"}"#;
        assert!(matches!(settled(&[profile], true).unwrap().seccomp, Some(Seccomp::Profile(_))));
        assert_eq!(settled(&["seccomp={}"], false).unwrap().seccomp, Some(Seccomp::Unconfined));
        for bad in ["nothing", "odd=x", "no-new-privileges=perhaps", "seccomp={"] {
            assert!(settled(&[bad], false).is_err(), "{bad}");
        }
    }

    #[test]
    fn profiles_that_cannot_be() {
        for (json, text) in [
            (r#"{"defaultAction":"SCMP_ACT_ODD"}"#, "unknown action in the seccomp profile: SCMP_ACT_ODD"),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"name":"b","action":"SCMP_ACT_LOG"}]}"#,
                "both 'name' and 'names' are specified",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}"#,
                "both 'architectures' and 'archMap' are specified",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#,
                "SCMP_ACT_NOTIFY",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ODD",
                "includes":{"caps":["CAP_SYS_ADMIN"]}}]}"#,
                "SCMP_ACT_ODD",
            ),
        ] {
            let error = settled(&[&format!("seccomp={json}")], false).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn apparmor_profiles_by_what_was_asked() {
        let profile = |options: &[&str], privileged| {
            settled(options, privileged).unwrap().apparmor_profile().map(str::to_owned)
        };
        assert_eq!(profile(&[], false).as_deref(), Some(apparmor::DEFAULT));
        assert_eq!(profile(&[], true), None);
        assert_eq!(profile(&["apparmor=unconfined"], false), None);
        assert_eq!(profile(&["apparmor=mine"], true).as_deref(), Some("mine"));
    }
}
