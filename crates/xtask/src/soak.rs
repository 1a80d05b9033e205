//! `cargo xtask soak`: eight clients do mixed work for a long time while the daemon is killed every few minutes.
//!
//! A finding is a command that fails though no kill was near, and what the daemon holds more at the end than after the first round.

use crate::bench::engine::{Engine, Scratch};
use crate::fuzz_api::{Random, digest};
use crate::interrupt;
use crate::leftovers::Holdings;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A command that fails so long before or after a kill was in the daemon's hands when it died.
const NEAR: Duration = Duration::from_secs(12);

/// What was asked.
#[derive(Debug)]
pub(crate) struct Settings {
    corten: PathBuf,
    archive: PathBuf,
    minutes: f64,
    kill_every: f64,
    clients: u64,
    seed: u64,
    /// Between two commands of a client.
    pause: Duration,
}

impl Settings {
    /// Reads the words behind `soak`.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self {
            corten: PathBuf::new(),
            archive: PathBuf::new(),
            minutes: 120.0,
            kill_every: 180.0,
            clients: 8,
            seed: 1,
            pause: Duration::ZERO,
        };
        while let Some(flag) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{flag} takes a value"))?;
            let wrong = format!("{flag} takes a number, not {value}");
            match flag.as_str() {
                "--corten" => settings.corten = value.into(),
                "--archive" => settings.archive = value.into(),
                "--minutes" => settings.minutes = value.parse().map_err(|_| wrong)?,
                "--kill-every" => settings.kill_every = value.parse().map_err(|_| wrong)?,
                "--clients" => settings.clients = value.parse().map_err(|_| wrong)?,
                "--seed" => settings.seed = value.parse().map_err(|_| wrong)?,
                "--pause" => settings.pause = Duration::from_millis(value.parse().map_err(|_| wrong)?),
                _ => return Err(format!("unknown flag: {flag}")),
            }
        }
        if !settings.corten.is_file() || !settings.archive.is_file() {
            return Err("--corten PATH and --archive FILE (an image `busybox:latest`) are needed".to_owned());
        }
        Ok(settings)
    }
}

/// What all clients write down.
struct Record {
    start: Instant,
    /// When the daemon was killed, and when it answered again.
    kills: Mutex<Vec<Instant>>,
    /// By command: how many worked.
    done: Mutex<BTreeMap<String, u64>>,
    /// Failures with their time; judged at the end, when every kill is known.
    failed: Mutex<Vec<(Instant, String)>>,
}

