//! `SecurityOpt`: no-new-privileges, seccomp, and the words of parts that this host does not have.

use crate::error::{EngineError, Result};
use corten_runtime::seccomp::Profile;

/// One security option.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SecurityOption {
    /// Whether the process can gain privileges by set-user-id programs.
    NoNewPrivileges(bool),
    /// The filter for system calls.
    Seccomp(Seccomp),
    /// Accepted, and without effect here: AppArmor and SELinux are not on this host's path.
    Ignored,
}

/// Which filter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seccomp {
    /// Docker's profile.
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
    match key {
        "no-new-privileges" => match value {
            "true" => Ok(SecurityOption::NoNewPrivileges(true)),
            "false" => Ok(SecurityOption::NoNewPrivileges(false)),
            _ => Err(EngineError::invalid(format!("invalid --security-opt 2: {option:?}"))),
        },
        "seccomp" => match value {
            "unconfined" => Ok(SecurityOption::Seccomp(Seccomp::Unconfined)),
            "builtin" | "" => Ok(SecurityOption::Seccomp(Seccomp::Default)),
            json => match serde_json::from_str(json) {
                Ok(profile) => Ok(SecurityOption::Seccomp(Seccomp::Profile(Box::new(profile)))),
                Err(error) => Err(EngineError::invalid(format!("Decoding seccomp profile failed: {error}"))),
            },
        },
        "apparmor" | "label" | "systempaths" | "writable-cgroups" => Ok(SecurityOption::Ignored),
        _ => Err(EngineError::invalid(format!("invalid --security-opt 2: {option:?}"))),
    }
}

/// What a container's options come to: no-new-privileges, and the filter.
pub(crate) fn settle(options: &[String], privileged: bool) -> Result<(bool, Seccomp)> {
    let mut no_new_privileges = false;
    let mut seccomp = None;
    for option in options {
        match parse(option)? {
            SecurityOption::NoNewPrivileges(on) => no_new_privileges = on,
            SecurityOption::Seccomp(which) => seccomp = Some(which),
            SecurityOption::Ignored => {}
        }
    }
    let default = if privileged { Seccomp::Unconfined } else { Seccomp::Default };
    Ok((no_new_privileges, seccomp.unwrap_or(default)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let settled = |options: &[&str], privileged| {
            settle(&options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>(), privileged)
        };
        assert_eq!(settled(&[], false).unwrap(), (false, Seccomp::Default));
        assert_eq!(settled(&[], true).unwrap(), (false, Seccomp::Unconfined));
        assert_eq!(settled(&["no-new-privileges"], false).unwrap(), (true, Seccomp::Default));
        assert_eq!(
            settled(&["no-new-privileges:false", "seccomp=unconfined"], false).unwrap(),
            (false, Seccomp::Unconfined)
        );
        let profile = r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW"}"#;
        assert!(matches!(settled(&[profile], true).unwrap().1, Seccomp::Profile(_)));
        for bad in ["nothing", "odd=x", "no-new-privileges=perhaps", "seccomp={"] {
            assert!(settled(&[bad], false).is_err(), "{bad}");
        }
    }
}
