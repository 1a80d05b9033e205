//! Docker's form of a filter: rules with conditions on the container and the machine.

use corten_oci::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSyscall};
use serde::{Deserialize, Deserializer, Serialize};

use super::compiler::Architecture;

/// A profile as `--security-opt seccomp=FILE` names one.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// What happens to a call that no rule names.
    #[serde(default)]
    pub default_action: String,
    /// The error number where that is `SCMP_ACT_ERRNO`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// Architectures with those that run beside them.
    #[serde(default, deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub arch_map: Vec<ArchitectureMap>,
    /// Architectures, where there is no map.
    #[serde(default, deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// Flags of the load.
    #[serde(default, deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Rules.
    #[serde(default, deserialize_with = "null")]
    pub syscalls: Vec<ProfileRule>,
}

/// An architecture and those that run beside it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchitectureMap {
    /// The machine's own (`SCMP_ARCH_…`).
    pub architecture: String,
    /// Others whose programs it runs.
    #[serde(default, deserialize_with = "null")]
    pub sub_architectures: Vec<String>,
}

/// One rule.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileRule {
    /// One call, in the old form.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Calls.
    #[serde(default, deserialize_with = "null")]
    pub names: Vec<String>,
    /// What happens.
    pub action: String,
    /// The error number where that is `SCMP_ACT_ERRNO`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// Conditions on the arguments.
    #[serde(default, deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<LinuxSeccompArg>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The rule counts only where all of this holds.
    #[serde(default, deserialize_with = "null")]
    pub includes: Filter,
    /// The rule does not count where any of this holds.
    #[serde(default, deserialize_with = "null")]
    pub excludes: Filter,
}

/// Conditions on the container and the machine.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// Capabilities of the container.
    #[serde(default, deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<String>,
    /// Architectures by Go's names.
    #[serde(default, deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub arches: Vec<String>,
    /// Lowest kernel, `4.8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_kernel: Option<String>,
}

fn null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// What a profile is resolved for.
#[derive(Clone, Debug)]
pub struct ResolveContext<'a> {
    /// The container's bounding set by name.
    pub capabilities: &'a [String],
    /// The machine's architecture.
    pub architecture: Architecture,
    /// First two numbers of the kernel's release.
    pub kernel: (u32, u32),
}

impl<'a> ResolveContext<'a> {
    /// This machine, for a container with these capabilities.
    pub fn of_this_machine(capabilities: &'a [String]) -> Self {
        let release = rustix::system::uname();
        let release = release.release().to_string_lossy();
        Self {
            capabilities,
            architecture: Architecture::native(),
            kernel: version(&release).unwrap_or((0, 0)),
        }
    }

    fn go_name(&self) -> &'static str {
        match self.architecture {
            Architecture::X86_64 => "amd64",
            Architecture::X86 => "x86",
            Architecture::X32 => "x32",
            Architecture::Aarch64 => "arm64",
            Architecture::Arm => "arm",
        }
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

impl Profile {
    /// The plain rules for one container on one machine.
    pub fn resolve(&self, context: &ResolveContext<'_>) -> LinuxSeccomp {
        let own = context.architecture.scmp_name();
        let mut architectures = self.architectures.clone();
        if let Some(map) = self.arch_map.iter().find(|map| map.architecture == own) {
            architectures.push(map.architecture.clone());
            architectures.extend(map.sub_architectures.iter().cloned());
        }
        LinuxSeccomp {
            default_action: self.default_action.clone(),
            default_errno_ret: self.default_errno_ret,
            architectures,
            flags: self.flags.clone(),
            listener_path: None,
            syscalls: self
                .syscalls
                .iter()
                .filter(|rule| rule.counts(context))
                .map(|rule| LinuxSyscall {
                    names: if rule.name.is_empty() { rule.names.clone() } else { vec![rule.name.clone()] },
                    action: rule.action.clone(),
                    errno_ret: rule.errno_ret,
                    args: rule.args.clone(),
                })
                .collect(),
        }
    }
}

impl ProfileRule {
    fn counts(&self, context: &ResolveContext<'_>) -> bool {
        let has = |name: &String| context.capabilities.contains(name);
        let here = |arches: &[String]| arches.iter().any(|arch| arch == context.go_name());
        let new_enough = |least: &str| version(least).is_some_and(|least| context.kernel >= least);
        let (includes, excludes) = (&self.includes, &self.excludes);
        let excluded = excludes.caps.iter().any(has)
            || here(&excludes.arches)
            || excludes.min_kernel.as_deref().is_some_and(new_enough);
        !excluded
            && includes.caps.iter().all(has)
            && (includes.arches.is_empty() || here(&includes.arches))
            && includes.min_kernel.as_deref().is_none_or(new_enough)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_decide_which_rules_count() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64",
            "subArchitectures":["SCMP_ARCH_X86"]}],"syscalls":[
            {"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{},"excludes":null},
            {"name":"mount","action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38,"excludes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
            {"names":["breakpoint"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm"]}}]}"#;
        let profile: Profile = serde_json::from_str(text).unwrap();
        let named = |capabilities: &[String], kernel| {
            let context = ResolveContext { capabilities, architecture: Architecture::X86_64, kernel };
            let resolved = profile.resolve(&context);
            assert_eq!(resolved.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
            resolved.syscalls.into_iter().flat_map(|rule| rule.names).collect::<Vec<_>>()
        };
        assert_eq!(named(&[], (4, 4)), ["read", "clone3"]);
        assert_eq!(named(&["CAP_SYS_ADMIN".into()], (6, 1)), ["read", "mount", "ptrace"]);
    }
}
