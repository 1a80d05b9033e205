//! The life of a container as plain data and plain functions: no clock, no lock, no disk.
//!
//! ```text
//!            create                start                         exit, no restart due
//!   (none) ─────────▶ Created ───────────────▶ Running ────────────────────────────────▶ Exited
//!                        ▲                      │ ▲  │ ▲                                  │  │
//!                        └── start failed ──────┘ │  │ │ unpause               start      │  │
//!                        (never started before)   │  │ └──── Paused              ◀────────┘  │
//!                                                 │  └──────▶ (pause)                        │
//!                       timer: start again        │                                          │
//!                    Restarting ──────────────────┘                                          │
//!                        ▲ │ stop, or the start failed ──────────────────────▶ Exited        │
//!                        │                                                                   │
//!                     exit, restart due                                                      │
//!                                                                                            ▼
//!   Created, Exited ── remove ──▶ Removing ──▶ Removed (published last; the owner task ends)
//!                                     └─ failed ──▶ Dead ── remove ──▶ Removing
//! ```
//!
//! `Running`, `Paused` and `Restarting` are what Docker calls running (`State.Running`); pause and restart flags are told
//! besides. A failed start of a container that ran before leaves it `Exited`.

use corten_std::{Timestamp, duration};
use serde::{Deserialize, Serialize};

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Made, never started.
    #[default]
    Created,
    /// Its program runs.
    Running,
    /// Its program stands still.
    Paused,
    /// Its program ended and is started again soon.
    Restarting,
    /// Its program ended.
    Exited,
    /// It is being removed.
    Removing,
    /// A removal failed half way.
    Dead,
    /// It is gone; only watchers still see this.
    Removed,
}

impl Phase {
    /// Docker's word: `State.Status`, `ps --filter status=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing | Self::Removed => "removing",
            Self::Dead => "dead",
        }
    }

    /// Every word that a filter may name.
    pub const WORDS: [&'static str; 7] =
        ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

    /// What Docker calls running: running, paused, or about to be started again.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }

    /// Whether there is a process.
    pub fn has_process(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// How a container's program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Exit code, 128 + signal where a signal ended it.
    pub(crate) code: i32,
    /// Whether the kernel killed it for memory.
    pub(crate) oom_killed: bool,
    /// When.
    pub(crate) at: Timestamp,
}

/// What became of a container. Saved as `state.json` in the container's folder, without a sync: a torn or missing file
/// after a power cut means "exited, code unknown" and nothing worse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Lifecycle {
    pub(crate) phase: Phase,
    /// Process id of its first process as the host sees it; 0 where there is none.
    pub(crate) pid: i32,
    /// Of the last end, or of the last failed start.
    pub(crate) exit_code: i32,
    /// Why the last start failed; empty after a good one.
    pub(crate) error: String,
    pub(crate) oom_killed: bool,
    /// [`Timestamp::ZERO`] before the first start.
    pub(crate) started_at: Timestamp,
    /// [`Timestamp::ZERO`] before the first end.
    pub(crate) finished_at: Timestamp,
    /// Starts by the restart policy since the last start by a user.
    pub(crate) restart_count: u32,
    /// A user stopped it: `always` and `unless-stopped` hold back.
    pub(crate) stopped_by_user: bool,
    /// How often its program has ended while this daemon watched; lets a waiter see an end that a restart has covered.
    #[serde(skip)]
    pub(crate) exits: u64,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            phase: Phase::Created,
            pid: 0,
            exit_code: 0,
            error: String::new(),
            oom_killed: false,
            started_at: Timestamp::ZERO,
            finished_at: Timestamp::ZERO,
            restart_count: 0,
            stopped_by_user: false,
            exits: 0,
        }
    }
}

