//! `cargo xtask fuzz-api`: a scratch daemon with a few containers is asked, from four sides, what the description of
//! the Engine API makes possible, rightly and wrongly.
//!
//! A finding is: a status of 500 and above that says no known "not here", an answer that does not come in 10 s (20 for what may wait),
//! an error in another form than Docker's, no answer to a whole request, a daemon that died or panicked, and what it holds more at the end.

mod generate;
mod random;

use crate::bench::engine::Scratch;
use crate::interrupt;
use crate::leftovers::Holdings;
use generate::{Description, Request};
pub(crate) use random::Random;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What was asked.
#[derive(Debug)]
pub(crate) struct Settings {
    corten: PathBuf,
    archive: PathBuf,
    description: PathBuf,
    minutes: f64,
    seed: u64,
}

impl Settings {
    /// Reads the words behind `fuzz-api`.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self {
            corten: PathBuf::new(),
            archive: PathBuf::new(),
            description: std::env::var_os("CORTEN_API_DESCRIPTION").unwrap_or_default().into(),
            minutes: 1.0,
            seed: 1,
        };
        while let Some(flag) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{flag} takes a value"))?;
            let number = |_| format!("{flag} takes a number, not {value}");
            match flag.as_str() {
                "--corten" => settings.corten = value.into(),
                "--archive" => settings.archive = value.into(),
                "--description" => settings.description = value.into(),
                "--minutes" => settings.minutes = value.parse().map_err(number)?,
                "--seed" => {
                    settings.seed =
                        value.parse().map_err(|_| format!("{flag} takes a number, not {value}"))?;
                }
                _ => return Err(format!("unknown flag: {flag}")),
            }
        }
        for (what, path) in [
            ("--corten PATH (the program)", &settings.corten),
            ("--archive FILE (an image `busybox:latest`)", &settings.archive),
            (
                "--description FILE (Docker's swagger.yaml, also CORTEN_API_DESCRIPTION)",
                &settings.description,
            ),
        ] {
            if !path.is_file() {
                return Err(format!("{what} is needed"));
            }
        }
        Ok(settings)
    }
}

/// What Docker too answers with 500 where only the request is wrong, or a registry is not there.
const KNOWN: [&str; 5] =
    ["is not connected to", "dial tcp", "no Host in request URL", "invalid registry configuration", "tls: "];

/// How one request ended.
enum Outcome {
    Status(u16, String),
    Closed(String),
    Hung(u64),
}

/// What was found: how often, and the first request that showed it.
type Findings = Mutex<BTreeMap<String, (u64, String)>>;