/// Does it; an error is what was found.
pub(crate) fn run(settings: &Settings) -> Result<(), String> {
    interrupt::watch()?;
    let mut scratch = Scratch::new(&settings.corten, "soa")?;
    scratch.start()?;
    scratch.engine().output(&["load", "-q", "-i", &settings.archive.display().to_string()])?;
    let record = Record {
        start: Instant::now(),
        kills: Mutex::default(),
        done: Mutex::default(),
        failed: Mutex::default(),
    };
    // One round first, so that what is only made once is there.
    let rounds = |stop: &AtomicBool, seed: u64| {
        std::thread::scope(|scope| {
            for client in 0..settings.clients {
                let (scratch, record) = (&scratch, &record);
                scope.spawn(move || {
                    let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(client));
                    loop {
                        round(&scratch.engine(), client, &mut random, record, settings.pause);
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                });
            }
            let pause = Duration::from_secs_f64(settings.kill_every);
            let mut next = Instant::now() + pause;
            while !stop.load(Ordering::Relaxed) {
                interrupt::pause(Duration::from_millis(500));
                if Instant::now() >= next
                    && let Ok(holdings) = Holdings::of(&scratch.folder)
                {
                    next = Instant::now() + pause;
                    record.kills.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                    let _ = Command::new("kill").args(["-KILL", &holdings.daemon.to_string()]).status();
                    println!("{:5.0?} s  killed; before it: {holdings:?}", record.start.elapsed().as_secs());
                }
                if interrupt::asked() || record.start.elapsed().as_secs_f64() > settings.minutes * 60.0 {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
    };
    rounds(&AtomicBool::new(true), settings.seed);
    clear(&scratch.engine());
    // Threads for blocking work end when they have had none for ten seconds.
    interrupt::pause(Duration::from_secs(15));
    interrupt::check()?;
    let before = Holdings::of(&scratch.folder)?;
    rounds(&AtomicBool::new(false), settings.seed + 1);
    clear(&scratch.engine());
    interrupt::pause(Duration::from_secs(15));
    interrupt::check()?;
    let after = Holdings::of(&scratch.folder)?;
    report(&record, &before, &after)
}

fn report(record: &Record, before: &Holdings, after: &Holdings) -> Result<(), String> {
    let done = record.done.lock().unwrap_or_else(PoisonError::into_inner);
    let kills = record.kills.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = record.failed.lock().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} commands worked in {} s, {} kills",
        done.values().sum::<u64>(),
        record.start.elapsed().as_secs(),
        kills.len()
    );
    for (command, count) in &*done {
        println!("{count:8}  {command}");
    }
    println!("before: {before:?}\nafter:  {after:?}");
    let mut alone = BTreeMap::<&str, u64>::new();
    let mut near = BTreeMap::<&str, u64>::new();
    for (time, text) in &*failed {
        let by_kill = kills.iter().any(|kill| time.duration_since(*kill) < NEAR && time >= kill);
        *if by_kill { &mut near } else { &mut alone }.entry(text).or_default() += 1;
    }
    for (text, count) in near {
        println!("{count:8}  failed as the daemon was killed: {text}");
    }
    let mut found: Vec<String> = alone.into_iter().map(|(text, count)| format!("{count} × {text}")).collect();
    found.extend(after.growth_since(before));
    if found.is_empty() { Ok(()) } else { Err(format!("{} findings\n{}", found.len(), found.join("\n"))) }
}

/// Removes every container, network and volume.
fn clear(engine: &Engine) {
    for (list, remove) in [
        (&["ps", "-aq"][..], &["rm", "-fv"][..]),
        (&["network", "ls", "-q", "--filter", "type=custom"][..], &["network", "rm"][..]),
        (&["volume", "ls", "-q"][..], &["volume", "rm"][..]),
    ] {
        for id in engine.output(list).unwrap_or_default().lines() {
            let _ = engine.output(&[remove, &[id]].concat());
        }
    }
}

/// One client's work of a few seconds, with names of its own; broken off by the first command that fails, whose followers would only fail after it.
fn round(engine: &Engine, client: u64, random: &mut Random, record: &Record, pause: Duration) {
    let name = format!("soak{client}");
    let (network, volume, label) =
        (format!("net{client}"), format!("vol{client}"), format!("client={client}"));
    let given = |words: &[&str]| {
        let outcome = engine.output(words);
        let time = Instant::now();
        interrupt::pause(pause);
        match outcome {
            Ok(_) => {
                let mut done = record.done.lock().unwrap_or_else(PoisonError::into_inner);
                *done.entry(words[0].to_owned()).or_default() += 1;
                Some(())
            }
            Err(error) => {
                let text = digest(error.split_once("corten ").map_or(error.as_str(), |(_, rest)| rest));
                record.failed.lock().unwrap_or_else(PoisonError::into_inner).push((time, text));
                None
            }
        }
    };
    if work(&given, random, [&name, &network, &volume, &label]).is_none() {
        // What was left half done, so that the next round can take the same names.
        let _ = engine.output(&["rm", "-fv", &name]);
        let _ = engine.output(&["network", "rm", &network]);
        let _ = engine.output(&["volume", "rm", &volume]);
    }
}

/// One of the kinds of work; nothing where a command failed.
fn work(
    given: &dyn Fn(&[&str]) -> Option<()>,
    random: &mut Random,
    [name, network, volume, label]: [&str; 4],
) -> Option<()> {
    match random.below(6) {
        0 => given(&["run", "--rm", "--label", label, "busybox", "true"]),
        1 => {
            given(&["network", "create", network])?;
            given(&["run", "--rm", "--network", network, "busybox", "hostname", "-i"])?;
            given(&["network", "rm", network])
        }
        2 => {
            given(&["volume", "create", volume])?;
            let bind = format!("{volume}:/data");
            given(&["run", "--rm", "--name", name, "-v", &bind, "busybox", "touch", "/data/made"])?;
            given(&["volume", "rm", volume])
        }
        3 => {
            given(&["create", "--label", label, "busybox", "true"])?;
            given(&["container", "prune", "-f", "--filter", &format!("label={label}")])
        }
        4 => [&["ps", "-a"][..], &["images"], &["system", "df"], &["network", "ls"], &["info"]]
            .into_iter()
            .try_for_each(given),
        _ => {
            given(&[
                "run",
                "-d",
                "--init",
                "--name",
                name,
                "-m",
                "64m",
                "busybox",
                "sh",
                "-c",
                "while :; do echo line; sleep 0.1; done",
            ])?;
            given(&["exec", name, "true"])?;
            given(&["logs", "--tail", "5", name])?;
            given(&["stats", "--no-stream", name])?;
            let copy = std::env::temp_dir().join(name);
            let copied = given(&["cp", &format!("{name}:/etc"), &copy.display().to_string()]);
            let _ = std::fs::remove_dir_all(copy);
            copied?;
            given(&["inspect", name])?;
            if random.percent(50) {
                given(&["restart", "-t", "1", name])?;
            }
            given(&["stop", "-t", "1", name])?;
            given(&["rm", "-f", name])
        }
    }
}
