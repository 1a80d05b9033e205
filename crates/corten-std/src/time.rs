//! Points in time as Go prints and reads them: RFC 3339 with nanoseconds, trailing zeros left out, in UTC.

use crate::duration;
use crate::zone::Zone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time, nanoseconds since 1970-01-01 UTC (leap seconds not counted). [`Timestamp::ZERO`] is Go's
/// zero time, year 1, which Docker prints for "never".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i128);

impl Default for Timestamp {
    fn default() -> Self {
        Self::ZERO
    }
}

const NANOS: i128 = 1_000_000_000;

impl Timestamp {
    /// `0001-01-01T00:00:00Z`.
    pub const ZERO: Self = Self(-62_135_596_800 * NANOS);

    /// The present, by the system's clock.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// From seconds and nanoseconds since 1970.
    pub fn from_unix(seconds: i64, nanoseconds: u32) -> Self {
        Self(i128::from(seconds) * NANOS + i128::from(nanoseconds))
    }

    /// From nanoseconds since 1970.
    pub fn from_unix_nanos(nanoseconds: i128) -> Self {
        Self(nanoseconds)
    }

    /// Whole seconds since 1970, rounded down.
    pub fn unix_seconds(self) -> i64 {
        self.0.div_euclid(NANOS) as i64
    }

    /// Nanoseconds since 1970; for [`Timestamp::ZERO`] it does not fit 64 bits.
    pub fn unix_nanos(self) -> i128 {
        self.0
    }

    /// Nanoseconds within the second.
    pub fn subsecond_nanos(self) -> u32 {
        self.0.rem_euclid(NANOS) as u32
    }