/// Does it; an error is what was found.
pub(crate) fn run(settings: &Settings) -> Result<(), String> {
    interrupt::watch()?;
    let text = std::fs::read_to_string(&settings.description).map_err(|error| error.to_string())?;
    let description = Description::parse(&text)?;
    let mut scratch = Scratch::new(&settings.corten, "fuz")?;
    scratch.start()?;
    let socket = scratch.folder.join("exec/corten.sock");
    tend(&scratch, &settings.archive);
    let findings = Findings::default();
    let statuses = Mutex::new(BTreeMap::<String, u64>::new());
    let (asked, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut before = Holdings::of(&scratch.folder)?;
    let start = Instant::now();
    let end = Duration::from_secs_f64(settings.minutes * 60.0);
    let mut deaths = 0;
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (description, socket, findings, statuses, asked, stop) =
                (&description, &socket, &findings, &statuses, &asked, &stop);
            let mut random = Random::new(settings.seed.wrapping_mul(1_000_003).wrapping_add(client));
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let operation = random.pick(&description.operations);
                    let request = description.request(operation, &mut random);
                    let outcome = ask(socket, &request);
                    asked.fetch_add(1, Ordering::Relaxed);
                    judge(&request, &outcome, findings, statuses);
                }
            });
        }
        let mut warm = false;
        while start.elapsed() < end && !interrupt::asked() {
            interrupt::pause(Duration::from_secs(3));
            tend(&scratch, &settings.archive);
            match Holdings::of(&scratch.folder) {
                // What is only made once – threads, caches – is there by now.
                Ok(now) if !warm && start.elapsed() > end / 10 => {
                    (before, warm) = (Holdings { mounts: before.mounts, ..now }, true);
                }
                Ok(now) if now.daemon != before.daemon => {
                    deaths += 1;
                    before = now;
                }
                Ok(_) => {}
                Err(_) => deaths += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    interrupt::check()?;
    clear(&scratch, 0);
    // Threads for blocking work end when they have had none for ten seconds.
    interrupt::pause(Duration::from_secs(15));
    interrupt::check()?;
    let after = Holdings::of(&scratch.folder)?;
    println!("{} requests in {:.0?}", asked.load(Ordering::Relaxed), start.elapsed());
    for (status, count) in &*statuses.lock().unwrap_or_else(PoisonError::into_inner) {
        println!("{count:8}  {status}");
    }
    println!("before: {before:?}\nafter:  {after:?}");
    let log = std::fs::read_to_string(scratch.folder.join("daemon.log")).unwrap_or_default();
    let mut found: Vec<String> = findings
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_iter()
        .map(|(what, (count, first))| format!("{count} × {what}\n    first: {first}"))
        .collect();
    found.extend(after.growth_since(&before));
    found.extend(log.lines().filter(|line| line.contains("panicked")).map(str::to_owned));
    if deaths > 0 {
        found.push(format!("the daemon died {deaths} times:\n{log}"));
    }
    if found.is_empty() { Ok(()) } else { Err(format!("{} findings\n{}", found.len(), found.join("\n"))) }
}

/// Puts back what requests removed, and removes what they made beyond a few.
fn tend(scratch: &Scratch, archive: &Path) {
    clear(scratch, 12);
    let engine = scratch.engine();
    if engine.output(&["image", "inspect", "busybox:latest"]).is_err() {
        let _ = engine.output(&["load", "-q", "-i", &archive.display().to_string()]);
    }
    let _ = engine.output(&["tag", "busybox:latest", "kept:latest"]);
    let _ = engine.output(&["network", "create", "walk"]);
    let _ = engine.output(&["volume", "create", "kept"]);
    let _ = engine.output(&["run", "-d", "--name", "keep", "busybox", "sleep", "100000"]);
    let _ = engine.output(&["create", "--name", "made", "busybox", "true"]);
    let _ = engine.output(&["run", "--name", "ended", "busybox", "true"]);
    let _ = engine.output(&["start", "keep"]);
    let _ = engine.output(&["unpause", "keep"]);
}

/// Leaves so many containers, the youngest, and as many networks and volumes.
fn clear(scratch: &Scratch, leave: usize) {
    let engine = scratch.engine();
    for (list, remove) in [
        (&["ps", "-aq", "--no-trunc"][..], &["rm", "-fv"][..]),
        (&["network", "ls", "-q", "--filter", "type=custom"][..], &["network", "rm"][..]),
        (&["volume", "ls", "-q"][..], &["volume", "rm"][..]),
    ] {
        let ids = engine.output(list).unwrap_or_default();
        for id in ids.lines().skip(leave) {
            let _ = engine.output(&[remove, &[id]].concat());
        }
    }
}

fn ask(socket: &Path, request: &Request) -> Outcome {
    let start = Instant::now();
    let limit = if request.streams { 20 } else { 10 };
    let mut stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(error) => return Outcome::Closed(format!("connecting: {error}")),
    };
    let _ = stream.set_write_timeout(Some(Duration::from_secs(limit)));
    // One that is refused early closes while we write; its answer is read all the same.
    let _ = stream.write_all(&request.bytes);
    if request.broken {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    let mut how = "at its end".to_owned();
    let mut buffer = [0; 16384];
    loop {
        let waiting = if request.streams && !answer.is_empty() { 300 } else { limit * 1000 };
        let _ = stream.set_read_timeout(Some(Duration::from_millis(waiting)));
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if answer.is_empty() && !request.streams {
                    return Outcome::Hung(start.elapsed().as_secs());
                }
                break;
            }
            Err(error) => {
                how = error.to_string();
                break;
            }
        }
        if whole(&answer) || answer.len() > 1_000_000 {
            break;
        }
    }
    if answer.is_empty() {
        return if start.elapsed().as_secs() >= limit { Outcome::Hung(limit) } else { Outcome::Closed(how) };
    }
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.trim_end().to_owned());
    Outcome::Status(status, body.unwrap_or_default())
}

