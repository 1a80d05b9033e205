//! What containers use, told once or every second.
//!
//! One thread measures, for all who ask: it lives while somebody listens, and measures each container that somebody
//! listens to once a second, however many listen to it. Nothing is kept of containers that nobody asks for.

use crate::Engine;
use crate::container::handle::{Handle, View};
use crate::container::state::Phase;
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_api::container::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats, ThrottlingData,
};
use corten_runtime::cgroup::{self, Gauge};
use corten_std::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Time between two samples of one container.
const INTERVAL: Duration = Duration::from_secs(1);

/// Clock ticks of `/proc/stat` in a second; the kernel's `USER_HZ`, which is 100 on every machine that we run on.
const TICKS: u64 = 100;

/// Keys of `memory.stat` that Docker tells, version 1.
const LEGACY_MEMORY: &[&str] = &[
    "active_anon",
    "active_file",
    "cache",
    "dirty",
    "hierarchical_memory_limit",
    "hierarchical_memsw_limit",
    "inactive_anon",
    "inactive_file",
    "mapped_file",
    "pgfault",
    "pgmajfault",
    "pgpgin",
    "pgpgout",
    "rss",
    "rss_huge",
    "total_active_anon",
    "total_active_file",
    "total_cache",
    "total_dirty",
    "total_inactive_anon",
    "total_inactive_file",
    "total_mapped_file",
    "total_pgfault",
    "total_pgmajfault",
    "total_pgpgin",
    "total_pgpgout",
    "total_rss",
    "total_rss_huge",
    "total_unevictable",
    "total_writeback",
    "unevictable",
    "writeback",
];

/// Keys of `memory.stat` that Docker tells, version 2.
const UNIFIED_MEMORY: &[&str] = &[
    "active_anon",
    "active_file",
    "anon",
    "anon_thp",
    "file",
    "file_dirty",
    "file_mapped",
    "file_writeback",
    "inactive_anon",
    "inactive_file",
    "kernel_stack",
    "pgactivate",
    "pgdeactivate",
    "pgfault",
    "pglazyfree",
    "pglazyfreed",
    "pgmajfault",
    "pgrefill",
    "pgscan",
    "pgsteal",
    "shmem",
    "slab",
    "slab_reclaimable",
    "slab_unreclaimable",
    "sock",
    "thp_collapse_alloc",
    "thp_fault_alloc",
    "unevictable",
    "workingset_activate",
    "workingset_nodereclaim",
    "workingset_refault",
];

/// Interfaces that the kernel puts into every network namespace; they are not the container's.
const KERNEL_INTERFACES: &[&str] =
    &["lo", "erspan0", "gre0", "gretap0", "ip6_vti0", "ip6gre0", "ip6tnl0", "ip_vti0", "sit0", "tunl0"];

/// Who listens to which container, and the thread that measures.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    state: Mutex<MeterState>,
}

#[derive(Debug, Default)]
struct MeterState {
    /// By container ID.
    asked: HashMap<String, watch::Sender<Option<Arc<Stats>>>>,
    /// Whether the thread lives.
    measuring: bool,
}

impl Meter {
    fn lock(&self) -> MutexGuard<'_, MeterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to a container, and has the thread measure it.
    fn listen(&self, engine: &Arc<EngineInner>, id: &str) -> Result<watch::Receiver<Option<Arc<Stats>>>> {
        let mut state = self.lock();
        if !state.measuring {
            let weak = Arc::downgrade(engine);
            std::thread::Builder::new()
                .name("stats".to_owned())
                .spawn(move || measure_all(&weak))
                .map_err(|error| EngineError::from_error("starting to measure", error))?;
            state.measuring = true;
        }
        let sender = state.asked.entry(id.to_owned()).or_insert_with(|| watch::Sender::new(None));
        Ok(sender.subscribe())
    }

    /// Who is listened to; the end of the thread where it is nobody.
    fn asked(&self) -> HashSet<String> {
        let mut state = self.lock();
        state.asked.retain(|_, sender| sender.receiver_count() > 0);
        state.measuring = !state.asked.is_empty();
        state.asked.keys().cloned().collect()
    }

