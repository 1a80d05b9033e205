//! `update`: other limits for a running container.

use std::io::Read;

use corten_oci::runtime::LinuxResources;
use corten_runtime::cgroup::{Hierarchies, systemd};
use corten_std::size;

use super::{Command, HELP, id};
use crate::Context;
use crate::arguments::{Arguments, Flag, Kind};
use crate::failure::{Failure, Result};
use crate::state::Status;

pub(super) const COMMAND: Command = Command {
    name: "update",
    about: "Change the limits of a container",
    positional: "CONTAINER",
    flags: FLAGS,
    makes_processes: false,
    run,
};

const FLAGS: &[Flag] = &[
    Flag::new("resources", Kind::Value, "file with the limits as JSON, - for standard input").short('r'),
    Flag::new("blkio-weight", Kind::Value, "weight of block devices, 10 to 1000"),
    Flag::new("cpu-period", Kind::Value, "microseconds of a period"),
    Flag::new("cpu-quota", Kind::Value, "microseconds of each period"),
    Flag::new("cpu-burst", Kind::Value, "not supported"),
    Flag::new("cpu-share", Kind::Value, "weight, 2 to 262144"),
    Flag::new("cpu-rt-period", Kind::Value, "microseconds of a realtime period"),
    Flag::new("cpu-rt-runtime", Kind::Value, "microseconds of each realtime period"),
    Flag::new("cpu-idle", Kind::Value, "not supported"),
    Flag::new("cpuset-cpus", Kind::Value, "processors"),
    Flag::new("cpuset-mems", Kind::Value, "memory nodes"),
    Flag::new("kernel-memory", Kind::Value, "passed over: the kernel has no such limit any more"),
    Flag::new("kernel-memory-tcp", Kind::Value, "passed over, as above"),
    Flag::new("memory", Kind::Value, "bytes"),
    Flag::new("memory-reservation", Kind::Value, "bytes"),
    Flag::new("memory-swap", Kind::Value, "bytes of memory and swap together, -1 for no limit"),
    Flag::new("pids-limit", Kind::Value, "number of processes, -1 for no limit"),
    Flag::new("l3-cache-schema", Kind::Value, "not supported"),
    Flag::new("mem-bw-schema", Kind::Value, "not supported"),
    HELP,
];

fn run(context: &mut Context, arguments: &Arguments) -> Result<i32> {
    let (folder, state) = context.root.load(id("update", arguments)?)?;
    for flag in ["cpu-burst", "cpu-idle", "l3-cache-schema", "mem-bw-schema"] {
        if arguments.value(flag).is_some_and(|value| !value.is_empty()) {
            return Err(Failure::new(format!("--{flag} is not supported by this runtime")));
        }
    }
    let limits = limits(arguments)?;
    if folder.status(&state) == Status::Stopped {
        return Err(Failure::new("cannot update a stopped container"));
    }
    let cgroup = state.cgroup.ok_or_else(|| Failure::new("the container has no cgroup to be limited by"))?;
    if let Some(unit) = &state.unit {
        systemd::update(unit, &Hierarchies::probe()?, &limits)?;
    }
    cgroup.update(&limits)?;
    Ok(0)
}

fn limits(arguments: &Arguments) -> Result<LinuxResources> {
    if let Some(path) = arguments.value("resources").filter(|path| !path.is_empty()) {
        let mut text = Vec::new();
        if path == "-" {
            std::io::stdin()
                .read_to_end(&mut text)
                .map_err(|error| Failure::of("cannot read standard input", &error))?;
        } else {
            text = corten_std::file::read(path)?;
        }
        let mut limits: LinuxResources =
            serde_json::from_slice(&text).map_err(|error| Failure::of("cannot read the limits", &error))?;
        // runc leaves the device rules of a running container as they are.
        limits.devices.clear();
        return Ok(limits);
    }
    let mut limits = LinuxResources::default();
    let bytes = |name: &str| -> Result<Option<i64>> {
        let Some(text) = arguments.value(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        if text == "-1" {
            return Ok(Some(-1));
        }
        size::parse_bytes(text)
            .map(Some)
            .ok_or_else(|| Failure::new(format!("invalid value for {name}: {text:?}")))
    };
    let (memory, reservation, swap) = (bytes("memory")?, bytes("memory-reservation")?, bytes("memory-swap")?);
    if memory.is_some() || reservation.is_some() || swap.is_some() {
        let section = limits.memory.get_or_insert_default();
        (section.limit, section.reservation, section.swap) = (memory, reservation, swap);
    }
    let cpu = limits.cpu.get_or_insert_default();
    cpu.shares = arguments.number("cpu-share")?;
    cpu.period = arguments.number("cpu-period")?;
    cpu.quota = arguments.number("cpu-quota")?;
    cpu.realtime_period = arguments.number("cpu-rt-period")?;
    cpu.realtime_runtime = arguments.number("cpu-rt-runtime")?;
    cpu.cpus = arguments.value("cpuset-cpus").filter(|list| !list.is_empty()).map(str::to_owned);
    cpu.mems = arguments.value("cpuset-mems").filter(|list| !list.is_empty()).map(str::to_owned);
    if let Some(limit) = arguments.number("pids-limit")? {
        limits.pids = Some(corten_oci::runtime::LinuxPids { limit });
    }
    if let Some(weight) = arguments.number("blkio-weight")? {
        limits.block_io.get_or_insert_default().weight = Some(weight);
    }
    Ok(limits)
}
