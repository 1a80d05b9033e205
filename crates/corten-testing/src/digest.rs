//! Digests as texts, made without the project's own code for them.

use sha2::{Digest as _, Sha256, Sha512};
use std::fmt::Write;

/// `sha256:HEX`
pub fn digest(bytes: &[u8]) -> String {
    digest_like("", bytes)
}

/// The digest of these bytes as `name` is one: `sha512:HEX` where that is one of those, else `sha256:HEX`.
pub fn digest_like(name: &str, bytes: &[u8]) -> String {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    if name.starts_with("sha512:") {
        format!("sha512:{}", hex(&Sha512::digest(bytes)))
    } else {
        format!("sha256:{}", hex(&Sha256::digest(bytes)))
    }
}
