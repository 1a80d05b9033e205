//! Public keys as cosign and OpenSSL write them (`-----BEGIN PUBLIC KEY-----`).

use crate::SignatureError;
use crate::der::expect;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519,
    RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};

const SEQUENCE: u8 = 0x30;
const IDENTIFIER: u8 = 0x06;
const BIT_STRING: u8 = 0x03;
/// 1.2.840.10045.2.1
const ELLIPTIC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.3.132.0.34
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// 1.3.101.112
const EDWARDS: &[u8] = &[0x2b, 0x65, 0x70];
/// 1.2.840.113549.1.1.1
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    P256,
    P384,
    Edwards,
    Rsa,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The file that it came from, for people.
    pub name: String,
    kind: Kind,
    bytes: Vec<u8>,
}

impl Key {
    /// Reads a PEM text; `name` is its file's.
    pub fn from_pem(name: &str, text: &str) -> Result<Self, SignatureError> {
        let wrong = |what: &str| SignatureError::Key { path: name.to_owned(), what: what.to_owned() };
        let body = text
            .split_once("-----BEGIN PUBLIC KEY-----")
            .and_then(|(_, rest)| rest.split_once("-----END PUBLIC KEY-----"))
            .map(|(body, _)| body.split_whitespace().collect::<String>())
            .ok_or_else(|| wrong("it has no `-----BEGIN PUBLIC KEY-----`"))?;
        let der = STANDARD.decode(body).map_err(|_| wrong("its Base64 is damaged"))?;
        let (kind, bytes) = Self::of_der(&der)
            .ok_or_else(|| wrong("it is of no known kind: ECDSA over P-256 or P-384, Ed25519 or RSA"))?;
        Ok(Self { name: name.to_owned(), kind, bytes })
    }

    fn of_der(der: &[u8]) -> Option<(Kind, Vec<u8>)> {
        let (whole, end) = expect(der, SEQUENCE)?;
        let (algorithm, rest) = expect(whole, SEQUENCE)?;
        let (key, rest) = expect(rest, BIT_STRING)?;
        if !end.is_empty() || !rest.is_empty() {
            return None;
        }
        // The first byte counts the bits that are not used.
        let key = key.strip_prefix(&[0])?;
        let (identifier, parameters) = expect(algorithm, IDENTIFIER)?;
        let kind = match identifier {
            ELLIPTIC => match expect(parameters, IDENTIFIER)?.0 {
                P256 => Kind::P256,
                P384 => Kind::P384,
                _ => return None,
            },
            EDWARDS => Kind::Edwards,
            RSA => Kind::Rsa,
            _ => return None,
        };
        Some((kind, key.to_vec()))
    }

    /// Whether a signature of these bytes was made with this key.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithms: &[&'static dyn VerificationAlgorithm] = match self.kind {
            Kind::P256 => &[&ECDSA_P256_SHA256_ASN1],
            // cosign hashes with SHA-256 whatever the curve.
            Kind::P384 => &[&ECDSA_P384_SHA256_ASN1, &ECDSA_P384_SHA384_ASN1],
            Kind::Edwards => &[&ED25519],
            Kind::Rsa => &[&RSA_PKCS1_2048_8192_SHA256],
        };
        algorithms.iter().any(|algorithm| {
            UnparsedPublicKey::new(*algorithm, &self.bytes).verify(message, signature).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "",
            "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        ] {
            assert!(Key::from_pem("k", text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Key::of_der(&bytes);
        }
    }
}
