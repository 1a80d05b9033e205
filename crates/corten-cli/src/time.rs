//! Times and durations as Docker's command line reads and writes them.

use crate::error::{CliError, Result};
use corten_std::{Timestamp, duration};

/// A point in time for `--since` and `--until`: a duration before now (`42m`), RFC 3339 in whole or part, or Unix
/// seconds. Gives what the daemon takes: Unix seconds with a fraction.
pub(crate) fn point(text: &str, now: Timestamp) -> Result<String> {
    if let Some(ago) = duration::parse_go(text) {
        let at = now.unix_nanos() - ago.as_nanos() as i128;
        return Ok(unix(Timestamp::from_unix_nanos(at)));
    }
    if let Some(at) = Timestamp::parse(text).or_else(|| partial(text)) {
        return Ok(unix(at));
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if digits(seconds.trim_start_matches('-')) && digits(fraction) {
        return Ok(text.to_owned());
    }
    Err(CliError::said(format!(
        "invalid value for a point in time: `{text}` (a duration as in 42m, RFC 3339 as in 2013-01-02T13:23:37Z, or Unix seconds)"
    )))
}

/// Unix seconds with nine digits of fraction.
pub(crate) fn unix(at: Timestamp) -> String {
    format!("{}.{:09}", at.unix_seconds(), at.subsecond_nanos())
}

/// RFC 3339 with the end left out: a date, a date with hours, with minutes, without an offset. Taken as UTC.
fn partial(text: &str) -> Option<Timestamp> {
    let date = |rest: &str| Timestamp::parse(&format!("{text}{rest}"));
    match text.len() {
        10 => date("T00:00:00Z"),
        11 if text.ends_with('Z') => Timestamp::parse(&format!("{}T00:00:00Z", &text[..10])),
        13 => date(":00:00Z"),
        16 => date(":00Z"),
        length if length >= 19 => date("Z"),
        _ => None,
    }
}

/// How long ago something was, as in `2 minutes ago`.
pub(crate) fn ago(seconds: i64, now: Timestamp) -> String {
    format!("{} ago", duration::human(now.since(Timestamp::from_unix(seconds, 0))))
}

/// As Go prints a time: `2026-11-21 12:57:01 +0000 UTC`.
pub(crate) fn go_time(seconds: i64) -> String {
    let (year, month, day, hour, minute, second) = Timestamp::from_unix(seconds, 0).civil();
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC")
}

/// As [`go_time`], with the fraction.
pub(crate) fn go_timestamp(at: Timestamp) -> String {
    let whole = go_time(at.unix_seconds());
    let fraction = match at.subsecond_nanos() {
        0 => String::new(),
        nanos => format!(".{}", format!("{nanos:09}").trim_end_matches('0')),
    };
    whole.replacen(" +0000", &format!("{fraction} +0000"), 1)
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
            ("1970-01-01T00:00:07.5", "7.500000000"),
            ("1970-01-02", "86400.000000000"),
            ("1970-01-01T01:00", "3600.000000000"),
            ("1700000000", "1700000000"),
            ("1700000000.25", "1700000000.25"),
        ] {
            assert_eq!(point(text, now).unwrap(), expected, "{text}");
        }
        assert!(point("yesterday", now).is_err());
    }

    #[test]
    fn times_print_as_in_go() {
        assert_eq!(go_time(1_795_265_821), "2026-11-21 12:57:01 +0000 UTC");
    }
}
