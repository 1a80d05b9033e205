//! Which images are let in: by signatures, before anything of them is unpacked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_testing::Scratch;
use corten_testing::daemon::ScratchDaemon;
use corten_testing::fixture::{Entry, tar};
use corten_testing::registry::{Fault, Registry, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use std::path::Path;

/// A pair of keys; the public one lies in a file.
pub(crate) struct Signer(EcdsaKeyPair);

impl Signer {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        /// What stands before the point of a P-256 key in its DER form.
        const FRAME: &[u8] = &[
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
            0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).expect("a key");
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pair.as_ref(), &random).expect("it");
        let der = [FRAME, pair.public_key().as_ref()].concat();
        let text =
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
        std::fs::write(folder.join(name), text).expect("a file");
        Self(pair)
    }

    fn sign(&self, bytes: &[u8]) -> String {
        STANDARD.encode(self.0.sign(&SystemRandom::new(), bytes).expect("a signature"))
    }

    /// As `cosign sign` does: `about` is what the payload names, `image` the image at which it lies.
    pub(crate) fn cosign(&self, registry: &Registry, image: &str, about: &str) {
        let payload = serde_json::json!({"critical": {
            "identity": {"docker-reference": format!("{}/app", registry.host())},
            "image": {"docker-manifest-digest": about},
            "type": "cosign container image signature"}, "optional": null})
        .to_string();
        registry.add_image("app", "blobs", b"{}", &[payload.clone().into_bytes()]);
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": kind,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(b"{}"), "size": 2},
            "layers": [{"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "digest": digest(payload.as_bytes()), "size": payload.len(),
                "annotations": {"dev.cosignproject.cosign/signature": self.sign(payload.as_bytes())}}]})
        .to_string();
        let tag = format!("app:{}.sig", image.replace(':', "-"));
        registry.add_manifest(&tag, kind, manifest.as_bytes());
    }
}

fn image(registry: &Registry, tag: &str, text: &[u8]) -> String {
    let layer = tar(&[Entry::File("file", 0o644, text)]);
    registry.add_tars("app", tag, &[layer], <[u8]>::to_vec)
}

#[test]
fn what_lacks_a_signature_is_refused_before_it_is_read() {
    if !corten_testing::need_root() {
        return;
    }
    let folder = Scratch::new("policy");
    let registry = Registry::start();
    let (own, other) = (Signer::new(folder.path(), "own.pub"), Signer::new(folder.path(), "other.pub"));
    let policy = folder.path().join("policy.toml");
    let write = |keys: &str| {
        let text = format!("[[rule]]\nrepository = \"{}/*\"\nsigned = [{keys}]\n", registry.host());
        std::fs::write(&policy, text).expect("a file");
    };
    write("\"own.pub\"");
    let daemon = ScratchDaemon::start(
        "policy",
        &["--max-download-attempts", "2", "--policy", policy.to_str().expect("a path")],
    );
    let name = format!("{}/app:1", registry.host());
    let id = image(&registry, "1", b"one");
    let elsewhere = image(&registry, "2", b"two");
    let refused = |name: &str, words: &str| {
        let before = registry.sent();
        let said = daemon.corten(&["pull", name]);
        assert!(said.code == 1 && said.err.contains(words), "{}", said.err);
        assert_eq!(daemon.ok(&["images", "-q"]), "");
        registry.sent() - before
    };
    let lacks = format!(
        "{name} is refused by the policy: it is not signed by own.pub (rule `{}/*` in {})",
        registry.host(),
        policy.display()
    );
    assert_eq!(refused(&name, &lacks), 0, "no blob was asked for");
    other.cosign(&registry, &id, &id);
    refused(&name, &lacks);
    // A signature of another image, laid at this one.
    own.cosign(&registry, &id, &elsewhere);
    refused(&name, &lacks);
    // A registry that does not answer is no reason to let something in.
    own.cosign(&registry, &id, &id);
    registry.fault(2, Fault::Status(500), true);
    refused(&name, "the registry was asked for signatures");
    registry.mend();
    daemon.ok(&["pull", "-q", &name]);
    // Now without the registry.
    registry.fault(0, Fault::Drop, true);
    let said = daemon.ok(&["image", "verify", &name]);
    assert_eq!(said, format!("{name}: signed by own.pub\nVerified {id}"));
    daemon.restart();
    let key = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    daemon.ok(&["image", "verify", "--key", &key("own.pub"), &name]);
    let said = daemon.corten(&["image", "verify", "--key", &key("other.pub"), &name]);
    assert_eq!(said.code, 1, "{}", said.out);
    // To a machine that never sees the registry: a plain archive says nothing about the image, a bundle does.
    let far = ScratchDaemon::start("policy-far", &["--policy", policy.to_str().expect("a path")]);
    let archive = key("archive");
    daemon.ok(&["save", "-o", &archive, &name]);
    let said = far.corten(&["load", "-i", &archive]);
    assert!(said.code == 1 && said.err.contains(&lacks), "{} {}", said.out, said.err);
    assert_eq!(far.ok(&["images", "-q"]), "");
    daemon.ok(&["image", "bundle", "-o", &archive, &name]);
    far.ok(&["load", "-i", &archive]);
    assert!(far.ok(&["image", "verify", &name]).contains("signed by own.pub"));
    registry.mend();
    // The file is read anew; one that cannot be read lets nothing in.
    write("\"missing.pub\"");
    let said = daemon.corten(&["pull", &name]);
    assert!(said.err.contains("`missing.pub` is no public key: no such file or directory"), "{}", said.err);
    std::fs::remove_file(&policy).expect("it goes");
    let said = daemon.corten(&["pull", &name]);
    assert!(said.err.contains("cannot be used: no such file or directory"), "{}", said.err);
    std::fs::write(&policy, "").expect("a file");
    daemon.ok(&["pull", "-q", &format!("{}/app:2", registry.host())]);
}
