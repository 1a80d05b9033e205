//! Image, runtime and distribution documents, image references, digests, platforms: parse and print.
//!
//! Ground layer: plain data. Reading takes bytes or text, never a path; nothing here opens a file.

pub mod digest;
pub mod image;
pub mod platform;
pub mod reference;
pub mod runtime;

pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use image::{ImageConfig, Index, Manifest};
pub use platform::Platform;
pub use reference::{Reference, ReferenceError};

use serde::{Deserialize, Deserializer};

/// Reads `null` as the default: Go prints empty lists and maps so.
pub(crate) fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
