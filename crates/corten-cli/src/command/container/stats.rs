//! `stats`: resource use, once or drawn again every second.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::format::{List, Row};
use corten_api::container::Stats;
use corten_client::{Client, ListOptions};
use corten_std::{id, size};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub(crate) const ENTRY: Entry = Entry {
    name: "container stats",
    aliases: &["stats"],
    usage: "[OPTIONS] [CONTAINER...]",
    count: Count::Any,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Display a live stream of container(s) resource usage statistics
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Containers
    containers: Vec<String>,
}

const HEADERS: &[(&str, &str)] = &[
    ("Container", "CONTAINER"),
    ("Name", "NAME"),
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let client = context.client()?;
    let configuration = context.configuration();
    let format = match arguments.format.as_deref().or_else(|| configuration.format("statsFormat")) {
        Some(format) if !(format.is_empty() || format == "table") => format.to_owned(),
        _ => "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}".to_owned(),
    };
    let list = List { format: &format, headers: HEADERS };
    loop {
        let begun = Instant::now();
        let names = if arguments.containers.is_empty() {
            let options = ListOptions { all: arguments.all, ..ListOptions::default() };
            client.container_list(&options)?.into_iter().map(|container| container.id).collect()
        } else {
            arguments.containers.clone()
        };
        let samples = samples(&client, &names);
        let mut rows = Vec::new();
        for (name, sample) in names.iter().zip(samples) {
            match sample {
                Ok(sample) => rows.push(row(name, &sample, !arguments.no_trunc)),
                // One that has just gone is left out of a list that we made ourselves.
                Err(_) if arguments.containers.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        if !arguments.no_stream && list.format.starts_with("table") && context.ui.is_terminal {
            // Home, and clear what is below.
            context.ui.data(b"\x1b[H\x1b[J")?;
        }
        list.print(&mut context.ui, rows)?;
        context.ui.flush()?;
        if arguments.no_stream {
            return Ok(0);
        }
        std::thread::sleep(Duration::from_millis(500).saturating_sub(begun.elapsed()));
    }
}

/// One sample of each, taken side by side, because the daemon needs a second for each.
fn samples(client: &Client, names: &[String]) -> Vec<Result<Stats>> {
    let results: Mutex<BTreeMap<usize, Result<Stats>>> = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for (at, name) in names.iter().enumerate() {
            let results = &results;
            scope.spawn(move || {
                let sample = client.container_stats(name, false).and_then(corten_client::Reply::json);
                if let Ok(mut results) = results.lock() {
                    results.insert(at, sample.map_err(CliError::from));
                }
            });
        }
    });
    results.into_inner().map(|results| results.into_values().collect()).unwrap_or_default()
}

fn row(asked: &str, stats: &Stats, truncate: bool) -> Row {
    let id = if truncate { id::short(&stats.id) } else { &stats.id };
    let used = used_memory(stats);
    let limit = stats.memory_stats.limit;
    let percent = if limit == 0 { 0.0 } else { used as f64 / limit as f64 * 100.0 };
    let (mut received, mut sent) = (0, 0);
    for network in stats.networks.values() {
        received += network.rx_bytes;
        sent += network.tx_bytes;
    }
    let (mut read, mut written) = (0, 0);
    for entry in stats.blkio_stats.io_service_bytes_recursive.iter().flatten() {
        match entry.op.bytes().next() {
            Some(b'r' | b'R') => read += entry.value,
            Some(b'w' | b'W') => written += entry.value,
            _ => {}
        }
    }
    let pair = |one: u64, other: u64| {
        format!("{} / {}", size::human_short(one as f64), size::human_short(other as f64))
    };
    Row::new()
        .with("BlockIO", pair(read, written))
        .with("CPUPerc", format!("{:.2}%", processor_percent(stats)))
        .with("Container", asked)
        .with("ID", id)
        .with("MemPerc", format!("{percent:.2}%"))
        .with("MemUsage", format!("{} / {}", size::binary(used as f64), size::binary(limit as f64)))
        .with("Name", stats.name.trim_start_matches('/'))
        .with("NetIO", pair(received, sent))
        .with("PIDs", stats.pids_stats.current.to_string())
}

/// Without the page cache that could be given back, as Docker counts it.
fn used_memory(stats: &Stats) -> u64 {
    let memory = &stats.memory_stats;
    let inactive = memory.stats.get("total_inactive_file").or_else(|| memory.stats.get("inactive_file"));
    match inactive {
        Some(inactive) if *inactive < memory.usage => memory.usage - inactive,
        _ => memory.usage,
    }
}

fn processor_percent(stats: &Stats) -> f64 {
    let (now, before) = (&stats.cpu_stats, &stats.precpu_stats);
    let used = now.cpu_usage.total_usage as f64 - before.cpu_usage.total_usage as f64;
    let system = now.system_cpu_usage as f64 - before.system_cpu_usage as f64;
    let online = match now.online_cpus {
        0 => now.cpu_usage.percpu_usage.len() as f64,
        online => f64::from(online),
    };
    if system > 0.0 && used > 0.0 { used / system * online * 100.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_docker_s() {
        let stats: Stats = serde_json::from_str(
            r#"{"id":"x","name":"/n","cpu_stats":{"cpu_usage":{"total_usage":200},"system_cpu_usage":2000,"online_cpus":2},
            "precpu_stats":{"cpu_usage":{"total_usage":100},"system_cpu_usage":1000},
            "memory_stats":{"usage":3000,"limit":10000,"stats":{"inactive_file":1000}}}"#,
        )
        .unwrap();
        assert!((processor_percent(&stats) - 20.0).abs() < 1e-9);
        assert_eq!(used_memory(&stats), 2000);
    }
}
