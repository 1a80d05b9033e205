//! `update`.

use super::each;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::flags::request::restart_policy;
use corten_api::container::UpdateRequest;

pub(crate) const ENTRY: Entry = Entry {
    name: "container update",
    aliases: &["update"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Update configuration of one or more containers
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable
    #[arg(long, value_name = "uint16", default_value = "0", hide_default_value = true)]
    blkio_weight: u16,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "int", value_parser = crate::flags::number::whole)]
    cpu_period: Option<i64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "int", value_parser = crate::flags::number::whole)]
    cpu_quota: Option<i64>,
    /// Limit the CPU real-time period in microseconds
    #[arg(long, value_name = "int", value_parser = crate::flags::number::whole)]
    cpu_rt_period: Option<i64>,
    /// Limit the CPU real-time runtime in microseconds
    #[arg(long, value_name = "int", value_parser = crate::flags::number::whole)]
    cpu_rt_runtime: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "int", value_parser = crate::flags::number::whole)]
    cpu_shares: Option<i64>,
    /// Number of CPUs
    #[arg(long, value_name = "decimal", value_parser = crate::flags::number::processors)]
    cpus: Option<i64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_mems: Option<String>,
    /// Kernel memory limit (deprecated)
    #[arg(long, value_name = "bytes", value_parser = crate::flags::number::bytes, hide = true)]
    kernel_memory: Option<i64>,
    /// Memory limit
    #[arg(short, long, value_name = "bytes", value_parser = crate::flags::number::bytes)]
    memory: Option<i64>,
    /// Memory soft limit
    #[arg(long, value_name = "bytes", value_parser = crate::flags::number::bytes)]
    memory_reservation: Option<i64>,
    /// Swap limit equal to memory plus swap: -1 to enable unlimited swap
    #[arg(long, value_name = "bytes", value_parser = crate::flags::number::swap)]
    memory_swap: Option<i64>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "int", value_parser = crate::flags::number::whole)]
    pids_limit: Option<i64>,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "string")]
    restart: Option<String>,
    /// Containers
    containers: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let request = UpdateRequest {
        restart_policy: arguments.restart.as_deref().map(restart_policy).transpose()?.unwrap_or_default(),
        blkio_weight: arguments.blkio_weight,
        cpu_period: arguments.cpu_period.unwrap_or(0),
        cpu_quota: arguments.cpu_quota.unwrap_or(0),
        cpu_realtime_period: arguments.cpu_rt_period.unwrap_or(0),
        cpu_realtime_runtime: arguments.cpu_rt_runtime.unwrap_or(0),
        cpu_shares: arguments.cpu_shares.unwrap_or(0),
        nano_cpus: arguments.cpus.unwrap_or(0),
        cpuset_cpus: arguments.cpuset_cpus.unwrap_or_default(),
        cpuset_mems: arguments.cpuset_mems.unwrap_or_default(),
        kernel_memory: arguments.kernel_memory.unwrap_or(0),
        memory: arguments.memory.unwrap_or(0),
        memory_reservation: arguments.memory_reservation.unwrap_or(0),
        memory_swap: arguments.memory_swap.unwrap_or(0),
        pids_limit: arguments.pids_limit,
        ..UpdateRequest::default()
    };
    if request == UpdateRequest::default() {
        return Err(CliError::said("you must provide one or more flags when using this command"));
    }
    let mut warnings = Vec::new();
    let code = each(context, &arguments.containers, |client, name| {
        let answer = client.container_update(name, &request)?;
        warnings.extend(answer.warnings.unwrap_or_default());
        Ok(())
    })?;
    for warning in warnings {
        context.ui.note(warning);
    }
    Ok(code)
}
