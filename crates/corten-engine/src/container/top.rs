//! The processes of a running container, as `ps` on the host would show them. No program is run: `/proc` is read.

use crate::Engine;
use crate::container::state::Phase;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_api::container::TopResponse;
use std::collections::BTreeMap;

/// The columns of `ps -ef`, which Docker shows where nothing else is asked for.
const FULL: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
/// The columns of `ps aux`.
const USER: [&str; 11] =
    ["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"];

/// One process, from `/proc/PID`.
#[derive(Clone, Debug, Default, PartialEq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    uid: u32,
    gid: u32,
    state: char,
    terminal: i32,
    /// User and system time, in clock ticks.
    ticks: u64,
    /// Clock ticks between boot and start.
    started: u64,
    threads: u64,
    nice: i64,
    /// Bytes.
    virtual_size: u64,
    /// Bytes.
    resident: u64,
    name: String,
    command: String,
}

/// What turns ticks into times.
#[derive(Clone, Copy, Debug)]
struct Clock {
    per_second: u64,
    /// Seconds since 1970.
    boot: i64,
    /// Seconds since 1970.
    now: i64,
    /// Bytes.
    memory: u64,
}

impl Engine {
    /// The processes, with the columns of `ps_args`: none is `-ef`; `aux`, `-o LIST` and their like are known.
    pub async fn top(&self, reference: &str, ps_args: &str) -> Result<TopResponse> {
        let handle = self.find(reference)?;
        let view = handle.view();
        if view.life.phase == Phase::Restarting {
            return Err(EngineError::conflict(format!(
                "Container {} is restarting, wait until the container is running",
                handle.id
            )));
        }
        if !view.life.phase.has_process() {
            return Err(EngineError::conflict(format!("container {} is not running", handle.id)));
        }
        let columns = columns(ps_args)?;
        let cgroup = self.inner.cgroups.open(&handle.id);
        let pids = cgroup
            .and_then(|cgroup| cgroup.processes())
            .map_err(|error| EngineError::because("listing the processes", error))?;
        blocking(move || {
            let clock = Clock::read();
            let users = users();
            let mut processes: Vec<Process> = pids.into_iter().filter_map(read_process).collect();
            processes.sort_by_key(|process| process.pid);
            let rows = processes
                .iter()
                .map(|process| columns.iter().map(|(key, _)| cell(key, process, &clock, &users)).collect());
            Ok(TopResponse {
                processes: rows.collect(),
                titles: columns.iter().map(|(_, title)| title.clone()).collect(),
            })
        })
        .await
    }
}

/// Keys and titles of the columns that `ps` shows for these arguments.
fn columns(ps_args: &str) -> Result<Vec<(String, String)>> {
    let titled = |titles: &[&str]| {
        titles.iter().map(|title| ((*title).to_owned(), (*title).to_owned())).collect::<Vec<_>>()
    };
    let mut list: Vec<(String, String)> = Vec::new();
    let mut words = ps_args.split_ascii_whitespace().peekable();
    let mut user_format = false;
    while let Some(word) = words.next() {
        let spec = match format_list(word) {
            Some("") => words.next().unwrap_or_default(),
            Some(spec) => spec,
            None => {
                let plain = word.trim_start_matches('-');
                if plain.chars().all(|letter| "aefuxwlAFTLHj".contains(letter)) {
                    user_format |= plain.contains('u') && !word.starts_with('-');
                    continue;
                }
                return Err(EngineError::invalid(format!("ps option {word} is not supported"))
                    .with_hint("known are -ef, aux and -o with a list of columns"));
            }
        };
        for column in spec.split(',').filter(|column| !column.is_empty()) {
            let (key, title) = column.split_once('=').unwrap_or((column, ""));
            let (key, own) = column_of(key)?;
            list.push((key.to_owned(), if title.is_empty() { own } else { title }.to_owned()));
        }
    }
    if !list.is_empty() {
        // Docker finds the processes by this column.
        if !list.iter().any(|(key, _)| key == "PID") {
            return Err(EngineError::system("couldn't find PID field in ps output"));
        }
        return Ok(list);
    }
    Ok(if user_format { titled(&USER) } else { titled(&FULL) })
}

/// What follows the `o` of `-o`, `-eo`, `o`: the list, or nothing where it is the next word.
fn format_list(word: &str) -> Option<&str> {
    let plain = word.trim_start_matches('-');
    let (before, list) = plain.split_once('o')?;
    before.chars().all(|letter| "aefxA".contains(letter)).then_some(list)
}

