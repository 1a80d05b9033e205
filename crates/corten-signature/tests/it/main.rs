//! Documents that OpenSSL signed, in the forms that cosign writes: the private keys are gone, so nothing here can be made to fit.

use corten_oci::{Digest, Reference};
use corten_signature::{Evidence, Key, Policy, Rule, Said, SignatureError};

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("openssl/", $name))
    };
}

const PAYLOAD: &str = file!("payload.json");

fn digest() -> Digest {
    Digest::from_hex(&"a".repeat(64)).expect("a digest")
}

fn key(text: &str) -> Key {
    Key::from_pem("key.pub", text).expect("a key")
}

#[test]
fn each_kind_of_key_verifies_its_own_signature_alone() {
    let all = [
        (file!("p256.pub"), file!("p256.sig")),
        (file!("p384.pub"), file!("p384.sig")),
        (file!("rsa.pub"), file!("rsa.sig")),
        (file!("ed25519.pub"), file!("ed25519.sig")),
    ];
    for (at, (public, _)) in all.iter().enumerate() {
        for (other, (_, signature)) in all.iter().enumerate() {
            let evidence = Evidence::payload(PAYLOAD.as_bytes(), signature);
            let said = evidence.said(&key(public), &[digest()]);
            assert_eq!(said, (at == other).then_some(Said::Signed), "{at} {other}");
        }
    }
}

#[test]
fn what_was_changed_or_speaks_of_another_says_nothing() {
    let (public, signature) = (key(file!("p256.pub")), file!("p256.sig"));
    let changed = PAYLOAD.replace("registry.example/app", "registry.example/apq");
    assert_eq!(Evidence::payload(changed.as_bytes(), signature).said(&public, &[digest()]), None);
    let evidence = Evidence::payload(PAYLOAD.as_bytes(), signature);
    assert_eq!(evidence.said(&public, &[Digest::of(b"another")]), None);
    assert_eq!(evidence.said(&public, &[]), None);
    assert_eq!(Evidence::payload(PAYLOAD.as_bytes(), "").said(&public, &[digest()]), None);
}

#[test]
fn envelopes_and_bundles() {
    let public = key(file!("p256.pub"));
    let attested = Evidence::envelope(file!("envelope.json").as_bytes());
    let kind = "https://slsa.dev/provenance/v1".to_owned();
    assert_eq!(attested.said(&public, &[digest()]), Some(Said::Attested(kind)));
    assert_eq!(attested.said(&key(file!("p384.pub")), &[digest()]), None);
    let signed = Evidence::envelope(file!("bundle.json").as_bytes());
    assert_eq!(signed.said(&public, &[digest()]), Some(Said::Signed));
    // The payload's type is under the signature too.
    let other = file!("envelope.json").replace("vnd.in-toto", "vnd.in-tota");
    assert_eq!(Evidence::envelope(other.as_bytes()).said(&public, &[digest()]), None);
}

#[test]
fn a_policy_asks_for_all_that_it_names() {
    let text = r#"
        [[rule]]
        repository = "registry.example/*"
        signed = ["other.pub", "own.pub"]
        attested = [{ type = "https://slsa.dev/provenance/v1", by = ["own.pub"] }]
    "#;
    let read = |name: &str| match name {
        "own.pub" => Ok(file!("p256.pub").to_owned()),
        "other.pub" => Ok(file!("rsa.pub").to_owned()),
        _ => Err("no such file".to_owned()),
    };
    let policy = Policy::parse("policy.toml", text, &read).expect("a policy");
    let name = Reference::parse("registry.example/app").expect("a name");
    assert!(policy.rule(&Reference::parse("elsewhere.example/app").expect("a name")).is_none());
    let rule = policy.rule(&name).expect("a rule");
    let signed = Evidence::payload(PAYLOAD.as_bytes(), file!("p256.sig"));
    let attested = Evidence::envelope(file!("envelope.json").as_bytes());
    let met = rule.check(&name, &[digest()], &[attested.clone(), signed.clone()]).expect("all is there");
    assert_eq!(met, ["signed by own.pub", "attested https://slsa.dev/provenance/v1 by own.pub"]);
    for part in [vec![], vec![signed.clone()], vec![attested]] {
        let error = rule.check(&name, &[digest()], &part).expect_err("something is missing");
        assert!(matches!(error, SignatureError::Refused { .. }), "{error}");
    }
    let error =
        rule.check(&name, &[Digest::of(b"x")], std::slice::from_ref(&signed)).expect_err("another image");
    assert_eq!(
        error.to_string(),
        "registry.example/app:latest is refused by the policy: it is not signed by other.pub or own.pub (rule `registry.example/*` in policy.toml)"
    );
    let own = Rule::of_keys(vec![key(file!("p256.pub"))]);
    assert!(own.check(&name, &[digest()], &[signed]).is_ok());
}
