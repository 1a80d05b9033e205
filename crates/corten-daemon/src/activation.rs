//! Sockets that the service manager opened before it started us (`sd_listen_fds(3)`), for `-H fd://`.

use corten_keeper::Listener;
use rustix::net::sockopt;
use std::os::fd::OwnedFd;

/// Number of the first one.
const FIRST: i32 = 3;

/// What was passed, as the variables say it.
#[derive(Debug)]
pub(crate) struct Passed {
    /// In the order of their numbers.
    sockets: Vec<(String, OwnedFd)>,
}

/// The sockets that were passed to this process, with their names (`FileDescriptorName=`; systemd gives the unit's
/// name where there is none).
///
/// # Errors
/// Where none were, or what was passed is no socket that listens.
pub(crate) fn passed() -> Result<Passed, String> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let (pid, count) = (variable("LISTEN_PID"), variable("LISTEN_FDS"));
    if pid != std::process::id().to_string() {
        return Err(
            "-H fd://: no sockets were passed: this is for a daemon that is started by systemd with a \
                    socket unit; name -H unix:///path otherwise"
                .to_owned(),
        );
    }
    let count: i32 = count
        .parse()
        .ok()
        .filter(|count| (1..=1024).contains(count))
        .ok_or_else(|| format!("-H fd://: the number of passed sockets cannot be: LISTEN_FDS={count}"))?;
    let names = variable("LISTEN_FDNAMES");
    let mut names = names.split(':');
    let mut sockets = Vec::new();
    for number in FIRST..FIRST + count {
        let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
        let socket = corten_sys::descriptor::copy_of(number)
            .map_err(|error| format!("-H fd://: cannot take the passed socket {number} ({name}): {error}"))?;
        if !sockopt::socket_acceptconn(&socket).unwrap_or(false) {
            return Err(format!(
                "-H fd://: what was passed as {number} ({name}) is not a socket that listens: it needs \
                 ListenStream= and Accept=no"
            ));
        }
        sockets.push((name, socket));
    }
    Ok(Passed { sockets })
}

/// Those that each `fd://WHICH` asks for, each once: all (empty or `*`), one by its number (`fd://3` is the first, as
/// Docker counts), or all of a name. `passed` is not called where none is asked for.
///
/// # Errors
/// Where `passed` fails, or nothing of that name or number was passed.
pub(crate) fn choose<'a>(
    wanted: impl Iterator<Item = &'a str>,
    passed: impl FnOnce() -> Result<Passed, String>,
) -> Result<Vec<Listener>, String> {
    let wanted: Vec<&str> = wanted.collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let sockets = passed()?.sockets;
    let matches = |which: &str, index: usize, name: &str| match which {
        "" | "*" => true,
        which => match which.parse::<i32>() {
            Ok(number) => usize::try_from(number - FIRST) == Ok(index),
            Err(_) => which == name,
        },
    };
    for which in &wanted {
        if !sockets.iter().enumerate().any(|(index, (name, _))| matches(which, index, name)) {
            let names: Vec<&str> = sockets.iter().map(|(name, _)| name.as_str()).collect();
            return Err(format!(
                "-H fd://{which}: no such socket was passed; there are: {}",
                names.join(", ")
            ));
        }
    }
    let chosen = sockets.into_iter().enumerate().filter_map(|(index, (name, descriptor))| {
        let is_wanted = wanted.iter().any(|which| matches(which, index, &name));
        is_wanted.then(|| Listener { name: format!("fd://{name}"), descriptor, passed: true })
    });
    Ok(chosen.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wanted: &[&str]) -> Result<Vec<String>, String> {
        let passed = || {
            let names = ["corten.socket", "other", "corten.socket"];
            let sockets = names.iter().map(|name| {
                (name.to_string(), OwnedFd::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap()))
            });
            Ok(Passed { sockets: sockets.collect() })
        };
        let listeners = choose(wanted.iter().copied(), passed)?;
        assert!(listeners.iter().all(|listener| listener.passed));
        Ok(listeners.into_iter().map(|listener| listener.name).collect())
    }

    #[test]
    fn sockets_are_chosen_by_name_and_number_each_once() {
        let (corten, other) = ("fd://corten.socket", "fd://other");
        assert_eq!(chosen(&[""]).unwrap(), [corten, other, corten]);
        assert_eq!(chosen(&["*", "3"]).unwrap(), [corten, other, corten]);
        assert_eq!(chosen(&["4"]).unwrap(), [other]);
        assert_eq!(chosen(&["corten.socket"]).unwrap(), [corten, corten]);
        assert_eq!(chosen(&[]).unwrap(), [""; 0]);
        for missing in ["2", "6", "-1", "nothing"] {
            let error = chosen(&[missing]).unwrap_err();
            assert!(error.contains(&format!("fd://{missing}: no such socket")), "{error}");
        }
    }

    #[test]
    fn sockets_for_another_process_are_not_taken() {
        let error = choose(["", "3"].into_iter(), passed).unwrap_err();
        assert!(error.contains("no sockets were passed"), "{error}");
    }
}
