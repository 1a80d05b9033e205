//! Documents: of images, of requests, of the runtime; and names of images.

use corten_oci::{Digest, ImageConfig, Index, Manifest, Platform, Reference};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::texts;
use crate::Target;

const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "null",
    "true",
    "\"\"",
    "\"a\":",
    ",",
    "1e999",
    "-1",
    "18446744073709551616",
    "\\ud800",
    "\u{0}",
];

pub(super) const IMAGE: Target = Target {
    name: "image_documents",
    run: image,
    seeds: || {
        texts(&[
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"annotations":{"a":"b"}}]}"#,
            r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"platform":{"architecture":"arm64","os":"linux","variant":"v8"}}]}"#,
            r#"{"architecture":"amd64","os":"linux","created":"2026-01-01T00:00:00Z","config":{"Env":["A=b"],"Cmd":["sh"],"ExposedPorts":{"80/tcp":{}},"Volumes":{"/d":{}},"Healthcheck":{"Test":["CMD","x"],"Interval":1},"OnBuild":["RUN x"],"Shell":["sh","-c"]},"rootfs":{"type":"layers","diff_ids":["sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"]},"history":[{"created_by":"x","empty_layer":true}]}"#,
        ])
    },
    words: JSON,
};

/// What could be read is written and read again as the same.
fn same_again<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<T> {
    let document: T = serde_json::from_slice(bytes).ok()?;
    let text = serde_json::to_vec(&document).expect("what was read can be written");
    let again: T = serde_json::from_slice(&text).expect("what was written can be read");
    assert_eq!(document, again);
    Some(document)
}

/// What could be read can be written, and that is read again.
fn readable_again<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    let Ok(document) = serde_json::from_slice::<T>(bytes) else { return };
    let text = serde_json::to_vec(&document).expect("what was read can be written");
    let again: T = serde_json::from_slice(&text).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&again).expect("it can be written"), text);
}

fn image(bytes: &[u8]) {
    if let Some(manifest) = same_again::<Manifest>(bytes) {
        let _ = manifest.is_image();
    }
    same_again::<Index>(bytes);
    if let Ok(config) = ImageConfig::parse(bytes) {
        let _ = config.platform();
    }
}

pub(super) const REFERENCE: Target = Target {
    name: "references",
    run: reference,
    seeds: || {
        texts(&[
            "busybox",
            "docker.io/library/busybox:latest",
            "reg.example:5000/a/b-c_d__e.f:v1.0@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "localhost/x",
            "[::1]:5000/x",
            "linux/arm64/v8",
            "1h30m",
            "2026-01-02T03:04:05.678+01:00",
            "1.5GiB",
        ])
    },
    words: &["sha256:", "docker.io/", "library/", ":", "@", "/", "_", "--", "..", "[::1]", "linux/", "A"],
};

/// Names that were accepted are the same when they are written and read again.
fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(reference) = Reference::parse(text) {
        let canonical = reference.canonical();
        assert_eq!(Reference::parse(&canonical).as_ref(), Ok(&reference), "{canonical}");
        // The short name is for people: where the path begins like a registry it means something else or nothing, in
        // Docker too.
        let _ = Reference::parse(&reference.familiar());
        assert!(reference.path().split('/').all(|part| !part.is_empty() && part != ".."));
    }
    let _ = Reference::parse_bare(text);
    if let Ok(digest) = Digest::parse(text) {
        assert_eq!(digest.to_string(), text);
        assert!(digest.hex().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    if let Ok(platform) = Platform::parse(text) {
        let _ = Platform::host().suits(&platform);
    }
    let _ = corten_std::duration::parse_go(text);
    let _ = corten_std::size::parse_bytes(text);
    if let Some(time) = corten_std::Timestamp::parse(text) {
        let _ = (time.civil(), time.fixed_width(), time.to_string());
    }
}

pub(super) const BODIES: Target = Target {
    name: "api_bodies",
    run: bodies,
    seeds: || {
        texts(&[
            r#"{"Image":"busybox","Cmd":["sh"],"Env":["A=b"],"Labels":{"a":"b"},"ExposedPorts":{"80/tcp":{}},"HostConfig":{"Binds":["/a:/b:ro"],"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]},"Memory":1048576,"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3},"Mounts":[{"Type":"volume","Source":"v","Target":"/v","VolumeOptions":{"Subpath":"x"}}],"Ulimits":[{"Name":"nofile","Soft":1,"Hard":2}],"Devices":[{"PathOnHost":"/dev/x","PathInContainer":"/dev/y","CgroupPermissions":"rwm"}]},"NetworkingConfig":{"EndpointsConfig":{"n":{"Aliases":["x"],"IPAMConfig":{"IPv4Address":"1.2.3.4"}}}}}"#,
            r#"{"Name":"n","Driver":"bridge","IPAM":{"Config":[{"Subnet":"10.1.0.0/16","Gateway":"10.1.0.1","AuxiliaryAddresses":{"a":"10.1.0.5"}}]},"Options":{"com.docker.network.bridge.name":"br"},"Internal":true}"#,
            r#"{"Name":"v","Driver":"local","DriverOpts":{"type":"tmpfs","o":"size=1m","device":"tmpfs"},"Labels":{}}"#,
            r#"{"Cmd":["sh"],"AttachStdout":true,"Tty":true,"Env":["A=b"],"ConsoleSize":[1,2],"Detach":false,"Container":"c","Force":true}"#,
        ])
    },
    words: JSON,
};

fn bodies(bytes: &[u8]) {
    readable_again::<corten_api::container::CreateRequest>(bytes);
    readable_again::<corten_api::exec::CreateRequest>(bytes);
    readable_again::<corten_api::exec::StartRequest>(bytes);
    readable_again::<corten_api::network::CreateRequest>(bytes);
    readable_again::<corten_api::network::ConnectRequest>(bytes);
    readable_again::<corten_api::network::DisconnectRequest>(bytes);
    readable_again::<corten_api::volume::CreateRequest>(bytes);
}

pub(super) const RUNTIME: Target = Target {
    name: "runtime_document",
    run: runtime,
    seeds: || {
        let spec = corten_runtime::default_spec(corten_runtime::SpecOptions {
            args: vec!["sh".into()],
            hostname: "h".into(),
            ..corten_runtime::SpecOptions::default()
        });
        vec![serde_json::to_vec(&spec).expect("a document")]
    },
    words: JSON,
};

fn runtime(bytes: &[u8]) {
    readable_again::<corten_oci::runtime::Spec>(bytes);
}
