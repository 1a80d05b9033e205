//! Signals by number and by name, as Docker reads them.

use crate::error::{EngineError, Result};

const NAMES: [(&str, i32); 34] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// SIGKILL.
pub(super) const KILL: i32 = 9;
/// SIGTERM.
pub(super) const TERM: i32 = 15;

/// Reads `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`; else 400 `invalid signal: X`.
pub(crate) fn parse(text: &str) -> Result<i32> {
    let invalid = || EngineError::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(34),
        (Some(rest), _) => {
            rest.strip_prefix('+').and_then(|offset| offset.parse::<i32>().ok()).map(|offset| 34 + offset)
        }
        (_, Some("")) => Some(64),
        (_, Some(rest)) => {
            rest.strip_prefix('-').and_then(|offset| offset.parse::<i32>().ok()).map(|offset| 64 - offset)
        }
        _ => None,
    };
    real_time.filter(|number| (34..=64).contains(number)).ok_or_else(invalid)
}

/// Whether a signal can stand in a configuration: as Docker does, any number but 0 can.
pub(crate) fn check(text: &str) -> Result<()> {
    match text.parse::<i32>() {
        Ok(number) if number != 0 => Ok(()),
        _ => parse(text).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::{check, parse};

    #[test]
    fn names_and_numbers() {
        for (text, number) in
            [("KILL", 9), ("SIGTERM", 15), ("sigusr1", 10), ("10", 10), ("RTMIN+3", 37), ("RTMAX", 64)]
        {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for text in ["NOSUCH", "", "0", "65", "-1", "RTMIN+99"] {
            assert_eq!(parse(text).unwrap_err().to_string(), format!("invalid signal: {text}"));
        }
    }

    #[test]
    fn a_configuration_can_have_numbers_that_are_no_signals() {
        for text in ["TERM", "99", "-1", "RTMIN+3"] {
            assert!(check(text).is_ok(), "{text}");
        }
        for text in ["0", "foo", ""] {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
