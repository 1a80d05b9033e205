//! Digests: `sha256:` and 64 hexadecimal digits, or `sha512:` and 128, the name of every piece of content.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

/// Why a text is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not `algorithm:hex` with lower-case digits of the algorithm's length.
    #[error("invalid digest format: `{0}`")]
    Format(String),
    /// An algorithm that we do not have.
    #[error("unsupported digest algorithm: `{0}`")]
    Algorithm(String),
}

impl corten_std::Classified for DigestError {
    fn class(&self) -> corten_std::ErrorClass {
        corten_std::ErrorClass::InvalidParameter
    }
}

/// How content is hashed. These two are what the image specification registers and registries use; a name that cannot be
/// verified is worth nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// What everything is named by that this program names itself.
    #[default]
    Sha256,
    /// Where others chose it.
    Sha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// As it stands before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Bytes of its digests.
    const fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// A checked content digest.
///
/// ```
/// use corten_oci::Digest;
/// let digest = Digest::of(b"");
/// assert_eq!(digest.to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
/// assert_eq!(digest.short(), "e3b0c44298fc");
/// assert!(Digest::parse("sha256:E3").is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    /// Zeros behind its length.
    bytes: [u8; 64],
}

impl Digest {
    /// Length of the hexadecimal part of a SHA-256.
    pub const HEX_LENGTH: usize = 64;
    /// Length of the longest hexadecimal part, that of a SHA-512.
    pub const LONGEST_HEX: usize = 128;

    /// Reads an algorithm's name, a colon and as many lower-case hexadecimal digits as it has.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let Some((name, hex)) = text.split_once(':') else {
            return Err(DigestError::Format(text.to_owned()));
        };
        if let Some(algorithm) = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name) {
            let read = Self::from_hex(hex).filter(|digest| digest.algorithm == algorithm);
            return read.ok_or_else(|| DigestError::Format(text.to_owned()));
        }
        let plain = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+._-".contains(&byte));
        Err(if plain {
            DigestError::Algorithm(name.to_owned())
        } else {
            DigestError::Format(text.to_owned())
        })
    }

    /// From lower-case hexadecimal digits alone; their number tells the algorithm.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.length() * 2 == hex.len())?;
        let mut bytes = [0; 64];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self { algorithm, bytes })
    }

    /// What a path in an image layout says that lies there, as `blobs/sha256/HEX` (image specification, image-layout.md);
    /// none for a path that is no blob's.
    pub fn of_blob_path(path: &str) -> Option<Result<Self, DigestError>> {
        let (algorithm, hex) = path.strip_prefix("blobs/")?.split_once('/')?;
        (!hex.contains('/')).then(|| Self::parse(&format!("{algorithm}:{hex}")))
    }

    /// The SHA-256 of these bytes.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self::with(Algorithm::Sha256, bytes)
    }

    /// The digest of other bytes, by the algorithm of this one: equal to it where they are what it names.
    #[must_use]
    pub fn again(&self, bytes: impl AsRef<[u8]>) -> Self {
        Self::with(self.algorithm, bytes)
    }

    /// The digest of these bytes by one algorithm.
    pub fn with(algorithm: Algorithm, bytes: impl AsRef<[u8]>) -> Self {
        let mut hasher = Hasher::with(algorithm);
        hasher.update(bytes.as_ref());
        hasher.finish()
    }

    /// A hash of nothing yet, by the algorithm of this digest.
    pub fn hasher(&self) -> Hasher {
        Hasher::with(self.algorithm)
    }

    fn from_slice(algorithm: Algorithm, slice: &[u8]) -> Self {
        let mut bytes = [0; 64];
        bytes[..slice.len()].copy_from_slice(slice);
        Self { algorithm, bytes }
    }

    /// Whether it is what this program names content by.
    pub fn is_own(&self) -> bool {
        self.algorithm == Algorithm::default()
    }

    /// The name of the algorithm, as `sha256`.
    pub const fn algorithm(&self) -> &'static str {
        self.algorithm.name()
    }

    /// The hexadecimal digits.
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.bytes[..self.algorithm.length()]
            .iter()
            .flat_map(|byte| [DIGITS[usize::from(byte >> 4)] as char, DIGITS[usize::from(byte & 15)] as char])
            .collect()
    }

    /// The first 12 hexadecimal digits, as Docker shows an ID.
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }

    /// Digits, without the name of an algorithm in front.
    pub fn without_algorithm(text: &str) -> &str {
        let digits = |algorithm: Algorithm| text.strip_prefix(algorithm.name())?.strip_prefix(':');
        Algorithm::ALL.into_iter().find_map(digits).unwrap_or(text)
    }
}