impl Lifecycle {
    /// The program runs. A start by a user begins a new count of restarts.
    pub(crate) fn started(&mut self, pid: i32, at: Timestamp, by_user: bool) {
        self.phase = Phase::Running;
        self.pid = pid;
        self.exit_code = 0;
        self.error.clear();
        self.oom_killed = false;
        self.started_at = at;
        if by_user {
            self.restart_count = 0;
            self.stopped_by_user = false;
        }
    }

    /// The program ended; `again` says that the restart policy will start it once more.
    pub(crate) fn ended(&mut self, exit: Exit, again: bool) {
        self.phase = if again { Phase::Restarting } else { Phase::Exited };
        self.pid = 0;
        self.exit_code = exit.code;
        self.oom_killed = exit.oom_killed;
        self.finished_at = exit.at;
        self.exits += 1;
        if again {
            self.restart_count += 1;
        }
    }

    /// The start failed: back to where it was, with the reason.
    pub(crate) fn start_failed(&mut self, error: &str, code: i32) {
        self.phase = if self.started_at.is_zero() { Phase::Created } else { Phase::Exited };
        self.pid = 0;
        error.clone_into(&mut self.error);
        self.exit_code = code;
    }

    /// A restart that was due is not wanted any more.
    pub(crate) fn restart_cancelled(&mut self) {
        self.phase = Phase::Exited;
    }

    /// The text of `ps`: `Up 2 minutes (Paused)`, `Exited (0) 3 hours ago`.
    pub(crate) fn status_text(&self, now: Timestamp) -> String {
        match self.phase {
            Phase::Created => "Created".to_owned(),
            Phase::Running => format!("Up {}", duration::human(now.since(self.started_at))),
            Phase::Paused => format!("Up {} (Paused)", duration::human(now.since(self.started_at))),
            Phase::Restarting => {
                format!(
                    "Restarting ({}) {} ago",
                    self.exit_code,
                    duration::human(now.since(self.finished_at))
                )
            }
            Phase::Removing | Phase::Removed => "Removal In Progress".to_owned(),
            Phase::Dead => "Dead".to_owned(),
            Phase::Exited if self.finished_at.is_zero() => String::new(),
            Phase::Exited => {
                format!("Exited ({}) {} ago", self.exit_code, duration::human(now.since(self.finished_at)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: i32) -> Exit {
        Exit { code, oom_killed: false, at: Timestamp::from_unix(20, 0) }
    }

    #[test]
    fn a_life_from_start_to_exit() {
        let mut life = Lifecycle::default();
        assert_eq!(life.status_text(Timestamp::now()), "Created");
        life.started(7, Timestamp::from_unix(10, 0), true);
        assert!(life.phase.has_process());
        life.ended(exit(3), false);
        assert_eq!((life.phase, life.pid, life.exit_code, life.exits), (Phase::Exited, 0, 3, 1));
        assert_eq!(life.status_text(Timestamp::from_unix(25, 0)), "Exited (3) 5 seconds ago");
    }

    #[test]
    fn restarts_are_counted_until_a_user_starts() {
        let mut life = Lifecycle::default();
        life.started(7, Timestamp::from_unix(10, 0), true);
        life.ended(exit(1), true);
        assert!(life.phase.is_running() && !life.phase.has_process());
        life.started(8, Timestamp::from_unix(30, 0), false);
        assert_eq!(life.restart_count, 1);
        life.ended(exit(1), false);
        life.started(9, Timestamp::from_unix(40, 0), true);
        assert_eq!(life.restart_count, 0);
    }

    #[test]
    fn a_failed_start_goes_back() {
        let mut life = Lifecycle::default();
        life.start_failed("no", 127);
        assert_eq!((life.phase, life.exit_code, life.error.as_str()), (Phase::Created, 127, "no"));
        life.started(7, Timestamp::from_unix(10, 0), true);
        assert_eq!(life.error, "");
        life.ended(exit(0), false);
        life.start_failed("no", 126);
        assert_eq!(life.phase, Phase::Exited);
    }
}
