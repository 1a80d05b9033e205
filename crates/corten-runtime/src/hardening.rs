//! The steps that keep a hostile container inside, as a list that is passed in.
//!
//! Outside tests it is always whole. A test leaves one step out and shows the attack which that step stops.

use serde::{Deserialize, Serialize};

/// One step.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HardeningStep {
    /// Every descriptor above standard error is closed before the exec looks for its program (CVE-2024-21626).
    NoHostDescriptors,
    /// Our own program, where a container sees it, is a read-only mount of its file (CVE-2019-5736).
    ReadOnlyProgram,
    /// The container's root is ours before the first mount is made: the host's tree is out of sight, so that a
    /// path which leads astray leads to nothing (CVE-2021-30465, CVE-2024-45310).
    RootBeforeMounts,
    /// Paths inside the root are resolved so that links cannot lead out of it.
    ResolveInRoot,
    /// `/proc` and `/sys` are mounted on plain folders only, nothing but a proc filesystem covers `/proc`, and
    /// what is written below `/proc` – labels, kernel parameters – goes to the host's or to the mount that we made
    /// (CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-52881).
    CheckedProc,
    /// Masks are made of devices that we checked, on targets that were opened once (CVE-2025-31133).
    CheckedMasks,
    /// The console is bound by descriptor on a node that we made (CVE-2025-52565).
    CheckedConsole,
    /// `MaskedPaths` are hidden.
    MaskedPaths,
    /// `ReadonlyPaths` are read-only.
    ReadonlyPaths,
    /// Capabilities are limited.
    Capabilities,
    /// The system call filter is loaded.
    Seccomp,
    /// The process is not to be looked into until it runs the user's command.
    NotDumpable,
    /// Where a container may trace, an exec is in its pid namespace only after it has left everything of the host.
    HiddenExec,
    /// The session keyring is new.
    NewKeyring,
    /// The working folder is inside the root.
    CheckedWorkingDirectory,
}

/// Which steps are taken.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Hardening {
    /// Steps left out; none outside tests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<HardeningStep>,
}

impl Hardening {
    /// Every step.
    pub fn all() -> Self {
        Self::default()
    }

    /// All but one: for a test that shows what the step is for.
    #[must_use]
    pub fn without(mut self, step: HardeningStep) -> Self {
        self.left_out.push(step);
        self
    }

    /// Whether a step is taken.
    pub fn has(&self, step: HardeningStep) -> bool {
        !self.left_out.contains(&step)
    }
}
