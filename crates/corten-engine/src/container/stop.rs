//! Stop, kill, restart: signals from outside the owner, which only sends them on and reports the end.

use crate::Engine;
use crate::container::handle::{Handle, Purpose, Request};
use crate::container::state::Phase;
use crate::container::{Outcome, signal};
use crate::error::{EngineError, Result};
use std::sync::Arc;
use std::time::Duration;

/// Seconds between the stop signal and SIGKILL where neither request nor container says.
const STOP_TIMEOUT: i64 = 10;
/// How long a killed process may take to be gone before Docker's error is given.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// How a container is stopped.
#[derive(Clone, Debug, Default)]
pub struct StopOptions {
    /// Seconds until SIGKILL; negative: never. None: the container's own, or 10.
    pub timeout: Option<i64>,
    /// The signal to begin with. None or empty: the container's own, or SIGTERM.
    pub signal: Option<String>,
}

impl Engine {
    /// Asks the program to end, and kills it when it does not. Unchanged where it does not run. Goes on where the caller
    /// gives up waiting only as far as the signals that were sent.
    pub async fn stop(&self, reference: &str, options: StopOptions) -> Result<Outcome> {
        let handle = self.find(reference)?;
        stop_handle(&handle, &options, Purpose::Stop).await.inspect(|outcome| {
            if *outcome == Outcome::Changed {
                let record = handle.view().record.clone();
                self.inner.events.publish("container", "stop", &handle.id, record.event_attributes());
            }
        })
    }

    /// Sends a signal; the default is SIGKILL, which also waits until the program is gone.
    pub async fn kill(&self, reference: &str, signal: &str) -> Result<()> {
        let number = if signal.is_empty() { signal::KILL } else { signal::parse(signal)? };
        let handle = self.find(reference)?;
        let mut view = handle.watch();
        if !view.borrow().life.phase.is_running() {
            return Err(EngineError::conflict(format!("container {} is not running", handle.id)));
        }
        let exits = view.borrow().life.exits;
        let purpose = if number == signal::KILL { Purpose::Stop } else { Purpose::Tell };
        handle.ask(|reply| Request::Signal { signal: number, purpose, reply }).await?;
        if number == signal::KILL {
            let ended = view.wait_for(|view| view.life.exits > exits || !view.life.phase.is_running());
            let _ = tokio::time::timeout(KILL_TIMEOUT, ended).await;
        }
        Ok(())
    }

    /// Stops it if it runs, and starts it. Also for a container that was never started.
    pub async fn restart(&self, reference: &str, options: StopOptions) -> Result<()> {
        let handle = self.find(reference)?;
        if stop_handle(&handle, &options, Purpose::Restart).await? == Outcome::Changed {
            let record = handle.view().record.clone();
            self.inner.events.publish("container", "stop", &handle.id, record.event_attributes());
        }
        self.start(&handle.id).await?;
        let record = handle.view().record.clone();
        self.inner.events.publish("container", "restart", &handle.id, record.event_attributes());
        Ok(())
    }
}

/// Ends a container's program; also for removal by force.
pub(super) async fn stop_handle(
    handle: &Arc<Handle>,
    options: &StopOptions,
    purpose: Purpose,
) -> Result<Outcome> {
    let view = handle.view();
    if !view.life.phase.is_running() {
        return Ok(Outcome::Unchanged);
    }
    let config = &view.record.config;
    let first = match options.signal.as_deref() {
        Some(text) if !text.is_empty() => signal::parse(text)?,
        // One that is no signal, which a container can be created with, ends nothing: it is as if there were none.
        _ => signal::parse(&config.stop_signal).unwrap_or(signal::TERM),
    };
    let seconds = options.timeout.or(config.stop_timeout).unwrap_or(STOP_TIMEOUT);
    send(handle, first, purpose).await?;
    if wait_ended(handle, u64::try_from(seconds).ok().map(Duration::from_secs)).await {
        return Ok(Outcome::Changed);
    }
    send(handle, signal::KILL, purpose).await?;
    if wait_ended(handle, Some(KILL_TIMEOUT)).await {
        return Ok(Outcome::Changed);
    }
    Err(EngineError::system(format!(
        "cannot stop container: {}: tried to kill container, but did not receive an exit event",
        handle.id
    )))
}

/// Sends a signal as a part of a stop. That it does not run any more is what was wanted.
async fn send(handle: &Arc<Handle>, signal: i32, purpose: Purpose) -> Result<()> {
    match handle.ask(|reply| Request::Signal { signal, purpose, reply }).await {
        Err(error) if handle.view().life.phase.is_running() => Err(error),
        _ => Ok(()),
    }
}

/// Whether it stands still before the time is over; no time: for ever.
async fn wait_ended(handle: &Arc<Handle>, time: Option<Duration>) -> bool {
    let mut view = handle.watch();
    let ended = view.wait_for(|view| {
        matches!(
            view.life.phase,
            Phase::Exited | Phase::Removed | Phase::Removing | Phase::Dead | Phase::Created
        )
    });
    match time {
        None => ended.await.is_ok(),
        Some(time) => tokio::time::timeout(time, ended).await.is_ok(),
    }
}
