//! What registries send: challenges, links, addresses; and the files that say how they are reached.

use corten_distribution::challenge;
use corten_distribution::url::{Url, next_link};

use super::texts;
use crate::Target;

pub(super) const CHALLENGES: Target = Target {
    name: "challenges",
    run: challenges,
    seeds: || {
        texts(&[
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull,push""#,
            r#"Basic realm="a \"b\"", Bearer realm=https://x/t"#,
            "Negotiate, Basic",
        ])
    },
    words: &["Bearer ", "Basic", "realm=", "\"", "\\", ",", " = ", "scope=\"\"", "\t"],
};

/// What was read is said again in quotes and read as the same.
fn challenges(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for found in challenge::parse(&text) {
        let quoted: Vec<String> = found
            .parameters
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")))
            .collect();
        let again = challenge::parse(&format!("{} {}", found.scheme, quoted.join(",")));
        assert_eq!(again.first(), Some(&found));
    }
}

pub(super) const LINKS: Target = Target {
    name: "links",
    run: links,
    seeds: || {
        texts(&[
            r#"</v2/a/tags/list?last=b&n=2>; rel="next""#,
            "<https://a.example:5000/v2/?x=1#y>; rel=prev, <b>; rel=next",
            "http://[::1]:80/x",
        ])
    },
    words: &[
        "<",
        ">",
        "; rel=next",
        "rel=\"",
        "http://",
        "https://",
        "//",
        "[::1]",
        ":65536",
        "@",
        "?",
        "#",
        "../",
    ],
};

/// An address that was read is written as it is read, and joining never changes where secrets may go unseen.
fn links(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let target = next_link(&text).unwrap_or(&text);
    if let Some(url) = Url::parse(target) {
        assert_eq!(Url::parse(&url.to_string()), Some(url));
    }
    if let Some(base) = Url::parse("https://registry.example/v2/a/tags/list")
        && let Some(joined) = base.join(target)
        && !target.contains("//")
    {
        assert!(joined.same_origin(&base), "{target}: {joined}");
    }
}

pub(super) const HOSTS: Target = Target {
    name: "hosts_toml",
    run: hosts,
    seeds: || {
        texts(&[
            "server = \"https://up.example\"\n[host.\"http://m.example\"]\ncapabilities = [\"pull\"]\nca = [\"a\", \"b\"]\n",
            "[host.\"https://m.example/p\"]\noverride_path = true\nskip_verify = true\nclient = [[\"c\", \"k\"]]\n\
             [host.\"https://m.example/p\".header]\nx-a = [\"1\"]\n",
        ])
    },
    words: &[
        "[host.\"",
        "\"]\n",
        "server = ",
        "ca = ",
        "client = ",
        "header",
        "capabilities = [",
        "\"\"\"",
        "= true\n",
    ],
};

/// A file is refused, or says at least the registry itself.
fn hosts(bytes: &[u8]) {
    if let Ok(places) = corten_distribution::check_hosts_file(&String::from_utf8_lossy(bytes)) {
        assert!(places >= 1);
    }
}

const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n\
    -----END PUBLIC KEY-----\n";

pub(super) const SIGNATURES: Target = Target {
    name: "signatures",
    run: signatures,
    seeds: || {
        texts(&[
            PUBLIC_KEY,
            r#"{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AAAA"}]}"#,
            r#"{"critical":{"image":{"docker-manifest-digest":"sha256:00"},"type":"cosign container image signature"}}"#,
            r#"{"dsseEnvelope":{"payload":"","payloadType":"","signatures":[]}}"#,
        ])
    },
    words: &[
        "\"payload\":",
        "\"signatures\":[",
        "-----BEGIN PUBLIC KEY-----",
        "\"dsseEnvelope\":{",
        "\"sig\":",
    ],
};

/// Whatever a document says, it was not signed with a key whose other half is gone; a text is a key or is refused.
fn signatures(bytes: &[u8]) {
    use corten_signature::{Evidence, Key};
    let text = String::from_utf8_lossy(bytes);
    let _ = Key::from_pem("key", &text);
    let Ok(key) = Key::from_pem("key", PUBLIC_KEY) else { return };
    let digests = [corten_oci::Digest::of(bytes)];
    assert_eq!(Evidence::envelope(bytes).said(&key, &digests), None);
    let (payload, signature) = bytes.split_at(bytes.len() / 2);
    assert_eq!(Evidence::payload(payload, &String::from_utf8_lossy(signature)).said(&key, &digests), None);
}