/// The column that `ps -o` calls so: what is in it, and its title (procps 4, ps(1), "STANDARD FORMAT SPECIFIERS").
fn column_of(key: &str) -> Result<(&'static str, &'static str)> {
    Ok(match key.to_ascii_lowercase().as_str() {
        "pid" | "tgid" => ("PID", "PID"),
        "ppid" => ("PPID", "PPID"),
        "pgid" | "pgrp" => ("PGID", "PGID"),
        "sid" | "sess" | "session" => ("SID", "SID"),
        "uid" => ("NUMBER", "UID"),
        "euid" => ("NUMBER", "EUID"),
        "user" | "uname" => ("USER", "USER"),
        "euser" => ("USER", "EUSER"),
        "gid" => ("GID", "GID"),
        "egid" => ("GID", "EGID"),
        "c" => ("C", "C"),
        "%cpu" | "pcpu" => ("%CPU", "%CPU"),
        "%mem" | "pmem" => ("%MEM", "%MEM"),
        "vsz" | "vsize" => ("VSZ", "VSZ"),
        "rss" | "rssize" | "rsz" => ("RSS", "RSS"),
        "tty" | "tt" => ("TTY", "TT"),
        "tname" => ("TTY", "TTY"),
        "stat" => ("STAT", "STAT"),
        "state" | "s" => ("STAT", "S"),
        "start" => ("STARTED", "STARTED"),
        "stime" | "start_time" => ("STIME", "STIME"),
        "bsdstart" => ("STIME", "START"),
        "time" | "cputime" => ("TIME", "TIME"),
        "etime" => ("ELAPSED", "ELAPSED"),
        "etimes" => ("SECONDS", "ELAPSED"),
        "nlwp" => ("NLWP", "NLWP"),
        "thcount" => ("NLWP", "THCNT"),
        "ni" | "nice" => ("NI", "NI"),
        "comm" | "ucomm" => ("COMM", "COMMAND"),
        "ucmd" => ("COMM", "CMD"),
        "cmd" => ("COMMAND", "CMD"),
        "args" | "command" => ("COMMAND", "COMMAND"),
        _ => {
            return Err(EngineError::invalid(format!("ps column {key} is not supported"))
                .with_hint("known are those of processes, users, times, memory and commands, as in `-o pid,user,etime,rss,args`"));
        }
    })
}

fn cell(key: &str, process: &Process, clock: &Clock, users: &BTreeMap<u32, String>) -> String {
    let seconds = process.ticks / clock.per_second;
    let started = clock.boot + (process.started / clock.per_second) as i64;
    let age = (clock.now - started).max(1);
    let user = || users.get(&process.uid).cloned().unwrap_or_else(|| process.uid.to_string());
    match key {
        // `ps -ef` calls the user's name UID.
        "UID" | "USER" => user(),
        "PID" => process.pid.to_string(),
        "PPID" => process.parent.to_string(),
        "PGID" => process.group.to_string(),
        "SID" => process.session.to_string(),
        "NUMBER" => process.uid.to_string(),
        "GID" => process.gid.to_string(),
        "C" => (seconds as i64 * 100 / age).min(99).to_string(),
        "%CPU" => format!("{:.1}", seconds as f64 * 100.0 / age as f64),
        "%MEM" => format!("{:.1}", process.resident as f64 * 100.0 / clock.memory.max(1) as f64),
        "VSZ" => (process.virtual_size / 1024).to_string(),
        "RSS" => (process.resident / 1024).to_string(),
        "TTY" => terminal_name(process.terminal),
        "STAT" => process.state.to_string(),
        "STARTED" if clock.now - started < 86_400 => {
            let (_, _, _, hour, minute, second) = corten_std::Timestamp::from_unix(started, 0).civil();
            format!("{hour:02}:{minute:02}:{second:02}")
        }
        "STIME" | "START" | "STARTED" => start_text(started, clock.now),
        "TIME" => format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        "ELAPSED" if age < 3600 => format!("{:02}:{:02}", age / 60, age % 60),
        "ELAPSED" => format!("{:02}:{:02}:{:02}", age / 3600, age / 60 % 60, age % 60),
        "SECONDS" => age.to_string(),
        "NLWP" => process.threads.to_string(),
        "NI" => process.nice.to_string(),
        "COMM" => process.name.clone(),
        _ => process.command.clone(),
    }
}

