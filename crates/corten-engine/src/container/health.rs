//! Health checks: a task beside each running container that has one runs its command from time to time and tells the
//! owner what came of it. It ends with the run.
//!
//! ```text
//!            success                      failure × retries
//! starting ──────────▶ healthy ◀────────▶ unhealthy         failures in the start period do not count
//! ```

use crate::container::ClientSocket;
use crate::container::handle::{Handle, Request, View};
use crate::container::owner::Owner;
use crate::container::state::Phase;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use corten_api::container::{ContainerConfig, Health, HealthcheckResult};
use corten_api::exec::{CreateRequest, StartRequest};
use corten_std::Timestamp;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// How many results are kept.
const RESULTS: usize = 5;
/// How much output of a check is kept, in bytes.
const OUTPUT: usize = 4096;
/// The exit code of a check that took too long.
const TIMED_OUT: i64 = -1;

/// A health check with every default filled in.
#[derive(Clone, Debug, PartialEq)]
struct Check {
    command: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: i64,
}

impl Check {
    /// What a configuration asks for; none where nothing is to be checked.
    fn of(config: &ContainerConfig) -> Option<Self> {
        let check = config.healthcheck.as_ref()?;
        let words = check.test.as_ref()?;
        let command = match words.first()?.as_str() {
            "CMD" => words[1..].to_vec(),
            "CMD-SHELL" => {
                let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
                let mut shell =
                    config.shell.clone().filter(|shell| !shell.is_empty()).unwrap_or_else(default);
                shell.extend(words.get(1).cloned());
                shell
            }
            _ => return None,
        };
        let or = |nanoseconds: i64, default: u64| match u64::try_from(nanoseconds) {
            Ok(0) | Err(_) => Duration::from_secs(default),
            Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
        };
        Some(Self {
            command,
            interval: or(check.interval, 30),
            timeout: or(check.timeout, 30),
            start_period: or(check.start_period, 0),
            start_interval: or(check.start_interval, 5),
            retries: if check.retries > 0 { check.retries } else { 3 },
        })
    }

    /// Takes a result in. Says whether the status changed.
    fn judge(&self, health: &mut Health, result: HealthcheckResult, in_start_period: bool) -> bool {
        let before = health.status.clone();
        if result.exit_code == 0 {
            health.failing_streak = 0;
            "healthy".clone_into(&mut health.status);
        } else if !(in_start_period && health.status == "starting") {
            health.failing_streak += 1;
            if health.failing_streak >= self.retries {
                "unhealthy".clone_into(&mut health.status);
            }
        }
        let log = health.log.get_or_insert_default();
        log.push(result);
        if log.len() > RESULTS {
            log.remove(0);
        }
        health.status != before
    }
}

impl Owner {
    /// Begins to check, where the container says how. Before the run is published, so that it begins as `starting`.
    pub(super) fn watch_health(&mut self) {
        let Some(check) = Check::of(&self.record.config) else { return };
        let health = begun(self.health.as_deref());
        self.health = Some(Arc::new(health.clone()));
        let Some(handle) = self.engine.inner.containers.by_id(&self.record.id) else { return };
        tokio::spawn(watch(self.engine.clone(), handle, check, health, self.life.started_at));
    }

    /// Nobody checks any more: what was found last stays to be read, and what does not run is not healthy.
    pub(super) fn health_ended(&mut self) {
        self.health = self.health.take().map(|health| Arc::new(ended(&health)));
    }
}

/// What a run begins with: nothing is known yet, and the last run's results can still be read.
fn begun(last: Option<&Health>) -> Health {
    let log = last.and_then(|health| health.log.clone());
    Health { status: "starting".to_owned(), failing_streak: 0, log }
}

/// What a run leaves behind. Clients that wait for a health tell by it a container that has a check from one without.
fn ended(health: &Health) -> Health {
    Health { status: "unhealthy".to_owned(), ..health.clone() }
}

/// How many health checks there were since the daemon began.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) all: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// Checks until the run that began at `run` is over.
async fn watch(engine: Engine, handle: Arc<Handle>, check: Check, mut health: Health, run: Timestamp) {
    let mut view = handle.watch();
    let is_over = |view: &Arc<View>| !view.life.phase.has_process() || view.life.started_at != run;
    loop {
        let in_start_period = Timestamp::now().since(run) < check.start_period;
        let pause = if in_start_period && health.status == "starting" {
            check.start_interval
        } else {
            check.interval
        };
        if tokio::time::timeout(pause, view.wait_for(is_over)).await.is_ok() {
            return;
        }
        if handle.view().life.phase == Phase::Paused {
            continue;
        }
        let start = Timestamp::now();
        let result = match probe(&engine, &handle, &check).await {
            Ok((exit_code, output)) => HealthcheckResult {
                start: start.to_string(),
                end: Timestamp::now().to_string(),
                exit_code,
                output,
            },
            Err(_) if is_over(&handle.view()) => return,
            Err(error) => HealthcheckResult {
                start: start.to_string(),
                end: Timestamp::now().to_string(),
                exit_code: TIMED_OUT,
                output: error.to_string(),
            },
        };
        let counters = &engine.inner.health_checks;
        counters.all.fetch_add(1, Ordering::Relaxed);
        counters.failed.fetch_add(u64::from(result.exit_code != 0), Ordering::Relaxed);
        let in_start_period = Timestamp::now().since(run) < check.start_period;
        let changed = check.judge(&mut health, result, in_start_period);
        handle.send(Request::Health { health: Arc::new(health.clone()) });
        if changed {
            let record = handle.view().record.clone();
            let action = format!("health_status: {}", health.status);
            engine.inner.events.publish("container", &action, &handle.id, record.event_attributes());
        }
    }
}

