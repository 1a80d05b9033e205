//! Signatures of images: keys, cosign's documents, and the policy that asks for them. Pure: whoever calls brings the bytes.
//!
//! [`Policy`] says which [`Rule`] a name is under; [`Rule::check`] judges [`Evidence`] about digests. Evidence is what
//! cosign writes: a signed payload that names a digest, or an envelope around a statement (attestations, and signatures
//! since its version 3). Nothing of a document is believed before its signature was checked.

mod der;
mod error;
mod evidence;
mod key;
mod policy;

pub use error::SignatureError;
pub use evidence::{Evidence, Said, media_type};
pub use key::Key;
pub use policy::{Demand, Policy, Rule};