    /// Whether this is "never".
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// How long ago `earlier` was; zero where it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// Later by a duration.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0 + duration.as_nanos() as i128)
    }

    /// Year, month (1..=12), day, hour, minute, second, in UTC.
    pub fn civil(self) -> (i64, u32, u32, u32, u32, u32) {
        let seconds = self.unix_seconds();
        let days = seconds.div_euclid(86400);
        let second_of_day = seconds.rem_euclid(86400) as u32;
        let (year, month, day) = civil_from_days(days);
        (year, month, day, second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60)
    }

    /// Reads a point in time as Docker's users write it (its `GetTimestamp`): a duration before now (`42m`; with `-` behind
    /// it), RFC 3339 in whole or with its end left out (`2026-11-21`, `2026-11-21T12:57`), which is then taken in `zone`, or
    /// Unix seconds with up to nine decimals.
    pub fn parse_point(text: &str, now: Self, zone: &Zone) -> Option<Self> {
        let back = |text| duration::parse_go(text).map(|back| back.as_nanos() as i128);
        // A bare number would be a duration of none, and is seconds.
        let is_number =
            text.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if !is_number && let Some(ahead) = text.strip_prefix('-').and_then(back) {
            return Some(Self(now.0 + ahead));
        }
        if !is_number && let Some(ago) = back(text) {
            return Some(Self(now.0 - ago));
        }
        Self::parse(text).or_else(|| Self::parse_partial(text, zone)).or_else(|| Self::parse_unix(text))
    }

    /// A date, a date with hours, with minutes, without an offset.
    fn parse_partial(text: &str, zone: &Zone) -> Option<Self> {
        let local = |rest: &str| Self::parse(&format!("{text}{rest}Z")).map(|shown| zone.moment(shown));
        match text.len() {
            10 => local("T00:00:00"),
            11 => {
                let date = text.strip_suffix('Z')?;
                Self::parse(&format!("{date}T00:00:00Z"))
            }
            13 => local(":00:00"),
            16 => local(":00"),
            length if length >= 19 => local(""),
            _ => None,
        }
    }

    /// Seconds since 1970 with up to nine decimals.
    pub fn parse_unix(text: &str) -> Option<Self> {
        let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
        let seconds = seconds.parse::<i64>().ok()?;
        if decimals.len() > 9 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self::from_unix(seconds, format!("{decimals:0<9}").parse().ok()?))
    }

    /// Reads RFC 3339 with any offset and up to nine digits of fraction.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() < 20 || !text.is_ascii() {
            return None;
        }
        let number = |range: std::ops::Range<usize>| -> Option<i64> {
            let part = text.get(range)?;
            if part.bytes().all(|byte| byte.is_ascii_digit()) { part.parse().ok() } else { None }
        };
        let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
        if separators.iter().any(|&(at, byte)| bytes[at] != byte) || !matches!(bytes[10], b'T' | b't' | b' ')
        {
            return None;
        }
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let mut at = 19;
        let mut nanos = 0_i64;
        if bytes[at] == b'.' {
            at += 1;
            let start = at;
            while at < bytes.len() && bytes[at].is_ascii_digit() {
                at += 1;
            }
            if at == start || at - start > 9 {
                return None;
            }
            nanos = number(start..at)? * 10_i64.pow(9 - (at - start) as u32);
        }
        let offset = match bytes.get(at)? {
            b'Z' | b'z' if at + 1 == bytes.len() => 0,
            sign @ (b'+' | b'-') if at + 6 == bytes.len() && bytes[at + 3] == b':' => {
                let minutes = number(at + 1..at + 3)? * 60 + number(at + 4..at + 6)?;
                if *sign == b'-' { -minutes * 60 } else { minutes * 60 }
            }
            _ => return None,
        };
        let days = days_from_civil(year, month as u32, day as u32);
        let seconds = days * 86400 + hour * 3600 + minute * 60 + second - offset;
        Some(Self(i128::from(seconds) * NANOS + i128::from(nanos)))
    }

    /// With all nine digits of the fraction, as log lines carry it (fixed width sorts).
    pub fn fixed_width(self) -> String {
        let (year, month, day, hour, minute, second) = self.civil();
        format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z",
            self.subsecond_nanos()
        )
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(after.as_nanos() as i128),
            Err(before) => Self(-(before.duration().as_nanos() as i128)),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, hour, minute, second) = self.civil();
        write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        let nanos = self.subsecond_nanos();
        if nanos != 0 {
            let digits = format!("{nanos:09}");
            write!(formatter, ".{}", digits.trim_end_matches('0'))?;
        }
        formatter.write_str("Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not an RFC 3339 time")))
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar (years counted from March, eras of 400 years).
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = ((month_from_march + 2) % 12 + 1) as u32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_as_people_write_them() {
        let now = Timestamp::from_unix(1000, 5);
        let zone = Zone::fixed(-5400, "X");
        for (text, expected) in [
            ("10s", Some("1970-01-01T00:16:30.000000005Z")),
            ("-10s", Some("1970-01-01T00:16:50.000000005Z")),
            ("1970-01-01T00:00:07.5Z", Some("1970-01-01T00:00:07.5Z")),
            ("2026-11-21", Some("2026-11-21T01:30:00Z")),
            ("2026-11-21Z", Some("2026-11-21T00:00:00Z")),
            ("2026-11-21T11", Some("2026-11-21T12:30:00Z")),
            ("2026-11-21T11:27", Some("2026-11-21T12:57:00Z")),
            ("2026-11-21T11:27:01", Some("2026-11-21T12:57:01Z")),
            ("0", Some("1970-01-01T00:00:00Z")),
            ("7.25", Some("1970-01-01T00:00:07.25Z")),
            ("-1", Some("1969-12-31T23:59:59Z")),
            ("", None),
            ("-", None),
            ("yesterday", None),
            ("2026-13-21", None),
            ("1.2.3", None),
            ("7.1234567890", None),
            ("é2026-11-2", None),
        ] {
            let read = Timestamp::parse_point(text, now, &zone).map(|at| at.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn times_print_and_parse_as_in_go() {
        for text in [
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59.5Z",
            "1970-01-01T00:00:00Z",
            "2000-02-29T12:00:00.000000001Z",
            "2026-11-21T12:34:56.12Z",
            "9999-12-31T23:59:59.999999999Z",
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Timestamp::parse("0001-01-01T00:00:00Z"), Some(Timestamp::ZERO));
        assert_eq!(Timestamp::parse("2026-11-21T13:34:56+01:00"), Timestamp::parse("2026-11-21T12:34:56Z"),);
        for wrong in
            ["", "2026-11-21", "2026-13-01T00:00:00Z", "2026-11-21T12:34:56", "2026-11-21T12:34:56.Z"]
        {
            assert_eq!(Timestamp::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_day_of_eight_centuries_goes_there_and_back() {
        for days in -146_097..146_097 {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }
}
