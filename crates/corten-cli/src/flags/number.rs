//! Numbers: sizes, processors, durations, limits. The messages are those of Docker's command line.

use corten_std::{duration, size};

/// Bytes with an optional suffix, as in `512m`.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    size::parse_bytes(text).ok_or_else(|| format!("invalid size: '{text}'"))
}

/// As [`bytes`]; -1 means no limit.
pub(crate) fn swap(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { bytes(text) }
}

/// Processors as in `1.5`, in billionths.
pub(crate) fn processors(text: &str) -> Result<i64, String> {
    let bad = || format!("failed to parse {text} as a rational number");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return Err(bad());
    }
    if fraction.trim_end_matches('0').len() > 9 {
        return Err("value is too precise".to_owned());
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
    let fraction: i64 = format!("{fraction:0<9}")[..9].parse().map_err(|_| bad())?;
    whole.checked_mul(1_000_000_000).and_then(|nanos| nanos.checked_add(fraction)).ok_or_else(bad)
}

/// A whole number.
pub(crate) fn whole(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"))
}

/// A duration as Go writes it, in nanoseconds.
pub(crate) fn nanoseconds(text: &str) -> Result<i64, String> {
    let nanos = duration::parse_go(text).map(|duration| duration.as_nanos());
    match nanos.and_then(|nanos| i64::try_from(nanos).ok()) {
        Some(nanos) => Ok(nanos),
        None => Err(format!("time: invalid duration \"{text}\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_api::container::Ulimit;

    #[test]
    fn processors_are_exact() {
        for (text, expected) in [
            ("0.5", Ok(500_000_000)),
            (".5", Ok(500_000_000)),
            ("2", Ok(2_000_000_000)),
            ("0.000000001", Ok(1)),
            ("0.0000000001", Err("value is too precise".to_owned())),
            ("x", Err("failed to parse x as a rational number".to_owned())),
        ] {
            assert_eq!(processors(text), expected, "{text}");
        }
    }

    #[test]
    fn ulimits_have_two_limits() {
        let limit = |text: &str| text.parse::<Ulimit>().map(|limit| (limit.soft, limit.hard));
        assert_eq!(limit("nofile=10:20"), Ok((10, 20)));
        assert_eq!(limit("nofile=10"), Ok((10, 10)));
        assert_eq!(limit("core=0:-1"), Ok((0, -1)));
        for wrong in ["nofile", "nofile=x", "nosuch=1", "nofile=20:10"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }
}