fn start_text(started: i64, now: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, month, day, hour, minute, _) = corten_std::Timestamp::from_unix(started, 0).civil();
    if now - started < 86_400 {
        format!("{hour:02}:{minute:02}")
    } else {
        format!("{}{day:02}", MONTHS[(month as usize).saturating_sub(1).min(11)])
    }
}

fn terminal_name(number: i32) -> String {
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00));
    match major {
        0 => "?".to_owned(),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 => format!("tty{minor}"),
        _ => "?".to_owned(),
    }
}

/// A process that ended meanwhile is left out.
fn read_process(pid: i32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut process = parse_stat(&stat)?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let id = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    process.uid = id("Uid:")?;
    process.gid = id("Gid:")?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    words.join(" ").trim_end().clone_into(&mut process.command);
    if process.command.is_empty() {
        process.command = format!("[{}]", process.name);
    }
    Some(process)
}

/// `PID (NAME) STATE PPID …`; the name may hold blanks and parentheses.
fn parse_stat(text: &str) -> Option<Process> {
    let (head, rest) = text.rsplit_once(')')?;
    let (pid, name) = head.split_once('(')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<i64>().ok();
    Some(Process {
        pid: pid.trim().parse().ok()?,
        name: name.to_owned(),
        state: fields.first()?.chars().next()?,
        parent: number(1)? as i32,
        group: number(2)? as i32,
        session: number(3)? as i32,
        terminal: number(4)? as i32,
        ticks: (number(11)? + number(12)?) as u64,
        nice: number(16)?,
        threads: number(17)? as u64,
        started: number(19)? as u64,
        virtual_size: number(20)? as u64,
        resident: number(21)? as u64 * rustix::param::page_size() as u64,
        ..Process::default()
    })
}

/// Names of the host's users; read from the file, because this program cannot load name services.
fn users() -> BTreeMap<u32, String> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
        })
        .collect()
}

impl Clock {
    fn read() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let boot =
            stat.lines().find_map(|line| line.strip_prefix("btime ")).and_then(|text| text.parse().ok());
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let memory = memory.and_then(|text| text.split_ascii_whitespace().next()?.parse::<u64>().ok());
        Self {
            per_second: rustix::param::clock_ticks_per_second(),
            boot: boot.unwrap_or_default(),
            now: corten_std::Timestamp::now().unix_seconds(),
            memory: memory.unwrap_or_default() * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_a_name_of_odd_letters() {
        let line = "42 (a) b (c) S 7 42 42 34816 42 0 1 2 3 4 150 50 0 0 20 0 3 0 1000 4096 2 rest";
        let process = parse_stat(line).unwrap();
        assert_eq!(
            (process.pid, process.parent, process.name.as_str(), process.state),
            (42, 7, "a) b (c", 'S')
        );
        assert_eq!((process.ticks, process.threads, process.started), (200, 3, 1000));
        assert_eq!(terminal_name(process.terminal), "pts/0");
        let clock = Clock { per_second: 100, boot: 0, now: 60, memory: 0 };
        assert_eq!(cell("TIME", &process, &clock, &BTreeMap::new()), "00:00:02");
        assert_eq!(cell("C", &process, &clock, &BTreeMap::new()), "4");
    }

    #[test]
    fn columns_as_asked() {
        let titles =
            |args: &str| columns(args).unwrap().into_iter().map(|(_, title)| title).collect::<Vec<_>>();
        assert_eq!(titles(""), FULL);
        assert_eq!(titles("-ef"), FULL);
        assert_eq!(titles("aux"), USER);
        assert_eq!(titles("-o pid,args"), ["PID", "COMMAND"]);
        assert_eq!(titles("-eo pid,ppid"), ["PID", "PPID"]);
        assert_eq!(titles("-o pid,comm,tty,s,start"), ["PID", "COMMAND", "TT", "S", "STARTED"]);
        assert_eq!(titles("-o pid,args=WHAT"), ["PID", "WHAT"]);
        assert!(columns("-o args").is_err());
        assert!(columns("--forest").is_err());
    }

    #[test]
    fn this_process_can_be_read() {
        let process = read_process(std::process::id() as i32).unwrap();
        assert!(!process.command.is_empty());
    }
}
