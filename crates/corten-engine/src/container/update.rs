//! Other limits and another restart policy for a container, running or not.

use crate::Engine;
use crate::container::handle::Request;
use crate::container::{limits, validate};
use crate::error::{EngineError, Result};
use corten_api::container::{HostConfig, UpdateRequest, UpdateResponse};

impl Engine {
    /// Changes what the request names; the rest stays.
    pub async fn update(&self, reference: &str, mut changes: UpdateRequest) -> Result<UpdateResponse> {
        let handle = self.find(reference)?;
        validate::restart_policy(&changes.restart_policy)?;
        limits::check(&changes, true)?;
        let mut warnings = limits::settle(&mut changes, self.inner.abilities(), true)?;
        // Once more by the owner, who knows what came between.
        apply(&mut handle.view().record.host_config.clone(), &changes)
            .map_err(|error| cannot(&handle.id, error))?;
        let changes = Box::new(changes);
        warnings.extend(handle.ask(|reply| Request::Update { changes, reply }).await?);
        Ok(UpdateResponse { warnings: (!warnings.is_empty()).then_some(warnings) })
    }
}

/// Docker's sentence around what stands in the way.
pub(super) fn cannot(id: &str, error: EngineError) -> EngineError {
    EngineError::because(&format!("Cannot update container {id}"), error)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Takes over every limit that is given: a number that is not zero, a text that is not empty. The two ways of limiting
/// the processors' time exclude each other.
pub(super) fn apply(host: &mut HostConfig, changes: &HostConfig) -> Result<()> {
    let conflict = |text: &str| Err(EngineError::conflict(text));
    if changes.nano_cpus > 0 && host.cpu_period > 0 {
        return conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
        );
    }
    if changes.nano_cpus > 0 && host.cpu_quota > 0 {
        return conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set",
        );
    }
    if changes.cpu_period > 0 && host.nano_cpus > 0 {
        return conflict(
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
        );
    }
    if changes.cpu_quota > 0 && host.nano_cpus > 0 {
        return conflict("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set");
    }
    if changes.memory > host.memory_swap && changes.memory_swap == 0 && changes.memory != 0 {
        return conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        );
    }
    if changes.memory_swap > 0 && changes.memory == 0 && changes.memory_swap < host.memory {
        return conflict("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if host.auto_remove && !matches!(changes.restart_policy.name.as_str(), "" | "no") {
        return conflict("Restart policy cannot be updated because AutoRemove is enabled for the container");
    }
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
        blkio_weight
    );
    // 0 and less both mean none, and inspect tells 0.
    if let Some(limit) = changes.pids_limit {
        host.pids_limit = Some(limit.max(0));
    }
    if !changes.restart_policy.name.is_empty() {
        host.restart_policy = changes.restart_policy.clone();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_changes() {
        let mut host = HostConfig { memory: 64, cpu_quota: 5, ..HostConfig::default() };
        let changes = HostConfig { cpu_shares: 3, pids_limit: Some(50), ..HostConfig::default() };
        apply(&mut host, &changes).unwrap();
        assert_eq!((host.memory, host.cpu_shares, host.cpu_quota, host.pids_limit), (64, 3, 5, Some(50)));
        apply(&mut host, &HostConfig { pids_limit: Some(-1), ..HostConfig::default() }).unwrap();
        assert_eq!(host.pids_limit, Some(0));
    }

    #[track_caller]
    fn check_refused(host: HostConfig, changes: HostConfig, text: &str) {
        let mut changed = host.clone();
        let error = apply(&mut changed, &changes).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(changed, host);
    }

    #[test]
    fn what_contradicts_is_refused_whole() {
        let none = HostConfig::default;
        check_refused(
            HostConfig { nano_cpus: 1, ..none() },
            HostConfig { cpu_quota: 5000, cpu_shares: 7, ..none() },
            "CPU Quota cannot be updated as NanoCPUs has already been set",
        );
        check_refused(
            HostConfig { cpu_period: 1000, ..none() },
            HostConfig { nano_cpus: 1, ..none() },
            "Nano CPUs cannot be updated as CPU Period",
        );
        check_refused(none(), HostConfig { memory: 9, ..none() }, "update the memoryswap at the same time");
        check_refused(
            HostConfig { memory: 9, memory_swap: 18, ..none() },
            HostConfig { memory_swap: 5, ..none() },
            "Minimum memoryswap limit should be larger",
        );
    }
}
