//! Paired timings: the same command on Corten and on another engine in turn, medians, ratios, a table and JSON.
//!
//! Corten runs in a scratch daemon of its own (own data and exec roots below the temporary folder), so that
//! nothing of the machine's daemon is touched. Absolute times are only worth something on a quiet machine; the
//! ratios hold on a busy one too, because both engines are measured in the same minute.

mod bulk;
mod clients;
mod connection;
pub(crate) mod engine;
mod footprint;
pub(crate) mod names;
mod operations;
pub(crate) mod ports;
mod registries;
pub(crate) mod relay;
mod sends;

use engine::{Engine, Scratch};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Any failure ends the bench with one line.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// What to measure and with what.
#[derive(Debug)]
pub(crate) struct Settings {
    corten: PathBuf,
    docker: String,
    against: Option<String>,
    image: String,
    archive: Option<PathBuf>,
    load: Vec<PathBuf>,
    /// Folder whose `node_modules` has testcontainers and node.
    testcontainers: Option<PathBuf>,
    /// A registry's program that takes `serve CONFIGURATION`, as CNCF's distribution does.
    registry: Option<String>,
    runs: usize,
    rows: Vec<String>,
    json: Option<PathBuf>,
}

impl Settings {
    /// Reads the flags of `cargo xtask bench`.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut settings = Self {
            corten: PathBuf::new(),
            docker: "docker".into(),
            against: None,
            image: "busybox:latest".into(),
            archive: None,
            load: Vec::new(),
            testcontainers: None,
            registry: None,
            runs: 15,
            rows: Vec::new(),
            json: None,
        };
        while let Some(flag) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{flag}: a value is missing"))?;
            match flag.as_str() {
                "--corten" => settings.corten = value.into(),
                "--docker" => settings.docker = value,
                "--against" => settings.against = Some(value),
                "--image" => settings.image = value,
                "--archive" => settings.archive = Some(value.into()),
                "--load" => settings.load.push(value.into()),
                "--testcontainers" => settings.testcontainers = Some(value.into()),
                "--registry" => settings.registry = Some(value),
                "--runs" => {
                    settings.runs =
                        value.parse().map_err(|_| format!("--runs {value}: a number is wanted"))?;
                }
                "--rows" => settings.rows = value.split(',').map(str::to_owned).collect(),
                "--json" => settings.json = Some(value.into()),
                _ => return Err(format!("unknown flag {flag}")),
            }
        }
        if settings.corten.as_os_str().is_empty() {
            settings.corten = release_program()?;
        }
        Ok(settings)
    }

    fn wants(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|word| row.contains(word.as_str()))
    }
}

fn release_program() -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    fs::read_dir(&target)
        .map_err(|error| format!("{}: {error}", target.display()))?
        .flatten()
        .map(|entry| entry.path().join("release/corten"))
        .find(|path| path.is_file())
        .ok_or_else(|| "no release program: cargo build --release first, or name it by --corten".to_owned())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One line of the table.
struct Row {
    name: String,
    unit: &'static str,
    corten: f64,
    other: Option<f64>,
    /// Whether more is better (a rate).
    rate: bool,
    wanted: &'static str,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.other.map(|other| if self.rate { self.corten / other } else { other / self.corten })
    }
}

struct Bench<'settings> {
    settings: &'settings Settings,
    scratch: Scratch,
    other: Option<Engine>,
    rows: Vec<Row>,
}

/// Runs every row and prints the table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let mut scratch = Scratch::new(&settings.corten, "main")?;
    scratch.start()?;
    let other = settings.against.clone().map(|host| Engine { program: settings.docker.clone(), host });
    if let Some(archive) = &settings.archive {
        let archive = archive.display().to_string();
        scratch.engine().output(&["load", "-q", "-i", &archive])?;
        if let Some(other) = &other {
            other.output(&["load", "-q", "-i", &archive])?;
        }
    }
    let mut bench = Bench { settings, scratch, other, rows: Vec::new() };
    let outcome = bench.all();
    bench.scratch.engine().clean();
    if let Some(other) = &bench.other {
        other.clean();
    }
    bench.print()?;
    outcome
}