fn nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.algorithm(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A running hash; also a [`Write`] that counts what went through it.
#[derive(Clone)]
pub struct Hasher {
    state: State,
    length: u64,
}

#[derive(Clone)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(Box<sha2::Sha512>),
}

impl Default for Hasher {
    fn default() -> Self {
        Self::with(Algorithm::default())
    }
}

impl Hasher {
    /// A SHA-256 of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A hash of nothing yet.
    pub fn with(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::default()),
            Algorithm::Sha512 => State::Sha512(Box::default()),
        };
        Self { state, length: 0 }
    }

    /// By what it hashes.
    pub fn algorithm(&self) -> Algorithm {
        match self.state {
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
        self.length += bytes.len() as u64;
    }

    /// Bytes seen so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Digest {
        match self.state {
            State::Sha256(state) => Digest::from_slice(Algorithm::Sha256, &state.finalize()),
            State::Sha512(state) => Digest::from_slice(Algorithm::Sha512, &state.finalize()),
        }
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_refused() {
        for text in ["", "sha256", "sha256:", "sha256:00", ":00", "SHA256:00", "sha256:zz"] {
            assert!(
                matches!(Digest::parse(text), Err(DigestError::Format(_) | DigestError::Algorithm(_))),
                "{text}"
            );
        }
        let upper = format!("sha256:{}", "A".repeat(64));
        assert_eq!(Digest::parse(&upper), Err(DigestError::Format(upper.clone())));
        let short = format!("sha512:{}", "a".repeat(64));
        assert_eq!(Digest::parse(&short), Err(DigestError::Format(short.clone())));
        assert_eq!(Digest::parse("blake3:00"), Err(DigestError::Algorithm("blake3".into())));
        assert_eq!(Digest::parse("../x:00"), Err(DigestError::Format("../x:00".into())));
    }

    #[test]
    fn a_blob_s_path_names_it() {
        let digest = Digest::of(b"");
        assert_eq!(Digest::of_blob_path(&format!("blobs/sha256/{}", digest.hex())), Some(Ok(digest)));
        assert!(Digest::of_blob_path("blobs/sha256/x").is_some_and(|read| read.is_err()));
        for other in ["blobs", "blobs/sha256", "blobs/sha256/x/y", "index.json", "x/blobs/sha256/y"] {
            assert_eq!(Digest::of_blob_path(other), None, "{other}");
        }
    }

    #[test]
    fn a_sha512_is_one() {
        // FIPS 180-2, appendix C.1.
        let text = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        let digest = Digest::with(Algorithm::Sha512, b"abc");
        assert_eq!((digest.to_string().as_str(), digest.short().as_str()), (text, "ddaf35a19361"));
        assert_eq!(Digest::parse(text), Ok(digest));
        assert_eq!((digest.again(b"abc"), digest.is_own()), (digest, false));
        assert_ne!(digest.again(b"abd"), digest);
        assert_eq!(Digest::without_algorithm(text), digest.hex());
    }

    proptest! {
        #[test]
        fn printed_and_read_is_the_same(bytes: Vec<u8>, long: bool) {
            let digest = Digest::with(if long { Algorithm::Sha512 } else { Algorithm::Sha256 }, bytes);
            prop_assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
            prop_assert_eq!(serde_json::from_str::<Digest>(&serde_json::to_string(&digest).unwrap()).unwrap(), digest);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            if let Ok(digest) = Digest::parse(&text) {
                prop_assert_eq!(digest.to_string(), text);
            }
        }

        #[test]
        fn in_pieces_or_at_once(pieces: Vec<Vec<u8>>) {
            let mut hasher = Hasher::new();
            for piece in &pieces {
                hasher.update(piece);
            }
            prop_assert_eq!(hasher.finish(), Digest::of(pieces.concat()));
        }
    }
}
