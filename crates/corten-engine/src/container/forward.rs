//! Sends a container's log to where its driver says, from the file that the shim writes.
//!
//! One task a run. It notes beside the log how far it came (`log-sent`), so that the next daemon goes on there; the note is
//! there exactly while something may be left to send. What a receiver does not take is tried again, at longer and longer
//! intervals; the file is the buffer, and its rotation the bound.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use corten_shim::log::{LogEntry, LogReader, LogWatch, ReadOptions};
use corten_std::{Timestamp, file};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::container::handle::View;
use crate::container::owner::Owner;
use crate::container::state::Phase;
use crate::error::{EngineError, Result};
use crate::log::driver::{Driver, Subject, subject};

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a removal waits for what is not sent yet.
const LAST_CHANCE: Duration = Duration::from_secs(5);

/// What sends one container's log.
#[derive(Debug, Default)]
pub(super) struct Forwarding {
    task: Option<JoinHandle<()>>,
}

impl Forwarding {
    /// Lets it finish for a moment, and ends it.
    pub(super) async fn finish(&mut self) {
        let Some(mut task) = self.task.take() else { return };
        if timeout(LAST_CHANCE, &mut task).await.is_err() {
            task.abort();
        }
    }
}

impl Owner {
    /// Connects to the receiver of the container's log before a start; none where the log is only kept.
    pub(super) async fn open_log_driver(&self) -> Result<Option<Driver>> {
        let Some(mut driver) = Driver::new(&self.record.host_config.log_config)? else { return Ok(None) };
        match driver.open().await {
            Err(error) if !driver.is_patient() => Err(EngineError::system(format!(
                "failed to create task for container: failed to initialize logging driver: {error}"
            ))
            .with_hint("start the receiver of the container's log, or create the container with another --log-driver")),
            _ => Ok(Some(driver)),
        }
    }

    /// Sends what this run writes; `since`: a moment before its first line.
    pub(super) fn forward_log(&mut self, driver: Driver, since: Timestamp) {
        let paths = &self.engine.inner.settings.paths;
        let log = paths.container_log(&self.record.id);
        let subject = match subject(&self.record) {
            Ok(subject) => subject,
            Err(error) => {
                tracing::warn!(container = self.record.id, %error, "the log is not sent");
                return;
            }
        };
        let mark = mark(&log);
        note(&mark, since);
        // Watched before it is read: what comes between is a change, not a loss.
        let watch = match self.engine.inner.log_watches.watch(&log) {
            Ok(watch) => watch,
            Err(error) => {
                tracing::warn!(container = self.record.id, %error, "the log is not sent");
                return;
            }
        };
        let route = Route { driver, subject, mark, log, view: self.watch() };
        let before = self.forwarding.task.take();
        self.forwarding.task = Some(tokio::spawn(async move {
            // The lines of the run before come first.
            if let Some(before) = before {
                let _ = before.await;
            }
            route.run(since, watch).await;
        }));
    }

    /// Goes on where the daemon before left off, if it did not come to the end.
    pub(super) fn resume_forwarding(&mut self) {
        let log = self.engine.inner.settings.paths.container_log(&self.record.id);
        let Ok(text) = file::read_to_string(mark(&log)) else { return };
        let Some(sent) = text.trim().parse().ok().map(Timestamp::from_unix_nanos) else { return };
        if let Ok(Some(driver)) = Driver::new(&self.record.host_config.log_config) {
            self.forward_log(driver, sent);
        }
    }
}

/// Where it is noted up to which line the log was sent.
fn mark(log: &Path) -> PathBuf {
    log.with_file_name("log-sent")
}

fn note(mark: &Path, sent: Timestamp) {
    if let Err(error) = file::write(mark, sent.unix_nanos().to_string().as_bytes()) {
        tracing::debug!(%error, "cannot note how far a log was sent");
    }
}

/// One container's log on its way.
struct Route {
    driver: Driver,
    subject: Subject,
    mark: PathBuf,
    log: PathBuf,
    view: watch::Receiver<Arc<View>>,
}

impl Route {
    async fn run(mut self, since: Timestamp, watch: LogWatch) {
        match self.carry(since, watch).await {
            Ok(()) => drop(file::remove_file(&self.mark)),
            Err(error) => {
                tracing::warn!(container = self.subject.id, %error, "the log is not sent any further");
            }
        }
    }

    /// Returns when the run has ended and all of its log is sent.
    async fn carry(&mut self, since: Timestamp, mut watch: LogWatch) -> Result<()> {
        let failed = |error| EngineError::because("reading the log", error);
        let since = Some(since.plus(Duration::from_nanos(1)));
        let options = ReadOptions { tail: None, since, until: None };
        let mut reader = LogReader::open(&self.log, options).map_err(failed)?;
        loop {
            let ended = !self.view.borrow_and_update().life.phase.has_process();
            let mut sent = None;
            while let Some(entry) = reader.next().map_err(failed)? {
                self.deliver(&entry).await?;
                sent = Some(entry.time);
            }
            match sent {
                Some(sent) => note(&self.mark, sent),
                None if ended => return Ok(()),
                None => {}
            }
            if ended {
                continue;
            }
            tokio::select! {
                changed = watch.changed() => {
                    changed.map_err(|error| EngineError::from_error("watching the log", error))?;
                }
                changed = self.view.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    /// Sends one entry, however long it takes; fails only where the container is gone.
    async fn deliver(&mut self, entry: &LogEntry) -> Result<()> {
        let mut pause = Duration::from_millis(100);
        loop {
            let Err(error) = self.driver.send(&self.subject, entry).await else { return Ok(()) };
            tracing::debug!(container = self.subject.id, %error, "a line could not be sent");
            if self.driver.open().await.is_ok() {
                // One that takes connections and no lines must not be asked without end.
                if self.driver.send(&self.subject, entry).await.is_ok() {
                    return Ok(());
                }
            }
            if self.view.borrow().life.phase == Phase::Removed {
                return Err(EngineError::system("the container was removed"));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
