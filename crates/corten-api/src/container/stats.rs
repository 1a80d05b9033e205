//! One sample of a container's resource use.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::document::document;

document! {
/// One sample, with the one before it.
pub struct Stats {
    /// Name with a leading slash.
    name: String = "name",
    /// Full ID.
    id: String = "id",
    /// When it was taken, RFC 3339 with nanoseconds.
    read: String = "read",
    /// When the one before was taken; the year 1: none.
    preread: String = "preread",
    /// Processes and threads.
    pids_stats: PidsStats = "pids_stats",
    /// Block input and output.
    blkio_stats: BlkioStats = "blkio_stats",
    /// Windows only.
    num_procs: u32 = "num_procs",
    /// Windows only.
    storage_stats: StorageStats = "storage_stats",
    /// CPU time so far.
    cpu_stats: CpuStats = "cpu_stats",
    /// CPU time at the sample before.
    precpu_stats: CpuStats = "precpu_stats",
    /// Memory now.
    memory_stats: MemoryStats = "memory_stats",
    /// By interface.
    networks: BTreeMap<String, NetworkStats> = omitempty "networks",
}
}

document! {
/// Processes and threads.
pub struct PidsStats {
    /// How many there are.
    current: u64 = omitempty "current",
    /// How many there may be.
    limit: u64 = omitempty "limit",
}
}

document! {
/// Block input and output, by device and operation.
pub struct BlkioStats {
    /// Bytes.
    io_service_bytes_recursive: Option<Vec<BlkioEntry>> = "io_service_bytes_recursive",
    /// Operations.
    io_serviced_recursive: Option<Vec<BlkioEntry>> = "io_serviced_recursive",
    /// Queued operations.
    io_queue_recursive: Option<Vec<BlkioEntry>> = "io_queue_recursive",
    /// Nanoseconds of service.
    io_service_time_recursive: Option<Vec<BlkioEntry>> = "io_service_time_recursive",
    /// Nanoseconds of waiting.
    io_wait_time_recursive: Option<Vec<BlkioEntry>> = "io_wait_time_recursive",
    /// Merged operations.
    io_merged_recursive: Option<Vec<BlkioEntry>> = "io_merged_recursive",
    /// Milliseconds.
    io_time_recursive: Option<Vec<BlkioEntry>> = "io_time_recursive",
    /// Sectors.
    sectors_recursive: Option<Vec<BlkioEntry>> = "sectors_recursive",
}
}

document! {
/// One number of one device.
pub struct BlkioEntry {
    /// Device number, major.
    major: u64 = "major",
    /// Device number, minor.
    minor: u64 = "minor",
    /// `read`, `write`, …
    op: String = "op",
    /// The number.
    value: u64 = "value",
}
}

document! {
/// Windows only.
pub struct StorageStats {
    /// Windows only.
    read_count_normalized: u64 = omitempty "read_count_normalized",
}
}

document! {
/// CPU time so far.
pub struct CpuStats {
    /// Of the container.
    cpu_usage: CpuUsage = "cpu_usage",
    /// Nanoseconds of all CPUs of the host.
    system_cpu_usage: u64 = omitempty "system_cpu_usage",
    /// CPUs of the host.
    online_cpus: u32 = omitempty "online_cpus",
    /// Throttling.
    throttling_data: ThrottlingData = "throttling_data",
}
}

document! {
/// CPU time of a container.
pub struct CpuUsage {
    /// Nanoseconds.
    total_usage: u64 = "total_usage",
    /// Nanoseconds by CPU; cgroup v1 only.
    percpu_usage: Vec<u64> = omitempty "percpu_usage",
    /// Nanoseconds.
    usage_in_kernelmode: u64 = "usage_in_kernelmode",
    /// Nanoseconds.
    usage_in_usermode: u64 = "usage_in_usermode",
}
}

document! {
/// How often a CPU limit held a container back.
pub struct ThrottlingData {
    /// Periods so far.
    periods: u64 = "periods",
    /// Periods in which it was held back.
    throttled_periods: u64 = "throttled_periods",
    /// Nanoseconds it was held back.
    throttled_time: u64 = "throttled_time",
}
}

document! {
/// Memory of a container.
pub struct MemoryStats {
    /// Bytes.
    usage: u64 = omitempty "usage",
    /// Most bytes so far; cgroup v1 only.
    max_usage: u64 = omitempty "max_usage",
    /// The kernel's own numbers; keys differ between cgroup v1 and v2.
    stats: Counters = omitempty "stats",
    /// How often the limit was met.
    failcnt: u64 = omitempty "failcnt",
    /// Bytes.
    limit: u64 = omitempty "limit",
}
}

document! {
/// Traffic of one interface.
pub struct NetworkStats {
    /// Bytes received.
    rx_bytes: u64 = "rx_bytes",
    /// Packets received.
    rx_packets: u64 = "rx_packets",
    /// Receive errors.
    rx_errors: u64 = "rx_errors",
    /// Incoming packets dropped.
    rx_dropped: u64 = "rx_dropped",
    /// Bytes sent.
    tx_bytes: u64 = "tx_bytes",
    /// Packets sent.
    tx_packets: u64 = "tx_packets",
    /// Send errors.
    tx_errors: u64 = "tx_errors",
    /// Outgoing packets dropped.
    tx_dropped: u64 = "tx_dropped",
}
}

/// Numbers by name, an object on the wire. A list rather than a map: each sample has the same few dozen names, and
/// there are many samples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(Vec<(Cow<'static, str>, u64)>);

impl Counters {
    /// The number of that name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.iter().find_map(|(found, value)| (found == name).then_some(*value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// In the order in which they are written; no name may come twice.
impl FromIterator<(&'static str, u64)> for Counters {
    fn from_iter<I: IntoIterator<Item = (&'static str, u64)>>(counters: I) -> Self {
        Self(counters.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect())
    }
}

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Counters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Counters;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("numbers by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counters, A::Error> {
                let mut counters = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, u64>()? {
                    counters.push((Cow::Owned(name), value));
                }
                Ok(Counters(counters))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}