/// Whether an answer with a length is all there; connections are kept, so that its end does not come by itself.
fn whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    if head.starts_with("http/1.1 204") || head.starts_with("http/1.1 304") {
        return true;
    }
    if head.contains("transfer-encoding: chunked") {
        return answer.ends_with(b"0\r\n\r\n");
    }
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| answer.len() >= end + 4 + length)
}

fn judge(request: &Request, outcome: &Outcome, findings: &Findings, statuses: &Mutex<BTreeMap<String, u64>>) {
    let (row, finding) = match outcome {
        Outcome::Hung(_) if request.operation.ends_with("/wait") || request.operation.ends_with("/stop") => {
            ("waited".to_owned(), None)
        }
        Outcome::Hung(_) if request.streams => ("streamed nothing".to_owned(), None),
        Outcome::Hung(seconds) => ("hung".to_owned(), Some(format!("no answer in {seconds} s"))),
        Outcome::Closed(how) => {
            ("closed".to_owned(), (!request.broken).then(|| format!("closed without an answer: {how}")))
        }
        Outcome::Status(status, body) => {
            let said = serde_json::from_str::<serde_json::Value>(
                body.trim_start_matches(|letter: char| letter.is_ascii_hexdigit()).trim_start(),
            );
            let message = said.as_ref().ok().and_then(|said| said["message"].as_str());
            // What Docker says in plain text: to bytes that are no HTTP, and to clients from before its error documents.
            let plain = [
                "malformed",
                "client version",
                "unsupported transfer encoding",
                "unsupported protocol version",
            ]
            .iter()
            .any(|known| body.contains(known))
                || *status == 431;
            let finding = match status {
                _ if plain => None,
                501 | 503 if message.is_some() => None,
                // Docker's own 500 for what is only a wrong request.
                500 if message.is_some_and(|message| KNOWN.iter().any(|known| message.contains(known))) => {
                    None
                }
                500.. => Some(format!("{status} {}", digest(message.unwrap_or(body)))),
                400..500
                    if !request.broken
                        && !request.operation.starts_with("HEAD")
                        && message.is_none()
                        && !request.streams =>
                {
                    Some(format!("{status} in another form: {}", digest(body)))
                }
                0 => Some(format!("no HTTP: {}", digest(body))),
                _ => None,
            };
            (status.to_string(), finding)
        }
    };
    *statuses.lock().unwrap_or_else(PoisonError::into_inner).entry(row).or_default() += 1;
    if let Some(finding) = finding {
        let first = String::from_utf8_lossy(&request.bytes[..request.bytes.len().min(1500)])
            .escape_debug()
            .to_string();
        let mut findings = findings.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = findings.entry(format!("{}: {finding}", request.operation)).or_insert((0, first));
        entry.0 += 1;
        if entry.0 == 1 {
            eprintln!("{}: {finding}\n    {}", request.operation, entry.1);
        }
    }
}

/// A text without what differs from one time to the next: ids, and runs of digits.
pub(crate) fn digest(text: &str) -> String {
    let mut digest = String::new();
    let short: String = text.chars().take(300).collect();
    for word in short.split_inclusive(|letter: char| !letter.is_ascii_hexdigit()) {
        let hexadecimal = word.trim_end_matches(|letter: char| !letter.is_ascii_hexdigit());
        if hexadecimal.len() >= 12 {
            digest.push_str("ID");
            digest.push_str(&word[hexadecimal.len()..]);
            continue;
        }
        for letter in word.chars() {
            let letter = if letter.is_ascii_digit() { '#' } else { letter };
            if !(letter == '#' && digest.ends_with('#')) {
                digest.push(letter);
            }
        }
    }
    digest
}
