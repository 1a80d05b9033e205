//! Reads what a cgroup uses, again and again: its files stay open, and each is read by one call.

use super::group::{Cgroup, process_ids, seats_of};
use super::stats::{self, Details, Stats};
use super::{Result, file_error};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Room for the longest of the files, `memory.stat` on a host with many NUMA nodes included.
const ROOM: usize = 32 * 1024;

/// Files of version 1, as controller and name.
const LEGACY: [(&str, &str); 13] = [
    ("pids", "pids.current"),
    ("pids", "pids.max"),
    ("memory", "memory.stat"),
    ("cpuacct", "cpuacct.usage_percpu"),
    ("cpuacct", "cpuacct.usage_all"),
    ("cpu", "cpu.stat"),
    ("memory", "memory.usage_in_bytes"),
    ("memory", "memory.max_usage_in_bytes"),
    ("memory", "memory.limit_in_bytes"),
    ("memory", "memory.failcnt"),
    ("blkio", "blkio.throttle.io_service_bytes_recursive"),
    ("blkio", "blkio.throttle.io_serviced_recursive"),
    ("pids", "cgroup.procs"),
];

/// Files of version 2, as controller and name.
const UNIFIED: [(&str, &str); 9] = [
    ("pids", "pids.current"),
    ("pids", "pids.max"),
    ("memory", "memory.stat"),
    ("cpu", "cpu.stat"),
    ("memory", "memory.current"),
    ("memory", "memory.peak"),
    ("memory", "memory.max"),
    ("memory", "memory.events"),
    ("io", "io.stat"),
];

/// Reads a cgroup's use; holds up to [`Gauge::FILES`] descriptors from the first reading on.
#[derive(Debug)]
pub struct Gauge {
    cgroup: Cgroup,
    /// In the order of `LEGACY` or `UNIFIED`; none where the host does not have it.
    files: Option<Vec<Option<File>>>,
    buffer: Vec<u8>,
    /// The processes at the last reading, and how many of them were seats.
    seats: (String, u64),
}

impl Gauge {
    /// At most so many descriptors are held.
    pub const FILES: usize = LEGACY.len();

    /// For one cgroup; nothing is opened yet.
    pub fn new(cgroup: Cgroup) -> Self {
        Self { cgroup, files: None, buffer: vec![0; ROOM], seats: Default::default() }
    }

    /// What the processes use now. An error where the cgroup is not there; one that was made anew is found.
    pub fn read(&mut self) -> Result<Stats> {
        // An open file of a cgroup that is gone reads as ENODEV.
        if self.files.is_some() && self.number(0).is_none() {
            self.files = None;
        }
        if self.files.is_none() {
            if !self.cgroup.exists() {
                let path = self.cgroup.folders().next().cloned().unwrap_or_default();
                return Err(file_error("read", path)(io::ErrorKind::NotFound.into()));
            }
            self.open();
        }
        Ok(if self.cgroup.is_unified() { self.unified() } else { self.legacy() })
    }

    fn open(&mut self) {
        let names: &[(&str, &str)] = if self.cgroup.is_unified() { &UNIFIED } else { &LEGACY };
        let file = |(controller, name): &(&str, &str)| {
            let folder = if *name == "cgroup.procs" {
                self.cgroup.seat_folder()
            } else {
                self.cgroup.folder(controller)
            };
            folder.and_then(|folder| File::open(folder.join(name)).ok())
        };
        self.files = Some(names.iter().map(file).collect());
    }

    /// A file's text; what is not there is empty.
    fn text(&mut self, index: usize) -> Option<&str> {
        let file = self.files.as_ref()?.get(index)?.as_ref()?;
        let length = file.read_at(&mut self.buffer, 0).ok()?;
        std::str::from_utf8(&self.buffer[..length]).ok()
    }

    fn number(&mut self, index: usize) -> Option<u64> {
        self.text(index).map(stats::number)
    }

    fn details(&mut self, index: usize) -> Details {
        self.text(index).map(Details::new).unwrap_or_default()
    }

    fn legacy(&mut self) -> Stats {
        let seats = self.count_seats();
        let number = |gauge: &mut Self, index| gauge.number(index).unwrap_or(0);
        let limit = number(self, 1);
        let cpu_each: Vec<u64> =
            self.text(3).unwrap_or_default().split_ascii_whitespace().map(stats::number).collect();
        let (cpu_user, cpu_system) = stats::legacy_cpu(self.text(4).unwrap_or_default());
        let cpu = self.text(5).unwrap_or_default();
        let of_cpu = |name: &str| stats::entry(cpu, name).unwrap_or(0);
        let (throttle_periods, throttled_periods, throttled_time) =
            (of_cpu("nr_periods"), of_cpu("nr_throttled"), of_cpu("throttled_time"));
        let bytes = self.text(10).unwrap_or_default().to_owned();
        Stats {
            pids: number(self, 0).saturating_sub(seats),
            pids_limit: if limit == u64::MAX { 0 } else { limit.saturating_sub(seats) },
            memory_details: self.details(2),
            // `cpuacct.usage` is this sum (kernel/sched/cpuacct.c).
            cpu_total: cpu_each.iter().sum(),
            cpu_each,
            cpu_user,
            cpu_system,
            throttle_periods,
            throttled_periods,
            throttled_time,
            memory_usage: number(self, 6),
            memory_most: number(self, 7),
            memory_limit: number(self, 8),
            memory_failures: number(self, 9),
            block_io: stats::legacy_block_io(&bytes, self.text(11).unwrap_or_default()),
            unified: false,
        }
    }

    fn unified(&mut self) -> Stats {
        let number = |gauge: &mut Self, index| gauge.number(index).unwrap_or(0);
        let limit = number(self, 1);
        let cpu = self.details(3);
        let of_cpu = |name: &str| cpu.get(name).unwrap_or(0);
        let micro = |name: &str| of_cpu(name) * 1000;
        Stats {
            pids: number(self, 0),
            pids_limit: if limit == u64::MAX { 0 } else { limit },
            memory_details: self.details(2),
            cpu_total: micro("usage_usec"),
            cpu_each: Vec::new(),
            cpu_user: micro("user_usec"),
            cpu_system: micro("system_usec"),
            throttle_periods: of_cpu("nr_periods"),
            throttled_periods: of_cpu("nr_throttled"),
            throttled_time: micro("throttled_usec"),
            memory_usage: number(self, 4),
            memory_most: number(self, 5),
            memory_limit: number(self, 6),
            memory_failures: stats::entry(self.text(7).unwrap_or_default(), "max").unwrap_or(0),
            block_io: stats::unified_block_io(self.text(8).unwrap_or_default()),
            unified: true,
        }
    }

    /// Processes that count but are not the container's. They are looked at only when others have come or gone.
    fn count_seats(&mut self) -> u64 {
        let last = std::mem::take(&mut self.seats);
        let listed = self.text(LEGACY.len() - 1).unwrap_or_default();
        self.seats = if listed == last.0 {
            last
        } else {
            (listed.to_owned(), seats_of(&process_ids(listed)).count() as u64)
        };
        self.seats.1
    }
}
