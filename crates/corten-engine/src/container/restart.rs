//! Whether and when a container that ended is started again.

use crate::container::state::Lifecycle;
use corten_api::container::RestartPolicy;
use std::time::Duration;

/// The first delay; each further one is twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// No delay is longer.
const LONGEST_DELAY: Duration = Duration::from_mins(1);
/// A program that ran this long starts the delays anew.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// Whether a program that ended with `code` is to be started again. `life` is the state before the end is noted.
pub(super) fn wanted(policy: &RestartPolicy, life: &Lifecycle, code: i32) -> bool {
    match policy.name.as_str() {
        "always" | "unless-stopped" => !life.stopped_by_user,
        "on-failure" => {
            let retries = policy.maximum_retry_count;
            !life.stopped_by_user && code != 0 && (retries == 0 || i64::from(life.restart_count) < retries)
        }
        _ => false,
    }
}

/// Whether a container that stands still is to be started when the daemon starts.
pub(super) fn wanted_at_daemon_start(policy: &RestartPolicy, life: &Lifecycle) -> bool {
    match policy.name.as_str() {
        "always" => !life.started_at.is_zero(),
        "unless-stopped" => !life.started_at.is_zero() && !life.stopped_by_user,
        _ => false,
    }
}

/// The delay before the next start: `last` is the one before (none at first), `ran` how long the program ran.
pub(super) fn next_delay(last: Option<Duration>, ran: Duration) -> Duration {
    match last {
        Some(last) if ran < GOOD_RUN => (last * 2).min(LONGEST_DELAY),
        _ => FIRST_DELAY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, maximum_retry_count: i64) -> RestartPolicy {
        RestartPolicy { name: name.to_owned(), maximum_retry_count }
    }

    #[test]
    fn policies() {
        let mut life = Lifecycle::default();
        assert!(!wanted(&policy("no", 0), &life, 1));
        assert!(!wanted(&policy("", 0), &life, 1));
        assert!(wanted(&policy("always", 0), &life, 0));
        assert!(!wanted(&policy("on-failure", 0), &life, 0));
        assert!(wanted(&policy("on-failure", 2), &life, 5));
        life.restart_count = 2;
        assert!(!wanted(&policy("on-failure", 2), &life, 5));
        life.stopped_by_user = true;
        assert!(!wanted(&policy("always", 0), &life, 1));
        life.started_at = corten_std::Timestamp::from_unix(1, 0);
        assert!(wanted_at_daemon_start(&policy("always", 0), &life));
        assert!(!wanted_at_daemon_start(&policy("unless-stopped", 0), &life));
    }

    #[test]
    fn delays_double_to_a_minute_and_reset() {
        let short = Duration::from_millis(5);
        let mut delay = next_delay(None, short);
        assert_eq!(delay, Duration::from_millis(100));
        for _ in 0..20 {
            delay = next_delay(Some(delay), short);
        }
        assert_eq!(delay, Duration::from_mins(1));
        assert_eq!(next_delay(Some(delay), Duration::from_secs(11)), Duration::from_millis(100));
    }
}
