//! Shims that wait for a container, each in a cgroup of its own.
//!
//! With version 1 of cgroups a process that joins one waits until the kernel's forks have come to rest, which takes ten
//! milliseconds when nobody joined lately – and all that makes, renames or removes cgroups waits with it. So shims
//! join ahead, several at once (the kernel waits once for all of them), and while nothing else goes on.
//!
//! With version 2 a process is born in its cgroup and nothing waits; there are no spares then.

use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use corten_runtime::cgroup::Cgroup;
use corten_shim::client;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How many wait in quiet times.
const QUIET: usize = 6;

/// How many wait while containers are started faster than spares are made.
const BUSY: usize = 16;

/// With fewer than this, spares are made whatever else goes on.
const LOW: usize = 3;

/// After the last start for this long things count as quiet.
const PAUSE: Duration = Duration::from_millis(40);

/// How long a burst is remembered.
const BURST: Duration = Duration::from_secs(10);

/// The daemon's first answers come before its first spares.
const FIRST: Duration = Duration::from_millis(30);

/// How long a spare may take to join.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long no spares are made after that failed.
const AFTER_FAILURE: Duration = Duration::from_mins(1);

/// A shim in its cgroup.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) cgroup: Cgroup,
    pub(crate) shim: client::Spare,
}

/// Those that wait.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    state: Mutex<State>,
    /// One was taken.
    taken: Notify,
    /// Counts those that were taken or wanted.
    starts: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Spare>,
    /// When a start last found fewer than it should.
    short: Option<Instant>,
    closed: bool,
}

impl Spares {
    /// Takes one; none where none is ready.
    pub(crate) fn take(&self) -> Option<Spare> {
        let mut dead = Vec::new();
        let mut state = self.lock();
        let spare = loop {
            match state.waiting.pop() {
                Some(spare) if !spare.shim.is_there() => dead.push(spare),
                other => break other,
            }
        };
        if state.waiting.len() < LOW {
            state.short = Some(Instant::now());
        }
        drop(state);
        for spare in dead {
            discard(spare);
        }
        self.starts.fetch_add(1, Ordering::Relaxed);
        self.taken.notify_one();
        spare
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are missing, and how many there are.
    fn missing(&self) -> (usize, usize) {
        let state = self.lock();
        if state.closed {
            return (0, BUSY);
        }
        let busy = state.short.is_some_and(|at| at.elapsed() < BURST);
        let count = state.waiting.len();
        ((if busy { BUSY } else { QUIET }).saturating_sub(count), count)
    }

    /// Lets all of them end, and none follow. Blocking.
    pub(crate) fn close(&self) {
        let waiting = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        let cgroups: Vec<Cgroup> = waiting.into_iter().map(|spare| spare.cgroup).collect();
        for cgroup in cgroups {
            remove(&cgroup);
        }
    }
}

/// Keeps spares ready as long as the engine is there.
pub(crate) async fn keep(engine: Weak<EngineInner>) {
    tokio::time::sleep(FIRST).await;
    loop {
        let Some(inner) = engine.upgrade() else { return };
        let wait = fill(inner).await;
        let Some(inner) = engine.upgrade() else { return };
        if wait.is_zero() {
            let spares = &inner.spares;
            // The engine may go meanwhile, but not the daemon; what we hold of it is small.
            spares.taken.notified().await;
        } else {
            drop(inner);
            tokio::time::sleep(wait).await;
        }
    }
}

/// Makes what is missing, in a moment when it disturbs little; how long to wait before the next look, zero: until one
/// is taken.
async fn fill(engine: Arc<EngineInner>) -> Duration {
    loop {
        let (missing, there) = engine.spares.missing();
        if missing == 0 {
            return Duration::ZERO;
        }
        if there < LOW {
            break;
        }
        let seen = engine.spares.starts.load(Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
        if engine.spares.starts.load(Ordering::Relaxed) == seen {
            break;
        }
    }
    let result = crate::volume::blocking(move || make(&engine)).await;
    match result {
        Ok(()) => Duration::ZERO,
        Err(error) => {
            tracing::warn!(%error, "cannot make spare shims; containers start without");
            AFTER_FAILURE
        }
    }
}

/// Makes all that are missing. Blocking.
fn make(engine: &EngineInner) -> Result<()> {
    let (missing, _) = engine.spares.missing();
    let mut made = Vec::with_capacity(missing);
    let mut failure = None;
    for _ in 0..missing {
        match begin(engine) {
            Ok(spare) => made.push(spare),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    for spare in made {
        match spare.shim.wait_until_ready(PATIENCE) {
            Ok(()) => {
                let mut state = engine.spares.lock();
                if state.closed {
                    drop(state);
                    discard(spare);
                } else {
                    state.waiting.push(spare);
                }
            }
            Err(error) => {
                discard(spare);
                failure = Some(EngineError::because("a spare shim", error));
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Forks one; it is not ready yet.
fn begin(engine: &EngineInner) -> Result<Spare> {
    let cgroup =
        engine.cgroups.create_spare().map_err(|error| EngineError::because("a spare cgroup", error))?;
    let forked = (|| {
        let handle =
            cgroup.joining().map_err(|error| EngineError::because("opening a spare cgroup", error))?;
        let (prepared, shim) = client::prepare_spare(handle)
            .map_err(|error| EngineError::from_error("preparing a spare shim", error))?;
        engine
            .spawner
            .fork_shim(&prepared.bytes, &prepared.borrowed())
            .map_err(|error| EngineError::from_error("cannot start a spare shim", error))?;
        Ok(shim)
    })();
    match forked {
        Ok(shim) => Ok(Spare { cgroup, shim }),
        Err(error) => {
            remove(&cgroup);
            Err(error)
        }
    }
}

/// Ends one that is of no use. Blocking.
fn discard(spare: Spare) {
    let Spare { cgroup, shim } = spare;
    drop(shim);
    remove(&cgroup);
}

fn remove(cgroup: &Cgroup) {
    if let Err(error) = cgroup.remove() {
        tracing::warn!(%error, "cannot remove a spare cgroup");
    }
}
