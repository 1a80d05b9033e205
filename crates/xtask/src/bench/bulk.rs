//! Rows about much at once: many containers, many files, many bytes.

use super::{Bench, Result};
use std::fs;
use std::path::Path;
use std::time::Instant;

/// How many files are copied, below folders of a hundred each.
const FILES: usize = 20_000;

impl Bench<'_> {
    pub(super) fn remove_fifty(&mut self, image: &str) -> Result<()> {
        self.alternate(("rm -f of 50 running containers", "ms", false, ">= 10x"), 1, |engine| {
            let mut ids = Vec::new();
            for _ in 0..50 {
                ids.push(engine.output(&["run", "-d", "--label", "bench", image, "sleep", "3600"])?);
            }
            let mut words = vec!["rm", "-f"];
            words.extend(ids.iter().map(String::as_str));
            engine.time(&words)
        })
    }

    /// A hundred clients one after the other, each connecting a running container.
    pub(super) fn connect_hundred(&mut self, image: &str) -> Result<()> {
        self.alternate(("connecting 100 containers to a network", "ms", false, ">= 10x"), 1, |engine| {
            let mut ids = Vec::new();
            for _ in 0..100 {
                ids.push(engine.output(&["run", "-d", "--label", "bench", image, "sleep", "3600"])?);
            }
            engine.output(&["network", "create", "bench-many"])?;
            let start = Instant::now();
            for id in &ids {
                engine.output(&["network", "connect", "bench-many", id])?;
            }
            let took = start.elapsed().as_secs_f64() * 1000.0;
            engine.clean();
            engine.output(&["network", "rm", "bench-many"])?;
            Ok(took)
        })
    }

    pub(super) fn load(&mut self) -> Result<()> {
        for archive in &self.settings.load {
            let stem = archive.file_stem().unwrap_or_default().to_string_lossy();
            let name = format!("load of an image, {stem}");
            let archive = archive.display().to_string();
            self.alternate((&name, "ms", false, ">= 3x"), 3, |engine| {
                let remove = |loaded: &str| -> Result<()> {
                    for image in loaded.lines().filter_map(|line| line.strip_prefix("Loaded image: ")) {
                        engine.output(&["rmi", "-f", image])?;
                    }
                    Ok(())
                };
                // An engine that has it already, or its layers, would only look it up.
                remove(&engine.output(&["load", "-q", "-i", &archive])?)?;
                let start = Instant::now();
                let loaded = engine.output(&["load", "-q", "-i", &archive])?;
                let took = start.elapsed().as_secs_f64() * 1000.0;
                remove(&loaded)?;
                Ok(took)
            })?;
        }
        Ok(())
    }

    /// `cp` of many small files into a running container and out of it, and a commit of them.
    pub(super) fn copies(&mut self, image: &str) -> Result<()> {
        let into = "cp of 20,000 files into a container";
        let out = "cp of 20,000 files out of a container";
        let commit = "commit of 20,000 new files";
        if ![into, out, commit].iter().any(|name| self.settings.wants(name)) {
            return Ok(());
        }
        let tree = self.scratch.folder.join("tree");
        make_tree(&tree).map_err(|error| format!("{}: {error}", tree.display()))?;
        let tree = tree.display().to_string();
        for (_, engine) in self.both() {
            let run = ["run", "-d", "--label", "bench", "--name", "bench-files", image, "sleep", "3600"];
            engine.output(&run)?;
            engine.output(&["cp", &tree, "bench-files:/kept"])?;
        }
        let mut number = 0;
        self.alternate((into, "ms", false, ">= 3x"), 3, |engine| {
            number += 1;
            let place = format!("/tree-{number}");
            // It stays until the end: on some file systems removed files slow down those that are made next.
            engine.time(&["cp", &tree, &format!("bench-files:{place}")])
        })?;
        let folder = self.scratch.folder.clone();
        self.alternate((out, "ms", false, ">= 3x"), 3, |engine| {
            number += 1;
            let back = folder.join(format!("back-{number}"));
            engine.time(&["cp", "bench-files:/kept", &back.display().to_string()])
        })?;
        self.alternate((commit, "ms", false, ">= 3x"), 3, |engine| {
            let took = engine.time(&["commit", "bench-files", "bench-committed"])?;
            engine.output(&["rmi", "-f", "bench-committed"])?;
            Ok(took)
        })?;
        for (_, engine) in self.both() {
            engine.output(&["rm", "-f", "bench-files"])?;
        }
        Ok(())
    }

    /// A gigabyte through `run`, and out of a log that is not bounded.
    pub(super) fn streams(&mut self, image: &str) -> Result<()> {
        let script = "yes 'a line of a log that is about as long as lines of logs are, which is to say some ninety bytes' | head -c 1000000000";
        let run = ["run", "--rm", "--label", "bench"];
        let logged = [&run[..], &[image, "sh", "-c", script]].concat();
        self.alternate(("1 GB from yes through run", "ms", false, ">= 2x"), 2, |engine| {
            engine.time(&logged)
        })?;
        let unlogged = [&run[..], &["--log-driver", "none", image, "sh", "-c", script]].concat();
        let row = ("1 GB from yes through run, no log", "ms", false, ">= 2x");
        self.alternate(row, 2, |engine| engine.time(&unlogged))?;
        let name = "logs of 1 GB";
        if !self.settings.wants(name) {
            return Ok(());
        }
        for (own, engine) in self.both() {
            let bound: &[&str] = if own { &["--log-opt", "max-size=-1"] } else { &[] };
            let run = ["run", "--label", "bench", "--name", "bench-log"];
            engine.time(&[&run[..], bound, &[image, "sh", "-c", script]].concat())?;
        }
        self.alternate((name, "ms", false, ">= 2x"), 2, |engine| engine.time(&["logs", "bench-log"]))?;
        for (_, engine) in self.both() {
            engine.output(&["rm", "-f", "bench-log"])?;
        }
        Ok(())
    }
}

fn make_tree(tree: &Path) -> std::io::Result<()> {
    for number in 0..FILES {
        let folder = tree.join((number / 100).to_string());
        if number % 100 == 0 {
            fs::create_dir_all(&folder)?;
        }
        fs::write(folder.join(number.to_string()), format!("file {number}\n").repeat(40))?;
    }
    Ok(())
}