    /// Gives samples by container ID to those who listen; none: the container is gone.
    fn tell(&self, samples: Vec<(String, Option<Stats>)>) {
        let mut state = self.lock();
        for (id, sample) in samples {
            match sample {
                Some(sample) => {
                    if let Some(sender) = state.asked.get(&id) {
                        sender.send_replace(Some(Arc::new(sample)));
                    }
                }
                None => drop(state.asked.remove(&id)),
            }
        }
    }
}

/// The thread: ends with its last listener, or with the engine.
fn measure_all(engine: &Weak<EngineInner>) {
    let mut next = Instant::now() + INTERVAL;
    let mut gauges = HashMap::new();
    let most_gauges = most_gauges();
    loop {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        // A machine that was asleep is not measured for every second that it slept.
        next = (next + INTERVAL).max(Instant::now());
        let Some(engine) = engine.upgrade() else { return };
        let asked = engine.meter.asked();
        if asked.is_empty() {
            return;
        }
        let machine = Machine::now();
        gauges.retain(|id, _| asked.contains(id));
        let mut samples = Vec::with_capacity(asked.len());
        for id in asked {
            let Some(handle) = engine.containers.by_id(&id).filter(|handle| !handle.is_gone()) else {
                samples.push((id, None));
                continue;
            };
            let mut gauge = gauges.remove(&id);
            let sample = sample_of(&engine, &handle.view(), &machine, &mut gauge);
            if let Some(gauge) = gauge
                && gauges.len() < most_gauges
            {
                gauges.insert(id.clone(), gauge);
            }
            samples.push((id, Some(sample)));
        }
        // All at once: whoever listens to many wakes up once rather than for each.
        engine.meter.tell(samples);
    }
}

/// Samples of one container, one after the other.
#[derive(Debug)]
pub struct StatsStream {
    receiver: watch::Receiver<Option<Arc<Stats>>>,
    first: Option<Stats>,
    /// Processor use and time of the sample before.
    before: Option<(CpuStats, String)>,
}

impl StatsStream {
    /// The next sample, with the one before it; none once the container is gone.
    pub async fn next(&mut self) -> Option<Stats> {
        let mut sample = match self.first.take() {
            Some(first) => first,
            None => loop {
                self.receiver.changed().await.ok()?;
                if let Some(sample) = &*self.receiver.borrow_and_update() {
                    break Stats::clone(sample);
                }
            },
        };
        let now = (sample.cpu_stats.clone(), sample.read.clone());
        if let Some((usage, read)) = self.before.replace(now) {
            (sample.precpu_stats, sample.preread) = (usage, read);
        }
        Some(sample)
    }
}

impl Engine {
    /// `GET /containers/{}/stats` as a stream: the first sample at once, then one every second.
    pub async fn stats_stream(&self, reference: &str) -> Result<StatsStream> {
        let handle = self.find(reference)?;
        let receiver = self.inner.meter.listen(&self.inner, &handle.id)?;
        let first = Some(self.sample(&handle).await?);
        Ok(StatsStream { receiver, first, before: None })
    }

    /// One sample; with `compared`, one second after another one that it is compared with. A container that does not run
    /// uses nothing, and is not waited for.
    pub async fn stats_once(&self, reference: &str, compared: bool) -> Result<Stats> {
        let handle = self.find(reference)?;
        let first = self.sample(&handle).await?;
        if !compared || !handle.view().phase().has_process() {
            return Ok(first);
        }
        tokio::time::sleep(INTERVAL).await;
        let mut second = self.sample(&handle).await?;
        (second.precpu_stats, second.preread) = (first.cpu_stats, first.read);
        Ok(second)
    }

    async fn sample(&self, handle: &Arc<Handle>) -> Result<Stats> {
        let (engine, handle) = (self.clone(), Arc::clone(handle));
        blocking(move || Ok(sample_of(&engine.inner, &handle.view(), &Machine::now(), &mut None))).await
    }
}

/// What is the same for all containers at one moment.
struct Machine {
    read: String,
    /// Nanoseconds of all processors.
    cpu: u64,
    processors: u32,
    /// Bytes.
    memory: u64,
}