impl Bench<'_> {
    fn all(&mut self) -> Result<()> {
        let image = self.settings.image.clone();
        let image = image.as_str();
        let run = ["run", "--rm", "--label", "bench"];
        let with = |extra: &[&'static str]| -> Vec<String> {
            run.iter().chain(extra).copied().chain([image, "true"]).map(str::to_owned).collect()
        };
        self.pair("run --rm true, bridge", ">= 30x", &with(&[]))?;
        self.pair("run --rm true, bridge, -p", ">= 35x", &with(&["-p", "127.0.0.1::80"]))?;
        self.pair("run --rm true, --network none", ">= 25x", &with(&["--network", "none"]))?;
        self.pair("run --rm true, --network host", ">= 25x", &with(&["--network", "host"]))?;
        self.in_a_running_container(image)?;
        self.names(image)?;
        self.parallel_starts(image)?;
        self.crowded_starts(image)?;
        self.remove_fifty(image)?;
        self.connect_hundred(image)?;
        self.load()?;
        self.copies(image)?;
        self.streams(image)?;
        self.ports(image)?;
        self.watching(image)?;
        self.commands(image)?;
        self.compose(image)?;
        self.testcontainers(image)?;
        self.registries(image)?;
        self.sends(image)?;
        self.operations(image)?;
        self.memory(image)?;
        self.daemon_start(image)?;
        self.thousand(image)?;
        self.dirty_pages(image)
    }

    /// Times the same words on both engines in turn.
    fn pair(&mut self, name: &str, wanted: &'static str, words: &[String]) -> Result<()> {
        if !self.settings.wants(name) {
            return Ok(());
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let engine = self.scratch.engine();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for run in 0..=self.settings.runs {
            let own = engine.time(&words)?;
            let foreign = self.other.as_ref().map(|other| other.time(&words)).transpose()?;
            // The first run of each is a warm-up.
            if run > 0 {
                ours.push(own);
                theirs.extend(foreign);
            }
        }
        self.push_medians((name, "ms", false, wanted), [ours, theirs]);
        Ok(())
    }

    /// A row of one measurement each, Corten's first.
    fn push_both(
        &mut self,
        (name, unit, rate, wanted): (&str, &'static str, bool, &'static str),
        [corten, other]: [Option<f64>; 2],
    ) {
        if self.settings.wants(name) {
            self.push(Row {
                name: name.into(),
                unit,
                corten: corten.unwrap_or(f64::NAN),
                other,
                rate,
                wanted,
            });
        }
    }

    /// A row of the medians of several measurements each, Corten's first; none of the other's where it is not there.
    fn push_medians(
        &mut self,
        row: (&str, &'static str, bool, &'static str),
        [mut ours, mut theirs]: [Vec<f64>; 2],
    ) {
        let other = (!theirs.is_empty()).then(|| median(&mut theirs));
        self.push_both(row, [Some(median(&mut ours)), other]);
    }

    fn push(&mut self, row: Row) {
        let ratio = row.ratio().map(|ratio| format!("{ratio:.1}x")).unwrap_or_default();
        eprintln!("{}: {:.2} {} {ratio}", row.name, row.corten, row.unit);
        self.rows.push(row);
    }

    fn both(&self) -> Vec<(bool, Engine)> {
        let mut engines = vec![(true, self.scratch.engine())];
        engines.extend(
            self.other
                .as_ref()
                .map(|other| (false, Engine { program: other.program.clone(), host: other.host.clone() })),
        );
        engines
    }

    fn in_a_running_container(&mut self, image: &str) -> Result<()> {
        for (_, engine) in self.both() {
            engine.output(&[
                "run",
                "-d",
                "--label",
                "bench",
                "--name",
                "bench-idle",
                image,
                "sleep",
                "3600",
            ])?;
        }
        let words = |line: &[&str]| line.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        self.pair("exec true", ">= 25x", &words(&["exec", "bench-idle", "true"]))?;
        self.pair("ps", ">= 15x", &words(&["ps"]))?;
        self.pair("version", ">= 15x", &words(&["version"]))?;
        self.pair("inspect", ">= 15x", &words(&["inspect", "bench-idle"]))?;
        for (_, engine) in self.both() {
            engine.output(&["rm", "-f", "bench-idle"])?;
        }
        Ok(())
    }

    /// Measures on both engines in turn, `rounds` times each, and shows the medians.
    fn alternate(
        &mut self,
        (name, unit, rate, wanted): (&str, &'static str, bool, &'static str),
        rounds: usize,
        mut measure: impl FnMut(&Engine) -> Result<f64>,
    ) -> Result<()> {
        if !self.settings.wants(name) {
            return Ok(());
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            for (own, engine) in self.both() {
                let value = measure(&engine)?;
                if own { ours.push(value) } else { theirs.push(value) }
            }
        }
        self.push_medians((name, unit, rate, wanted), [ours, theirs]);
        Ok(())
    }

    fn parallel_starts(&mut self, image: &str) -> Result<()> {
        const STARTS: usize = 30;
        let row = ("starts per second, 4 at a time", "/s", true, ">= 20x");
        self.alternate(row, 3, |engine| {
            let start = Instant::now();
            starts(engine, image, STARTS, 4)?;
            Ok(STARTS as f64 / start.elapsed().as_secs_f64())
        })
    }

    /// 200 starts by 16 clients: none fails, and the slowest are not far from the middle.
    fn crowded_starts(&mut self, image: &str) -> Result<()> {
        let name = "200 starts, 16 at a time: p99 by median";
        if !self.settings.wants(name) {
            return Ok(());
        }
        let mut spread = Vec::new();
        for _ in 0..3 {
            let mut times = starts(&self.scratch.engine(), image, 200, 16)?;
            let middle = median(&mut times);
            spread.push(times[times.len() * 99 / 100] / middle);
        }
        let corten = median(&mut spread);
        let row = Row {
            name: name.into(),
            unit: "x median",
            corten,
            other: None,
            rate: false,
            wanted: "<= 4x, no failure",
        };
        self.push(row);
        Ok(())
    }

    fn print(&self) -> Result<()> {
        println!("| row | Corten | other engine | ratio | wanted |");
        println!("| --- | ---: | ---: | ---: | --- |");
        let mut rows = Vec::new();
        for row in &self.rows {
            let other = row.other.map(|other| format!("{other:.1} {}", row.unit)).unwrap_or_default();
            let ratio = row.ratio().map(|ratio| format!("{ratio:.1}x")).unwrap_or_default();
            println!(
                "| {} | {:.2} {} | {other} | {ratio} | {} |",
                row.name, row.corten, row.unit, row.wanted
            );
            rows.push(json!({"row": row.name, "unit": row.unit, "corten": row.corten, "other": row.other, "ratio": row.ratio(), "wanted": row.wanted}));
        }
        if let Some(path) = &self.settings.json {
            let text = serde_json::to_string_pretty(&Value::Array(rows)).unwrap_or_default();
            fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }
}

/// The times in milliseconds of `count` starts by `workers` clients; the first failure is the error.
fn starts(engine: &Engine, image: &str, count: usize, workers: usize) -> Result<Vec<f64>> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || {
            let mut times = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < count {
                times.push(engine.time(&["run", "--rm", "--label", "bench", image, "true"])?);
            }
            Ok::<_, String>(times)
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| "a client's thread panicked")??);
        }
        Ok(all)
    })
}
