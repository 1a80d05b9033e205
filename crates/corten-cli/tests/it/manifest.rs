//! `manifest …` against a registry: no daemon is asked.

use crate::run;
use corten_testing::Scratch;
use corten_testing::registry::{Registry, digest};

/// A list is made of two images, changed, pushed, and read back.
#[test]
fn a_list_is_made_and_pushed() {
    let scratch = Scratch::new("manifest");
    let socket = scratch.path().join("none.sock");
    let registry = Registry::start();
    registry.give_blobs();
    let host = registry.host();
    let config = b"{\"os\":\"linux\",\"architecture\":\"amd64\"}";
    let amd64 = registry.add_image("lib/a", "1", config, &[b"one".to_vec()]);
    let arm64 = registry.add_image("lib/b", "1", config, &[b"two".to_vec()]);
    let (list, a, b) = (format!("{host}/lib/list:1"), format!("{host}/lib/a:1"), format!("{host}/lib/b:1"));
    let ok = |words: &[&str]| {
        let said = run(&socket, words);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{words:?}");
        said.out
    };
    let fails = |words: &[&str], text: &str| {
        let said = run(&socket, words);
        assert_eq!((said.code, said.err.lines().next().unwrap_or_default()), (1, text), "{words:?}");
    };
    let missing = format!("{host}/lib/none:1");
    fails(&["manifest", "create", &list, &a, &missing], &format!("no such manifest: {missing}"));
    fails(&["manifest", "push", &list], &format!("No such manifest: {list}"));
    let created = format!("Created manifest list {list}\n");
    assert_eq!(ok(&["manifest", "create", &list, &a, &b]), created);
    fails(
        &["manifest", "create", &list, &a],
        "refusing to amend an existing manifest list with no --amend flag",
    );
    assert_eq!(ok(&["manifest", "create", "--amend", &list, &a]), created);
    ok(&["manifest", "annotate", "--arch", "arm64", "--variant", "v8", "--os-features", "x,y", &list, &b]);
    fails(
        &["manifest", "annotate", "--arch", "none", &list, &b],
        "manifest entry for image has unsupported os/arch combination: /none",
    );
    fails(
        &["manifest", "annotate", "--arch", "arm64", &list, &missing],
        &format!("manifest for image {missing} does not exist in {list}"),
    );
    let text = ok(&["manifest", "inspect", &list]);
    assert!(text.starts_with(
        "{\n   \"schemaVersion\": 2,\n   \"mediaType\": \"application/vnd.oci.image.index.v1+json\","
    ));
    assert!(text.contains(&format!("\"digest\": \"{arm64}\",\n         \"platform\": {{\n            \"architecture\": \"arm64\",\n            \"os\": \"linux\",\n            \"os.features\": [\n               \"x\",\n               \"y\"\n            ],\n            \"variant\": \"v8\"")), "{text}");
    let verbose = ok(&["manifest", "inspect", "-v", &list, &b]);
    assert!(
        verbose.starts_with(&format!("{{\n\t\"Ref\": \"{b}\",\n\t\"Descriptor\": {{\n\t\t\"mediaType\"")),
        "{verbose}"
    );

    let said = ok(&["manifest", "push", "--purge", &list]);
    let pushed = registry.manifest("lib/list:1").expect("the list");
    let lines: Vec<String> = [&amd64, &arm64]
        .iter()
        .map(|digest| format!("Pushed ref {host}/lib/list@{digest} with digest: {digest}"))
        .chain([digest(&pushed)])
        .collect();
    assert_eq!(said.lines().collect::<Vec<_>>(), lines);
    assert_eq!(format!("{}\n", String::from_utf8_lossy(&pushed)), text);
    assert!(registry.manifest(&format!("lib/list@{arm64}")).is_some());
    fails(&["manifest", "rm", &list], &format!("No such manifest: {list}"));
    assert_eq!(ok(&["manifest", "inspect", &list]), text, "the registry's is the same");
    fails(&["manifest", "create", &list, &list], &format!("{list} is a manifest list"));
    assert!(ok(&["manifest", "inspect", "-v", &list]).contains(&format!("\"Ref\": \"{list}@{arm64}\"")));
}

#[test]
fn what_cannot_be_is_said() {
    let scratch = Scratch::new("manifest");
    let socket = scratch.path().join("none.sock");
    let (one, other) = (Registry::start(), Registry::start());
    one.add_image("a", "1", b"{\"os\":\"linux\",\"architecture\":\"amd64\"}", &[]);
    let (name, list) = (format!("{}/a:1", one.host()), format!("{}/list:1", other.host()));
    assert_eq!(run(&socket, &["manifest", "create", &list, &name]).code, 0);
    let said = run(&socket, &["manifest", "push", &list]);
    let text = format!(
        "cannot use source images from a different registry than the target image: {} != {}\n",
        one.host(),
        other.host()
    );
    assert_eq!((said.code, said.err), (1, text));
    let said = run(&socket, &["manifest", "inspect", "127.0.0.1:1/a:1"]);
    assert!(said.err.starts_with("failed to configure transport: error pinging v2 registry: Get \"https://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused"), "{}", said.err);
    let said = run(&socket, &["manifest", "inspect", "127.0.0.1:1/UP:1"]);
    assert_eq!(said.err, "invalid reference format: repository name (UP) must be lowercase\n");
    // Names stay in the folder of lists.
    let said = run(&socket, &["manifest", "rm", "../../x"]);
    assert_eq!((said.code, said.err.lines().next()), (1, Some("invalid reference format")));
}