impl Machine {
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let (cpu, processors) = machine_cpu(&text);
        let about = rustix::system::sysinfo();
        let memory = (about.totalram as u64).saturating_mul(u64::from(about.mem_unit));
        Self { read: Timestamp::now().to_string(), cpu, processors, memory }
    }
}

/// Nanoseconds that all processors spent, and how many there are, from `/proc/stat`.
fn machine_cpu(text: &str) -> (u64, u32) {
    let mut lines = text.lines();
    // user, nice, system, idle, iowait, irq, softirq; what guests took is in the first two.
    let ticks: u64 = lines.next().and_then(|line| line.strip_prefix("cpu ")).map_or(0, |numbers| {
        numbers.split_ascii_whitespace().take(7).filter_map(|number| number.parse::<u64>().ok()).sum()
    });
    let processors = lines.take_while(|line| line.starts_with("cpu")).count();
    (ticks.saturating_mul(1_000_000_000 / TICKS), u32::try_from(processors).unwrap_or(u32::MAX))
}

/// How many gauges are kept from one sample to the next: a quarter of the descriptors that the daemon may have.
fn most_gauges() -> usize {
    let descriptors =
        rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors / 4).unwrap_or(usize::MAX) / Gauge::FILES
}

/// What a container uses now; nothing but its names where it does not run. A gauge is made where there is none yet.
fn sample_of(engine: &EngineInner, view: &View, machine: &Machine, gauge: &mut Option<Gauge>) -> Stats {
    let record = &view.record;
    let zero = || Timestamp::ZERO.to_string();
    let empty = Stats {
        id: record.id.clone(),
        name: format!("/{}", record.name),
        read: zero(),
        preread: zero(),
        ..Stats::default()
    };
    if !matches!(view.phase(), Phase::Running | Phase::Paused) {
        return empty;
    }
    let used = match gauge {
        Some(gauge) => gauge.read(),
        None => engine.cgroups.open(&record.id).and_then(|cgroup| gauge.insert(Gauge::new(cgroup)).read()),
    };
    let Ok(used) = used else { return empty };
    let networks = match &view.network {
        // Without an interface of ours there is nothing to tell, and the file is the dearest of all to read.
        Some(connected) if connected.endpoints.values().any(|endpoint| !endpoint.mac_address.is_empty()) => {
            network(&std::fs::read_to_string(format!("/proc/{}/net/dev", view.life.pid)).unwrap_or_default())
        }
        _ => BTreeMap::new(),
    };
    Stats { read: machine.read.clone(), networks, ..stats_of(used, machine, empty) }
}

fn stats_of(used: cgroup::Stats, machine: &Machine, names: Stats) -> Stats {
    let known = if used.unified { UNIFIED_MEMORY } else { LEGACY_MEMORY };
    let mut told = vec![None; known.len()];
    for (name, value) in used.memory_details.iter() {
        if let Ok(at) = known.binary_search(&name) {
            told[at] = Some(value);
        }
    }
    let details = known.iter().zip(told).filter_map(|(name, value)| Some((*name, value?))).collect();
    let none = || if used.unified { None } else { Some(Vec::new()) };
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for device in &used.block_io {
        let entry = |op: &str, value| BlkioEntry {
            major: device.major,
            minor: device.minor,
            op: op.to_owned(),
            value,
        };
        let names = if used.unified { ["read", "write"] } else { ["Read", "Write"] };
        bytes.extend([entry(names[0], device.read_bytes), entry(names[1], device.write_bytes)]);
        operations.extend([entry(names[0], device.reads), entry(names[1], device.writes)]);
    }
    Stats {
        pids_stats: PidsStats {
            current: used.pids,
            // Version 2 says that there is no limit by the largest number.
            limit: if used.unified && used.pids_limit == 0 { u64::MAX } else { used.pids_limit },
        },
        blkio_stats: BlkioStats {
            io_service_bytes_recursive: Some(bytes),
            io_serviced_recursive: if used.unified { None } else { Some(operations) },
            io_queue_recursive: none(),
            io_service_time_recursive: none(),
            io_wait_time_recursive: none(),
            io_merged_recursive: none(),
            io_time_recursive: none(),
            sectors_recursive: none(),
        },
        cpu_stats: CpuStats {
            cpu_usage: CpuUsage {
                total_usage: used.cpu_total,
                percpu_usage: used.cpu_each,
                usage_in_kernelmode: used.cpu_system,
                usage_in_usermode: used.cpu_user,
            },
            system_cpu_usage: machine.cpu,
            online_cpus: machine.processors,
            throttling_data: ThrottlingData {
                periods: used.throttle_periods,
                throttled_periods: used.throttled_periods,
                throttled_time: used.throttled_time,
            },
        },
        memory_stats: MemoryStats {
            usage: used.memory_usage,
            max_usage: if used.unified { 0 } else { used.memory_most },
            stats: details,
            failcnt: used.memory_failures,
            // No limit, or one above what there is, is the machine's memory.
            limit: if used.memory_limit == 0 {
                machine.memory
            } else {
                used.memory_limit.min(machine.memory)
            },
        },
        ..names
    }
}

