//! Times and durations as Docker's command line reads and writes them.

use crate::environment;
use crate::error::{CliError, Result};
use corten_std::zone::Zone;
use corten_std::{Timestamp, duration};
use std::sync::OnceLock;

/// A point in time for `--since` and `--until`, see [`Timestamp::parse_point`]. Gives what the daemon takes: Unix
/// seconds with a fraction.
pub(crate) fn point(text: &str, now: Timestamp) -> Result<String> {
    let wrong = || CliError::said(format!("failed to parse value as time or duration: {text:?}"));
    Timestamp::parse_point(text, now, zone()).map(unix).ok_or_else(wrong)
}

/// Unix seconds with nine digits of fraction.
pub(crate) fn unix(at: Timestamp) -> String {
    format!("{}.{:09}", at.unix_seconds(), at.subsecond_nanos())
}

/// The person's zone; read once.
fn zone() -> &'static Zone {
    static ZONE: OnceLock<Zone> = OnceLock::new();
    ZONE.get_or_init(|| Zone::named(std::env::var(environment::ZONE).ok().as_deref()))
}

/// How long ago something was, as in `2 minutes ago`.
pub(crate) fn ago(seconds: i64, now: Timestamp) -> String {
    format!("{} ago", duration::human(now.since(Timestamp::from_unix(seconds, 0))))
}

/// As Go prints a time, in the person's zone: `2026-11-21 12:57:01 +0000 UTC`.
pub(crate) fn go_time(seconds: i64) -> String {
    go_time_in(Timestamp::from_unix(seconds, 0), zone())
}

/// As [`go_time`], with the fraction, in UTC.
pub(crate) fn go_timestamp(at: Timestamp) -> String {
    let whole = go_time_in(at, &Zone::default());
    let fraction = match at.subsecond_nanos() {
        0 => String::new(),
        nanos => format!(".{}", format!("{nanos:09}").trim_end_matches('0')),
    };
    whole.replacen(" +0000", &format!("{fraction} +0000"), 1)
}

fn go_time_in(at: Timestamp, zone: &Zone) -> String {
    let (offset, name) = zone.at(at);
    let (year, month, day, hour, minute, second) =
        Timestamp::from_unix(at.unix_seconds() + offset, 0).civil();
    let offset = offset_text(offset, "");
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} {offset} {name}")
}

/// RFC 3339 in the person's zone, with all nine digits of the fraction or with none.
pub(crate) fn rfc3339(at: Timestamp, with_fraction: bool) -> String {
    rfc3339_in(at, with_fraction, zone())
}

fn rfc3339_in(at: Timestamp, with_fraction: bool, zone: &Zone) -> String {
    let (offset, _) = zone.at(at);
    let (year, month, day, hour, minute, second) =
        Timestamp::from_unix(at.unix_seconds() + offset, 0).civil();
    let fraction = if with_fraction { format!(".{:09}", at.subsecond_nanos()) } else { String::new() };
    let offset = if offset == 0 { "Z".to_owned() } else { offset_text(offset, ":") };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{offset}")
}

/// `+0100` or `+01:00`.
fn offset_text(offset: i64, colon: &str) -> String {
    let sign = if offset < 0 { '-' } else { '+' };
    let minutes = offset.abs() / 60;
    format!("{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60)
}

/// As Go prints a duration: `1h30m0s`, `1.5s`, `300ms`, `0s`.
pub(crate) fn go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let decimal = |value: u64, unit: u64| {
        let text = format!("{}.{:0width$}", value / unit, value % unit, width = unit.ilog10() as usize);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let text = match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 1_000_000)),
        _ => {
            let seconds = nanos / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = format!("{}s", decimal(nanos % 60_000_000_000, 1_000_000_000));
            match (hours, minutes) {
                (0, 0) => rest,
                (0, minutes) => format!("{minutes}m{rest}"),
                (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_go() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (300_000_000, "300ms"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (5_400_000_000_000, "1h30m0s"),
            (-2_000_000_000, "-2s"),
        ] {
            assert_eq!(go_duration(nanos), text);
        }
    }

    #[test]
    fn points_in_time_are_read() {
        let now = Timestamp::from_unix(1000, 5);
        for (text, expected) in [
            ("10s", "990.000000005"),
            ("1970-01-01T00:00:07Z", "7.000000000"),
            ("1970-01-01T00:00:07.5Z", "7.500000000"),
            ("1700000000", "1700000000.000000000"),
            ("1700000000.25", "1700000000.250000000"),
        ] {
            assert_eq!(point(text, now).unwrap(), expected, "{text}");
        }
        assert!(point("yesterday", now).is_err());
    }

    #[test]
    fn times_print_as_in_go() {
        let at = Timestamp::from_unix(1_795_265_821, 500_000_000);
        assert_eq!(go_time_in(at, &Zone::default()), "2026-11-21 12:57:01 +0000 UTC");
        assert_eq!(go_timestamp(at), "2026-11-21 12:57:01.5 +0000 UTC");
        assert_eq!(rfc3339_in(at, true, &Zone::default()), "2026-11-21T12:57:01.500000000Z");
        let zone = Zone::fixed(-5400, "X");
        assert_eq!(go_time_in(at, &zone), "2026-11-21 11:27:01 -0130 X");
        assert_eq!(rfc3339_in(at, false, &zone), "2026-11-21T11:27:01-01:30");
    }
}
