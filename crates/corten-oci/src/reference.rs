//! Image references as Docker reads and writes them: `busybox` is `docker.io/library/busybox:latest`.
//!
//! The grammar is that of the distribution project's reference package, whose wording of errors users and
//! scripts know: host with an optional port, path components of lower-case letters and digits with single
//! separators, a tag of up to 128 characters, a digest.

use crate::digest::{Digest, DigestError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// The registry of names without one.
pub const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
/// The tag of names without one.
pub const DEFAULT_TAG: &str = "latest";
/// Longest repository name, host included.
const NAME_LIMIT: usize = 255;

/// Why a text is no reference; the texts are Docker's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Anything that the grammar does not have.
    #[error("invalid reference format")]
    Format,
    /// Upper case in the repository's path.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// 64 hexadecimal digits are an ID.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    HexName(String),
    /// More than 255 characters.
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    /// A digest by an algorithm that neither the image specification nor Docker has.
    #[error("unsupported digest algorithm")]
    Algorithm(#[source] DigestError),
    /// A digest of another length than its algorithm's.
    #[error("invalid checksum digest length")]
    Length(#[source] DigestError),
}

impl ReferenceError {
    /// Why a text behind an `@` is no digest. What is not even like one, by Docker's grammar, makes the name as a whole wrong.
    fn of_digest(text: &str, error: DigestError) -> Self {
        let digits = text.split_once(':').map_or("", |(_, digits)| digits);
        if digits.len() < 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Self::Format;
        }
        match error {
            DigestError::Algorithm(_) => Self::Algorithm(error),
            DigestError::Format(_) => Self::Length(error),
        }
    }
}

impl corten_std::Classified for ReferenceError {
    fn class(&self) -> corten_std::ErrorClass {
        corten_std::ErrorClass::InvalidParameter
    }
}

/// A checked, normalised image name: domain, path, and tag or digest or both.
///
/// ```
/// use corten_oci::Reference;
/// let reference = Reference::parse("busybox").unwrap();
/// assert_eq!(reference.canonical(), "docker.io/library/busybox:latest");
/// assert_eq!(reference.familiar(), "busybox:latest");
/// assert_eq!(Reference::parse("ghcr.io:443/a/b:1").unwrap().domain(), "ghcr.io:443");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads a name as the user writes it; without tag and digest it gets `:latest`.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        Self::parse_bare(text).map(Self::with_default_tag)
    }

    /// Reads a name and adds no tag: `busybox` stays the repository (`push -a`, `images busybox`).
    pub fn parse_bare(text: &str) -> Result<Self, ReferenceError> {
        if text.len() == Digest::HEX_LENGTH && Digest::from_hex(text).is_some() {
            return Err(ReferenceError::HexName(text.to_owned()));
        }
        let (domain, remainder) = split_domain(text);
        let remainder = if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
            format!("{OFFICIAL_PREFIX}{remainder}")
        } else {
            remainder.to_owned()
        };
        let remote = remainder.split(':').next().unwrap_or_default();
        if remote.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase(remote.to_owned()));
        }
        let (name_and_tag, digest) = match remainder.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(Digest::parse(digest).map_err(|error| ReferenceError::of_digest(digest, error))?))
            }
            None => (remainder.as_str(), None),
        };
        let (path, tag) = match name_and_tag.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (name_and_tag, None),
        };
        if !is_domain(domain) || !is_path(path) || !tag.is_none_or(is_tag) {
            return Err(ReferenceError::Format);
        }
        if domain.len() + 1 + path.len() > NAME_LIMIT {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self { domain: domain.to_owned(), path: path.to_owned(), tag: tag.map(str::to_owned), digest })
    }

    /// With `:latest` where there is neither tag nor digest.
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same repository with this tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Format);
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository at this digest and without a tag.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The repository alone.
    pub fn repository(&self) -> Self {
        Self { tag: None, digest: None, ..self.clone() }
    }

    /// The registry's host and port: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within its registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Domain and path: `docker.io/library/busybox`.
    pub fn canonical_name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The repository as people write it: `busybox`, `user/app`, `ghcr.io/user/app`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.canonical_name();
        }
        match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// All of it, with domain: `docker.io/library/busybox:latest`.
    pub fn canonical(&self) -> String {
        self.canonical_name() + &self.suffix()
    }

    /// All of it as people write it: `busybox:latest`.
    pub fn familiar(&self) -> String {
        self.familiar_name() + &self.suffix()
    }

    fn suffix(&self) -> String {
        let mut text = String::new();
        if let Some(tag) = &self.tag {
            text = format!(":{tag}");
        }
        if let Some(digest) = &self.digest {
            text = format!("{text}@{digest}");
        }
        text
    }
}

