//! `stats`: resource use, once or drawn again every second.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::format::{List, Row};
use corten_api::container::Stats;
use corten_client::{Client, ClientError, ListOptions};
use corten_std::{id, size};
use std::collections::{BTreeMap, HashMap};
use std::io::BufReader;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So long the first samples are waited for.
const FIRST_SAMPLES: Duration = Duration::from_millis(1500);

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
    let truncate = !arguments.no_trunc;
    if arguments.no_stream {
        let names = names(&client, &arguments)?;
        let mut rows = Vec::new();
        for (name, sample) in names.iter().zip(samples(&client, &names)) {
            match sample {
                Ok(sample) => rows.push(row(name, &sample, truncate)),
                // One that has just gone is left out of a list that we made ourselves.
                Err(_) if arguments.containers.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        list.print(&mut context.ui, rows)?;
        context.ui.flush()?;
        return Ok(0);
    }
    let live = Live::new(client);
    // ID and name, of those that were measured, by how they are asked for.
    let mut known: HashMap<String, (String, String)> = HashMap::new();
    loop {
        let begun = Instant::now();
        let names = names(&live.client, &arguments)?;
        let samples = live.samples(&names);
        let mut rows = Vec::new();
        for (name, sample) in names.iter().zip(samples) {
            match sample {
                Some(Ok(sample)) => {
                    rows.push(row(name, &sample, truncate));
                    known.insert(name.clone(), (sample.id, sample.name));
                }
                Some(Err(_)) if arguments.containers.is_empty() => {}
                // One that was named and is gone keeps its row, as with Docker; one that never was is an error.
                Some(Err(error)) if !known.contains_key(name) => return Err(error.into()),
                Some(Err(_)) | None => rows.push(unmeasured(name, known.get(name), truncate)),
            }
        }
        if list.format.starts_with("table") && context.ui.is_terminal {
            // Home, and clear what is below.
            context.ui.data(b"\x1b[H\x1b[J")?;
        }
        list.print(&mut context.ui, rows)?;
        context.ui.flush()?;
        std::thread::sleep(Duration::from_millis(500).saturating_sub(begun.elapsed()));
    }
}

/// Those that were named, or those that there are now.
fn names(client: &Client, arguments: &Arguments) -> Result<Vec<String>> {
    if !arguments.containers.is_empty() {
        return Ok(arguments.containers.clone());
    }
    let options = ListOptions { all: arguments.all, ..ListOptions::default() };
    Ok(client.container_list(&options)?.into_iter().map(|container| container.id).collect())
}

/// Streams of samples, one for each container, each read by a thread of its own until the container is gone.
struct Live {
    client: Arc<Client>,
    /// The last sample of each that is followed; none where none has come yet.
    latest: Arc<Mutex<Followed>>,
}

type Latest = std::result::Result<Stats, ClientError>;
type Followed = HashMap<String, Option<Latest>>;

impl Live {
    fn new(client: Arc<Client>) -> Self {
        Self { client, latest: Arc::default() }
    }

    /// The last sample of each, in their order. One that is new is followed from now on; its first sample is waited for a
    /// moment, so that what is printed first has numbers.
    fn samples(&self, names: &[String]) -> Vec<Option<Latest>> {
        let mut new = Vec::new();
        {
            let mut latest = self.lock();
            latest.retain(|name, _| names.contains(name));
            for name in names {
                latest.entry(name.clone()).or_insert_with(|| {
                    new.push(name.clone());
                    None
                });
            }
        }
        let follows = !new.is_empty();
        for name in new {
            let (client, latest) = (Arc::clone(&self.client), Arc::clone(&self.latest));
            std::thread::spawn(move || follow(&client, &name, &latest));
        }
        let begun = Instant::now();
        while follows && begun.elapsed() < FIRST_SAMPLES && self.lock().values().any(Option::is_none) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut latest = self.lock();
        names
            .iter()
            .map(|name| match latest.get_mut(name) {
                Some(Some(Ok(sample))) => Some(Ok(sample.clone())),
                // An error is told once; then the container is asked for again.
                Some(Some(Err(_))) => latest.remove(name).flatten(),
                _ => None,
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Followed> {
        lock(&self.latest)
    }
}

fn lock(latest: &Mutex<Followed>) -> MutexGuard<'_, Followed> {
    latest.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads one container's samples until it is gone or nobody wants them.
fn follow(client: &Client, name: &str, latest: &Mutex<Followed>) {
    let reply = match client.container_stats(name, true) {
        Ok(reply) => reply,
        Err(error) => {
            if let Some(place) = lock(latest).get_mut(name) {
                *place = Some(Err(error));
            }
            return;
        }
    };
    let documents = serde_json::Deserializer::from_reader(BufReader::new(reply)).into_iter::<Stats>();
    for sample in documents.map_while(std::result::Result::ok) {
        match lock(latest).get_mut(name) {
            Some(place) => *place = Some(Ok(sample)),
            None => return,
        }
    }
    // The stream ended: asked again, the daemon says why, or the container runs again.
    lock(latest).remove(name);
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

/// What Docker shows of a container that is not measured.
fn unmeasured(asked: &str, known: Option<&(String, String)>, truncate: bool) -> Row {
    let (full, name) = known.map_or((asked, "--"), |(id, name)| (id, name.trim_start_matches('/')));
    Row::new()
        .with("BlockIO", "--")
        .with("CPUPerc", "--")
        .with("Container", asked)
        .with("ID", if truncate { id::short(full) } else { full })
        .with("MemPerc", "--")
        .with("MemUsage", "-- / --")
        .with("Name", name)
        .with("NetIO", "--")
        .with("PIDs", "--")
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
        Some(inactive) if inactive < memory.usage => memory.usage - inactive,
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
