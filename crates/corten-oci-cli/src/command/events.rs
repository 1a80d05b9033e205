//! `events`: what a container uses, and that its memory ran out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use corten_runtime::cgroup::{BlockIo, Cgroup, Stats};
use serde_json::{Value, json};

use super::{Command, HELP, id};
use crate::Context;
use crate::arguments::{Arguments, Flag, Kind};
use crate::failure::{Failure, Result};
use crate::state::Status;

pub(super) const COMMAND: Command = Command {
    name: "events",
    about: "Print what a container uses, every few seconds or once",
    positional: "CONTAINER",
    flags: FLAGS,
    makes_processes: false,
    run,
};

const FLAGS: &[Flag] = &[
    Flag::new("interval", Kind::Value, "time between two prints (default 5s)"),
    Flag::new("stats", Kind::Switch, "print once"),
    HELP,
];

/// How often the count of kills is looked at, and whether the container still runs.
const LOOK: Duration = Duration::from_millis(200);

fn run(context: &mut Context, arguments: &Arguments) -> Result<i32> {
    let (folder, state) = context.root.load(id("events", arguments)?)?;
    let interval = arguments.value("interval").unwrap_or("5s");
    let interval = corten_std::duration::parse_go(interval)
        .filter(|interval| !interval.is_zero())
        .ok_or_else(|| Failure::new(format!("duration interval must be greater than 0, not {interval:?}")))?;
    if folder.status(&state) == Status::Stopped {
        return Err(Failure::new(format!("container with id {} is not running", state.id)));
    }
    let cgroup =
        state.cgroup.as_ref().ok_or_else(|| Failure::new("the container has no cgroup to be read"))?;
    let print = |cgroup: &Cgroup| -> Result<()> {
        let line = json!({ "type": "stats", "id": state.id, "data": data(&cgroup.stats()?) });
        println!("{line}");
        Ok(())
    };
    if arguments.is_set("stats") {
        print(cgroup)?;
        return Ok(0);
    }
    let mut kills = cgroup.oom_kill_count();
    let mut next = Instant::now() + interval;
    while folder.status(&state) != Status::Stopped {
        std::thread::sleep(LOOK.min(interval));
        let now = cgroup.oom_kill_count();
        if now > kills {
            println!("{}", json!({ "type": "oom", "id": state.id }));
        }
        kills = now;
        if Instant::now() >= next {
            next += interval;
            // It may have ended this moment; then the loop does.
            let _ = print(cgroup);
        }
    }
    Ok(0)
}

/// runc's document.
fn data(stats: &Stats) -> Value {
    let detail = |name: &str| stats.memory_details.get(name).unwrap_or(0);
    let cache = if stats.unified { detail("file") } else { detail("cache") };
    let entry = |device: &BlockIo, name: &str, value: u64| json!({ "major": device.major, "minor": device.minor, "op": name, "value": value });
    let list = |read: fn(&BlockIo) -> u64, write: fn(&BlockIo) -> u64| -> Vec<Value> {
        stats
            .block_io
            .iter()
            .flat_map(|device| [entry(device, "Read", read(device)), entry(device, "Write", write(device))])
            .collect()
    };
    json!({
        "cpu": {
            "usage": {
                "total": stats.cpu_total,
                "percpu": stats.cpu_each,
                "kernel": stats.cpu_system,
                "user": stats.cpu_user,
            },
            "throttling": {
                "periods": stats.throttle_periods,
                "throttledPeriods": stats.throttled_periods,
                "throttledTime": stats.throttled_time,
            },
        },
        "cpuset": {},
        "memory": {
            "cache": cache,
            "usage": {
                "limit": stats.memory_limit,
                "usage": stats.memory_usage,
                "max": stats.memory_most,
                "failcnt": stats.memory_failures,
            },
            "swap": { "limit": 0, "failcnt": 0 },
            "kernel": { "limit": 0, "failcnt": 0 },
            "kernelTCP": { "limit": 0, "failcnt": 0 },
            "raw": stats.memory_details.iter().collect::<BTreeMap<_, _>>(),
        },
        "pids": { "current": stats.pids, "limit": stats.pids_limit },
        "blkio": {
            "ioServiceBytesRecursive": list(|device| device.read_bytes, |device| device.write_bytes),
            "ioServicedRecursive": list(|device| device.reads, |device| device.writes),
        },
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}