/// Whether a text can be a tag: a word character, then up to 127 word characters, dots and hyphens.
pub fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// The first component is a host when it says so: a dot, a port, `localhost`, or upper case, which no path has.
fn split_domain(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((LEGACY_DEFAULT_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    }
}

fn is_domain(text: &str) -> bool {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else { return false };
        if address.is_empty() || !address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':') {
            return false;
        }
        match after.strip_prefix(':') {
            Some(port) => (None, Some(port)),
            None if after.is_empty() => (None, None),
            None => return false,
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        }
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.is_none_or(|host| host.split('.').all(is_label))
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Components of lower-case letters and digits, joined inside by `.`, `_`, `__` or any number of `-`.
fn is_path(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.split('/').all(|component| {
        let bytes = component.as_bytes();
        if !bytes.first().copied().is_some_and(alphanumeric)
            || !bytes.last().copied().is_some_and(alphanumeric)
        {
            return false;
        }
        component
            .split(|character: char| character.is_ascii_lowercase() || character.is_ascii_digit())
            .filter(|separator| !separator.is_empty())
            .all(|separator| {
                matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
            })
    })
}

impl fmt::Display for Reference {
    /// The familiar form, as every message shows it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.familiar())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

/// On disk and between processes a reference is its canonical form.
impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.canonical())
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse_bare(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, canonical: &str, familiar: &str) {
        let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(
            (reference.canonical().as_str(), reference.familiar().as_str()),
            (canonical, familiar),
            "{text}"
        );
    }

    fn check_error(text: &str, message: &str) {
        assert_eq!(
            Reference::parse(text).map_err(|error| error.to_string()),
            Err(message.to_owned()),
            "{text}"
        );
    }

    #[test]
    fn names_are_normalised() {
        check("busybox", "docker.io/library/busybox:latest", "busybox:latest");
        check("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36");
        check("user/app", "docker.io/user/app:latest", "user/app:latest");
        check("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest");
        check("index.docker.io/library/busybox:x", "docker.io/library/busybox:x", "busybox:x");
        check("localhost/app", "localhost/app:latest", "localhost/app:latest");
        check("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1");
        check("a.b/c/d_e/f__g/h-i--j", "a.b/c/d_e/f__g/h-i--j:latest", "a.b/c/d_e/f__g/h-i--j:latest");
        check("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest");
        check("Host/x", "Host/x:latest", "Host/x:latest");
        check("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest");
        let digest = Digest::of(b"");
        check(
            &format!("busybox@{digest}"),
            &format!("docker.io/library/busybox@{digest}"),
            &format!("busybox@{digest}"),
        );
        check(&format!("x:1@{digest}"), &format!("docker.io/library/x:1@{digest}"), &format!("x:1@{digest}"));
    }

    #[test]
    fn errors_are_dockers() {
        let digits = "a".repeat(64);
        check_error(&format!("x@blake3:{digits}"), "unsupported digest algorithm");
        check_error(&format!("x@sha512:{digits}"), "invalid checksum digest length");
        check_error("x@blake3:00", "invalid reference format");
        check_error("UPPER", "invalid reference format: repository name (library/UPPER) must be lowercase");
        check_error("user/App:x", "invalid reference format: repository name (user/App) must be lowercase");
        let long = "x".repeat(300);
        check_error(&long, "repository name must not be more than 255 characters");
        check_error(
            &"a".repeat(64),
            &format!(
                "invalid repository name ({}), cannot specify 64-byte hexadecimal strings",
                "a".repeat(64)
            ),
        );
        for text in [
            "",
            ":tag",
            "a b",
            "a:b:c",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a//b",
            "a:",
            "a@",
            "a@sha256:00",
            "../x",
            "a/../b",
            "/a",
            "a/",
            "x:y/z:1:2",
            "é",
        ] {
            check_error(text, "invalid reference format");
        }
    }

    proptest! {
        #[test]
        fn canonical_and_familiar_read_back(
            text in "((localhost|[a-z]{1,3}\\.[a-z]{2}|[a-z]{2}:[0-9]{1,4})/)?[a-z0-9]{1,4}([._]|__|-{1,2})?[a-z0-9](/[a-z0-9]{1,4}){0,2}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,5})?"
        ) {
            let reference = Reference::parse(&text).unwrap();
            prop_assert_eq!(&Reference::parse(&reference.canonical()).unwrap(), &reference);
            prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
        }

        #[test]
        fn no_text_makes_it_panic_or_leaves_a_folder(text in "[a-zA-Z0-9./:@_\\- é]{0,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert!(!reference.canonical().split('/').any(|part| part == ".." || part.is_empty()));
                prop_assert_eq!(&Reference::parse(&reference.canonical()).unwrap(), &reference);
            }
        }
    }
}
