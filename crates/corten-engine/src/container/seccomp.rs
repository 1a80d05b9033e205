//! Compiled system call filters: one per profile and set of capabilities, compiled once and used by every start.

use crate::container::record::Record;
use crate::container::spec::security::{Seccomp, settle};
use crate::error::{EngineError, Result};
use corten_oci::runtime::Spec;
use corten_runtime::seccomp::{self, CompileError, Profile, Program, ResolveContext};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// How many are kept; profiles given by users come and go.
const KEPT: usize = 32;

/// The filters that were compiled, by capabilities and profile.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    map: Mutex<HashMap<String, Program>>,
}

impl Programs {
    /// The filter of a container; none where it is unconfined.
    pub(super) fn program(&self, record: &Record, default: &Seccomp, spec: &Spec) -> Result<Option<Program>> {
        let host = &record.host_config;
        let security = settle(host.security_opt.as_deref().unwrap_or_default(), host.privileged)?;
        let profile = match security.seccomp.unwrap_or_else(|| default.clone()) {
            Seccomp::Unconfined => return Ok(None),
            Seccomp::Default => None,
            Seccomp::Profile(profile) => Some(profile),
        };
        let capabilities = spec.process.as_ref().and_then(|process| process.capabilities.as_ref());
        let capabilities = capabilities.map(|sets| sets.bounding.as_slice()).unwrap_or_default();
        // What a user gave stands in the options as it is; nothing else in them matters to the filter.
        let given = host.security_opt.iter().flatten().filter(|option| option.starts_with("seccomp"));
        let key = capabilities.iter().chain(given).map(String::as_str).collect::<Vec<_>>().join("\n");
        if let Some(program) = self.map.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Some(program.clone()));
        }
        let program = compile(profile.as_deref(), capabilities)
            .map_err(|error| EngineError::from_error("loading seccomp profile failed", error))?;
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= KEPT {
            map.clear();
        }
        map.insert(key, program.clone());
        Ok(Some(program))
    }
}

fn compile(profile: Option<&Profile>, capabilities: &[String]) -> Result<Program, CompileError> {
    match profile {
        None => seccomp::compile_default(capabilities),
        Some(profile) => seccomp::compile(&profile.resolve(&ResolveContext::of_this_machine(capabilities))),
    }
}
