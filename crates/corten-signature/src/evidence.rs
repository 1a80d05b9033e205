//! What somebody says of an image, and their signature below it.
//!
//! ```text
//! payload  {"critical": {"image": {"docker-manifest-digest": D}}}            signature over its bytes
//! envelope {"payload": statement about D, "payloadType": T, "signatures"}    signature over "DSSEv1 len T len payload"
//! bundle   {"dsseEnvelope": envelope, "verificationMaterial": …}             the material is not looked at
//! ```

use crate::Key;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_oci::Digest;
use serde::{Deserialize, Serialize};

/// Media types of what cosign writes.
pub mod media_type {
    /// A payload; its signature is the layer's annotation.
    pub const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
    /// An envelope around a statement.
    pub const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
    /// The beginning of a bundle's type; its version follows.
    pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
    /// An artifact that holds payloads.
    pub const SIGNATURE_ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
    /// The annotation with a payload's signature.
    pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
}

/// What kind of statement a bundle holds where it is a plain signature.
const PLAIN: &[&str] = &["https://sigstore.dev/cosign/sign/v1", "https://sigstore.dev/cosign/sign/v1/"];

/// One signed document, as it can be kept: text and Base64.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// A payload and its signature, both in Base64.
    Payload {
        /// The bytes that were signed.
        payload: String,
        /// Over them.
        signature: String,
    },
    /// An envelope or a bundle, in Base64.
    Envelope(String),
}

/// What a document says, after its signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// That the image is whoever's holds the key.
    Signed,
    /// A statement of this type.
    Attested(String),
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    subject: Vec<Subject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct Subject {
    digest: std::collections::BTreeMap<String, String>,
}

impl Evidence {
    /// A payload with the signature that stands beside it.
    pub fn payload(payload: &[u8], signature: &str) -> Self {
        Self::Payload { payload: STANDARD.encode(payload), signature: signature.trim().to_owned() }
    }

    /// An envelope, or a bundle with one.
    pub fn envelope(bytes: &[u8]) -> Self {
        Self::Envelope(STANDARD.encode(bytes))
    }

    /// What it says of one of these digests, where it was signed with this key; none where it was not, or speaks of
    /// something else.
    pub fn said(&self, key: &Key, digests: &[Digest]) -> Option<Said> {
        match self {
            Self::Payload { payload, signature } => {
                let payload = STANDARD.decode(payload).ok()?;
                let signature = STANDARD.decode(signature).ok()?;
                if !key.verifies(&payload, &signature) {
                    return None;
                }
                let payload: Payload = serde_json::from_slice(&payload).ok()?;
                let about = Digest::parse(&payload.critical.image.digest).ok()?;
                let is_image = payload.critical.kind == "cosign container image signature";
                (is_image && digests.contains(&about)).then_some(Said::Signed)
            }
            Self::Envelope(text) => {
                let bytes = STANDARD.decode(text).ok()?;
                let envelope = match serde_json::from_slice::<Bundle>(&bytes) {
                    Ok(Bundle { dsse_envelope: Some(envelope) }) => envelope,
                    _ => serde_json::from_slice(&bytes).ok()?,
                };
                let payload = STANDARD.decode(&envelope.payload).ok()?;
                let kind = &envelope.payload_type;
                let mut signed = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
                signed.extend_from_slice(&payload);
                let is_signed = envelope.signatures.iter().any(|signature| {
                    STANDARD.decode(&signature.sig).is_ok_and(|signature| key.verifies(&signed, &signature))
                });
                if !is_signed {
                    return None;
                }
                let statement: Statement = serde_json::from_slice(&payload).ok()?;
                let is_about = statement.subject.iter().any(|subject| {
                    subject.digest.iter().any(|(algorithm, hex)| {
                        digests.iter().any(|digest| digest.algorithm() == algorithm && digest.hex() == *hex)
                    })
                });
                let is_plain = PLAIN.contains(&statement.predicate_type.as_str());
                let said = if is_plain { Said::Signed } else { Said::Attested(statement.predicate_type) };
                is_about.then_some(said)
            }
        }
    }
}
