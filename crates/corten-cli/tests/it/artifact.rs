//! `artifact …` against registries: no daemon is asked.

use crate::run;
use corten_testing::Scratch;
use corten_testing::fixture::{Entry, tar};
use corten_testing::registry::{Registry, digest};
use serde_json::Value;
use std::path::{Path, PathBuf};

struct Home {
    scratch: Scratch,
}

impl Home {
    fn new() -> Self {
        Self { scratch: Scratch::new("artifact") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn ok(&self, words: &[&str]) -> String {
        let said = run(&self.path("none.sock"), words);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{words:?}");
        said.out
    }

    fn fails(&self, words: &[&str]) -> String {
        let said = run(&self.path("none.sock"), words);
        assert_eq!(said.code, 1, "{words:?}: {}", said.out);
        said.err
    }
}

fn manifest(registry: &Registry, reference: &str) -> Value {
    serde_json::from_slice(&registry.manifest(reference).unwrap_or_else(|| panic!("{reference} is there")))
        .unwrap()
}

fn digest_of(said: &str) -> String {
    said.lines().find_map(|line| line.strip_prefix("Digest: ")).expect("a digest").to_owned()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn files_go_out_and_come_back() {
    let (home, registry) = (Home::new(), Registry::start());
    let name = format!("{}/files:1", registry.host());
    let large = vec![7; 3 << 20];
    let files = [home.file("a.txt", b"text"), home.file("b.bin", &large)];
    let typed = format!("{}:text/plain", files[0]);
    let said =
        home.ok(&["artifact", "push", "--artifact-type", "a/b", "-a", "k=v", &name, &typed, &files[1]]);
    let pushed = manifest(&registry, "files:1");
    assert_eq!(pushed["artifactType"], "a/b");
    assert_eq!(pushed["annotations"]["k"], "v");
    assert_eq!(pushed["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    assert_eq!(pushed["layers"][0]["mediaType"], "text/plain");
    assert_eq!(pushed["layers"][1]["annotations"]["org.opencontainers.image.title"], "b.bin");
    assert_eq!(digest_of(&said), digest(&registry.manifest("files:1").unwrap()));
    // The same files are the same artifact, and nothing is sent twice.
    let again =
        home.ok(&["artifact", "push", "--artifact-type", "a/b", "-a", "k=v", &name, &typed, &files[1]]);
    assert_eq!(digest_of(&again), digest_of(&said));
    assert!(again.contains("Already there b.bin"), "{again}");

    let into = home.path("into");
    let said = home.ok(&["artifact", "pull", "-o", into.to_str().unwrap(), &name]);
    assert!(said.contains("Downloaded a.txt"), "{said}");
    assert_eq!((read(&into.join("a.txt")), read(&into.join("b.bin"))), (b"text".to_vec(), large));
    assert_eq!(std::fs::read_dir(&into).unwrap().count(), 2);
    let list = home.ok(&["artifact", "ls", &format!("{}/files", registry.host())]);
    assert!(list.lines().nth(1).is_some_and(|line| line.starts_with("1 ") && line.contains("a/b")), "{list}");
    let raw = home.ok(&["artifact", "inspect", "--raw", &name]);
    assert_eq!(raw.as_bytes(), registry.manifest("files:1").unwrap());
}

#[test]
fn what_refers_to_an_image_is_attached_listed_copied_and_removed() {
    for lists in [true, false] {
        let (home, registry, other) = (Home::new(), Registry::start(), Registry::start());
        if lists {
            registry.keep_referrers();
        }
        let image = registry.add_image("app", "1", b"{\"os\":\"linux\"}", &[b"layer".to_vec()]);
        let name = format!("{}/app:1", registry.host());
        let sbom = home.file("sbom.json", br#"{"spdxVersion": "SPDX-2.3"}"#);
        let said = home.ok(&["artifact", "attach", &name, &sbom]);
        let attached = digest_of(&said);
        assert!(said.contains(&format!("Attached to {}/app@{image}", registry.host())), "{said}");
        let refers = manifest(&registry, &format!("app@{attached}"));
        assert_eq!(refers["subject"]["digest"], image.as_str());
        assert_eq!(refers["artifactType"], "application/spdx+json");
        // What refers to what refers.
        let note = home.file("note", b"seen");
        let deeper = format!("{}/app@{attached}", registry.host());
        home.ok(&["artifact", "attach", "--artifact-type", "a/note", &deeper, &note]);
        let listed = home.ok(&["artifact", "ls", "--format", "{{.Type}} {{.Subject}}", &name]);
        assert_eq!(listed, format!("application/spdx+json {}\na/note {}\n", &image[7..19], &attached[7..19]));
        let shown: Value = serde_json::from_str(&home.ok(&["artifact", "inspect", &name])).unwrap();
        assert_eq!(shown["Referrers"][0]["digest"], attached.as_str());

        let copy = format!("{}/copy", other.host());
        home.ok(&["artifact", "copy", "-r", &name, &copy]);
        let there = home.ok(&["artifact", "ls", "--format", "{{.Type}}", &format!("{copy}:1")]);
        assert_eq!(there, "application/spdx+json\na/note\n");
        assert_eq!(other.manifest("copy:1"), registry.manifest("app:1"), "byte for byte");

        let said = home.ok(&["artifact", "rm", &format!("{}/app@{attached}", registry.host())]);
        assert!(said.starts_with("Deleted: "), "{said}");
        assert_eq!(home.ok(&["artifact", "ls", "--format", "{{.Type}}", &name]), "");
        assert!(home.ok(&["artifact", "rm", &name]).starts_with("Untagged: "));
        assert!(home.fails(&["artifact", "inspect", &name]).contains("is not there"));
    }
}

#[test]
fn each_kind_has_the_form_that_its_users_expect() {
    let (home, registry) = (Home::new(), Registry::start());
    let push = |tag: &str, files: &[&str]| {
        let name = format!("{}/kinds:{tag}", registry.host());
        let mut words = vec!["artifact", "push", name.as_str()];
        words.extend(files);
        home.ok(&words);
        manifest(&registry, &format!("kinds:{tag}"))
    };
    let config = |pushed: &Value| -> Value {
        let digest = pushed["config"]["digest"].as_str().unwrap();
        serde_json::from_slice(&registry.blob(digest).unwrap()).unwrap()
    };
    let compose =
        push("compose", &[&home.file("compose.yaml", b"services: {}"), &home.file("prod.env", b"A=1")]);
    assert_eq!(compose["artifactType"], "application/vnd.docker.compose.project");
    assert_eq!(compose["layers"][0]["mediaType"], "application/vnd.docker.compose.file+yaml");
    assert_eq!(compose["layers"][0]["annotations"]["com.docker.compose.file"], "compose.yaml");
    assert_eq!(compose["layers"][1]["mediaType"], "application/vnd.docker.compose.envfile");

    let module = push("wasm", &[&home.file("m.wasm", b"\0asm\x01\0\0\0")]);
    assert_eq!(module["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(module["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(config(&module)["os"], "wasip1");
    let component = push("component", &[&home.file("c.wasm", b"\0asm\x0d\0\x01\0")]);
    assert_eq!(config(&component)["os"], "wasip2");

    let chart = tar(&[Entry::File("web/Chart.yaml", 0o644, b"name: web\nversion: 1.2.3\napiVersion: v2\n")]);
    let mut packed = Vec::new();
    corten_layer::compress(&mut &chart[..], &mut packed).unwrap();
    let helm = push("helm", &[&home.file("web-1.2.3.tgz", &packed)]);
    assert_eq!(helm["config"]["mediaType"], "application/vnd.cncf.helm.config.v1+json");
    assert_eq!(helm["layers"][0]["mediaType"], "application/vnd.cncf.helm.chart.content.v1.tar+gzip");
    assert_eq!(config(&helm)["apiVersion"], "v2");
    assert_eq!(helm["annotations"]["org.opencontainers.image.version"], "1.2.3");

    let bom = push("bom", &[&home.file("bom.json", br#"{"bomFormat":"CycloneDX"}"#)]);
    assert_eq!(bom["artifactType"], "application/vnd.cyclonedx+json");
    let volume = push("volume", &["--kind=volume", &home.file("data.tar.gz", &packed)]);
    assert_eq!(volume["artifactType"], "application/vnd.docker.volume.v1+tar.gz");
}

#[test]
fn a_registry_cannot_write_where_it_likes() {
    let (home, registry) = (Home::new(), Registry::start());
    let name = format!("{}/evil:1", registry.host());
    home.ok(&["artifact", "push", &name, &home.file("file", b"content")]);
    let good = manifest(&registry, "evil:1");
    let into = home.path("into");
    std::fs::create_dir(&into).unwrap();
    std::os::unix::fs::symlink("/tmp", into.join("link")).unwrap();
    for title in ["../out", "/tmp/out", "a/../../out", "..", "link/out"] {
        let mut evil = good.clone();
        evil["layers"][0]["annotations"]["org.opencontainers.image.title"] = title.into();
        let kind = "application/vnd.oci.image.manifest.v1+json";
        registry.add_manifest("evil:1", kind, evil.to_string().as_bytes());
        let said = home.fails(&["artifact", "pull", "-o", into.to_str().unwrap(), &name]);
        assert!(said.contains("outside of the folder") || said.contains("is no folder"), "{title}: {said}");
    }
    assert!(!home.path("out").exists());
    // Other content than the manifest names is not kept.
    let mut evil = good;
    evil["layers"][0]["digest"] = digest(b"another").into();
    registry.add_manifest(
        "evil:1",
        "application/vnd.oci.image.manifest.v1+json",
        evil.to_string().as_bytes(),
    );
    home.fails(&["artifact", "pull", "-o", into.to_str().unwrap(), &name]);
    assert_eq!(std::fs::read_dir(&into).unwrap().count(), 1, "the link alone");
}
