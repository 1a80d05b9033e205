//! `kill`: a signal to a container's first process, or to all of them.

use std::os::fd::AsFd;

use super::{Command, HELP};
use crate::Context;
use crate::arguments::{Arguments, Flag, Kind};
use crate::failure::{Failure, Result};
use crate::state::{State, Status};

pub(super) const COMMAND: Command = Command {
    name: "kill",
    about: "Send a signal to a container (TERM where none is named)",
    positional: "CONTAINER [SIGNAL]",
    flags: FLAGS,
    makes_processes: false,
    run,
};

const FLAGS: &[Flag] =
    &[Flag::new("all", Kind::Switch, "to every process of the container").short('a'), HELP];

const KILL: i32 = 9;

fn run(context: &mut Context, arguments: &Arguments) -> Result<i32> {
    let (id, signal) = match arguments.words.as_slice() {
        [id] => (id, "TERM"),
        [id, signal] => (id, signal.as_str()),
        _ => return Err(Failure::new("corten-oci: \"kill\" requires 1 or 2 arguments")),
    };
    let number = number(signal).ok_or_else(|| Failure::new(format!("unknown signal {signal:?}")))?;
    let (folder, state) = context.root.load(id)?;
    let status = folder.status(&state);
    if arguments.is_set("all") || (number == KILL && !state.own_pids) {
        // Its first process may have ended and left others.
        if status == Status::Stopped && processes(&state).is_empty() && !arguments.is_set("all") {
            return Err(Failure::new("container not running"));
        }
        signal_all(&state, number)?;
        return Ok(0);
    }
    if matches!(status, Status::Stopped | Status::Creating) {
        return Err(Failure::new("container not running"));
    }
    let handle = state.handle()?;
    corten_sys::process::pidfd_send_signal(handle.as_fd(), number).map_err(|error| {
        match error.raw_os_error() {
            Some(3) => Failure::new("container not running"),
            _ => Failure::of(format_args!("unable to signal init with {signal}"), &error),
        }
    })?;
    if number == KILL
        && status == Status::Paused
        && let Some(cgroup) = &state.cgroup
    {
        // A frozen process of version 1 dies only when it is let go.
        let _ = cgroup.thaw();
    }
    Ok(0)
}

pub(super) fn processes(state: &State) -> Vec<i32> {
    state.cgroup.as_ref().and_then(|cgroup| cgroup.processes().ok()).unwrap_or_default()
}

fn signal_all(state: &State, signal: i32) -> Result<()> {
    if signal == KILL
        && let Some(cgroup) = &state.cgroup
    {
        return Ok(cgroup.kill_all()?);
    }
    for pid in processes(state) {
        // One that ends meanwhile is no matter.
        let _ = corten_sys::process::kill(pid, signal);
    }
    Ok(())
}

/// A signal by number or name, with or without `SIG`.
fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=64).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    if let Some(at) = NAMES.iter().position(|known| *known == name) {
        return Some(at as i32 + 1);
    }
    let realtime = |rest: &str, from: i32, sign: i32| {
        let offset: i32 =
            if rest.is_empty() { 0 } else { rest.trim_start_matches(['+', '-']).parse().ok()? };
        Some(from + sign * offset).filter(|number| (34..=64).contains(number))
    };
    match name {
        "IOT" => Some(6),
        "CLD" => Some(17),
        "POLL" => Some(29),
        _ => name
            .strip_prefix("RTMIN")
            .and_then(|rest| realtime(rest, 34, 1))
            .or_else(|| name.strip_prefix("RTMAX").and_then(|rest| realtime(rest, 64, -1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_every_name() {
        for (text, expected) in
            [("9", 9), ("KILL", 9), ("SIGTERM", 15), ("sigusr1", 10), ("RTMIN+3", 37), ("SIGRTMAX-1", 63)]
        {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        for text in ["", "NOPE", "65", "-1", "RTMIN+99"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
