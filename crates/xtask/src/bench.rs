//! Paired timings: the same command on Corten and on another engine in turn, medians, ratios, a table and JSON.
//!
//! Corten runs in a scratch daemon of its own (own data and exec roots below the temporary folder), so that
//! nothing of the machine's daemon is touched. Absolute times are only worth something on a quiet machine; the
//! ratios hold on a busy one too, because both engines are measured in the same minute.

mod engine;
pub(crate) mod names;

use engine::{Engine, Scratch, children_of, private_kilobytes};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

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
    load: Option<PathBuf>,
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
            load: None,
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
                "--load" => settings.load = Some(value.into()),
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
        self.remove_fifty(image)?;
        self.load()?;
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
        let other = (!theirs.is_empty()).then(|| median(&mut theirs));
        self.push(Row {
            name: name.into(),
            unit: "ms",
            corten: median(&mut ours),
            other,
            rate: false,
            wanted,
        });
        Ok(())
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

    fn parallel_starts(&mut self, image: &str) -> Result<()> {
        const STARTS: usize = 30;
        const WORKERS: usize = 4;
        let name = "starts per second, 4 at a time";
        if !self.settings.wants(name) {
            return Ok(());
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            for (own, engine) in self.both() {
                let next = std::sync::atomic::AtomicUsize::new(0);
                let start = Instant::now();
                let failed = std::thread::scope(|scope| {
                    let workers: Vec<_> = (0..WORKERS)
                        .map(|_| {
                            scope.spawn(|| {
                                while next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < STARTS {
                                    engine.time(&["run", "--rm", "--label", "bench", image, "true"])?;
                                }
                                Ok::<(), String>(())
                            })
                        })
                        .collect();
                    workers.into_iter().find_map(|worker| worker.join().ok().and_then(Result::err))
                });
                if let Some(error) = failed {
                    return Err(error);
                }
                let rate = STARTS as f64 / start.elapsed().as_secs_f64();
                if own { ours.push(rate) } else { theirs.push(rate) }
            }
        }
        let other = (!theirs.is_empty()).then(|| median(&mut theirs));
        self.push(Row {
            name: name.into(),
            unit: "/s",
            corten: median(&mut ours),
            other,
            rate: true,
            wanted: ">= 20x",
        });
        Ok(())
    }

    fn remove_fifty(&mut self, image: &str) -> Result<()> {
        let name = "rm -f of 50 running containers";
        if !self.settings.wants(name) {
            return Ok(());
        }
        let mut times = [None, None];
        for (own, engine) in self.both() {
            let mut ids = Vec::new();
            for _ in 0..50 {
                ids.push(engine.output(&["run", "-d", "--label", "bench", image, "sleep", "3600"])?);
            }
            let mut words = vec!["rm", "-f"];
            words.extend(ids.iter().map(String::as_str));
            times[usize::from(!own)] = Some(engine.time(&words)?);
        }
        let corten = times[0].unwrap_or(f64::NAN);
        self.push(Row {
            name: name.into(),
            unit: "ms",
            corten,
            other: times[1],
            rate: false,
            wanted: ">= 10x",
        });
        Ok(())
    }

    fn load(&mut self) -> Result<()> {
        let name = "load of an image";
        let Some(archive) = self.settings.load.as_ref().filter(|_| self.settings.wants(name)) else {
            return Ok(());
        };
        let archive = archive.display().to_string();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            for (own, engine) in self.both() {
                let loaded = engine.output(&["load", "-q", "-i", &archive])?;
                let names: Vec<&str> =
                    loaded.lines().filter_map(|line| line.strip_prefix("Loaded image: ")).collect();
                for image in &names {
                    engine.output(&["rmi", "-f", image])?;
                }
                let took = engine.time(&["load", "-q", "-i", &archive])?;
                for image in &names {
                    engine.output(&["rmi", "-f", image])?;
                }
                if own { ours.push(took) } else { theirs.push(took) }
            }
        }
        let other = (!theirs.is_empty()).then(|| median(&mut theirs));
        self.push(Row {
            name: name.into(),
            unit: "ms",
            corten: median(&mut ours),
            other,
            rate: false,
            wanted: ">= 3x",
        });
        Ok(())
    }

    /// Private memory of ten idle shims (the median) and of the idle daemon, from smaps_rollup.
    fn memory(&mut self, image: &str) -> Result<()> {
        if !self.settings.wants("memory") {
            return Ok(());
        }
        let engine = self.scratch.engine();
        for _ in 0..10 {
            engine.output(&["run", "-d", "--label", "bench", image, "sleep", "3600"])?;
        }
        std::thread::sleep(Duration::from_secs(2));
        let keeper = self.scratch.keeper.as_ref().map_or(0, Child::id);
        let (mut shims, mut daemon) = (Vec::new(), None);
        for pid in children_of(keeper) {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let Some(private) = private_kilobytes(pid) else { continue };
            if words.split(|byte| *byte == 0).any(|word| word == b"daemon-main") {
                daemon = Some(private / 1024.0);
            } else {
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

    fn daemon_start(&mut self, image: &str) -> Result<()> {
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

    fn thousand(&mut self, image: &str) -> Result<()> {
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

    fn dirty_pages(&mut self, image: &str) -> Result<()> {
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
