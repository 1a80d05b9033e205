//! API versions: which are spoken, and what is said to those that are not.

use std::fmt;
use std::str::FromStr;

use corten_std::{Classified, ErrorClass};

/// A version of the API, `1.51`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u32,
    /// Counts up.
    pub minor: u32,
}

impl ApiVersion {
    /// The oldest that is accepted.
    pub const OLDEST: Self = Self::one(24);
    /// The newest; also what a client without a version prefix gets.
    pub const NEWEST: Self = Self::one(51);

    /// Version 1 with that minor number.
    pub const fn one(minor: u32) -> Self {
        Self { major: 1, minor }
    }

    /// Checks that a version a client asked for is spoken.
    pub fn check(self) -> Result<Self, UnsupportedVersion> {
        if self < Self::OLDEST {
            Err(UnsupportedVersion::TooOld(self))
        } else if self > Self::NEWEST {
            Err(UnsupportedVersion::TooNew(self))
        } else {
            Ok(self)
        }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = MalformedVersion;

    /// Reads digits and points as Docker compares them: what is missing counts as 0, what follows the second number is
    /// passed over.
    fn from_str(text: &str) -> Result<Self, MalformedVersion> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(MalformedVersion { text: text.to_owned() });
        }
        let mut parts =
            text.split('.').map(|part| part.parse().unwrap_or(if part.is_empty() { 0 } else { u32::MAX }));
        Ok(Self { major: parts.next().unwrap_or(0), minor: parts.next().unwrap_or(0) })
    }
}

/// A version that is no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed API version `{text}`")]
pub struct MalformedVersion {
    /// What was given.
    pub text: String,
}

/// A version that is not spoken. The texts are Docker's: clients match on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedVersion {
    /// Before [`ApiVersion::OLDEST`].
    #[error(
        "client version {0} is too old. Minimum supported API version is {oldest}, please upgrade your client to a newer version",
        oldest = ApiVersion::OLDEST
    )]
    TooOld(ApiVersion),
    /// After [`ApiVersion::NEWEST`].
    #[error("client version {0} is too new. Maximum supported API version is {newest}", newest = ApiVersion::NEWEST)]
    TooNew(ApiVersion),
}

impl Classified for UnsupportedVersion {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidParameter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_checked_with_dockers_texts() {
        let check = |text: &str| {
            let version: ApiVersion = text.parse().unwrap();
            version.check().map_or_else(|error| error.to_string(), |version| version.to_string())
        };
        assert_eq!(check("1.24"), "1.24");
        assert_eq!(check("1.51"), "1.51");
        assert_eq!(check("1.99"), "client version 1.99 is too new. Maximum supported API version is 1.51");
        assert_eq!(
            check("1.12"),
            "client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
        );
        assert!("1.x".parse::<ApiVersion>().is_err());
        assert!("".parse::<ApiVersion>().is_err());
    }
}
