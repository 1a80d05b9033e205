//! Other limits and another restart policy for a container, running or not.

use crate::Engine;
use crate::container::handle::Request;
use crate::container::validate;
use crate::error::{EngineError, Result};
use corten_api::container::{HostConfig, UpdateRequest, UpdateResponse};

impl Engine {
    /// Changes what the request names; the rest stays.
    pub async fn update(&self, reference: &str, changes: UpdateRequest) -> Result<UpdateResponse> {
        let handle = self.find(reference)?;
        validate::restart_policy(&changes.restart_policy)?;
        let mut merged = handle.view().record.host_config.clone();
        apply(&mut merged, &changes);
        validate::resources(&merged)?;
        if merged.auto_remove && !matches!(merged.restart_policy.name.as_str(), "" | "no") {
            return Err(EngineError::invalid(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
        let changes = Box::new(changes);
        let warnings = handle.ask(|reply| Request::Update { changes, reply }).await?;
        Ok(UpdateResponse { warnings: (!warnings.is_empty()).then_some(warnings) })
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Takes over every limit that is given: a number that is not zero, a text that is not empty.
pub(super) fn apply(host: &mut HostConfig, changes: &HostConfig) {
    macro_rules! take {
        ($($field:ident),*) => {
            $(if !is_default(&changes.$field) {
                host.$field = changes.$field.clone();
            })*
        };
    }
    take!(
        cpu_shares,
        memory,
        memory_reservation,
        memory_swap,
        cpu_period,
        cpu_quota,
        cpu_realtime_period,
        cpu_realtime_runtime,
        cpuset_cpus,
        cpuset_mems,
        nano_cpus,
        blkio_weight,
        pids_limit
    );
    if changes.nano_cpus != 0 {
        host.cpu_period = 0;
        host.cpu_quota = 0;
    } else if changes.cpu_quota != 0 || changes.cpu_period != 0 {
        host.nano_cpus = 0;
    }
    if !changes.restart_policy.name.is_empty() {
        host.restart_policy = changes.restart_policy.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_changes() {
        let mut host = HostConfig { memory: 64, cpu_quota: 5, ..HostConfig::default() };
        apply(&mut host, &HostConfig { nano_cpus: 3, pids_limit: Some(50), ..HostConfig::default() });
        assert_eq!((host.memory, host.nano_cpus, host.cpu_quota, host.pids_limit), (64, 3, 0, Some(50)));
    }
}
