//! What follows when the daemon has ended: a plain decision.

use std::time::Duration;

/// How a daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It returned this code.
    Code(i32),
    /// It was killed from outside (SIGKILL), or ended in a way that nobody saw.
    Killed,
    /// A signal ended it that it brought upon itself.
    Crashed,
}

/// What is known when a daemon has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    pub(crate) ending: Ending,
    /// It had said that it serves.
    pub(crate) was_ready: bool,
    /// Any daemon of this keeper ever was ready.
    pub(crate) ever_ready: bool,
    /// How many before it in a row ended by themselves before they were ready.
    pub(crate) failed_before: u32,
    /// The keeper was told to end.
    pub(crate) stopping: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Start another after so long.
    Restart(Duration),
    /// End with this code.
    End(i32),
}

/// Longest pause between two starts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A daemon that was killed, or served before, comes again at once. One that ends by itself during its start comes
/// again after pauses that grow from 0.1 to 10 s. One that refuses its very first start (wrong settings, folder in use) is not
/// started again: whoever started it shall see why.
pub(crate) fn decide(situation: Situation) -> Decision {
    match situation {
        Situation { stopping: true, .. } => Decision::End(0),
        Situation { was_ready: true, .. } => Decision::Restart(Duration::ZERO),
        Situation { ever_ready: false, ending: Ending::Code(code), .. } if code != 0 => Decision::End(code),
        Situation { ending: Ending::Killed, .. } => Decision::Restart(Duration::ZERO),
        Situation { failed_before, .. } => {
            let pause = Duration::from_millis(100) * 2_u32.saturating_pow(failed_before.min(16));
            Decision::Restart(pause.min(LONGEST_PAUSE))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ending_has_its_answer() {
        let killed = Situation {
            ending: Ending::Killed,
            was_ready: true,
            ever_ready: true,
            failed_before: 0,
            stopping: false,
        };
        let at_start = Situation { was_ready: false, ending: Ending::Code(1), ..killed };
        let cases = [
            (killed, Decision::Restart(Duration::ZERO)),
            (Situation { ending: Ending::Code(1), ..killed }, Decision::Restart(Duration::ZERO)),
            (Situation { stopping: true, ..killed }, Decision::End(0)),
            (at_start, Decision::Restart(Duration::from_millis(100))),
            (Situation { failed_before: 3, ..at_start }, Decision::Restart(Duration::from_millis(800))),
            (Situation { failed_before: 99, ..at_start }, Decision::Restart(LONGEST_PAUSE)),
            (Situation { ever_ready: false, ..at_start }, Decision::End(1)),
            (Situation { was_ready: false, ever_ready: false, ..killed }, Decision::Restart(Duration::ZERO)),
            (Situation { was_ready: false, failed_before: 9, ..killed }, Decision::Restart(Duration::ZERO)),
            (
                Situation { ending: Ending::Crashed, failed_before: 1, ..at_start },
                Decision::Restart(Duration::from_millis(200)),
            ),
        ];
        for (situation, decision) in cases {
            assert_eq!(decide(situation), decision, "{situation:?}");
        }
    }
}