/// Runs the command once: its exit code and the beginning of its output.
async fn probe(engine: &Engine, handle: &Handle, check: &Check) -> Result<(i64, String)> {
    let request = CreateRequest {
        attach_stdout: true,
        attach_stderr: true,
        cmd: Some(check.command.clone()),
        ..CreateRequest::default()
    };
    let id = engine.exec_create(&handle.id, request).await?.id;
    let ticket = engine.exec_start(&id, &StartRequest::default())?;
    let failed = |error: std::io::Error| EngineError::from_error("running a health check", error);
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|error| failed(error.into()))?;
    let ours = std::os::unix::net::UnixStream::from(ours);
    ours.set_nonblocking(true).map_err(failed)?;
    let mut ours = tokio::net::UnixStream::from_std(ours).map_err(failed)?;
    let mut bytes = Vec::new();
    let run = async {
        // A program that cannot be started has its reason on the stream and its code in the exec.
        let _ = ticket.connect(ClientSocket { socket: theirs, leftover: Vec::new() }).await;
        let mut chunk = [0_u8; 4096];
        loop {
            match ours.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(count) if bytes.len() < 4 * OUTPUT => bytes.extend_from_slice(&chunk[..count]),
                Ok(_) => {}
            }
        }
    };
    if tokio::time::timeout(check.timeout, run).await.is_err() {
        if let Ok(shim) = handle.ask(|reply| Request::Shim { reply }).await {
            let _ = shim.signal(Some(&id), super::signal::KILL).await;
        }
        let text = format!("Health check exceeded timeout ({})", seconds(check.timeout));
        return Ok((TIMED_OUT, text));
    }
    let code = engine.exec_inspect(&id).await?.exit_code.unwrap_or(TIMED_OUT);
    Ok((code, output(&bytes)))
}

/// `30s`, `200ms`, as Go prints them.
fn seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

/// The text of a framed stream, as much as is kept.
fn output(mut bytes: &[u8]) -> String {
    let mut text = Vec::new();
    while let [_, _, _, _, a, b, c, d, rest @ ..] = bytes {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (part, behind) = rest.split_at(length.min(rest.len()));
        text.extend_from_slice(part);
        bytes = behind;
    }
    text.truncate(OUTPUT);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_api::container::Healthcheck;

    fn check() -> Check {
        let healthcheck = Healthcheck {
            test: Some(vec!["CMD-SHELL".to_owned(), "true".to_owned()]),
            retries: 2,
            ..Healthcheck::default()
        };
        Check::of(&ContainerConfig { healthcheck: Some(healthcheck), ..ContainerConfig::default() }).unwrap()
    }

    #[test]
    fn a_run_that_ended_is_unhealthy_and_its_results_stay() {
        let result = HealthcheckResult { exit_code: 0, ..HealthcheckResult::default() };
        let mut health = begun(None);
        assert_eq!((health.status.as_str(), &health.log), ("starting", &None));
        check().judge(&mut health, result.clone(), false);
        let over = ended(&health);
        assert_eq!((over.status.as_str(), over.failing_streak), ("unhealthy", 0));
        assert_eq!(over.log, Some(vec![result.clone()]));
        let failed = Health { failing_streak: 3, ..over };
        let again = begun(Some(&failed));
        assert_eq!((again.status.as_str(), again.failing_streak), ("starting", 0));
        assert_eq!(again.log, Some(vec![result]));
    }

    #[test]
    fn defaults_and_none() {
        let check = check();
        assert_eq!(check.command, ["/bin/sh", "-c", "true"]);
        assert_eq!((check.interval, check.retries), (Duration::from_secs(30), 2));
        let none = Healthcheck { test: Some(vec!["NONE".to_owned()]), ..Healthcheck::default() };
        assert_eq!(
            Check::of(&ContainerConfig { healthcheck: Some(none), ..ContainerConfig::default() }),
            None
        );
        assert_eq!(Check::of(&ContainerConfig::default()), None);
    }

    #[test]
    fn results_become_a_status() {
        let check = check();
        let mut health = Health { status: "starting".to_owned(), ..Health::default() };
        let result = |exit_code| HealthcheckResult { exit_code, ..HealthcheckResult::default() };
        assert!(!check.judge(&mut health, result(1), true));
        assert_eq!(health.failing_streak, 0);
        assert!(!check.judge(&mut health, result(1), false));
        assert!(check.judge(&mut health, result(1), false));
        assert_eq!(health.status, "unhealthy");
        assert!(check.judge(&mut health, result(0), false));
        assert_eq!((health.status.as_str(), health.failing_streak), ("healthy", 0));
        for _ in 0..9 {
            check.judge(&mut health, result(0), false);
        }
        assert_eq!(health.log.unwrap().len(), RESULTS);
    }

    #[test]
    fn frames_are_joined() {
        let bytes = [&[1, 0, 0, 0, 0, 0, 0, 2][..], b"ab", &[2, 0, 0, 0, 0, 0, 0, 1], b"c"].concat();
        assert_eq!(output(&bytes), "abc");
        assert_eq!(output(&[]), "");
    }
}
