//! Waiting for a container: the subscription stands before the answer begins, so that no end is missed.

use crate::Engine;
use crate::container::handle::View;
use crate::container::monitor::{MACHINE_ENDED, SHIM_KILLED};
use crate::container::save;
use crate::container::state::Phase;
use crate::error::{EngineError, Result};
use corten_api::container::{WaitError, WaitResponse};
use std::sync::Arc;
use tokio::sync::watch;

/// What is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// It does not run; true at once where it does not.
    #[default]
    NotRunning,
    /// It ends once more.
    NextExit,
    /// It is gone; gives the code of its last end.
    Removed,
}

impl std::str::FromStr for WaitCondition {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" | "not-running" => Ok(Self::NotRunning),
            "next-exit" => Ok(Self::NextExit),
            "removed" => Ok(Self::Removed),
            _ => Err(EngineError::invalid(format!("invalid condition: {text:?}"))),
        }
    }
}

/// A wait that has begun.
#[derive(Debug)]
pub struct WaitHandle(Wait);

#[derive(Debug)]
enum Wait {
    /// It is gone, and ended with this code.
    Gone { exit_code: i32 },
    /// It is here.
    Watching {
        view: watch::Receiver<Arc<View>>,
        condition: WaitCondition,
        /// Ends that had been seen when the wait began.
        exits: u64,
    },
}

impl Engine {
    /// Begins to wait; what happens from here on counts.
    pub fn wait(&self, reference: &str, condition: WaitCondition) -> Result<WaitHandle> {
        let handle = match self.find(reference) {
            Ok(handle) => handle,
            Err(error) => {
                let record = save::read_exit_of_gone(&self.inner, reference).ok_or(error)?;
                return Ok(WaitHandle(Wait::Gone { exit_code: record.exit.code }));
            }
        };
        let view = handle.watch();
        let exits = view.borrow().life.exits;
        Ok(WaitHandle(Wait::Watching { view, condition, exits }))
    }
}

impl WaitHandle {
    /// Waits for the condition.
    pub async fn result(self) -> WaitResponse {
        let (mut view, condition, exits) = match self.0 {
            Wait::Gone { exit_code } => {
                return WaitResponse { error: None, status_code: i64::from(exit_code) };
            }
            Wait::Watching { view, condition, exits } => (view, condition, exits),
        };
        let reached = |view: &Arc<View>| is_reached(view, condition, exits);
        // The owner ends only after it has published `Removed`, which reaches every condition.
        let _ = view.wait_for(reached).await;
        let view = view.borrow().clone();
        // For one that is gone only a failed removal would be an error, and then it is not gone.
        // Nor is what ended a program that ran: a client would take it for a failed wait, and end with 125.
        let ended_by_us = [SHIM_KILLED, MACHINE_ENDED].contains(&view.life.error.as_str());
        let told = !view.life.error.is_empty() && !ended_by_us && view.life.phase != Phase::Removed;
        let error = told.then(|| WaitError { message: view.life.error.clone() });
        WaitResponse { error, status_code: i64::from(view.life.exit_code) }
    }
}

fn is_reached(view: &View, condition: WaitCondition, exits: u64) -> bool {
    let gone = view.life.phase == Phase::Removed;
    let ended = view.life.exits > exits;
    match condition {
        WaitCondition::NotRunning => gone || ended || !view.life.phase.is_running(),
        WaitCondition::NextExit => gone || ended,
        WaitCondition::Removed => gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::record::tests_support::record;
    use crate::container::state::{Exit, Lifecycle};
    use corten_std::Timestamp;

    fn view(life: &Lifecycle) -> View {
        View { record: Arc::new(record("aa", "a")), life: life.clone(), network: None, health: None }
    }

    #[test]
    fn conditions() {
        let mut life = Lifecycle::default();
        let reached = |life: &Lifecycle| {
            [WaitCondition::NotRunning, WaitCondition::NextExit, WaitCondition::Removed]
                .map(|condition| is_reached(&view(life), condition, 0))
        };
        assert_eq!(reached(&life), [true, false, false]);
        life.started(1, Timestamp::now(), true);
        assert_eq!(reached(&life), [false, false, false]);
        life.ended(Exit { code: 1, oom_killed: false, at: Timestamp::now() }, true);
        assert_eq!(reached(&life), [true, true, false]);
        life.started(2, Timestamp::now(), false);
        assert_eq!(reached(&life), [true, true, false], "a quick restart does not hide the end");
        life.phase = Phase::Removed;
        assert_eq!(reached(&life), [true, true, true]);
    }
}
