//! What an engine costs while nothing is asked of it, and what many containers, or a busy disk, make of a start.

use super::engine::{Engine, Scratch, children_of, cpu_milliseconds, find_process, private_kilobytes};
use super::{Bench, Result, Row, median};
use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

impl Bench<'_> {
    /// Private memory of ten idle shims (the median) and of the idle daemon, from smaps_rollup.
    pub(super) fn memory(&mut self, image: &str) -> Result<()> {
        if !self.settings.wants("memory") {
            return Ok(());
        }
        let engine = self.scratch.engine();
        for _ in 0..10 {
            engine.output(&["run", "-d", "--label", "bench", image, "sleep", "3600"])?;
        }
        // A daemon gives back what it does not use once nothing has been asked of it for 20 s.
        std::thread::sleep(Duration::from_secs(25));
        let keeper = self.scratch.keeper.as_ref().map_or(0, Child::id);
        let (mut shims, mut daemon) = (Vec::new(), None);
        for pid in children_of(keeper) {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let Some(private) = private_kilobytes(pid) else { continue };
            if words.split(|byte| *byte == 0).any(|word| word == b"daemon-main") {
                daemon = Some(private / 1024.0);
            } else if !children_of(pid).is_empty() {
                // What has no container below it waits for one.
                shims.push(private / 1024.0);
            }
        }
        engine.clean();
        let shim = median(&mut shims);
        let row = |name: &str, corten: f64, wanted| Row {
            name: name.into(),
            unit: "MiB",
            corten,
            other: None,
            rate: false,
            wanted,
        };
        self.push(row("memory of an idle container's shim, private", shim, "<= 1 MiB"));
        self.push(row("memory of the idle daemon, private", daemon.unwrap_or(f64::NAN), "<= 15 MiB"));
        Ok(())
    }

    pub(super) fn daemon_start(&mut self, image: &str) -> Result<()> {
        if !self.settings.wants("daemon's start") {
            return Ok(());
        }
        for (count, wanted) in [(0, "<= 10 ms"), (500, "<= 100 ms")] {
            let mut scratch = Scratch::new(&self.settings.corten, &format!("start{count}"))?;
            scratch.start()?;
            if count > 0 {
                let archive =
                    self.settings.archive.as_ref().ok_or("the row of 500 containers needs --archive")?;
                let engine = scratch.engine();
                engine.output(&["load", "-q", "-i", &archive.display().to_string()])?;
                for _ in 0..count {
                    engine.output(&["create", "--label", "bench", image, "true"])?;
                }
            }
            let mut times = Vec::new();
            for _ in 0..7 {
                scratch.stop();
                times.push(scratch.start()?);
            }
            let name = format!("daemon's start to its first answer, {count} stopped containers");
            self.push(Row { name, unit: "ms", corten: median(&mut times), other: None, rate: false, wanted });
        }
        Ok(())
    }

    pub(super) fn thousand(&mut self, image: &str) -> Result<()> {
        if !self.settings.wants("1,000 containers") {
            return Ok(());
        }
        let engine = self.scratch.engine();
        let measure = |words: &[&str]| -> Result<f64> {
            let mut times =
                (0..self.settings.runs).map(|_| engine.time(words)).collect::<Result<Vec<_>>>()?;
            Ok(median(&mut times))
        };
        let start = ["run", "--rm", "--label", "bench", image, "true"];
        let (start_before, list_before) = (measure(&start)?, measure(&["ps"])?);
        for _ in 0..1000 {
            engine.output(&["create", "--label", "bench", image, "true"])?;
        }
        let (start_after, list_after) = (measure(&start)?, measure(&["ps"])?);
        let row = |name: &str, corten| Row {
            name: name.into(),
            unit: "x empty",
            corten,
            other: None,
            rate: false,
            wanted: "<= 1.5x",
        };
        self.push(row("start with 1,000 containers in the store", start_after / start_before));
        self.push(row("ps with 1,000 containers in the store", list_after / list_before));
        engine.clean();
        Ok(())
    }

    pub(super) fn dirty_pages(&mut self, image: &str) -> Result<()> {
        if !self.settings.wants("dirty pages") {
            return Ok(());
        }
        let engine = self.scratch.engine();
        let start = ["run", "--rm", "--label", "bench", image, "true"];
        let mut quiet = (0..self.settings.runs).map(|_| engine.time(&start)).collect::<Result<Vec<_>>>()?;
        let file = self.scratch.folder.join("dirty");
        let chunk = vec![7_u8; 600 << 20];
        fs::write(&file, &chunk).map_err(|error| error.to_string())?;
        drop(chunk);
        let mut beside = (0..self.settings.runs).map(|_| engine.time(&start)).collect::<Result<Vec<_>>>()?;
        let _ = fs::remove_file(&file);
        self.push(Row {
            name: "a start beside 600 MB of dirty pages".into(),
            unit: "x quiet",
            corten: median(&mut beside) / median(&mut quiet),
            other: None,
            rate: false,
            wanted: "1x",
        });
        Ok(())
    }

    /// What the engine's own process works while somebody watches 200 containers.
    pub(super) fn watching(&mut self, image: &str) -> Result<()> {
        let stats = "engine's CPU: 10 s of stats of 200 containers";
        let events = "engine's CPU: 200 events for ten followers";
        if !self.settings.wants(stats) && !self.settings.wants(events) {
            return Ok(());
        }
        let (mut by_stats, mut by_events) = ([None, None], [None, None]);
        for (own, engine) in self.both() {
            let names: Vec<String> = (0..200).map(|number| format!("bench-watched-{number}")).collect();
            for name in &names {
                let words = ["run", "-d", "--label", "bench", "--network", "none", "--name", name, image];
                engine.output(&[&words[..], &["sleep", "3600"]].concat())?;
            }
            let daemon = self.daemon_of(own)?;
            // One client for both, so that both are asked the same.
            let client = Engine { program: self.settings.docker.clone(), host: engine.host.clone() };
            let watcher = Watcher::new(&client, "stats")?;
            std::thread::sleep(Duration::from_secs(3));
            let before = cpu_milliseconds(daemon)?;
            std::thread::sleep(Duration::from_secs(10));
            by_stats[usize::from(!own)] = Some(cpu_milliseconds(daemon)? - before);
            drop(watcher);
            let followers = (0..10).map(|_| Watcher::new(&client, "events")).collect::<Result<Vec<_>>>()?;
            std::thread::sleep(Duration::from_secs(1));
            let mut words = vec!["kill", "-s", "CONT"];
            words.extend(names.iter().map(String::as_str));
            let before = cpu_milliseconds(daemon)?;
            client.output(&words)?;
            std::thread::sleep(Duration::from_secs(1));
            by_events[usize::from(!own)] = Some(cpu_milliseconds(daemon)? - before);
            drop(followers);
            engine.clean();
        }
        self.push_both((stats, "ms", false, ">= 5x"), by_stats);
        self.push_both((events, "ms", false, ">= 5x"), by_events);
        Ok(())
    }

    /// The process that is the engine.
    pub(super) fn daemon_of(&self, own: bool) -> Result<u32> {
        if own {
            let keeper = self.scratch.keeper.as_ref().map_or(0, Child::id);
            let is_daemon = |pid: &u32| {
                let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                words.split(|byte| *byte == 0).any(|word| word == b"daemon-main")
            };
            return children_of(keeper)
                .into_iter()
                .find(is_daemon)
                .ok_or_else(|| "no daemon below the keeper".to_owned());
        }
        find_process("dockerd").ok_or_else(|| "no process named dockerd: its CPU cannot be read".to_owned())
    }
}

/// A client that shows what goes on until this is dropped.
struct Watcher(Child);

impl Watcher {
    fn new(client: &Engine, command: &str) -> Result<Self> {
        let mut command = client.command(&[command]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        child.map(Self).map_err(|error| format!("{}: {error}", client.program))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