/// Traffic by interface, from `/proc/PID/net/dev`.
fn network(text: &str) -> BTreeMap<String, NetworkStats> {
    text.lines()
        .filter_map(|line| {
            let (name, numbers) = line.split_once(':')?;
            let name = name.trim();
            if KERNEL_INTERFACES.contains(&name) {
                return None;
            }
            let numbers: Vec<u64> =
                numbers.split_ascii_whitespace().map(|number| number.parse().unwrap_or(0)).collect();
            let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
            let traffic = NetworkStats {
                rx_bytes: at(0),
                rx_packets: at(1),
                rx_errors: at(2),
                rx_dropped: at(3),
                tx_bytes: at(8),
                tx_packets: at(9),
                tx_errors: at(10),
                tx_dropped: at(11),
            };
            Some((name.to_owned(), traffic))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_s_processors() {
        let text = "cpu  10 1 20 300 4 0 5 7 9 9\ncpu0 5 0 10 150 2 0 2 0 0 0\ncpu1 5 1 10 150 2 0 3 0 0 0\nintr 1\n";
        assert_eq!(machine_cpu(text), (340 * 10_000_000, 2));
        assert_eq!(machine_cpu(""), (0, 0));
    }

    #[test]
    fn traffic_of_the_container_s_own_interfaces() {
        let text = "Inter-|   Receive\n face |bytes packets\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 100 2 3 4 0 0 0 0 200 5 6 7 0 0 0 0\n";
        let found = network(text);
        assert_eq!(found.len(), 1);
        let eth0 = &found["eth0"];
        assert_eq!((eth0.rx_bytes, eth0.rx_packets, eth0.rx_errors, eth0.rx_dropped), (100, 2, 3, 4));
        assert_eq!((eth0.tx_bytes, eth0.tx_packets, eth0.tx_errors, eth0.tx_dropped), (200, 5, 6, 7));
    }

    #[test]
    fn the_known_keys_are_sorted() {
        assert!(LEGACY_MEMORY.is_sorted() && UNIFIED_MEMORY.is_sorted());
    }

    #[test]
    fn both_versions_have_their_shapes() {
        let machine = Machine { read: String::new(), cpu: 5, processors: 2, memory: 1000 };
        let used = |unified| cgroup::Stats {
            unified,
            memory_limit: u64::MAX,
            memory_details: cgroup::Details::new("odd 1\ninactive_file 3\n"),
            block_io: vec![cgroup::BlockIo { major: 8, read_bytes: 1, ..cgroup::BlockIo::default() }],
            ..cgroup::Stats::default()
        };
        let second = stats_of(used(true), &machine, Stats::default());
        assert_eq!(second.blkio_stats.io_service_bytes_recursive.unwrap()[0].op, "read");
        assert_eq!(second.blkio_stats.io_serviced_recursive, None);
        assert_eq!((second.memory_stats.limit, second.memory_stats.stats.len()), (1000, 1));
        assert_eq!(second.memory_stats.stats.get("inactive_file"), Some(3));
        assert_eq!(second.pids_stats.limit, u64::MAX);
        let first = stats_of(used(false), &machine, Stats::default());
        assert_eq!(first.blkio_stats.io_service_bytes_recursive.unwrap()[0].op, "Read");
        assert_eq!(first.blkio_stats.io_queue_recursive, Some(Vec::new()));
        assert_eq!(first.pids_stats.limit, 0);
    }
}
