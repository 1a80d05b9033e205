//! `ps`: the processes of a container.

use std::collections::BTreeMap;

use super::{Command, HELP, kill};
use crate::Context;
use crate::arguments::{Arguments, Flag, Kind};
use crate::failure::{Failure, Result};

pub(super) const COMMAND: Command = Command {
    name: "ps",
    about: "List the processes of a container",
    positional: "CONTAINER [-ef]",
    flags: FLAGS,
    makes_processes: false,
    run,
};

const FLAGS: &[Flag] = &[Flag::new("format", Kind::Value, "table (the default) or json").short('f'), HELP];

fn run(context: &mut Context, arguments: &Arguments) -> Result<i32> {
    let (id, options) = arguments
        .words
        .split_first()
        .ok_or_else(|| Failure::new("corten-oci: \"ps\" requires at least 1 argument(s), not 0"))?;
    let (_, state) = context.root.load(id)?;
    if state.cgroup.is_none() {
        return Err(Failure::new("unable to get all container pids: the container has no cgroup"));
    }
    let mut processes = kill::processes(&state);
    processes.sort_unstable();
    match arguments.value("format") {
        Some("json") => println!("{}", serde_json::json!(processes)),
        None | Some("" | "table") => {
            if !options.iter().all(|option| option == "-ef") {
                return Err(Failure::new(format!(
                    "ps options {options:?} are not supported: this runtime runs no ps program and knows -ef only"
                )));
            }
            print!("{}", table(&processes));
        }
        Some(other) => return Err(Failure::new(format!("invalid format option {other:?}"))),
    }
    Ok(0)
}

/// As `ps -ef`.
fn table(processes: &[i32]) -> String {
    let users = users();
    let mut text = "UID          PID    PPID  C STIME TTY          TIME CMD\n".to_owned();
    for pid in processes {
        if let Some(row) = row(*pid, &users) {
            text.push_str(&row);
        }
    }
    text
}

fn users() -> BTreeMap<u32, String> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.nth(2)?.parse().ok()?, line.split(':').next()?.to_owned()))
    };
    text.lines().filter_map(entry).collect()
}

fn row(pid: i32, users: &BTreeMap<u32, String>) -> Option<String> {
    let file = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).ok();
    let stat = String::from_utf8_lossy(&file("stat")?).into_owned();
    let (head, fields) = stat.rsplit_once(')')?;
    let name = head.split_once('(').map_or("", |(_, name)| name);
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    let status = String::from_utf8_lossy(&file("status")?).into_owned();
    let uid: u32 = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_ascii_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0);
    let user = users.get(&uid).cloned().unwrap_or_else(|| uid.to_string());
    let command = file("cmdline").unwrap_or_default();
    let command: Vec<String> = command
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let command = if command.is_empty() { format!("[{name}]") } else { command.join(" ") };
    // Clock ticks are hundredths of a second on every machine of Linux that programs see.
    let seconds = (number(11) + number(12)) / 100;
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let started = started(number(19));
    let terminal = match number(4) {
        0 => "?".to_owned(),
        device if (136..144).contains(&(device >> 8 & 0xfff)) => {
            format!("pts/{}", (device & 0xff) | (device >> 12 & 0xf_ff00))
        }
        _ => "?".to_owned(),
    };
    Some(format!("{user:<8} {pid:>7} {:>7}  0 {started:>5} {terminal:<8} {time:>8} {command}\n", number(1)))
}

/// When it was started: the time of day, or the date before today.
fn started(ticks: u64) -> String {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let now = corten_std::Timestamp::now();
    let age = (uptime - ticks as f64 / 100.0).max(0.0) as i64;
    let at = corten_std::Timestamp::from_unix(now.unix_seconds() - age, 0);
    let (_, month, day, hour, minute, _) = at.civil();
    if at.unix_seconds() / 86_400 == now.unix_seconds() / 86_400 {
        return format!("{hour:02}:{minute:02}");
    }
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    format!("{}{day:02}", MONTHS.get(month as usize - 1).unwrap_or(&"?"))
}
