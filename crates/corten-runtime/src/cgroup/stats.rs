//! What a container uses.

use std::collections::BTreeMap;

/// Use of resources at one moment. What the host does not tell is 0 or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time, nanoseconds.
    pub cpu_total: u64,
    /// Of it in programs, nanoseconds.
    pub cpu_user: u64,
    /// Of it in the kernel, nanoseconds.
    pub cpu_system: u64,
    /// Per processor, nanoseconds; version 1 only.
    pub cpu_each: Vec<u64>,
    /// Periods of the quota that passed.
    pub throttle_periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// Time spent waiting because of that, nanoseconds.
    pub throttled_time: u64,
    /// Memory in bytes, caches included.
    pub memory_usage: u64,
    /// The most it ever was; 0 on older kernels of version 2.
    pub memory_most: u64,
    /// The limit in bytes; the largest number where there is none.
    pub memory_limit: u64,
    /// How often the limit was hit.
    pub memory_failures: u64,
    /// The kernel's own table (`memory.stat`).
    pub memory_details: Details,
    /// Processes and threads.
    pub pids: u64,
    /// At most so many; 0 is no limit.
    pub pids_limit: u64,
    /// Block devices.
    pub block_io: Vec<BlockIo>,
    /// Version 2 told it.
    pub unified: bool,
}

/// Bytes and operations on one block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockIo {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// A table of the kernel as it gave it, lines of `name number`: kept as text, because most of it is read once or never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details(String);

impl Details {
    /// Takes a file's text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its numbers, in the kernel's order; a line that is none is passed over.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        table(&self.0)
    }

    /// The number of that name.
    pub fn get(&self, name: &str) -> Option<u64> {
        entry(&self.0, name)
    }
}

/// Lines of `name number`.
pub(super) fn table(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name, value.trim_end().parse().ok()?))
    })
}

/// The number of that name in such lines.
pub(super) fn entry(text: &str, wanted: &str) -> Option<u64> {
    table(text).find_map(|(name, value)| (name == wanted).then_some(value))
}

/// Version 1: nanoseconds in programs and in the kernel, from a line `cpu user system` and one with three numbers for each
/// processor.
pub(super) fn legacy_cpu(text: &str) -> (u64, u64) {
    text.lines().skip(1).fold((0, 0), |(user, system), line| {
        let mut fields = line.split_ascii_whitespace().skip(1).map(number);
        (user + fields.next().unwrap_or(0), system + fields.next().unwrap_or(0))
    })
}

/// One number; `max` is the largest.
pub(super) fn number(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        digits => digits.parse().unwrap_or(0),
    }
}

/// Version 1: lines of `MAJOR:MINOR Read NUMBER` from the files for bytes and operations.
pub(super) fn legacy_block_io(bytes: &str, operations: &str) -> Vec<BlockIo> {
    let mut devices: BTreeMap<(u64, u64), BlockIo> = BTreeMap::new();
    for (text, is_bytes) in [(bytes, true), (operations, false)] {
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let Some((device, kind, value)) = fields
                .next()
                .and_then(device_numbers)
                .zip(fields.next())
                .zip(fields.next())
                .map(|((device, kind), value)| (device, kind, value.parse().unwrap_or(0)))
            else {
                continue;
            };
            let entry = devices.entry(device).or_insert_with(|| BlockIo {
                major: device.0,
                minor: device.1,
                ..BlockIo::default()
            });
            match (kind, is_bytes) {
                ("Read", true) => entry.read_bytes = value,
                ("Write", true) => entry.write_bytes = value,
                ("Read", false) => entry.reads = value,
                ("Write", false) => entry.writes = value,
                _ => {}
            }
        }
    }
    devices.into_values().collect()
}

/// Version 2: lines of `MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N …`.
pub(super) fn unified_block_io(text: &str) -> Vec<BlockIo> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (major, minor) = device_numbers(fields.next()?)?;
            let mut entry = BlockIo { major, minor, ..BlockIo::default() };
            for (key, value) in fields.filter_map(|field| field.split_once('=')) {
                let value = value.parse().unwrap_or(0);
                match key {
                    "rbytes" => entry.read_bytes = value,
                    "wbytes" => entry.write_bytes = value,
                    "rios" => entry.reads = value,
                    "wios" => entry.writes = value,
                    _ => {}
                }
            }
            Some(entry)
        })
        .collect()
}

fn device_numbers(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_s_numbers_are_found_by_name() {
        let details = Details::new("cache 8\nodd\nwrong x\nrss 4096\n");
        assert_eq!(details.iter().collect::<Vec<_>>(), [("cache", 8), ("rss", 4096)]);
        assert_eq!((details.get("rss"), details.get("wrong"), details.get("none")), (Some(4096), None, None));
    }

    #[test]
    fn the_processors_times_are_added_up() {
        assert_eq!(legacy_cpu("cpu user system\n0 10 5\n1 30 0\n"), (40, 5));
        assert_eq!(legacy_cpu(""), (0, 0));
    }

    #[test]
    fn block_io_is_read_from_both_versions() {
        let expected =
            BlockIo { major: 254, minor: 0, read_bytes: 4096, write_bytes: 8192, reads: 1, writes: 2 };
        let bytes = "254:0 Read 4096\n254:0 Write 8192\n254:0 Sync 0\nTotal 12288\n";
        let operations = "254:0 Read 1\n254:0 Write 2\nTotal 3\n";
        assert_eq!(legacy_block_io(bytes, operations), std::slice::from_ref(&expected));
        assert_eq!(
            unified_block_io("254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n"),
            [expected]
        );
    }
}
