//! What this program was built from, as far as whoever built it said so: `CORTEN_COMMIT` and `SOURCE_DATE_EPOCH` in the
//! environment of the build. Nothing is looked up, so that the same sources give the same program.

use crate::Timestamp;

/// The commit; empty where it was not said.
pub const COMMIT: &str = match option_env!("CORTEN_COMMIT") {
    Some(commit) => commit,
    None => "",
};

/// When its sources were last changed, as Docker writes it (RFC 3339, nine decimals); empty where it was not said.
pub fn time() -> String {
    option_env!("SOURCE_DATE_EPOCH").and_then(written).unwrap_or_default()
}

fn written(seconds: &str) -> Option<String> {
    let at = Timestamp::from_unix(seconds.trim().parse().ok()?, 0);
    let (year, month, day, hour, minute, second) = at.civil();
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000000000+00:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_a_date() {
        assert_eq!(written("1789470177").unwrap(), "2026-09-15T11:02:57.000000000+00:00");
        assert_eq!(written("yesterday"), None);
    }
}
